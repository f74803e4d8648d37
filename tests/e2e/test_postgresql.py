# SPDX-License-Identifier: Apache-2.0
"""What only a PostgreSQL can be or have: tablespaces, poolers before it, connection strings."""
import shutil
import subprocess

import pytest
from faultlib import (
    DESTINATION,
    EXTRAS,
    MARKER,
    OK,
    REHOME,
    FileStore,
    Move,
    PgStore,
    SmallDisk,
    assert_equal,
    assert_moved,
    home,
    make_records,
    tally,
    without_marker,
)
from pglib import PgServer
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
