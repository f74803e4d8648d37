# SPDX-License-Identifier: Apache-2.0
"""Others at work on the same plan, the same stores, the same records; and the way back after them."""
import os

import pytest
from faultlib import (
    DESTINATION,
    EXTRAS,
    LOCKED,
    MARKER,
    MISMATCH,
    OK,
    FileStore,
    Move,
    assert_equal,
    assert_moved,
    difference,
    end,
    go_on,
    home,
    make_records,
    server,
    server_store,
    tally,
    without_marker,
)

WAYS = ["file-server", "server-file"]
PEAK_MOST = 32 * 1024  # KiB over that of `check`


def stores(server, home, way, records, held):
    server.fresh()
    kinds = way.split("-")
    source = FileStore(home / "src") if kinds[0] == "file" else server_store(server, "src")
    destination = FileStore(home / "dst") if kinds[1] == "file" else server_store(server, "dst")
    source.fill(records)
    if held:
        destination.fill(held)
    return source, destination


def log_of(move):
    return (move.folder / "log").read_text(encoding="utf-8", errors="replace")


# --- two at a time ---


@pytest.mark.parametrize("way", WAYS)
def test_two_runs_of_one_plan(way, server, home):
    records = make_records(600)
    source, destination = stores(server, home, way, records, EXTRAS)
    move = Move(home / "move", source, destination)
    first = move.stopped("copy:2")
    try:
        for verb in ("run", "rollback", "recover", "verify"):
            code = move.do(verb)
            assert code == LOCKED, f"a second '{verb}' ended with {code}: {move.said[-800:]}"
            assert str(first.pid) in move.said, f"doesn't name the process that holds it: {move.said[-400:]}"
        move.must(OK, "status")
        assert go_on(first) == OK
    finally:
        end(first)
    assert_moved(records, EXTRAS, destination)
    assert_equal(records, source.read(), "the source at the end")
    tally(f"two runs of one plan, {way} on {server.word}", 4, 4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shared", ["destination", "source"])
def test_two_plans_on_one_store(way, shared, server, home):
    """The second is refused by the marker, changes nothing, and doesn't clear it either."""
    records, others = make_records(600), {b"other/" + key: value for key, value in make_records(50, seed=7).items()}
    source, destination = stores(server, home, way, records, EXTRAS)
    other = FileStore(home / "other")
    if shared == "destination":
        other.fill(others)
        second = Move(home / "second", other, destination, name="second")
    else:
        second = Move(home / "second", source, other, name="second")
    # one lane: a stopped process with several may have a put under way at the server
    move = Move(home / "move", source, destination, more="parallel = 1")
    first = move.stopped("copy:2")
    try:
        before = destination.read(crashed=True), source.read(crashed=True), other.read()
        assert MARKER in before[0] and MARKER in before[1], "both sides are marked while it runs"
        for verb in ("run", "recover", "run"):
            code = second.do(verb)
            if verb == "run":
                assert code == LOCKED, f"the second plan's '{verb}' ended with {code}: {second.said[-800:]}"
            after = destination.read(crashed=True), source.read(crashed=True), other.read()
            assert without_marker(after[2]) == without_marker(before[2]), "the second plan wrote"
            assert after[:2] == before[:2], f"the second plan's '{verb}' changed a store it doesn't hold"
        assert go_on(first) == OK, log_of(move)[-800:]
    finally:
        end(first)
    assert_moved(records, EXTRAS, destination)
    assert_equal(records, source.read(), "the source at the end")
    # and now that it is free, the second plan may
    second.must(OK, "run")
    tally(f"two plans on one {shared}, {way} on {server.word}")


def test_marker_of_vaults_command(server, home):
    """A store that Vault's own command has marked is refused, on either side, and the marker stays."""
    records = make_records(60)
    for side in ("source", "destination"):
        source, destination = stores(server, home, "file-server", records, EXTRAS)
        marked = source if side == "source" else destination
        marked.put(MARKER, b'{"start":"2018-09-20T14:23:23.656-07:00"}\n')
        move = Move(home / f"move-{side}", source, destination)
        code = move.do("run")
        assert code == LOCKED, f"ended with {code}: {move.said[-800:]}"
        move.do("recover")
        assert MARKER in marked.read(), "recover cleared somebody else's marker"
        assert_equal(EXTRAS, without_marker(destination.read()), "the destination")
        assert_equal(records, without_marker(source.read()), "the source")
    tally("marker of Vault's command on source or destination", 2, 2)


# --- another writer on the destination ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", ["fail", "keep-equal", "overwrite"])
def test_somebody_creates_a_key_of_ours(way, policy, server, home):
    """Between our survey and our put somebody writes a key that we are about to write."""
    records = make_records(600)
    source, destination = stores(server, home, way, records, EXTRAS)
    move = Move(home / "move", source, destination, on_conflict=policy, more="parallel = 1")
    late = max(key for key in records)
    first = move.stopped("copy:1")
    try:
        assert late not in destination.read(crashed=True), "too late for this test"
        destination.put(late, b"somebody else's")
        code = go_on(first)
    finally:
        end(first)
    found = destination.read(crashed=True)
    if policy == "overwrite":
        assert code == OK, log_of(move)[-800:]
        assert_moved(records, EXTRAS, destination)
        move.must(OK, "rollback")
        assert_equal({**EXTRAS, late: b"somebody else's"}, destination.read(), "the destination after rollback")
    else:
        assert code not in (OK, 9), f"ended with {code}: {log_of(move)[-800:]}"
        assert found[late] == b"somebody else's", "somebody else's value is gone"
        assert os.fsdecode(late.rpartition(b"/")[2]) in log_of(move), "the key isn't named"
        if policy == "keep-equal":
            move.must(OK, "rollback")
        assert_equal({**EXTRAS, late: b"somebody else's"}, destination.read(), "the destination after going back")
    assert_equal(records, source.read(), "the source at the end")
    tally(f"another writer creates a key of ours mid-run, {policy}, {way} on {server.word}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", ["fail", "overwrite"])
def test_somebody_changes_what_we_wrote(way, policy, server, home):
    """A record that we have copied is changed on the destination before the verification."""
    records = make_records(600)
    source, destination = stores(server, home, way, records, EXTRAS)
    move = Move(home / "move", source, destination, on_conflict=policy)
    first_key = min(key for key in records)
    process = move.stopped("verify:1")
    try:
        assert destination.read(crashed=True)[first_key] == records[first_key]
        destination.put(first_key, b"somebody else's")
        code = go_on(process)
    finally:
        end(process)
    assert code == MISMATCH, f"ended with {code}: {log_of(move)[-800:]}"
    assert os.fsdecode(first_key.rpartition(b"/")[2]) in log_of(move), "the key isn't named"
    if policy == "overwrite":
        move.do("rollback")
    found = destination.read()
    assert found[first_key] == b"somebody else's", "somebody else's value is gone"
    assert_equal({**EXTRAS, first_key: b"somebody else's"}, found, "the destination after going back")
    assert_equal(records, source.read(), "the source at the end")
    tally(f"a copied record changed on the destination before verification, {policy}, {way} on {server.word}")


# --- the source doesn't stand still ---


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_source_changes_during_the_copy(way, change, server, home):
    """A = B must fail, and under on_conflict = fail the run goes back by itself."""
    records = make_records(600)
    source, destination = stores(server, home, way, records, EXTRAS)
    move = Move(home / "move", source, destination, more="parallel = 1")
    first_key = min(key for key in records)
    process = move.stopped("copy:3")
    try:
        assert destination.read(crashed=True).get(first_key) == records[first_key], "not copied yet: no test"
        now = dict(records)
        if change == "changed":
            now[first_key] = b"changed at the source"
        elif change == "added":
            now[first_key + b"0"] = b"added at the source"
        else:
            del now[first_key]
        for key in now.keys() - records.keys() | {key for key in now if now[key] != records.get(key)}:
            source.put(key, now[key])
        for key in records.keys() - now.keys():
            source.drop(key)
        code = go_on(process)
    finally:
        end(process)
    assert code == MISMATCH, f"ended with {code}: {log_of(move)[-800:]}"
    assert_equal(EXTRAS, destination.read(), "the destination after it went back by itself")
    assert_equal(now, source.read(), "the source at the end")
    # with a source that stands still the same plan completes
    move.must(OK, "run")
    assert_moved(now, EXTRAS, destination)
    tally(f"source record {change} during the copy, {way} on {server.word}")


# --- the way back ---


@pytest.mark.parametrize("way", ["file-server", "server-file", "server-server", "file-file"])
@pytest.mark.parametrize("policy", ["fail", "keep-equal", "overwrite"])
def test_rollback_record_for_record(way, policy, server, home):
    records = make_records(400)
    keys = list(records)
    held = dict(EXTRAS)
    if policy == "keep-equal":
        held.update({key: records[key] for key in keys[:60]})
    if policy == "overwrite":
        held.update({key: records[key] for key in keys[:60]})
        held.update({key: b"old " + key for key in keys[60:120]})
        held[keys[130]] = b""
    source, destination = stores(server, home, way, records, held)
    move = Move(home / "move", source, destination, on_conflict=policy)
    move.must(OK, "run")
    assert_moved(records, held, destination)
    move.must(OK, "rollback")
    assert_equal(held, destination.read(), "the destination after rollback")
    assert_equal(records, source.read(), "the source at the end")
    # and once more there and back
    move.must(OK, "run")
    assert_moved(records, held, destination)
    move.must(OK, "rollback")
    assert_equal(held, destination.read(), "the destination after the second rollback")
    tally(f"rollback record for record, {policy}, {way} on {server.word}", 2, 2)


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_rollback_drops_only_what_we_made(way, server, home):
    """A table or folder that we made is gone after rollback; one that was there stays."""
    if way == "file-server" and "container" not in server.can:
        pytest.skip(f"{server.word} has nothing that would be made")
    records = make_records(50)
    source, destination = stores(server, home, way, records, {})
    destination.wipe()
    assert destination.read() is None
    move = Move(home / "move", source, destination)
    move.must(OK, "run")
    move.must(OK, "rollback")
    assert destination.read() is None, "what we made is still there"
    if way == "file-server":
        server.make_table("dst")
    else:
        destination.path.mkdir()
    move.must(OK, "run")
    move.must(OK, "rollback")
    assert destination.read() == {}, "what was there before is gone"
    tally(f"rollback drops the container only if we made it, {way} on {server.word}", 2, 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", ["fail", "overwrite"])
def test_vault_writes_after_the_move_then_rollback(way, policy, server, home):
    """A Vault ran on the destination after the move: it changed, removed and added records. Rollback undoes what is
    still ours and names the rest."""
    records = make_records(400)
    keys = sorted(records)
    held = {**EXTRAS, **({key: b"old " + key for key in keys[:40]} if policy == "overwrite" else {})}
    source, destination = stores(server, home, way, records, held)
    move = Move(home / "move", source, destination, on_conflict=policy)
    move.must(OK, "run")
    changed, removed = [keys[3], keys[200]], [keys[5], keys[210]]
    added = {b"logical/new/" + bytes([c]): os.urandom(50) for c in b"abc"}
    for key in changed:
        destination.put(key, b"written by Vault")
    for key in removed:
        destination.drop(key)
    for key, value in added.items():
        destination.put(key, value)
    code = move.do("rollback")
    said = move.said
    found = without_marker(destination.read())
    expected = {**held, **added, **{key: b"written by Vault" for key in changed}}
    for key in removed:
        expected.pop(key, None)
    if code == OK or found != {**records, **expected}:
        assert_equal(expected, found, f"the destination after rollback ({code})")
    for key in changed:
        assert os.fsdecode(key.rpartition(b"/")[2]) in said, f"{key!r} isn't named: {said[-1500:]}"
    if policy == "overwrite":
        assert os.fsdecode(removed[0].rpartition(b"/")[2]) in said, f"{removed[0]!r} isn't named: {said[-1500:]}"
    assert_equal(records, source.read(), "the source at the end")
    tally(f"Vault-like writes after the move, then rollback, {policy}, {way} on {server.word}")


@pytest.mark.parametrize("way", ["file-file", "file-server"])
def test_large_values_in_the_way(way, server, home):
    """Small records over large ones, and back: what the destination holds is read in pieces, not as a whole. (The other
    values in the way are larger together than what is allowed here by far.)"""
    records = {b"logical/%03d" % i: b"small %d" % i for i in range(96)}
    held = {key: (b"%03d" % i) * 128_000 for i, key in enumerate(records)}
    source, destination = stores(server, home, way, records, held)
    move = Move(home / "move", source, destination, on_conflict="overwrite")
    least = move.peak("check")
    peaks = {"run": move.peak("run") - least}
    assert_equal(records, destination.read(), "the destination after the move")
    theirs = {key: held[key] + b"!" for key in list(records)[::2]}
    for key, value in theirs.items():  # which rollback looks at and leaves
        destination.put(key, value)
    peaks["rollback"] = move.peak("rollback", code=DESTINATION) - least
    assert_equal({**held, **theirs}, destination.read(), "the destination after rollback")
    assert max(peaks.values()) < PEAK_MOST, f"KiB: {peaks}"
    tally(f"large values overwritten by small ones, {way} on {server.word}")


@pytest.mark.parametrize("way", WAYS)
def test_empty_source_deletes_nothing(way, server, home):
    """An empty source is not an order to delete."""
    source, destination = stores(server, home, way, {}, EXTRAS)
    if way == "file-server":
        source.path.mkdir(exist_ok=True)
    else:
        server.make_table("src")
    move = Move(home / "move", source, destination, on_conflict="overwrite")
    move.do("run")
    assert_equal(EXTRAS, destination.read(), "the destination")
    tally(f"an empty source deletes nothing, {way} on {server.word}")
