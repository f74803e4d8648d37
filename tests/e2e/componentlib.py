# SPDX-License-Identifier: Apache-2.0
"""The real component_keyring_file of MySQL, and a copy of it under another name, as keystores of the driver keyring_component."""
import functools
import json
import pathlib
import tempfile

from faultlib import BUILD
from keyringlib import tool
from keystorelib import Keystore

SHIPPED, COPY = "component_keyring_file", "componenu_keyring_file"


@functools.cache
def loader():
    """The program loader of the MySQL's own suite, and the folder of its libraries."""
    words = tool("mysql_migrate_keyring")
    return words[0], words[2]


@functools.cache
def library_folder():
    """A folder with both libraries; .cnf files there send on to another folder."""
    shipped = pathlib.Path(tool("mysql_migrate_keyring")[-1]).parents[1] / f"lib/mysql/plugin/{SHIPPED}.so"
    folder = tempfile.TemporaryDirectory(prefix="rh-component-")  # goes with the process
    library_folder.kept = folder
    path = pathlib.Path(folder.name)
    path.chmod(0o755)
    (path / f"{SHIPPED}.so").write_bytes(shipped.read_bytes())
    (path / f"{COPY}.so").write_bytes(shipped.read_bytes().replace(b"component_keyrin", b"componenu_keyrin"))
    for name in (SHIPPED, COPY):
        (path / f"{name}.cnf").write_text('{"read_local_config": true}', encoding="utf-8")
    return path


class ComponentKeystore(Keystore):
    """A keystore of component_keyring_file's format, which rehome reads and writes by a library."""

    kind = "keyring_component"

    def __init__(self, path, keys=None, more="", library=COPY):
        super().__init__(path, keys)
        self.instance = self.path.parent.with_name(self.path.parent.name + ".instance")
        self.instance.mkdir(exist_ok=True)
        (self.instance / f"{library}.cnf").write_text(
            json.dumps({"path": str(self.path), "read_only": False}), encoding="utf-8")
        program, libraries = loader()
        self.more = (f'library = "{library_folder()}/{library}.so" instance_dir = "{self.instance}" '
                     f'loader = "{program}" library_path = "{libraries}" {more}')

    def block(self, side):
        return f'{side} "{self.kind}" {{ {self.more} }}'


class TwinKeystore(Keystore):
    """The tests' own component (tests/tools/component-twin.c), in a file that its configuration doesn't call the keys': rehome takes it
    for one that keeps them elsewhere, and it writes in place."""

    kind = "keyring_component"

    def __init__(self, path, keys=None, more="", name="component_twin"):
        folder = pathlib.Path(path).parent.with_name(pathlib.Path(path).parent.name + ".twin")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.so").write_bytes((BUILD / "tests/tools/component_twin.so").read_bytes())
        (folder / f"{name}.cnf").write_text(json.dumps({"keys_at": str(path)}), encoding="utf-8")
        super().__init__(path, keys, f'library = "{folder}/{name}.so" {more}')

    def block(self, side):
        return f'{side} "{self.kind}" {{ {self.more} }}'

    def encode(self, path, keys):
        path.write_text("".join(
            " ".join(part.hex() for part in (owner, name, kind, data)) + " \n" for (owner, name), (kind, data) in keys.items()))

    def decode(self, path):
        found = {}
        for line in path.read_text().splitlines():
            owner, name, kind, data = (bytes.fromhex(part) for part in line.split(" ")[:4])
            assert (owner, name) not in found
            found[owner, name] = (kind, data)
        return found
