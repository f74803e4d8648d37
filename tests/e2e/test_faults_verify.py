# SPDX-License-Identifier: Apache-2.0
"""A destination that differs in every way we can think of: `verify` names each record, `verify --repair` mends it, and
neither touches what somebody has written meanwhile."""
import os

import pytest
from faultlib import (
    EXTRAS,
    MISMATCH,
    OK,
    FileStore,
    Move,
    assert_equal,
    end,
    go_on,
    home,
    make_records,
    server,
    server_store,
    tally,
)


def swapped(store, records, keys):
    a, b = keys[10], keys[200]
    store.put(a, records[b])
    store.put(b, records[a])
    return [a, b]


def dropped(store, records, keys):
    for key in (keys[0], keys[150], keys[-1]):
        store.drop(key)
    return [keys[0], keys[150], keys[-1]]


def duplicated(store, records, keys):
    """One record's value is also another one's."""
    store.put(keys[21], records[keys[20]])
    return [keys[21]]


def truncated(store, records, keys):
    for key in (keys[30], keys[31]):
        store.put(key, records[key][:-1])
    return [keys[30], keys[31]]


def emptied(store, records, keys):
    store.put(keys[40], b"")
    return [keys[40]]


def flipped(store, records, keys):
    value = bytearray(records[keys[50]])
    value[len(value) // 2] ^= 1
    store.put(keys[50], bytes(value))
    return [keys[50]]


def nulled(store, records, keys):
    store.put(keys[60], None)
    return [keys[60]]


def moved_bytes(store, records, keys):
    """A byte goes from one value's end to the next one's start: the whole has the same bytes in the same order."""
    a, b = keys[70], keys[71]
    store.put(a, records[a][:-1])
    store.put(b, records[a][-1:] + records[b])
    return [a, b]


def everything(store, records, keys):
    """All at once, and most of the records."""
    hurt = [key for i, key in enumerate(keys) if i % 3]
    for key in hurt:
        store.put(key, b"wrong")
    return hurt


DAMAGES = [swapped, dropped, duplicated, truncated, emptied, flipped, moved_bytes, everything]


def moved(server, home, way, **how):
    server.fresh()
    records = make_records(400, least=2)
    kinds = way.split("-")
    source = FileStore(home / "src") if kinds[0] == "file" else server_store(server, "src")
    destination = FileStore(home / "dst") if kinds[1] == "file" else server_store(server, "dst")
    source.fill(records)
    destination.fill(EXTRAS)
    move = Move(home / "move", source, destination, **how)
    move.must(OK, "run")
    move.must(OK, "verify")
    return move, records


def name_of(key):
    return os.fsdecode(key.rpartition(b"/")[2])


@pytest.mark.parametrize(
    "way, damage",
    [(way, damage) for way in ("file-server", "server-server", "server-file") for damage in DAMAGES]
    + [("file-server", nulled), ("server-server", nulled)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damage(way, damage, server, home):
    if damage is nulled and "null" not in server.can:
        pytest.skip(f"{server.word} knows no NULL")
    move, records = moved(server, home, way)
    hurt = damage(move.destination, records, sorted(records))
    damaged = move.destination.read()
    # named
    code = move.do("verify")
    assert code == MISMATCH, f"verify ended with {code}: {move.said[-800:]}"
    named = [key for key in hurt if name_of(key) in move.said]
    assert len(named) >= min(len(hurt), 100), f"{len(hurt) - len(named)} records aren't named: {move.said[-1500:]}"
    healthy = [key for key in records if key not in hurt and name_of(key).startswith("h") and name_of(key) in move.said]
    assert not healthy, f"healthy records are named: {healthy[:3]}"
    assert_equal(damaged, move.destination.read(), "verify alone changes nothing")
    # mended
    move.must(OK, "verify", "--repair")
    assert_equal({**records, **EXTRAS}, move.destination.read(), "the destination after repair")
    move.must(OK, "verify")
    assert_equal(records, move.source.read(), "the source at the end")
    tally(f"{damage.__name__} record(s) on the destination, {way} on {server.word}", 2, 2)


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_repair_then_rollback(way, server, home):
    """What repair wrote is ours too: rollback takes it back."""
    move, records = moved(server, home, way)
    dropped(move.destination, records, sorted(records))
    swapped(move.destination, records, sorted(records))
    move.must(OK, "verify", "--repair")
    move.do("rollback")
    found = move.destination.read()
    left = {key for key in found if key in records}
    assert left <= set(sorted(records)[i] for i in (0, 10, 150, 200, len(records) - 1)), f"{len(left)} records are left"
    assert_equal(EXTRAS, {key: found.get(key) for key in EXTRAS}, "the destination's own keys")
    if left:  # then they must be named
        for key in left:
            assert name_of(key) in move.said, f"{key!r} is left and not named"
    tally(f"repair, then rollback, {way} on {server.word}")


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_repair_spares_a_write_in_between(way, server, home):
    """Somebody writes the record after verify has seen the damage and before repair mends it: left alone and named."""
    move, records = moved(server, home, way)
    keys = sorted(records)
    victim, other = keys[50], keys[51]
    move.destination.put(victim, b"damaged")
    move.destination.put(other, b"damaged")
    process = move.stopped("repair:1", "verify", "--repair")
    try:
        move.destination.put(victim, b"written by somebody just now")
        code = go_on(process)
    finally:
        end(process)
    log = (move.folder / "log").read_text(encoding="utf-8", errors="replace")
    assert code == MISMATCH, f"ended with {code}: {log[-800:]}"
    expected = {**records, **EXTRAS, victim: b"written by somebody just now"}
    assert_equal(expected, move.destination.read(), "the destination after repair")
    assert name_of(victim) in log, "the record that was left isn't named"
    tally(f"repair spares a write in between, {way} on {server.word}")


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_new_and_lost_extra_keys_are_seen(way, server, home):
    """Keys that only the destination has must be those of before the move."""
    move, records = moved(server, home, way)
    move.destination.put(b"logical/not-from-us", b"x")
    code = move.do("verify")
    assert code == MISMATCH, f"a new key on the destination: verify ended with {code}: {move.said[-800:]}"
    code = move.do("verify", "--repair")
    assert b"logical/not-from-us" in move.destination.read(), "repair removed somebody else's record"
    move.destination.drop(b"logical/not-from-us")
    move.must(OK, "verify")
    move.destination.drop(b"zz/last")
    code = move.do("verify")
    assert code == MISMATCH, f"a lost key of the destination's own: verify ended with {code}: {move.said[-800:]}"
    assert_equal(records, move.source.read(), "the source at the end")
    tally(f"a new or lost extra key on the destination, {way} on {server.word}", 2, 2)


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_source_changed_after_the_move(way, server, home):
    """verify says so, repair doesn't carry the change over."""
    move, records = moved(server, home, way)
    key = sorted(records)[33]
    move.source.put(key, b"changed after the move")
    for more in ((), ("--repair",)):
        code = move.do("verify", *more)
        assert code == MISMATCH, f"verify {more} ended with {code}: {move.said[-800:]}"
        assert_equal({**records, **EXTRAS}, move.destination.read(), "the destination")
    tally(f"source changed after the move: verify says so, {way} on {server.word}", 2, 2)
