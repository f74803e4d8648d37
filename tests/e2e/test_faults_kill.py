# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every journal write, undo write, file barrier and batch, and at random instants; SIGSTOP and SIGCONT."""
import random
import signal
import time

import pytest
from faultlib import (
    EXTRAS,
    KILLED,
    MARKER,
    OK,
    SOAK,
    Cases,
    FileStore,
    Move,
    assert_equal,
    assert_moved,
    end,
    go_on,
    home,
    make_records,
    server,
    server_store,
    tally,
    without_marker,
)

WAYS = ["file-server", "server-file", "server-server", "file-file"]


def make_store(kind, side, server, home):
    return FileStore(home / side) if kind == "file" else server_store(server, side)


def set_up(way, server, home, records, extras, **how):
    """A fresh source with records, a destination with its own extra keys, a move between them."""
    server.fresh()
    source_kind, destination_kind = way.split("-")
    source = make_store(source_kind, "src", server, home)
    destination = make_store(destination_kind, "dst", server, home)
    source.wipe()
    destination.wipe()
    source.fill(records)
    if extras:
        destination.fill(extras)
    move = Move(home / "move", source, destination, **how)
    move.source_hash = source.hash()
    return move


def put_back(move, extras):
    """The destination as it was before any move; a new state folder."""
    move.destination.wipe()
    if extras:
        move.destination.fill(extras)
    move.reset()


def check_stopped(move, records, extras):
    """What holds at every instant: the source untouched but for the marker, the destination's own keys unchanged, no
    half-written store without a marker."""
    assert_equal(records, without_marker(move.source.read(crashed=True)), "the source after the crash")
    assert move.source.hash() == move.source_hash, "the source's files have changed"
    found = move.destination.read(crashed=True) or {}
    assert_equal(extras, {key: found.get(key) for key in extras}, "the destination's own keys after the crash")
    strange = [key for key in without_marker(found) if key not in records and key not in extras]
    assert not strange, f"keys from nowhere on the destination: {strange[:3]}"
    torn = [key for key, value in found.items() if key in records and key not in extras and value != records[key]]
    assert not torn, f"torn values on the destination: {torn[:3]}"
    ours = [key for key in records if key in found and key not in extras]
    if 0 < len(ours) < len(records):
        assert MARKER in found, f"{len(ours)} of {len(records)} records are there, and no marker"


def finish(move, records, extras, back):
    """After a crash: run again or go back; either must lead to an exact state."""
    if back:
        move.go_back()
        assert_equal(extras, move.destination.read(), "the destination after rollback")
    else:
        move.must(OK, "run")
        assert_moved(records, extras, move.destination)
    assert_equal(records, move.source.read(), "the source at the end")


def left_out(server, n):
    """CI crashes at the first four points and every second one on MariaDB, every ninth on the others, a soak at every one."""
    return not SOAK and n > 4 and n % (2 if server.kind == "mariadb" else 9) != 1


def kill_everywhere(move, records, extras, point, fault, server):
    """Crashes at the 1st, 2nd, 3rd ... passing of a point until a run doesn't come that far any more."""
    with Cases(fault) as cases:
        for n in range(1, 5000):
            if left_out(server, n):
                continue
            put_back(move, extras)
            code = move.do("run", env={"RH_CRASH_AT": f"{point}:{n}"})
            if code == OK:
                break
            with cases.one(f"{point}:{n}"):
                assert code == KILLED, f"ended with {code}: {move.said[-800:]}"
                check_stopped(move, records, extras)
                finish(move, records, extras, back=n % 2 == 0)
        else:
            raise AssertionError("the point is passed without end")
        assert cases.tried >= 2, f"the point '{point}' was passed {cases.tried} times only"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", ["journal", "undo", "copy"])
def test_kill_at_every(way, point, server, home):
    records = make_records(120)
    move = set_up(way, server, home, records, EXTRAS, more="parallel = 2")
    kill_everywhere(move, records, EXTRAS, point, f"kill -9 at every '{point}' point, {way}", server)


def test_kill_at_every_file_barrier(server, home):
    records = make_records(60)
    move = set_up("server-file", server, home, records, EXTRAS, more="parallel = 1")
    kill_everywhere(move, records, EXTRAS, "file", "kill -9 at every 'file' point, server-file", server)


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_kill_during_overwrite_then_back(way, server, home):
    """With keys that are there already and get replaced, every crash can still be rolled back record for record."""
    records = make_records(80)
    held = {**EXTRAS, **{key: b"old value of " + key for key in list(records)[:25]}}
    move = set_up(way, server, home, records, held, on_conflict="overwrite", more="parallel = 2")
    with Cases(f"kill -9 at every journal write under overwrite, then rollback, {way} on {server.word}") as cases:
        for n in range(1, 5000):
            if left_out(server, n):
                continue
            put_back(move, held)
            code = move.do("run", env={"RH_CRASH_AT": f"journal:{n}"})
            if code == OK:
                break
            with cases.one(f"journal:{n}"):
                assert code == KILLED, f"ended with {code}: {move.said[-800:]}"
                assert_equal(records, without_marker(move.source.read(crashed=True)), "the source after the crash")
                if n % 2:
                    move.must(OK, "run")
                    assert_moved(records, held, move.destination)
                move.must(OK, "rollback")
                assert_equal(held, move.destination.read(), "the destination after rollback")
                assert_equal(records, move.source.read(), "the source at the end")
        assert cases.tried >= 5


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_kill_during_rollback(way, server, home):
    """A rollback that is killed at any journal write or block goes on when it is called again."""
    records = make_records(80)
    held = {**EXTRAS, **{key: b"old value of " + key for key in list(records)[:25]}}
    move = set_up(way, server, home, records, held, on_conflict="overwrite", more="parallel = 2")
    with Cases(f"kill -9 within rollback, {way} on {server.word}") as cases:
        for point in ["journal", "rollback"]:
            for n in range(1, 500):
                if left_out(server, n):
                    continue
                put_back(move, held)
                move.must(OK, "run")
                code = move.do("rollback", env={"RH_CRASH_AT": f"{point}:{n}"})
                if code == OK:
                    assert n > 1, f"the point '{point}' is never passed"
                    break
                with cases.one(f"{point}:{n}"):
                    assert code == KILLED, f"ended with {code}: {move.said[-800:]}"
                    move.must(OK, "rollback")
                    assert_equal(held, move.destination.read(), "the destination after rollback")
                    assert_equal(records, move.source.read(), "the source at the end")


def clean_seconds(move, extras):
    put_back(move, extras)
    start = time.monotonic()
    move.must(OK, "run")
    return time.monotonic() - start


@pytest.mark.parametrize("way", WAYS)
def test_kill_at_random_instants(way, server, home):
    records = make_records(1500)
    move = set_up(way, server, home, records, EXTRAS)
    seconds = clean_seconds(move, EXTRAS)
    rng = random.Random(way)
    with Cases(f"kill -9 at random instants, {way} on {server.word}") as cases:
        for n in range(50 if SOAK else 5):
            put_back(move, EXTRAS)
            kills = 0
            for _ in range(rng.choice([1, 1, 2, 3])):
                process = move.start("run")
                time.sleep(rng.random() * seconds * 1.1)
                kills += process.poll() is None
                end(process)
            with cases.one(f"case {n}, {kills} kills"):
                check_stopped(move, records, EXTRAS)
                finish(move, records, EXTRAS, back=n % 4 == 3)


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_stop_and_continue(way, server, home):
    """Frozen for a while at many places, it goes on as if nothing had been."""
    records = make_records(600)
    move = set_up(way, server, home, records, EXTRAS)
    with Cases(f"SIGSTOP and SIGCONT, {way} on {server.word}") as cases:
        for point in ["journal:3", "undo:1", "copy:1", "copy:4", "verify:1", "journal:9"]:
            put_back(move, EXTRAS)
            with cases.one(point):
                process = move.stopped(point)
                try:
                    time.sleep(1.0)
                    check_stopped(move, records, EXTRAS)
                    assert go_on(process) == OK
                finally:
                    end(process)
                assert_moved(records, EXTRAS, move.destination)
                assert_equal(records, move.source.read(), "the source at the end")


@pytest.mark.parametrize("way", ["file-server", "server-server"])
def test_stopped_past_the_servers_patience(way, server, home):
    """Frozen so long that the server has ended its sessions: it connects anew."""
    records = make_records(600)
    move = set_up(way, server, home, records, EXTRAS)
    process = move.stopped("copy:3")
    try:
        assert server.end_connections() > 0
        assert go_on(process) == OK
    finally:
        end(process)
    assert_moved(records, EXTRAS, move.destination)
    assert_equal(records, move.source.read(), "the source at the end")
    tally(f"frozen until the server ended the sessions, {way} on {server.word}")


def test_interrupted_by_signal(server, home):
    """SIGTERM and SIGINT end it with the code for 'run again', and running again completes."""
    records = make_records(600)
    move = set_up("file-server", server, home, records, EXTRAS)
    for number in (signal.SIGTERM, signal.SIGINT):
        put_back(move, EXTRAS)
        process = move.stopped("copy:3")
        try:
            process.send_signal(number)
            assert go_on(process) == 7, "an interrupted run must say so"
        finally:
            end(process)
        check_stopped(move, records, EXTRAS)
        finish(move, records, EXTRAS, back=number == signal.SIGINT)
    tally("SIGTERM and SIGINT mid-run", 2, 2)
