# SPDX-License-Identifier: Apache-2.0
"""Undo segments are sealed (docs/formats/seal.md): with any byte flipped, cut or reordered, rollback is refused, says so,
and has changed nothing."""
import json
import random
import shutil
import struct
import subprocess

import pytest
from faultlib import (
    EXTRAS,
    OK,
    REFUSED,
    SOAK,
    Cases,
    FileStore,
    Move,
    assert_equal,
    home,
    make_records,
    server,
    server_store,
    tally,
    without_marker,
)

MAGIC = b"RHSEAL\r\n"
pytestmark = pytest.mark.mariadb_only("the undo log is on our side")


def split(sealed):
    """Header and frames of a sealed file."""
    fixed = struct.unpack_from(">I", sealed, 12)[0]
    at = fixed + 4 + struct.unpack_from(">I", sealed, fixed)[0]
    header, frames = sealed[:at], []
    while at < len(sealed):
        size = 24 + struct.unpack_from(">I", sealed, at)[0]
        frames.append(sealed[at : at + size])
        at += size
    return header, frames


class Sealed:
    """A move that has run, with the undo segments it left."""

    def __init__(self, server, home, records, held, **how):
        server.fresh()
        self.records, self.held = records, held
        source, self.destination = FileStore(home / "src"), server_store(server, "dst")
        source.fill(records)
        self.destination.fill(held)
        self.move = Move(home / "move", source, self.destination, on_conflict="overwrite", **how)
        self.move.must(OK, "run")
        self.after = self.destination.read()
        self.files = sorted(
            path for path in self.move.state.rglob("*") if path.is_file() and path.read_bytes().startswith(MAGIC)
        )
        assert self.files, "no undo segment was written"
        self.keep = home / "keep"
        shutil.copytree(self.move.state, self.keep)

    def restore(self):
        shutil.rmtree(self.move.state)
        shutil.copytree(self.keep, self.move.state)

    def refused(self, what):
        """Rollback refuses and leaves the destination alone."""
        code = self.move.do("rollback")
        assert code != OK, f"{what}: accepted"
        assert code > 0, f"{what}: crashed with {code}"
        # the marker may stand: a rollback was begun and hasn't ended
        assert_equal(self.after, without_marker(self.destination.read()), f"{what}: the destination after a refused rollback")
        text = self.move.said.lower()
        assert "undo" in text or "seal" in text, f"{what}: unclear: {self.move.said[-500:]}"


def sealed(server, home, **how):
    records = make_records(24, most=40)
    held = {**EXTRAS, **{key: b"old " + key for key in list(records)[:12]}}
    return Sealed(server, home, records, held, **how)


def test_any_byte_flipped(server, home):
    it = sealed(server, home, more="parallel = 1")
    rng = random.Random(3)
    with Cases("undo segment with a byte flipped") as cases:
        for file in it.files:
            good = file.read_bytes()
            header, frames = split(good)
            end = len(good) - (len(frames[-1]) if frames[-1][7] == 1 else 0)  # the empty last frame is past what counts
            places = range(end) if SOAK else sorted({*range(0, 32), *rng.sample(range(32, end), 30), end - 1})
            for at in places:
                hurt = bytearray(good)
                hurt[at] ^= 1 << rng.randrange(8)
                file.write_bytes(hurt)
                with cases.one(f"byte {at} of {len(good)}"):
                    it.refused(f"byte {at} of {len(good)} flipped")
            file.write_bytes(good)
    it.move.must(OK, "rollback")
    assert_equal(it.held, it.destination.read(), "the destination after rollback with the whole file")


@pytest.mark.mariadb_only("the undo log is on our side", but=["postgresql"])
def test_cut(server, home):
    it = sealed(server, home, more="parallel = 1")
    with Cases("undo segment cut") as cases:
        for file in it.files:
            good = file.read_bytes()
            header, frames = split(good)
            end = len(good) - (len(frames[-1]) if frames[-1][7] == 1 else 0)
            places = range(end) if SOAK else sorted({0, 1, 15, len(header) - 1, len(header), end // 2, end - 17, end - 1})
            for size in places:
                file.write_bytes(good[:size])
                with cases.one(f"cut to {size} of {len(good)}"):
                    it.refused(f"cut to {size} of {len(good)}")
            file.unlink()
            with cases.one("removed"):
                it.refused("removed")
            file.write_bytes(good)
    it.move.must(OK, "rollback")
    assert_equal(it.held, it.destination.read(), "the destination after rollback with the whole file")


def test_way_back_given_up(server, home):
    """With a log that is damaged for good, the plan isn't on its way back for ever: recover --abandon gives it up, says
    what stands, and a new run begins anew."""
    it = sealed(server, home, more="parallel = 1")
    it.move.must(REFUSED, "recover", "--abandon")
    assert "finish" in it.move.said and it.destination.read() == it.after
    for file in it.files:
        file.write_bytes(file.read_bytes()[:-40])
    it.refused("cut")
    assert "recover --abandon" in it.move.said
    for what in ("given up", "given up once more"):
        it.move.must(OK, "recover", "--abandon")
        assert_equal(it.after, it.destination.read(), f"{what}: the destination keeps what it had, without a marker")
        report = json.loads(subprocess.run(it.move.args("status", "--json"), check=True, capture_output=True).stdout)["moves"][0]
        assert report["state"] == "abandoned" and not report["undo"]["reversible"] and report["undo"]["segments"] == 0
        assert any(note["kind"] == "abandoned" and "24 records" in note["text"] for note in report["notes"]), report["notes"]
    it.move.must(REFUSED, "rollback")
    it.move.must(REFUSED, "verify")
    it.move.must(OK, "run")
    assert_equal({**it.held, **it.records}, it.destination.read(), "the destination after a new run")
    it.move.must(OK, "rollback")
    assert_equal(it.after, it.destination.read(), "rolled back to what stood when the way back was given up")
    tally("undo log damaged for good: way back given up, run anew")


def test_reordered(server, home):
    """Frames swapped, doubled, left out; files swapped."""
    records = make_records(800, most=60)
    held = {**EXTRAS, **{key: b"old " + key for key in list(records)[:400]}}
    server.fresh()
    source, destination = FileStore(home / "src"), server_store(server, "dst")
    source.fill(records)
    destination.fill(held)
    move = Move(home / "move", source, destination, on_conflict="overwrite", more="parallel = 1")
    assert move.do("run", env={"RH_CRASH_AT": "undo:3"}) == -9  # so that there are two segments
    it = Sealed.__new__(Sealed)
    it.records, it.held, it.destination, it.move = records, held, destination, move
    move.must(OK, "run")
    it.after = destination.read()
    it.files = sorted(p for p in move.state.rglob("*") if p.is_file() and p.read_bytes().startswith(MAGIC))
    it.keep = home / "keep"
    shutil.copytree(move.state, it.keep)
    assert len(it.files) >= 2, "there should be two segments"
    with Cases("undo segment reordered") as cases:
        for file in it.files:
            header, frames = split(file.read_bytes())
            if len(frames) < 3:
                continue
            changes = {
                "frames swapped": [frames[1], frames[0], *frames[2:]],
                "a frame doubled": [frames[0], frames[0], *frames[1:]],
                "a frame left out": frames[1:],
                "a frame in the place of another": [frames[0], frames[0], *frames[2:]],
            }
            for what, changed in changes.items():
                file.write_bytes(header + b"".join(changed))
                with cases.one(f"{file.name}: {what}"):
                    it.refused(what)
                it.restore()
        one, two = (path.read_bytes() for path in it.files[:2])
        it.files[0].write_bytes(two)
        it.files[1].write_bytes(one)
        with cases.one("two segments swapped"):
            it.refused("two segments swapped")
        it.restore()
        it.files[1].write_bytes(one)
        with cases.one("one segment twice"):
            it.refused("one segment twice")
        it.restore()
        (header, frames), (_, others) = split(one), split(two)
        it.files[0].write_bytes(header + others[0] + b"".join(frames[1:]))
        with cases.one("a frame from another segment"):
            it.refused("a frame from another segment")
        it.restore()
    move.must(OK, "rollback")
    assert_equal(held, destination.read(), "the destination after rollback with the whole files")


def test_another_moves_segment(server, home):
    """A segment of the same kind, key and size, from another move."""
    it = sealed(server, home, more="parallel = 1")
    keys = [p for p in it.move.state.rglob("*") if p.is_file() and p.suffix in (".key", "") and p.stat().st_size in (32, 64, 65)]
    other = home / "other"
    other.mkdir()
    second_destination = server_store(server, "other")
    second_destination.fill(it.held)
    second = Move(other / "move", it.move.source, second_destination, on_conflict="overwrite", name="n", more="parallel = 1")
    for key in keys:
        shutil.copy2(key, second.state / key.relative_to(it.move.state))
    second.must(OK, "run")
    files = sorted(p for p in second.state.rglob("*") if p.is_file() and p.read_bytes().startswith(MAGIC))
    assert files
    it.files[0].write_bytes(files[0].read_bytes())
    it.refused("another move's segment")
    tally("undo segment of another move put in its place")


def test_key_lost(server, home):
    """Without the sealing key, or with another one, rollback is refused and nothing has changed."""
    key = home / "seal.key"
    key.write_bytes(random.Random(1).randbytes(32))
    key.chmod(0o600)
    server.fresh()
    records = make_records(24, most=40)
    held = {**EXTRAS, **{name: b"old " + name for name in list(records)[:12]}}
    source, destination = FileStore(home / "src"), server_store(server, "dst")
    source.fill(records)
    destination.fill(held)
    move = Move(home / "move", source, destination, on_conflict="overwrite")
    text = move.plan.read_text(encoding="utf-8")
    move.plan.write_text(text.replace('" }\nmove', f'"\n  seal {{ key_file = "{key}" }}\n}}\nmove', 1), encoding="utf-8")
    move.must(OK, "run")
    after = destination.read()
    good = key.read_bytes()
    for what in ("another key", "no key"):
        if what == "another key":
            key.write_bytes(random.Random(2).randbytes(32))
        else:
            key.unlink()
        code = move.do("rollback")
        assert code > 0, f"{what}: ended with {code}"
        assert_equal(after, without_marker(destination.read()), f"{what}: the destination after a refused rollback")
    key.write_bytes(good)
    key.chmod(0o600)
    move.must(OK, "rollback")
    assert_equal(held, destination.read(), "the destination after rollback")
    tally("sealing key lost or another one", 2, 2)
