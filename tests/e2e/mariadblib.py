# SPDX-License-Identifier: Apache-2.0
"""A MariaDB that encrypts all it can, and is restarted on other keys.

    with EncryptedMariadb(key_file, algorithm="AES_CBC") as server:
        server.encrypt()                     # tables under keys 1 and 2, InnoDB's and Aria's
        ...                                  # moves the keys
        server.use(other_key_file)           # restarted on them
        server.all_there()
"""
import os
import pathlib
import shutil
import struct
import tempfile

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from vaultlib import Server

PLAIN = "words-that-must-not-be-on-disk"
ENCRYPTION = (
    "innodb-encrypt-tables=FORCE", "innodb-encrypt-log=ON", "innodb-encryption-threads=1", "encrypt-binlog=ON",
    "encrypt-tmp-files=ON", "aria-encrypt-tables=ON", "log-bin=binlog", "server-id=1", "innodb-buffer-pool-size=16M",
)


def account():
    """Of the server that root starts; None where nobody else is needed."""
    return "mysql" if os.geteuid() == 0 else None


class Keys:
    """A folder that the server's account owns, for key files."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="rh-mkeys-"))
        self.path.chmod(0o755)

    def folder(self, name):
        path = self.path / name
        path.mkdir()
        if account():
            shutil.chown(path, account(), account())
        return path

    def own(self, *paths):
        for path in paths:
            if account() and path:
                shutil.chown(path, account(), account())

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def by_file(store, algorithm):
    """The server's options for a key file."""
    return [
        "plugin-load-add=file_key_management", f"file-key-management-filename={store.path}",
        f"file-key-management-encryption-algorithm={algorithm}",
        *([f"file-key-management-filekey=FILE:{store.filekey_file}"] if store.filekey else []),
    ]


class EncryptedMariadb(Server):
    def __init__(self, *keys):
        self.keys = list(keys)
        super().__init__("--no-tls", *(f"--option={one}" for one in (*keys, *ENCRYPTION)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def data(self):
        return pathlib.Path(self.env["MYSQL_DATA"])

    @property
    def log(self):
        return pathlib.Path(self.env["MYSQL_LOG"]).read_text(encoding="utf-8", errors="replace")

    def use(self, *keys):
        """Restarted with other options for its keys."""
        path = pathlib.Path(self.dir, "args")
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[2:] not in self.keys]
        self.keys = list(keys)
        path.write_text("\n".join([*lines, *(f"--{one}" for one in keys)]) + "\n", encoding="utf-8")
        self.restart()

    def encrypt(self, rows=50):
        """Tables under both keys, and what is in the logs of them."""
        values = ",".join(f"({i}, '{PLAIN} {i}')" for i in range(rows))
        self.rows = [[str(i), f"{PLAIN} {i}"] for i in range(rows)]
        self.sql("CREATE DATABASE enc")
        for name, more in (("one", ""), ("two", "ENCRYPTED=YES ENCRYPTION_KEY_ID=2"), ("aria", "ENGINE=Aria")):
            self.sql(f"CREATE TABLE enc.{name} (i int PRIMARY KEY, v varchar(200)) {more}")
            self.sql(f"INSERT INTO enc.{name} VALUES {values}")
        self.sql("FLUSH TABLES enc.one, enc.two FOR EXPORT")
        self.sql("UNLOCK TABLES")

    def all_there(self):
        """Every row, and the binary log from its beginning; nothing of it in the clear."""
        for name in ("one", "two", "aria"):
            assert self.sql(f"SELECT i, v FROM enc.{name} ORDER BY i") == self.rows, name
        said = self.sql("SHOW BINLOG EVENTS IN 'binlog.000001'")
        assert any("enc" in row[-1] for row in said)
        for path in [*self.data.rglob("enc/*"), *self.data.glob("binlog.0*"), *self.data.glob("ib_logfile*")]:
            assert PLAIN.encode() not in path.read_bytes(), path


def make_tablespace(datadir, name, number, key, ctr=False, space=77, page=3, lsn=0x123456):
    """As much of an encrypted tablespace as tells of its key: page 0 and one more."""
    salt, vector = os.urandom(16), struct.pack("<IIQ", space, page, lsn)
    own = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(salt)
    plain = bytes(8) + struct.pack(">I", space) + bytes(4)
    mode = modes.CTR(vector) if ctr else modes.CBC(vector)
    block = Cipher(algorithms.AES(own), mode).encryptor().update(plain)
    content = bytearray(65536)
    content[34:38], content[54:58] = struct.pack(">I", space), struct.pack(">I", 0x15)
    content[10428:10461] = b"s\x0e\x0cREt\x01\x10" + salt + struct.pack(">IIB", 1, number, 1)
    content[page * 16384:page * 16384 + 24] = struct.pack(">IIQQ", 1, page, 0, lsn)
    content[page * 16384 + 26:page * 16384 + 42] = block
    path = pathlib.Path(datadir) / f"{name}.ibd"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --- in a Vault ---


class VaultKeys:
    """A KV engine of version 2 with MariaDB's keys, as a side of a move."""

    kind = "mariadb_key_vault"

    def __init__(self, vault, mount, token_file, more='encryption_algorithm = "aes_cbc"'):
        self.vault, self.mount, self.more = vault, mount, more
        self.access = f'token_file = "{token_file}" tls {{ ca_file = "{vault.ca}" }}'

    def block(self, side):
        return f'{side} "{self.kind}" {{ vault_url = "{self.vault.url}/v1/{self.mount}" {self.access} {self.more} }}'

    def put(self, keys):
        for (_, name), (_, data) in keys.items():
            self.vault.put(f"{self.mount}/{name.decode().partition('-')[2]}", {"data": data.hex()})

    def read(self):
        """What a server would get, all of version 1; None where there is nothing, not even something deleted."""
        names, keys = self.vault.names(self.mount), {}
        for name in names:
            item = self.vault.mounts[""][self.mount + "/"].items[name]
            assert item.current == 1 and set(item.versions[1]["data"]) == {"data"}, name
            keys[b"", b"mariadb-" + name.encode()] = (b"AES", bytes.fromhex(item.versions[1]["data"]["data"]))
        return keys or None

    def state(self):
        """Everything, with versions and what was deleted."""
        items = self.vault.mounts[""][self.mount + "/"].items
        return {name: [(n, repr(v)) for n, v in sorted(item.versions.items())] for name, item in items.items()}


def by_vault(store, token, ca):
    """The server's options for keys in a Vault."""
    return [
        "plugin-load-add=hashicorp_key_management.so", f"hashicorp-key-management-vault-url={store.vault.url}/v1/{store.mount}",
        f"hashicorp-key-management-token={token}", f"hashicorp-key-management-vault-ca={ca}",
    ]
