# SPDX-License-Identifier: Apache-2.0
"""Keystores as sides of a move (faultlib.Move): made, read and looked at without rehome."""
import os
import pathlib
import random
import subprocess
import tempfile

import archive_reader
from faultlib import OK, Move
from keyringlib import read_component, read_plugin, write_component, write_plugin

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/keyring"
SERVER_KEY = b"INNODBKey-6d796b72-0907-4bad-8000-000000000001-%d"


def make_keys(count=20, seed=1):
    """Keys of a server and of accounts: (owner, id) -> (type, data)."""
    rng = random.Random(seed)
    keys = {(b"", SERVER_KEY % n): (b"AES", rng.randbytes(32)) for n in range(1, 4)}
    for n in range(len(keys), count):
        kind, sizes = rng.choice([(b"AES", [16, 24, 32]), (b"RSA", [128, 256]), (b"DSA", [128]), (b"SECRET", [1, 40])])
        keys[rng.choice([b"app1@localhost", b"app2@%"]), b"key-%d-%d" % (seed, n)] = (kind, rng.randbytes(rng.choice(sizes)))
    return keys


class Keystore:
    """A keystore's file and what lies beside it."""

    kind = "component_keyring_file"

    def __init__(self, path, keys=None, more=""):
        self.path, self.more = pathlib.Path(path), more
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if keys is not None:
            self.write(keys)

    def block(self, side):
        return f'{side} "{self.kind}" {{ path = "{self.path}" {self.more} }}'

    @property
    def backup(self):
        return self.path.with_name(self.path.name + ".backup")

    def write(self, keys, path=None):
        path = path or self.path
        self.encode(path, keys)
        path.chmod(0o640)

    def encode(self, path, keys):
        write_component(path, keys)

    def decode(self, path):
        return read_component(path)

    def read(self):
        return self.decode(self.path) if self.path.exists() else None

    def state(self):
        """All that a keystore is, bit for bit: bytes, owner, mode of its file and of its .backup."""
        found = []
        for path in (self.path, self.backup):
            if path.exists():
                look = path.stat()
                found.append((path.name, path.read_bytes(), look.st_mode, look.st_uid, look.st_gid))
        return found

    def beside(self):
        """Names in its folder that aren't the keystore's file."""
        return sorted(name for name in os.listdir(self.path.parent) if name != self.path.name)


class PluginKeystore(Keystore):
    kind = "keyring_file"
    version = "2.0"

    def __init__(self, path, keys=None, more="", version="2.0", order="<", word=8):
        self.version, self.order, self.word = version, order, word
        super().__init__(path, keys, more)

    def encode(self, path, keys):
        write_plugin(path, keys, self.version, self.order, self.word)

    def decode(self, path):
        return read_plugin(path, self.order, self.word)


class SealedKeystore(Keystore):
    """Written by rehome itself, from a component's file; read by archive_reader.py."""

    kind = "sealed_keyring"
    key = bytes(range(100, 132))

    def __init__(self, path, keys=None, more=""):
        key_file = pathlib.Path(path).parent.with_suffix(".key")
        key_file.parent.mkdir(parents=True, exist_ok=True)
        key_file.write_bytes(self.key)
        key_file.chmod(0o600)
        super().__init__(path, keys, f'key_file = "{key_file}" {more}')

    def encode(self, path, keys):
        path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            plain = Keystore(f"{folder}/keys", keys)
            Move(f"{folder}/m", plain, self).must(OK)

    def decode(self, path):
        return archive_reader.keyring(archive_reader.read(path.read_bytes(), key=self.key))


def make_mariadb_keys(count=9, first=1, seed=1):
    """Keys of a MariaDB server, by the names that they have elsewhere: numbers first, first + 1, ..."""
    rng = random.Random(seed * 1000 + first)
    return {(b"", b"mariadb-%d" % n): (b"AES", rng.randbytes(rng.choice([16, 24, 32]))) for n in range(first, first + count)}


class MariadbKeyFile(Keystore):
    """The key file of file_key_management; with a filekey as `openssl enc` encrypts it."""

    kind = "mariadb_key_file"

    def __init__(self, path, keys=None, more="", filekey=None, options=("-md", "sha1")):
        self.filekey, self.options = filekey, options
        path = pathlib.Path(path)
        if filekey:
            self.filekey_file = path.parent.with_suffix(".filekey")
            self.filekey_file.parent.mkdir(parents=True, exist_ok=True)
            self.filekey_file.write_text(filekey + "\n", encoding="utf-8")
            self.filekey_file.chmod(0o600)
            more += f' filekey = "FILE:{self.filekey_file}"'
        super().__init__(path, keys, more)

    def openssl(self, content, *way):
        if not self.filekey:
            return content
        return subprocess.run(
            ["openssl", "enc", "-aes-256-cbc", *self.options, "-pass", f"file:{self.filekey_file}", *way],
            input=content, capture_output=True, check=True,
        ).stdout

    def write_text(self, text, path=None):
        path = path or self.path
        path.write_bytes(self.openssl(text.encode()))
        path.chmod(0o600)

    def text(self, path=None):
        return self.openssl((path or self.path).read_bytes(), "-d").decode()

    def encode(self, path, keys):
        lines = [f"{name.partition(b'-')[2].decode()};{data.hex()}\n" for (_, name), (_, data) in keys.items()]
        self.write_text("# the keys of a server\n" + "".join(lines), path)

    def decode(self, path):
        """As the server reads it."""
        lines = [line.strip() for line in self.text(path).split("\n")]
        pairs = [line.split(";") for line in lines if line and not line.startswith("#")]
        keys = {int(number): bytes.fromhex(digits.split()[0]) for number, digits in pairs}
        assert 1 in keys
        return {(b"", b"mariadb-%d" % number): (b"AES", data) for number, data in keys.items()}
