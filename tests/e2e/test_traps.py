# SPDX-License-Identifier: Apache-2.0
"""The traps of Vault's file and mysql layouts. Each is either carried exactly, or refused by the key's name (exit 8)
before anything is written: no marker, no folder, no table is left behind."""
import base64
import hashlib
import json
import os
import socket
import subprocess
import time

import pytest

from migratelib import (
    DESTINATION, MARKER, OK, REFUSED, SOURCE,
    Move, Proxy, snapshot, tree, tree_file, tree_fill, tree_put, tree_read,
)
from migratelib import db, home, server  # noqa: F401 (fixtures)

PLAIN = {b"core/mounts": b"m", b"logical/a": b"1", b"logical/b": b"2"}


def shown(key):
    """How a message writes a key: printable UTF-8 as it is, the rest escaped byte by byte."""
    text = key.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() and c != "\\" else "".join(f"\\x{x:02x}" for x in c.encode()) for c in text)


def refused(done, *keys):
    assert done.code == REFUSED, done
    for key in keys:
        assert (shown(key) if isinstance(key, bytes) else key) in done.out + done.err, (key, done)
    assert "Success" not in done.out


class Sides:
    """Checks that a refusal left both sides as they were."""

    def __init__(self, folders, db=None, tables=("vault",)):
        self.folders, self.db, self.tables = folders, db, tables
        self.before = self.look()

    def look(self):
        return [snapshot(path) for path in self.folders] + [self.db.read(table) for table in self.tables if self.db]

    def untouched(self):
        assert self.look() == self.before


def refuse_both(move, sides, *keys):
    """`check` and `operator migrate` both refuse, and neither writes."""
    refused(move.run("check", str(move.file)), *keys)
    sides.untouched()
    refused(move.migrate(), *keys)
    sides.untouched()
    refused(move.migrate("--overwrite"), *keys)
    sides.untouched()


def to_file(home, db, records, *keys):
    """A table that a folder can't hold: refused."""
    db.fill({**PLAIN, **records})
    refuse_both(Move(home, db.stanza(), tree(home / "dst")), Sides([home / "dst"], db), *keys)
    assert not (home / "dst").exists()


# --- LIKE wildcards and backslashes (mysql) ---

LIKE = {
    b"a_b/x": b"1", b"axb/k": b"2", b"a_b/y/z": b"3", b"axb/y/w": b"4", b"a%b/1": b"5", b"a%%b/2": b"6", b"a/b": b"7",
    b"a\\b/1": b"8", b"a\\\\b/2": b"9", b"a\\_b/3": b"10", b"a\\%b/4": b"11", b"_/_": b"12", b"%/%": b"13", b"\\/\\": b"14",
    b"q'q/\"x\"": b"15", b"`t`/;--": b"16", b"tail\\": b"17", b"tail\\/x": b"18", b"k ": b"19", b"k": b"20", b"k  /x": b"21",
    b"\\0/\\n": b"22", b"UP/case": b"23", b"up/case": b"24", b"Up/Case": b"25",
}


def test_like_wildcards_and_backslashes_from_mysql_to_files(home, db):
    records = {key: value for key, value in LIKE.items() if key != b"_/_"}
    db.fill(records)
    done = Move(home, db.stanza(), tree(home / "dst")).migrate()
    assert done.code == OK, done
    assert tree_read(home / "dst") == records == db.read()


def test_like_wildcards_and_backslashes_from_files_to_mysql_and_back(home, db):
    tree_fill(home / "src", LIKE)
    assert Move(home, tree(home / "src"), db.stanza()).migrate().code == OK
    assert db.read() == LIKE
    assert Move(home, db.stanza(), tree(home / "back"), name="back.hcl").migrate().code == OK
    assert tree_read(home / "back") == LIKE


def test_like_wildcards_and_backslashes_between_tables_with_start(home, db):
    db.fill(LIKE)
    start = b"a_b/"
    assert Move(home, db.stanza(), db.stanza(table="other")).migrate("-start", start.decode()).code == OK
    assert db.read("other") == {key: value for key, value in LIKE.items() if key >= start}


# --- finds in a file tree that are no records ---


def finds(home):
    """Everything that is not a record, each under the path that a message has to name."""
    src = os.fsencode(home / "src")
    tree_fill(home / "src", PLAIN)

    def at(name):
        path = os.path.join(src, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def temp(name):
        with open(at(name), "wb") as out:
            out.write(b'{"Value":"bGVmdA=="}\n')

    def half(name):
        with open(at(name), "wb") as out:
            out.write(b'{"Val')

    def empty(name):
        with open(at(name), "wb"):
            pass

    def sock(name):
        one = socket.socket(socket.AF_UNIX)
        one.bind(at(name))
        one.close()

    return {
        "temp": (b"logical/_k.temp", temp),
        "half-temp": (b"logical/_half.temp", half),
        "foreign": (b"logical/README", temp),
        "foreign-hidden": (b".lock", temp),
        "foreign-underscore": (b"logical/_", temp),
        "empty": (b"logical/_void", empty),
        "link-to-file": (b"logical/_link", lambda name: os.symlink("_a", at(name))),
        "link-dangling": (b"logical/_gone", lambda name: os.symlink("nowhere", at(name))),
        "link-to-folder": (b"linked", lambda name: os.symlink("logical", at(name))),
        "link-loop": (b"logical/loop", lambda name: os.symlink(".", at(name))),
        "fifo": (b"logical/_pipe", lambda name: os.mkfifo(at(name))),
        "socket": (b"logical/_sock", sock),
    }


KINDS = ["temp", "half-temp", "foreign", "foreign-hidden", "foreign-underscore", "empty", "link-to-file", "link-dangling",
         "link-to-folder", "link-loop", "fifo", "socket"]


def find_in(home, kind):
    name, make = finds(home)[kind]
    make(name)
    return name


def key_in_message(name, kind):
    """Messages name the record where it would be one, else the file."""
    folder, slash, last = name.rpartition(b"/")
    return folder + slash + last[1:] if kind == "empty" else name


@pytest.mark.parametrize("kind", KINDS)
def test_finds_are_refused_by_default(home, db, kind):
    name = find_in(home, kind)
    move = Move(home, tree(home / "src"), db.stanza())
    refuse_both(move, Sides([home / "src"], db), key_in_message(name, kind))
    assert db.read() is None


@pytest.mark.parametrize("kind", KINDS)
def test_finds_are_passed_over_with_a_warning_where_asked(home, db, kind):
    name = find_in(home, kind)
    before = snapshot(home / "src")
    done = Move(home, tree(home / "src", leftovers="skip"), db.stanza()).migrate()
    assert done.code == OK, done
    assert shown(key_in_message(name, kind)) in done.err, "never skipped silently"
    assert db.read() == PLAIN
    assert snapshot(home / "src") == before, "an empty file stays, though Vault would delete it"


def test_left_over_temp_is_copied_as_vault_does_where_asked(home, db):
    find_in(home, "temp")
    done = Move(home, tree(home / "src", leftovers="copy"), db.stanza()).migrate()
    assert done.code == OK, done
    assert db.read() == {**PLAIN, b"logical/k.temp": b"left"}


def test_left_over_temp_that_is_cut_off_is_not_copied(home, db):
    find_in(home, "half-temp")
    before = snapshot(home / "src")
    done = Move(home, tree(home / "src", leftovers="copy"), db.stanza()).migrate()
    assert done.code not in (OK, None) and "half.temp" in done.err, done
    assert {k: v for k, v in snapshot(home / "src").items() if b"migration" not in k and b"rehome" not in k} == before


@pytest.mark.parametrize("kind", ["foreign", "empty", "link-to-file", "fifo"])
def test_copy_option_is_for_temp_files_only(home, db, kind):
    find_in(home, kind)
    done = Move(home, tree(home / "src", leftovers="copy"), db.stanza()).migrate()
    assert done.code == OK, done
    assert db.read() == PLAIN


def test_finds_in_the_destination_are_refused_too(home):
    tree_fill(home / "src", PLAIN)
    tree_fill(home / "dst", {b"logical/k": b"old"})
    with open(home / "dst/logical/_k.temp", "wb") as out:
        out.write(b"x")
    refuse_both(Move(home, tree(home / "src"), tree(home / "dst")), Sides([home / "src", home / "dst"]), b"logical/_k.temp")


def test_a_key_ending_in_temp_is_refused_for_files(home, db):
    to_file(home, db, {b"logical/k.temp": b"x"}, b"logical/k.temp")


def test_a_killed_runs_temporaries_are_no_find(home, db):
    """What a kill left of ours in a folder doesn't stop a later move from it."""
    tree_fill(home / "src", {b"k%04d" % i: b"v" for i in range(2000)})
    first = Move(home, tree(home / "src"), tree(home / "dst"))
    at, left = 0, []
    while not left:
        at += 1
        assert at < 60
        assert first.migrate(RH_CRASH_AT=f"file:{at}").code < 0
        left = list((home / "dst/.rehome-tmp").glob("t-*")) if (home / "dst/.rehome-tmp").exists() else []
    assert first.run("rollback", str(first.file)).code == OK
    assert first.migrate(RH_CRASH_AT=f"file:{at}").code < 0
    assert first.run("recover", str(first.file)).code == OK
    second = Move(home, tree(home / "dst"), db.stanza(), name="second.hcl")
    done = second.migrate()
    assert done.code == OK, done
    assert db.read() == {k: v for k, v in tree_read(home / "dst", running=True).items() if k != MARKER}


# --- what is in a file ---


def test_older_whole_entry_format_is_read(home, db):
    def entry(**members):
        return json.dumps(members).encode() + b"\n"

    tree_fill(home / "src", PLAIN)
    value = base64.b64encode(b"old \x00\xff value").decode()
    tree_put(home / "src", b"old/one", b"", entry(Key="old/one", Value=value))
    tree_put(home / "src", b"old/two", b"", entry(Value=value, Key="old/two", SealWrap=False, ValueHash=None))
    tree_put(home / "src", b"old/three", b"", b' { "Key" : "x\\u0041" ,\n "Value" : "' + value.replace("/", "\\/").encode() + b'" }')
    tree_put(home / "src", b"old/null", b"", entry(Key="old/null", Value=None))
    done = Move(home, tree(home / "src"), db.stanza()).migrate()
    assert done.code == OK, done
    old = b"old \x00\xff value"
    expected = {**PLAIN, b"old/one": old, b"old/two": old, b"old/three": old, b"old/null": None}
    assert db.read() == expected
    assert Move(home, db.stanza(), tree(home / "dst"), name="back.hcl").migrate().code == OK
    assert tree_read(home / "dst") == expected


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"Value":"%%%"}', b'{"Value":5}', b'{"Key":"x"}', b"\x00" * 40, b'{"Value":"AA=="}x'])
def test_broken_content_is_an_error_by_the_keys_name(home, db, content):
    tree_fill(home / "src", PLAIN)
    tree_put(home / "src", b"logical/broken", b"", content)
    before = snapshot(home / "src")
    move = Move(home, tree(home / "src"), db.stanza())
    done = move.migrate()
    assert done.code == SOURCE and "logical/broken" in done.err and "Success" not in done.out, done
    assert b"logical/broken" not in (db.read() or {})
    assert move.run("rollback", str(move.file)).code == OK
    assert snapshot(home / "src") == before and db.read() is None


def test_values_of_every_byte_and_length(home, db):
    records = {b"len/%03d" % n: bytes((n * 7 + i) & 255 for i in range(n)) for n in range(260)}
    tree_fill(home / "src", records)
    assert Move(home, tree(home / "src"), db.stanza()).migrate().code == OK
    assert db.read() == records
    assert Move(home, db.stanza(), tree(home / "back"), name="back.hcl").migrate().code == OK
    assert tree_read(home / "back") == records


def test_null_value_is_carried_between_tables(home, db):
    db.fill(PLAIN)
    db.sql("INSERT INTO vault.vault VALUES ('logical/null', NULL)")
    assert Move(home, db.stanza(), db.stanza(table="other")).migrate().code == OK
    assert db.read("other") == {**PLAIN, b"logical/null": None}


def test_null_value_travels_to_files_and_back(home, db):
    db.fill(PLAIN)
    db.sql("INSERT INTO vault.vault VALUES ('logical/null', NULL), ('logical/nothing', '')")
    assert Move(home, db.stanza(), tree(home / "dst")).migrate().code == OK
    assert (home / "dst/logical/_null").read_bytes() == b'{"Value":null}\n'
    assert (home / "dst/logical/_nothing").read_bytes() == b'{"Value":""}\n'
    assert Move(home, tree(home / "dst"), db.stanza(table="back"), name="back.hcl").migrate().code == OK
    assert db.read("back") == {**PLAIN, b"logical/null": None, b"logical/nothing": b""}


# --- names ---


def test_underscore_collision_in_the_source(home, db):
    to_file(home, db, {b"x/b": b"1", b"x/_b/c": b"2"}, b"x/_b/c", b"x/b")


def test_underscore_collision_at_the_top(home, db):
    to_file(home, db, {b"b": b"1", b"_b/c/d": b"2"}, b"_b/c/d")


@pytest.mark.parametrize("there,ours", [(b"x/b", b"x/_b/c"), (b"x/_b/c", b"x/b"), (b"x/_b/c/d", b"x/b")])
def test_underscore_collision_with_what_the_destination_holds(home, db, there, ours):
    db.fill({**PLAIN, ours: b"new"})
    tree_fill(home / "dst", {there: b"old"})
    refuse_both(Move(home, db.stanza(), tree(home / "dst")), Sides([home / "dst"], db), ours, there)


def test_underscores_that_do_not_collide_are_carried(home, db):
    records = {b"x/_b": b"1", b"x/b": b"2", b"_y/c": b"3", b"__y/_c": b"4", b"z/_q/r": b"5", b"a": b"6", b"a/b": b"7", b"a/_c": b"8"}
    db.fill(records)
    done = Move(home, db.stanza(), tree(home / "dst")).migrate()
    assert done.code == OK, done
    assert tree_read(home / "dst") == records
    assert Move(home, tree(home / "dst"), db.stanza(table="back"), name="back.hcl").migrate().code == OK
    assert db.read("back") == records


def test_longest_components_are_carried(home, db):
    records = {b"l/" + b"x" * 249: b"1", b"y" * 255 + b"/k": b"2", b"z" * 249: b"3"}
    db.fill(records)
    done = Move(home, db.stanza(), tree(home / "dst")).migrate()
    assert done.code == OK, done
    assert tree_read(home / "dst") == records


@pytest.mark.parametrize("key", [b"l/" + b"x" * 250, b"x" * 255, b"x" * 300, b"y" * 256 + b"/k", "ü".encode() * 125])
def test_over_long_components_are_refused_for_files(home, db, key):
    to_file(home, db, {key: b"x"}, key[:60])


@pytest.mark.parametrize(
    "key", [b"", b"nul\x00key", b"a//b", b"a/./b", b".", b"..", b"a/../b", b"x..y", b"../../escape", b"/rooted", b"ends/", b"/", b"./k"]
)
def test_keys_that_are_no_paths(home, db, key):
    to_file(home, db, {key: b"x"}, key)
    move = Move(home, db.stanza(), db.stanza(table="other"), name="tables.hcl")
    if key == b"":  # Vault has no such key, and it can't be told from "the first of all"
        refuse_both(move, Sides([], db, ("vault", "other")), "the key is empty")
        return
    done = move.migrate()
    assert done.code == OK, done
    assert db.read("other") == {**PLAIN, key: b"x"} == db.read()


def test_nothing_is_written_outside_of_the_folder(home, db):
    (home / "jail").mkdir()
    db.fill({b"../escape": b"x", b"a/../../escape": b"x"})
    done = Move(home, db.stanza(), tree(home / "jail/dst")).migrate()
    refused(done, b"../escape")
    assert list((home / "jail").iterdir()) == []
    assert not (home / "_escape").exists()


def test_names_that_are_not_ascii_are_carried(home, db):
    records = {
        "schlüssel/größe": b"1", "ключ/значение": b"2", "鍵/値": b"3", "e\u0301/x": b"4", "é/x": b"5", "🔑/🗝": b"6", "\u202eabc": b"7",
    }
    records = {key.encode(): value for key, value in records.items()}
    records |= {b"bad\xff\xfe/utf8\x80": b"8", b"c\x01\x1f\x7f/\n\t": b"9", b"\xc3": b"10", b" ": b"11", b"*?[]/$HOME": b"12"}
    db.fill(records)
    done = Move(home, db.stanza(), tree(home / "dst")).migrate("-log-level", "trace")
    assert done.code == OK, done
    assert tree_read(home / "dst") == records
    assert Move(home, tree(home / "dst"), db.stanza(table="back"), name="back.hcl").migrate().code == OK
    assert db.read("back") == records


def test_control_characters_of_a_key_never_reach_the_terminal(home, db):
    db.fill({b"\x1b]0;x\x07\x1b[2J/nul\x00": b"x", b"line\nbreak//x": b"x"})
    done = Move(home, db.stanza(), tree(home / "dst")).migrate()
    assert done.code == REFUSED
    assert "\x1b" not in done.err and "\x07" not in done.err and "\\x1b]0;x" in done.err, done


# --- the limits of a table ---


def long_key(size):
    """A key of that many bytes whose parts a folder can hold."""
    key = (b"p" * 200 + b"/") * 2
    return key + b"q" * (size - len(key))


def test_512_bytes_are_carried_to_mysql_and_513_refused(home, db):
    tree_fill(home / "src", {**PLAIN, long_key(512): b"x"})
    move = Move(home, tree(home / "src"), db.stanza())
    assert move.migrate().code == OK
    assert db.read() == {**PLAIN, long_key(512): b"x"}
    assert move.run("rollback", str(move.file)).code == OK
    db.fresh()
    tree_put(home / "src", long_key(513), b"y")
    refuse_both(move, Sides([home / "src"], db), long_key(513)[:100])
    assert db.read() is None


def test_a_table_with_shorter_keys(home, db):
    tree_fill(home / "src", {**PLAIN, b"k" * 33: b"x"})
    db.make_table(shape="(vault_key varbinary(32), vault_value mediumblob, PRIMARY KEY (vault_key))")
    refuse_both(Move(home, tree(home / "src"), db.stanza()), Sides([home / "src"], db), b"k" * 33)


def test_a_table_with_shorter_values(home, db):
    tree_fill(home / "src", {**PLAIN, b"big": b"x" * 65536, b"fits": b"y" * 65535})
    db.make_table(shape="(vault_key varbinary(512), vault_value blob, PRIMARY KEY (vault_key))")
    refuse_both(Move(home, tree(home / "src"), db.stanza()), Sides([home / "src"], db), b"big")
    os.unlink(home / "src/_big")
    assert Move(home, tree(home / "src"), db.stanza()).migrate().code == OK
    assert db.read()[b"fits"] == b"y" * 65535


MEBI16 = 1 << 24


def test_values_around_16_mib(home, server):
    one = server.another("--option=max-allowed-packet=64M")
    try:
        most = {**PLAIN, b"big": os.urandom(MEBI16 - 1)}
        tree_fill(home / "src", most)
        move = Move(home, tree(home / "src"), one.stanza())
        done = move.migrate()
        assert done.code == OK, done
        assert one.read() == most
        assert Move(home, one.stanza(), tree(home / "back"), name="back.hcl").migrate().code == OK
        assert tree_read(home / "back") == most
        assert move.run("rollback", str(move.file)).code == OK and one.read() is None
        for size in (MEBI16, MEBI16 + 1):
            tree_put(home / "src", b"big", b"x" * size)
            refuse_both(Move(home, tree(home / "src"), one.stanza(), name=f"{size}.hcl"), Sides([home / "src"], one), b"big")
    finally:
        one.stop()


@pytest.mark.parametrize("size", [MEBI16 - 1, MEBI16 - 200, MEBI16 - 40000, MEBI16 - 70000])
def test_values_near_the_servers_packet(home, db, size):
    """The default packet has 16 MiB: near it a value is carried exactly or refused by name beforehand."""
    records = {**PLAIN, b"big": os.urandom(size)}
    tree_fill(home / "src", records)
    sides = Sides([home / "src"], db)
    done = Move(home, tree(home / "src"), db.stanza()).migrate()
    if done.code == OK:
        assert db.read() == records
    else:
        refused(done, b"big")
        sides.untouched()


def test_values_above_the_servers_packet_are_refused(home, server):
    one = server.another("--option=max-allowed-packet=1M")
    try:
        tree_fill(home / "src", {**PLAIN, b"big": b"x" * (1 << 20)})
        refuse_both(Move(home, tree(home / "src"), one.stanza()), Sides([home / "src"], one), b"big")
        tree_put(home / "src", b"big", b"x" * (900 << 10))
        move = Move(home, tree(home / "src"), one.stanza())
        done = move.migrate()
        assert done.code == OK, done
        rows = one.sql("SELECT vault_key, SHA2(vault_value, 256) FROM vault.vault")
        value = hashlib.sha256(b"x" * (900 << 10)).hexdigest()
        assert len(rows) == len(PLAIN) + 1 and ["big", value] in rows
    finally:
        one.stop()


def test_a_longer_blob_of_another_table_is_refused_by_name(home, server):
    one = server.another("--option=max-allowed-packet=64M")
    try:
        shape = "(vault_key varbinary(512), vault_value longblob, PRIMARY KEY (vault_key))"
        one.fill({**PLAIN, b"big": b"z" * MEBI16}, "wide", shape)
        refuse_both(Move(home, one.stanza(table="wide"), one.stanza()), Sides([], one, ("wide", "vault")), b"big")
        done = Move(home, one.stanza(table="wide"), tree(home / "dst"), name="file.hcl").migrate()
        assert done.code == OK, done
        assert tree_read(home / "dst")[b"big"] == b"z" * MEBI16
    finally:
        one.stop()


# --- tables of another shape ---

SHAPES = {
    "collation": "(vault_key varchar(512) CHARACTER SET latin1 COLLATE latin1_swedish_ci, vault_value mediumblob, PRIMARY KEY (vault_key))",
    "utf8": "(vault_key varchar(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, vault_value mediumblob, PRIMARY KEY (vault_key))",
    "binary": "(vault_key binary(64), vault_value mediumblob, PRIMARY KEY (vault_key))",
    "text": "(vault_key varbinary(512), vault_value mediumtext, PRIMARY KEY (vault_key))",
    "no-key": "(vault_key varbinary(512), vault_value mediumblob)",
    "prefix-key": "(vault_key varbinary(512), vault_value mediumblob, UNIQUE KEY k (vault_key(10)))",
    "wider-key": "(vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key, vault_value(10)))",
    "more-columns": "(vault_key varbinary(512), vault_value mediumblob, at timestamp, PRIMARY KEY (vault_key))",
    "swapped": "(vault_value mediumblob, vault_key varbinary(512), PRIMARY KEY (vault_key))",
    "one-column": "(vault_key varbinary(512), PRIMARY KEY (vault_key))",
    "other-names": "(k varbinary(512), v mediumblob, PRIMARY KEY (k))",
    "myisam": "(vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key)) ENGINE=MyISAM",
    "aria": "(vault_key varbinary(512), vault_value mediumblob, PRIMARY KEY (vault_key)) ENGINE=Aria",
}


ONLY_MARIADB = pytest.mark.mariadb_only("an engine of its own")


@pytest.mark.parametrize("shape", [pytest.param(name, marks=[ONLY_MARIADB] if name == "aria" else []) for name in SHAPES])
def test_destination_of_another_shape_is_refused(home, db, shape):
    tree_fill(home / "src", PLAIN)
    db.make_table(shape=SHAPES[shape])

    def look():
        return snapshot(home / "src"), db.sql("SHOW CREATE TABLE vault.vault; SELECT COUNT(*) FROM vault.vault")

    before = look()
    move = Move(home, tree(home / "src"), db.stanza())
    for words in (("check", str(move.file)), ("operator", "migrate", "-config", str(move.file))):
        done = move.run(*words)
        assert done.code == REFUSED and "`vault`.`vault`" in done.out + done.err, done
        assert look() == before


@pytest.mark.parametrize("shape", ["collation", "utf8", "no-key", "prefix-key", "swapped", "other-names"])
def test_source_of_another_shape_is_refused(home, db, shape):
    db.make_table(shape=SHAPES[shape])
    move = Move(home, db.stanza(), tree(home / "dst"))
    done = move.migrate()
    assert done.code == REFUSED and "`vault`.`vault`" in done.err, done
    assert not (home / "dst").exists()


def test_a_view_is_no_table(home, db):
    db.fill(PLAIN, "real")
    db.sql("CREATE VIEW vault.vault AS SELECT * FROM vault.real")
    for index, pair in enumerate([(db.stanza(), tree(home / "dst")), (tree(home / "src"), db.stanza())]):
        tree_fill(home / "src", {b"other": b"x"})
        done = Move(home, *pair, name=f"{index}.hcl").migrate()
        assert done.code == REFUSED and "VIEW" in done.err.upper(), done
    assert db.read("real") == PLAIN and not (home / "dst").exists()


def test_keys_that_differ_in_case_or_padding_only(home, db):
    records = {b"Key": b"1", b"key": b"2", b"KEY": b"3", b"key ": b"4", b"key\x00": b"5", b"k\xe9y": b"6", b"k\xc9y": b"7"}
    db.fill(records)
    assert Move(home, db.stanza(), db.stanza(table="other")).migrate().code == OK
    assert db.read("other") == records


def test_a_source_without_the_right_to_mark_it(home, db):
    db.fill(PLAIN)
    db.sql(
        f"CREATE USER IF NOT EXISTS reader@'%' IDENTIFIED BY '{db.password}' REQUIRE SSL; GRANT SELECT ON vault.* TO reader@'%'"
    )
    done = Move(home, db.stanza(username="reader"), tree(home / "dst")).migrate()
    assert done.code == SOURCE and "can't be marked" in done.err, done
    assert not (home / "dst").exists() and db.read() == PLAIN


# --- a cut connection that looks like a short listing ---

ROWS = {b"logical/%05d" % i: os.urandom(300) for i in range(8000)}


@pytest.fixture(scope="module")
def proxied(server):
    """The server, seen through a proxy, with an account that takes plain text."""
    server.fresh()
    server.fill(ROWS)
    server.sql(
        f"DROP USER IF EXISTS plain@'%'; CREATE USER plain@'%' IDENTIFIED BY '{server.password}'; GRANT ALL ON vault.* TO plain@'%'"
    )
    return server


def cut_run(home, proxied, side, secure, cut_after, *flags):
    """One run through a proxy that cuts after so many bytes from the server; how many it passed."""
    proxy = Proxy(proxied.port)
    proxy.cut_after = cut_after
    how = {} if secure else {"username": "plain", "tls_ca_file": None, "plaintext_connection_allowed": "true"}
    table = {} if side == "source" else {"table": "copy"}
    mysql = proxied.stanza(address=f"127.0.0.1:{proxy.port}", **{k: v for k, v in how.items() if v is not None}, **table)
    if not secure:
        mysql[1].pop("tls_ca_file")
    folder = tree(home / ("dst" if side == "source" else "src"))
    move = Move(home, *((mysql, folder) if side == "source" else (folder, mysql)))
    try:
        return move, move.migrate("-max-parallel", "2", *flags), proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_cut_connection_is_an_error_and_never_the_end_of_the_list(home, proxied, secure):
    move, done, proxy = cut_run(home, proxied, "source", secure, None)
    assert done.code == OK and tree_read(home / "dst") == ROWS, done
    whole = proxy.passed
    proxied.sql("DELETE FROM vault.vault WHERE vault_key = 'core/migration'")
    for share in (3, 8, 15, 25, 35, 45, 55, 65, 75, 85, 92, 97):
        subprocess.run(["rm", "-rf", home / "dst", move.state], check=True)
        move, done, proxy = cut_run(home, proxied, "source", secure, whole * share // 100, "--retry", "0")
        assert proxy.cut > 0
        assert done.code == SOURCE, (share, done)
        assert "Success" not in done.out
        direct, again, _ = cut_run(home, proxied, "source", secure, None)  # another port, the same move
        assert again.code == OK, (share, again)
        assert tree_read(home / "dst") == ROWS == proxied.read()


def test_a_cut_connection_is_tried_again(home, proxied):
    """A cut in the middle, then a server that answers: the run goes on by itself."""
    proxy = Proxy(proxied.port)
    mysql = proxied.stanza(address=f"127.0.0.1:{proxy.port}")
    move = Move(home, mysql, tree(home / "dst"))
    proxy.cut_after = 2_000_000
    process = move.start("operator", "migrate", "-config", str(move.file), "-max-parallel", "2")
    end = time.monotonic() + 60
    while proxy.cut == 0 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    proxy.cut_after = None
    done = move.end(process)
    proxy.close()
    assert proxy.cut > 0
    assert done.code == OK and "trying again" in done.err, done
    assert tree_read(home / "dst") == ROWS == proxied.read()


def test_a_cut_destination_is_its_failure(home, proxied):
    tree_fill(home / "src", {k: ROWS[k] for k in list(ROWS)[:3000]})
    proxied.sql("DROP TABLE IF EXISTS vault.copy")
    move, done, proxy = cut_run(home, proxied, "destination", True, None)
    assert done.code == OK
    whole = proxy.passed
    for share in (30, 60, 90):
        proxied.sql("DROP TABLE IF EXISTS vault.copy")
        subprocess.run(["rm", "-rf", move.state], check=True)
        move, done, proxy = cut_run(home, proxied, "destination", True, whole * share // 100, "--retry", "0")
        assert done.code == DESTINATION, (share, done)
        direct, again, _ = cut_run(home, proxied, "destination", True, None)
        assert again.code == OK, (share, again)
        assert proxied.read("copy") == tree_read(home / "src")
