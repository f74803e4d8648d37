# SPDX-License-Identifier: Apache-2.0
"""Vault's layouts written and read without rehome, private servers, and what else all tests of moves share.

The build must be made with -Dtest_hooks=true.
"""
import base64
import ctypes
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import conftest
import pytest

TOP = conftest.ROOT
BUILD = conftest.build_dir().resolve()
REHOME = BUILD / "src/cli/rehome"
MARKER, LOCK, SEAL = b"core/migration", b"core/lock", b"core/seal-config"
SHAPE = "(vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key))"

OK, USAGE, PLAN, SOURCE, DESTINATION, MISMATCH, LOCKED, INTERRUPTED, REFUSED, INTERNAL = range(10)
KILLED = -signal.SIGKILL

TIMEOUT = 120  # of one command; a hang is a failure

OWN_TEMPORARIES = b".rehome-tmp"  # what a crash may leave there is no record, and gone after the next run


# --- file storage ---


def tree_file(path, key):
    """The file behind a key: the last part begins with '_'."""
    folder, _, name = os.fsdecode(key).rpartition("/")
    return pathlib.Path(path) / folder / ("_" + name)


def tree_put(path, key, value, content=None):
    """Writes a record as Vault does, or a file of any content."""
    file = tree_file(path, key)
    file.parent.mkdir(parents=True, exist_ok=True)
    inside = content if content is not None else b'{"Value":"' + base64.b64encode(value) + b'"}\n'
    if len(os.fsencode(file.name)) > 250:  # no room for the temporary's name
        file.write_bytes(inside)
        return
    temp = file.with_name(file.name + ".temp")
    temp.write_bytes(inside)
    temp.chmod(0o600)
    temp.rename(file)


def tree_fill(path, records):
    os.makedirs(path, exist_ok=True)
    for key, value in records.items():
        tree_put(path, key, value)


def read_tree(path, crashed=False, torn=None, tidy=False):
    """key -> value (None for null). Anything that isn't a record of Vault's is an error; with `crashed` our own
    temporaries may lie about, with `torn` (a list) files without a whole value are named there instead, with `tidy`
    an empty folder is an error, too."""
    found, top = {}, os.fsencode(path)
    for folder, folders, files in os.walk(top):
        if crashed and OWN_TEMPORARIES in folders:
            folders.remove(OWN_TEMPORARIES)
        for name in files:
            full = os.path.join(folder, name)
            assert name.startswith(b"_") and not name.endswith(b".temp"), f"a stray file: {full!r}"
            assert os.path.isfile(full) and not os.path.islink(full), full
            part = os.path.relpath(folder, top)
            key = (b"" if part == b"." else part + b"/") + name[1:]
            try:
                with open(full, "rb") as file:
                    content = json.load(file)
            except ValueError:
                if torn is None:
                    raise AssertionError(f"no whole value in {full!r}") from None
                torn.append(key)
                continue
            assert list(content) == ["Value"], full
            found[key] = None if content["Value"] is None else base64.b64decode(content["Value"], validate=True)
        if tidy and folder != top:
            assert folders or files, f"an empty folder: {folder!r}"
    return found


# --- servers ---


class Client:
    """A connection of the tests' own, on libmariadb: the mariadb program takes too long to start a thousand times."""

    library = None

    def __init__(self, socket_path, user="root", password=None):
        if not Client.library:
            Client.library = one = ctypes.CDLL("libmariadb.so.3")
            for name in ("mysql_init", "mysql_real_connect", "mysql_store_result"):
                getattr(one, name).restype = ctypes.c_void_p
            one.mysql_fetch_row.restype = ctypes.POINTER(ctypes.c_void_p)
            one.mysql_fetch_lengths.restype = ctypes.POINTER(ctypes.c_ulong)
            one.mysql_error.restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p(self.library.mysql_init(None))
        several = 1 << 16  # statements in one query
        done = self.library.mysql_real_connect(
            self.handle, None, user.encode(), password and password.encode(), None, 0, os.fsencode(socket_path), ctypes.c_ulong(several)
        )
        assert done, self.error()

    def error(self):
        return self.library.mysql_error(self.handle).decode(errors="replace")

    def rows(self, text):
        """All rows of all the statements' results, as lists of text."""
        query, found, one = text.encode(), [], self.library
        bad = one.mysql_real_query(self.handle, query, ctypes.c_ulong(len(query)))
        while bad == 0:
            result = ctypes.c_void_p(one.mysql_store_result(self.handle))
            if result:
                width = one.mysql_num_fields(result)
                while row := one.mysql_fetch_row(result):
                    sizes = one.mysql_fetch_lengths(result)
                    found.append([ctypes.string_at(row[i], sizes[i]).decode() if row[i] else "NULL" for i in range(width)])
                one.mysql_free_result(result)
            assert one.mysql_errno(self.handle) == 0, f"{text[:200]!r}: {self.error()}"
            bad = one.mysql_next_result(self.handle)
        assert bad < 0 and one.mysql_errno(self.handle) == 0, f"{text[:200]!r}: {self.error()}"
        return found

    def close(self):
        self.library.mysql_close(self.handle)


class Server:
    """A private server: "mariadb" or "mysql". The fault tests run on servers of other kinds, too, whose classes (consullib.py,
    pglib.py) have the same members."""

    files = ("MYSQL_PASSWORD_FILE", "MYSQL_CA")  # of the environment, that a move reads
    can = {"null", "container"}  # hold NULL values; have something that a move makes and drops

    def __init__(self, *options, kind="mariadb"):
        self.kind, self.script = kind, TOP / "tests/servers" / kind
        self.dir = tempfile.mkdtemp(prefix="rh-test-db-")
        os.chmod(self.dir, 0o755)
        try:
            self._call("start", *options)
        except BaseException:
            shutil.rmtree(self.dir, ignore_errors=True)
            raise
        self.env, self.client = {}, None
        for line in pathlib.Path(self.dir, "env").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            self.env[name] = value
        self.port = int(self.env["MYSQL_PORT"])
        self.password = pathlib.Path(self.env["MYSQL_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()

    def another(self, *options):
        """A second server of the same kind, with options of its own."""
        return Server(*options, kind=self.kind)

    def _call(self, verb, *more, **how):
        # files, not pipes: a server that was started keeps what it has inherited open
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run([self.script, verb, self.dir, *more], stdout=out, stderr=err, timeout=TIMEOUT, check=False, **how)
            out.seek(0), err.seek(0)
            assert done.returncode == 0, f"tests/servers/{self.kind} {verb}: {err.read().decode(errors='replace')}"
            return out.read()

    def sql(self, text):
        """Rows as lists of text, as root over the socket."""
        self.client = self.client or Client(self.env["MYSQL_SOCKET"])
        return self.client.rows(text)

    def leave(self):
        if self.client:
            self.client.close()
            self.client = None

    def kill(self):
        self.leave()
        self._call("kill")

    def restart(self):
        self.leave()
        self._call("restart")

    def stop(self):
        self.leave()
        self._call("stop")
        shutil.rmtree(self.dir, ignore_errors=True)

    def fresh(self):
        """An empty start: no database `vault`; the account as it was made."""
        self.end_connections()
        self.sql("DROP DATABASE IF EXISTS vault; GRANT ALL ON vault.* TO vault@'%'; FLUSH PRIVILEGES")

    @property
    def word(self):
        return {"mariadb": "MariaDB", "mysql": "MySQL"}[self.kind]

    def revoke(self, right="ALL"):
        """Takes a right of the moves' account away and ends its sessions; how many there were."""
        self.sql(f"REVOKE {right} ON vault.* FROM vault@'%'; FLUSH PRIVILEGES")
        return self.end_connections()

    def grant(self):
        self.sql("GRANT ALL ON vault.* TO vault@'%'; FLUSH PRIVILEGES")

    def end_connections(self):
        """Ends the sessions of the moves' account; how many there were."""
        # MySQL's view fails as a whole while any statement holds bytes that aren't text
        table, column = ("performance_schema.threads", "processlist_") if self.kind == "mysql" else ("information_schema.processlist", "")
        ids = [row[0] for row in self.sql(f"SELECT {column}id FROM {table} WHERE {column}user = 'vault'")]
        for one in ids:
            try:
                self.sql(f"KILL {one}")
            except AssertionError:
                pass  # it has ended by itself
        return len(ids)

    def client_words(self, *more):
        """The command line of the server's own client, as root."""
        return ["mariadb", "--no-defaults", "-uroot", "-N", "-B", *more, "--socket=" + self.env["MYSQL_SOCKET"]]

    def stanza(self, **more):
        """The members of a `mysql` stanza as Vault takes them."""
        members = {
            "username": "vault",
            "password": self.password,
            "address": f"127.0.0.1:{self.port}",
            "tls_ca_file": self.env["MYSQL_CA"],
        }
        return ("mysql", {**members, **{name: value for name, value in more.items() if value is not None}})

    def make_table(self, table="vault", shape=SHAPE):
        self.sql(f"CREATE DATABASE IF NOT EXISTS vault; CREATE TABLE IF NOT EXISTS vault.{table} {shape}")

    def fill(self, records, table="vault", shape=SHAPE):
        self.make_table(table, shape)
        pack, size = [], 0
        for key, value in [*records.items(), (b"", None)]:  # the last one only ends the last pack
            if pack and (value is None or len(pack) == 200 or size + len(value) > 4 << 20):
                self.sql(f"INSERT INTO vault.{table} VALUES {','.join(pack)}")
                pack, size = [], 0
            if value is not None:
                pack.append(f"(x'{key.hex()}', x'{value.hex()}')")
                size += len(value)

    def put(self, key, value, table="vault"):
        text = "NULL" if value is None else f"x'{value.hex()}'"
        self.sql(f"REPLACE INTO vault.{table} VALUES (x'{key.hex()}', {text})")

    def drop(self, key, table="vault"):
        self.sql(f"DELETE FROM vault.{table} WHERE vault_key = x'{key.hex()}'")

    def read(self, table="vault"):
        """key -> value (None for NULL); None when there is no table."""
        there = self.sql(
            f"SELECT count(*) FROM information_schema.tables WHERE table_schema = 'vault' AND table_name = '{table}'"
        )
        if there == [["0"]]:
            return None
        # in pieces: no function's result may be longer than the server's packet
        pieces = ", ".join(f"HEX(SUBSTRING(vault_value, {1 + (i << 22)}, {1 << 22}))" for i in range(5))
        rows = self.sql(f"SELECT HEX(vault_key), vault_value IS NULL, {pieces} FROM vault.{table}")
        return {bytes.fromhex(row[0]): None if row[1] == "1" else bytes.fromhex("".join(row[2:])) for row in rows}


@functools.lru_cache(maxsize=None)
def missing_server(kind):
    """Why a server of this kind can't be had; '' when it can."""
    done = subprocess.run([TOP / "tests/servers" / kind, "have"], capture_output=True, check=False)
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip() or "no words"


@pytest.fixture(scope="module")
def server(request):
    """A server for the module's tests; conftest.py says which tests get which kinds."""
    kind = getattr(request, "param", "mariadb")
    if why := missing_server(kind):
        pytest.skip(f"no {kind} server to be had: {why}")
    if kind == "consul":
        from consullib import ConsulServer  # which needs this file

        one = ConsulServer()
    elif kind == "postgresql":
        from pglib import PgServer

        one = PgServer()
    else:
        one = Server(kind=kind)
    yield one
    one.stop()
