# SPDX-License-Identifier: Apache-2.0
"""Keyrings of a real server, moved by rehome from keystore to keystore: the server restarted on the result reads every row
and every key. Offline and online; what the report says is left to do, and what is carried over until it is done."""
import json
import threading
import time

import pytest

from keyringlib import (  # noqa: F401 (keyring_server is a fixture)
    Client, keyring_server, migrate_by_mysql, read_component, read_plugin, wait_written, write_component,
)
from test_report import Page
from vaultlib import KILLED, MISMATCH, OK

SECRET = "a passphrase that protects nothing"


def store(kind, path, more=""):
    """The inside of a plan's source or destination."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{kind}" {{ path = "{text}" {more} }}'


def component(path):
    return store("component_keyring_file", path)


def plugin(path, version="2.0"):
    return store("keyring_file", path, f'version = "{version}"')


def sealed(path):
    return store("sealed_keyring", path, f'passphrase_file = "{path}.word"')


def write_plan(folder, source, destination, more="", name="p"):
    path = folder / f"{name}.hcl"
    path.write_text(f'plan "{name}" {{ state_dir = "{folder}/state" }}\nmove "keys" {{\n  {more}\n  source {source}\n'
                    f'  destination {destination}\n}}\n', encoding="utf-8")
    return path


def fence(one, lease="10s"):
    """The block that holds a server's keyring back."""
    return (f'mode = "paused"\n  fence "keyring_operations" {{ host = "127.0.0.1" port = {one.port} '
            f'user = "{one.env["MYSQL_MOVER"]}" password_file = "{one.env["MYSQL_PASSWORD_FILE"]}" lease = "{lease}" '
            f'tls {{ ca_file = "{one.env["MYSQL_CA"]}" }} }}')


@pytest.fixture(scope="module")
def busy(keyring_server):
    """With encrypted data and keys of all kinds, but SECRETs."""
    one = keyring_server
    one.encrypt()
    one.rotate(2)
    one.rotate_binlog(2)
    one.make_key("aes", b"0123456789abcdef", "AES")
    one.make_key("aes", b"fedcba9876543210", "AES", owner="app2")
    one.make_key("an id with 'quotes', \\ and \"more\"", b"sixteen letters!", "AES")
    one.make_key("n" * 64, b"another sixteen!", "AES")
    for kind, size in (("AES", 32), ("RSA", 512), ("DSA", 384)):
        one.generate_key(f"{kind} made by the server", kind, size)
    wait_written(one)
    return one


def route_of(way, folder):
    """The keystores behind each other, from the server's own to the one that it is restarted on."""
    (folder / "sealed.word").write_text(SECRET, encoding="utf-8")
    (folder / "sealed.word").chmod(0o600)
    between = {"component": [], "plugin-1.0": [plugin(folder / "middle", "1.0")], "plugin-2.0": [plugin(folder / "middle")],
               "sealed": [sealed(folder / "sealed")]}[way]
    return [component(folder / "old"), *between, component(folder / "new")]


@pytest.mark.parametrize("way", ["component", "plugin-1.0", "plugin-2.0", "sealed"])
def test_offline_there_and_the_server_reads_all(rehome, busy, tmp_path, way):
    """The server is down; its keystore goes through each kind to a new one, which it is restarted on."""
    rows, keys, old = busy.rows(), busy.keys(), busy.keystore
    busy.halt()
    (tmp_path / "old").write_bytes(old.read_bytes())
    before = read_component(tmp_path / "old")
    route = route_of(way, tmp_path)
    for i, (source, destination) in enumerate(zip(route, route[1:])):
        path = write_plan(tmp_path, source, destination, f'datadir = "{busy.datadir}"', name=f"leg{i}")
        done = rehome("run", path)
        assert done.returncode == OK, done.stderr
        report = json.loads(rehome("report", path).stdout)["moves"][0]
        assert report["proof"][0]["failed"] == 0 and report["proof"][0]["opened"] > 10
    if way.startswith("plugin"):
        assert read_plugin(tmp_path / "middle") == before
        assert (tmp_path / "middle").read_bytes().startswith(b"Keyring file version:" + way[-3:].encode())
    assert read_component(tmp_path / "new") == before == read_component(tmp_path / "old")
    assert not list(tmp_path.glob("*.backup"))
    busy.use(tmp_path / "new")
    assert busy.status()["Data_file"] == str(tmp_path / "new")
    assert (busy.rows(), busy.keys()) == (rows, keys)
    busy.rotate()  # it can write its new keystore, too
    busy.make_key(f"made on {way}", b"sixteen letters!", "AES")
    assert busy.rows() == rows
    # MySQL's own migrator brings the same keys
    done = migrate_by_mysql(tmp_path / "old", tmp_path / "theirs", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert read_component(tmp_path / "theirs") == before


# --- afterwards ---


def test_the_report_says_what_is_left_to_do(rehome, busy, tmp_path):
    odd = tmp_path / "new \"keys\" \\ here"
    (tmp_path / "old").write_bytes(busy.keystore.read_bytes())
    path = write_plan(tmp_path, plugin(tmp_path / "plugin"), component(odd))
    there = write_plan(tmp_path, component(tmp_path / "old"), plugin(tmp_path / "plugin"), name="there")
    assert rehome("run", there).returncode == OK
    done = rehome("run", path)
    assert done.returncode == OK, done.stderr
    cases = {case["case"]: case for case in json.loads(rehome("report", path).stdout)["moves"][0]["afterwards"]["cases"]}
    assert [cases[case]["restart"] for case in ("stays", "reads-anew", "moves")] == [False, True, True]
    out = {line["text"]: line["where"] for line in cases["moves"]["take_out"]}
    put = {line["text"]: line["where"] for line in cases["moves"]["put_in"]}
    assert set(out) == {"early-plugin-load=keyring_file.so", f"keyring_file_data={tmp_path}/plugin"}
    assert all(where.startswith("my.cnf, group [mysqld]") for where in out.values())
    manifest, configuration = sorted(put, key=lambda text: "path" in text)
    assert json.loads(manifest) == {"components": "file://component_keyring_file"} and put[manifest].startswith("mysqld.my")
    assert json.loads(configuration) == {"path": str(odd), "read_only": False}
    assert put[configuration].startswith("component_keyring_file.cnf")
    # the words on the terminal and on the page have the same lines
    page = Page(rehome("report", "--html", path).stdout).text()
    for line in (*out, configuration, "Right before the restart 'rehome verify'"):
        assert line in done.stderr and line in page, line
    assert f"rehome verify {path}" in done.stderr
    # and the server takes them as they are
    busy.halt()
    busy.cnf.write_text(configuration, encoding="utf-8")
    busy.restart()
    assert busy.status()["Data_file"] == str(odd)
    busy.sql("SELECT count(*) FROM enc.one")
    # back to the plugin, the lines are the other way round; from component to component only the file's name changes
    cases = json.loads(rehome("report", there).stdout)["moves"][0]["afterwards"]["cases"]
    assert {line["text"] for line in cases[2]["put_in"]} == set(out)
    same = write_plan(tmp_path, component(tmp_path / "old"), component(tmp_path / "newer"), name="same")
    assert rehome("run", same).returncode == OK
    moves = json.loads(rehome("report", same).stdout)["moves"][0]["afterwards"]["cases"][2]
    assert [len(moves["take_out"]), len(moves["put_in"])] == [1, 1] and "ALTER INSTANCE RELOAD KEYRING" in moves["text"]
    # nothing of it before the move is complete, nor after it was taken back
    assert rehome("rollback", same).returncode == OK
    assert "afterwards" not in json.loads(rehome("report", same).stdout)["moves"][0]
    # the component reads its configuration anew without a restart, as the report says
    last = write_plan(tmp_path, component(odd), component(tmp_path / "newest"), fence(busy), name="last")
    assert rehome("run", last).returncode == OK
    busy.point(tmp_path / "newest")
    busy.sql("ALTER INSTANCE RELOAD KEYRING")
    assert busy.status()["Data_file"] == str(tmp_path / "newest")
    rows = busy.rows()
    busy.rotate()
    assert busy.rows() == rows


def test_keys_of_the_gap_are_shown_and_carried_over(rehome, busy, tmp_path):
    """The server goes on after the move, rotates and makes keys; it finds all of them after its restart."""
    busy.make_key("before", b"sixteen letters!", "AES")
    old = busy.keystore
    path = write_plan(tmp_path, component(old), component(tmp_path / "new"), fence(busy))
    write_component(tmp_path / "new", {(b"app9@%", b"stood there before"): (b"AES", b"0123456789abcdef")})
    image = (tmp_path / "new").read_bytes()
    assert rehome("run", path).returncode == OK
    assert rehome("verify", path).returncode == OK
    busy.rotate(2)
    busy.make_key("in the gap", b"sixteen letters!", "AES")
    done = rehome("verify", path)
    assert done.returncode == MISMATCH and "'in the gap' of 'app1@localhost'" in done.stdout, done.stdout
    assert "'rehome run' carries over what was written to the source since" in done.stderr
    done = rehome("run", path)
    assert done.returncode == OK and "is carried over" in done.stderr, done.stderr
    assert rehome("verify", path).returncode == OK
    keys = read_component(old)
    assert read_component(tmp_path / "new") == {**keys, (b"app9@%", b"stood there before"): (b"AES", b"0123456789abcdef")}
    # it may be taken back all the same, to what stood before the first run, and done again
    assert rehome("rollback", path).returncode == OK
    assert (tmp_path / "new").read_bytes() == image
    assert rehome("run", path).returncode == OK
    rows, known = busy.rows(), busy.keys()
    busy.use(tmp_path / "new")
    assert (busy.rows(), busy.keys()) == (rows, known)


def test_carrying_over_survives_kills(rehome, tmp_path):
    """Killed at journal writes of the pass that carries over: the next run ends it, and a rollback still goes to the start."""
    first = {(b"", b"INNODBKey-a-%d" % i): (b"AES", bytes([i]) * 32) for i in range(1, 4)}
    added = {(b"", b"INNODBKey-a-4"): (b"AES", b"4" * 32), (b"o", b"app"): (b"SECRET", b"x")}
    stood = {(b"o", b"mine"): (b"SECRET", b"z")}
    killed = 0
    for at in (3, 9, 14, 19, 24, 29, 34, 60):
        folder = tmp_path / str(at)
        folder.mkdir()
        write_component(folder / "old", first)
        write_component(folder / "new", stood)
        image = (folder / "new").read_bytes()
        path = write_plan(folder, component(folder / "old"), component(folder / "new"))
        assert rehome("run", path).returncode == OK
        write_component(folder / "old", {**first, **added})
        done = rehome("run", path, env={"RH_CRASH_AT": f"journal:{at}"})
        killed += done.returncode == KILLED
        assert done.returncode in (OK, KILLED), done.stderr
        assert read_component(folder / "new") in ({**stood, **first}, {**stood, **first, **added})
        done = rehome("run", path)
        assert done.returncode == OK, (at, done.stderr)
        assert read_component(folder / "new") == {**stood, **first, **added}
        assert rehome("rollback", path).returncode == OK
        assert (folder / "new").read_bytes() == image, at
    assert killed >= 5


def test_a_key_that_was_changed_in_the_gap_is_named(rehome, tmp_path):
    keys = {(b"", b"INNODBKey-a-1"): (b"AES", b"1" * 32), (b"o", b"app"): (b"SECRET", b"x")}
    write_component(tmp_path / "old", keys)
    path = write_plan(tmp_path, component(tmp_path / "old"), component(tmp_path / "new"))
    assert rehome("run", path).returncode == OK
    write_component(tmp_path / "old", {**keys, (b"o", b"app"): (b"SECRET", b"y")})
    done = rehome("run", path)
    assert done.returncode != OK and "'app' of 'o'" in done.stderr
    assert read_component(tmp_path / "new") == keys


# --- online ---


class Load:
    """Somebody who keeps rotating and making keys while keys are moved; `made` are those that the server took."""

    def __init__(self, one, name):
        self.one, self.name, self.stop, self.count = one, name, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        root, app = Client(self.one.env["MYSQL_SOCKET"]), Client(self.one.env["MYSQL_SOCKET"], "app1", self.one.password)
        while not self.stop.is_set():
            name = f"{self.name}-{self.count}"
            try:
                if app.rows(f"SELECT keyring_key_store('{name}', 'AES', 'sixteen letters!')") == [["1"]]:
                    self.one.made.add(("app1", name))
                    self.count += 1
                if self.count % 4 == 0:
                    root.rows("ALTER INSTANCE ROTATE INNODB MASTER KEY")
                root.rows(f"REPLACE INTO enc.one VALUES (5000, '{name}')")
            except AssertionError:
                pass  # the fence
            time.sleep(0.002)
        root.close()
        app.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)


@pytest.mark.parametrize("way", ["component", "plugin-1.0", "plugin-2.0", "sealed"])
def test_online_under_load_and_the_server_reads_all(rehome, busy, tmp_path, way):
    """The server goes on rotating and making keys while its keystore is moved, through each kind. What comes in the gap is
    carried over right before the restart."""
    old = busy.keystore
    route = route_of(way, tmp_path)
    route[0] = component(old)
    # the second leg has no such proof: the server has rotated its key since the first one
    proof = f'\n  datadir = "{busy.datadir}"'
    plans = [write_plan(tmp_path, source, destination, fence(busy) + proof * (i == 0), name=f"leg{i}")
             for i, (source, destination) in enumerate(zip(route, route[1:]))]
    with Load(busy, way) as load:
        while load.count < 3:
            time.sleep(0.01)
        for path in plans:
            done = rehome("run", path)
            assert done.returncode == OK, done.stderr
            assert busy.sql("SELECT @@keyring_operations") == [["1"]]
        seen = load.count
        while load.count < seen + 5:  # in the gap
            time.sleep(0.01)
    pauses = [json.loads(rehome("report", path).stdout)["moves"][0]["fences"][0]["pause_ms"] for path in plans]
    assert all(pauses), pauses
    assert rehome("verify", plans[0]).returncode == MISMATCH
    for path in plans:
        done = rehome("run", path)
        assert done.returncode == OK, done.stderr
    case = json.loads(rehome("report", plans[0]).stdout)["moves"][0]["afterwards"]["cases"][2]
    assert case["servers"] == [f"127.0.0.1:{busy.port}"]
    assert read_component(tmp_path / "new") == read_component(old)
    done = rehome("verify", f"--datadir={busy.datadir}", plans[-1])
    assert done.returncode == OK, done.stdout
    rows, keys = busy.rows(), busy.keys()
    assert len(keys) > 8
    busy.use(tmp_path / "new")
    assert (busy.rows(), busy.keys()) == (rows, keys)
