# SPDX-License-Identifier: Apache-2.0
"""The archive store: files, pipes, crashes, power loss, full disks; and seal inspect and rewrap. What an archive holds is
read by archive_reader.py, which owes nothing to rehome."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import archive_reader
import pytest
from faultlib import (
    DESTINATION,
    INTERRUPTED,
    KILLED,
    LOCKED,
    MARKER,
    MISMATCH,
    OK,
    POWERLOSS,
    REFUSED,
    REHOME,
    SOAK,
    SOURCE,
    USAGE,
    Cases,
    FileStore,
    Move,
    SmallDisk,
    assert_equal,
    end,
    home,
    make_records,
    server,
    server_store,
    without_marker,
)

POWER_LOST = 137
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
EXTRA = 24


class ArchiveStore:
    """An archive, or with path "-" a pipe."""

    kind = "archive"

    def __init__(self, path, key=KEY, key_file=None):
        self.path, self.key = path, key
        self.key_file = key_file or path.with_suffix(".key")
        if not self.key_file.exists():
            self.key_file.write_bytes(key)
            self.key_file.chmod(0o600)

    def block(self, side):
        return f'{side} "archive" {{ path = "{self.path}" key_file = "{self.key_file}" }}'

    def data(self):
        return self.path.read_bytes() if self.path.exists() else None

    def read(self, crashed=False, torn=None):
        data = self.data()
        return None if data is None else archive_reader.kv(archive_reader.read(data, key=self.key))

    def beside(self):
        """Names of what lies beside the archive and belongs to it."""
        return sorted(name for name in os.listdir(self.path.parent) if name.startswith(f".{self.path.name}.rehome-"))

    def wipe(self):
        for name in [self.path.name, *self.beside()]:
            (self.path.parent / name).unlink(missing_ok=True)


def pipe_store(home, key=KEY):
    store = ArchiveStore(home / "pipe", key)
    store.path = "-"
    return store


def seal(*words, code=OK, env=None):
    done = subprocess.run([REHOME, "seal", *map(str, words)], capture_output=True, check=False, stdin=subprocess.DEVNULL,
                          env={**os.environ, **(env or {})}, timeout=120)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode() + done.stderr.decode()


def chunk_borders(data):
    """Offsets at which a frame begins or the file ends."""
    info = int.from_bytes(data[12:16], "big")
    at = info + 4 + int.from_bytes(data[info:info + 4], "big")
    borders = [at]
    while at < len(data):
        at += int.from_bytes(data[at:at + 4], "big") + EXTRA
        borders.append(at)
    return borders


@pytest.fixture
def filled(home):
    """source (files), archive and the move between; copied."""
    records = make_records(400)
    source, archive = FileStore(home / "src"), ArchiveStore(home / "the.archive")
    source.fill(records)
    move = Move(home / "move", source, archive)
    move.records = records
    return move


# --- file to archive to elsewhere ---


def test_round_trip(filled, home):
    filled.must(OK)
    assert_equal(filled.records, filled.destination.read(), "the archive")
    assert MARKER not in (filled.source.read()) and filled.destination.beside() == []
    back = Move(home / "back", filled.destination, FileStore(home / "dst"))
    back.must(OK, "check")
    back.must(OK)
    assert_equal(filled.records, back.destination.read(), "the way there and back")
    filled.must(OK, "verify")
    filled.must(OK)  # the same command again compares
    assert "comparing both sides again" in filled.said
    again = Move(home / "again", filled.destination, ArchiveStore(home / "second.archive", OTHER))
    again.must(OK)
    assert_equal(filled.records, again.destination.read(), "archive to archive")


@pytest.mark.mariadb_only("the archive doesn't care")
def test_archive_to_server_and_back(filled, home, server):
    server.fresh()
    filled.must(OK)
    there = Move(home / "there", filled.destination, server_store(server, "arch"))
    there.must(OK)
    assert_equal(filled.records, there.destination.read(), "the table")
    back = Move(home / "back", there.destination, ArchiveStore(home / "back.archive"))
    back.must(OK)
    assert_equal(filled.records, back.destination.read(), "the archive made of the table")


def test_python_reads_a_large_index(home):
    source, archive = FileStore(home / "src"), ArchiveStore(home / "large.archive")
    records = {b"k/%05d/" % i + b"x" * 200 + b"/" + b"y" * 230: bytes([i % 251]) * 60 for i in range(9000)}
    source.fill(records)
    Move(home / "move", source, archive).must(OK)
    found = archive_reader.read(archive.data(), key=KEY)
    assert {level for level, _, _ in found.blocks.values()} >= {0}
    assert_equal(records, archive_reader.kv(found), "the archive")


def test_empty_source(home):
    source, archive = FileStore(home / "src"), ArchiveStore(home / "none.archive")
    source.path.mkdir(mode=0o700)
    Move(home / "move", source, archive).must(OK)
    assert archive.read() == {}


def test_passphrase(filled, home):
    words = home / "words"
    words.write_text("correct horse\n")
    words.chmod(0o600)
    filled.plan.write_text(filled.plan.read_text().replace(f'key_file = "{filled.destination.key_file}"',
                                                           f'passphrase_file = "{words}"'))
    filled.must(OK)
    found = archive_reader.read(filled.destination.data(), passphrase=b"correct horse")
    assert_equal(filled.records, archive_reader.kv(found), "the archive")


def test_passphrase_in_the_plan(filled):
    filled.plan.write_text(filled.plan.read_text().replace(f'key_file = "{filled.destination.key_file}"',
                                                           'passphrase = "correct horse"'))
    filled.plan.chmod(0o600)
    filled.must(OK)
    found = archive_reader.read(filled.destination.data(), passphrase=b"correct horse")
    assert_equal(filled.records, archive_reader.kv(found), "the archive")


@pytest.mark.parametrize("keys", ["", 'key_file = "/k" passphrase_file = "/p"', 'passphrase = "x" passphrase_file = "/p"', 'passphrase_env = "RH_NOT_SET"'])
def test_exactly_one_key(filled, keys):
    filled.plan.write_text(filled.plan.read_text().replace(f'key_file = "{filled.destination.key_file}"', keys))
    assert filled.do() in (2, DESTINATION), filled.said
    assert filled.destination.data() is None and filled.source.read() == filled.records


# --- refusals ---


def test_wrong_key_and_open_key_file(filled, home):
    filled.must(OK)
    other = Move(home / "other", ArchiveStore(filled.destination.path, OTHER, home / "other.key"), FileStore(home / "dst"))
    other.must(SOURCE)
    assert "another key" in other.said and "fix:" in other.said and not other.destination.path.exists()
    (home / "other.key").chmod(0o644)
    other.must(REFUSED)


def test_existing_file(filled, home):
    filled.destination.path.write_bytes(b"not an archive at all, precious")
    filled.must(REFUSED)
    filled.plan.write_text(filled.plan.read_text().replace('"fail"', '"overwrite"'))
    filled.must(REFUSED)  # only an archive is replaced by one
    assert "no archive" in filled.said
    assert filled.destination.data() == b"not an archive at all, precious" and filled.source.read() == filled.records
    assert filled.destination.beside() == []


def test_same_file_twice(filled, home):
    filled.must(OK)
    os.symlink(filled.destination.path, home / "link")
    same = Move(home / "same", ArchiveStore(home / "link", key_file=filled.destination.key_file), filled.destination,
                on_conflict="overwrite")
    same.must(REFUSED)
    assert "the same store" in same.said


def sealed_with_model(home, archive, model):
    """The archive's stream with another model, sealed anew by this test."""
    stream = archive_reader.read(archive.data(), key=KEY).stream
    assert len(stream) < 65536
    at = stream.index(b"\0\0\0\x02kv\0\0\0")
    head = int.from_bytes(stream[12:16], "big")
    shift = len(model) - 2
    # one dataset, one block at most: moved offsets are put right by hand
    found = archive_reader.parse_head(stream)[0]
    body = bytearray(stream[:at] + len(model).to_bytes(4, "big") + model + stream[at + 6:])
    body[12:16] = (head + shift).to_bytes(4, "big")
    tail_at = len(body) - 24
    footer = int.from_bytes(body[tail_at:tail_at + 8], "big") + shift

    def move(place):
        body[place:place + 8] = (int.from_bytes(body[place:place + 8], "big") + shift).to_bytes(8, "big")

    move(tail_at)
    move(tail_at + 8)
    move(footer + 5 + 12)  # opening
    move(footer + 5 + 12 + 40)  # root
    root = int.from_bytes(body[footer + 57:footer + 65], "big")
    move(root + 10)  # the one entry
    assert found.chunk == 65536
    return seal_bytes(bytes(body), archive.data())


def seal_bytes(stream, like):
    """One frame under the header of another archive: same file key."""
    opened = archive_reader.Seal(like, b"archive", KEY)
    head = len(stream).to_bytes(4, "big") + b"\0\0\0\x01"
    nonce = bytes(11) + b"\x01"
    return like[:opened.header_size] + head + opened.frames.encrypt(nonce, stream, opened.fixed_hash + head)


def test_a_keyring_is_not_poured_into_a_kv_store(home):
    source, archive = FileStore(home / "src"), ArchiveStore(home / "small.archive")
    source.fill({b"a": b"1", b"b": b"2"})
    Move(home / "move", source, archive).must(OK)
    same = sealed_with_model(home, archive, b"kv")
    assert archive_reader.kv(archive_reader.read(same, key=KEY)) == {b"a": b"1", b"b": b"2"}
    archive.path.write_bytes(sealed_with_model(home, archive, b"keyring"))
    wrong = Move(home / "wrong", archive, FileStore(home / "dst"))
    wrong.must(REFUSED)
    assert "'keyring'" in wrong.said and not wrong.destination.path.exists()
    piped = Move(home / "piped", pipe_store(home), FileStore(home / "dst"))
    with open(archive.path, "rb") as file:
        done = subprocess.run(piped.args("run"), stdin=file, capture_output=True, check=False)
    assert done.returncode == REFUSED and b"'keyring'" in done.stderr and not piped.destination.path.exists()
    assert "model keyring" in seal("inspect", "--check", "--key-file", archive.key_file, archive.path)


# --- damage ---


def test_cut_and_flipped(filled, home):
    """At every chunk border, and at places in between: nothing is written anywhere, and verify and inspect say so."""
    filled.must(OK)
    whole = filled.destination.data()
    borders = chunk_borders(whole)
    assert len(borders) > 8 and borders[-1] == len(whole)
    to = Move(home / "to", filled.destination, FileStore(home / "dst"))
    with Cases("archive cut at every chunk border") as cases:
        for cut in [0, 10, 100, *borders[:-1], len(whole) - 1, *(border + 30 for border in borders[:-1])]:
            with cases.one(f"cut at {cut}"):
                filled.destination.path.write_bytes(whole[:cut])
                code = to.do()
                assert code == SOURCE, (code, to.said)
                assert not to.destination.path.exists()
                seal("inspect", "--key-file", filled.destination.key_file, filled.destination.path, code=SOURCE)
    with Cases("archive flipped") as cases:
        for at in range(0, len(whole), len(whole) // (400 if SOAK else 25)):
            with cases.one(f"flipped at {at}"):
                filled.destination.path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
                seal("inspect", "--check", "--key-file", filled.destination.key_file, filled.destination.path, code=SOURCE)
                code = filled.do("verify")
                assert code == DESTINATION, (code, filled.said)
                code = to.do()
                assert code == SOURCE, (code, to.said)
                if to.destination.path.exists():
                    to.must(OK, "rollback")
                    assert not to.destination.path.exists()
    filled.destination.path.write_bytes(whole)
    filled.must(OK, "verify")
    to.must(OK)
    assert_equal(filled.records, to.destination.read(), "from the mended archive")


def test_verify_sees_another_archive(filled, home):
    filled.must(OK)
    changed = dict(filled.records)
    changed[b"core/mounts"] = b"changed"
    del changed[b"core/keyring"]
    source = FileStore(home / "src2")
    source.fill(changed)
    Move(home / "second", source, ArchiveStore(home / "second.archive", key_file=filled.destination.key_file)).must(OK)
    shutil.copy(home / "second.archive", filled.destination.path)
    filled.must(MISMATCH, "verify")
    assert "core/mounts" in filled.said and "core/keyring" in filled.said
    filled.must(REFUSED, "verify", "--repair")
    filled.must(DESTINATION, "rollback")  # it isn't ours any more
    assert "left alone" in filled.said and filled.destination.read() == changed


# --- the way back ---


def test_rollback_and_finish(filled, home):
    filled.must(OK)
    filled.must(OK, "rollback")
    assert filled.destination.data() is None and filled.destination.beside() == []
    filled.must(OK)
    filled.must(OK, "finish")
    first = filled.destination.data()
    over = Move(home / "over", filled.source, filled.destination, on_conflict="overwrite")
    over.must(OK)
    assert filled.destination.data() != first and filled.destination.beside() == [".the.archive.rehome-before"]
    over.must(OK, "rollback")
    assert filled.destination.data() == first and filled.destination.beside() == []
    over.must(OK)
    over.must(OK, "finish")
    assert_equal(filled.records, filled.destination.read(), "the new archive")
    assert filled.destination.data() != first and filled.destination.beside() == []


def test_overwrite_keeps_owner_and_mode(filled, home):
    filled.must(OK)
    filled.must(OK, "finish")
    filled.destination.path.chmod(0o640)
    over = Move(home / "over", filled.source, filled.destination, on_conflict="overwrite")
    over.must(OK)
    assert filled.destination.path.stat().st_mode & 0o777 == 0o640


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


# an archive changed in place
CHANGES = {
    "the wrapped key": lambda data: flip(data, chunk_borders(data)[0] - 20),
    "a frame's head": lambda data: flip(data, chunk_borders(data)[1] + 3),
    "a record": lambda data: flip(data, chunk_borders(data)[1] + 2000),
    "a tag": lambda data: flip(data, chunk_borders(data)[2] - 1),
    "the last byte": lambda data: flip(data, len(data) - 1),
    "more behind it": lambda data: data + b"\0",
    "its end cut off": lambda data: data[:-1],
    "cut at a chunk": lambda data: data[:chunk_borders(data)[2]],
}


def test_rollback_leaves_what_is_not_ours_to_the_last_byte(filled, home):
    """An archive of ours with other bytes inside isn't removed, nor replaced by what was there before it."""
    with Cases("rollback of an archive with other bytes inside") as cases:
        for where, change in CHANGES.items():
            with cases.one(where):
                filled.destination.wipe()
                filled.must(OK)
                filled.destination.path.write_bytes(change(filled.destination.data()))
                data = filled.destination.data()
                filled.must(DESTINATION, "rollback")
                assert "left alone, some of its bytes" in filled.said, filled.said
                assert filled.destination.data() == data
    filled.destination.wipe()
    filled.must(OK)
    filled.must(OK, "finish")
    first = filled.destination.data()
    over = Move(home / "over", filled.source, filled.destination, on_conflict="overwrite")
    over.must(OK)
    data = CHANGES["a record"](over.destination.data())
    over.destination.path.write_bytes(data)
    over.must(DESTINATION, "rollback")
    assert "move it away" in over.said and over.destination.data() == data
    over.must(DESTINATION, "rollback")
    over.destination.path.rename(home / "moved-away")
    over.must(OK, "rollback")
    assert over.destination.data() == first and over.destination.beside() == []


@pytest.mark.parametrize("at", [1, 2, 3])
def test_rollback_leaves_a_damaged_one_that_was_only_promised(filled, home, at):
    """The same where the process died around its commit, and nobody journaled that it happened."""
    first = ArchiveStore(home / "other.archive")
    Move(home / "small", filled.source, first).must(OK)
    filled.destination.path.write_bytes(first.data())
    over = Move(home / "over", filled.source, filled.destination, on_conflict="overwrite")
    points = 0
    while over.do(env={"RH_CRASH_AT": f"archive:{points + 1}"}) == KILLED:
        points += 1
        over.must(OK, "rollback")
    over.must(OK, "rollback")
    assert over.do(env={"RH_CRASH_AT": f"archive:{points + 1 - at}"}) == KILLED
    if over.destination.data() == first.data():
        over.must(OK, "rollback")
    else:
        data = CHANGES["a record"](over.destination.data())
        over.destination.path.write_bytes(data)
        over.must(DESTINATION, "rollback")
        assert over.destination.data() == data
        over.destination.path.unlink()
        over.must(OK, "rollback")
    assert over.destination.data() == first.data() and over.destination.beside() == []


def test_rollback_leaves_a_rewrapped_one(filled, home):
    """Somebody has begun to use it: it isn't ours any more."""
    filled.must(OK)
    new = home / "new.key"
    new.write_bytes(OTHER)
    new.chmod(0o600)
    seal("rewrap", "-q", filled.destination.path, "--key-file", filled.destination.key_file, "--new-key-file", new)
    filled.must(DESTINATION, "verify")
    rewrapped = filled.destination.data()
    filled.must(DESTINATION, "rollback")
    assert filled.destination.data() == rewrapped


def test_two_at_once(filled, home):
    second = Move(home / "second", FileStore(home / "src2"), filled.destination)
    second.source.fill({b"a": b"1"})
    process = filled.stopped("copy:1")
    try:
        second.must(LOCKED)
        assert "is writing it" in second.said
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == OK
    finally:
        end(process)
    assert_equal(filled.records, filled.destination.read(), "the archive")


def test_somebody_else_puts_a_file_there(filled):
    process = filled.stopped("archive:2")
    try:
        filled.destination.path.write_bytes(b"precious")
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == DESTINATION
    finally:
        end(process)
    assert filled.destination.data() == b"precious" and filled.destination.beside() == []
    assert filled.source.read() == filled.records


def test_source_changes_meanwhile(filled):
    process = filled.stopped("copy:1")
    try:
        filled.source.put(b"logical/new", b"x")
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == MISMATCH
    finally:
        end(process)
    assert filled.destination.data() is None and filled.destination.beside() == []


# --- crashes ---


def passes(move, point, verb="run"):
    """How often a clean command passes a point; counted by killing it ever later."""
    low, high = 0, 1
    while killed_at(move, point, high, verb):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if killed_at(move, point, middle, verb) else (low, middle)
    return low


def killed_at(move, point, at, verb):
    move.fresh()
    return move.do(verb, env={"RH_CRASH_AT": f"{point}:{at}"}) == KILLED


def half_or_whole(move, before=None):
    """What lies under the archive's name: what was there, or all of it."""
    data = move.destination.data()
    if data is None or data == before:
        assert data == before
        return
    assert_equal(move.records, move.destination.read(), "the archive after a crash")


def refreshing(move, before=None):
    """Gives the move a fresh(): as if nothing had happened."""

    def fresh():
        move.reset()
        move.destination.wipe()
        if before is not None:
            move.destination.path.write_bytes(before)
        (move.source.path / "core" / "_migration").unlink(missing_ok=True)

    move.fresh = fresh
    return move


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("point", ["archive", "journal", "seal-frame"])
def test_killed_everywhere(filled, home, point, before):
    old = None
    if before:
        filled.must(OK)
        old = filled.destination.data()
        filled = Move(home / "over", filled.source, filled.destination, on_conflict="overwrite")
        filled.records = filled.source.read()
    move = refreshing(filled, old)
    count = passes(move, point)
    assert count >= {"archive": 5, "journal": 20, "seal-frame": 5}[point]
    step = 1 if SOAK or count < 12 else count // 10
    with Cases(f"archive killed at every {point} point{', over an old one' if before else ''}") as cases:
        for at in range(1, count + 1, step):
            for back in (False, True):
                with cases.one(f"{point}:{at} {'back' if back else 'on'}"):
                    assert killed_at(move, point, at, "run")
                    half_or_whole(move, old)
                    if back:
                        move.go_back()
                        assert move.destination.data() == old
                        assert move.destination.beside() == []
                    else:
                        move.must(OK)
                        assert_equal(move.records, move.destination.read(), "the archive in the end")
                        move.must(OK, "finish")
                        assert move.destination.beside() == []
                    assert_equal(move.records, move.source.read(), "the source, without a marker")


@pytest.mark.parametrize("before", [False, True])
def test_rollback_killed_everywhere(filled, home, before):
    old = None
    if before:
        filled.must(OK)
        old = filled.destination.data()
        filled = Move(home / "over", filled.source, filled.destination, on_conflict="overwrite")
        filled.records = filled.source.read()
    move = refreshing(filled, old)
    with Cases("rollback of an archive killed at every point") as cases:
        for at in range(1, 200):
            move.fresh()
            move.must(OK)
            if move.do("rollback", env={"RH_CRASH_AT": f"*:{at}"}) != KILLED:
                break
            with cases.one(f"point {at}"):
                half_or_whole(move, old)
                move.must(OK, "rollback")
                assert move.destination.data() == old and move.destination.beside() == []
        assert at > 8


def power_env(root, home, at="", mode="drop", seed=1):
    return {"LD_PRELOAD": str(POWERLOSS), "RH_POWERLOSS_ROOTS": str(root), "RH_POWERLOSS_AT": str(at),
            "RH_POWERLOSS_MODE": mode, "RH_POWERLOSS_SEED": str(seed), "RH_POWERLOSS_COUNT": str(home / "count"),
            "RH_POWERLOSS_LOG": str(home / "lost")}


@pytest.mark.parametrize("before", [False, True])
def test_power_loss_at_every_sync(home, before):
    root, keep = home / "disk", home / "keep"
    root.mkdir()
    source, archive = FileStore(root / "src"), ArchiveStore(root / "the.archive")
    source.fill(make_records(80))
    move = Move(root / "move", source, archive, on_conflict="overwrite" if before else "fail")
    move.folder, move.records, old = home, source.read(), None
    if before:
        move.must(OK)
        move.must(OK, "finish")
        old = archive.data()
        move.reset()
    subprocess.run(["cp", "-a", root, keep], check=True)
    move.must(OK, env=power_env(root, home))
    syncs = int((home / "count").read_text())
    assert syncs > 10
    with Cases(f"power loss at every sync, file to archive{', over an old one' if before else ''}") as cases:
        for k in range(1, syncs + 1):
            mode = ("drop", "prefix", "subset")[k % 3]
            for one in (("drop", "prefix", "subset") if SOAK else (mode,)):
                shutil.rmtree(root)
                subprocess.run(["cp", "-a", keep, root], check=True)
                with cases.one(f"sync {k} of {syncs}, {one}"):
                    code = move.do("run", env=power_env(root, home, k, one, k))
                    assert code == POWER_LOST or (code == OK and k > syncs - 5), (code, move.said[-600:])
                    half_or_whole(move, old)
                    if k % 3 == 0:
                        move.go_back()
                        assert archive.data() == old and archive.beside() == []
                    else:
                        move.must(OK)
                        assert_equal(move.records, archive.read(), "the archive in the end")
                    assert_equal(move.records, source.read(), "the source in the end")


def test_disk_full(home):
    source = FileStore(home / "src")
    records = make_records(400)
    source.fill(records)
    with SmallDisk(home / "small", 256 * 1024) as disk:
        archive = ArchiveStore(disk.path / "the.archive", key_file=home / "key")
        move = Move(home / "move", source, archive)
        move.must(DESTINATION)
        assert "No space" in move.said and archive.data() is None and archive.beside() == []
        disk.resize(16 << 20)
        move.must(OK)
        assert_equal(records, archive.read(), "the archive after there was room")
        # rewrap needs room for a second one, and leaves the first as it is
        disk.resize(os.path.getsize(archive.path) * 3 // 2 & ~4095)
        new, data = home / "new.key", archive.data()
        new.write_bytes(OTHER)
        new.chmod(0o600)
        seal("rewrap", archive.path, "--key-file", archive.key_file, "--new-key-file", new, code=DESTINATION)
        assert archive.data() == data and archive.beside() == []


# --- pipes ---


def run_piped(first, second, between=("cat",), env=None):
    """first | between | second; exit codes of both ends and what they said."""
    with open(first.folder / "err", "wb") as err:
        a = subprocess.Popen(first.args("run"), stdout=subprocess.PIPE, stderr=err, stdin=subprocess.DEVNULL,
                             env={**os.environ, **(env or {})})
    b = subprocess.Popen(between, stdin=a.stdout, stdout=subprocess.PIPE)
    c = subprocess.Popen(second.args("run"), stdin=b.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    a.stdout.close()
    b.stdout.close()
    out, said = c.communicate(timeout=120)
    b.wait(60)
    return a.wait(60), c.returncode, (first.folder / "err").read_text(), (out + said).decode()


@pytest.fixture
def piped(home):
    """Both halves of a move through a pipe."""
    records = make_records(400)
    source, there = FileStore(home / "src"), FileStore(home / "dst")
    source.fill(records)
    first, second = Move(home / "first", source, pipe_store(home)), Move(home / "second", pipe_store(home), there)
    first.records = records
    return first, second


def test_through_a_pipe(piped, home):
    first, second = piped
    a, c, said_a, said_c = run_piped(first, second)
    assert (a, c) == (OK, OK), said_a + said_c
    assert "verified=no" in said_a and "verified=no" in said_c
    assert_equal(first.records, second.destination.read(), "behind the pipe")
    assert_equal(first.records, first.source.read(), "the source")
    for move in (first, second):
        report = json.loads(subprocess.run(move.args("report"), capture_output=True, check=True).stdout)
        assert report["moves"][0]["verified"] == "no" and report["moves"][0]["state"] == "complete"
    first.must(REFUSED, "verify")
    second.must(REFUSED, "verify")
    # the sender sends again, and what comes is a whole archive; the receiver doesn't take it twice
    whole = subprocess.run(first.args("run", "-q"), capture_output=True, check=True).stdout
    assert_equal(first.records, archive_reader.kv(archive_reader.read(whole, key=KEY)), "the second time")
    done = subprocess.run(second.args("run"), input=whole, capture_output=True, check=False)
    assert done.returncode == REFUSED and b"complete" in done.stderr
    second.must(OK, "rollback")
    assert not second.destination.path.exists()
    # a file that a pipe brought can be looked at and read as any other
    (home / "came.archive").write_bytes(whole)
    assert "whole" in seal("inspect", "--check", "--key-file", first.destination.key_file, home / "came.archive")
    came = Move(home / "came", ArchiveStore(home / "came.archive", key_file=first.destination.key_file), second.destination)
    came.must(OK)
    came.must(OK, "verify")


def test_pipe_cut_and_flipped(piped):
    """Success is only said after the archive's own footer was seen; else the destination is as it was."""
    first, second = piped
    whole = subprocess.run(first.args("run", "-q"), capture_output=True, check=True).stdout
    borders = chunk_borders(whole)
    spoilt = {f"cut at {cut}": whole[:cut] for cut in [0, 50, *borders[:-1], len(whole) - 1]}
    for at in range(0, len(whole), len(whole) // 12):
        spoilt[f"flipped at {at}"] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]
    spoilt["more behind it"] = whole + b"\0"
    with Cases("archive spoilt in a pipe") as cases:
        for label, data in spoilt.items():
            with cases.one(label):
                done = subprocess.run(second.args("run"), input=data, capture_output=True, check=False)
                assert done.returncode == SOURCE, (done.returncode, done.stderr)
                second.go_back()
                assert not second.destination.path.exists()
    done = subprocess.run(second.args("run"), input=whole, capture_output=True, check=False)
    assert done.returncode == OK, done.stderr
    assert_equal(first.records, second.destination.read(), "from the good one")


def test_resume_after_a_cut_pipe(home):
    source = FileStore(home / "src")
    source.fill(make_records(2500))
    first = Move(home / "first", source, pipe_store(home))
    second = Move(home / "second", pipe_store(home), FileStore(home / "dst"))
    first.records = source.read()
    whole = subprocess.run(first.args("run", "-q"), capture_output=True, check=True).stdout
    done = subprocess.run(second.args("run"), input=whole[:-2000], capture_output=True, check=False)
    assert done.returncode == SOURCE and len(second.destination.read()) > 100
    a, c, said_a, said_c = run_piped(first, second)  # another archive of the same records
    assert (a, c) == (OK, OK), said_a + said_c
    assert_equal(first.records, second.destination.read(), "after starting over")


def test_reader_goes_away(piped):
    first, _ = piped
    process = subprocess.Popen(first.args("run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1000)
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(60) == DESTINATION and "Broken pipe" in said and "fix:" in said, said
    first.must(OK, "rollback")
    assert_equal(first.records, first.source.read(), "the source, without a marker")


def test_pipe_meets_a_conflict(piped):
    first, second = piped
    second.destination.fill({b"core/mounts": b"somebody's", b"zz": b"extra"})
    a, c, _, said = run_piped(first, second)
    assert c == DESTINATION and "core/mounts" in said and "rolled back" in said
    assert second.destination.read() == {b"core/mounts": b"somebody's", b"zz": b"extra"}


def test_pipe_brings_what_does_not_fit(home):
    records = {b"a": b"1", b"b/" + b"x" * 400: b"2", b"c": b"3"}
    source = ArchiveStore(home / "made.archive")
    # file names end at 255 bytes, an archive's keys don't: made by way of memory that only a server has; sealed here
    stream, like = archive_with(home, records), source
    like.path.write_bytes(stream)
    second = Move(home / "second", pipe_store(home), FileStore(home / "dst"))
    done = subprocess.run(second.args("run"), input=stream, capture_output=True, check=False)
    assert done.returncode == REFUSED and b"can't hold" in done.stderr and b"b/xxx" in done.stderr, done.stderr
    assert not second.destination.path.exists()


def archive_with(home, records):
    """An archive of these records, by this test, under the header of one that rehome made."""
    small = FileStore(home / "small")
    small.fill({b"a": b"1"})
    made = ArchiveStore(home / "like.archive")
    Move(home / "like", small, made).must(OK)
    old = archive_reader.read(made.data(), key=KEY).stream
    head = old[:int.from_bytes(old[12:16], "big")]
    secret = archive_reader.read(made.data(), key=KEY).digest_key

    def text(data):
        return len(data).to_bytes(4, "big") + data

    body, total, size = head + b"\x03\0\0\0\0", 0, 0
    first = len(body)
    for key, value in sorted(records.items()):
        body += b"\x01" + text(key) + b"\0\0\0\x01\x01" + len(value).to_bytes(8, "big") + value
        total += archive_reader.record_hash(secret, b"kv", key, [(1, value)])
        size += len(key) + len(value)
    root, entry = len(body), first.to_bytes(8, "big") + bytes(8) + text(sorted(records)[0])
    body += b"\x02\0\0\0\0\x01" + text(entry)
    footer = len(body)
    body += b"\x04" + text(bytes(8) + b"\0\0\0\x01" + len(head).to_bytes(8, "big") + len(records).to_bytes(8, "big") +
                           size.to_bytes(8, "big") + (total % (1 << 128)).to_bytes(16, "big") + root.to_bytes(8, "big"))
    body += footer.to_bytes(8, "big") + (len(body) + 24).to_bytes(8, "big") + b"RHAEND\r\n"
    data = seal_bytes(body, made.data())
    assert archive_reader.kv(archive_reader.read(data, key=KEY)) == records
    return data


def test_pipe_words(piped, home):
    first, _ = piped
    done = subprocess.run(first.args("run", "--json"), capture_output=True, check=False)
    assert done.returncode == USAGE and done.stdout == b"", done
    two = home / "two.hcl"
    blocks = first.plan.read_text().split("\n", 1)
    two.write_text(blocks[0] + "\n" + blocks[1] + blocks[1].replace('move "m"', 'move "n"'))
    done = subprocess.run([REHOME, "run", two], capture_output=True, check=False)
    assert done.returncode == REFUSED and b"other moves" in done.stderr and done.stdout == b""


def test_killed_while_piping(piped):
    first, second = piped
    with Cases("sender killed while piping") as cases:
        for at in (1, 2, 4):
            with cases.one(f"archive:{at}"):
                a, c, _, said = run_piped(first, second, env={"RH_CRASH_AT": f"seal-frame:{at}"})
                assert a == KILLED and c == SOURCE, (a, c, said)
                second.go_back()
                assert not second.destination.path.exists()
                first.must(OK, "rollback")
    a, c, said_a, said_c = run_piped(first, second)
    assert (a, c) == (OK, OK), said_a + said_c


# --- seal inspect, seal rewrap ---


def test_inspect(filled, home):
    filled.must(OK)
    archive, key = filled.destination.path, filled.destination.key_file
    said = seal("inspect", archive)
    assert "key file" in said and "64.0 KiB each" in said and "nothing of this is proven" in said and "records" not in said
    found = json.loads(seal("inspect", "--json", "--check", "--key-file", key, archive))
    assert found["archive"]["records"] == len(filled.records) and found["archive"]["model"] == "kv"
    assert found["archive"]["checked"] and found["opened"] and found["ends"] and found["purpose"] == "archive"
    assert found["archive"]["bytes"] == sum(len(k) + len(v) for k, v in filled.records.items())
    assert found["id"] == archive_reader.read(filled.destination.data(), key=KEY).file_id.hex()
    (home / "wrong.key").write_bytes(OTHER)
    (home / "wrong.key").chmod(0o600)
    assert "another key" in seal("inspect", "--key-file", home / "wrong.key", archive, code=SOURCE)
    seal("inspect", "--check", archive, code=USAGE)
    seal("inspect", "--key-file", key, "--passphrase-file", key, archive, code=USAGE)
    seal("inspect", home / "nowhere", code=SOURCE)
    seal("inspect", home, code=REFUSED)
    seal("inspect", code=USAGE)
    (home / "text").write_text("not sealed at all, but long enough to be")
    assert "it isn't one" in seal("inspect", home / "text", code=SOURCE)
    archive.write_bytes(filled.destination.data()[:-1000])
    assert "MISSING" in seal("inspect", archive)
    assert json.loads(seal("inspect", "--json", archive))["ends"] is False


def test_inspect_an_undo_segment(home):
    source = FileStore(home / "src")
    source.fill({b"a": b"1"})
    move = Move(home / "move", source, FileStore(home / "dst"))
    move.must(OK)
    segment = next(move.state.glob("*.undo-*"))
    assert "undo, sealed file" in seal("inspect", segment)
    assert "the key fits" in seal("inspect", "--key-file", move.state / "seal.key", segment)
    seal("inspect", "--check", "--key-file", move.state / "seal.key", segment, code=REFUSED)
    before = segment.read_bytes()
    seal("rewrap", segment, "--key-file", move.state / "seal.key", "--new-key-file", move.state / "seal.key", code=REFUSED)
    assert segment.read_bytes() == before


def keys(home):
    """(new key file, passphrase file)"""
    new, words = home / "new.key", home / "words"
    new.write_bytes(OTHER)
    words.write_bytes(b"open sesame")
    new.chmod(0o600)
    words.chmod(0o600)
    return new, words


def payload(data):
    return data[chunk_borders(data)[0]:]


def test_rewrap(filled, home):
    filled.must(OK)
    archive, key = filled.destination.path, filled.destination.key_file
    new, words = keys(home)
    archive.chmod(0o640)
    before = archive.read_bytes()
    seal("rewrap", archive, "--key-file", key, "--new-passphrase-file", words)
    after = archive.read_bytes()
    assert payload(after) == payload(before) and len(after) == len(before) + 25 and after[:104] == before[:104]
    assert archive.stat().st_mode & 0o777 == 0o640
    found = archive_reader.read(after, passphrase=b"open sesame")
    assert_equal(filled.records, archive_reader.kv(found), "the archive under a passphrase")
    seal("rewrap", archive, "--key-file", key, "--new-key-file", new, code=SOURCE)  # the key it had
    seal("rewrap", archive, "--passphrase-file", words, "--new-key-file", new)
    assert_equal(filled.records, ArchiveStore(archive, OTHER, new).read(), "the archive under another key")
    seal("rewrap", archive, "--key-file", new, code=USAGE)
    seal("rewrap", archive, "--new-key-file", new, code=USAGE)
    os.symlink(archive, home / "link")
    seal("rewrap", home / "link", "--key-file", new, "--new-key-file", key, code=REFUSED)
    os.link(archive, home / "hard")
    seal("rewrap", archive, "--key-file", new, "--new-key-file", key, code=REFUSED)
    assert filled.destination.beside() == []


def test_rewrap_killed_everywhere(filled, home):
    filled.must(OK)
    archive, key = filled.destination.path, filled.destination.key_file
    _, words = keys(home)
    before = archive.read_bytes()
    words_of = {"old": {"key": KEY}, "new": {"passphrase": b"open sesame"}}
    with Cases("rewrap killed at every point") as cases:
        for at in range(1, 50):
            archive.write_bytes(before)
            done = subprocess.run([REHOME, "seal", "rewrap", archive, "--key-file", key, "--new-passphrase-file", words],
                                  env={**os.environ, "RH_CRASH_AT": f"*:{at}"}, capture_output=True, check=False)
            if done.returncode == OK:
                break
            with cases.one(f"point {at}"):
                assert done.returncode == KILLED, done.stderr
                data = archive.read_bytes()
                which = "old" if data == before else "new"
                assert_equal(filled.records, archive_reader.kv(archive_reader.read(data, **words_of[which])), which)
                if which == "old":
                    seal("rewrap", archive, "--key-file", key, "--new-passphrase-file", words)
                    archive_reader.read(archive.read_bytes(), passphrase=b"open sesame")
                    assert filled.destination.beside() == []
        assert at > 4


def test_rewrap_power_loss(home):
    root, keep = home / "disk", home / "keep"
    root.mkdir()
    source, archive = FileStore(home / "src"), ArchiveStore(root / "the.archive", key_file=home / "key")
    source.fill(make_records(60))
    Move(home / "move", source, archive).must(OK)
    new, _ = keys(home)
    subprocess.run(["cp", "-a", root, keep], check=True)
    words = ["rewrap", archive.path, "--key-file", archive.key_file, "--new-key-file", new]
    seal(*words, env=power_env(root, home))
    syncs = int((home / "count").read_text())
    assert syncs == 2
    with Cases("rewrap: power loss at every sync") as cases:
        for k in range(1, syncs + 1):
            for mode in ("drop", "prefix", "subset"):
                for number in range(1, 6):
                    shutil.rmtree(root)
                    subprocess.run(["cp", "-a", keep, root], check=True)
                    with cases.one(f"sync {k}, {mode} {number}"):
                        seal(*words, env=power_env(root, home, k, mode, number), code=POWER_LOST)
                        data = archive.data()
                        old = data == (keep / "the.archive").read_bytes()
                        found = archive_reader.kv(archive_reader.read(data, key=KEY if old else OTHER))
                        assert_equal(source.read(), found, "the archive after the power loss")
