# SPDX-License-Identifier: Apache-2.0
"""The proof that the keys are the right ones, on a real server's data: what check, run and verify say of it."""
import json
import os
import pathlib
import shutil

import pytest

from keyringlib import (  # noqa: F401 (keyring_server is a fixture)
    keyring_server, read_component, write_component,
)
from vaultlib import MISMATCH, OK, PLAN, REFUSED, USAGE

HEADS = pathlib.Path(__file__).resolve().parents[1] / "data/mysql-data"


def plan(folder, source, destination, more="", on_conflict="fail"):
    """A plan between two keystores of the component."""
    path = folder / "plan.hcl"
    path.write_text(
        f'plan "p" {{ state_dir = "{folder}/state" }}\nmove "keys" {{\n  on_conflict = "{on_conflict}"\n  {more}\n'
        f'  source "component_keyring_file" {{ path = "{source}" }}\n'
        f'  destination "component_keyring_file" {{ path = "{destination}" }}\n}}\n', encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(keyring_server, tmp_path_factory):
    """A server's data folder after a clean shutdown, and its keystore: tables of all kinds, keys rotated several times.
    The server itself goes on."""
    one, folder = keyring_server, tmp_path_factory.mktemp("data")
    one.encrypt()
    one.rotate(3)
    one.rotate_binlog(2)
    one.sql("INSERT INTO enc.one VALUES (1000, 'after the last rotation')")
    one.make_key("an application's", b"secret")
    one.halt()
    shutil.copytree(one.datadir, folder / "datadir")
    shutil.copy(one.keystore, folder / "keys")
    one.restart()
    return folder


def without(keys, tail):
    """A keyring that lacks the key whose id ends so."""
    return {name: key for name, key in keys.items() if not name[1].endswith(tail)}


def test_all_is_opened_and_named(rehome, data, tmp_path):
    path = plan(tmp_path, data / "keys", tmp_path / "new", f'datadir = "{data}/datadir"')
    done = rehome("check", path)
    assert done.returncode == OK, done.stdout + done.stderr
    for name in ("enc/one", "enc/packed", "enc/parted#p#p0", "enc/parted#p#p1", "shared", "mysql", "undo_001", "undo_002",
                 "more_undo.ibu"):
        assert f"opens: tablespace '{name}' by 'INNODBKey-" in done.stdout, done.stdout
    assert "opens: redo log '#innodb_redo/#ib_redo" in done.stdout
    assert "opens: binary log 'binlog." in done.stdout and "' by 'MySQLReplicationKey_" in done.stdout
    assert "'enc/plain'" not in done.stdout
    assert "-4'" in done.stdout and "-3'" not in done.stdout  # all were wrapped anew by the rotations
    # the run proves it again, with what the destination holds
    done = rehome("run", path)
    assert done.returncode == OK, done.stderr
    report = json.loads(rehome("report", path).stdout)["moves"][0]
    assert [step["outcome"] for step in report["steps"] if step["step"] == "prove"] == ["done"]
    (proof,) = report["proof"]
    assert proof["folder"] == f"{data}/datadir" and proof["failed"] == 0 and not proof["server_at_work"]
    assert proof["encrypted"] == proof["opened"] > 10 and proof["files"] > proof["encrypted"] and proof["keys"] >= 2
    assert rehome("verify", path).returncode == OK


def test_command_line_takes_several_folders(rehome, data, tmp_path):
    path = plan(tmp_path, data / "keys", tmp_path / "new")
    heads = HEADS / "data"
    done = rehome("check", f"--datadir={data}/datadir", f"--datadir={heads}", path)
    assert done.returncode == REFUSED  # the second folder is another server's
    assert "tablespace 'enc/packed' needs key 'INNODBKey-6e28e07a-5b2e-4067-8642-a79c001903d9-3'" in done.stdout, done.stdout
    assert "-3', which the source doesn't hold" in done.stdout  # there is no destination yet
    assert rehome("check", f"--datadir={data}/datadir", path).returncode == OK
    # a list in the plan, too
    path = plan(tmp_path, data / "keys", tmp_path / "new", f'datadir = ["{data}/datadir", "{heads}"]')
    assert rehome("check", path).returncode == REFUSED


@pytest.mark.parametrize("tail, name", [(b"-4", "enc/one"), (b"_3", "binlog.")], ids=["master-key", "binlog-key"])
def test_a_missing_key_stops_the_move_by_name(rehome, data, tmp_path, tail, name):
    keys = read_component(data / "keys")
    assert any(one[1].endswith(tail) for one in keys)
    write_component(tmp_path / "old", without(keys, tail))
    path = plan(tmp_path, tmp_path / "old", tmp_path / "new", f'datadir = "{data}/datadir"')
    done = rehome("check", path)
    assert done.returncode == REFUSED, done.stdout
    lines = [line for line in done.stdout.splitlines() if f"{tail.decode()}', which the source doesn't hold" in line]
    assert any(f"'{name}" in line for line in lines), done.stdout
    write_component(tmp_path / "new", {})
    done = rehome("run", path)
    assert done.returncode == REFUSED and f"{tail.decode()}', which neither side holds" in done.stderr, done.stderr
    assert read_component(tmp_path / "new") == {}


def test_a_wrong_key_stops_the_move_by_name(rehome, data, tmp_path):
    keys = read_component(data / "keys")
    (name,) = [one for one in keys if one[1].endswith(b"-4")]
    keys[name] = (b"AES", bytes(32))
    write_component(tmp_path / "old", keys)
    path = plan(tmp_path, tmp_path / "old", tmp_path / "new", f'datadir = "{data}/datadir"')
    done = rehome("check", path)
    assert done.returncode == REFUSED, done.stdout
    assert f"key '{name[1].decode()}' doesn't open tablespace 'enc/one'" in done.stdout, done.stdout
    assert rehome("run", path).returncode == REFUSED and not (tmp_path / "new").exists()


def test_a_destination_that_loses_a_key_fails_verify(rehome, data, tmp_path):
    path = plan(tmp_path, data / "keys", tmp_path / "new", f'datadir = "{data}/datadir"')
    assert rehome("run", path).returncode == OK
    keys = read_component(tmp_path / "new")
    write_component(tmp_path / "new", without(keys, b"-4"))
    done = rehome("verify", path)
    assert done.returncode == MISMATCH
    done = rehome("check", path)
    assert done.returncode == REFUSED and "tablespace 'enc/one' needs key" in done.stdout
    assert "which the destination doesn't hold" in done.stdout, done.stdout


def test_keys_that_the_destination_has_already_count(rehome, data, tmp_path):
    """The source brings the newest key, the destination has the others."""
    keys = read_component(data / "keys")
    newest = {name: key for name, key in keys.items() if name[1].endswith(b"-4")}
    write_component(tmp_path / "old", newest)
    write_component(tmp_path / "new", {name: key for name, key in keys.items() if name not in newest})
    path = plan(tmp_path, tmp_path / "old", tmp_path / "new", f'datadir = "{data}/datadir"')
    assert rehome("check", path).returncode == OK
    assert rehome("run", path).returncode == OK
    assert read_component(tmp_path / "new") == keys


def test_a_running_server_is_seen(rehome, keyring_server, data, tmp_path):
    path = plan(tmp_path, keyring_server.keystore, tmp_path / "new")
    done = rehome("check", f"--datadir={keyring_server.datadir}", path)
    assert f"a server (process {keyring_server.pid}) is at work in" in done.stdout, done.stdout
    assert "stop it before an offline move" in done.stdout
    assert "opens: tablespace 'enc/one' by" in done.stdout


def test_a_running_servers_keys_and_files(rehome, keyring_server, data):
    """keyring list, show and check beside the server at work, against what it says itself."""
    one = keyring_server
    keys = read_component(one.keystore)
    answer = json.loads(rehome("keyring", "list", "--json", one.keystore).stdout)
    assert {(key["owner"].encode(), key["id"].encode()): (key["type"].encode(), key["bytes"]) for key in answer["keys"]} == {
        name: (key[0], len(key[1])) for name, key in keys.items()}
    ((uuid, number),) = one.sql("SELECT @@server_uuid, (SELECT max(cast(substring_index(key_id, '-', -1) AS unsigned)) "
                                "FROM performance_schema.keyring_keys WHERE key_id LIKE 'INNODBKey-%')")
    shown = rehome("keyring", "show", f"INNODBKey-{uuid}-{number}", one.keystore, f"--datadir={one.datadir}")
    assert f"InnoDB master key {number} of server {uuid}\n  newest   yes" in shown.stdout, shown.stdout + shown.stderr
    assert "  opens     tablespace       enc/one\n" in shown.stdout and "at work in" in shown.stderr
    done = rehome("keyring", "check", "--json", f"--datadir={one.datadir}", one.keystore)
    assert done.returncode == OK, done.stdout
    answer = json.loads(done.stdout)
    spaces = {name for (name,) in one.sql("SELECT name FROM information_schema.innodb_tablespaces WHERE encryption = 'Y'")}
    found = {file["name"] for file in answer["files"] if file["kind"] == "tablespace" and file["result"] == "opens"}
    assert found == spaces - {"innodb_undo_001", "innodb_undo_002", "more_undo"}, (found, spaces)
    assert answer["data"]["server_at_work"] and answer["data"]["encrypted"] == answer["data"]["opened"]
    # the folder as it was at its halt, with keystores that lack a key or hold another one
    for change in (lambda: None, lambda: (b"AES", bytes(32))):
        less = {name: change() if name[1].endswith(b"-4") else key for name, key in read_component(data / "keys").items()}
        write_component(data / "less", {name: key for name, key in less.items() if key})
        done = rehome("keyring", "check", f"--datadir={data}/datadir", data / "less")
        assert done.returncode == MISMATCH and "\nopens       binlog." in done.stdout, done.stdout + done.stderr
        assert f"\n{'wrong' if change() else 'missing':10}  enc/one" in done.stdout, done.stdout
    assert rehome("keyring", "check", f"--datadir={data}/datadir", data / "keys").returncode == OK


def test_page_sizes_and_a_crashed_server(rehome, keyring_server, data, tmp_path):
    """Heads of servers with other page sizes; then the running server's folder as a crash would leave it."""
    path = plan(tmp_path, HEADS / "keys.json", tmp_path / "new", f'datadir = "{HEADS}/sizes"')
    done = rehome("check", path)
    assert done.returncode == OK and done.stdout.count("opens: tablespace ") == 8, done.stdout
    keyring_server.rotate()
    keyring_server.kill()
    crashed = tmp_path / "crashed"
    shutil.copytree(keyring_server.datadir, crashed)
    path = plan(tmp_path, keyring_server.keystore, tmp_path / "new", f'datadir = "{crashed}"')
    keyring_server.restart()
    done = rehome("check", path)
    assert done.returncode == OK, done.stdout


def test_a_paused_move_without_the_key_is_taken_back(rehome, keyring_server, data, tmp_path):
    """The server is held back only once for it: after the copy, which is then taken back."""
    one = keyring_server
    more = (f'mode = "paused" datadir = "{HEADS}/data"\n  fence "keyring_operations" {{ host = "127.0.0.1" port = {one.port} '
            f'user = "{one.env["MYSQL_MOVER"]}" password_file = "{one.env["MYSQL_PASSWORD_FILE"]}" '
            f'tls {{ ca_file = "{one.env["MYSQL_CA"]}" }} }}')
    path = plan(tmp_path, one.keystore, tmp_path / "new", more)
    done = rehome("run", path)
    assert done.returncode == MISMATCH and "which the destination doesn't hold" in done.stderr, done.stderr
    assert "rolled back, the destination is as it was" in done.stderr and not (tmp_path / "new").exists()
    assert one.sql("SELECT @@keyring_operations") == [["1"]]


GOLDEN = os.environ.get("REHOME_GOLDEN")


@pytest.mark.skipif(not GOLDEN, reason="third-party data isn't in the tree: set REHOME_GOLDEN to its folder to read MySQL 5.7's and "
                                       "8.0's own")
def test_data_of_older_servers(rehome, tmp_path):
    """Page 0 with encryption info of the second version (5.7.25), a binary log of 8.0.14, and their plugins' keystores."""
    golden = pathlib.Path(GOLDEN) / "keyring-plugin"
    for server, name, keystore in (("innodb-57025.i_part2-p0.page0.ibdpage", "i_part2#P#p0.ibd", "innodb-57025.keyring"),
                                   ("rpl-8014.binlog-encrypted.000002", "binlog.000002", "rpl-8014.keyring")):
        folder = tmp_path / keystore
        folder.mkdir()
        shutil.copy(golden / server, folder / name)
        path = tmp_path / f"{keystore}.hcl"
        path.write_text(f'move "k" {{ datadir = "{folder}" source "keyring_file" {{ path = "{golden / keystore}" }}\n'
                        f'destination "component_keyring_file" {{ path = "{tmp_path}/{keystore}.new" }} }}', encoding="utf-8")
        done = rehome("check", path)
        assert done.returncode == OK and done.stdout.count("opens: ") == 1, done.stdout


def test_what_is_no_data_folder_is_refused(rehome, data, tmp_path):
    (tmp_path / "empty").mkdir()
    path = plan(tmp_path, data / "keys", tmp_path / "new", f'datadir = "{tmp_path}/empty"')
    done = rehome("check", path)
    assert done.returncode == REFUSED and "holds no data of a MySQL server" in done.stdout
    assert rehome("run", path).returncode == REFUSED and not (tmp_path / "new").exists()
    path = plan(tmp_path, data / "keys", tmp_path / "new", f'datadir = "{tmp_path}/none"')
    assert rehome("check", path).returncode == REFUSED


def test_other_stores_take_no_datadir(rehome, vault_tree, tmp_path):
    path = tmp_path / "plan.hcl"
    text = f'move "m" {{ %s source "file" {{ path = "{vault_tree()}" }} destination "file" {{ path = "{tmp_path}/new" }} }}'
    path.write_text(text % 'datadir = "/var/lib/mysql"', encoding="utf-8")
    done = rehome("check", path)
    assert done.returncode == PLAN and "option 'datadir' is for keyrings" in done.stderr
    path.write_text(text % "", encoding="utf-8")
    done = rehome("check", "--datadir=/var/lib/mysql", path)
    assert done.returncode == USAGE and "--datadir is for keyrings" in done.stderr


def test_no_key_is_ever_shown(rehome, data, tmp_path):
    path = plan(tmp_path, data / "keys", tmp_path / "new", f'datadir = "{data}/datadir"')
    said = "".join(done.stdout + done.stderr for done in (rehome("check", path), rehome("run", path), rehome("report", path),
                                                          rehome("verify", "--log-level=trace", path)))
    kept = b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    for _, key in read_component(data / "keys").values():
        assert key.hex() not in said.lower() and key.hex() not in kept.decode("latin-1").lower()
        assert len(key) < 8 or key not in kept
