# SPDX-License-Identifier: Apache-2.0
"""What the fault tests share: moves, networks and disks that fail.

RH_SOAK=1 takes the full numbers instead of CI's sample. RH_FAULT_TABLE=FILE keeps the table of tried and passed cases.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from vaultlib import (  # noqa: F401 (handed on)
    BUILD, DESTINATION, INTERNAL, INTERRUPTED, KILLED, LOCKED, MARKER, MISMATCH, OK, OWN_TEMPORARIES, PLAN, REFUSED,
    REHOME, SOURCE, TIMEOUT, USAGE, Server, read_tree, server, tree_file, tree_fill, tree_put,
)

VAULT_TREE = BUILD / "tests/tools/vault-tree"
POWERLOSS = BUILD / "tests/crash/powerloss.so"
SOAK = os.environ.get("RH_SOAK", "") not in ("", "0")


# --- the table of cases ---

TALLY = {}


def tally(fault, tried=1, passed=1):
    """Counts cases of a fault for the table at the end. Call it after the asserts."""
    line = TALLY.setdefault(fault, [0, 0])
    line[0] += tried
    line[1] += passed
    path = os.environ.get("RH_FAULT_TABLE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps([fault, tried, passed]) + "\n")


class Cases:
    """`with cases("fault") as c: with c.one("what"): ...` runs all cases, then fails with the list of those that failed."""

    def __init__(self, fault):
        self.fault, self.tried, self.failures = fault, 0, []

    def __enter__(self):
        return self

    def one(self, label):
        return _Case(self, label)

    def __exit__(self, kind, value, trace):
        if kind is None:
            tally(self.fault, self.tried, self.tried - len(self.failures))
            assert self.tried > 0, "no case was tried"
            assert not self.failures, f"{len(self.failures)} of {self.tried} failed:\n" + "\n".join(self.failures[:8])


class _Case:
    def __init__(self, cases, label):
        self.cases, self.label = cases, label

    def __enter__(self):
        self.cases.tried += 1

    def __exit__(self, kind, value, trace):
        if kind is not None and issubclass(kind, AssertionError):
            self.cases.failures.append(f"[{self.label}] {value}")
            return True
        return False


# --- reading ---


def tree_hash(path, but=(b"core/_migration",)):
    """SHA-256 over names, modes and contents; `but` names files that may come and go."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(os.fsencode(path)):
        folders[:] = sorted(name for name in folders if name != OWN_TEMPORARIES)
        for name in sorted(files):
            full = os.path.join(folder, name)
            short = os.path.relpath(full, os.fsencode(path))
            if short in but:
                continue
            with open(full, "rb") as file:
                inside = hashlib.sha256(file.read()).digest()
            digest.update(b"%s\0%o\0%s" % (short, os.stat(full).st_mode, inside))
    return digest.hexdigest()


@pytest.fixture
def home(tmp_path):
    """A folder that other users can reach (servers and dropped privileges need that)."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="rh-fault-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


# --- stores and moves ---


class FileStore:
    kind = "file"

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def block(self, side):
        return f'{side} "file" {{ path = "{self.path}" }}'

    def read(self, crashed=False, torn=None):
        return read_tree(self.path, crashed, torn) if self.path.exists() else None

    def hash(self):
        return tree_hash(self.path)

    def fill(self, records):
        tree_fill(self.path, records)

    def put(self, key, value):
        tree_put(self.path, key, value)

    def drop(self, key):
        tree_file(self.path, key).unlink()

    def wipe(self):
        shutil.rmtree(self.path, ignore_errors=True)


class TableStore:
    kind = "mysql"

    def __init__(self, server, table="vault", port=None):
        self.server, self.table, self.port = server, table, port

    def block(self, side):
        env = self.server.env
        return (
            f'{side} "mysql" {{ address = "{env["MYSQL_HOST"]}:{self.port or env["MYSQL_PORT"]}" '
            f'username = "{env["MYSQL_USER"]}" password_file = "{env["MYSQL_PASSWORD_FILE"]}" '
            f'table = "{self.table}" tls {{ ca_file = "{env["MYSQL_CA"]}" }} }}'
        )

    def read(self, crashed=False, torn=None):
        return self.server.read(self.table)

    def hash(self):
        records = without_marker(self.read())
        return hashlib.sha256(repr(sorted(records.items())).encode()).hexdigest()

    def fill(self, records):
        self.server.fill(records, self.table)

    def put(self, key, value):
        self.server.put(key, value, self.table)

    def drop(self, key):
        self.server.drop(key, self.table)

    def wipe(self):
        self.server.sql(f"DROP TABLE IF EXISTS vault.{self.table}" if self.server.read(self.table) is not None else "SELECT 1")


class KvStore(TableStore):
    kind = "consul"

    def block(self, side):
        env = self.server.env
        return (
            f'{side} "consul" {{ address = "127.0.0.1:{self.port or self.server.proxy.port}" '
            f'token_file = "{env["CONSUL_TOKEN_FILE"]}" path = "vault/{self.table}/" tls {{ ca_file = "{env["CONSUL_CA"]}" }} }}'
        )

    def wipe(self):
        self.server.must("DELETE", f"/v1/kv/vault/{self.table}/?recurse=true")


class PgStore(TableStore):
    kind = "postgresql"

    def block(self, side):
        env = self.server.env
        return (
            f'{side} "postgresql" {{ connection_url = "postgres://{env["PG_USER"]}@{env["PG_HOST"]}:{self.port or self.server.port}'
            f'/{env["PG_DATABASE"]}" password_file = "{env["PG_PASSWORD_FILE"]}" '
            f'table = "{self.table}" tls {{ ca_file = "{env["PG_CA"]}" }} }}'
        )

    def wipe(self):
        self.server.sql(f"DROP TABLE IF EXISTS {self.table}")


def server_store(server, name="vault", port=None):
    """A store of that name on the server, whichever it is."""
    return {"consul": KvStore, "postgresql": PgStore}.get(server.kind, TableStore)(server, name, port)


class Move:
    """A plan in a folder of its own, with the commands on it."""

    def __init__(self, folder, source, destination, on_conflict="fail", name="m", more=""):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.source, self.destination = source, destination
        self.plan = self.folder / "plan.hcl"
        self.plan.write_text(
            f'plan "{name}" {{ state_dir = "{self.state}" }}\n'
            f'move "{name}" {{\n  on_conflict = "{on_conflict}"\n  {more}\n'
            f'  {source.block("source")}\n  {destination.block("destination")}\n}}\n',
            encoding="utf-8",
        )

    def args(self, verb, *more):
        return [str(REHOME), verb, *more, str(self.plan)]

    def start(self, verb="run", *more, env=None, wrap=()):
        """Starts a command and returns at once."""
        out = open(self.folder / "log", "ab")
        with out:
            return subprocess.Popen(
                [*wrap, *self.args(verb, *more)], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
            )

    def do(self, verb="run", *more, env=None, wrap=()):
        """Runs a command to its end; its exit code, and what it said is in .said."""
        done = subprocess.run(
            [*wrap, *self.args(verb, *more)], capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT,
            check=False, env={**os.environ, **(env or {})},
        )
        self.said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        with open(self.folder / "log", "ab") as log:
            log.write(self.said.encode())
        return done.returncode

    def peak(self, verb="run", code=OK):
        """Runs a command, which must end with that code; the most memory it held, in KiB (VmHWM: a mark that stays until it ends)."""
        process, peak = self.start(verb), 0
        while process.poll() is None:
            with contextlib.suppress(OSError, StopIteration):
                lines = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
                peak = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
            time.sleep(0.002)
        assert process.returncode == code and peak > 0, f"rehome {verb} ended with {process.returncode}"
        return peak

    def reset(self):
        """Forgets the state folder."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(mode=0o700)

    def must(self, code, verb="run", *more, **how):
        got = self.do(verb, *more, **how)
        assert got == code, f"rehome {verb} ended with {got} instead of {code}: {self.said[-1500:]}"

    def go_back(self):
        """Rolls back; where it ended before anything was journaled there is nothing to roll back, and it says so."""
        code = self.do("rollback")
        nothing = code == REFUSED and "nothing was run" in self.said
        assert code == OK or nothing, f"rollback ended with {code}: {self.said[-800:]}"

    def stopped(self, point, verb="run", *more, env=None, wrap=()):
        """Starts a command that stops itself (SIGSTOP) at a point, e.g. "copy:3"; waits until it has."""
        process = self.start(verb, *more, env={**(env or {}), "RH_STOP_AT": point}, wrap=wrap)
        wait_stopped(process)
        return process


def wait_stopped(process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode} instead of stopping")
        state = pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]
        if state in "Tt":
            return
        time.sleep(0.005)
    process.kill()
    process.wait()
    raise AssertionError("it didn't stop")


def go_on(process, seconds=TIMEOUT):
    """Lets a stopped process go on to its end; the exit code."""
    process.send_signal(signal.SIGCONT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("it hangs") from None


def end(process):
    """Ends a process that may be stopped."""
    if process.poll() is None:
        process.kill()
        process.wait()


# --- comparing ---


def without_marker(records):
    return {key: value for key, value in (records or {}).items() if key not in (MARKER, b"core/lock")}


def difference(expected, found):
    """In words, or ''."""
    if expected == found:
        return ""
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    other = [key for key in expected if key in found and found[key] != expected[key]]
    return f"{len(missing)} missing {missing[:3]}, {len(extra)} too many {extra[:3]}, {len(other)} differ {other[:3]}"


def assert_equal(expected, found, what):
    words = difference(expected, found or {})
    assert not words, f"{what}: {words}"


def assert_moved(source_records, extras, destination):
    """The destination holds the source's records and its own extra keys, exactly; no marker is left."""
    assert_equal({**extras, **source_records}, destination.read(), "the destination after the move")


# --- records ---


def make_tree(path, entries=200, size="mixed", seed=1):
    subprocess.run(
        [VAULT_TREE, path, "--entries", str(entries), "--size", str(size), "--seed", str(seed)], check=True,
        stdout=subprocess.DEVNULL,
    )
    return read_tree(path)


def make_records(entries=200, seed=1, least=1, most=3000):
    """Like a tree, in memory; with keys that are troublesome in SQL."""
    rng = random.Random(seed)
    records = {b"core/keyring": rng.randbytes(300), b"core/mounts": rng.randbytes(700)}
    odd = [b"a_b/k", b"axb/k", b"p%c/k", b"pxc/k", "logical/\u00e4\u00f6".encode(), b"core/_x", b"quo'te\"d", b"sp ace"]
    for key in odd[: max(0, entries - len(records))]:
        records[key] = rng.randbytes(rng.randint(least, most))
    while len(records) < entries:
        folder = rng.choice([b"logical/1111", b"logical/2222/versions", b"sys/token/id", b"auth/3333/user"])
        records[folder + b"/h%016x" % rng.getrandbits(64)] = rng.randbytes(rng.randint(least, most))
    return records


EXTRAS = {b"extra/one": b"1" * 40, b"zz/last": b"\x00\xff\\'\"", b"0first": b"x"}


# --- a network that fails ---


class Proxy:
    """Hands TCP connections on to a port, and cuts them where told: `cuts` is a list of ("down" | "up", bytes), each
    used up by one cut of all that is open; "down" counts what comes from the server. With `forever` the last one
    stays. `refuse` set: nobody gets through."""

    def __init__(self, port, cuts=(), forever=False):
        self.port_behind, self.cuts, self.forever = port, list(cuts), forever
        self.refuse, self.made, self.cut_count = False, 0, 0
        self.passed = {"down": 0, "up": 0}
        self.lock = threading.Lock()
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            try:
                behind = socket.create_connection(("127.0.0.1", self.port_behind))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.made += 1
                self.open |= {client, behind}
            threading.Thread(target=self._pump, args=(client, behind, "up"), daemon=True).start()
            threading.Thread(target=self._pump, args=(behind, client, "down"), daemon=True).start()

    def _pump(self, source, sink, direction):
        try:
            while data := source.recv(16384):
                size = self._let_pass(direction, len(data))
                sink.sendall(data[:size])
                if size < len(data):
                    self.cut()
                    return
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _let_pass(self, direction, size):
        with self.lock:
            if self.cuts and self.cuts[0][0] == direction and self.passed[direction] + size > self.cuts[0][1]:
                size = max(0, self.cuts[0][1] - self.passed[direction])
                if not (self.forever and len(self.cuts) == 1):
                    self.cuts.pop(0)
                self.passed = {"down": 0, "up": 0}
                return size
            self.passed[direction] += size
            return size

    def cut(self):
        """Cuts all that is open, hard."""
        with self.lock:
            self.cut_count += 1
            gone, self.open = self.open, set()
        for one in gone:
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
                one.close()
            except OSError:
                pass

    def close(self):
        self.listener.close()
        self.cut()


# --- a small disk ---


class SmallDisk:
    """A tmpfs of so many bytes."""

    def __init__(self, path, size):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", self.path], check=False,
                              capture_output=True)
        if done.returncode != 0:
            pytest.skip("this test has to mount a tmpfs: " + done.stderr.decode(errors="replace").strip())

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=True)
