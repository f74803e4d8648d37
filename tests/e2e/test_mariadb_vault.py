# SPDX-License-Identifier: Apache-2.0
"""MariaDB's keys in a Vault's KV engine, as hashicorp_key_management reads them: there and back, never another version, killed and cut
at every request, the cipher that can't move, and a real server that opens its tables with what was put there."""
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile

import pytest
from faultlib import DESTINATION, KILLED, OK, PLAN, REFUSED, Cases, Move, home  # noqa: F401
from keystorelib import Keystore, MariadbKeyFile, make_keys, make_mariadb_keys
from mariadblib import EncryptedMariadb, Keys, VaultKeys, by_file, by_vault, make_tablespace
from vaultlib import TIMEOUT, TOP, missing_server

sys.path.insert(0, str(TOP / "tests/servers"))
import vault_server  # pylint: disable=wrong-import-position

AES = b"AES"
PLUGIN = pathlib.Path("/usr/lib/mysql/plugin/hashicorp_key_management.so")
RULES = {"mdb/data/*": ["create", "read"], "mdb/metadata/*": ["list", "delete"]}


@pytest.fixture(scope="module", name="tls")
def make_tls():
    with tempfile.TemporaryDirectory(prefix="rh-test-tls-") as folder:
        os.chmod(folder, 0o755)
        subprocess.run([TOP / "tests/servers/tls", folder + "/tls"], check=True, timeout=TIMEOUT)
        shutil.copy(folder + "/tls/ca.pem", folder + "/ca.pem")
        os.chmod(folder + "/ca.pem", 0o644)
        yield folder


@pytest.fixture(name="vault")
def make_vault(tls):
    with vault_server.Vault(tls + "/tls") as vault:
        vault.mount("mdb", 2)
        vault.mount("other", 2)
        vault.mount("one", 1)
        vault.policy("mover", RULES)
        yield vault


@pytest.fixture(name="place")
def make_place(home, vault):
    """The mount, by a token that may no more than the man page says."""
    token = home / "token"
    token.write_text(vault.token(policies=["mover"]) + "\n", encoding="utf-8")
    token.chmod(0o600)
    return VaultKeys(vault, "mdb", token)


# --- moves ---


def test_there_and_back(home, place):
    keys = make_mariadb_keys(40)
    source, back = MariadbKeyFile(home / "a/keys", keys, filekey="x"), MariadbKeyFile(home / "c/keys")
    to = Move(home / "m1", source, place)
    for verb in ("check", "run", "verify", "run"):
        to.must(OK, verb)
    assert place.read() == keys
    assert f"hashicorp_key_management_vault_url={place.vault.url}/v1/mdb" in to.said
    Move(home / "m2", place, back).must(OK)
    assert back.read() == keys
    to.must(OK, "rollback")
    assert place.read() is None, "not even something deleted is left"
    # the numbers are free, so the same goes once more
    Move(home / "m3", source, place).must(OK)
    assert place.read() == keys


def test_what_is_there_stays(home, place):
    had, keys = make_mariadb_keys(3), make_mariadb_keys(20, first=10)
    place.put(had)
    place.vault.put("mdb/notes/a", {"x": "y"})
    before = place.state()
    source = Keystore(home / "a/keys", keys)
    move = Move(home / "m", source, place)
    move.must(OK)
    assert {**before, **place.state()} == place.state() and len(place.state()) == 24
    assert "passed over" in move.said
    move.must(OK, "rollback")
    assert place.state() == before
    # a key that is there stops the move by name; an equal one may be there when that is said, another one is never replaced
    name = sorted(keys)[4]
    number = name[1].decode().partition("-")[2]
    place.put({name: keys[name]})
    before = place.state()
    stopped = Move(home / "m2", source, place)
    stopped.must(REFUSED)
    assert f"already holds '{name[1].decode()}'" in stopped.said and place.state() == before
    Move(home / "m3", source, place, on_conflict="keep-equal").must(OK)
    assert len(place.state()) == 24
    Move(home / "m3", source, place).must(OK, "rollback")
    assert place.state() == before
    place.vault.put(f"mdb/{number}", {"data": "00" * 32})
    before = place.state()
    for n, policy in enumerate(("keep-equal", "overwrite")):
        other = Move(home / f"m{4 + n}", source, place, on_conflict=policy)
        for verb in ("check", "run"):
            other.must(REFUSED, verb)
            assert f"can't hold '{name[1].decode()}'" in other.said and "can't be replaced" in other.said, other.said
        assert place.state() == before


def test_a_number_that_was_deleted(home, place):
    """Its versions stay, so the next one would be of version 2: refused by name, with the remedy."""
    keys = make_mariadb_keys(3)
    place.put(keys)
    place.vault.steer("policy", {"name": "admin", "rules": {"mdb/*": ["delete"]}})
    place.vault.mounts[""]["mdb/"].items["2"].versions[1]["gone"] = vault_server.stamp()
    source = Keystore(home / "a/keys", make_mariadb_keys(1, first=2))
    before = place.state()
    move = Move(home / "m", source, place)
    for verb in ("check", "run"):
        move.must(REFUSED, verb)
        assert "can't hold 'mariadb-2'" in move.said and "vault kv metadata delete -mount=mdb 2" in move.said
    assert place.state() == before
    # as a source it isn't there, as for the server
    Move(home / "m2", place, Keystore(home / "b/keys")).must(OK)
    assert Keystore(home / "b/keys").read() == {name: key for name, key in keys.items() if name[1] != b"mariadb-2"}


def test_a_key_of_another_version_does_not_move(home, place):
    place.put(make_mariadb_keys(3))
    place.vault.put("mdb/3", {"data": "11" * 16})
    move = Move(home / "m", place, Keystore(home / "b/keys"))
    move.must(REFUSED)
    assert "number 3 is there in version 2" in move.said and not (home / "b/keys").exists()


def test_what_is_no_key(home, place):
    for data, words in (({"data": "00" * 15}, "32, 48 or 64"), ({"data": "zz" * 16}, "32, 48 or 64"), ({"key": "00" * 16}, "no text 'data'"),
                        ({"data": 5}, "no text 'data'")):
        place.vault.mounts[""]["mdb/"].items.clear()
        place.vault.put("mdb/7", data)
        shutil.rmtree(home / "m", ignore_errors=True)
        move = Move(home / "m", place, Keystore(home / "b/keys"))
        assert move.do() not in (OK, PLAN)
        assert words in move.said and "'7'" in move.said, move.said


def test_addresses_and_rights(home, place, vault):
    source = Keystore(home / "a/keys", make_mariadb_keys(2))

    def run(more="", **change):
        one = VaultKeys(vault, change.get("mount", "mdb"), change.get("token", home / "token"), more or place.more)
        shutil.rmtree(home / "m", ignore_errors=True)
        move = Move(home / "m", source, one)
        return move.do("check"), move.said

    assert run()[0] == OK
    for mount, words in (("mdb/below", "isn't a mount"), ("one", "version 2"), ("nowhere", "no engine is mounted")):
        vault.policy("mover", {**RULES, "one/*": ["read"]})
        code, said = run(mount=mount)
        assert code != OK and words in said, said
    code, said = run(mount="a?b")
    assert code == PLAN and "isn't the URL of a mount" in said
    for rule, lost, words in (("mdb/data/*", ["read"], "'create' on 'mdb/data/1'"), ("mdb/metadata/*", ["list"], "'delete' on 'mdb/metadata/1'"),
                              ("mdb/metadata/*", ["delete"], "'list' on 'mdb/metadata/'")):
        vault.policy("mover", {**RULES, rule: lost})
        code, said = run()
        assert code == DESTINATION and f"the token may not {words}" in said, said
    assert vault.names("mdb") == []


def test_a_key_that_may_not_be_made(home, place, vault):
    """Denied where nothing stands: the server's own words, the key's number, and a way back."""
    vault.policy("mover", {**RULES, "mdb/data/15": ["read"]})
    move = Move(home / "m", Keystore(home / "a/keys", make_mariadb_keys(20)), place)
    move.must(DESTINATION)
    assert "number 15: writing a key failed: 1 error occurred:" in move.said and "permission denied" in move.said, move.said
    move.must(OK, "rollback")
    assert place.read() is None


def test_the_cipher_that_cannot_move(home, place, vault):
    """AES_CTR is refused before anything is asked of the Vault; so is a server of which nothing is known."""
    source = MariadbKeyFile(home / "a/keys", make_mariadb_keys(2))
    config = home / "my.cnf"

    def run(more):
        shutil.rmtree(home / "m", ignore_errors=True)
        del vault.log[:]
        move = Move(home / "m", source, VaultKeys(vault, "mdb", home / "token", more))
        codes = {move.do("check"), move.do("run")}
        assert len(codes) == 1
        return codes.pop(), move.said

    by_config = f'server_config = "{config}"'
    group = "[mariadbd]\nplugin-load-add = file_key_management.so\n"
    ctr = "[mysqld]\nloose-file-key-management-encryption-algorithm = AES_CTR\n"
    (home / "more.cnf").write_text(ctr, encoding="utf-8")
    for more, text, words in (
        ("", "", "nothing tells with which algorithm"), ('encryption_algorithm = "aes_ctr"', "", "AES_CTR"),
        (by_config, group + ctr, "AES_CTR"), (by_config, group + f"!include {home}/more.cnf\n", "AES_CTR"),
        (by_config + ' encryption_algorithm = "aes_cbc"', group + ctr, "AES_CTR"), (by_config, ctr + ctr.replace("AES_CTR", "1"), "AES_CTR"),
        (by_config, "[client]\nfile_key_management_filename=x\n", "says nothing of file_key_management"),
        (by_config, group + ctr.replace("AES_CTR", "AES_GCM"), "isn't known"),
    ):
        config.write_text(text, encoding="utf-8")
        code, said = run(more)
        assert code == REFUSED and words in said, (code, said)
        assert vault.log == [] and vault.names("mdb") == []
    config.unlink()
    assert run(by_config)[0] == PLAN
    for text in (group, group + ctr + ctr.replace("AES_CTR", "aes_cbc")):
        config.write_text(text, encoding="utf-8")
        code, said = run(by_config)
        assert code == OK, said
        vault.mounts[""]["mdb/"].items.clear()


def test_the_cipher_and_the_keys_by_a_data_folder(home, place):
    """Each key shows by a page that it is the right one and of AES_CBC, before anything is written."""
    keys = make_mariadb_keys(5)
    key = {n: keys[b"", b"mariadb-%d" % n][1] for n in range(1, 6)}
    data, files = home / "data", MariadbKeyFile(home / "b/keys")
    source = MariadbKeyFile(home / "a/keys", keys)
    vault = VaultKeys(place.vault, "mdb", home / "token", f'server_datadir = "{data}"')
    files.more = vault.more
    data.mkdir()

    def run(destination, code, words=""):
        for verb in ("check", "run"):
            shutil.rmtree(home / "m", ignore_errors=True)
            move = Move(home / "m", source, destination)
            move.must(code, verb)
            assert words in move.said, move.said
        done = destination.read()
        if done:
            move.must(OK, "rollback")
        return done

    for one in (vault, files):
        assert run(one, REFUSED, "shows nothing of its keys: 0 tablespaces") is None
    make_tablespace(data, "shop/orders", 2, key[2])
    make_tablespace(data, "shop/clients", 1, key[1])
    for one in (vault, files):
        assert run(one, OK) == keys
    make_tablespace(data, "shop/odd", 5, key[5][::-1])
    for one in (vault, files):
        assert run(one, REFUSED, "'mariadb-5': it doesn't open the server's tablespace 'shop/odd'") is None
    make_tablespace(data, "shop/odd", 5, key[5], ctr=True)
    assert run(vault, REFUSED, "'mariadb-5': the server's tablespace 'shop/odd' is encrypted with AES_CTR") is None
    assert run(files, OK) == keys
    make_tablespace(data, "shop/odd", 6, key[5])
    shutil.rmtree(home / "m")
    move = Move(home / "m", source, files)
    assert move.do() != OK and "'shop/odd' needs key 6, and there would be none" in move.said and files.read() is None


def test_keys_without_a_number_are_refused_by_name(home, place):
    move = Move(home / "m", Keystore(home / "a/keys", make_keys(5)), place)
    move.must(REFUSED)
    assert "MariaDB's keys have numbers for names" in move.said and place.read() is None


def test_no_key_or_token_is_said_or_kept_in_the_open(home, place):
    keys = make_mariadb_keys(3)
    token = (home / "token").read_text(encoding="utf-8").strip()
    move = Move(home / "m", Keystore(home / "a/keys", keys), place)
    for verb in ("check", "run", "verify", "status", "report"):
        move.do(verb)
        assert token not in move.said and not any(data.hex() in move.said.lower() for _, data in keys.values())
    for path in [*move.state.iterdir(), move.folder / "log"]:
        inside = path.read_bytes()
        assert token.encode() not in inside
        assert not any(data in inside or data.hex().encode() in inside.lower() for _, data in keys.values()), path


# --- faults ---


def test_killed_and_cut_at_requests(home, place, vault):
    """Killed at a point, or a request cut before or after it took effect: run again it ends with all keys, of version 1, once;
    or goes back to nothing."""
    keys, had = make_mariadb_keys(20, first=10), make_mariadb_keys(2)
    source = Keystore(home / "a/keys", keys)
    move = Move(home / "m", source, place)

    def fresh():
        vault.calm()
        vault.mounts[""]["mdb/"].items.clear()
        place.put(had)
        move.reset()

    def ends(back):
        vault.calm()
        if back:
            move.go_back()
            assert place.read() == had
        else:
            move.must(OK)
            assert place.read() == {**had, **keys}

    with Cases("MariaDB's keys in a Vault, killed and cut") as cases:
        for at in (1, 2, 3, 4):
            with cases.one(f"killed at vault-key:{at}"):
                fresh()
                code = move.do(env={"RH_CRASH_AT": f"vault-key:{at}"})
                assert code == KILLED or at > 3, code
                ends(at % 2)
        for at in (20, 55):
            with cases.one(f"killed at *:{at}"):
                fresh()
                assert move.do(env={"RH_CRASH_AT": f"*:{at}"}) == KILLED
                ends(at % 2)
        for kind in ("before", "after", "body"):
            for after in (0, 19):
                with cases.one(f"POST {after} cut, {kind}"):
                    fresh()
                    vault.fault(kind, match="POST mdb/data", after=after)
                    assert move.do() == OK, move.said[-400:]
                    assert place.read() == {**had, **keys}
            if kind == "body":
                continue
            with cases.one(f"all of them cut, {kind}"):
                fresh()
                vault.fault(kind, match="POST mdb/data", after=3, count=-1)
                code = move.do("run", "--retry", "0s")
                assert (code == OK) == (kind != "before"), (code, move.said[-400:])
                ends(False)
            with cases.one(f"DELETE cut, {kind}"):
                fresh()
                move.must(OK)
                vault.fault(kind, match="DELETE mdb/metadata", after=2)
                move.must(OK, "rollback")
                assert place.read() == had


# --- a real server ---


@pytest.mark.skipif(not PLUGIN.exists(), reason="no mariadb-plugin-hashicorp-key-management")
def test_a_server_opens_its_tables_with_keys_that_were_moved(home, place, vault, tls):
    """From its key file to the Vault and back: every row each time. What is refused, is refused for good: with AES_CTR the
    tables read as corrupted."""
    missing = missing_server("mariadb")
    if missing:
        pytest.skip(missing)
    keys = Keys()
    try:
        values = {(b"", b"mariadb-%d" % n): (AES, secrets.token_bytes(size)) for n, size in ((1, 32), (2, 16))}
        first = MariadbKeyFile(keys.folder("first") / "keys", values, filekey="x")
        keys.own(first.path, first.filekey_file)
        vault.policy("server", {"mdb/data/*": ["read"], "sys/mounts/mdb/tune": ["read"]})
        options = by_vault(place, vault.token(policies=["server"]), tls + "/ca.pem")
        with EncryptedMariadb(*by_file(first, "AES_CBC")) as server:
            server.encrypt()
            place.more = f'server_datadir = "{server.data}"'
            Move(home / "m1", first, place).must(OK)
            server.use(*options)
            server.all_there()
            server.sql("INSERT INTO enc.two VALUES (1000, 'written under the Vault')")
            server.rows.append(["1000", "written under the Vault"])
            server.sql("INSERT INTO enc.one VALUES (1000, 'written under the Vault')")
            server.sql("INSERT INTO enc.aria VALUES (1000, 'written under the Vault')")
            back = MariadbKeyFile(keys.folder("back") / "keys", more=place.more)
            Move(home / "m2", place, back).must(OK)
            server.use(*by_file(back, "AES_CBC"))
            server.all_there()
    finally:
        keys.remove()
