# SPDX-License-Identifier: Apache-2.0
"""Servers that die, connections that break, disks that fill up, permissions that go away, while a move is on."""
import os
import pathlib
import random
import shutil
import threading
import time

import pytest
from faultlib import (
    DESTINATION,
    EXTRAS,
    INTERNAL,
    INTERRUPTED,
    MARKER,
    OK,
    REHOME,
    SOAK,
    SOURCE,
    Cases,
    FileStore,
    Move,
    Proxy,
    SmallDisk,
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


def fresh_move(server, home, way, records, extras, **how):
    server.fresh()
    kinds = way.split("-")
    source = FileStore(home / "src") if kinds[0] == "file" else server_store(server, "src")
    destination = FileStore(home / "dst") if kinds[1] == "file" else server_store(server, "dst")
    for store in (source, destination):
        store.wipe()
    source.fill(records)
    if extras:
        destination.fill(extras)
    shutil.rmtree(home / "move", ignore_errors=True)
    return Move(home / "move", source, destination, **how)


def again(move, extras):
    """Everything as before the move, also after a run that has left its marker."""
    if MARKER in (move.source.read(crashed=True) or {}):
        move.source.drop(MARKER)
    move.destination.wipe()
    if extras:
        move.destination.fill(extras)
    move.reset()


def assert_done(move, records, extras):
    assert_moved(records, extras, move.destination)
    assert_equal(records, move.source.read(), "the source at the end")


# --- the server dies ---


@pytest.mark.parametrize("way", ["file-server", "server-file", "server-server"])
def test_server_killed_and_restarted(way, server, home):
    """kill -9 of the server in the middle; it comes back a moment later and the same run goes on."""
    records = make_records(1200)
    move = fresh_move(server, home, way, records, EXTRAS)
    points = ["copy:1", "copy:2", "copy:5", "undo:2", "verify:1"]
    with Cases(f"{server.word} killed and restarted mid-run, {way}") as cases:
        slow = way == "server-server" or server.kind == "consul"
        for point in points if SOAK or not slow else points[1:3]:
            again(move, EXTRAS)
            with cases.one(point):
                process = move.stopped(point)
                try:
                    server.kill()
                    late = threading.Timer(0.7, server.restart)
                    late.start()
                    code = go_on(process)
                    late.join()
                finally:
                    end(process)
                assert code == OK, f"ended with {code}: {(move.folder / 'log').read_text(errors='replace')[-800:]}"
                assert_done(move, records, EXTRAS)


@pytest.mark.parametrize("way, code", [("file-server", DESTINATION), ("server-file", SOURCE)])
def test_server_stays_away(way, code, server, home):
    """It gives up after --retry with a clear code, and a later run completes."""
    records = make_records(800)
    move = fresh_move(server, home, way, records, EXTRAS)
    process = move.stopped("copy:2", "run", "--retry=500ms")
    try:
        server.kill()
        got = go_on(process)
    finally:
        end(process)
        server.restart()
    assert got in (code, INTERRUPTED), f"ended with {got}"
    assert_equal(records, without_marker(move.source.read(crashed=True)), "the source")
    move.must(OK, "run")
    assert_done(move, records, EXTRAS)
    tally(f"{server.word} stays away, run again later, {way}")


# --- the connection breaks ---


@pytest.mark.parametrize("way", ["server-file", "file-server"])
def test_connection_cut(way, server, home):
    """Cut after any number of bytes in either direction: mid-scan, mid-put, between a commit and its answer. Never a
    short listing, never a lost or doubled record."""
    records = make_records(900, most=2000)
    move = fresh_move(server, home, way, records, EXTRAS)
    proxy = Proxy(server.port)
    store = move.source if way == "server-file" else move.destination
    store.port = proxy.port
    move = Move(home / "move", move.source, move.destination, more="parallel = 2")
    try:
        move.must(OK, "run")
        total = dict(proxy.passed)
        assert proxy.made > 0 and max(total.values()) > 500_000, f"the traffic didn't pass the proxy: {total}"
        rng = random.Random(way)
        with Cases(f"connection cut at random bytes, {way} on {server.word}") as cases:
            for n in range(100 if SOAK else 8):
                again(move, EXTRAS)
                cuts = []
                for _ in range(rng.choice([1, 1, 3])):
                    direction = rng.choice(["down", "up"])
                    cuts.append((direction, rng.randrange(total[direction] // 2)))
                proxy.cuts, proxy.passed, before = cuts[:], {"down": 0, "up": 0}, proxy.cut_count
                with cases.one(f"case {n}: {cuts}"):
                    # a cut before anything was written ends the run with its reason; the next one goes on
                    for _ in range(1 + len(cuts)):
                        code = move.do("run")
                        if code == OK:
                            break
                        assert code in (SOURCE, DESTINATION, INTERRUPTED), f"ended with {code}: {move.said[-800:]}"
                    assert code == OK, f"ended with {code}: {move.said[-800:]}"
                    assert proxy.cut_count > before, "nothing was cut"
                    assert_done(move, records, EXTRAS)
                proxy.cuts = []
    finally:
        proxy.close()


def test_connection_cut_for_good(server, home):
    """The source is cut again and again: never taken for the end of the data."""
    records = make_records(900)
    server.fresh()
    source, destination = server_store(server, "src"), FileStore(home / "dst")
    source.fill(records)
    proxy = Proxy(server.port)
    source.port = proxy.port
    move = Move(home / "move", source, destination)
    try:
        process = move.stopped("copy:2", "run", "--retry=1s")
        try:
            proxy.refuse = True
            proxy.cut()
            code = go_on(process)
        finally:
            end(process)
        assert code in (SOURCE, INTERRUPTED), f"ended with {code}"
        proxy.refuse = False
        move.must(OK, "run")
        assert_done(move, records, {})
    finally:
        proxy.close()
    tally("connection to the source cut for good, then back")


# --- disks fill up ---


@pytest.mark.parametrize("policy", ["fail", "keep-equal", "overwrite"])
@pytest.mark.parametrize("back", [False, True], ids=["resume", "back"])
def test_file_destination_full(policy, back, server, home):
    """A full disk stops the move and leaves it marked; with more space it goes on, without it it can go back."""
    records = make_records(600, least=3000, most=6000)
    held = {**EXTRAS, **({key: b"old" for key in list(records)[:20]} if policy == "overwrite" else {})}
    server.fresh()
    with SmallDisk(home / "small", "1500k") as disk:
        source, destination = server_store(server, "src"), FileStore(disk.path / "dst")
        source.fill(records)
        destination.fill(held)
        move = Move(home / "move", source, destination, on_conflict=policy)
        code = move.do("run")
        assert code == DESTINATION, f"ended with {code}: {move.said[-800:]}"
        assert "space" in move.said, f"doesn't say why: {move.said[-800:]}"
        assert_equal(records, without_marker(source.read()), "the source after the failed run")
        found = destination.read(crashed=True)
        assert MARKER in found, "half a store and no marker"
        torn = [key for key, value in found.items() if key in records and value not in (records[key], held.get(key))]
        assert not torn, f"torn values: {torn[:3]}"
        if back:
            move.must(OK, "rollback")
            assert_equal(held, destination.read(), "the destination after rollback")
        else:
            disk.resize("64m")
            move.must(OK, "run")
            assert_done(move, records, held)
    tally(f"destination full (files on a small tmpfs), then {'rollback' if back else 'more space and resume'}, {policy}")


def test_state_folder_full(server, home):
    """Our own disk is full: nothing is lost, and with more space it goes on."""
    records = make_records(3000, least=1000, most=2000)
    server.fresh()
    source, destination = FileStore(home / "src"), server_store(server, "dst")
    source.fill(records)
    held = {key: os.urandom(1500) for key in list(records)[:2500]}
    destination.fill(held)
    with SmallDisk(home / "small", "1m") as disk:
        move = Move(home / "move", source, destination, on_conflict="overwrite")
        move.state = disk.path / "state"
        move.plan.write_text(move.plan.read_text().replace(str(home / "move/state"), str(move.state)))
        code = move.do("run")
        assert code not in (OK, -6, -11), f"ended with {code}: {move.said[-800:]}"
        assert code == INTERNAL, f"ended with {code}: {move.said[-800:]}"
        assert_equal(records, without_marker(source.read(crashed=True)), "the source")
        disk.resize("64m")
        move.must(OK, "run")
        assert_moved(records, held, destination)
        move.must(OK, "rollback")
        assert_equal(held, destination.read(), "the destination after rollback")
    tally("our own state folder full")


def test_server_destination_full(server, home):
    """The server's data folder, its own log included, on a small tmpfs: some servers say so, PostgreSQL's goes down."""
    records = make_records(600, least=60_000, most=90_000)
    with SmallDisk(home / "small", "400m") as disk:
        home.chmod(0o755)
        server = server.another(f"--data={disk.path}/data")
        try:
            server.fresh()
            source, destination = FileStore(home / "src"), server_store(server, "dst")
            source.fill(records)
            destination.fill(EXTRAS)
            used = sum(f.stat().st_blocks * 512 for f in pathlib.Path(disk.path).rglob("*") if f.is_file())
            disk.resize(used + (24 << 20))
            move = Move(home / "move", source, destination)
            process = move.start("run", "--retry=2s")
            try:
                code = process.wait(100)
            except Exception:
                raise AssertionError("it hangs on a full server") from None
            finally:
                end(process)
            said = (move.folder / "log").read_text(errors="replace")
            assert code in (DESTINATION, INTERRUPTED), f"ended with {code}: {said[-800:]}"
            if server.kind == "consul":
                assert code == DESTINATION and "no space left on device" in said and "make room" in said, said[-800:]
            assert_equal(records, without_marker(source.read(crashed=True)), "the source")
            disk.resize("1g")
            server.restart()
            move.must(OK, "run")
            assert_done(move, records, EXTRAS)
        finally:
            server.stop()
    tally(f"destination full ({server.word} on a small tmpfs)")


# --- permissions go away ---


@pytest.mark.parametrize("way, code", [("file-server", DESTINATION), ("server-file", SOURCE)])
def test_rights_taken_away(way, code, server, home):
    """Rights revoked and sessions ended: refused with the side's code, not tried for ever; granted again it completes."""
    records = make_records(900)
    move = fresh_move(server, home, way, records, EXTRAS)
    process = move.stopped("copy:2", "run", "--retry=20s")
    try:
        assert server.revoke() > 0
        begin = time.monotonic()
        got = go_on(process)
        took = time.monotonic() - begin
    finally:
        end(process)
        server.grant()
    log = (move.folder / "log").read_text(errors="replace")
    assert got == code, f"ended with {got}: {log[-800:]}"
    assert took < 15, f"a denial isn't worth waiting for, it took {took:.0f} s"
    assert_equal(records, without_marker(move.source.read(crashed=True)), "the source")
    move.must(OK, "run")
    assert_done(move, records, EXTRAS)
    tally(f"rights revoked and sessions ended mid-run, {way} on {server.word}")


@pytest.mark.parametrize("right", ["INSERT", "SELECT"])
def test_one_right_taken_away(right, server, home):
    records = make_records(900)
    move = fresh_move(server, home, "file-server", records, EXTRAS)
    process = move.stopped("copy:2", "run", "--retry=20s")
    try:
        server.revoke(right)
        got = go_on(process)
    finally:
        end(process)
        server.grant()
    assert got == DESTINATION, f"ended with {got}: {(move.folder / 'log').read_text(errors='replace')[-800:]}"
    found = move.destination.read()
    assert_equal(EXTRAS, {key: found.get(key) for key in EXTRAS}, "the destination's own keys")
    move.must(OK, "run")
    assert_done(move, records, EXTRAS)
    tally(f"only {right} revoked mid-run")


class Nobody:
    """Runs rehome as a user without rights."""

    wrap = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

    def __init__(self, home, move):
        home.chmod(0o755)
        program = home / "rehome"
        shutil.copy(REHOME, program)
        program.chmod(0o755)
        move.args = lambda verb, *more: [str(program), verb, *more, str(move.plan)]
        for folder, folders, files in os.walk(home):
            for name in [".", *folders, *files]:
                os.chown(os.path.join(folder, name), 65534, 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping privileges takes root")
def test_source_file_forbidden(server, home):
    """A source record that may not be read any more: a failure naming it, never a skip."""
    records = make_records(900)
    server.fresh()
    source, destination = FileStore(home / "src"), FileStore(home / "dst")
    source.fill(records)
    move = Move(home / "move", source, destination)
    nobody = Nobody(home, move)
    last = max(key for key in records)
    file = source.path / os.fsdecode(last.rpartition(b"/")[0]) / os.fsdecode(b"_" + last.rpartition(b"/")[2])
    process = move.stopped("copy:1", wrap=nobody.wrap)
    try:
        file.chmod(0)
        got = go_on(process)
    finally:
        end(process)
        file.chmod(0o600)
    log = (move.folder / "log").read_text(errors="replace")
    assert got == SOURCE, f"ended with {got}: {log[-800:]}"
    assert os.fsdecode(last.rpartition(b"/")[2]) in log, f"the record isn't named: {log[-800:]}"
    move.must(OK, "run", wrap=nobody.wrap)
    assert_done(move, records, {})
    tally("a source file forbidden mid-run")


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping privileges takes root")
def test_destination_folder_forbidden(server, home):
    records = make_records(900)
    server.fresh()
    source, destination = server_store(server, "src"), FileStore(home / "dst")
    source.fill(records)
    destination.fill(EXTRAS)
    move = Move(home / "move", source, destination)
    nobody = Nobody(home, move)
    for name in server.files:
        theirs, mine = server.env[name], home / name
        shutil.copy(theirs, mine)
        os.chown(mine, 65534, 65534)
        move.plan.write_text(move.plan.read_text().replace(theirs, str(mine)))
    process = move.stopped("copy:2", wrap=nobody.wrap)
    folders = [destination.path, *[path for path in destination.path.rglob("*") if path.is_dir()]]
    try:
        for path in folders:
            path.chmod(0o500)
        got = go_on(process)
    finally:
        end(process)
        for path in folders:
            path.chmod(0o700)
    log = (move.folder / "log").read_text(errors="replace")
    assert got == DESTINATION, f"ended with {got}: {log[-800:]}"
    assert_equal(records, without_marker(source.read()), "the source")
    move.must(OK, "run", wrap=nobody.wrap)
    assert_done(move, records, EXTRAS)
    tally("a destination folder forbidden mid-run")
