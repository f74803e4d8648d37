# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL for the tests, and a reader and writer of Vault's table in it that owes nothing to rehome."""
import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile

from vaultlib import TIMEOUT, TOP

SHAPE = ('(parent_path TEXT COLLATE "C" NOT NULL, path TEXT COLLATE "C", key TEXT COLLATE "C", value BYTEA, '
         "PRIMARY KEY (path, key))")


def split(key):
    """parent_path, path, key, as Vault splits a key (sentence by sentence after its source)."""
    pieces = key.split(b"/")
    if len(pieces) == 1:
        return b"", b"/", pieces[0]
    parent = b"/" if len(pieces) == 2 else b"/" + b"/".join(pieces[:-2]) + b"/"
    return parent, b"/" + b"/".join(pieces[:-1]) + b"/", pieces[-1]


def text(data):
    """Bytes as an SQL text of the server's encoding."""
    return f"convert_from('\\x{data.hex()}', 'UTF8')"


class Client:
    """A connection of the tests' own, on libpq: psql takes too long to start a thousand times."""

    library = None

    def __init__(self, how):
        if not Client.library:
            Client.library = one = ctypes.CDLL("libpq.so.5")
            for name in ("PQconnectdb", "PQexec"):
                getattr(one, name).restype = ctypes.c_void_p
            for name in ("PQerrorMessage", "PQgetvalue"):
                getattr(one, name).restype = ctypes.c_char_p
        self.handle = ctypes.c_void_p(self.library.PQconnectdb(how.encode()))
        assert self.library.PQstatus(self.handle) == 0, self.error()

    def error(self):
        return self.library.PQerrorMessage(self.handle).decode(errors="replace")

    def rows(self, query):
        """All rows of the last statement's result, as lists of text."""
        one = self.library
        result = ctypes.c_void_p(one.PQexec(self.handle, query.encode()))
        try:
            assert one.PQresultStatus(result) in (1, 2), f"{query[:200]!r}: {self.error()}"
            return [["NULL" if one.PQgetisnull(result, row, i) else one.PQgetvalue(result, row, i).decode()
                     for i in range(one.PQnfields(result))] for row in range(one.PQntuples(result))]
        finally:
            one.PQclear(result)

    def close(self):
        self.library.PQfinish(self.handle)


class PgServer:
    """A private PostgreSQL. The tables of the moves lie in the database vault, in a schema that fresh() makes anew."""

    kind, word = "postgresql", "PostgreSQL"
    files = ("PG_PASSWORD_FILE", "PG_CA")
    can = {"null", "container"}

    def __init__(self, *options):
        self.script = TOP / "tests/servers/postgresql"
        self.dir = tempfile.mkdtemp(prefix="rh-test-pg-")
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
        self.port = int(self.env["PG_PORT"])

    def another(self, *options):
        """A second server, with options of its own."""
        return PgServer(*options)

    def _call(self, verb, *more):
        # files, not pipes: a server that was started keeps what it has inherited open
        with tempfile.TemporaryFile() as err:
            done = subprocess.run([self.script, verb, self.dir, *more], stdout=err, stderr=err, timeout=TIMEOUT, check=False)
            err.seek(0)
            assert done.returncode == 0, f"tests/servers/postgresql {verb}: {err.read().decode(errors='replace')}"

    def sql(self, query):
        """Rows as lists of text, as the server's superuser over its socket."""
        self.client = self.client or Client(
            f"host={self.env['PG_SOCKET']} port={self.port} user=postgres dbname=vault options='-c client_min_messages=error'")
        return self.client.rows(query)

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
        """An empty start; the account as it was made."""
        self.end_connections()
        self.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION vault; ALTER ROLE vault LOGIN")

    def revoke(self, right="ALL"):
        """Takes a right of the moves' account away and ends its sessions; how many there were."""
        ended = self.end_connections()  # first: a scan under way holds a lock on its table
        # an owner could grant it to himself again, so somebody else owns what is there
        self.sql("GRANT USAGE ON SCHEMA public TO vault; ALTER SCHEMA public OWNER TO postgres")
        for name, in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            self.sql(f"ALTER TABLE {name} OWNER TO postgres; GRANT ALL ON {name} TO vault; REVOKE {right} ON {name} FROM vault")
        return ended + self.end_connections()

    def grant(self):
        self.sql("ALTER SCHEMA public OWNER TO vault")
        for name, in self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            self.sql(f"ALTER TABLE {name} OWNER TO vault; GRANT ALL ON {name} TO vault")

    def end_connections(self):
        """Ends the sessions of the moves' account; how many there were."""
        return len(self.sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'vault'"))

    def make_table(self, table="vault"):
        self.sql(f"CREATE TABLE IF NOT EXISTS {table} {SHAPE}; ALTER TABLE {table} OWNER TO vault")

    @staticmethod
    def _row(key, value):
        columns = ", ".join(text(part) for part in split(key))
        return f"({columns}, " + ("NULL" if value is None else f"'\\x{value.hex()}'") + ")"

    def fill(self, records, table="vault"):
        self.make_table(table)
        rows = [self._row(key, value) for key, value in records.items()]
        for at in range(0, len(rows), 200):
            self.sql(f"INSERT INTO {table} VALUES {','.join(rows[at:at + 200])}")

    def put(self, key, value, table="vault"):
        self.sql(f"INSERT INTO {table} VALUES {self._row(key, value)} ON CONFLICT (path, key) DO UPDATE SET value = EXCLUDED.value")

    def drop(self, key, table="vault"):
        _, path, name = split(key)
        self.sql(f"DELETE FROM {table} WHERE path = {text(path)} AND key = {text(name)}")

    def read(self, table="vault"):
        """key -> value (None for NULL); None when there is no table. A row that Vault wouldn't find is an error."""
        if self.sql(f"SELECT to_regclass('{table}') IS NULL") == [["t"]]:
            return None
        found = {}
        for *columns, is_null, value in self.sql(
            f"SELECT encode(convert_to(parent_path, 'UTF8'), 'hex'), encode(convert_to(path, 'UTF8'), 'hex'), "
            f"encode(convert_to(key, 'UTF8'), 'hex'), value IS NULL, encode(value, 'hex') FROM {table}"
        ):
            parts = tuple(bytes.fromhex(column) for column in columns)
            key = parts[1][1:] + parts[2]
            assert split(key) == parts, f"a row of nobody: {parts}"
            found[key] = None if is_null == "t" else bytes.fromhex(value)
        return found
