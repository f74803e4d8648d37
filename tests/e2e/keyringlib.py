# SPDX-License-Identifier: Apache-2.0
"""MySQL's keyrings without rehome: a real server with a keyring, keys by SQL, encrypted data, both formats of keystores.

    def test_it(keyring_server, tmp_path):
        keyring_server.make_key("text", b"secret")  # app1's, by keyring_udf
        keyring_server.encrypt()                    # tables, tablespaces, redo, undo and binary logs
        keyring_server.rotate(2)
        rows, keys = keyring_server.rows(), keyring_server.keys()
        ...                                         # moves keyring_server.keystore to `new`
        keyring_server.use(new)                     # the server restarted on it
        assert (keyring_server.rows(), keyring_server.keys()) == (rows, keys)

Keystores are read and written as a dictionary (owner, id) -> (type, data), all bytes.
"""
import functools
import hashlib
import json
import pathlib
import struct
import subprocess
import time

import pytest

from vaultlib import TOP, Client, Server, missing_server

SERVER_OPTIONS = ("--keyring", "--option=log-bin=binlog", "--option=server-id=1")


@functools.cache
def tool(name):
    """The words that run one of MySQL's own programs, e.g. mysql_migrate_keyring."""
    done = subprocess.run([TOP / "tests/servers/mysql", "tool", name], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


# --- servers ---


class KeyringServer(Server):
    """A private MySQL with component_keyring_file, keyring_udf and a binary log."""

    def __init__(self, *options):
        self.apps, self.made = {}, set()
        super().__init__(*SERVER_OPTIONS, *options, kind="mysql")

    def another(self, *options):
        return KeyringServer(*options)

    @property
    def keystore(self):
        """The data file that the component's configuration names."""
        return pathlib.Path(json.loads(self.cnf.read_text(encoding="utf-8"))["path"])

    @property
    def cnf(self):
        return pathlib.Path(self.env["MYSQL_COMPONENT_CNF"])

    @property
    def datadir(self):
        return pathlib.Path(self.env["MYSQL_DATA"])

    @property
    def pid(self):
        """Of the server that runs now."""
        lines = pathlib.Path(self.dir, "env").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("MYSQL_PID=")).partition("=")[2])

    @property
    def log(self):
        return pathlib.Path(self.env["MYSQL_LOG"]).read_text(encoding="utf-8", errors="replace")

    def leave(self):
        super().leave()
        for client in self.apps.values():
            client.close()
        self.apps = {}

    def halt(self):
        """Ends the server cleanly and keeps all it has; restart() starts it again."""
        self.leave()
        self._call("halt")

    def point(self, keystore):
        """Names another keystore, from the next start (or ALTER INSTANCE RELOAD KEYRING) on."""
        self._call("point", str(keystore))

    def use(self, keystore):
        """The server restarted on another keystore."""
        self.point(keystore)
        self.restart()

    def starts(self):
        """Whether it comes up, e.g. with a keystore that lacks a key; a halted one may be left behind."""
        try:
            self.restart()
            return True
        except AssertionError:
            return False

    def status(self):
        """performance_schema.keyring_component_status as a dictionary."""
        return dict(self.sql("SELECT status_key, status_value FROM performance_schema.keyring_component_status"))

    def as_app(self, text, owner="app1"):
        """Rows, as an account that makes keys."""
        if owner not in self.apps:
            self.apps[owner] = Client(self.env["MYSQL_SOCKET"], owner, self.password)
        return self.apps[owner].rows(text)

    def make_key(self, name, value, kind="SECRET", owner="app1"):
        """A key of somebody's by SQL. No zero bytes in the value: keyring_udf ends there without a word."""
        assert b"\0" not in value
        done = self.as_app(f"SELECT keyring_key_store({quoted(name)}, '{kind}', x'{value.hex()}')", owner)
        assert done == [["1"]], done
        self.made.add((owner, name))

    def generate_key(self, name, kind="AES", size=32, owner="app1"):
        done = self.as_app(f"SELECT keyring_key_generate({quoted(name)}, '{kind}', {size})", owner)
        assert done == [["1"]], done
        self.made.add((owner, name))

    def remove_key(self, name, owner="app1"):
        assert self.as_app(f"SELECT keyring_key_remove({quoted(name)})", owner) == [["1"]]
        self.made.discard((owner, name))

    def key(self, name, owner="app1"):
        """(type, hex of the value) as the server gives it to its owner; ("NULL", "NULL") where there is none."""
        text = quoted(name)
        return tuple(self.as_app(f"SELECT keyring_key_type_fetch({text}), hex(keyring_key_fetch({text}))", owner)[0])

    def keys(self):
        """All keys made here, as the server gives them: (owner, id) -> (type, hex)."""
        return {(owner, name): self.key(name, owner) for owner, name in sorted(self.made, key=repr)}

    def encrypt(self, rows=20):
        """Encrypts whatever this server can: tables of all kinds, tablespaces, mysql.ibd, redo, undo and binary logs."""
        values = ",".join(f"({i}, repeat(char(65 + {i} % 26), 200))" for i in range(rows))
        shape = "(id int PRIMARY KEY, v varchar(2000))"
        self.sql(
            f"CREATE DATABASE enc; CREATE TABLE enc.plain {shape};"
            f"CREATE TABLE enc.one {shape} ENCRYPTION='Y';"
            f"CREATE TABLE enc.packed {shape} ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4 ENCRYPTION='Y';"
            f"CREATE TABLE enc.parted {shape} ENCRYPTION='Y' PARTITION BY HASH(id) PARTITIONS 2;"
            "CREATE TABLESPACE shared ADD DATAFILE 'shared.ibd' ENCRYPTION='Y';"
            f"CREATE TABLE enc.inside {shape} TABLESPACE shared ENCRYPTION='Y';"
            "CREATE UNDO TABLESPACE more_undo ADD DATAFILE 'more_undo.ibu';"
            "ALTER TABLESPACE mysql ENCRYPTION='Y';"
            "SET GLOBAL innodb_redo_log_encrypt=ON; SET GLOBAL innodb_undo_log_encrypt=ON;"
            "SET GLOBAL binlog_encryption=ON; FLUSH BINARY LOGS"
        )
        for table in self.tables():
            self.sql(f"INSERT INTO enc.{table} VALUES {values}")

    def tables(self):
        return [row[0] for row in self.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'enc' ORDER BY 1")]

    def rows(self):
        """A digest of all rows of all tables made by encrypt(), read by the server."""
        text = hashlib.sha256()
        for table in self.tables():
            text.update(repr((table, self.sql(f"SELECT id, v FROM enc.{table} ORDER BY id"))).encode())
        return text.hexdigest()

    def rotate(self, times=1):
        for _ in range(times):
            self.sql("ALTER INSTANCE ROTATE INNODB MASTER KEY")

    def rotate_binlog(self, times=1):
        for _ in range(times):
            self.sql("ALTER INSTANCE ROTATE BINLOG MASTER KEY")


def wait_written(server):
    """Until the server has written the first page of every tablespace, with the page's type (bytes 24 and 25), which it
    leaves out when it makes the file: a proof by its files sees nothing before."""
    server.sql("SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0, GLOBAL innodb_max_dirty_pages_pct = 0")
    deadline = time.monotonic() + 60
    while any(not any(file.open("rb").read(26)[24:]) for file in pathlib.Path(server.datadir).rglob("*.ibd")):
        assert time.monotonic() < deadline, "the server doesn't write its tablespaces"
        time.sleep(0.05)


def quoted(name):
    """An id as an SQL literal; bytes are taken as they are."""
    return f"x'{name.hex()}'" if isinstance(name, bytes) else "'" + name.replace("\\", "\\\\").replace("'", "''") + "'"


@pytest.fixture(scope="module")
def keyring_server():
    """One server with a keyring for the module's tests."""
    if why := missing_server("mysql"):
        pytest.skip(f"no MySQL to be had: {why}")
    one = KeyringServer()
    yield one
    one.stop()


# --- keystores ---


def read_component(path):
    """The component's data file. Latin-1 takes any byte, since ids needn't be UTF-8."""
    text = pathlib.Path(path).read_bytes().decode("latin-1")
    found = {}
    for one in json.loads(text)["elements"] if text else []:
        name = (one["user"].encode("latin-1"), one["data_id"].encode("latin-1"))
        assert name not in found, f"twice: {name}"
        found[name] = (one["data_type"].encode("latin-1"), bytes.fromhex(one["data"]))
    return found


def write_component(path, keys):
    """The component's data file, as the server writes it; for ids that JSON needn't escape but for quotes and the like."""
    items = [
        {"user": owner.decode("latin-1"), "data_id": name.decode("latin-1"), "data_type": kind.decode("latin-1"),
         "data": data.hex().upper(), "extension": []}
        for (owner, name), (kind, data) in keys.items()
    ]
    text = json.dumps({"version": "1.0", "elements": items}, ensure_ascii=False, separators=(",", ":"))
    pathlib.Path(path).write_bytes(text.encode("latin-1"))


MASK = b"*305=Ljt0*!@$Hnm(*-9-w;:"


def masked(data):
    """The plugin's obfuscation, there and back."""
    return bytes(byte ^ MASK[i % len(MASK)] for i, byte in enumerate(data))


def read_plugin(path, order="<", word=8):
    """The plugin's data file, 1.0 or 2.0, its digest checked; order and word of the server that wrote it."""
    whole = pathlib.Path(path).read_bytes()
    if not whole:
        return {}
    version, found, at = whole[:24].decode(), {}, 24
    assert version in ("Keyring file version:1.0", "Keyring file version:2.0"), version
    end = len(whole) - (35 if version.endswith("2.0") else 3)
    assert whole[end:end + 3] == b"EOF"
    if version.endswith("2.0"):
        assert hashlib.sha256(whole[24:end]).digest() == whole[end + 3:], "wrong digest"
    while at < end:
        size, *lengths = struct.unpack_from(order + {8: "5Q", 4: "5I"}[word], whole, at)
        parts, here = [], at + 5 * word
        for length in lengths:
            parts.append(whole[here:here + length])
            here += length
        assert here <= at + size <= end and size % word == 0, (at, size)
        assert not any(whole[here:at + size]), "padding"
        assert (parts[2], parts[0]) not in found, "twice"
        found[parts[2], parts[0]] = (parts[1], masked(parts[3]))
        at += size
    assert at == end
    return found


def write_plugin(path, keys, version="2.0", order="<", word=8):
    """The plugin's data file; for another architecture the digest is over the bytes as they stand there."""
    pods = b""
    for (owner, name), (kind, data) in keys.items():
        inside = name + kind + owner + masked(data)
        size = -(-(5 * word + len(inside)) // word) * word
        head = struct.pack(order + {8: "5Q", 4: "5I"}[word], size, len(name), len(kind), len(owner), len(data))
        pods += (head + inside).ljust(size, b"\0")
    digest = hashlib.sha256(pods).digest() if version == "2.0" else b""
    pathlib.Path(path).write_bytes(b"Keyring file version:" + version.encode() + pods + b"EOF" + digest)


# --- MySQL's own migrator ---


def migrate_by_mysql(source, destination, folder, *more):
    """mysql_migrate_keyring from one component file to another; its result. It wants two components of different names,
    so the second is a copy of the shipped one with its name changed by a letter."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    program = tool("mysql_migrate_keyring")
    shipped = pathlib.Path(program[-1]).parents[1] / "lib/mysql/plugin/component_keyring_file.so"
    first, second = "component_keyring_file", "componenu_keyring_file"
    (folder / f"{first}.so").write_bytes(shipped.read_bytes())
    (folder / f"{second}.so").write_bytes(shipped.read_bytes().replace(b"component_keyrin", b"componenu_keyrin"))
    words = [*program, "--no-defaults", f"--component-dir={folder}"]
    for side, name, path in (("source", first, source), ("destination", second, destination)):
        (folder / f"{name}.cnf").write_text('{"read_local_config": true}', encoding="utf-8")
        (folder / side).mkdir(exist_ok=True)
        (folder / side / f"{name}.cnf").write_text(json.dumps({"path": str(path), "read_only": False}), encoding="utf-8")
        words += [f"--{side}-keyring={name}", f"--{side}-keyring-configuration-dir={folder / side}"]
    return subprocess.run([*words, *more], capture_output=True, text=True, timeout=120, check=False)
