# SPDX-License-Identifier: Apache-2.0
"""What only a PostgreSQL can be or have: tablespaces, poolers before it, connection strings."""
import shutil

import pytest
from faultlib import (
    DESTINATION,
    EXTRAS,
    MARKER,
    OK,
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
