# SPDX-License-Identifier: Apache-2.0
"""Power loss at every sync call: journal, undo segments and file store on a disk that forgets what wasn't synced
(tests/crash/powerloss.c). MariaDB is on a machine of its own, so to say: it keeps what it has committed."""
import shutil
import subprocess

import pytest
from faultlib import (
    EXTRAS,
    MARKER,
    OK,
    POWERLOSS,
    SOAK,
    Cases,
    FileStore,
    Move,
    assert_equal,
    assert_moved,
    home,
    make_records,
    server,
    server_store,
    tally,
    without_marker,
)

POWER_LOST = 137
pytestmark = pytest.mark.mariadb_only("what is lost lies on our side")
SEEDS = 4 if SOAK else 1


class Disk:
    """A folder under the layer: source, destination and state folder lie in it."""

    def __init__(self, home, way, server, records, held, **how):
        self.home, self.root, self.keep = home, home / "disk", home / "keep"
        self.records, self.held, self.server = records, held, server
        source_kind, destination_kind = way.split("-")
        self.root.mkdir()
        server.fresh()
        self.source = FileStore(self.root / "src") if source_kind == "file" else server_store(server, "src")
        self.destination = FileStore(self.root / "dst") if destination_kind == "file" else server_store(server, "dst")
        self.source.fill(records)
        if held:
            self.destination.fill(held)
        self.move = Move(self.root / "move", self.source, self.destination, **how)
        self.move.folder = home  # the log lies outside
        subprocess.run(["cp", "-a", self.root, self.keep], check=True)

    def fresh(self):
        """Everything as before the move."""
        shutil.rmtree(self.root)
        subprocess.run(["cp", "-a", self.keep, self.root], check=True)
        for store, content in ((self.source, self.records), (self.destination, self.held)):
            if store.kind != "file":
                if store is self.destination or MARKER in (store.read() or {}):
                    store.wipe()
                    if content:
                        store.fill(content)

    def env(self, at="", mode="drop", seed=1):
        return {
            "LD_PRELOAD": str(POWERLOSS),
            "RH_POWERLOSS_ROOTS": str(self.root),
            "RH_POWERLOSS_AT": str(at),
            "RH_POWERLOSS_MODE": mode,
            "RH_POWERLOSS_SEED": str(seed),
            "RH_POWERLOSS_COUNT": str(self.home / "count"),
            "RH_POWERLOSS_LOG": str(self.home / "lost"),
        }

    def count(self, verb="run"):
        """How many sync calls a clean command makes."""
        self.move.must(OK, verb, env=self.env())
        return int((self.home / "count").read_text(encoding="utf-8"))

    def go_back(self):
        """Rolls back, to exactly what was there."""
        self.move.go_back()
        assert_equal(self.held, self.destination.read(), "the destination after rollback")

    def check(self):
        """What holds right after the power came back."""
        assert_equal(self.records, without_marker(self.source.read(crashed=True)), "the source after the power loss")
        torn = []
        found = self.destination.read(crashed=True, torn=torn) or {}
        assert_equal(self.held, {key: found.get(key) for key in self.held}, "the destination's own keys")
        ours = [key for key in self.records if key in found]
        if torn or 0 < len(ours) < len(self.records):
            assert MARKER in found, f"half a store ({len(ours)} whole, {len(torn)} torn records) and no marker"


def everywhere(disk, fault, modes=("drop", "prefix", "subset")):
    """Power loss before each sync call of a run; then resume or go back."""
    syncs = disk.count()
    with Cases(fault) as cases:
        for k in range(1, syncs + 1):
            for mode in modes if SOAK else [modes[k % len(modes)]]:
                for seed in range(1, 1 + (SEEDS if mode != "drop" else 1)):
                    disk.fresh()
                    code = disk.move.do("run", env=disk.env(k, mode, seed * 1000 + k))
                    with cases.one(f"sync {k} of {syncs}, {mode} {seed}"):
                        if code == OK and k > syncs - 5:
                            continue  # threads: not every run makes exactly as many calls
                        assert code == POWER_LOST, f"ended with {code}: {disk.move.said[-800:]}"
                        disk.check()
                        if (k // 3 + seed) % 3 == 0:
                            disk.go_back()
                        else:
                            disk.move.must(OK, "run")
                            assert_moved(disk.records, disk.held, disk.destination)
                        assert_equal(disk.records, disk.source.read(), "the source at the end")


@pytest.mark.parametrize("way", ["file-server", "server-file", "file-file"])
def test_power_loss_at_every_sync(way, server, home):
    disk = Disk(home, way, server, make_records(60), EXTRAS, more="parallel = 2")
    everywhere(disk, f"power loss at every sync, {way}")


@pytest.mark.mariadb_only("what is lost lies on our side", but=["postgresql"])
@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_power_loss_under_overwrite(way, server, home):
    """Images of replaced values must outlive the power loss: every case is rolled back. A sample on another server, since
    the order of its commits and our syncs is the driver's, too."""
    records = make_records(60)
    held = {**EXTRAS, **{key: b"old value of " + key for key in list(records)[:20]}}
    disk = Disk(home, way, server, records, held, on_conflict="overwrite", more="parallel = 2")
    syncs = disk.count()
    sample = range(1, syncs + 1) if SOAK or server.kind == "mariadb" else sorted({1 + i * (syncs - 6) // 7 for i in range(8)})
    with Cases(f"power loss under overwrite, then rollback, {way} on {server.word}") as cases:
        for k in sample:
            mode = ("drop", "prefix", "subset")[k % 3]
            disk.fresh()
            code = disk.move.do("run", env=disk.env(k, mode, k))
            with cases.one(f"sync {k} of {syncs}, {mode}"):
                if code == OK and k > syncs - 5:
                    continue
                assert code == POWER_LOST, f"ended with {code}: {disk.move.said[-800:]}"
                assert_equal(records, without_marker(disk.source.read(crashed=True)), "the source")
                disk.go_back()


@pytest.mark.parametrize("way", ["file-server", "server-file", "file-file"])
def test_power_loss_after_success(way, server, home):
    """What `run` has called done is there after a power loss, whole; and so is the way back."""
    disk = Disk(home, way, server, make_records(60), EXTRAS)
    with Cases(f"power loss right after success, {way} on {server.word}") as cases:
        for mode, seed in [("drop", 1), ("prefix", 2), ("subset", 3)]:
            with cases.one(f"run, {mode}"):
                disk.fresh()
                disk.move.must(OK, "run", env=disk.env("exit", mode, seed))
                assert_moved(disk.records, disk.held, disk.destination)
                assert_equal(disk.records, disk.source.read(), "the source")
            with cases.one(f"rollback, {mode}"):
                disk.move.must(OK, "rollback", env=disk.env("exit", mode, seed))
                assert_equal(disk.held, disk.destination.read(), "the destination after rollback")


@pytest.mark.parametrize("way", ["file-server", "server-file"])
def test_power_loss_within_rollback(way, server, home):
    records = make_records(60)
    held = {**EXTRAS, **{key: b"old value of " + key for key in list(records)[:20]}}
    disk = Disk(home, way, server, records, held, on_conflict="overwrite")
    disk.count()
    syncs = disk.count("rollback")
    with Cases(f"power loss within rollback, {way} on {server.word}") as cases:
        for k in range(1, syncs + 1):
            mode = ("drop", "prefix", "subset")[k % 3]
            disk.fresh()
            disk.move.must(OK, "run")
            code = disk.move.do("rollback", env=disk.env(k, mode, k))
            with cases.one(f"sync {k} of {syncs}, {mode}"):
                assert code == POWER_LOST, f"ended with {code}: {disk.move.said[-800:]}"
                disk.move.must(OK, "rollback")
                assert_equal(held, disk.destination.read(), "the destination after rollback")
                assert_equal(records, disk.source.read(), "the source")
