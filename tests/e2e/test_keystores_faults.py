# SPDX-License-Identifier: Apache-2.0
"""Keystores and what goes wrong: killed at every step, power lost at every sync, full disks, others who write, and what is
left in memory. After each crash a server that starts finds the old keys or the new ones."""
import os
import shutil
import signal
import subprocess

import pytest
from faultlib import (
    DESTINATION, KILLED, LOCKED, OK, POWERLOSS, SOAK, Cases, Move, SmallDisk, end, home,  # noqa: F401
)
from keystorelib import Keystore, MariadbKeyFile, PluginKeystore, SealedKeystore, make_keys, make_mariadb_keys

POWER_LOST = 137
KINDS = {"component": Keystore, "plugin": PluginKeystore}
SCENES = ["new", "over", "over-backup"]


def speaks(store):
    """The keys that a server which starts now has; None where there is no keystore. A server copies a component's .backup
    without a look; a plugin's only when it is whole."""
    if store.backup.exists() and store.backup.stat().st_size:
        if isinstance(store, PluginKeystore):
            try:
                keys = store.decode(store.backup)
                if keys:
                    return keys
            except (AssertionError, UnicodeDecodeError):
                pass
        else:
            return store.decode(store.backup)
    return store.read()


class Scene:
    """A move whose sides can be set up again and again."""

    def __init__(self, home, kind, scene):
        keys, had = make_keys(12), make_keys(9, seed=7)
        if isinstance(kind, type) and issubclass(kind, MariadbKeyFile):
            keys, had = make_mariadb_keys(12, first=100), make_mariadb_keys()
        self.keys, self.scene = keys, scene
        self.had = {} if scene == "new" else {n: k for n, k in had.items() if n not in self.keys}
        self.newer = {**self.had, (b"", b"newer"): (b"AES", b"n" * 32)}
        self.old = None if scene == "new" else self.newer if scene == "over-backup" else self.had
        self.new = {**(self.old or {}), **self.keys}
        (home / "a").mkdir()
        self.source, self.destination = Keystore(home / "a/keys", self.keys), kind(home / "b/keys")
        self.move = Move(home / "m", self.source, self.destination)
        self.was = self.source.state()

    def fresh(self):
        self.move.reset()
        shutil.rmtree(self.destination.path.parent)
        self.destination.path.parent.mkdir()
        if self.scene != "new":
            self.destination.write(self.had)
        if self.scene == "over-backup":
            self.destination.write(self.newer, self.destination.backup)

    def old_or_new(self):
        assert speaks(self.destination) in (self.old, self.new), "neither the old keys nor the new ones"
        assert self.source.state() == self.was, "the source"

    def goes_on(self):
        self.move.must(OK)
        assert self.destination.read() == self.new and self.destination.beside() == []
        self.move.must(OK, "finish")
        assert not list(self.move.state.glob("*undo*")), "what was kept is given up"

    def goes_back(self):
        self.move.go_back()
        assert speaks(self.destination) == self.old, "not as before"
        assert self.destination.beside() in ([], ["keys.backup"] if self.scene == "over-backup" else [])


def places(count, most):
    return range(1, count + 1) if SOAK or count <= most else sorted({1 + i * (count - 1) // (most - 1) for i in range(most)})


def count_points(scene, point, verb="run"):
    """How often a clean command passes a point."""
    low, high = 0, 1

    def killed(at):
        scene.fresh()
        if verb != "run":
            scene.move.must(OK)
        return scene.move.do(verb, env={"RH_CRASH_AT": f"{point}:{at}"}) == KILLED

    while killed(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if killed(middle) else (low, middle)
    return low


def test_a_sealed_keystore_killed_at_every_step(home):
    killed_everywhere(Scene(home, SealedKeystore, "over"), "sealed", "over", 12)


def test_a_mariadb_key_file_killed_at_every_step(home):
    killed_everywhere(Scene(home, MariadbKeyFile, "over"), "mariadb", "over", 12)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_every_step(home, kind, scene):
    killed_everywhere(Scene(home, KINDS[kind], scene), kind, scene, 40)


def killed_everywhere(one, kind, scene, all_most):
    with Cases(f"{kind} killed at every step, {scene}") as cases:
        for point, least, most in (("keystore", 9, all_most), ("*", 30, 6)):
            count = count_points(one, point)
            assert count >= least
            for at in places(count, most):
                back = at % 2
                with cases.one(f"{point}:{at} of {count}, {'back' if back else 'on'}"):
                    one.fresh()
                    assert one.move.do(env={"RH_CRASH_AT": f"{point}:{at}"}) == KILLED
                    one.old_or_new()
                    one.goes_back() if back else one.goes_on()


def test_killed_at_the_journals_last_writes(home):
    """Just after the journal has the commit, and before it has the step, there is no promise any more to go by."""
    one = Scene(home, Keystore, "over")
    count = count_points(one, "journal")
    with Cases("component killed at the journal's last writes") as cases:
        for at in range(1, count + 1) if SOAK else range(max(1, count - 24), count + 1, 2):  # a write passes two
            with cases.one(f"journal:{at} of {count}"):
                one.fresh()
                assert one.move.do(env={"RH_CRASH_AT": f"journal:{at}"}) == KILLED
                one.old_or_new()
                one.goes_on()


def test_a_lost_key_and_a_lost_image(home):
    """What is needed for the way back is gone: it is said, with the way out, which leads to a new beginning."""
    one = Scene(home, Keystore, "over")
    one.fresh()
    one.move.must(OK)
    [image] = one.move.state.glob("*undo*")
    image.unlink()
    assert one.move.do("rollback") != OK
    assert str(image) in one.move.said and "'rehome recover --abandon'" in one.move.said
    one.fresh()
    assert one.move.do(env={"RH_CRASH_AT": "keystore:9"}) == KILLED
    (one.move.state / "seal.key").unlink()
    assert one.move.do() != OK and "'rehome recover --abandon'" in one.move.said
    one.move.must(OK, "recover", "--abandon")
    one.old_or_new()
    one.destination.write(one.had)
    one.goes_on()


@pytest.mark.parametrize("kind", KINDS)
def test_rollback_killed_at_every_step(home, kind):
    one = Scene(home, KINDS[kind], "over")
    count = count_points(one, "*", "rollback")
    assert count >= 8
    with Cases(f"rollback of {kind} killed at every step") as cases:
        for at in places(count, 9):
            with cases.one(f"point {at} of {count}"):
                one.fresh()
                one.move.must(OK)
                assert one.move.do("rollback", env={"RH_CRASH_AT": f"*:{at}"}) == KILLED
                one.old_or_new()
                one.goes_back()


def power_env(home, at="", mode="drop", seed=1):
    return {
        "LD_PRELOAD": str(POWERLOSS), "RH_POWERLOSS_ROOTS": f"{home / 'b'}:{home / 'm/state'}", "RH_POWERLOSS_AT": str(at),
        "RH_POWERLOSS_MODE": mode, "RH_POWERLOSS_SEED": str(seed), "RH_POWERLOSS_COUNT": str(home / "count"),
    }


def test_power_lost_at_every_sync_of_a_mariadb_key_file(home):
    power_lost_everywhere(home, Scene(home, MariadbKeyFile, "over"), "mariadb", "over", 6)


def test_power_lost_at_every_sync_of_a_sealed_keystore(home):
    power_lost_everywhere(home, Scene(home, SealedKeystore, "over"), "sealed", "over", 6)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", KINDS)
def test_power_lost_at_every_sync(home, kind, scene):
    power_lost_everywhere(home, Scene(home, KINDS[kind], scene), kind, scene, 14)


def power_lost_everywhere(home, one, kind, scene, most):
    one.fresh()
    one.move.must(OK, env=power_env(home))
    syncs = int((home / "count").read_text(encoding="utf-8"))
    assert syncs > 10
    with Cases(f"power lost at every sync, {kind}, {scene}") as cases:
        for k in places(syncs, most):
            for mode in ("drop", "prefix", "subset") if SOAK else (("drop", "prefix", "subset")[k % 3],):
                with cases.one(f"sync {k} of {syncs}, {mode}"):
                    one.fresh()
                    code = one.move.do(env=power_env(home, k, mode, k))
                    assert code == POWER_LOST or (code == OK and k > syncs - 5), (code, one.move.said[-600:])
                    one.old_or_new()
                    one.goes_back() if k % 2 else one.goes_on()


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_at_every_page(home, kind):
    keys = make_keys(60) | {(b"o@h", b"large-%d" % i): (b"SECRET", bytes([i]) * 9000) for i in range(3)}
    had = {(b"", b"had"): (b"AES", b"h" * 32)}
    source = Keystore(home / "a/keys", keys)
    whole = KINDS[kind](home / "whole/keys", {**had, **keys}).path.stat().st_size
    with SmallDisk(home / "disk", 1 << 20) as disk, Cases(f"full disk, {kind}") as cases:
        for pages in range(2, whole // 4096 + 3):
            with cases.one(f"{pages} pages"):
                disk.resize(1 << 20)
                destination = KINDS[kind](disk.path / "keys", had)
                before = destination.state()
                disk.resize(pages * 4096)
                shutil.rmtree(home / "m", ignore_errors=True)
                move = Move(home / "m", source, destination)
                code = move.do()
                if code == OK:
                    assert destination.read() == {**had, **keys}
                else:
                    assert code == DESTINATION and "No space" in move.said, (code, move.said[-400:])
                    assert str(destination.path) in move.said and "make room" in move.said, move.said[-400:]
                    assert destination.state() == before and destination.beside() == []
        assert code == OK, "the last one had room"
    # no room for what is kept of the destination
    with SmallDisk(home / "disk2", 1 << 20) as disk:
        destination = KINDS[kind](home / "b/keys", {(b"", b"big"): (b"SECRET", b"x" * 16384)})
        before = destination.state()
        move = Move(disk.path / "m", source, destination)
        move.folder = home  # its log has room
        held = disk.path / "held"
        with open(held, "wb") as file:
            left = os.statvfs(disk.path)
            file.write(b"\0" * (left.f_bavail * left.f_frsize - 140 * 1024))
        code = move.do()
        assert code != OK and destination.state() == before, (code, move.said[-300:])
        held.unlink()
        move.must(OK)


def test_others_who_write_meanwhile(home):
    """At each step of the commit: a server writes its keystore, and is not written over; but between the last look and the
    rename, which no file system does as one (README, limits)."""
    one = Scene(home, Keystore, "over")
    count = count_points(one, "keystore")
    theirs = {**one.had, (b"", b"theirs"): (b"AES", b"t" * 32)}
    refused, lost = 0, []
    with Cases("another writer at every step") as cases:
        for at in range(1, count + 1):
            with cases.one(f"keystore:{at} of {count}"):
                one.fresh()
                process = one.move.stopped(f"keystore:{at}")
                try:
                    before = one.destination.read()
                    if before == one.had:
                        one.destination.write(theirs)
                    process.send_signal(signal.SIGCONT)
                    code = process.wait(60)
                finally:
                    end(process)
                found = one.destination.read()
                if before == one.had and code == OK:
                    # before our first look it is simply what was there
                    if found == one.new:
                        lost.append(at)
                    else:
                        assert found == {**theirs, **one.keys}
                elif before == one.had:
                    refused += 1
                    assert found == theirs, "a server's key is lost"
                else:
                    assert code == OK and found == one.new
    assert refused >= 3 and len(lost) <= 1, (refused, lost)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_comes_after_the_survey(home, kind):
    """The same key, put there by a server when all was checked already: an error, and theirs stays, bit for bit."""
    one = Scene(home, KINDS[kind], "over")
    one.fresh()
    name = sorted(one.keys)[3]
    process = one.move.stopped("keystore:1")
    try:
        one.destination.write({**one.had, name: (b"AES", b"t" * 32)})
        theirs = one.destination.state()
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == DESTINATION
    finally:
        end(process)
    assert one.destination.state() == theirs and one.destination.beside() == []
    assert "which isn't of this move" in (one.move.folder / "log").read_text(encoding="utf-8")


def test_two_at_once(home):
    one = Scene(home, Keystore, "over")
    one.fresh()
    second = Move(home / "second", Keystore(home / "c/keys", {(b"", b"c"): (b"AES", b"c" * 16)}), one.destination)
    process = one.move.stopped("copy:1")
    try:
        second.must(LOCKED)
        assert "is writing it" in second.said
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == OK
    finally:
        end(process)
    assert one.destination.read() == one.new
    second.must(OK)
    assert one.destination.read() == {**one.new, (b"", b"c"): (b"AES", b"c" * 16)}


# --- what is left in memory ---


class EncryptedKeyFile(MariadbKeyFile):
    def __init__(self, path, keys=None):
        super().__init__(path, keys, filekey="a filekey that is found nowhere else")


def test_no_key_of_a_mariadb_is_left_in_memory(home):
    one = Scene(home, EncryptedKeyFile, "over")
    nothing_left(home, one, "mariadb", {one.destination.filekey.encode()})


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_is_left_in_memory(home, kind):
    nothing_left(home, Scene(home, KINDS[kind], "over"), kind, set())


def nothing_left(home, one, kind, forms):
    """A core of all memory (-a), taken when the last key was wiped, holds none of their bytes, in any form that they have on the way."""
    if not shutil.which("gcore"):
        pytest.skip("no gcore")
    for _, data in [*one.keys.values(), *one.had.values()]:
        if len(data) >= 16:
            forms |= {data, data.hex().encode(), data.hex().upper().encode()}
            if kind == "plugin":
                forms |= {bytes(a ^ b for a, b in zip(data, b"*305=Ljt0*!@$Hnm(*-9-w;:"))}
    assert len(forms) > 20

    def left(point, verb):
        process = one.move.stopped(point, verb)
        try:
            done = subprocess.run(["gcore", "-a", "-o", home / "core", str(process.pid)], capture_output=True, check=False)
            if done.returncode != 0:
                pytest.skip("gcore may not look: " + done.stderr.decode(errors="replace")[-200:])
            core = home / f"core.{process.pid}"
            data = core.read_bytes()
            core.unlink()
            assert len(data) > 100000
            process.send_signal(signal.SIGCONT)
            assert process.wait(60) == OK
            # 16 bytes of a key are as good as all of it
            return sorted({form for form in forms for at in (0, 16) if len(form[at:at + 16]) == 16 and form[at:at + 16] in data})
        finally:
            end(process)

    one.fresh()
    assert left("wiped:1", "run") == []
    assert one.destination.read() == one.new
    if kind == "component":
        assert left("wiped:1", "rollback") == []
