# SPDX-License-Identifier: Apache-2.0
"""Keystores by the real component_keyring_file of MySQL, in a child process: all or nothing, byte for byte, beside our own
reader and writer and MySQL's own migrator; killed at every step."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from componentlib import COPY, SHIPPED, ComponentKeystore, TwinKeystore, library_folder, loader
from faultlib import DESTINATION, KILLED, OK, REFUSED, SOURCE, Move, end, home  # noqa: F401
from keyringlib import migrate_by_mysql, read_component, write_component
from keystorelib import DATA, Keystore, make_keys
from test_keystores_faults import Scene, places
from vaultlib import missing_server


@pytest.fixture(scope="module", autouse=True)
def mysql():
    if why := missing_server("mysql"):
        pytest.skip(f"no MySQL to be had: {why}")


# As root without the right to make file systems: what another account has.
WEAK = ("setpriv", "--bounding-set=-sys_admin")


def hosts(keystore):
    """Processes of rehome-keyring-host, the loader's word before it: (pid, words, environment)."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if any(word.endswith(b"/rehome-keyring-host") for word in words):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if str(keystore.path.parent.parent).encode() in pathlib.Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.append((int(entry.name), words, (entry / "environ").read_bytes()))
        except (OSError, ValueError):
            pass  # gone meanwhile
    return found


def hard_keys():
    """Ids of 1,000 bytes, bytes that aren't UTF-8, an empty key, and what a real server made."""
    keys = read_component(DATA / "5-hard-ids.json")
    assert any(len(name) == 1000 for _, name in keys)
    keys[b"", b"\xff\xfe not utf-8"] = (b"AES", bytes(range(16)))
    keys[b"a\"b\\c@%", b"\n \x7f \xc3\xa4 /"] = (b"SECRET", b"x" * 16384)
    keys[b"app1@localhost", b"empty"] = (b"AES", b"")
    return keys


@pytest.mark.parametrize("wrap", [(), WEAK])
def test_there_and_back(home, wrap):
    keys = hard_keys()
    assert len(keys) > 30
    one, two, three = Keystore(home / "a/keys", keys), ComponentKeystore(home / "b/keys"), Keystore(home / "c/keys")
    was = one.state()
    there = Move(home / "m1", one, two)
    there.must(OK, "check")
    assert two.read() is None and two.beside() == []
    there.must(OK, wrap=wrap)
    assert two.read() == keys and two.beside() == [] and two.path.stat().st_mode & 0o777 == 0o600
    there.must(OK, "verify")
    was_two = two.state()
    back = Move(home / "m2", two, three)
    back.must(OK, wrap=wrap)
    assert three.read() == keys and one.state() == was and two.state() == was_two
    there.must(OK, "rollback")
    assert two.read() is None and two.beside() == []


def test_one_key_is_byte_for_byte_ours(home):
    """With a single key there is but one order: library and own writer give the same file."""
    keys = {(b"app@%", b"k\xff\"\\\x01"): (b"SECRET", bytes(range(256)))}
    source = Keystore(home / "a/keys", keys)
    ours, theirs = Keystore(home / "b/keys"), ComponentKeystore(home / "c/keys")
    Move(home / "m1", source, ours).must(OK)
    Move(home / "m2", source, theirs).must(OK)
    assert ours.path.read_bytes() == theirs.path.read_bytes()


def test_what_the_destination_had_stays(home):
    keys, had = make_keys(), {(b"", b"had"): (b"AES", b"h" * 32), (b"u@h", b"had"): (b"DSA", b"d" * 128)}
    source, destination = Keystore(home / "a/keys", keys), ComponentKeystore(home / "b/keys", had)
    before = destination.state()
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert destination.read() == {**had, **keys} and destination.path.stat().st_mode & 0o777 == 0o640
    move.must(OK, "rollback")
    assert destination.state() == before and destination.beside() == []
    name = next(iter(keys))
    destination.write({name: (b"AES", b"another")})
    again = Move(home / "n", source, destination)
    again.must(REFUSED)
    again = Move(home / "o", source, destination, on_conflict="overwrite")
    again.must(OK)
    assert destination.read() == keys


def test_one_keystore_by_two_drivers_is_one(home):
    keystore = Keystore(home / "a/keys", make_keys())
    by_library = ComponentKeystore(home / "a/keys")
    for source, destination in ((keystore, by_library), (by_library, keystore), (by_library, by_library)):
        move = Move(home / "m", source, destination)
        assert move.do("check") == REFUSED and "same" in move.said, move.said


def test_a_backup_that_a_server_left(home):
    """It is what the server would go on with; a source's is only read, and neither is given to the library by its name."""
    newer = {**make_keys(), (b"", b"newer"): (b"AES", b"n" * 32)}
    source = ComponentKeystore(home / "a/keys", make_keys())
    source.write(newer, source.backup)
    destination = ComponentKeystore(home / "b/keys", {(b"", b"old"): (b"AES", b"o" * 16)}, library=SHIPPED)
    destination.backup.write_bytes(b'{"version":"1.0","elem')  # cut: a server that starts now would destroy its file
    was = source.state()
    Move(home / "m", source, destination).must(OK)
    assert source.state() == was
    assert destination.read() == {**newer, (b"", b"old"): (b"AES", b"o" * 16)} and destination.beside() == []


def test_damage_is_told_by_what_it_is(home):
    source = ComponentKeystore(home / "a/keys", make_keys())
    source.path.write_bytes(source.path.read_bytes()[:-20])
    move = Move(home / "m", source, Keystore(home / "b/keys"))
    assert move.do() == SOURCE and "hexadecimal digits" in move.said


def test_its_own_words_about_a_bad_configuration(home):
    source = ComponentKeystore(home / "a/keys", make_keys())
    (source.instance / f"{COPY}.cnf").write_text(json.dumps({"path": str(source.path)}), encoding="utf-8")
    move = Move(home / "m", source, Keystore(home / "b/keys"))
    assert move.do() == SOURCE and "can't load its keys; it printed '[MY-013714]" in move.said, move.said


# --- keyring-migrate ---


def test_as_mysql_migrates(home, rehome):
    """Both programs with the same words, from and to a component of another name."""
    keys = make_keys(30)
    source, theirs = Keystore(home / "a/keys", keys), home / "theirs.json"
    done = migrate_by_mysql(source.path, theirs, home / "tool")
    assert done.returncode == 0, done.stderr
    ours = ComponentKeystore(home / "b/keys")
    (home / "from").mkdir()
    (home / "from" / f"{SHIPPED}.cnf").write_text(json.dumps({"path": str(source.path), "read_only": False}), "utf-8")
    program, libraries = loader()
    words = ["keyring-migrate", "--no-defaults", f"--component-dir={library_folder()}", f"--source-keyring={SHIPPED}",
             f"--source-keyring-configuration-dir={home}/from", f"--destination-keyring={COPY}",
             f"--destination-keyring-configuration-dir={ours.instance}", f"--state-dir={home}/state", "--run-as=root",
             f"--component-loader={program}", f"--component-library-path={libraries}"]
    done = rehome(*words)
    assert done.returncode == OK, done.stderr
    assert ours.read() == read_component(theirs) == keys
    assert f'{{"components": "file://{COPY}"}}' in done.stderr
    done = rehome(*words, f"--destination-path={home}/x")
    assert done.returncode == 1 and "its configuration says where its keys are" in done.stderr
    done = rehome(*[word.replace(f"--destination-keyring={COPY}", "--destination-keyring=component_keyring_no") for word in words])
    assert done.returncode == 1 and "unknown keyring 'component_keyring_no'" in done.stderr


# --- killed ---


@pytest.mark.parametrize("scene, wrap", [("new", ()), ("over-backup", WEAK)])
def test_killed_anywhere(home, scene, wrap):
    """rehome dies, and the child with it: a server that starts then has the old keys or the new ones. Nothing is left but what
    the next run takes away, wherever the library may write."""
    def kind(path):
        return ComponentKeystore(path)

    at = Scene(home, kind, scene)
    (home / "b").mkdir(exist_ok=True)
    at.destination.instance.mkdir(exist_ok=True)
    points = [f"component:{n}" for n in places(len(at.new), 3)] + [f"keystore:{n}" for n in places(9, 5)]
    for point in points:
        at.fresh()
        assert at.move.do(env={"RH_CRASH_AT": point}, wrap=wrap) == KILLED, point
        at.old_or_new()
        wait_for(lambda: not hosts(at.destination))
        assert set(at.destination.beside()) <= {"keys.backup", ".keys.rehome-partial"} | ({".keys.rehome-partial.backup"} if wrap else set())
        if points.index(point) % 2:
            at.goes_back()
        else:
            at.goes_on()


def wait_for(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.01)


def test_the_child_is_killed(home):
    """Its death is an error by the component's name, and nothing has changed; its words hold no secret."""
    had = {(b"", b"had"): (b"AES", b"h" * 32)}
    source, destination = Keystore(home / "a/keys", make_keys(40)), ComponentKeystore(home / "b/keys", had)
    before = destination.state()
    move = Move(home / "m", source, destination)
    process = move.stopped("component:20", env={"RH_UNUSED_SECRET": "not for the child"})
    (pid, words, environment), = hosts(destination)
    assert len([word for word in words if word]) == 4 and b"RH_" not in environment
    assert "NoNewPrivs:\t1" in pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"Max core file size +0 +0", pathlib.Path(f"/proc/{pid}/limits").read_text())
    beside = set(destination.beside())
    assert ".keys.rehome-partial" in beside and "keys.backup" not in beside
    os.kill(pid, signal.SIGKILL)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(60) == DESTINATION
    assert "component 'componenu_keyring_file': storing key" in (move.folder / "log").read_text()
    assert "crashed (signal 9" in (move.folder / "log").read_text()
    assert destination.state() == before and destination.beside() == []
    # one that is frozen is seen by the time it takes
    destination.more += ' answer_timeout = "1s"'
    move = Move(home / "n", source, destination)
    process = move.stopped("component:20")
    (pid, _, _), = hosts(destination)
    os.kill(pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(60) == DESTINATION and "gives no answer for 1" in (move.folder / "log").read_text()
    assert not hosts(destination) and destination.state() == before and destination.beside() == []
    # and one whose parent is killed dies with it, frozen or not
    process = move.stopped("component:20")
    (pid, _, _), = hosts(destination)
    end(process)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"))
    move.must(OK)
    assert destination.read() == {**had, **source.read()} and destination.beside() == []
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("rehome-") and COPY + ".cnf" in os.listdir(f"/dev/shm/{name}")]


# --- looked at ---


def test_keyring_list_and_show(rehome, home):  # noqa: F811
    """By the store's options as words; the library is asked, and nothing beside the keystore is left."""
    one = ComponentKeystore(home / "a/keys", hard_keys())
    words = [f"{name}={value}" for name, value in re.findall(r'(\w+) = "([^"]*)"', one.more)]
    was = one.state()
    done = rehome("keyring", "list", "--json", "keyring_component", *words)
    assert done.returncode == OK, done.stderr
    found = {tuple(bytes.fromhex(key[part + "_hex"]) if part + "_hex" in key else key[part].encode() for part in ("owner", "id")):
             (key["type"].encode(), key["bytes"]) for key in json.loads(done.stdout)["keys"]}
    assert found == {name: (kind, len(data)) for name, (kind, data) in one.read().items()}
    done = rehome("keyring", "show", "a\\xffb", "keyring_component", *words)
    assert done.returncode == OK and "length   15 bytes" in done.stdout, done.stderr
    assert one.state() == was and one.beside() == [] and not hosts(one)


# --- keys that aren't in a file ---


def test_key_by_key_into_a_component_and_back(home):
    keys, had = make_keys(40), {(b"", b"had"): (b"AES", b"h" * 32)}
    source, destination = Keystore(home / "a/keys", keys), TwinKeystore(home / "b/keys", had)
    move = Move(home / "m", source, destination)
    move.must(OK, "check")
    assert destination.read() == had
    move.must(OK)
    assert destination.read() == {**had, **keys}
    move.must(OK, "verify")
    back = Keystore(home / "c/keys")
    Move(home / "n", destination, back).must(OK)
    assert back.read() == {**had, **keys}
    move.must(OK, "rollback")
    assert destination.read() == had


def test_a_key_is_replaced_in_two_steps(home):
    """Killed between them, the former key is in the undo log: to go on and to go back both know it."""
    keys = make_keys(12)
    had = {name: (b"AES", b"another %d" % n) for n, name in enumerate(list(keys)[:5])}
    source, destination = Keystore(home / "a/keys", keys), TwinKeystore(home / "b/keys", had)
    Move(home / "m", source, destination).must(REFUSED)
    for way in ("run", "rollback"):
        for point in ("component-torn:1", "component-torn:4", "component:9"):
            destination.write(had)
            move = Move(home / f"{way}-{point}", source, destination, on_conflict="overwrite")
            assert move.do(env={"RH_CRASH_AT": point}) == KILLED, point
            if "torn" in point:
                assert len(had.keys() - destination.read().keys()) == 1
            if way == "run":
                move.must(OK)
                assert destination.read() == keys
                assert move.do("rollback", env={"RH_CRASH_AT": "component-torn:2"}) == KILLED
            move.must(OK, "rollback")
            assert destination.read() == had, point


def test_killed_between_keys(home):
    """What was stored before is known to be ours: the same command goes on, and rollback takes it away."""
    keys, had = make_keys(12), {(b"", b"had"): (b"AES", b"h" * 32)}
    source, destination = Keystore(home / "a/keys", keys), TwinKeystore(home / "b/keys", had)
    for n, point in enumerate(["component:1", "component:7", "component:12", "copy:1", "copy:2"]):
        for way in ("run", "rollback") if n < 2 else ("run",):
            destination.write(had)
            move = Move(home / f"m{n}{way}", source, destination)
            assert move.do(env={"RH_CRASH_AT": point}) == KILLED, point
            found = destination.read()
            assert had.items() <= found.items() <= {**had, **keys}.items()
            if way == "run":
                move.must(OK)
                assert destination.read() == {**had, **keys}
            else:
                move.go_back()
                assert destination.read() == had


def test_a_library_that_writes_in_place_ends_what_it_is_at(home):
    """rehome is killed, or interrupted, in the middle of a library's own write: that write comes to its end."""
    had = {(b"", b"had-%d" % n): (b"AES", b"h" * 32) for n in range(6)}
    source = Keystore(home / "a/keys", make_keys(3))
    destination = TwinKeystore(home / "b/keys", had, name="component_slow")
    for number in (signal.SIGKILL, signal.SIGINT):
        move = Move(home / f"m{number}", source, destination)
        process = move.start()
        wait_for(lambda: process.poll() is not None or len(destination.path.read_text().splitlines()) < len(had), 20)
        process.send_signal(number)
        process.wait(30)
        wait_for(lambda: len(destination.path.read_text().splitlines()) > len(had), 20)
        found = destination.read()
        assert had.items() < found.items() < {**had, **source.read()}.items()
        move.must(OK, "rollback")
        assert destination.read() == had
