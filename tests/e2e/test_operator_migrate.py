# SPDX-License-Identifier: Apache-2.0
"""`rehome operator migrate`: every promise of the command, on real folders, a real MariaDB and a real MySQL."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

from migratelib import (
    DESTINATION, INTERRUPTED, KILLED, LOCK, LOCKED, MARKER, MISMATCH, OK, PLAN, REFUSED, REHOME, SEAL, USAGE,
    Move, go_on, hcl, snapshot, tree, tree_fill, tree_put, tree_read,
)
from migratelib import db, home, server  # noqa: F401 (fixtures)

STAMP = re.compile(rb'\{"start":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"\}\n')
OTHERS = b'{"start":"2018-09-20T14:23:23.656-07:00"}\n'  # as Vault's own command writes it
RECORDS = {
    SEAL: b"{}", b"core/keyring": bytes(range(256)), b"core/mounts": b"m", b"empty": b"",
    **{b"logical/%02d/%05d" % (i % 17, i): b"value %d" % i for i in range(700)},
}
MANY = {b"logical/%05d" % i: b"%05d" % i * 8 for i in range(6000)}


def with_private(records):
    """What a source holds besides: the lock of a Vault that is gone."""
    return {**records, LOCK: b"uuid of a leader that is gone"}


def watch_puts(db):
    """The table, with a log of every insert: which connection, which key, in which order."""
    db.make_table()
    db.sql(
        "CREATE TABLE vault.puts (n bigint AUTO_INCREMENT PRIMARY KEY, c bigint, k varbinary(512)) ENGINE=InnoDB;"
        "CREATE TRIGGER vault.watch AFTER INSERT ON vault.vault FOR EACH ROW "
        "INSERT INTO vault.puts (c, k) VALUES (CONNECTION_ID(), NEW.vault_key)"
    )


def puts(db):
    """[(connection, key)] in the order of the inserts, markers left out."""
    rows = db.sql("SELECT c, HEX(k) FROM vault.puts ORDER BY n")
    return [(c, key) for c, key in ((row[0], bytes.fromhex(row[1])) for row in rows) if key != MARKER]


def hold_lock(db, name):
    """A connection that holds a lock as Vault's mysql backend does; end it with .kill()."""
    holder = subprocess.Popen(db.client_words(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    holder.stdin.write(f"SELECT GET_LOCK('{name}', 0); SELECT SLEEP(300);\n".encode())
    holder.stdin.flush()
    end = time.monotonic() + 20
    while db.sql(f"SELECT IS_USED_LOCK('{name}')")[0][0] == "NULL":
        assert time.monotonic() < end and holder.poll() is None
        time.sleep(0.05)
    return holder


def let_go(holder):
    holder.kill()
    holder.wait()
    holder.stdin.close()


# --- the command line ---


@pytest.mark.parametrize("dash", ["-", "--"])
def test_vaults_file_unchanged_with_one_dash_and_two(home, db, dash):
    tree_fill(home / "src", with_private(RECORDS))
    members = {"redirect_addr": "https://x:8200", "advertise_addr": "y", "disable_clustering": "true"}
    kind, mysql = db.stanza(database="vault", table="vault", max_parallel="64", ha_enabled="true", **members)
    move = Move(home, tree(home / "src"), (kind, mysql), extra='cluster_addr = "https://127.0.0.1:8201"\n')
    done = move.run(
        "operator", "migrate", f"{dash}config", str(move.file), f"{dash}max-parallel", "3", f"{dash}log-level=warn"
    )
    assert done.code == OK, done
    assert "Success! All of the keys have been migrated." in done.out
    assert db.read() == RECORDS
    assert tree_read(home / "src") == with_private(RECORDS)


def test_json_form_of_the_file(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza(), name="migrate.json")
    kind, mysql = db.stanza()
    move.file.write_text(
        json.dumps(
            {"storage_source": {"file": {"path": str(home / "src")}}, "storage_destination": {kind: {**mysql, "max_parallel": 64}}}
        )
    )
    assert move.migrate().code == OK
    assert db.read() == RECORDS


def test_json_form_with_lists_as_vault_takes_it(home):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    move.file.write_text(
        json.dumps(
            {
                "storage_source": [{"file": [{"path": str(home / "src")}]}],
                "storage_destination": [{"file": [{"path": str(home / "dst")}]}],
            }
        )
    )
    done = move.migrate()
    assert done.code == OK, done
    assert tree_read(home / "dst") == RECORDS


def test_type_in_capitals_as_vault_takes_it(home):
    tree_fill(home / "src", RECORDS)
    move = Move(home, ("FILE", {"path": str(home / "src")}), ("File", {"path": str(home / "dst")}))
    assert move.migrate().code == OK
    assert tree_read(home / "dst") == RECORDS


def test_config_from_the_environment_and_missing(home):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    done = move.run("operator", "migrate")
    assert done.code == USAGE and "Must specify exactly one config path using -config" in done.err
    assert move.run("operator", "migrate", BAO_MIGRATE_CONFIG_PATH=str(move.file)).code == OK
    assert tree_read(home / "dst") == RECORDS


def test_usage_and_plan_errors_have_their_codes(home):
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    assert move.migrate("-no-such-flag").code == USAGE
    assert move.migrate("-max-parallel", "0").code == USAGE
    assert move.migrate("-log-level", "loud").code == USAGE
    assert move.migrate("-log-format", "xml").code == USAGE
    move.file.write_text('storage_source "file" { path = "/a" }\n')
    done = move.migrate()
    assert done.code == PLAN and 'exactly one "storage_destination" block is required' in done.err
    assert snapshot(home / "dst") is None


def test_unknown_word_names_file_line_column_and_the_nearest(home):
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    move.file.write_text('storage_source "file" {\n  path = "/a"\n}\nstorage_destination "file" {\n  paht = "/b"\n}\n')
    done = move.migrate()
    assert done.code == PLAN
    assert f"{move.file}:5:3: " in done.err and "'paht'" in done.err and "did you mean 'path'" in done.err, done


def test_unknown_word_in_json_names_file_line_column(home):
    move = Move(home, tree(home / "src"), tree(home / "dst"), name="migrate.json")
    move.file.write_text(
        '{\n  "storage_source": {"file": {"path": "/a"}},\n  "storage_destination": {\n    "file": {"paht": "/b"}\n  }\n}\n'
    )
    done = move.migrate()
    assert done.code == PLAN
    assert f"{move.file}:4:14: " in done.err and "'paht'" in done.err and "did you mean 'path'" in done.err, done


def test_log_format_json_each_line_parses(home, db):
    tree_fill(home / "src", with_private(RECORDS))
    db.fill({b"extra/key": b"1"})
    move = Move(home, tree(home / "src"), db.stanza())
    for level in ("trace", "info"):
        done = move.migrate("-log-format", "json", "-log-level", level)
        assert done.code == OK
        lines = [json.loads(line) for line in done.err.splitlines()]
        assert all({"@level", "@message", "@timestamp"} <= set(line) for line in lines), done
        if level == "trace":
            assert any("extra/key" in str(line) for line in lines), done
    tree_put(home / "src", b"late", b"x")
    done = move.migrate("-log-format=json")
    assert done.code == MISMATCH
    last = [json.loads(line) for line in done.err.splitlines()]
    assert any(line["@level"] == "error" for line in last), done


def test_log_level_takes_effect(home):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    loud = move.migrate("-log-level", "trace")
    assert loud.code == OK and re.search(r"\[(DEBUG|TRACE)\]", loud.err), loud
    quiet = move.migrate("-log-level", "error")
    assert quiet.code == OK and not re.search(r"\[(DEBUG|TRACE|INFO|WARN)\b", quiet.err), quiet
    by_env = move.run("operator", "migrate", "-config", str(move.file), VAULT_LOG_LEVEL="debug")
    assert "[DEBUG]" in by_env.err, by_env


@pytest.mark.parametrize("lanes", ["1", "7", "100000"])
def test_max_parallel(home, lanes):
    tree_fill(home / "src", MANY)
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    done = move.migrate("-max-parallel", lanes)
    assert done.code == OK, done
    assert tree_read(home / "dst") == MANY


# --- the marker ---


def test_marker_bytes_on_both_sides_while_it_runs_and_gone_after(home, db):
    tree_fill(home / "src", with_private(RECORDS))
    move = Move(home, tree(home / "src"), db.stanza())
    process = move.stopped("copy:2")
    here, there = tree_read(home / "src", running=True)[MARKER], db.read()[MARKER]
    go_on(process)
    assert move.end(process).code == OK
    assert here == there and STAMP.fullmatch(here), (here, there)
    assert db.read() == RECORDS
    assert tree_read(home / "src") == with_private(RECORDS)


def test_marker_is_the_source_tables_own_row(home, db):
    db.fill(with_private(RECORDS))
    move = Move(home, db.stanza(), tree(home / "dst"))
    process = move.stopped("copy:1")
    here, there = db.read()[MARKER], tree_read(home / "dst", running=True)[MARKER]
    raw = (home / "dst/core/_migration").read_bytes()
    go_on(process)
    assert move.end(process).code == OK
    assert here == there and STAMP.fullmatch(here)
    assert re.fullmatch(rb'\{"Value":"[A-Za-z0-9+/]+=*"\}\n', raw), raw
    assert db.read() == with_private(RECORDS)
    assert tree_read(home / "dst") == RECORDS


def test_marker_is_first_on_the_destination_and_last_off_it(home):
    """Killed at every write of the journal: no moment has the source's marker without the destination's."""
    tree_fill(home / "src", {b"a": b"1", b"b": b"2"})
    before = snapshot(home / "src")
    seen, at = [], 0
    while True:
        at += 1
        assert at < 400
        move = Move(home, tree(home / "src"), tree(home / "dst"))
        done = move.migrate("-max-parallel", "1", RH_CRASH_AT=f"journal:{at}")
        here = (home / "src/core/_migration").exists()
        there = (home / "dst/core/_migration").exists()
        assert there or not here, f"killed at journal:{at}: only the source is marked"
        if not seen or seen[-1] != (here, there):
            seen.append((here, there))
        again = move.migrate("-max-parallel", "1")
        assert again.code == OK, again
        assert tree_read(home / "dst") == {b"a": b"1", b"b": b"2"}
        assert {k: v for k, v in snapshot(home / "src").items() if k != b"core"} == before
        subprocess.run(["rm", "-rf", home / "dst", move.state, home / "src/core"], check=True)
        if done.code == OK:
            break
        assert done.code == KILLED, done
    assert seen == [(False, False), (False, True), (True, True), (False, False)] or seen == [
        (False, False), (False, True), (True, True), (False, True), (False, False)], seen


@pytest.mark.parametrize("side", ["source", "destination"])
def test_marker_of_another_migration_is_refused_and_left(home, db, side):
    tree_fill(home / "src", with_private(RECORDS))
    if side == "source":
        tree_put(home / "src", MARKER, OTHERS)
    else:
        db.fill({MARKER: OTHERS})
    before, table = snapshot(home / "src"), db.read()
    move = Move(home, tree(home / "src"), db.stanza())
    for flags in ((), ("--overwrite",)):
        done = move.migrate(*flags)
        assert done.code == LOCKED, done
        assert "storage migration in progress" in done.err and "2018-09-20T14:23:23.656-07:00" in done.err
        assert snapshot(home / "src") == before and db.read() == table


def test_two_migrations_of_one_source_exclude_each_other(home, db):
    tree_fill(home / "src", RECORDS)
    first = Move(home, tree(home / "src"), db.stanza())
    process = first.stopped("copy:1")
    (home / "second").mkdir()
    second = Move(home / "second", tree(home / "src"), tree(home / "dst"))
    done = second.migrate()
    assert done.code == LOCKED, done
    assert snapshot(home / "dst") is None
    go_on(process)
    assert first.end(process).code == OK
    assert second.migrate().code == OK
    assert tree_read(home / "dst") == RECORDS


def test_a_run_beside_a_run_of_the_same_file_is_refused(home):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    process = move.stopped("copy:1")
    beside = subprocess.run([REHOME, "operator", "migrate", "-config", move.file], env=move.env(), capture_output=True)
    assert beside.returncode == LOCKED, beside
    go_on(process)
    assert move.end(process).code == OK
    assert tree_read(home / "dst") == RECORDS


def test_reset_removes_the_sources_marker_only(home, db):
    tree_fill(home / "src", RECORDS)
    tree_put(home / "src", MARKER, OTHERS)
    db.fill({MARKER: OTHERS, b"k": b"v"})
    move = Move(home, tree(home / "src"), db.stanza())
    for _ in range(2):  # also when there is none any more
        done = move.migrate("-reset")
        assert done.code == OK and done.out == "Success! Migration lock reset (if it was set).\n", done
        assert tree_read(home / "src") == RECORDS
        assert db.read() == {MARKER: OTHERS, b"k": b"v"}


def test_reset_needs_no_destination(home):
    tree_fill(home / "src", RECORDS)
    tree_put(home / "src", MARKER, OTHERS)
    nobody = ("mysql", {"username": "u", "password": "p", "address": "127.0.0.1:1"})
    move = Move(home, tree(home / "src"), nobody)
    assert move.migrate("--reset").code == OK
    assert tree_read(home / "src") == RECORDS


def test_vaults_marker_written_meanwhile_is_not_overwritten(home):
    """Another tool sets its marker between our look and ours: create-only says so."""
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    process, at = None, 0
    while process is None:  # stop somewhere after the survey, before the source is marked
        at += 1
        process = move.stopped(f"journal:{at}")
        if not (home / "dst/core/_migration").exists():
            go_on(process)
            move.end(process)
            subprocess.run(["rm", "-rf", home / "dst", move.state], check=True)
            process = None
            assert at < 100
    assert not (home / "src/core/_migration").exists()
    tree_put(home / "src", MARKER, OTHERS)
    go_on(process)
    done = move.end(process)
    assert done.code == LOCKED, done
    assert tree_read(home / "src") == {**RECORDS, MARKER: OTHERS}
    assert set(tree_read(home / "dst")) <= {MARKER}


# --- what is copied, in which order ---


def test_sorted_order(home, db):
    tree_fill(home / "src", with_private(MANY))
    watch_puts(db)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate("-max-parallel", "1").code == OK
    keys = [key for _, key in puts(db)]
    assert keys == sorted(MANY)


def test_sorted_order_in_each_of_the_parallel_ranges(home, db):
    tree_fill(home / "src", with_private(MANY))
    watch_puts(db)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate("-max-parallel", "4").code == OK
    lanes = {}
    for connection, key in puts(db):
        lanes.setdefault(connection, []).append(key)
    assert sorted(key for keys in lanes.values() for key in keys) == sorted(MANY)
    assert len(lanes) > 1
    assert all(keys == sorted(keys) for keys in lanes.values())


def test_start_leaves_out_what_sorts_before(home, db):
    records = {b"a": b"1", b"a-b": b"2", b"a/x": b"3", b"b/k": b"4", b"b0": b"5", b"c/d/e": b"6"}
    tree_fill(home / "src", records)
    for start in (b"a/x", b"b/", b"b/k", b"b/z", b"zzz"):
        db.fresh()
        subprocess.run(["rm", "-rf", home / "state"], check=True)
        move = Move(home, tree(home / "src"), db.stanza())
        done = move.migrate("-start", start.decode())
        assert done.code == OK, done
        assert db.read() == {k: v for k, v in records.items() if k >= start}, start


def test_start_given_later_begins_a_new_pass(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate("-start", "logical/08", RH_CRASH_AT="copy:3").code == KILLED
    assert move.migrate().code == OK
    assert db.read() == RECORDS


def test_every_key_is_counted(home, db):
    tree_fill(home / "src", with_private(RECORDS))
    db.fill({b"logical/00/00000": b"old", b"other": b"x"})
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate()
    assert done.code == OK
    assert f"{len(RECORDS)} records" in done.out, done
    report = move.report()["moves"][0]
    counts = report["counts"]
    assert counts["expected"] == counts["records"] == len(RECORDS)
    assert counts["bytes"] == sum(len(k) + len(v) for k, v in RECORDS.items())
    assert counts["written"] + counts["replaced"] + counts["kept"] == len(RECORDS)
    assert counts["replaced"] == 1 and counts["extra"] == 1
    assert [report["digests"][name]["records"] for name in "abc"] == [len(RECORDS)] * 3


def test_existing_keys_are_overwritten_as_documented_and_extra_ones_reported_and_left(home, db):
    tree_fill(home / "src", RECORDS)
    old = {b"core/mounts": b"old mounts", b"zz/extra": b"stays", b"extra": b"too"}
    db.fill(old)
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate()
    assert done.code == OK, done
    for key in ("zz/extra", "extra"):
        assert re.search(rf"only on the destination.*{key}", done.err), done
    assert db.read() == {**old, **RECORDS}
    assert move.run("rollback", str(move.file)).code == OK
    assert db.read() == old


def test_empty_source(home, db):
    (home / "src").mkdir()
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate()
    assert done.code == OK, done
    assert db.read() == {}


def test_missing_source_is_refused_and_nothing_made(home, db):
    move = Move(home, tree(home / "nowhere"), db.stanza())
    done = move.migrate()
    assert done.code == REFUSED, done
    assert db.read() is None and snapshot(home / "nowhere") is None


# --- refusals ---


@pytest.mark.parametrize("key", [b"core/seal-config", b"core/keyring"])
@pytest.mark.parametrize("kind", ["mysql", "file"])
def test_initialised_destination_is_refused_unless_overwrite(home, db, key, kind):
    tree_fill(home / "src", RECORDS)
    held = {key: b"somebody's", b"logical/x": b"y"}
    if kind == "mysql":
        db.fill(held)
    else:
        tree_fill(home / "dst", held)
    look = db.read if kind == "mysql" else lambda: tree_read(home / "dst")
    move = Move(home, tree(home / "src"), db.stanza() if kind == "mysql" else tree(home / "dst"))
    done = move.migrate()
    assert done.code == REFUSED, done
    assert key.decode() in done.err and "--overwrite" in done.err
    assert look() == held and tree_read(home / "src") == RECORDS
    assert move.migrate("--overwrite").code == OK
    assert look() == {**held, **RECORDS}
    assert move.run("rollback", str(move.file)).code == OK
    assert look() == held


def spellings(home):
    """The folder `src`, named in other ways."""
    (home / "sub").mkdir()
    os.symlink(home / "src", home / "link")
    os.symlink("link", home / "link2")
    src = str(home / "src")
    return [src, "src", "./src", "sub/../src", src + "/", src + "//", src.replace("/src", "//src"), "/" + src,
            str(home / "link"), "link2", "link2/", f"/proc/self/root{src}"]


def test_source_equal_to_destination_is_refused_however_spelled(home):
    tree_fill(home / "src", RECORDS)
    names = spellings(home)
    before = snapshot(home / "src")
    for name in names:
        for a, b in ((str(home / "src"), name), (name, str(home / "src"))):
            done = Move(home, tree(a), tree(b)).migrate("--overwrite")
            assert done.code == REFUSED and "are the same store" in done.err, (name, done)
            assert snapshot(home / "src") == before


def test_a_bind_mount_of_the_source_is_the_source(home):
    tree_fill(home / "src", RECORDS)
    (home / "bound").mkdir()
    try:
        if subprocess.run(["mount", "--bind", home / "src", home / "bound"], capture_output=True).returncode:
            pytest.skip("no right to mount")
        done = Move(home, tree(home / "src"), tree(home / "bound")).migrate("--overwrite")
    finally:
        subprocess.run(["umount", home / "bound"], capture_output=True)
    assert done.code == REFUSED and "are the same store" in done.err, done
    assert tree_read(home / "src") == RECORDS


def test_nested_folders_are_refused(home):
    tree_fill(home / "src", RECORDS)
    os.symlink(home / "src", home / "link")
    before = snapshot(home / "src")
    for a, b in (
        (home / "src", home / "src/logical"),
        (home / "src", home / "src/new/deep"),
        (home / "src", home / "link/new"),
        (home / "src/logical", home / "src"),
    ):
        done = Move(home, tree(a), tree(b)).migrate("--overwrite")
        assert done.code == REFUSED and "overlap" in done.err, (a, b, done)
        assert snapshot(home / "src") == before


def test_neighbours_with_a_common_prefix_are_not_nested(home):
    tree_fill(home / "src", RECORDS)
    assert Move(home, tree(home / "src"), tree(home / "src2")).migrate().code == OK
    assert tree_read(home / "src2") == RECORDS


def test_same_table_is_refused_however_spelled(home, db):
    db.fill(RECORDS)
    socket = {"username": "root", "socket": db.env["MYSQL_SOCKET"], "password": ""}
    others = [
        db.stanza(address=f"localhost:{db.port}"),
        db.stanza(database="vault", table="vault"),
        db.stanza(database="", table=""),
        ("mysql", socket),
    ]
    for other in others:
        done = Move(home, db.stanza(), other).migrate("--overwrite")
        assert done.code == REFUSED and "are the same store" in done.err, (other, done)
        assert db.read() == RECORDS


def test_same_table_by_capitals_where_the_server_folds_names(home, server):
    one = server.another("--option=lower-case-table-names=1")
    try:
        one.fill(RECORDS)
        done = Move(home, one.stanza(), one.stanza(database="VAULT", table="Vault")).migrate("--overwrite")
        assert done.code == REFUSED and "are the same store" in done.err, done
        assert one.read() == RECORDS
    finally:
        one.stop()


def test_two_tables_of_one_server(home, db):
    db.fill(RECORDS)
    assert Move(home, db.stanza(), db.stanza(table="Vault")).migrate().code == OK
    assert db.read("Vault") == RECORDS == db.read()


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("lock", ["core/lock/vault/vault", "core/lock//", "core/lock//vault", "core/lock/vault/"])
def test_live_owner_is_refused(home, db, side, lock):
    db.fill(RECORDS if side == "source" else {})
    if side == "destination":
        tree_fill(home / "tree", RECORDS)
    pair = (db.stanza(), tree(home / "tree")) if side == "source" else (tree(home / "tree"), db.stanza())
    move = Move(home, *pair)
    before, table = snapshot(home / "tree"), db.read()
    holder = hold_lock(db, lock)
    try:
        done = move.migrate()
    finally:
        let_go(holder)
    assert done.code == LOCKED and "a Vault is active" in done.err, done
    assert snapshot(home / "tree") == before and db.read() == table
    deadline = time.monotonic() + 20
    while (again := move.migrate()).code == LOCKED and time.monotonic() < deadline:
        time.sleep(0.2)  # the server notices the closed connection soon
    assert again.code == OK, again


def test_a_plan_of_rehomes_own_is_sent_to_its_command(home):
    move = Move(home, tree(home / "src"), tree(home / "dst"))
    move.file.write_text('move "x" {\n source "file" { path = "/a" }\n destination "file" { path = "/b" }\n}\n')
    done = move.migrate()
    assert done.code == PLAN and "rehome run" in done.err


# --- interruption and resuming ---


def test_interrupted_by_sigint_exits_7_and_resumes(home, db):
    tree_fill(home / "src", MANY)
    watch_puts(db)
    move = Move(home, tree(home / "src"), db.stanza())
    process = move.stopped("copy:3", "-max-parallel", "1")
    process.send_signal(signal.SIGINT)
    go_on(process)
    done = move.end(process)
    assert done.code == INTERRUPTED, done
    first = len(puts(db))
    assert 0 < first < len(MANY)
    assert STAMP.fullmatch(db.read()[MARKER]) and db.read()[MARKER] == tree_read(home / "src", running=True)[MARKER]
    assert move.migrate("-max-parallel", "1").code == OK
    keys = [key for _, key in puts(db)]
    assert keys == sorted(MANY), "each key was put once, in order"
    assert db.read() == MANY and tree_read(home / "src") == MANY


@pytest.mark.parametrize("point", ["copy:4", "copy:9", "undo:6", "undo:11"])
def test_resume_after_kill_doesnt_begin_anew(home, db, point):
    tree_fill(home / "src", MANY)
    watch_puts(db)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate("-max-parallel", "2", RH_CRASH_AT=point).code == KILLED
    first = [key for _, key in puts(db)]
    assert 0 < len(first) < len(MANY)
    marker = db.read()[MARKER]
    done = move.migrate("-max-parallel", "2")
    assert done.code == OK, done
    keys = [key for _, key in puts(db)]
    assert sorted(keys) == sorted(MANY), "each key was put once over both runs"
    assert db.read() == MANY and tree_read(home / "src") == MANY
    assert STAMP.fullmatch(marker)


def test_resume_mysql_to_file_after_kill(home, db):
    db.fill(MANY)
    move = Move(home, db.stanza(), tree(home / "dst"))
    assert move.migrate("-max-parallel", "2", RH_CRASH_AT="copy:9").code == KILLED
    first = {k: os.stat(os.path.join(home / "dst", os.fsdecode(k.replace(b"/", b"/_")))).st_mtime_ns
             for k in tree_read(home / "dst", running=True) if k != MARKER}
    assert 0 < len(first) < len(MANY)
    assert move.migrate("-max-parallel", "2").code == OK
    assert tree_read(home / "dst") == MANY
    same = [k for k, t in first.items()
            if os.stat(os.path.join(home / "dst", os.fsdecode(k.replace(b"/", b"/_")))).st_mtime_ns == t]
    assert len(same) >= len(first) - 1024, "what was copied before the kill wasn't written anew"


def test_other_spelling_of_the_file_resumes_the_same_move(home, db):
    tree_fill(home / "src", MANY)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate(RH_CRASH_AT="copy:9").code == KILLED
    os.symlink(home / "src", home / "link")
    other = Move(home, tree("link"), db.stanza(address=f"localhost:{db.port}", table="vault"), name="other.hcl")
    done = other.migrate()
    assert done.code == OK, done
    assert db.read() == MANY and tree_read(home / "src") == MANY


# --- verification ---


def spoil(db):
    """The server keeps something else for one key than it was told."""
    db.make_table()
    db.sql(
        "CREATE TRIGGER vault.spoil BEFORE INSERT ON vault.vault FOR EACH ROW "
        "SET NEW.vault_value = IF(NEW.vault_key = 'core/mounts', 'spoilt', NEW.vault_value)"
    )


def test_verification_is_on_by_default_and_names_what_differs(home, db):
    tree_fill(home / "src", RECORDS)
    spoil(db)
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate()
    assert done.code == MISMATCH and "core/mounts" in done.err and "Success" not in done.out, done
    status = move.run("status", str(move.file))
    assert status.code == OK and "failed" in status.out, status
    db.sql("DROP TRIGGER vault.spoil")
    assert move.run("verify", "--repair", str(move.file)).code == OK
    assert {k: v for k, v in db.read().items() if k != MARKER} == RECORDS


def test_no_verify_is_said_in_the_report(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate("--no-verify")
    assert done.code == OK and "verified" not in done.out.replace("not verified", "").replace("verified=no", ""), done
    assert db.read() == RECORDS
    assert "not verified" in done.out, done


def test_the_same_command_again_compares_again(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate().code == OK
    assert move.migrate().code == OK
    db.sql("UPDATE vault.vault SET vault_value = 'x' WHERE vault_key = 'core/keyring'")
    done = move.migrate()
    assert done.code == MISMATCH and "core/keyring" in done.err, done


def test_the_source_is_never_changed(home, db):
    tree_fill(home / "src", with_private(RECORDS))
    before = snapshot(home / "src")
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate(RH_CRASH_AT="copy:3").code == KILLED
    assert move.migrate().code == OK
    assert move.run("rollback", str(move.file)).code == OK
    assert snapshot(home / "src") == before
    assert db.read() is None


# --- the other commands on the same file ---


def test_status_verify_report_rollback_on_the_migrate_file(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    new = move.run("status", str(move.file))
    assert new.code == OK and "nothing was run" in (new.out + new.err), new
    assert move.migrate(RH_CRASH_AT="copy:3").code == KILLED
    status = move.run("status", str(move.file))
    assert status.code == OK and "interrupted" in status.out, status
    assert move.migrate().code == OK
    status = move.run("status", "--json", str(move.file))
    assert status.code == OK and json.loads(status.out), status
    verify = move.run("verify", str(move.file))
    assert verify.code == OK, verify
    report = move.report()
    assert report["moves"][0]["digests"]["equal"] is True
    assert move.run("rollback", str(move.file)).code == OK
    assert db.read() is None, "the database was made by us and is gone"
    assert move.migrate().code == OK
    assert db.read() == RECORDS


def test_finish_on_the_migrate_file_ends_the_way_back(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate().code == OK
    assert move.run("finish", str(move.file)).code == OK
    done = move.run("rollback", str(move.file))
    assert done.code == REFUSED and "finished" in done.err, done
    assert db.read() == RECORDS


def test_recover_on_the_migrate_file_clears_both_markers(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate(RH_CRASH_AT="copy:3").code == KILLED
    assert MARKER in db.read() and MARKER in tree_read(home / "src", running=True)
    assert move.run("recover", str(move.file)).code == OK
    assert MARKER not in db.read() and tree_read(home / "src") == RECORDS
    assert move.migrate().code == OK
    assert db.read() == RECORDS


def test_check_on_the_migrate_file_writes_nothing(home, db):
    tree_fill(home / "src", RECORDS)
    before = snapshot(home / "src")
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.run("check", str(move.file))
    assert done.code == OK, done
    assert snapshot(home / "src") == before and db.read() is None


def test_a_password_appears_nowhere(home, db):
    tree_fill(home / "src", RECORDS)
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate("-log-level", "trace")
    assert done.code == OK
    report = move.run("report", str(move.file))
    for text in (done.out, done.err, report.out):
        assert db.password not in text
    for folder, _, files in os.walk(move.state):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                assert db.password.encode() not in file.read(), name


def test_wrong_password_is_the_destinations_failure(home, db):
    tree_fill(home / "src", RECORDS)
    before = snapshot(home / "src")
    done = Move(home, tree(home / "src"), db.stanza(password="wrong")).migrate()
    assert done.code == DESTINATION, done
    assert snapshot(home / "src") == before
