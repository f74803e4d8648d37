# SPDX-License-Identifier: Apache-2.0
"""What only a PostgreSQL can be or have: tablespaces, poolers before it, connection strings."""
import os
import pathlib
import shutil
import socket
import subprocess
import time

import pytest
from faultlib import (
    DESTINATION,
    EXTRAS,
    MARKER,
    OK,
    REFUSED,
    REHOME,
    FileStore,
    Move,
    PgStore,
    SmallDisk,
    assert_equal,
    assert_moved,
    end,
    home,
    make_records,
    tally,
    without_marker,
)
from pglib import Client, PgServer
from vaultlib import missing_server


@pytest.fixture(scope="module")
def postgresql():
    if why := missing_server("postgresql"):
        pytest.skip(f"no PostgreSQL to be had: {why}")
    one = PgServer()
    yield one
    one.stop()


# --- its disk fills up ---


def test_tablespace_full(postgresql, home):
    """A full tablespace stops the move, in the server's words, and leaves it marked; on the full disk it goes back, and
    with more space it goes on."""
    records = make_records(600, least=20_000, most=30_000)
    with SmallDisk(home / "small", "8m") as disk:
        home.chmod(0o755)
        shutil.chown(disk.path, "postgres")  # who the server runs as, when root starts it
        postgresql.fresh()
        postgresql.sql(f"CREATE TABLESPACE small OWNER vault LOCATION '{disk.path}'")
        postgresql.sql("ALTER ROLE vault SET default_tablespace = small")
        try:
            source, destination = FileStore(home / "src"), PgStore(postgresql, "dst")
            source.fill(records)
            move = Move(home / "move", source, destination)
            for _ in range(2):
                move.must(DESTINATION, "run")
                assert "No space left on device (53100)" in move.said and "make room" in move.said, move.said[-800:]
                assert_equal(records, without_marker(source.read()), "the source after the failed run")
                found = destination.read()
                assert MARKER in found, "half a store and no marker"
                assert not [key for key in without_marker(found) if found[key] != records[key]]
                move.must(OK, "rollback")
                assert destination.read() is None
            move.must(DESTINATION, "run")
            disk.resize("64m")
            move.must(OK, "run")
            assert_moved(records, {}, destination)
        finally:
            postgresql.sql("DROP TABLE IF EXISTS dst; ALTER ROLE vault RESET default_tablespace")
            postgresql.sql("DROP TABLESPACE small")
    tally("destination full (a PostgreSQL's tablespace on a small tmpfs)", 4, 4)


# --- connection strings ---


@pytest.mark.parametrize("url, warned", [
    ("postgres://vault@localhost:1/vault", False),
    ("host=localhost port=1 user=vault dbname=vault", False),
    ("postgres://vault:hush@localhost:1/vault", True),
    ("postgres://vault@localhost:1/vault?password=hush", True),
    ("host=localhost port=1 user=vault password='hush' dbname=vault", True),
    ("postgres://vault@localhost:1/vault?sslpassword=hush", True),
    ("postgres://vault:hu%sh@localhost:1/vault", True),  # can't be read: it may hold anything
])
def test_warning_of_a_secret_in_the_plan(url, warned, home):
    """Only where connection_url holds one, and others may read the plan."""
    source = FileStore(home / "src")
    source.fill({b"a": b"1"})
    plan = home / "plan.hcl"
    plan.write_text(f'move "m" {{ {source.block("source")} destination "postgresql" {{ connection_url = "{url}" }} }}\n')
    for mode in (0o644, 0o600):
        plan.chmod(mode)
        done = subprocess.run([REHOME, "check", "--state-dir", home / "state", "--retry", "0s", plan], check=False,
                              capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode != OK and "hush" not in said, said
        assert ("holds a secret" in said) == (warned and mode == 0o644), said


# --- poolers ---


class Pooler:
    """A pgbouncer with one connection to the server, which it gives to one client after the other."""

    def __init__(self, server, folder, mode):
        self.program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
        if not self.program:
            pytest.skip("no pgbouncer to be had")
        env = server.env
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.password = pathlib.Path(env["PG_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
        folder.mkdir()
        for name in ("server.pem", "server.key"):
            shutil.copy(f"{env['PG_TLS']}/{name}", folder / name)
        (folder / "users").write_text(f'"vault" "{self.password}"\n', encoding="utf-8")
        (folder / "ini").write_text(
            f"[databases]\nvault = host=127.0.0.1 port={server.port} dbname=vault\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {folder}/users\n"
            f"pool_mode = {mode}\ndefault_pool_size = 1\nserver_tls_sslmode = require\nclient_tls_sslmode = require\n"
            f"client_tls_cert_file = {folder}/server.pem\nclient_tls_key_file = {folder}/server.key\n", encoding="utf-8")
        as_whom = []
        if os.geteuid() == 0:  # it refuses to run as root
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres")
            as_whom = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        self.log = open(folder.parent / "pgbouncer.log", "wb")
        self.process = subprocess.Popen([*as_whom, self.program, folder / "ini"], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)

    def sql(self, query):
        client = Client(f"host=127.0.0.1 port={self.port} user=vault dbname=vault password={self.password} sslmode=require")
        try:
            return client.rows(query)
        finally:
            client.close()

    def __enter__(self):
        until = time.monotonic() + 20
        while self.process.poll() is None:
            try:
                assert self.sql("SELECT 1") == [["1"]]
                return self
            except AssertionError:
                assert time.monotonic() < until, "pgbouncer doesn't answer"
                time.sleep(0.05)
        raise AssertionError("pgbouncer doesn't come up: " + pathlib.Path(self.log.name).read_text(errors="replace"))

    def __exit__(self, *_):
        end(self.process)
        self.log.close()


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_pooler_is_refused(mode, side, postgresql, home):
    """Behind a pooler another's connection may be ours: said, with nothing written and nothing left set on it."""
    home.chmod(0o755)
    postgresql.fresh()
    records = {b"a/%d" % i: b"value %d" % i for i in range(20)}
    with Pooler(postgresql, home / "pool", mode) as pooler:
        far, near = PgStore(postgresql, "vault", pooler.port), FileStore(home / "near")
        (far if side == "source" else near).fill(records)
        move = Move(home / "move", *((far, near) if side == "source" else (near, far)))
        settings = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding')"
        before = pooler.sql(settings)
        for verb in ("check", "run"):
            move.must(REFUSED, verb)
            assert "connection pooler" in move.said and "connect to the server itself" in move.said, move.said[-800:]
        assert pooler.sql(settings) == before
        assert pooler.sql("SELECT pg_backend_pid()") == pooler.sql("SELECT pg_backend_pid()")  # there is but one
        assert_equal(records, move.source.read(), "the source")
        assert move.destination.read() is None
        # the same store without the pooler
        Move(home / "straight", *((PgStore(postgresql), near) if side == "source" else (near, PgStore(postgresql)))).must(OK)
