# SPDX-License-Identifier: Apache-2.0
"""What the tests of `operator migrate` and of the traps share: a private server, trees and tables written as Vault
writes them and read back without rehome.

REHOME_BUILD names the build folder (default: build-check, else build); it must be built with -Dtest_hooks=true.
"""
import base64
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

TOP = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [os.environ["REHOME_BUILD"]] if os.environ.get("REHOME_BUILD") else [TOP / "build-check", TOP / "build"]
BUILD = next((pathlib.Path(x).resolve() for x in FOLDERS if (pathlib.Path(x) / "src/cli/rehome").exists()), TOP / "build")
REHOME = BUILD / "src/cli/rehome"
SERVER = TOP / "tests/servers/mariadb"
MARKER, LOCK, SEAL = b"core/migration", b"core/lock", b"core/seal-config"
OK, USAGE, PLAN, SOURCE, DESTINATION, MISMATCH, LOCKED, INTERRUPTED, REFUSED, INTERNAL = range(10)
KILLED = -signal.SIGKILL
TIMEOUT = 120
CREATE = "(vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key))"


# --- file storage, written and read by hand ---


def tree_file(path, key):
    """The file behind a key, as bytes: the last part begins with '_'."""
    folder, slash, name = key.rpartition(b"/")
    return os.path.join(os.fsencode(path), folder + slash + b"_" + name)


def tree_put(path, key, value, content=None):
    file = tree_file(path, key)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as out:
        out.write(content if content is not None else b'{"Value":"' + base64.b64encode(value) + b'"}\n')


def tree_fill(path, records):
    os.makedirs(path, exist_ok=True)
    for key, value in records.items():
        tree_put(path, key, value)


def tree_read(path, running=False):
    """key -> value; anything that isn't a record of Vault's is an error. While rehome runs, and after it was killed,
    its own folder of temporaries is none."""
    found, top = {}, os.fsencode(path)
    for folder, folders, files in os.walk(top):
        if running and folder == top and b".rehome-tmp" in folders:
            folders.remove(b".rehome-tmp")
            if not folders and not files:
                break
        for name in files:
            full = os.path.join(folder, name)
            assert name.startswith(b"_") and not name.endswith(b".temp"), f"a stray file: {full!r}"
            assert os.path.isfile(full) and not os.path.islink(full), full
            part = os.path.relpath(folder, top)
            with open(full, "rb") as file:
                content = json.load(file)
            assert list(content) == ["Value"], full
            found[(b"" if part == b"." else part + b"/") + name[1:]] = None if content["Value"] is None else base64.b64decode(content["Value"], validate=True)
        if folder != top and not running:
            assert folders or files, f"an empty folder: {folder!r}"
    return found


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


# --- the server ---


class Server:
    """A private MariaDB; `sql` is root's, over the socket, by the server's own client."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="rh-migrate-db-")
        os.chmod(self.dir, 0o755)
        try:
            self.call("start", *options)
        except BaseException:
            shutil.rmtree(self.dir, ignore_errors=True)
            raise
        self.env = dict(
            line.partition("=")[::2] for line in pathlib.Path(self.dir, "env").read_text(encoding="utf-8").splitlines()
        )
        self.password = pathlib.Path(self.env["MYSQL_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
        self.port = int(self.env["MYSQL_PORT"])

    def call(self, verb, *more):
        # files, not pipes: a server that was started keeps open what it has inherited
        with tempfile.TemporaryFile() as err:
            done = subprocess.run([SERVER, verb, self.dir, *more], stdout=err, stderr=err, timeout=TIMEOUT, check=False)
            err.seek(0)
            assert done.returncode == 0, f"tests/servers/mariadb {verb}: {err.read().decode(errors='replace')}"

    def stop(self):
        self.call("stop")
        shutil.rmtree(self.dir, ignore_errors=True)

    def client(self, *more):
        """The command line of the server's own client."""
        flags = ["--no-defaults", "-uroot", "--max-allowed-packet=512M", "-N", "-B", *more]
        return ["mariadb", *flags, "--socket=" + self.env["MYSQL_SOCKET"]]

    def sql(self, text):
        """Rows as lists of text."""
        done = subprocess.run(self.client(), input=text.encode(), capture_output=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def fresh(self):
        """No database `vault`."""
        self.sql("DROP DATABASE IF EXISTS vault")

    def create(self, table="vault", shape=CREATE):
        self.sql(f"CREATE DATABASE IF NOT EXISTS vault; CREATE TABLE IF NOT EXISTS vault.{table} {shape}")

    def fill(self, records, table="vault", shape=CREATE):
        self.create(table, shape)
        items = [f"(x'{key.hex()}', x'{value.hex()}')" for key, value in records.items()]
        text = "".join(f"INSERT INTO vault.{table} VALUES {','.join(items[i:i + 200])};\n" for i in range(0, len(items), 200))
        self.sql(text)

    def read(self, table="vault"):
        """key -> value (None for NULL); None without the table."""
        if not self.sql(f"SELECT 1 FROM information_schema.tables WHERE table_schema='vault' AND table_name='{table}'"):
            return None
        # in pieces: no function's result may be longer than the server's packet
        pieces = ", ".join(f"HEX(SUBSTRING(vault_value, {1 + (i << 22)}, {1 << 22}))" for i in range(5))
        rows = self.sql(f"SELECT HEX(vault_key), vault_value IS NULL, {pieces} FROM vault.{table}")
        return {bytes.fromhex(row[0]): None if row[1] == "1" else bytes.fromhex("".join(row[2:])) for row in rows}

    def stanza(self, **more):
        """The members of a `mysql` stanza as Vault takes them."""
        members = {
            "username": "vault",
            "password": self.password,
            "address": f"127.0.0.1:{self.port}",
            "tls_ca_file": self.env["MYSQL_CA"],
        }
        return ("mysql", {**members, **{name: value for name, value in more.items() if value is not None}})


@pytest.fixture(scope="module")
def server():
    one = Server()
    yield one
    one.stop()


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
