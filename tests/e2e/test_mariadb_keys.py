# SPDX-License-Identifier: Apache-2.0
"""The key file of MariaDB's file_key_management, moved by plans: names for numbers, encrypted or not, comments kept, and a
server that opens its encrypted data with what was moved."""
import secrets
import shutil

import pytest
from faultlib import OK, PLAN, REFUSED, SOURCE, Move, home  # noqa: F401
from keystorelib import Keystore, MariadbKeyFile, make_keys, make_mariadb_keys
from mariadblib import EncryptedMariadb, Keys, by_file
from vaultlib import missing_server

AES = b"AES"


def named(**numbers):
    """Keys by the given names: name=number of bytes."""
    return {(b"", name.encode()): (AES, bytes([65 + i]) * size) for i, (name, size) in enumerate(numbers.items())}


@pytest.mark.parametrize("filekey", [None, "correct horse"])
def test_there_and_back(home, filekey):
    """File to JSON to file, with another filekey: the same keys; the source as it was."""
    keys = make_mariadb_keys()
    first = MariadbKeyFile(home / "a/keys", keys, filekey=filekey)
    middle = Keystore(home / "b/keys")
    last = MariadbKeyFile(home / "c/keys", filekey="another" if filekey is None else None)
    was = first.state()
    to, back = Move(home / "m1", first, middle), Move(home / "m2", middle, last)
    for move in (to, back):
        move.must(OK, "check")
        move.must(OK)
        move.must(OK, "verify")
    assert middle.read() == keys and last.read() == keys and first.state() == was
    assert last.path.stat().st_mode & 0o777 == 0o600 and last.beside() == []
    back.must(OK, "rollback")
    assert not last.path.exists()


def test_a_file_encrypted_anew(home):
    """From file to file with another filekey and another derivation; each is read by openssl."""
    keys = make_mariadb_keys(40)
    source = MariadbKeyFile(home / "a/keys", keys, filekey="old")
    destination = MariadbKeyFile(
        home / "b/keys", more='digest = "sha512" use_pbkdf2 = 1000', filekey="new",
        options=("-md", "sha512", "-pbkdf2", "-iter", "1000"))
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert destination.read() == keys and destination.path.read_bytes()[:8] == b"Salted__"
    assert f"file_key_management_filekey=FILE:{destination.filekey_file}" in move.said
    assert "file_key_management_digest=sha512" in move.said and "file_key_management_use_pbkdf2=1000" in move.said
    # with the wrong filekey nothing is read and nothing written
    source.filekey_file.write_text("other\n", encoding="utf-8")
    destination.path.unlink()
    again = Move(home / "m2", source, destination)
    again.must(SOURCE)
    assert not destination.path.exists() and "filekey" in again.said


def test_what_the_file_had_stays(home):
    """Keys, comments and lines; a way back to every byte."""
    had = make_mariadb_keys(3)
    destination = MariadbKeyFile(home / "b/keys", had)
    text = destination.text() + "\n# the last line has no newline\n 04;" + "ab" * 16 + " # four"
    destination.write_text(text)
    before = destination.state()
    keys = make_mariadb_keys(5, first=10)
    move = Move(home / "m", Keystore(home / "a/keys", keys), destination)
    move.must(OK)
    assert destination.text().startswith(text + "\n10;")
    assert destination.read() == {**had, **keys, (b"", b"mariadb-4"): (AES, b"\xab" * 16)}
    move.must(OK, "rollback")
    assert destination.state() == before and destination.beside() == []
    # a key that is there already stops the move by name, and is replaced in its line only when that is said
    theirs = {(b"", b"mariadb-4"): (AES, b"\xcd" * 32)}
    source = Keystore(home / "c/keys", theirs)
    other = Move(home / "m2", source, destination)
    other.must(REFUSED)
    assert "already holds 'mariadb-4'" in other.said and destination.state() == before
    Move(home / "m3", source, destination, on_conflict="overwrite").must(OK)
    assert destination.text() == text.replace(" 04;" + "ab" * 16, "4;" + "cd" * 32)


def test_keys_without_a_number_are_refused_by_name(home):
    source = Keystore(home / "a/keys", {**make_keys(5), **make_mariadb_keys(1)})
    server_key = sorted(name for owner, name in source.read() if not owner and name.startswith(b"INNODB"))[0].decode()
    destination = MariadbKeyFile(home / "b/keys", make_mariadb_keys(1, first=1, seed=2))
    before = destination.state()
    move = Move(home / "m", source, destination)
    for verb in ("check", "run"):
        move.must(REFUSED, verb)
        assert f"can't hold '{server_key}': MariaDB's keys have numbers for names" in move.said, move.said
        assert "of 'app" in move.said and "it has an owner" in move.said
        assert destination.state() == before and destination.beside() == []


def test_an_explicit_map(home):
    """Names of any kind through numbers and back."""
    keys = named(system=32, **{"INNODBKey-6d796b72-1": 32, "payroll": 16, "mariadb-9": 24})
    pairs = 'names = "mariadb-%u" map = ["1=system", "7=INNODBKey-6d796b72-1", "4294967295=payroll"]'
    source, back = Keystore(home / "a/keys", keys), Keystore(home / "c/keys")
    there = MariadbKeyFile(home / "b/keys", more=pairs)
    Move(home / "m1", source, there).must(OK)
    assert sorted(name for _, name in there.read()) == [b"mariadb-1", b"mariadb-4294967295", b"mariadb-7", b"mariadb-9"]
    Move(home / "m2", there, back).must(OK)
    assert back.read() == keys
    # with the pairs alone each key needs one
    strict = MariadbKeyFile(home / "d/keys", more=pairs.replace("mariadb-%u", ""))
    move = Move(home / "m3", source, strict)
    move.must(REFUSED)
    assert "can't hold 'mariadb-9'" in move.said and not strict.path.exists()
    move = Move(home / "m4", MariadbKeyFile(there.path, more='names = ""'), Keystore(home / "e/keys"))
    move.must(REFUSED, "check")
    assert "has no name" in move.said
    # a map that isn't one to one is an error of the plan
    for bad, words in (('map = ["7=a", "7=b"]', "number 7"), ('map = ["7=mariadb-8"]', "number 8"), ('names = "x"', "%u")):
        move = Move(home / "m5", MariadbKeyFile(there.path, more=bad), Keystore(home / "e/keys"))
        move.must(PLAN, "check")
        assert words in move.said, move.said


def test_key_1_is_needed(home):
    source, destination = Keystore(home / "a/keys", make_mariadb_keys(2, first=2)), MariadbKeyFile(home / "b/keys")
    move = Move(home / "m", source, destination)
    assert move.do() != OK
    assert "no key 1" in move.said and not destination.path.exists() and destination.beside() == []
    # and a file without it is none
    lacking = MariadbKeyFile(home / "c/keys")
    lacking.write_text("2;" + "00" * 16 + "\n")
    move = Move(home / "m2", lacking, Keystore(home / "d/keys"))
    move.must(SOURCE)
    assert "key 1 is missing" in move.said


def test_a_number_that_stands_twice_is_said(home):
    source, destination = MariadbKeyFile(home / "a/keys"), MariadbKeyFile(home / "b/keys")
    source.write_text("1;" + "00" * 16 + "\n2;" + "11" * 16 + "\n1;" + "22" * 32 + "\n")
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert move.said.count("stands in the key file more than once") == 1 and "void=1" in move.said
    assert destination.text() == "1;" + "22" * 32 + "\n2;" + "11" * 16 + "\n"


def test_files_that_a_server_refuses(home):
    key = "00" * 16
    for text, words in (
        (f"1;{key}\nx;{key}\n", "line 2, column 1"), (f"1;{key}0\n", "32, 48 or 64"), (f"1;{key}\n4294967296;{key}\n", "4294967295"),
        (f"1;{key}\n\0", "zero byte"), (f"1;{key}\n" + "#" * (1 << 20), "first 1048576"), ("", "key 1 is missing"),
    ):
        source = MariadbKeyFile(home / "a/keys")
        source.write_text(text)
        shutil.rmtree(home / "m", ignore_errors=True)
        move = Move(home / "m", source, Keystore(home / "b/keys"))
        assert move.do() in (SOURCE, REFUSED)
        assert words in move.said and not (home / "b/keys").exists() and key[:8] not in move.said, move.said


def test_no_key_or_filekey_is_said_or_kept_in_the_open(home):
    source = MariadbKeyFile(home / "a/keys", {(b"", b"mariadb-1"): (AES, bytes(range(32)))}, filekey="a-filekey-to-look-for")
    destination = MariadbKeyFile(home / "b/keys", {(b"", b"mariadb-1"): (AES, bytes(range(32)))})
    destination.filekey, destination.more = None, ""
    destination.path.unlink()
    more = 'filekey = "another-literal-filekey"'
    literal = MariadbKeyFile(home / "b/keys", more=more)
    move = Move(home / "m", source, literal)
    move.plan.chmod(0o600)
    for verb in ("check", "run", "verify", "status", "report"):
        move.do(verb)
        for form in (bytes(range(32)).hex(), source.filekey, "another-literal"):
            assert form not in move.said.lower(), verb
    assert literal.path.read_bytes()[:8] == b"Salted__"
    for path in [*move.state.iterdir(), move.folder / "log"]:
        data = path.read_bytes()
        for form in (bytes(range(32)), bytes(range(32)).hex().encode(), source.filekey.encode(), b"another-literal"):
            assert form not in data, path


# --- a real server ---


@pytest.fixture(scope="module", name="keys")
def make_folder_of_keys():
    keys = Keys()
    yield keys
    keys.remove()


@pytest.fixture(scope="module", name="first")
def make_first(keys):
    """The key file that the server starts with."""
    values = {(b"", b"mariadb-%d" % n): (AES, secrets.token_bytes(size)) for n, size in ((1, 32), (2, 16), (77, 24))}
    first = MariadbKeyFile(keys.folder("first") / "keys.enc", values, filekey=secrets.token_hex(100))
    keys.own(first.path, first.filekey_file)
    return first


@pytest.fixture(scope="module", name="encrypted")
def make_encrypted(first):
    missing = missing_server("mariadb")
    if missing:
        pytest.skip(missing)
    with EncryptedMariadb(*by_file(first, "AES_CBC")) as server:
        server.encrypt()
        server.all_there()
        yield server


def test_a_server_goes_on_with_moved_keys(home, keys, first, encrypted):
    """Its tables, redo log, binary log and Aria's tables open with the file encrypted anew, and with the one that came back from
    a JSON keystore; they don't with another key."""
    second = MariadbKeyFile(keys.folder("second") / "keys", filekey="another filekey")
    keys.own(second.filekey_file)
    Move(home / "m1", first, second).must(OK)
    encrypted.use(*by_file(second, "AES_CBC"))
    encrypted.all_there()
    middle, third = Keystore(home / "b/keys"), MariadbKeyFile(keys.folder("third") / "keys")
    Move(home / "m2", second, middle).must(OK)
    Move(home / "m3", middle, third).must(OK)
    assert third.read() == first.read()
    encrypted.use(*by_file(third, "AES_CBC"))
    encrypted.all_there()
    # what the server was told before is what it is told to take out, and the rest to put in
    move = Move(home / "m4", first, MariadbKeyFile(keys.folder("fourth") / "keys"))
    move.must(OK)
    assert f"file_key_management_filekey=FILE:{first.filekey_file}" in move.said.partition("put into")[0]
    wrong = MariadbKeyFile(keys.folder("wrong") / "keys", {**first.read(), (b"", b"mariadb-2"): (AES, b"x" * 16)})
    keys.own(wrong.path)
    encrypted.use(*by_file(wrong, "AES_CBC"))
    with pytest.raises(Exception, match="enc|crypt|corrupt"):
        encrypted.sql("SELECT count(*) FROM enc.two")
