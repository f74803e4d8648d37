# SPDX-License-Identifier: Apache-2.0
"""rehome keyring list, show and check: what they say of keystores and data folders, and that they never say a key."""
import base64
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import threading
import time

import pytest

from faultlib import Move
from keyringlib import read_component, write_component
from keystorelib import DATA, SERVER_KEY, Keystore, PluginKeystore, SealedKeystore, make_keys
from vaultlib import MISMATCH, OK, PLAN, REFUSED, SOURCE, USAGE

HEADS = DATA.parent / "mysql-data"
UUID = "6e28e07a-5b2e-4067-8642-a79c001903d9"
INNODB, BINLOG = f"INNODBKey-{UUID}-", f"MySQLReplicationKey_{UUID}"
VERBS = {"list": [], "show": ["id"], "check": [f"--datadir={HEADS}/data"]}


def rows(done):
    """The table's lines as lists of cells: two blanks or more divide them."""
    lines = done.stdout.splitlines()
    return [re.split(r"  +", line) for line in lines[1:]], re.split(r"  +", lines[0])


def ids(done):
    return [row[-1] for row in rows(done)[0]]


# --- list ---


def test_a_servers_keys_as_a_table(rehome):
    done = rehome("keyring", "list", HEADS / "keys.json")
    assert done.returncode == OK
    table, head = rows(done)
    assert head == ["TYPE", "BYTES", "OWNER", "WHAT", "ID"]
    assert ["AES", "32", "-", "InnoDB key 2", INNODB + "2"] in table
    assert ["AES", "32", "-", "InnoDB key 3, newest", INNODB + "3"] in table
    assert ["AES", "16", "-", "binlog key's number", BINLOG] in table
    assert ["AES", "32", "-", "binlog key 3, newest", BINLOG + "_3"] in table
    assert ["AES", "16", "-", "binlog key's number", BINLOG + "_last_purged"] in table
    assert table[-1] == ["SECRET", "1", "app1@localhost", "-", "text"]
    lines = done.stdout.splitlines()
    assert len({line.index(cell) for line, cell in zip(lines, ["ID"] + [row[-1] for row in table])}) == 1  # aligned
    assert done.stderr == f"11 keys in component_keyring_file '{HEADS}/keys.json': 10 of servers, 1 of accounts\n"


def test_all_ways_to_name_a_keystore_say_the_same(rehome, tmp_path):
    path = HEADS / "keys.json"
    (tmp_path / "cnf").mkdir()
    (tmp_path / "cnf/component_keyring_file.cnf").write_text(json.dumps({"path": str(path), "read_only": False}))
    plan = tmp_path / "plan.hcl"
    plan.write_text(f'plan "p" {{}}\nmove "m" {{ source "component_keyring_file" {{ path = "{path}" }}\n'
                    f'destination "keyring_file" {{ path = "{tmp_path}/none" }} }}\n'
                    f'move "back" {{ source "keyring_file" {{ path = "{tmp_path}/none" }}\n'
                    f'destination "component_keyring_file" {{ path = "{path}" }} }}\n')
    told = set()
    for words in ([path], ["component_keyring_file", path], ["component_keyring_file", f"path={path}"],
                  ["component_keyring_file", f"component_dir={tmp_path}/cnf"], ["--move=m", plan],
                  ["--move", "m", "--side=source", plan], [plan, "--move=back", "--side", "destination"]):
        done = rehome("keyring", "list", *words)
        assert done.returncode == OK, (words, done.stderr)
        told.add((done.stdout, done.stderr))
    assert len(told) == 1
    done = rehome("keyring", "list", plan)
    assert done.returncode == USAGE and "2 moves between keyrings" in done.stderr
    done = rehome("keyring", "list", "--move=m", "--side=destination", plan)
    assert done.returncode == 4 and f"there is no keystore '{tmp_path}/none'" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("kind", [Keystore, PluginKeystore, SealedKeystore])
def test_every_kind_of_keystore(rehome, tmp_path, kind):
    keys = make_keys(40)
    one = kind(tmp_path / "a/keys", keys)
    words = [f"key_file={tmp_path}/a.key"] if kind is SealedKeystore else []
    before, beside = one.state(), sorted(os.listdir(tmp_path))
    for named in ([one.path], [one.kind, one.path]):  # by its first bytes, and by the store's name
        done = rehome("keyring", "list", "--json", *named, *words)
        assert done.returncode == OK, done.stderr
        answer = json.loads(done.stdout)
        found = {(key["owner"].encode(), key["id"].encode()): (key["type"].encode(), key["bytes"]) for key in answer["keys"]}
        assert found == {name: (key[0], len(key[1])) for name, key in keys.items()}
        assert answer["keystore"]["store"] == one.kind and answer["keystore"]["address"] == str(one.path)
        assert (answer["count"], answer["shown"], answer["exit"], answer["error"]) == (40, 40, 0, None)
    assert (one.state(), sorted(os.listdir(tmp_path)), one.beside()) == (before, beside, [])


def test_filters_and_order(rehome, tmp_path):
    keys = {(b"", SERVER_KEY % n): (b"AES", bytes(32)) for n in (1, 2, 9, 10, 11, 100)}
    keys.update({(owner, b"k-%d" % n): (kind, bytes(16)) for owner in (b"b@%", b"a@localhost") for n, kind in
                 ((10, b"AES"), (9, b"SECRET"), (2, b"RSA"))})
    items = list(keys.items())
    random.Random(3).shuffle(items)
    path = Keystore(tmp_path / "a/keys", dict(items)).path
    found = [re.search(r"-(\d+)$", one)[1] for one in ids(rehome("keyring", "list", path))]
    assert found == ["1", "2", "9", "10", "11", "100"] + ["2", "9", "10"] * 2
    table = rows(rehome("keyring", "list", path))[0]
    assert [row[2] for row in table[6:]] == ["a@localhost"] * 3 + ["b@%"] * 3
    assert [row[3] for row in table[4:7]] == ["InnoDB key 11", "InnoDB key 100, newest", "-"]
    for words, count in ((["--owner=b@%"], 3), (["--owner="], 6), (["--id=INNODB"], 6), (["--id=k-1"], 2), (["--type", "secret"], 2),
                         (["--type=RSA", "--owner=a@localhost"], 1), (["--id=none"], 0)):
        done = rehome("keyring", "list", *words, path)
        assert done.returncode == OK and len(done.stdout.splitlines()) == (count and count + 1), (words, done.stdout)
        assert done.stderr.startswith(f"{count} of 12 keys in "), done.stderr


def test_columns_are_aligned_by_characters(rehome, tmp_path):
    owners = ["ünï@%", "a@%", "a-long-name-of-an-account@localhost", "b\x1b@%"]
    path = PluginKeystore(tmp_path / "a/keys", {(owner.encode(), b"the-id"): (b"AES", bytes(16)) for owner in owners}).path
    lines = rehome("keyring", "list", path).stdout.splitlines()[1:]
    places = {line.split()[2]: line.index("the-id") for line in lines}
    assert places["ünï@%"] == places["a@%"] == places["b\\x1b@%"] < places["a-long-name-of-an-account@localhost"]
    assert places["a@%"] == 4 + 2 + 5 + 2 + 32 + 2 + 4 + 2  # the longest doesn't push the others away


def test_what_can_not_be_moved_can_be_looked_at(rehome, tmp_path):
    """A keystore with a second name, as in a backup made of hard links, and one that others may write."""
    path = Keystore(tmp_path / "a/keys", make_keys(5)).path
    (tmp_path / "a/other").hardlink_to(path)
    plan = tmp_path / "plan.hcl"
    plan.write_text(f'move "m" {{ source "component_keyring_file" {{ path = "{tmp_path}/none" }}\n'
                    f'destination "component_keyring_file" {{ path = "{path}" }} }}\n')
    path.chmod(0o666)
    assert rehome("check", plan).returncode == REFUSED
    for words in (["--side=destination", plan], [path]):
        done = rehome("keyring", "list", *words)
        assert done.returncode == OK and len(ids(done)) == 5, done.stderr


def test_files_are_counted_for_their_keys(rehome):
    done = rehome("keyring", "list", f"--datadir={HEADS}/data", HEADS / "keys.json")
    table, head = rows(done)
    assert head == ["TYPE", "BYTES", "OWNER", "WHAT", "SPACES", "UNDO", "REDO", "LOGS", "ID"]
    counts = {row[-1]: row[4:8] for row in table}
    assert counts[INNODB + "3"] == ["5", "2", "1", "0"] and counts[INNODB + "2"] == ["0"] * 4
    assert counts[BINLOG + "_3"] == ["0", "0", "0", "1"] and counts["text"] == counts[BINLOG] == ["-"] * 4
    answer = json.loads(rehome("keyring", "list", "--json", f"--datadir={HEADS}/data", HEADS / "keys.json").stdout)
    used = {key["id"]: key["used_by"] for key in answer["keys"]}
    assert used[INNODB + "3"] == {"tablespaces": 5, "undo_tablespaces": 2, "redo_logs": 1, "binary_logs": 0}
    assert used["text"] is None
    assert answer["data"] == {"files": 11, "encrypted": 9, "opened": 9, "failed": 0, "server_at_work": False}
    # with a keystore of another server's
    done = rehome("keyring", "list", f"--datadir={HEADS}/data", DATA / "4-udf.json")
    assert done.returncode == OK and "9 encrypted files aren't opened by them" in done.stderr


# --- what must never be said ---


def shapes(key):
    """A key in all the forms in which it could get out, and what is made of it."""
    digests = [hashlib.new(name, key).digest() for name in ("md5", "sha1", "sha256", "sha512")]
    for data in (key, key[:16], *digests):
        yield data.hex()
        yield base64.b64encode(data).decode().rstrip("=")
        yield data.decode("latin-1")


def test_no_key_and_nothing_made_of_it(rehome, tmp_path):
    keys = {name: key for name, key in make_keys(30).items() if len(key[1]) >= 16}
    keys[(b"", INNODB.encode() + b"3")] = (b"AES", bytes(range(50, 82)))
    path = Keystore(tmp_path / "a/keys", keys).path
    said = ""
    for verb, words in VERBS.items():
        for more in ([], ["--json"], ["--log-level=trace"], ["--json", "--log-format=json", "--log-level=trace"]):
            words_here = [INNODB + "3", f"--datadir={HEADS}/data"] if verb == "show" else words
            done = rehome("keyring", verb, *words_here, *more, path)
            assert done.returncode in (OK, MISMATCH), done.stderr
            said += done.stdout + done.stderr
    low = said.lower()
    for _, key in keys.values():
        for shape in shapes(key):
            assert shape.lower() not in low
    assert not (tmp_path / "state").exists()


HOSTILE = [b"\x1b[2J\x1b]0;title\x07", b"\r\n11 keys", b"two\nlines", b"\xe2\x80\xae reversed", b"\xff\xfe", b"back\\slash", b"\\x41",
           "\u0085\u009b31m".encode(), b"%s%n", "鍵-🔑".encode(), b"x" * 2000, b"'quoted\" `id`"]


def test_hostile_names_do_no_harm(rehome, tmp_path):
    # the component takes control characters only as \\u escapes, the plugin any byte
    keys = {(owner, name): (b"SECRET", b"0123456789abcdef") for name in HOSTILE for owner in (b"", b"\x1b[31m@%", b"ok@%")}
    one = PluginKeystore(tmp_path / "a/keys", keys)
    done = rehome("keyring", "list", one.path)
    assert done.returncode == OK, done.stderr
    lines = done.stdout.split("\n")
    assert len(lines) == len(keys) + 2 and lines[-1] == ""
    for text in (done.stdout, done.stderr):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "\\x1b[2J\\x1b]0;title\\x07" in done.stdout and "x" * 2000 in done.stdout and "鍵-🔑" in done.stdout
    # what is printed finds the key again, also where it could be another one's id
    for name in HOSTILE:
        (shown,) = {row[-1] for row in [line.rsplit("  ", 1) for line in lines[1:-1]]
                    if rehome_shows(name) == row[-1]}
        found = rehome("keyring", "show", "--json", shown, one.path)
        assert found.returncode == OK, (name, found.stderr)
        answers = json.loads(found.stdout)["keys"]
        given = {bytes.fromhex(key["id_hex"]) if "id_hex" in key else key["id"].encode() for key in answers}
        assert given == {name} and len(answers) == 3, (name, answers)
        text = rehome("keyring", "show", shown, one.path)
        assert text.returncode == OK and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text.stdout)
        assert text.stdout.count("\n") == 3 * 5 + 2


def rehome_shows(name):
    """An id as rehome prints it: what a terminal would act on, and what is no UTF-8, as \\xNN."""
    out = ""
    for char in name.decode("utf-8", "surrogateescape"):
        point = ord(char)
        acts = point < 0x20 or 0x7f <= point <= 0x9f or 0x202a <= point <= 0x202e or 0xdc80 <= point <= 0xdcff
        raw = char.encode("utf-8", "surrogateescape")
        out += "\\\\" if char == "\\" else "".join(f"\\x{byte:02x}" for byte in raw) if acts else char
    return out


# --- show ---


def test_one_key(rehome):
    path = HEADS / "keys.json"
    done = rehome("keyring", "show", INNODB + "3", path, "--datadir", HEADS / "data")
    assert done.returncode == OK and done.stderr == ""
    assert done.stdout.splitlines()[:7] == [
        f"key '{INNODB}3'", "  owner    none: a server's own", "  type     AES", "  length   32 bytes",
        f"  what     InnoDB master key 3 of server {UUID}", "  newest   yes, of the 3 of its server here",
        f"  used by  5 tablespaces, 2 undo tablespaces, 1 redo log in '{HEADS}/data'"]
    names = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()[7:]]
    assert names == [["opens", kind, name] for kind, name in (
        ("tablespace", "enc/one"), ("tablespace", "enc/packed"), ("tablespace", "enc/parted#p#p0"), ("tablespace", "mysql"),
        ("tablespace", "shared"), ("undo tablespace", "more_undo.ibu"), ("undo tablespace", "undo_001"),
        ("redo log", "#innodb_redo/#ib_redo10"))]
    assert "newest   no, number 3 is" in rehome("keyring", "show", INNODB + "1", path).stdout
    text = rehome("keyring", "show", INNODB + "1", path, f"--datadir={HEADS}/data").stdout
    assert f"used by  nothing in '{HEADS}/data'" in text
    for tail, words in (("", "of the newest binary log key"), ("_last_purged", "of the last binary log key that was removed")):
        assert f"what     no key: the number {words} of server {UUID}" in rehome("keyring", "show", BINLOG + tail, path).stdout
    text = rehome("keyring", "show", "text", path, f"--datadir={HEADS}/data").stdout
    assert "owner    app1@localhost" in text and "length   1 byte\n" in text and "used by  no file names such keys" in text
    (key,) = json.loads(rehome("keyring", "show", "--json", f"--datadir={HEADS}/data", BINLOG + "_3", path).stdout)["keys"]
    assert {name: key[name] for name in ("use", "server", "number", "newest", "bytes")} == {
        "use": "binlog-master-key", "server": UUID, "number": 3, "newest": True, "bytes": 32}
    (file,) = key["files"]
    assert file == {"result": "opens", "kind": "binary log", "name": "binlog.000005", "path": f"{HEADS}/data/binlog.000005",
                    "key": BINLOG + "_3"}


def test_an_id_of_several_owners(rehome, tmp_path):
    path = Keystore(tmp_path / "a/keys", {(owner, b"same"): (b"AES", bytes(16)) for owner in (b"", b"a@%", b"b@%")}).path
    done = rehome("keyring", "show", "same", path)
    assert done.stdout.count("key 'same'") == 3 and "\n\nkey" in done.stdout
    assert "  owner    a@%\n" in rehome("keyring", "show", "same", "--owner=a@%", path).stdout
    alone = rehome("keyring", "show", "same", "--owner=", path).stdout
    assert alone.count("key '") == 1 and "none: a server's own" in alone
    done = rehome("keyring", "show", "same", "--owner=c@%", path)
    assert done.returncode == MISMATCH and "holds no key 'same' of 'c@%'" in done.stderr and done.stdout == ""
    done = rehome("keyring", "show", "Same", path, "--json")
    assert done.returncode == MISMATCH and json.loads(done.stdout)["exit_name"] == "mismatch"


# --- check ---


def folder_of(tmp_path, *names):
    """A data folder with copies of a real server's files."""
    folder = tmp_path / "datadir"
    shutil.copytree(HEADS / "data", folder)
    for name in names:
        (folder / name).unlink()
    return folder


def test_all_is_opened(rehome):
    done = rehome("keyring", "check", f"--datadir={HEADS}/data", HEADS / "keys.json")
    assert done.returncode == OK, done.stderr
    table, head = rows(done)
    assert head == ["RESULT", "FILE", "WHAT", "KEY"]
    assert ["opens", "enc/one", "tablespace", INNODB + "3"] in table
    assert ["opens", "undo_001", "undo tablespace", INNODB + "3"] in table
    assert ["opens", "binlog.000005", "binary log", BINLOG + "_3"] in table
    assert ["unused", "-", "InnoDB key 2", INNODB + "2"] in table
    assert [row[0] for row in table] == ["opens"] * 9 + ["unused"] * 6
    assert "9 of 9 encrypted files opened; they need 2 keys; 2 files aren't encrypted" in done.stderr
    assert "6 master keys are used by nothing here" in done.stderr


def test_missing_wrong_and_unreadable(rehome, tmp_path):
    keys = read_component(HEADS / "keys.json")
    del keys[b"", (BINLOG + "_3").encode()]
    keys[b"", (INNODB + "3").encode()] = (b"AES", bytes(32))
    path = Keystore(tmp_path / "a/keys", keys).path
    folder = folder_of(tmp_path)
    (folder / "enc/packed.ibd").write_bytes(b"nothing that a server wrote")
    done = rehome("keyring", "check", f"--datadir={folder}", path)
    assert done.returncode == MISMATCH
    table = rows(done)[0]
    assert ["missing", "binlog.000005", "binary log", BINLOG + "_3"] in table
    assert ["wrong", "enc/one", "tablespace", INNODB + "3"] in table
    assert ["unreadable", "enc/packed", "tablespace", "it doesn't begin as a tablespace of MySQL does"] in table
    assert [row[0] for row in table][-1] == "unreadable"  # what fails stands last, above the verdict
    assert "0 of 9 encrypted files opened" in done.stderr and "9 files aren't opened; the first: binary log 'binlog.000005'" in done.stderr
    answer = json.loads(rehome("keyring", "check", "--json", f"--datadir={folder}", path).stdout)
    assert (answer["exit"], answer["error"]["status"], answer["data"]["failed"]) == (MISMATCH, "mismatch", 9)
    results = {file["name"]: file["result"] for file in answer["files"]}
    assert results["enc/one"] == "wrong" and results["enc/packed"] == "unreadable" and results["binlog.000005"] == "missing"
    assert {key["id"] for key in answer["unused"]} >= {INNODB + "1", INNODB + "2"}


def test_folders_of_a_plan_and_of_the_command_line(rehome, tmp_path):
    plan = tmp_path / "plan.hcl"
    plan.write_text(f'move "m" {{ datadir = "{HEADS}/data"\nsource "component_keyring_file" {{ path = "{HEADS}/keys.json" }}\n'
                    f'destination "component_keyring_file" {{ path = "{DATA}/4-udf.json" }} }}\n')
    done = rehome("keyring", "check", plan)
    assert done.returncode == OK and "9 of 9" in done.stderr and " enc/one " in done.stdout
    done = rehome("keyring", "check", "--side=destination", plan)
    assert done.returncode == MISMATCH and "fix: no file there is opened: is it another server's keystore" in done.stderr
    done = rehome("keyring", "check", plan, "--datadir", HEADS / "sizes")
    assert done.returncode == OK and "17 of 17" in done.stderr
    assert f"{HEADS}/sizes/4k-z1.ibd" in done.stdout and f"{HEADS}/data/enc/one.ibd" in done.stdout  # whole paths
    (tmp_path / "empty").mkdir()
    done = rehome("keyring", "check", plan, "--datadir", tmp_path / "empty")
    assert done.returncode == REFUSED and "holds no data of a MySQL server" in done.stderr
    assert done.stdout == ""


# --- what a killed server left ---


def test_a_left_backup_of_the_component(rehome, tmp_path):
    one = Keystore(tmp_path / "a/keys", make_keys(10))
    one.write(make_keys(11), one.backup)
    before = one.state()
    done = rehome("keyring", "list", one.path)
    assert done.returncode == OK and "11 keys" in done.stderr
    assert "note: 'keys.backup' was left by a server that was killed while it wrote: one that starts now goes on to its keys" in done.stderr
    whole = one.backup.read_bytes()
    one.backup.write_bytes(whole[:-100])  # such a server copies it over the keystore without a look
    done = rehome("keyring", "check", f"--datadir={HEADS}/data", one.path)
    assert "warning: 'keys.backup' was left" in done.stderr and "can't load its keyring" in done.stderr
    assert "fix: move it away before the server is started" in done.stderr
    answer = json.loads(rehome("keyring", "list", "--json", one.path).stdout)
    assert answer["count"] == 10 and answer["keystore"]["leftover"]["harms"] is True
    one.backup.write_bytes(b"")
    done = rehome("keyring", "list", one.path)
    assert "10 keys" in done.stderr and "note: 'keys.backup'" in done.stderr and "removes it and keeps the keystore" in done.stderr
    one.backup.write_bytes(whole)
    one.backup.chmod(0o640)
    assert one.state() == before


def test_a_left_backup_of_the_plugin(rehome, tmp_path):
    one = PluginKeystore(tmp_path / "a/keys", make_keys(10))
    one.write(make_keys(9), one.backup)
    done = rehome("keyring", "list", one.path)
    assert "9 keys" in done.stderr and "note: " in done.stderr and "goes back to its keys" in done.stderr
    one.backup.write_bytes(one.backup.read_bytes()[:-60])
    done = rehome("keyring", "list", one.path)
    assert "10 keys" in done.stderr and "and is cut: one that starts now removes it" in done.stderr


def test_a_keystore_that_is_being_written(rehome, tmp_path):
    """A server at work: .backup, the file in place, .backup removed, over and over. Each look sees all keys of one state."""
    one, end = Keystore(tmp_path / "a/keys", make_keys(400)), threading.Event()
    states = [one.path.read_bytes()]
    Keystore(tmp_path / "b/keys", make_keys(401))
    states.append((tmp_path / "b/keys").read_bytes())

    def serve():
        turn = 0
        while not end.is_set():
            turn += 1
            for path in (one.backup, one.path):  # truncated, then written in two pieces
                with open(path, "wb") as file:
                    file.write(states[turn % 2][:20000])
                    file.flush()
                    time.sleep(0.001)
                    file.write(states[turn % 2][20000:])
            one.backup.unlink()
            end.wait(0.06)

    server = threading.Thread(target=serve)
    server.start()
    try:
        for _ in range(40):
            done = rehome("keyring", "list", one.path)
            assert done.returncode == OK and done.stderr.splitlines()[-1].startswith(("400 keys", "401 keys")), done.stderr
            assert len(done.stdout.splitlines()) in (401, 402)
    finally:
        end.set()
        server.join()


# --- many, and what is wrong ---


def test_a_hundred_thousand_keys(program, tmp_path):
    count = 100_000
    keys = {(b"app@localhost", b"customer-key-%06d" % n): (b"AES", b"0123456789abcdef" * 2) for n in range(count)}
    path = Keystore(tmp_path / "a/keys", keys).path
    for words in ([], ["--json"]):
        begin = time.monotonic()
        one = subprocess.Popen([program, "keyring", "list", *words, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = one.stdout.readline()  # all is read by then, and the pipe is full before all is written
        (most,) = re.findall(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8"))
        rest, said = one.stdout.read(), one.stderr.read()
        assert one.wait() == OK and time.monotonic() - begin < 20
        assert words or said.startswith("100,000 keys in ")
        assert int(most) < 120 * 1024, most  # the keystore's file has 16 MiB
        lines = (first + rest).splitlines()
        found = [line.rsplit(" ", 1)[1] for line in lines[1:]] if not words else [key["id"] for key in json.loads("\n".join(lines))["keys"]]
        assert found == [f"customer-key-{n:06}" for n in range(count)]


@pytest.mark.parametrize("words, code, text", [
    (["list"], USAGE, "argument KEYSTORE is missing"),
    (["show"], USAGE, "argument ID is missing"),
    (["show", "id"], USAGE, "argument KEYSTORE is missing"),
    (["list", "/nowhere/keys"], USAGE, "'/nowhere/keys' is neither a file nor a store"),
    (["list", "component_keyring_fil", "/x"], USAGE, "did you mean 'component_keyring_file'?"),
    (["list", "mysql", "/x"], USAGE, "store 'mysql' holds no keyring"),
    (["list", "/etc"], SOURCE, "reading '/etc'"),
    (["list", "component_keyring_file"], USAGE, "exactly one of 'path' and 'component_dir'"),
    (["list", "component_keyring_file", "component_dir=/nowhere"], PLAN, "configuration '/nowhere/component_keyring_file.cnf' isn't there"),
    (["list", "component_keyring_file", "/x", "pth=/y"], USAGE, "did you mean 'path'?"),
    (["list", "component_keyring_file", "/x", "path=/y"], USAGE, "is given twice"),
    (["list", "component_keyring_file", "/nowhere/keys"], SOURCE, "opening the folder of '/nowhere/keys'"),
    (["list", "component_keyring_file", "/none"], SOURCE, "there is no keystore '/none'"),
    (["list", "--side=source", HEADS / "keys.json"], USAGE, "--side is for a plan"),
    (["list", "--side=left", HEADS / "keys.json"], USAGE, "source"),
    (["list", HEADS / "README.md"], PLAN, "if it is a keystore, say of which kind"),
    (["list", "component_keyring_file", HEADS / "README.md"], SOURCE, "README.md': no JSON object at byte 0"),
    (["check", HEADS / "keys.json"], USAGE, "no data folder is named"),
    (["check", HEADS / "keys.json", "--datadir=/nowhere"], SOURCE, "opening the data folder '/nowhere'"),
    (["lst"], USAGE, "did you mean 'keyring list'?"),
])
def test_what_is_wrong_is_said(rehome, words, code, text):
    done = rehome("keyring", *words)
    assert done.returncode == code and text in done.stderr and done.stdout == "", (done.returncode, done.stderr)
    if words[0] in VERBS:
        done = rehome("keyring", *words, "--json")
        answer = json.loads(done.stdout)
        assert (answer["exit"], answer["command"]) == (code, f"keyring {words[0]}") and text in answer["error"]["text"] + answer["error"].get("hint", "")


def test_a_secret_on_the_command_line_is_refused(rehome, tmp_path):
    one = SealedKeystore(tmp_path / "a/keys", make_keys(3))
    done = rehome("keyring", "list", "sealed_keyring", one.path, "passphrase=do not show")
    assert done.returncode == USAGE and "isn't taken from the command line" in done.stderr and "do not" not in done.stderr
    done = rehome("keyring", "list", one.path, "passphrase_env=WORD", env={"WORD": "do not show"})
    assert done.returncode == SOURCE and "do not" not in done.stderr  # another seal's
    plan = tmp_path / "plan.hcl"
    plan.write_text(f'move "k" {{ {one.block("source")} {Keystore(tmp_path / "b/keys").block("destination")} }}')
    assert len(ids(rehome("keyring", "list", plan))) == 3


@pytest.mark.parametrize("words", [["keyring"], ["keyring", "--help"], ["help", "keyring"]])
def test_the_family_is_listed(rehome, words):
    done = rehome(*words)
    assert done.returncode == OK
    assert [name for name in ("keyring list", "keyring show", "keyring check", "keyring-migrate") if f"\n  {name} " not in done.stdout] == []
