# SPDX-License-Identifier: Apache-2.0
"""The real component_keyring_file of MySQL, and a copy of it under another name, as keystores of the driver keyring_component."""
import functools
import json
import pathlib
import tempfile

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
