# SPDX-License-Identifier: Apache-2.0
"""What the tests of `operator migrate` and of the traps share: migrate files and their runs."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import vaultlib
from vaultlib import (  # noqa: F401 (handed on)
    DESTINATION, INTERRUPTED, KILLED, LOCK, LOCKED, MARKER, MISMATCH, OK, PLAN, REFUSED, REHOME, SEAL, SOURCE, TIMEOUT,
    USAGE, server, tree_file, tree_fill, tree_put,
)


def tree_read(path, running=False):
    """As read_tree, and no folder may be empty. While rehome runs, and after it was killed, its own folder of
    temporaries may be there."""
    return vaultlib.read_tree(path, crashed=running, tidy=not running)


def snapshot(path):
    """Everything below a folder, byte for byte: name -> (mode, content or link), None without the folder."""
    if not os.path.lexists(path):
        return None
    seen, top = {}, os.fsencode(path)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            full = os.path.join(folder, name)
            mode = os.lstat(full).st_mode
            if os.path.islink(full):
                inside = os.readlink(full)
            else:  # no reading of fifos and sockets
                inside = None if not os.path.isfile(full) else pathlib.Path(os.fsdecode(full)).read_bytes()
            seen[os.path.relpath(full, top)] = (mode, inside)
    return seen


@pytest.fixture
def db(server):
    server.fresh()
    return server


@pytest.fixture
def home():
    """A folder of the test's own; state below it, so that tests may run side by side."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of files are slow elsewhere
    path = pathlib.Path(tempfile.mkdtemp(prefix="rh-migrate-", dir=memory))
    yield path
    shutil.rmtree(path, ignore_errors=True)


# --- migrate files and runs ---


def tree(path, **more):
    return ("file", {"path": str(path), **more})


def quoted(text):
    return json.dumps(text)


def hcl(source, destination, extra=""):
    """A migrate file as Vault's documentation writes it."""
    text = ""
    for word, (kind, members) in (("storage_source", source), ("storage_destination", destination)):
        text += f'{word} "{kind}" {{\n' + "".join(f"  {k} = {quoted(v)}\n" for k, v in members.items()) + "}\n\n"
    return text + extra


class Move:
    """One migrate file and its runs."""

    def __init__(self, home, source, destination, name="migrate.hcl", extra=""):
        self.home = home
        self.state = home / "state"
        self.file = home / name
        self.file.write_text(hcl(source, destination, extra), encoding="utf-8")
        self.file.chmod(0o600)

    def env(self, **more):
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("RH_", "VAULT_", "BAO_", "REHOME_"))}
        return {**plain, "REHOME_STATE_DIR": str(self.state), "HOME": str(self.home), **more}

    def start(self, *args, **env):
        """A run that goes on by itself; its output goes to files in the home folder."""
        with open(self.home / "out", "wb") as out, open(self.home / "err", "wb") as err:
            return subprocess.Popen([REHOME, *args], env=self.env(**env), stdout=out, stderr=err, cwd=self.home)

    def end(self, process):
        try:
            code = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"hangs: {(self.home / 'err').read_text(errors='replace')[-2000:]}") from None
        return Result(code, (self.home / "out").read_bytes(), (self.home / "err").read_bytes())

    def run(self, *args, **env):
        return self.end(self.start(*args, **env))

    def migrate(self, *flags, **env):
        return self.run("operator", "migrate", "-config", str(self.file), *flags, **env)

    def stopped(self, point, *flags, **env):
        """Starts `operator migrate` and waits until it has stopped itself at the point."""
        process = self.start("operator", "migrate", "-config", str(self.file), *flags, RH_STOP_AT=point, **env)
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            state = pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
            if state == "T":
                return process
            assert process.poll() is None and state != "Z", f"ended before it stopped: {(self.home / 'err').read_text()}"
            time.sleep(0.01)
        process.kill()
        raise AssertionError("never stopped")

    def report(self):
        done = self.run("report", str(self.file))
        assert done.code == OK, done
        return json.loads(done.out)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.decode(errors="replace"), err.decode(errors="replace")

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out[-3000:]}\n--- stderr\n{self.err[-6000:]}"


def go_on(process):
    os.kill(process.pid, signal.SIGCONT)


class Proxy:
    """A TCP proxy to a port. `cut_after` bytes from the server, all connections end as if the server had closed them."""

    def __init__(self, port):
        self.port_to = port
        self.cut_after = None  # None: never
        self.passed = 0
        self.cut = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                upstream = socket.create_connection(("127.0.0.1", self.port_to))
            except OSError:
                return
            threading.Thread(target=self._pump, args=(client, upstream, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(upstream, client, True), daemon=True).start()

    def _pump(self, source, sink, counted):
        try:
            while data := source.recv(16384):
                if counted:
                    with self.lock:
                        self.passed += len(data)
                        late = self.cut_after is not None and self.passed > self.cut_after
                        self.cut += late
                    if late:
                        break
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):  # FIN, as a server that ends in good order
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
