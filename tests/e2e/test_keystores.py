# SPDX-License-Identifier: Apache-2.0
"""Keystores of MySQL's keyrings, moved offline by plans: all or nothing, byte for byte, back again."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest
import archive_reader
from faultlib import DESTINATION, FileStore, MISMATCH, OK, PLAN, REFUSED, SOURCE, Cases, Move, home  # noqa: F401
from keystorelib import DATA, SERVER_KEY, Keystore, PluginKeystore, SealedKeystore, make_keys

KINDS = {
    "component": Keystore,
    "plugin": PluginKeystore,
    "plugin-1.0": lambda path, keys=None: PluginKeystore(path, keys, 'version = "1.0"', version="1.0"),
    "sealed": SealedKeystore,
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def sides(home, kind, keys, before=None):
    """source, destination (absent where `before` is None), in folders of their own."""
    if kind is KINDS["plugin-1.0"]:
        for one in (keys or {}, before or {}):
            one.update({name: (b"RSA", key[1]) for name, key in one.items() if key[0] == b"SECRET"})
    return Keystore(home / "a/keys", keys), kind(home / "b/keys", before)


# --- all or nothing ---


def test_every_key_arrives_and_the_source_is_as_it_was(home, kind):
    keys = make_keys()
    source, destination = sides(home, kind, keys)
    before = source.state()
    move = Move(home / "m", source, destination)
    move.must(OK, "check")
    assert destination.read() is None and destination.beside() == []
    move.must(OK)
    assert destination.read() == keys and source.state() == before
    assert destination.beside() == [] and destination.path.stat().st_mode & 0o777 == 0o600
    move.must(OK, "verify")
    move.must(OK)  # again: compared, nothing else
    assert destination.read() == keys
    move.must(OK, "rollback")
    assert destination.read() is None and destination.beside() == [] and source.state() == before


def test_what_the_destination_had_stays(home, kind):
    keys, had = make_keys(), make_keys(12, seed=2)
    had = {name: key for name, key in had.items() if name not in keys}
    source, destination = sides(home, kind, keys, had)
    destination.path.chmod(0o640)
    before = destination.state()
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert destination.read() == {**had, **keys}
    assert destination.path.stat().st_mode & 0o777 == 0o640
    move.must(OK, "rollback")
    assert destination.state() == before and destination.beside() == []
    # and nothing of it is left in the state folder
    assert not list(move.state.glob("*undo*"))


def test_a_key_that_is_there_stops_the_move_by_name(home, kind):
    keys = make_keys()
    name = (b"app1@localhost", b"mine")
    keys[name] = (b"SECRET", b"one")
    source, destination = sides(home, kind, keys, {name: (b"SECRET", b"two"), (b"", b"other"): (b"AES", b"k" * 16)})
    before, was = destination.state(), source.state()
    move = Move(home / "m", source, destination)
    for verb in ("check", "run"):
        move.must(REFUSED, verb)
        assert "the destination already holds 'mine' of 'app1@localhost'" in move.said
        assert destination.state() == before and source.state() == was and destination.beside() == []
    # also where both are equal
    destination.write({name: keys[name]})
    before = destination.state()
    move.must(REFUSED)
    assert destination.state() == before


def test_keep_equal_and_overwrite(home, kind):
    keys = make_keys()
    names = sorted(keys)
    had = {names[0]: keys[names[0]], names[5]: keys[names[5]], (b"", b"other"): (b"AES", b"k" * 16)}
    source, destination = sides(home, kind, keys, had)
    move = Move(home / "m", source, destination, on_conflict="keep-equal")
    move.must(OK)
    assert destination.read() == {**had, **keys}
    assert f"{len(keys)} records" in move.said and "2 " in move.said
    differing = {**had, names[0]: (b"AES", b"another" * 2 + b"!!")}
    destination.write(differing)
    before = destination.state()
    Move(home / "m2", source, destination, on_conflict="keep-equal").must(REFUSED)
    assert destination.state() == before
    third = Move(home / "m3", source, destination, on_conflict="overwrite")
    third.must(OK)
    assert destination.read() == {**had, **keys}
    third.must(OK, "rollback")
    assert destination.state() == before


def test_rollback_leaves_what_a_server_has_written_since(home, kind):
    keys = make_keys()
    source, destination = sides(home, kind, keys, {(b"", b"old"): (b"AES", b"o" * 32)})
    move = Move(home / "m", source, destination)
    move.must(OK)
    later = {**destination.read(), (b"", SERVER_KEY % 9): (b"AES", b"n" * 32)}
    destination.write(later)
    assert move.do("rollback") != OK
    assert destination.read() == later and "replaced it since" in move.said


def test_a_server_that_wrote_over_what_came(home):
    """One that had the destination loaded and wasn't restarted: what is said leads to all keys being there."""
    keys, had = make_keys(6), {(b"", b"had"): (b"AES", b"h" * 32)}
    source, destination = Keystore(home / "a/keys", keys), Keystore(home / "b/keys", had)
    move = Move(home / "m", source, destination)
    move.must(OK)
    made = {**had, (b"", b"made"): (b"AES", b"m" * 32)}
    destination.write(made)
    move.must(MISMATCH, "verify")
    assert "'rehome finish', then 'rehome run' puts in what is missing" in move.said, move.said
    move.must(OK, "finish")
    move.must(OK)
    assert destination.read() == {**made, **keys}


def test_an_empty_source_is_a_keystore_without_keys(home, kind):
    source, destination = sides(home, kind, {})
    source.path.write_bytes(b"")
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert destination.read() == {}


def test_a_source_that_is_not_there_is_an_error(home, kind):
    source, destination = sides(home, kind, None)
    Move(home / "m", source, destination).must(REFUSED)
    assert destination.read() is None


def test_report_speaks_of_keys(home):
    source, destination = sides(home, Keystore, make_keys(5))
    move = Move(home / "m", source, destination)
    move.must(OK)
    move.must(OK, "report")
    report = json.loads(move.said[move.said.index("{"):])["moves"][0]
    assert report["counts"]["records"] == 5 and report["verified"] == "yes"
    # sizes are those of the names: two bytes of length, owner, id
    assert report["counts"]["bytes"] == sum(2 + len(owner) + len(name) for owner, name in source.read())
    text = json.dumps(report)
    assert "HMAC" in text and "core/" not in text


def test_no_key_is_said_or_kept_in_the_open(home, kind):
    secret = bytes(range(1, 33))
    keys = {(b"", b"id-to-look-for"): (b"AES", secret)}
    source, destination = sides(home, kind, keys, {(b"", b"old"): (b"AES", secret[::-1])})
    move = Move(home / "m", source, destination)
    for verb in ("check", "run", "verify", "status", "report"):
        move.do(verb)
        for form in (secret, secret[::-1]):
            assert form.hex().lower() not in move.said.lower()
    for path in [*move.state.iterdir(), move.folder / "log"]:
        data = path.read_bytes()
        for form in (secret, secret[::-1]):
            assert form not in data and form.hex().encode() not in data.lower(), path


# --- the files of a real server ---


def test_files_of_a_real_server(home, kind):
    want = Keystore(DATA / "4-udf.json").read()
    assert len(want) == 31
    for line in (DATA / "4-udf.fetched.tsv").read_text(encoding="utf-8").splitlines():
        owner, name, what, size, data = line.split("\t")
        if data in ("NULL", ""):
            assert (owner.encode(), name.encode()) not in want
        elif "\\" not in name:
            assert want[owner.encode(), name.encode()] == (what.encode(), bytes.fromhex(data)), name
            assert len(bytes.fromhex(data)) == int(size)
    for name, count in (("0-empty", 0), ("3-binlog", 6), ("4-udf", 31), ("5-hard-ids", 33)):
        folder = home / name
        source, destination = sides(folder, kind, None)
        shutil.copy(DATA / f"{name}.json", source.path)
        source.path.chmod(0o600)
        move = Move(folder / "m", source, destination)
        if kind is KINDS["plugin-1.0"] and count > 6:
            move.must(REFUSED)
            assert "can't hold 'text' of 'app1@localhost': it is of type 'SECRET'" in move.said and destination.read() is None
            continue
        move.must(OK)
        assert destination.read() == source.read() and len(source.read()) == count, name


def test_what_we_write_is_what_the_server_writes(home):
    """A key added to a real server's file: the rest of it stays as it is, byte for byte."""
    had = (DATA / "5-hard-ids.json").read_bytes()
    destination = Keystore(home / "b/keys")
    destination.path.write_bytes(had)
    destination.path.chmod(0o600)
    source = Keystore(home / "a/keys", {(b"o@h", b"\x01\x1f\x7f\"\\/\t"): (b"AES", bytes(range(16)))})
    # the source is written with the escapes of Python's JSON, the destination with the server's
    Move(home / "m", source, destination).must(OK)
    added = (b'{"user":"o@h","data_id":"\\u0001\\u001F\x7f\\"\\\\/\\t","data_type":"AES",'
             b'"data":"000102030405060708090A0B0C0D0E0F","extension":[]}')
    assert destination.path.read_bytes() == had[:-2] + b"," + added + b"]}"


# --- .backup ---


def test_component_goes_on_to_its_backup(home):
    old, new = make_keys(6), make_keys(8)
    source, destination = Keystore(home / "a/keys", old), Keystore(home / "b/keys")
    source.write(new, source.backup)
    before = source.state()
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == new and source.state() == before
    # one that was cut is passed over; so is an empty one
    for cut in (source.backup.read_bytes()[:-3], b""):
        source.backup.write_bytes(cut)
        before = source.state()
        destination.path.unlink()
        shutil.rmtree(home / "m")
        Move(home / "m", source, destination).must(OK)
        assert destination.read() == old and source.state() == before
    # and one without its file is the keystore
    source.write(new, source.backup)
    source.path.unlink()
    destination.path.unlink()
    shutil.rmtree(home / "m")
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == new and not source.path.exists()


def test_a_backup_that_only_the_server_reads(home):
    """It takes more than rehome does, and such a .backup would be its keystore: the older keys aren't moved for it."""
    source, destination = Keystore(home / "a/keys", make_keys(6)), Keystore(home / "b/keys")
    whole = b'{"version":"1.0","elements":[{"user":"","data_id":"a","data_type":"AES","data":"%s","extension":[]}%s]}%s'
    with Cases("a .backup that only the server reads") as cases:
        for data, more, tail in ((b"0g", b"", b""), (b"123", b"", b""), (b"\\u0031\\u0032", b"", b""), (b"12", b"", b"\0"),
                                 (b"12", b',{"user":"","data_id":"b","data_type":"","data":"12","extension":[]}', b"")):
            with cases.one((data, tail)):
                source.backup.write_bytes(whole % (data, more, tail))
                source.backup.chmod(0o640)
                before = source.state()
                move = Move(home / "m", source, destination)
                assert move.do() == SOURCE
                assert "a server that starts now would take it all the same" in move.said, move.said
                assert source.state() == before and not destination.path.exists()


@pytest.mark.parametrize("left", ["whole", "cut", "empty", "alone"])
@pytest.mark.parametrize("kind", [KINDS[name] for name in KINDS if name != "sealed"], ids=[n for n in KINDS if n != "sealed"])
def test_a_left_backup_of_the_destination(home, kind, left):
    """It counts as it would for a server that starts, and none is left behind."""
    old, newer, keys = make_keys(5, seed=5), make_keys(7, seed=5), make_keys(9)
    old, newer = ({n: k for n, k in one.items() if n not in keys} for one in (old, newer))
    source, destination = sides(home, kind, keys, old)
    sides(home / "unused", kind, newer)
    destination.write(newer, destination.backup)
    whole = destination.backup.read_bytes()
    if left == "alone":
        destination.path.unlink()
    elif left != "whole":
        destination.backup.write_bytes(whole[:-3] if left == "cut" else b"")
    speaks = newer if left in ("whole", "alone") else old
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == {**speaks, **keys} and not destination.backup.exists()
    move = Move(home / "m", source, destination)
    move.must(OK, "rollback")
    assert destination.read() == speaks and destination.beside() == []


@pytest.mark.parametrize("kind", [Keystore, PluginKeystore])
def test_a_conflict_in_a_left_backup(home, kind):
    """What speaks decides, and nothing is touched: not the .backup either."""
    keys = make_keys(4)
    name = sorted(keys)[0]
    source, destination = Keystore(home / "a/keys", keys), kind(home / "b/keys", {(b"", b"x"): (b"AES", b"k" * 16)})
    destination.write({name: (b"AES", b"other" * 3 + b"!")}, destination.backup)
    before = destination.state()
    assert len(before) == 2
    move = Move(home / "m", source, destination)
    for verb in ("check", "run"):
        move.must(REFUSED, verb)
        assert "already holds" in move.said and destination.state() == before and destination.beside() == ["keys.backup"]


# --- how a component is found ---


def test_found_through_the_components_configuration(home):
    keys = make_keys(5)
    source, plugin_dir, datadir = Keystore(home / "a/keys", keys), home / "plugin", home / "data"
    for folder in (plugin_dir, datadir):
        folder.mkdir()
    config, local = plugin_dir / "component_keyring_file.cnf", datadir / "component_keyring_file.cnf"
    manifest = home / "mysqld.my"

    class Found(Keystore):
        def block(self, side):
            return f'{side} "component_keyring_file" {{ {self.more} }}'

    def run(more):
        destination = Keystore(home / "b/keys")
        destination.path.unlink(missing_ok=True)
        shutil.rmtree(home / "m", ignore_errors=True)
        move = Move(home / "m", Found(home / "unused", more=more), destination)
        return move.do(), move.said, destination.read()

    by_dir = f'component_dir = "{plugin_dir}"'
    by_both = f'{by_dir} instance_dir = "{datadir}"'
    config.write_text(json.dumps({"path": str(source.path), "read_only": False}), encoding="utf-8")
    assert run(by_dir)[::2] == (OK, keys)
    config.write_text('{"read_local_config": true}', encoding="utf-8")
    code, said, _ = run(by_dir)
    assert code == PLAN and "instance_dir" in said
    code, said, _ = run(by_both)
    assert code == PLAN and "isn't there" in said
    local.write_text(json.dumps({"path": str(source.path), "read_only": True}), encoding="utf-8")
    assert run(by_both)[::2] == (OK, keys)
    for broken in ("{", "[]", "{}", '{"path": "relative", "read_only": false}', '{"path": "/x"}', '{"path": 1, "read_only": true}'):
        local.write_text(broken, encoding="utf-8")
        assert run(by_both)[0] == PLAN, broken
    local.write_text(json.dumps({"path": str(source.path), "read_only": False}), encoding="utf-8")
    by_manifest = f'{by_both} manifest = "{manifest}"'
    manifest.write_text('{"components": "file://component_keyring_file"}', encoding="utf-8")
    assert run(by_manifest)[::2] == (OK, keys)
    manifest.write_text('{"components": "file://component_keyring_kmip"}', encoding="utf-8")
    code, said, _ = run(by_manifest)
    assert code == REFUSED and "component_keyring_kmip" in said
    manifest.write_text('{"read_local_manifest": true}', encoding="utf-8")
    assert run(by_manifest)[0] == PLAN
    (datadir / "mysqld.my").write_text('{"components": "file://component_keyring_file"}', encoding="utf-8")
    assert run(by_manifest)[::2] == (OK, keys)
    assert run("")[0] == PLAN and run(f'{by_dir} path = "/x"')[0] == PLAN


# --- what must not be replaced ---


def test_keystores_that_somebody_could_exchange_are_refused(home):
    keys = make_keys(4)

    def run(prepare, side="destination", words=""):
        folder = home / "case"
        shutil.rmtree(folder, ignore_errors=True)
        source, destination = Keystore(folder / "a/keys", keys), Keystore(folder / "b/keys", {(b"", b"x"): (b"AES", b"k")})
        one = destination if side == "destination" else source
        prepare(one)
        before = one.path.read_bytes()
        move = Move(folder / "m", source, destination)
        code = move.do()
        assert words in move.said, move.said[-600:]
        if code != OK:
            assert one.path.read_bytes() == before
        return code

    def linked(one):
        os.link(one.path, one.path.with_name("second"))

    def symlinked(one):
        target = one.path.with_name("real")
        one.path.rename(target)
        one.path.symlink_to(target)

    def foreign_link(one):
        symlinked(one)
        one.path.parent.chmod(0o777)

    def owned(one):
        os.chown(one.path, 4321, 4321)

    with Cases("keystores that are refused") as cases:
        for side in ("source", "destination"):
            with cases.one(f"hard link, {side}"):
                assert run(linked, side, "hard links") == REFUSED
            with cases.one(f"group-writable, {side}"):
                assert run(lambda one: one.path.chmod(0o660), side, "by its group") == REFUSED
            with cases.one(f"link in a folder of anybody's, {side}"):
                assert run(foreign_link, side, "symbolic link") == REFUSED
            with cases.one(f"foreign owner, {side}"):
                if os.geteuid() == 0:
                    assert run(owned, side, "belongs to somebody") == REFUSED
            with cases.one(f"link of our own, {side}"):
                assert run(symlinked, side) == OK
        with cases.one("a mount point of its own"):
            source, destination = Keystore(home / "p/a/keys", keys), Keystore(home / "p/b/keys", {})
            other = Keystore(home / "p/c/keys", {})
            done = subprocess.run(["mount", "--bind", other.path, destination.path], capture_output=True, check=False)
            if done.returncode == 0:
                try:
                    move = Move(home / "p/m", source, destination)
                    move.must(REFUSED)
                    assert "mount point of its own" in move.said
                    back = Move(home / "p/m2", destination, Keystore(home / "p/d/keys"))
                    back.must(OK)  # it may be read
                finally:
                    subprocess.run(["umount", destination.path], check=True)
        with cases.one("a folder"):
            def folder(one):
                one.path.rename(one.path.with_name("real"))
                one.path.mkdir()
                one.path.read_bytes = lambda: b""
            source, destination = Keystore(home / "d/a/keys", keys), Keystore(home / "d/b/keys")
            destination.path.mkdir()
            Move(home / "d/m", source, destination).must(REFUSED)


def test_sides_that_lie_in_each_others_way(home):
    """One's .backup or partial file as the other, and one file as keystores of two formats: nothing is touched."""
    keys = make_keys(4)
    with Cases("sides in each other's way") as cases:
        for kind in (Keystore, PluginKeystore, SealedKeystore):
            for name in ("keys.backup", ".keys.rehome-partial"):
                for way in ("its source's", "its destination's"):
                    with cases.one(f"{kind.__name__}, {way} {name}"):
                        folder = home / f"{kind.__name__}{name}{way[4]}"
                        here, beside = Keystore(folder / "keys"), kind(folder / name)
                        source, destination = (here, beside) if way == "its source's" else (beside, here)
                        source.write(keys)
                        before = source.path.read_bytes()
                        move = Move(folder / "m", source, destination, on_conflict="overwrite")
                        move.must(REFUSED)
                        assert "overlap" in move.said, move.said
                        assert source.path.read_bytes() == before and not destination.path.exists()
        for other in (PluginKeystore, SealedKeystore):
            with cases.one(f"one empty file as component and {other.__name__}"):
                folder = home / other.__name__
                source, destination = Keystore(folder / "keys"), other(folder / "keys")
                source.path.write_bytes(b"")
                source.path.chmod(0o600)
                Move(folder / "m", source, destination).must(REFUSED)
                assert source.path.read_bytes() == b""


def test_messages_say_where_and_what_to_do(home):
    keys = make_keys(4)
    source = Keystore(home / "a/keys", keys)
    destination = Keystore(home / "b/new")
    move = Move(home / "m", source, destination)
    destination.path.parent.rmdir()
    assert move.do() == DESTINATION
    assert "the folder of a new keystore has to be there" in move.said and str(destination.path) in move.said
    destination.path.parent.mkdir()
    source.path.chmod(0o660)
    move.must(REFUSED)
    assert f"the keystore '{source.path}' can be written by" in move.said and f"chmod go-w '{source.path}'" in move.said
    source.path.chmod(0o600)
    partial = destination.path.with_name(".new.rehome-partial")
    partial.mkdir()
    assert move.do() == DESTINATION
    assert "look at what lies there beside the file that is to be written, and remove it" in move.said
    partial.rmdir()
    move.must(OK)


def test_owner_mode_and_attributes_are_kept(home):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    keys = make_keys(4)
    source, destination = Keystore(home / "a/keys", keys), Keystore(home / "b/keys", {})
    os.chown(destination.path.parent, 4321, 4322)
    os.chown(destination.path, 4321, 4323)
    destination.path.chmod(0o604)
    try:
        os.setxattr(destination.path, "user.rehome-test", b"label")
        labelled = True
    except OSError:
        labelled = False
    move = Move(home / "m", source, destination)

    def looks():
        st = destination.path.stat()
        return st.st_uid, st.st_gid, st.st_mode & 0o777, labelled and os.getxattr(destination.path, "user.rehome-test")

    before = looks()
    move.must(OK)
    assert looks() == before and destination.read() == keys
    move.must(OK, "rollback")
    assert looks() == before and destination.read() == {}
    destination.path.unlink()
    shutil.rmtree(home / "m")
    Move(home / "m", source, destination).must(OK)
    assert (destination.path.stat().st_uid, destination.path.stat().st_gid) == (4321, 4322)  # as its folder


# --- hostile input ---

COMPONENT_BAD = {
    "not JSON": b"INNODBKey",
    "cut": lambda good: good[:-1],
    "cut in a key": lambda good: good[: len(good) // 2],
    "something behind": lambda good: good + b"x",
    "an array": b"[]",
    "no elements": b'{"version":"1.0"}',
    "no version": b'{"elements":[]}',
    "version a number": b'{"version":1.0,"elements":[]}',
    "elements an object": b'{"version":"1.0","elements":{}}',
    "elements twice": b'{"version":"1.0","elements":[],"elements":[]}',
    "element a string": b'{"version":"1.0","elements":["x"]}',
    "no extension": lambda good: good.replace(b',"extension":[]', b"", 1),
    "extension a string": lambda good: good.replace(b'"extension":[]', b'"extension":""', 1),
    "no user": lambda good: good.replace(b'"user":"",', b"", 1),
    "odd hexadecimal": lambda good: good.replace(b'"data":"', b'"data":"A', 1),
    "no hexadecimal": lambda good: good.replace(b'"data":"', b'"data":"XY', 1),
    "no type": lambda good: good.replace(b'"data_type":"AES"', b'"data_type":""', 1),
    "a control character": lambda good: good.replace(b'"data_id":"', b'"data_id":"\n', 1),
    "half a surrogate": lambda good: good.replace(b'"data_id":"', b'"data_id":"\\ud800', 1),
    "a bad escape": lambda good: good.replace(b'"data_id":"', b'"data_id":"\\x', 1),
    "a key twice": lambda good: good.replace(b'"elements":[', b'"elements":[' + good[good.index(b"[") + 1:good.index(b"}") + 1] + b","),
    "nested deep": b'{"version":"1.0","x":' + b"[" * 100000 + b"]" * 100000 + b',"elements":[]}',
    "zeros": b"\0" * 1000,
}


def test_component_files_that_are_none(home):
    keys = make_keys(5)
    source, destination = Keystore(home / "a/keys", keys), Keystore(home / "b/keys", {(b"", b"x"): (b"AES", b"k")})
    good, before = source.path.read_bytes(), destination.state()
    with Cases("component files that are none") as cases:
        for what, made in COMPONENT_BAD.items():
            with cases.one(what):
                bad = made(good) if callable(made) else made
                assert bad != good
                source.path.write_bytes(bad)
                shutil.rmtree(home / "m", ignore_errors=True)
                move = Move(home / "m", source, destination)
                move.must(SOURCE)
                assert destination.state() == before and destination.beside() == []
                assert source.path.read_bytes() == bad
                for _, data in keys.values():
                    assert data.hex().upper() not in move.said and data.hex() not in move.said


def test_laxness_of_the_server_is_ours_when_reading(home):
    data = bytes(range(32))
    text = (
        b' {"x":{"y":[1,-2.5e+3,true,null,"\\"]"]},"elements" : [ {"extension":[{"a":[]},3], "more":[], "data":"%s",'
        b'"data":"00","data_id":"i\\u0064\\/\xff\\ud83d\\ude00","data_type":"any\\tthing","user":"\xfe@h"}\n ] ,"version":"9" } \n'
    ) % data.hex().encode()
    source, destination = Keystore(home / "a/keys", {}), Keystore(home / "b/keys")
    source.path.write_bytes(text)
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == {(b"\xfe@h", b"id/\xff" + "\U0001f600".encode()): (b"any\tthing", data)}


def test_a_gigabyte_of_nothing_is_refused_at_once(home):
    source, destination = Keystore(home / "a/keys", {}), Keystore(home / "b/keys")
    with open(source.path, "r+b") as file:
        file.truncate(1 << 30)
    move = Move(home / "m", source, destination)
    assert move.do() != OK and "are the most" in move.said
    assert destination.read() is None


def test_keys_that_the_component_can_not_hold_are_refused_by_name(home):
    fits = {(b"", b"fits"): (b"SECRET", b"x" * 16384), (b"o@h", b"none"): (b"AES", b""), (b"", b"i" * 1000): (b"AES", b"k")}
    destination = Keystore(home / "b/keys")
    Move(home / "m", Keystore(home / "a/keys", fits), destination).must(OK)
    assert destination.read() == fits
    destination.path.unlink()
    for bad, words in (
        ({(b"o@h", b"large"): (b"SECRET", b"x" * 16385)}, "'large' of 'o@h': it has 16385 bytes"),
        ({(b"o@h", b""): (b"AES", b"x")}, "its id is empty"),
    ):
        shutil.rmtree(home / "m", ignore_errors=True)
        move = Move(home / "m", Keystore(home / "a/keys", {**fits, **bad}), destination)
        for verb in ("check", "run"):
            move.must(REFUSED, verb)
            assert words in move.said, move.said
            assert destination.read() is None and destination.beside() == []


# --- sealed keystores ---


def test_sealed_there_and_back(home):
    """By passphrase, with keys that no server's keystore holds; then on to both kinds of those."""
    keys = make_keys(20) | {(b"", b"large"): (b"SECRET", b"x" * 16384)}
    os.environ["RH_TEST_PASSPHRASE"] = "correct horse"
    sealed = SealedKeystore(home / "s/keys")
    sealed.more = 'passphrase_env = "RH_TEST_PASSPHRASE"'
    Move(home / "m", Keystore(home / "a/keys", keys), sealed).must(OK)
    assert archive_reader.keyring(archive_reader.read(sealed.path.read_bytes(), passphrase=b"correct horse")) == keys
    for name, one in (("c", Keystore), ("p", PluginKeystore)):
        destination = one(home / name / "keys")
        Move(home / f"m-{name}", sealed, destination).must(OK)
        assert destination.read() == keys
    os.environ["RH_TEST_PASSPHRASE"] = "another"
    destination.path.unlink()
    move = Move(home / "m-w", sealed, destination)
    assert move.do() != OK and "wrong passphrase" in move.said
    assert destination.read() is None


def test_sealed_keystores_that_are_none(home):
    keys = make_keys(4)
    source, destination = SealedKeystore(home / "a/keys", keys), Keystore(home / "b/keys")
    good = source.path.read_bytes()
    with Cases("sealed keystores that are none") as cases:
        for at in [*range(0, len(good), 41), len(good) - 1]:
            for what, bad in (("flipped", good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]), ("cut", good[:at])):
                if not bad:
                    continue  # a file without a byte is a keystore without a key
                with cases.one(f"{what} at {at}"):
                    source.path.write_bytes(bad)
                    shutil.rmtree(home / "m", ignore_errors=True)
                    assert Move(home / "m", source, destination).do() != OK
                    assert destination.read() is None
    # nor is a key-value store's archive one of keys, or the other way round
    files, archive = FileStore(home / "f"), SealedKeystore(home / "k/keys")
    files.fill({b"a": b"b"})
    archive.path.unlink(missing_ok=True)
    archive.kind = "archive"
    Move(home / "m2", files, archive).must(OK)
    archive.kind = "sealed_keyring"
    move = Move(home / "m3", archive, destination)
    assert move.do() != OK and "is of model 'kv'" in move.said
    source.path.write_bytes(good)
    source.kind = "archive"
    move = Move(home / "m4", source, FileStore(home / "g"))
    assert move.do() != OK and "is of model 'keyring'" in move.said


# --- the plugin's files ---

ARCHITECTURES = {"le64": ("<", 8), "le32": ("<", 4), "be64": (">", 8), "be32": (">", 4)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plugin_files_of_all_architectures(home, architecture):
    keys, more = make_keys(20), {(b"o@h", b"more"): (b"DSA", b"d" * 48)}
    keys |= {(b"", b"none"): (b"AES", b""), (b"o" * 90, b"i" * 300): (b"SECRET", b"x" * 16384)}
    order, word = ARCHITECTURES[architecture]
    with Cases("plugin files of all architectures") as cases:
        for version in ("1.0", "2.0"):
            with cases.one(f"{architecture} {version}, to the component"):
                folder = home / version
                source = PluginKeystore(folder / "a/keys", keys, version=version, order=order, word=word)
                before, destination = source.state(), Keystore(folder / "b/keys")
                Move(folder / "m", source, destination).must(OK)
                assert destination.read() == keys and source.state() == before
            with cases.one(f"{architecture} {version}, written to: version and architecture stay"):
                Move(folder / "m2", Keystore(folder / "c/keys", more), source).must(OK)
                assert source.read() == {**keys, **more}
                assert source.path.read_bytes()[21:24] == version.encode()


def test_digest_over_the_records_as_the_server_had_them_in_memory(home):
    """A server that rewrote another architecture's file took the digest before it converted the records."""
    keys = make_keys(9)
    source, native = PluginKeystore(home / "a/keys", keys, order=">", word=4), PluginKeystore(home / "n/keys", keys)
    source.path.write_bytes(source.path.read_bytes()[:-32] + native.path.read_bytes()[-32:])
    destination = Keystore(home / "b/keys")
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == keys


def test_plugin_goes_back_to_its_backup(home):
    old, new = make_keys(6), make_keys(8)
    source, destination = PluginKeystore(home / "a/keys", new), Keystore(home / "b/keys")
    source.write(old, source.backup)
    before = source.state()
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == old and source.state() == before

    def without(backup):
        source.backup.write_bytes(backup)
        was = source.state()
        destination.path.unlink(missing_ok=True)
        shutil.rmtree(home / "m")
        move = Move(home / "m", source, destination)
        code = move.do()
        assert source.state() == was
        return code, destination.read(), move.said

    whole = source.backup.read_bytes()
    source.write({}, source.backup)  # what the first key of all leaves
    empty = source.backup.read_bytes()
    for passed_over in (whole[:-1], b"", empty, b"no keyring"):
        assert without(passed_over)[:2] == (OK, new), passed_over[:30]
    # its structure is right: a server would take it, and lose what was changed
    flipped = bytearray(whole)
    flipped[-40] ^= 1
    code, found, said = without(bytes(flipped))
    assert code == SOURCE and found is None and "would take it" in said


def test_keys_that_the_plugin_takes_for_the_same_are_refused(home):
    alone = {(b"c", b"ab"): (b"AES", b"1" * 16)}
    pairs = {
        "without anything between id and owner": (b"bc", b"a"),
        "upper case": (b"c", b"AB"),
        "upper case and accent": ("c".encode(), "\u00e0B".encode()),
        "a blank": (b"c ", b"ab"),
        "owner's case": (b"C", b"ab"),
    }
    with Cases("keys that the plugin takes for the same") as cases:
        for what, name in pairs.items():
            for where in ("in the source", "at the destination"):
                with cases.one(f"{what}, {where}"):
                    shutil.rmtree(home, ignore_errors=True)
                    other = {name: (b"AES", b"2" * 16)}
                    both = where == "in the source"
                    source = Keystore(home / "a/keys", {**alone, **other} if both else alone)
                    destination = PluginKeystore(home / "b/keys", None if both else other)
                    before = destination.state()
                    for policy in ("fail", "overwrite"):
                        move = Move(home / policy, source, destination, on_conflict=policy)
                        for verb in ("check", "run"):
                            move.must(REFUSED, verb)
                            assert "takes it for the same key as" in move.said, move.said
                            assert destination.state() == before and destination.beside() == []
        with cases.one("others that are near are none"):
            shutil.rmtree(home)
            near = {(b"c", b"ab"), (b"d", b"ab"), (b"", b"ab"), (b"", b"a"), ("c".encode(), "a\u0142".encode()),
                    (b"c", b"\xffab"), (b"c", b"\xffAB"), (b"", "\U0001f600".encode()), (b"", "\U0001f601".encode())}
            keys = {name: (b"AES", b"3" * 16) for name in near}
            destination = PluginKeystore(home / "b/keys")
            Move(home / "m", Keystore(home / "a/keys", keys), destination).must(OK)
            assert destination.read() == keys


PLUGIN_BAD = {
    "a key's byte": lambda good: good[:70] + bytes([good[70] ^ 1]) + good[71:],
    "the digest": lambda good: good[:-1] + bytes([good[-1] ^ 1]),
    "cut": lambda good: good[:-1],
    "cut to half": lambda good: good[: len(good) // 2],
    "longer": lambda good: good + b"\0",
    "wrong end": lambda good: good.replace(b"EOF", b"EOG"),
    "pod size": lambda good: good[:24] + bytes([good[24] + 1]) + good[25:],
    "pod size of a word more": lambda good: good[:24] + bytes([good[24] + 16]) + good[25:],
    "an endless length": lambda good: good[:32] + b"\xff" * 8 + good[40:],
    "version 3.0": lambda good: good.replace(b":2.0", b":3.0"),
    "1.0 with a digest": lambda good: good.replace(b":2.0", b":1.0"),
    "2.0 without one": lambda good: good[:-32],
    "not a multiple of a word": lambda good: good[:-35] + b"\0" + good[-35:],
    "only the tag": lambda good: good[:24],
    "JSON": lambda good: b'{"version":"1.0","elements":[]}',
    "zeros": lambda good: b"\0" * 4096,
}


def test_plugin_files_that_are_none(home):
    keys = make_keys(3)
    source, destination = PluginKeystore(home / "a/keys", keys), PluginKeystore(home / "b/keys", {(b"", b"x"): (b"AES", b"k")})
    good, before = source.path.read_bytes(), destination.state()
    twice = PluginKeystore(home / "t/keys")
    head, tail = good[:24], good[24:-35]
    twice.path.write_bytes(head + tail + tail + b"EOF" + hashlib.sha256(tail + tail).digest())
    with Cases("plugin files that are none") as cases:
        for what, made in [*PLUGIN_BAD.items(), ("a key twice", lambda _: twice.path.read_bytes())]:
            with cases.one(what):
                bad = made(good)
                assert bad != good
                source.path.write_bytes(bad)
                shutil.rmtree(home / "m", ignore_errors=True)
                move = Move(home / "m", source, destination)
                move.must(SOURCE)
                assert destination.state() == before and destination.beside() == [] and source.path.read_bytes() == bad
    # a destination that is none is as safe
    for bad in (good[:-1], b"x"):
        destination.path.write_bytes(bad)
        shutil.rmtree(home / "m", ignore_errors=True)
        source.path.write_bytes(good)
        move = Move(home / "m", source, destination)
        assert move.do() != OK and destination.path.read_bytes() == bad and destination.beside() == []


def test_keys_that_the_plugin_can_not_hold_are_refused_by_name(home):
    for bad, version, words in (
        ({(b"o@h", b"large"): (b"SECRET", b"x" * 16385)}, "2.0", "'large' of 'o@h': it has 16385 bytes"),
        ({(b"", b"odd"): (b"CHACHA", b"x")}, "2.0", "'odd': it is of type 'CHACHA'"),
        ({(b"", b"new"): (b"SECRET", b"x")}, "1.0", "'new': it is of type 'SECRET', and a keyring file 1.0"),
    ):
        shutil.rmtree(home, ignore_errors=True)
        destination = PluginKeystore(home / "b/keys", more=f'version = "{version}"')
        move = Move(home / "m", Keystore(home / "a/keys", bad), destination)
        for verb in ("check", "run"):
            move.must(REFUSED, verb)
            assert words in move.said, move.said
            assert destination.read() is None and destination.beside() == []


GOLDEN = pathlib.Path(os.environ.get("REHOME_GOLDEN", "/nowhere")) / "keyring-plugin"
GOLDEN_KEYS = {
    "innodb-57025": {"3529d740b0cd377afdcd9e868266d69b3d96333939148282a63ef0aaefd5627d"},
    "innodb-80012": {"14147c62a3ab9cb1595983d7c47072fa5433aa8cba126d5a204ce40a3908553c"},
    "innodb-80013": {"101e845ffe9c04db0bd2bdfae1e32faec4b62f2c280d94dd5610aa328a5ff745"},
    "rpl-8014": {hashlib.sha256(b"\1" + bytes(15)).hexdigest(), hashlib.sha256(bytes(32)).hexdigest()},
}


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="REHOME_GOLDEN names no folder with files of third parties")
def test_plugin_files_of_real_servers(home):
    for name, sums in GOLDEN_KEYS.items():
        source, destination = PluginKeystore(home / name / "a/keys"), Keystore(home / name / "b/keys")
        shutil.copy(GOLDEN / f"{name}.keyring", source.path)
        source.path.chmod(0o600)
        Move(home / name / "m", source, destination).must(OK)
        assert {hashlib.sha256(data).hexdigest() for _, data in destination.read().values()} == sums, name
        # and back into a file as the server writes it
        again = PluginKeystore(home / name / "c/keys", more=f'version = "{source.path.read_bytes()[21:24].decode()}"')
        Move(home / name / "m2", destination, again).must(OK)
        assert again.path.read_bytes() == source.path.read_bytes(), name
