# SPDX-License-Identifier: Apache-2.0
"""Mode paused: a real MySQL's keyring moved under its fence, and every way to leave that fence closed tried: killed,
frozen, cut off, restarted. Nobody may be left paused, and nothing done without the fence may count."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
import faultlib
from keyringlib import KeyringServer, read_component
from keystorelib import Keystore
from keyvaultlib import VaultKeys, vault_server
from vaultlib import INTERNAL, INTERRUPTED, KILLED, MISMATCH, OK, REHOME, REFUSED, SOURCE, TOP, missing_server

LEASE = 2  # seconds
ALL_CLOSED = "fence:3"  # a test point: with one fence, the moment at which it is closed and nothing is read yet
SOON = 5  # seconds, after which an open server is promised


class FencedServer(KeyringServer):
    """With accounts for the fence: `paused`, `timed` that may make events, `half` with one right only."""

    def __init__(self):
        super().__init__()
        for name in ("paused", "timed", "half"):
            self.sql(
                f"CREATE USER {name}@'%' IDENTIFIED BY '{self.password}' REQUIRE SSL;"
                f"GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO {name}@'%';"
                f"GRANT SELECT ON performance_schema.keyring_component_status TO {name}@'%'"
            )
        self.sql(
            "GRANT ENCRYPTION_KEY_ADMIN ON *.* TO paused@'%', timed@'%'; GRANT EVENT ON mysql.* TO timed@'%'"
        )
        self.make_key("first", b"0123456789abcdef", "AES")

    def fence(self, port=None, user="paused", lease=f"{LEASE}s"):
        return (
            f'fence "keyring_operations" {{ host = "127.0.0.1" port = {port or self.port} user = "{user}" lease = "{lease}"'
            f' password_file = "{self.env["MYSQL_PASSWORD_FILE"]}" tls {{ ca_file = "{self.env["MYSQL_CA"]}" }} }}'
        )

    def is_on(self):
        return self.sql("SELECT @@global.keyring_operations") == [["1"]]

    def who(self):
        """Who set it last, and when."""
        return self.sql(
            "SELECT set_user, set_time, now(6) FROM performance_schema.variables_info WHERE variable_name = 'keyring_operations'"
        )

    def events(self):
        return int(self.sql("SELECT count(*) FROM information_schema.events WHERE event_name LIKE 'rehome%'")[0][0])

    def wait_on(self, limit=SOON):
        """It is ON within the limit; after how many seconds."""
        begun = time.monotonic()
        while not self.is_on():
            assert time.monotonic() - begun < limit, f"still OFF after {limit} s"
            time.sleep(0.02)
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def fenced():
    if why := missing_server("mysql"):
        pytest.skip(f"no MySQL to be had: {why}")
    one = FencedServer()
    yield one
    one.stop()


def guardians():
    """Pids of living guardians of this build."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "comm").read_text() == "rehome-guardian\n":
                if os.readlink(folder / "exe") == str(REHOME):
                    found.append(int(folder.name))
        except OSError:
            continue
    return found


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for(what, limit=20):
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < limit, "waited too long"
        time.sleep(0.01)


class Move:
    """A plan from the server's keystore to another file, and processes that carry it out."""

    def __init__(self, folder, server, *fences, source=None):
        self.folder, self.server, self.guardians = folder, server, []
        self.source, self.new = pathlib.Path(source or server.keystore), folder / "new.json"
        self.plan = folder / "plan.hcl"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("REHOME_", "RH_"))}
        self.write(*(fences or [server.fence()]))

    def write(self, *fences):
        lines = "\n  ".join(fences)
        self.plan.write_text(
            f'plan "p" {{ state_dir = "{self.folder}/state" }}\nmove "keys" {{\n  mode = "paused"\n'
            f'  source "component_keyring_file" {{ path = "{self.source}" }}\n'
            f'  destination "component_keyring_file" {{ path = "{self.new}" }}\n  {lines}\n}}\n',
            encoding="utf-8",
        )

    def call(self, *words, code=OK):
        done = subprocess.run([REHOME, *words, self.plan], env=self.env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, (words, done.returncode, done.stderr)
        return done.stdout + done.stderr

    def stopped(self, at=ALL_CLOSED):
        """A run that has stopped itself at a test point; it and its guardian."""
        self.said = open(self.folder / "said", "w+", encoding="utf-8")
        one = subprocess.Popen([REHOME, "run", self.plan], env={**self.env, "RH_STOP_AT": at}, stderr=self.said)
        try:
            wait_for(lambda: one.poll() is not None or state_of(one.pid) == "T")
            assert one.poll() is None, self.words()
        except BaseException:
            one.kill()
            raise
        mine = [pid for pid in guardians() if parent_of(pid) == one.pid]
        assert len(mine) == 1
        self.guardians += mine
        return one, mine[0]

    def words(self):
        self.said.seek(0)
        return self.said.read()

    def report(self):
        done = subprocess.run([REHOME, "report", self.plan], env=self.env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["moves"][0]

    def fences(self):
        return self.report()["fences"]

    def complete(self):
        """Runs it to its end; what was said. The keys are there then, and nobody is paused."""
        said = self.call("run")
        assert read_component(self.new) == read_component(self.source)
        assert self.server.is_on() and self.server.events() == 0
        fence = self.fences()[0]
        assert fence["opened_by"] == "rehome" and not fence["to_open"]
        return said


@pytest.fixture
def move(fenced, tmp_path):
    one = Move(tmp_path, fenced)
    yield one
    assert fenced.is_on() and fenced.events() == 0
    wait_for(lambda: all(gone(pid) for pid in one.guardians))


def gone(pid):
    return not pathlib.Path(f"/proc/{pid}").exists() or state_of(pid) == "Z"


def test_pause(move, fenced):
    said = move.call("check")
    assert "guardian" in said and "SET GLOBAL keyring_operations = ON" in said and fenced.is_on()
    said = move.complete()
    [fence] = move.fences()
    assert f"was paused for {fence['pause_ms']} ms" in said
    assert 0 < fence["pause_ms"] < 5000 and fence["identity"] == fenced.sql("SELECT @@server_uuid")[0][0]
    assert fence["loaded"] == str(fenced.keystore) and fence["protection"] == "guardian"
    steps = [step["step"] for step in move.report()["steps"]]
    assert steps[0] == "close" and steps[-1] == "open"
    page = subprocess.run([REHOME, "report", "--html", move.plan], env=move.env, capture_output=True, text=True, check=True).stdout
    assert f"{fence['pause_ms']} ms" in page
    move.call("rollback")
    assert not move.new.exists()


def test_carried_over(move, fenced):
    """What is made between the move and the server's restart on the new keystore: verify shows it, run carries it over."""
    move.complete()
    fenced.make_key("in between", b"0123456789abcdef", "AES")
    fenced.rotate()
    said = move.call("verify", code=MISMATCH)
    assert "in between" in said and "'rehome run' carries over" in said
    said = move.call("run")
    assert "carried over" in said
    assert read_component(move.new) == read_component(move.source)
    move.call("verify")
    assert "carried over" not in move.complete()
    move.call("rollback")
    assert not move.new.exists()


def test_carrying_over_cut_off(move, fenced):
    move.complete()
    fenced.make_key("in between, too", b"0123456789abcdef", "AES")
    for at in range(12, 60, 8):
        env = {**move.env, "RH_CRASH_AT": f"journal:{at}"}
        done = subprocess.run([REHOME, "run", move.plan], env=env, capture_output=True, text=True, timeout=60, check=False)
        fenced.wait_on()
        assert done.returncode in (OK, KILLED), done.stderr
    move.complete()


def test_writers_are_held_back(move, fenced):
    one, _ = move.stopped()
    assert not fenced.is_on()
    assert fenced.as_app("SELECT keyring_key_store('late', 'AES', '0123456789abcdef')") == [["NULL"]]
    with pytest.raises(AssertionError):
        fenced.rotate()
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) == OK, move.words()
    assert read_component(move.new) == read_component(move.source)


def test_own_timer(move, fenced):
    move.write(fenced.fence(user="timed"))
    said = move.call("check")
    assert "its guardian does, and without that the server's own timer" in said and "fix" not in said
    one, _ = move.stopped()
    assert fenced.events() == 1 and not fenced.is_on()
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) == OK, move.words()
    assert fenced.events() == 0 and move.fences()[0]["protection"] == "guardian and server's timer"


@pytest.mark.parametrize("at", ["fence:1", "fence:2", ALL_CLOSED, "fence:4"])
def test_killed(move, fenced, at):
    one, guardian = move.stopped(at)
    one.kill()
    assert one.wait() == KILLED
    fenced.wait_on()
    wait_for(lambda: gone(guardian))
    if at == ALL_CLOSED:
        [fence] = move.fences()
        assert fence["opened_by"] == "guardian, since rehome was killed" and not fence["to_open"]
        assert 0 < fence["pause_ms"] < SOON * 1000
        assert not move.new.exists()
    said = move.complete()
    assert at == "fence:4" or "the run before was cut off" in said


def test_killed_while_it_works(move, fenced):
    """At every durable write of the journal while the fence is closed."""
    for at in range(8, 40, 6):
        env = {**move.env, "RH_CRASH_AT": f"journal:{at}"}
        done = subprocess.run([REHOME, "run", move.plan], env=env, capture_output=True, text=True, timeout=60, check=False)
        fenced.wait_on()
        if done.returncode == OK:
            break
        assert done.returncode == KILLED, done.stderr
    else:
        assert at > 20
    move.complete()


def test_guardian_killed(move, fenced):
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGKILL)
    one.send_signal(signal.SIGCONT)
    fenced.wait_on()
    assert one.wait(10) == SOURCE or one.returncode == INTERNAL
    assert "guardian" in move.words() and not move.new.exists()
    move.complete()


def test_both_killed_with_timer(move, fenced):
    move.write(fenced.fence(user="timed"))
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGKILL)
    one.kill()
    one.wait()
    assert fenced.wait_on(LEASE + 2) < LEASE + 2
    wait_for(lambda: fenced.events() == 0)
    said = move.call("recover")
    assert "was open again already" in said
    # the timer is this server's own: nothing of it goes to a replica
    for log in fenced.sql("SHOW BINARY LOGS"):
        assert not [row for row in fenced.sql(f"SHOW BINLOG EVENTS IN '{log[0]}'") if "rehome_keyring" in row[-1]]
    assert "cut off" not in move.call("recover")
    move.complete()


def test_both_killed_without_timer(move, fenced):
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGKILL)
    one.kill()
    one.wait()
    assert not fenced.is_on() and move.fences()[0]["to_open"]
    status = subprocess.run([REHOME, "status", move.plan], env=move.env, capture_output=True, text=True, check=False).stdout
    assert "closed since" in status
    said = move.call("recover")
    assert fenced.is_on() and "was closed still and is open now" in said
    assert move.fences()[0]["opened_by"] == "recover"
    move.complete()


def test_fence_taken_out_of_the_plan(move, fenced):
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGKILL)
    one.kill()
    one.wait()
    assert "is closed still" in move.call("check")
    move.write('mode_offline')
    move.plan.write_text(move.plan.read_text().replace("mode_offline", "").replace('"paused"', '"offline"'))
    for command in ("recover", "run"):
        said = move.call(command)
        assert "a fence closed that the plan has no more" in said and fenced.sql("SELECT @@server_uuid")[0][0] in said
    move.call("rollback")
    assert not fenced.is_on()
    move.write(fenced.fence())
    move.call("recover")
    assert fenced.is_on()


@pytest.mark.parametrize("at", ["rollback:1", "rollback:2"])
def test_killed_on_its_way_back(move, fenced, at):
    move.complete()
    env = {**move.env, "RH_CRASH_AT": at}
    done = subprocess.run([REHOME, "rollback", move.plan], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == KILLED, done.stderr
    fenced.wait_on()
    said = move.call("rollback")
    assert "opened fence 1" in said or "was cut off" in said
    assert not move.new.exists() and fenced.is_on()


def test_both_killed_then_run(move, fenced):
    """The next run takes the closed fence over, and knows that it was ON before."""
    one, guardian = move.stopped("fence:2")
    os.kill(guardian, signal.SIGKILL)
    one.kill()
    one.wait()
    assert not fenced.is_on()
    assert "is closed still" in move.complete()


def test_frozen(move, fenced):
    one, guardian = move.stopped()
    fenced.wait_on(LEASE + SOON)
    # it was ended before anything was opened
    assert one.wait(1) == KILLED
    wait_for(lambda: gone(guardian))
    assert move.fences()[0]["opened_by"] == "guardian, since rehome was frozen"
    assert not move.new.exists()
    move.complete()


def test_frozen_for_a_while(move, fenced):
    one, _ = move.stopped()
    time.sleep(LEASE / 3)
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) == OK, move.words()
    assert read_component(move.new) == read_component(move.source)


def test_frozen_without_guardian(move, fenced):
    """With nobody to end it, the server's timer opens; whoever wakes up then commits nothing."""
    move.write(fenced.fence(user="timed"))
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGKILL)
    fenced.wait_on(LEASE + SOON)
    fenced.make_key("later", b"0123456789abcdef", "AES")
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) in (SOURCE, INTERNAL)
    assert not move.new.exists()
    move.complete()
    assert (b"app1@localhost", b"later") in read_component(move.new)


def test_frozen_with_nobody_else(move, fenced):
    """Neither guardian nor timer: its session has ended meanwhile, and whoever wakes up opens all the same."""
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGKILL)
    ended = "SELECT count(*) FROM performance_schema.processlist WHERE user = 'paused'"
    wait_for(lambda: fenced.sql(ended) == [["0"]])
    assert not fenced.is_on()
    one.send_signal(signal.SIGCONT)
    fenced.wait_on()
    assert one.wait(10) in (SOURCE, INTERNAL), move.words()
    assert "opening the fence" not in move.words() and not move.new.exists()
    move.complete()


def test_opened_by_somebody(move, fenced):
    one, _ = move.stopped()
    fenced.sql("SET GLOBAL keyring_operations = ON; SET GLOBAL keyring_operations = OFF")
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) != OK
    said = move.words()
    assert "was set by 'root' meanwhile" in said and "doesn't count" in said and not move.new.exists()
    # that OFF is somebody else's now
    assert not fenced.is_on()
    fenced.sql("SET GLOBAL keyring_operations = ON")
    move.complete()


def test_somebody_else_had_closed_it(move, fenced):
    fenced.sql("SET GLOBAL keyring_operations = OFF")
    try:
        assert "somebody else has closed it already" in move.call("check")
        move.call("run")
        assert not fenced.is_on() and move.fences()[0]["closed_before"]
        assert read_component(move.new) == read_component(move.source)
        move.call("rollback")
        one, guardian = move.stopped()
        one.kill()
        one.wait()
        wait_for(lambda: gone(guardian))
        assert not fenced.is_on()
        move.call("recover")
        assert not fenced.is_on()
    finally:
        fenced.sql("SET GLOBAL keyring_operations = ON")


def test_another_keystore_loaded(move, fenced, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes(fenced.keystore.read_bytes())
    copy.chmod(0o600)
    move.source = copy
    move.write(fenced.fence())
    assert "is neither source nor destination" in move.call("check")
    assert "is neither source nor destination" in move.call("run")


def test_guardian_frozen(move, fenced):
    """A guardian that doesn't answer protects nobody: rehome opens, ends it, and begins anew when called again."""
    one, guardian = move.stopped()
    os.kill(guardian, signal.SIGSTOP)
    one.send_signal(signal.SIGCONT)
    fenced.wait_on()
    assert one.wait(10) == INTERNAL or one.returncode == SOURCE
    assert gone(guardian) and not move.new.exists()
    move.complete()


def test_interrupted(move, fenced):
    one, guardian = move.stopped()
    one.terminate()
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) == INTERRUPTED, move.words()
    assert fenced.is_on() and gone(guardian) and move.fences()[0]["opened_by"] == "rehome"
    move.complete()


def test_rights(move, fenced):
    move.write(fenced.fence(user="half"))
    for command in ("check", "run"):
        said = move.call(command, code=SOURCE)
        assert "lacks ENCRYPTION_KEY_ADMIN" in said and "GRANT ENCRYPTION_KEY_ADMIN ON *.* TO it" in said
    assert fenced.is_on() and not move.new.exists()


def test_same_server_twice(move, fenced):
    move.write(fenced.fence(), fenced.fence(user="timed"))
    for command in ("check", "run"):
        assert "has a fence already" in move.call(command, code=REFUSED)
    assert fenced.is_on()


def test_another_run(move, fenced, tmp_path):
    """Two plans that pause the same server: the second waits, then says who is there."""
    one, _ = move.stopped()
    folder = tmp_path / "other"
    folder.mkdir()
    other = Move(folder, fenced)
    subprocess.run([REHOME, "run", other.plan], env=other.env, capture_output=True, timeout=60, check=False)
    one.wait(10)  # frozen meanwhile, and ended
    fenced.wait_on()
    move.complete()


def test_another_run_takes_over(move, fenced, tmp_path):
    """The second plan gets the lock when the first is killed, before its guardian: to it the server was closed by
    somebody else and stays so. The guardian waits until it may open, however long that takes."""
    move.write(fenced.fence(lease="1m"))
    one, guardian = move.stopped()
    folder = tmp_path / "other"
    folder.mkdir()
    other = Move(folder, fenced, fenced.fence(lease="1m"))
    said = open(folder / "said", "w+", encoding="utf-8")
    two = subprocess.Popen([REHOME, "run", other.plan], env={**other.env, "RH_STOP_AT": ALL_CLOSED}, stderr=said)
    waits = "SELECT count(*) FROM performance_schema.processlist WHERE info LIKE '%GET_LOCK%' AND id <> connection_id()"
    wait_for(lambda: fenced.sql(waits) == [["1"]])
    one.kill()
    one.wait()
    wait_for(lambda: two.poll() is not None or state_of(two.pid) == "T")
    assert two.poll() is None, pathlib.Path(said.name).read_text()
    time.sleep(20 if os.environ.get("RH_SOAK") else 1.5)
    assert not fenced.is_on() and not gone(guardian)
    two.send_signal(signal.SIGCONT)
    assert two.wait(20) == OK, pathlib.Path(said.name).read_text()
    assert other.fences()[0]["closed_before"]
    fenced.wait_on()
    wait_for(lambda: gone(guardian))
    assert move.fences()[0]["opened_by"] == "guardian, since rehome was killed"
    move.complete()


def test_server_restarted(move, fenced):
    move.write(fenced.fence(lease="1m"))
    one, guardian = move.stopped()
    fenced.kill()
    fenced.restart()
    assert fenced.is_on()
    one.send_signal(signal.SIGCONT)
    assert one.wait(30) == SOURCE, move.words()
    assert fenced.is_on() and not move.new.exists()
    wait_for(lambda: gone(guardian))
    move.complete()


def test_restarted_and_closed_by_somebody(move, fenced):
    """What was before us is void once the server has restarted."""
    move.write(fenced.fence(lease="1m"))
    one, guardian = move.stopped()
    fenced.kill()
    fenced.restart()
    fenced.sql("SET GLOBAL keyring_operations = OFF")
    one.kill()
    one.wait()
    wait_for(lambda: gone(guardian))
    assert not fenced.is_on()
    assert move.fences()[0]["opened_by"].endswith("held closed by somebody else, and left so")
    fenced.sql("SET GLOBAL keyring_operations = ON")
    move.complete()


class Road:
    """A port through which connections go to a server, as long as nobody blocks it."""

    def __init__(self, port):
        self.target, self.open, self.pairs = port, True, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.target))
            self.pairs += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(a, b), daemon=True).start()

    @staticmethod
    def carry(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for one in (a, b):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, block=False):
        self.open = not block
        for one in self.pairs:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.pairs = []


@pytest.fixture
def road(fenced):
    one = Road(fenced.port)
    yield one
    one.open = False
    one.listener.close()


def test_connection_cut(move, fenced, road):
    move.write(fenced.fence(road.port))
    one, guardian = move.stopped()
    road.cut()
    one.send_signal(signal.SIGCONT)
    fenced.wait_on()
    assert one.wait(10) == SOURCE, move.words()
    wait_for(lambda: gone(guardian))
    assert "doesn't count" in move.words() and not move.new.exists()
    move.complete()


def test_out_of_reach(move, fenced, road):
    """rehome gives up, its guardian stays and opens as soon as it can."""
    move.write(fenced.fence(road.port))
    one, guardian = move.stopped()
    road.cut(block=True)
    one.send_signal(signal.SIGCONT)
    assert one.wait(20) == SOURCE
    said = move.words()
    assert "a guardian process stays" in said and "SET GLOBAL keyring_operations = ON" in said
    assert not fenced.is_on() and not gone(guardian), (fenced.who(), said, move.fences())
    road.open = True
    fenced.wait_on()
    wait_for(lambda: gone(guardian))
    move.complete()


def test_out_of_reach_for_good(move, fenced, road):
    """Neither rehome nor its guardian gets through: the server opens by itself."""
    move.write(fenced.fence(road.port, user="timed"))
    one, guardian = move.stopped()
    road.cut(block=True)
    one.kill()
    one.wait()
    fenced.wait_on(LEASE + 2)
    road.open = True
    wait_for(lambda: gone(guardian))
    move.complete()


def test_frozen_server(move, fenced):
    """A server that doesn't answer loses nothing: it is open again soon after it wakes up."""
    one, guardian = move.stopped()
    pid = int(next(line for line in pathlib.Path(fenced.dir, "env").read_text().splitlines() if line.startswith("MYSQL_PID="))[10:])
    os.kill(pid, signal.SIGSTOP)
    try:
        one.kill()
        one.wait()
        time.sleep(3)
    finally:
        os.kill(pid, signal.SIGCONT)
    fenced.wait_on()
    wait_for(lambda: gone(guardian))
    move.complete()


@pytest.fixture(scope="module")
def second(fenced):
    """Another server; both take the same password, and one file has both CAs."""
    one = FencedServer()
    for name in ("paused", "timed"):
        one.sql(f"ALTER USER {name}@'%' IDENTIFIED BY '{fenced.password}'")
    one.env["MYSQL_PASSWORD_FILE"] = fenced.env["MYSQL_PASSWORD_FILE"]
    yield one
    one.stop()


def test_two_servers(move, fenced, second):
    """Both are closed before anything is read; the first one goes away, the other is open at once."""
    move.write(second.fence(lease="1m"), fenced.fence(lease="1m"))
    move.call("run")
    assert fenced.is_on() and second.is_on() and len(move.fences()) == 2
    move.call("rollback")
    one, guardian = move.stopped("fence:5")
    assert not fenced.is_on() and not second.is_on()
    second.kill()
    assert not fenced.is_on()
    one.send_signal(signal.SIGCONT)
    fenced.wait_on(SOON / 2)
    one.wait(20)
    assert one.returncode not in (OK, KILLED) and not move.new.exists()
    second.restart()
    second.wait_on()
    wait_for(lambda: gone(guardian))
    move.call("run")
    assert read_component(move.new) == read_component(move.source)


def test_one_of_two_is_gone_for_good(move, fenced, second):
    """Nobody had time to open either; the next run, which the first server stops, opens the other."""
    move.write(second.fence(lease="1m"), fenced.fence(lease="1m"))
    one, guardian = move.stopped("fence:5")
    os.kill(guardian, signal.SIGKILL)
    one.kill()
    one.wait()
    second.halt()
    try:
        assert not fenced.is_on()
        said = move.call("run", "--retry=100ms", code=SOURCE)
        assert fenced.is_on() and f"'127.0.0.1:{fenced.port}' closed, which was closed still and is open now" in said
    finally:
        second.restart()
    move.complete()


def test_two_servers_by_keyring_migrate(move, fenced, second, tmp_path):
    """The manual's procedure for several servers that share a keystore, in one command; each has keys of its own in it."""
    both = tmp_path / "ca.pem"
    both.write_text("".join(pathlib.Path(one.env["MYSQL_CA"]).read_text() for one in (fenced, second)))
    words = [
        REHOME, "keyring-migrate", "--no-defaults", f"--user={os.geteuid()}", "--keyring-migration-host=127.0.0.1",
        "--keyring-migration-source=component_keyring_file.so", "--keyring-migration-destination=component_keyring_file.so",
        f"--source-path={fenced.keystore}", f"--destination-path={move.new}", f"--keyring-migration-port={second.port}",
        "--keyring-migration-user=timed", f"--password-file={fenced.env['MYSQL_PASSWORD_FILE']}", f"--ssl-ca={both}",
        f"--servers=127.0.0.1:{fenced.port}", f"--state-dir={tmp_path / 'state'}", "--lease=1m",
    ]
    old = second.keystore
    second.use(fenced.keystore)
    try:
        fenced.make_key("of one", b"0123456789abcdef", "AES")
        second.sql("ALTER INSTANCE RELOAD KEYRING")
        one = subprocess.Popen(words, env={**move.env, "RH_STOP_AT": "fence:5"}, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: one.poll() is not None or state_of(one.pid) == "T")
        assert one.poll() is None, one.stderr.read()
        assert not fenced.is_on() and not second.is_on()
        for server in (fenced, second):
            assert server.as_app("SELECT keyring_key_store('late', 'AES', '0123456789abcdef')") == [["NULL"]]
        one.send_signal(signal.SIGCONT)
        said = one.communicate(timeout=30)[1]
        assert one.returncode == OK, said
        assert all(server.is_on() and server.events() == 0 for server in (fenced, second))
        assert said.count("was paused for") == 2 and "is neither source nor destination" not in said
        assert f"a server that uses the source and is to use the destination (127.0.0.1:{second.port}, 127.0.0.1:{fenced.port})" in said
        assert read_component(move.new) == read_component(move.source)
        second.use(move.new)
        assert second.key("of one") == ("AES", b"0123456789abcdef".hex().upper())
    finally:
        second.use(old)


def test_a_running_servers_keys_go_to_a_vault(fenced, tmp_path):
    """Key by key, under the fence; what the server makes afterwards is carried over, and the way back leaves nothing."""
    subprocess.run([TOP / "tests/servers/tls", tmp_path / "tls"], check=True)
    with vault_server.Vault(str(tmp_path / "tls")) as vault:
        destination = VaultKeys(vault, tmp_path)
        move = faultlib.Move(tmp_path / "m", Keystore(fenced.keystore), destination, more='mode = "paused"\n' + fenced.fence())
        move.must(OK)
        assert destination.read() == read_component(fenced.keystore) and fenced.is_on()
        fenced.make_key("to-vault", b"sixteen letters?", "AES")
        move.must(OK)
        assert destination.read() == read_component(fenced.keystore) and fenced.is_on()
        move.must(KILLED, "rollback", env={"RH_CRASH_AT": "keyring-vault-commit:1"})
        fenced.wait_on()
        move.must(OK, "rollback")
        assert destination.names() == [] and fenced.is_on()
