# SPDX-License-Identifier: Apache-2.0
"""Percona's keyring_vault as a side of a move, on the conformance server: round trips, refusals, faults, the way back."""
import base64
import json
import os
import signal
import subprocess
import tempfile
import time

import pytest
from faultlib import (  # noqa: F401
    DESTINATION, INTERRUPTED, KILLED, LOCKED, MISMATCH, OK, PLAN, REFUSED, SOURCE, USAGE, Move, home,
)
from keystorelib import DATA, Keystore, PluginKeystore, make_keys
from keyvaultlib import VaultKeys, vault_server
from vaultlib import TIMEOUT, TOP

MARKER = vault_server.signature(b"rehome-migration")


@pytest.fixture(name="tls", scope="module")
def make_tls():
    with tempfile.TemporaryDirectory(prefix="rh-test-vault-") as folder:
        subprocess.run([TOP / "tests/servers/tls", folder], check=True, timeout=TIMEOUT)
        yield folder


@pytest.fixture(name="vault")
def make_vault(tls):
    with vault_server.Vault(tls) as vault:
        yield vault


@pytest.fixture(params=[2, 1], name="version")
def make_version(request):
    return request.param


# --- round trips ---


def test_there_and_back_byte_for_byte(home, vault, version):
    keys = make_keys(150)
    source, middle = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version)
    was = source.state()
    move = Move(home / "m", source, middle)
    move.must(OK, "check")
    assert middle.read() == {}
    move.must(OK)
    assert middle.read() == keys and source.state() == was
    move.must(OK, "verify")
    move.must(OK)
    back = Keystore(home / "b/keys")
    away = Move(home / "n", middle, back)
    away.must(OK)
    assert back.read() == keys
    Keystore(home / "c/keys", keys)
    move.must(OK, "rollback")
    assert middle.names() == [] and source.state() == was


def test_hard_keys_come_back_the_same(home, vault, version):
    """Ids of any bytes but those whose name would hold a slash, large keys, strange types."""
    keys = {(b"", b"a" * n): (b"AES", bytes([n]) * 32) for n in range(1, 40)}
    keys |= {(b"o@h", b"7_key"): (b"RSA", os.urandom(512)), (b"1_a", b"0_0_"): (b"SECRET", b"\0" * 16384),
             (b"", b'quote"back\\slash'): (b"any type", b"\xff"), (b"", b"\xc3\xa9-1"): (b"AES", os.urandom(16))}
    keys = {key: held for key, held in keys.items() if "/" not in vault_server.signature(key[1], key[0])}
    source, middle, back = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version), Keystore(home / "b/keys")
    Move(home / "m", source, middle).must(OK)
    assert middle.read() == keys
    Move(home / "n", middle, back).must(OK)
    assert back.read() == keys


# --- names ---

SLASH = next((b"", b"x" * n + b"?") for n in range(3) if "/" in vault_server.signature(b"x" * n + b"?"))


def test_a_slash_in_a_name(home, vault, version):
    keys = make_keys(5)
    source = Keystore(home / "a/keys", {**keys, SLASH: (b"AES", b"s" * 32)})
    destination = VaultKeys(vault, home, version=version)
    move = Move(home / "m", source, destination)
    for verb in ("check", "run"):
        move.must(REFUSED, verb)
        assert f"can't hold '{SLASH[1].decode()}'" in move.said and "couldn't list it" in move.said
        assert destination.names() == []
    # one that Percona wrote and doesn't find any more is found
    lost = VaultKeys(vault, home, "lost", version, {**keys, SLASH: (b"AES", b"s" * 32)})
    back = Keystore(home / "b/keys")
    Move(home / "n", lost, back).must(OK)
    assert back.read() == {**keys, SLASH: (b"AES", b"s" * 32)}


@pytest.mark.parametrize("name", ["no base64", "bm8gc2lnbmF0dXJl", base64.b64encode(b"04_key10_").decode(), "folder/other",
                                  base64.b64encode(b"4_key10_more").decode(), base64.b64encode(b"4_key10_").decode().rstrip("=")])
def test_a_name_that_is_no_key_s(home, vault, name):
    keys = make_keys(5)
    source, back = VaultKeys(vault, home, "src", keys=keys), Keystore(home / "b/keys")
    vault.put(f"{source.point}/{name}", {"type": "AES", "value": "AAAA"})
    move = Move(home / "m", source, back)
    move.must(SOURCE)
    assert f"'{name}'" in move.said and "isn't the name of a key" in move.said and back.read() is None
    source.more = 'others = "skip"'
    move = Move(home / "n", source, back)
    move.must(OK, "run", "--log-level=warn")
    assert back.read() == keys and "left out" in move.said and name in move.said


@pytest.mark.parametrize("held", [{"value": "AAAA"}, {"type": "AES"}, {"type": "AES", "value": 5}, {"type": "AES", "value": "A A="}, {}])
def test_a_secret_that_is_no_key(home, vault, version, held):
    source, back = VaultKeys(vault, home, "src", version, make_keys(5)), Keystore(home / "b/keys")
    vault.put(source.path((b"me", b"broken")), held)
    move = Move(home / "m", source, back)
    move.must(SOURCE)
    assert "'broken' of 'me'" in move.said and back.read() is None
    assert "A A" not in move.said


# --- what is there, what is gone ---


def test_deleted_keys_are_none(home, vault):
    keys = make_keys(30)
    source, back = VaultKeys(vault, home, "src", keys=keys), Keystore(home / "b/keys")
    gone, destroyed, bare = sorted(keys)[3], sorted(keys)[20], (b"", b"bare")
    items = vault.mounts[""]["src/"].items
    items[source.path(gone)[4:]].versions[1]["gone"] = vault_server.stamp()
    items[source.path(destroyed)[4:]].versions[1].update(destroyed=True, data=None)
    items[source.path(bare)[4:]] = vault_server.Secret()  # only settings, no version
    left = {key: held for key, held in keys.items() if key not in (gone, destroyed)}
    move = Move(home / "m", source, back)
    move.must(OK)
    assert back.read() == left and f"{len(left)} records" in move.said


def test_over_deleted_names_and_back(home, vault):
    keys = make_keys(40)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    deleted, old = sorted(keys)[5], (b"", b"old")
    destination.put(deleted, (b"AES", b"first" * 4))
    destination.put(deleted, (b"AES", b"again" * 4))
    destination.put(old, (b"AES", b"o" * 16))
    item = vault.mounts[""]["dst/"].items[destination.path(deleted)[4:]]
    item.versions[2]["gone"] = vault_server.stamp()
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert destination.read() == {**keys, old: (b"AES", b"o" * 16)} and item.current == 3
    move.must(OK, "rollback")
    assert destination.read() == {old: (b"AES", b"o" * 16)}
    assert sorted(destination.names()) == sorted([vault_server.signature(deleted[1], deleted[0]), vault_server.signature(old[1])])
    assert item.versions[3] == {**item.versions[3], "destroyed": True, "data": None} and item.versions[1]["data"]
    assert item.versions[2]["gone"]
    # and once more over what is destroyed
    Move(home / "n", source, destination).must(OK)
    assert destination.read() == {**keys, old: (b"AES", b"o" * 16)}


def test_the_way_back_without_rights_on_metadata(home, vault):
    keys = make_keys(5)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    vault.policy("dst", {"dst/data/*": ["create", "read", "update", "delete"], "dst/metadata/*": ["list"]})  # Percona's own
    move = Move(home / "m", source, destination)
    move.must(OK)
    move.must(OK, "rollback", "--log-level=warn")
    assert destination.read() == {} and "stays listed" in move.said
    Move(home / "n", source, destination).must(OK)
    assert destination.read() == keys


def test_keys_that_are_there(home, vault, version):
    keys = make_keys()
    names = sorted(keys)
    had = {names[0]: keys[names[0]], names[5]: (b"AES", b"d" * 16), (b"", b"other"): (b"AES", b"k" * 16)}
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version, keys=had)
    was = destination.state()
    for policy in ("fail", "keep-equal"):
        move = Move(home / policy, source, destination, on_conflict=policy)
        move.must(REFUSED)
        assert "the destination already holds" in move.said and destination.state() == was
    move = Move(home / "m", source, destination, on_conflict="overwrite")
    move.must(OK)
    assert destination.read() == {**had, **keys}
    destination.put(names[3], (b"AES", b"since" * 5))
    move.must(DESTINATION, "rollback")
    assert destination.read() == {**had, names[3]: (b"AES", b"since" * 5)} and "somebody has written it since" in move.said


def test_repair(home, vault, version):
    keys = make_keys()
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version)
    move = Move(home / "m", source, destination)
    move.must(OK)
    broken = sorted(keys)[2]
    destination.put(broken, (b"AES", b"damage" * 4))
    assert move.do("verify") != OK and "differs" in move.said
    move.must(OK, "verify", "--repair")
    assert destination.read() == keys
    move.must(OK, "rollback")
    assert destination.names() == []


# --- rights, mounts, versions ---


def test_what_is_forbidden_is_never_empty(home, vault, version):
    keys = make_keys(12)
    source = VaultKeys(vault, home, "src", version, keys)
    back = Keystore(home / "b/keys")
    denied, data = sorted(keys)[4], "src/data/" if version == 2 else "src/"
    shown = vault_server.signature(denied[1], denied[0])
    vault.policy("src", {f"{data}*": ["read"], "sys/internal/ui/mounts/*": ["read"]})
    move = Move(home / "m", source, back)
    move.must(SOURCE)
    assert "listing the keys failed: " in move.said and "permission denied" in move.said and "list on src/" in move.said
    vault.policy("src", {f"{data}*": ["read", "list"], "src/metadata/*": ["list"], f"{data}mysql/one/{shown}": ["deny"]})
    move.must(SOURCE)
    assert "permission denied" in move.said and denied[1].decode() in move.said
    assert back.read() is None


def test_where_nothing_is(home, vault, version):
    vault.policy("any", {"*": ["create", "read", "update", "delete", "list"]})
    source, back = VaultKeys(vault, home, "src", version), Keystore(home / "b/keys")
    Move(home / "empty", source, back).must(OK)
    assert back.read() == {}
    source.use(vault.token(policies=["any"]))
    source.point = "elsewhere/keys"
    move = Move(home / "m", source, back)
    move.must(REFUSED)
    assert "no handler for route" in move.said
    source.point, source.more = "src/mysql/one", f'secret_mount_point_version = "{3 - version}"'
    move = Move(home / "n", source, back)
    move.must(REFUSED)
    assert f"is a KV engine of version {version}" in move.said
    # the same where the server doesn't say what is mounted
    vault.policy("any", {"*": ["create", "read", "update", "delete", "list"], "sys/internal/ui/mounts/*": ["deny"]})
    move.must(REFUSED)
    assert "Invalid path for a versioned K/V" in move.said or "no part of" in move.said


def test_which_part_is_the_mount(home, vault):
    keys = make_keys(5)
    source, back = VaultKeys(vault, home, "deep/kv", keys=keys), Keystore(home / "b/keys")
    hide = {"sys/internal/ui/mounts/*": ["deny"]}
    rules = {"deep/kv/data/*": ["read"], "deep/kv/metadata/*": ["list"], **hide}
    vault.policy("deep/kv", rules)
    move = Move(home / "m", source, back)
    move.must(SOURCE)
    assert "isn't told to this token" in move.said
    vault.policy("deep/kv", {**rules, "deep/kv/config": ["read"], "deep/config": ["read"]})
    move.must(OK)
    assert back.read() == keys
    one = VaultKeys(vault, home, "one", 1, keys)
    vault.policy("one", {"one/*": ["read", "list"], **hide})
    Move(home / "n", one, Keystore(home / "c/keys")).must(OK)
    assert Keystore(home / "c/keys").read() == keys


def test_a_destination_that_can_t_be_written(home, vault, version):
    source, destination = Keystore(home / "a/keys", make_keys(5)), VaultKeys(vault, home, version=version)
    vault.policy("dst", {"dst/*": ["read", "list"]})
    move = Move(home / "m", source, destination)
    assert move.do() not in (OK, INTERRUPTED)
    assert "can't be written" in move.said and destination.names() == []


# --- access ---


def test_the_server_s_own_configuration(home, vault):
    keys = make_keys(5)
    source, back = VaultKeys(vault, home, "src", keys=keys), home / "b"
    lines = (f"vault_url = {vault.url}\nsecret_mount_point = {source.point}\n\n  token={source.token}  \nvault_ca = {vault.ca}\n")
    told = {"vault_url": vault.url, "secret_mount_point": source.point, "token": source.token, "vault_ca": vault.ca, "timeout": 15,
            "secret_mount_point_version": "AUTO"}
    texts = {"lines": lines, "version": lines + "secret_mount_point_version = 2", "json": json.dumps(told, indent=1)}
    for name, text in texts.items():
        (home / name).write_text(text, encoding="utf-8")
        (home / name).chmod(0o600)

        class Configured(VaultKeys):
            def __init__(self, name, more=""):
                self.name, self.more = name, more

            def block(self, side):
                return f'{side} "component_keyring_vault" {{ config = "{home / self.name}" {self.more} }}'

        Move(home / ("m" + name), Configured(name), Keystore(back / name)).must(OK)
        assert Keystore(back / name).read() == keys
    (home / "local").write_text('{"read_local_config": true}', encoding="utf-8")
    (home / "component_keyring_vault.cnf").write_text(texts["json"], encoding="utf-8")
    Move(home / "far", Configured("local", f'instance_dir = "{home}"'), Keystore(back / "far")).must(OK)
    assert Keystore(back / "far").read() == keys
    for wrong, words in ((lines + "tokn = abc", "line 6: not an option"), (lines.replace("token", "#"), "there is no token"),
                         (lines.replace("https", "http"), "plain text"), ('{"read_local_config": true', "no JSON object"),
                         ('{"read_local_config": true}', "instance_dir")):
        (home / "wrong").write_text(wrong, encoding="utf-8")
        move = Move(home / "wrong.m", Configured("wrong"), Keystore(back / "wrong"))
        move.must(PLAN)
        assert words in move.said and "abc" not in move.said


def test_ways_to_give_the_token(home, vault):
    """By the environment and by a descriptor, which is asked once though the store is opened twice; not by two ways at once."""
    keys = make_keys(5)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    text = destination.block("destination")
    file = f'token_file = "{destination.token_file}"'

    class Other(VaultKeys):
        def __init__(self, given):
            self.given = given

        def block(self, side):
            return text.replace(file, self.given)

    move = Move(home / "env", source, Other('token_env = "A_TOKEN"'))
    move.must(OK, env={"A_TOKEN": destination.token})
    move.must(OK, "rollback", env={"A_TOKEN": destination.token})
    move.must(PLAN, "check")
    assert "'A_TOKEN' isn't set" in move.said
    move, wrap = Move(home / "fd", source, Other("token_fd = 7")), ("sh", "-c", f'exec 7< {destination.token_file}; exec "$@"', "sh")
    move.must(OK, wrap=wrap)
    source.write({**keys, (b"", b"later"): (b"AES", b"l" * 32)})
    move.must(OK, wrap=wrap)
    assert destination.read() == source.read()
    move = Move(home / "two", source, Other(file + ' token_env = "A_TOKEN"'))
    move.must(PLAN, "check", env={"A_TOKEN": "x"})
    assert "give only one of" in move.said


@pytest.mark.parametrize("cert,words", [("wrong-host", "for another host"), ("expired", "has run out"), ("self-signed", "isn't signed by a CA")])
def test_who_the_server_is(home, tls, cert, words):
    with vault_server.Vault(tls, cert) as vault:
        source, destination = Keystore(home / "a/keys", make_keys(5)), VaultKeys(vault, home)
        move = Move(home / "m", source, destination)
        move.must(DESTINATION, "check")
        assert words in move.said and not vault.log
        plan = move.plan.read_text(encoding="utf-8").replace(f'ca_file = "{vault.ca}"', f'ca_file = "{vault.ca}" verify = "off"')
        move.plan.write_text(plan, encoding="utf-8")
        move.must(OK, "check")
        assert "pose as the server" in move.said


@pytest.mark.parametrize("how,words", [
    ({"status": 307, "headers": {"Location": "https://active:8200/"}}, "sends elsewhere"),
    ({"status": 413, "errors": ["request body too large"]}, "request body too large"),
    ({"status": 400, "body": {"said": "SECRET-ECHO"}}, "the server gives no reason; HTTP 400"),
    ({"status": 405, "errors": ["unsupported\noperation"]}, "unsupported operation"),
])
def test_what_a_server_says(home, vault, how, words):
    source, destination = Keystore(home / "a/keys", make_keys(5)), VaultKeys(vault, home)
    vault.fault("status", "POST dst/data", count=-1, **how)
    move = Move(home / "m", source, destination)
    assert move.do() not in (OK, INTERRUPTED)
    assert words in move.said and "SECRET-ECHO" not in move.said
    vault.calm()
    move.must(OK)
    assert destination.read() == source.read()


def test_namespaces(home, vault):
    keys = make_keys(5)
    source = VaultKeys(vault, home, "src", keys=keys, namespace="team/db")
    VaultKeys(vault, home, "src2")
    back = Keystore(home / "b/keys")
    Move(home / "m", source, back).must(OK)
    assert back.read() == keys
    destination = VaultKeys(vault, home, "dst", namespace="other")
    move = Move(home / "n", source, destination)
    move.must(OK)
    assert destination.read() == keys
    move.must(OK, "rollback")
    assert destination.names() == []


def test_approle_and_tokens_that_run_out(home, vault):
    keys = make_keys(60)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    role, secret = vault.approle(["dst"], ttl=3600)
    (home / "secret-id").write_text(secret + "\n", encoding="utf-8")
    (home / "secret-id").chmod(0o600)
    destination.more = f'approle {{ role_id = "{role}" secret_id_file = "{home / "secret-id"}" }}'

    def revoke(after):
        """All tokens end at some request."""
        real = vault.need_token

        def need_token(headers, namespace, left=[after]):
            left[0] -= 1
            if left[0] == 0:
                for token in vault.tokens.values():
                    token.until = 1 if token.id != vault.root else None
            return real(headers, namespace)
        vault.need_token = need_token

    for after in (3, 40, 150):
        revoke(after)
        move = Move(home / f"m{after}", source, destination)
        move.must(OK)
        assert destination.read() == keys
        del vault.need_token
        move.must(OK, "rollback")
        assert destination.names() == []
    (home / "secret-id").write_text("wrong\n", encoding="utf-8")
    move = Move(home / "wrong", source, destination)
    move.must(DESTINATION)
    assert "invalid role or secret ID" in move.said and "wrong\n" not in move.said


def test_a_token_is_renewed_while_it_is_used(home, vault):
    keys = make_keys(60)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    destination.use(vault.token(policies=["dst"], ttl=3))
    vault.fault("slow", "POST dst/data", count=-1, seconds=0.4)
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == keys and vault.tokens[destination.token].renewals >= 1


def test_a_token_from_a_file_that_is_written_anew(home, vault):
    keys = make_keys(30)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    destination.use(vault.token(policies=["dst"], ttl=1, renewable=False))
    vault.fault("slow", "POST dst/data", count=3, seconds=0.7)
    move = Move(home / "m", source, destination)
    process = move.start("run", "--retry=20s")
    time.sleep(0.5)
    destination.use(vault.token(policies=["dst"], ttl=600))
    assert process.wait(60) == OK and destination.read() == keys
    destination.use("hvs.unknown")
    move.must(DESTINATION, "verify")
    assert "doesn't take the token" in move.said and "hvs.unknown" not in move.said


def test_keyring_migrate(home, vault, version, rehome):
    """As Percona's migration is called: plugin to Vault, and the component's Vault to the component's file."""
    keys = make_keys(12)
    source, middle = PluginKeystore(home / "a/keyring", keys), VaultKeys(vault, home, version=version)
    plugins, conf, told = home / "plugins", home / "vault.conf", {
        "vault_url": vault.url, "secret_mount_point": middle.point, "token": middle.token, "vault_ca": vault.ca}
    plugins.mkdir()
    conf.write_text("".join(f"{name} = {value}\n" for name, value in told.items()), encoding="utf-8")
    (plugins / "component_keyring_vault.cnf").write_text(json.dumps(told), encoding="utf-8")
    (plugins / "component_keyring_file.cnf").write_text(json.dumps({"path": f"{home}/b.json", "read_only": False}), encoding="utf-8")
    for path in (conf, plugins / "component_keyring_vault.cnf"):
        path.chmod(0o600)
    common = ["keyring-migrate", "--no-defaults", f"--state-dir={home}/state"]
    there = [*common, "--user=root", "--keyring-migration-source=keyring_file.so", f"--keyring_file_data={source.path}",
             "--keyring-migration-destination=keyring_vault.so", f"--keyring_vault_config={conf}"]
    done = rehome(*there)
    assert done.returncode == OK, done.stderr
    assert middle.read() == keys and middle.token not in done.stderr + done.stdout
    plan = next(path for path in (home / "state").glob("*.hcl"))
    assert middle.token not in plan.read_text(encoding="utf-8")
    back = [*common, "--run-as=root", "--source-keyring=component_keyring_vault", "--destination-keyring=component_keyring_file",
            f"--component-dir={plugins}"]
    done = rehome(*back)
    assert done.returncode == OK, done.stderr
    assert Keystore(home / "b.json").read() == keys
    done = rehome("rollback", plan)
    assert done.returncode == OK and middle.names() == [], done.stderr


# --- faults ---


@pytest.mark.parametrize("version,kind", [*((2, kind) for kind in ("before", "after", "body", "429", "500", "503")), (1, "after"), (1, "500")])
def test_faults_are_got_over(home, vault, version, kind):
    keys = make_keys(50)
    source, destination, back = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version), Keystore(home / "b/keys")
    how = {"kind": "status", "status": int(kind), "errors": ["Vault is sealed"] if kind == "503" else ["no reason"]} \
        if kind.isdigit() else {"kind": kind}
    for match, after in (("POST dst", 0), ("POST dst", 11), ("GET dst", 3), ("list|dst/(metadata|mysql/one)/?$", 1), ("GET dst", 40),
                         ("auth/token|ui/mounts", 0)):
        vault.fault(match=match, after=after, count=2, **how)
    Move(home / "m", source, destination).must(OK)
    assert destination.read() == keys
    vault.calm()
    for after in (0, 5, 30, 60):
        vault.fault(match="GET dst", after=after, count=2, **how)
    away = Move(home / "n", destination, back)
    away.must(OK)
    assert back.read() == keys
    vault.calm()
    move = Move(home / "m", source, destination)
    for match in ("DELETE dst", "POST dst/destroy", "GET dst/metadata", "GET dst"):
        vault.fault(match=match, after=4, count=2, **how)
    move.must(OK, "rollback")
    assert destination.names() == []


def test_answers_that_come_too_late(home, vault, version):
    """A request is given up after request_timeout; what the server makes of it later does no harm."""
    keys = make_keys(30)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version)
    destination.more = 'request_timeout = "500ms"'
    vault.fault("slow", "POST dst", after=3, count=1, seconds=1.5)
    vault.fault("slow", "GET dst", after=50, count=1, seconds=1.5)
    move = Move(home / "m", source, destination)
    move.must(OK)
    assert "longer than request_timeout" in move.said
    time.sleep(1)
    assert destination.read() == keys
    move.must(OK, "rollback")
    assert destination.names() == []


def test_a_right_that_is_taken_away_in_the_middle(home, vault, version):
    keys = make_keys(60)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version)
    denied = sorted(keys)[45]
    rules = dict(vault.policies[""]["dst"])
    vault.policy("dst", {**rules, f"dst/{'data/' if version == 2 else ''}{destination.path(denied)[4:]}": ["read"]})
    move = Move(home / "m", source, destination)
    move.must(DESTINATION)
    assert "permission denied" in move.said and denied[1].decode() in move.said
    left = destination.read()
    assert {key: held for key, held in left.items() if key != (b"", b"rehome-migration")}.items() <= keys.items()
    vault.policy("dst", rules)
    move.must(OK)
    assert destination.read() == keys
    move.must(OK, "rollback")
    assert destination.names() == []


@pytest.mark.parametrize("point", ["keyring-vault-commit:2", "keyring-vault-commit:5", "copy:2", "journal:25", "journal:33"])
def test_killed_and_gone_on_with(home, vault, version, point):
    keys = make_keys(60)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version)
    move = Move(home / "m", source, destination)
    move.must(KILLED, env={"RH_CRASH_AT": point})
    found = destination.read()
    found.pop((b"", b"rehome-migration"), None)
    assert found.items() <= keys.items()
    move.must(OK)
    assert destination.read() == keys
    move.go_back()
    assert destination.names() == []


@pytest.mark.parametrize("point", ["rollback:1", "keyring-vault-commit:1", "keyring-vault-commit:6"])
def test_killed_on_the_way_back(home, vault, point):
    keys = make_keys(60)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, keys={(b"", b"old"): (b"AES", b"o" * 16)})
    was = destination.state()
    move = Move(home / "m", source, destination)
    move.must(OK)
    move.must(KILLED, "rollback", env={"RH_CRASH_AT": point})
    move.must(OK, "rollback")
    assert destination.state() == was


def test_marks(home, vault, version):
    keys = make_keys(40)
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home, version=version)
    move = Move(home / "m", source, destination)
    process = move.stopped("keyring-vault-commit:2")
    assert MARKER in destination.names()
    other = Move(home / "n", Keystore(home / "b/keys", make_keys(5, seed=9)), destination)
    other.must(LOCKED)
    assert "rehome-migration" in other.said
    Move(home / "o", destination, Keystore(home / "c/keys")).must(LOCKED)  # half a keyring
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == OK
    assert destination.read() == keys and MARKER not in destination.names()
    # a mark that somebody took away: what was copied doesn't count
    again = Move(home / "p", source, VaultKeys(vault, home, "third", version))
    again.must(KILLED, env={"RH_CRASH_AT": "keyring-vault-commit:5"})
    again.must(OK, "recover")
    assert MARKER not in again.destination.names()
    again.must(OK)
    assert again.destination.read() == keys


def test_nothing_secret_is_told(home, vault):
    keys = {(b"", b"one"): (b"AES", b"0123456789abcdefThirtyTwoBytes!!"), (b"", b"two"): (b"SECRET", b"correct horse battery staple")}
    source, destination = Keystore(home / "a/keys", keys), VaultKeys(vault, home)
    vault.fault("status", "POST dst/data", after=1, count=1, status=500, errors=[base64.b64encode(keys[b"", b"one"][1]).decode()[:0]])
    move = Move(home / "m", source, destination)
    move.must(OK, "run", "--log-level=trace")
    said = move.said.encode()
    move.must(OK, "verify", "--log-level=trace")
    move.must(OK, "rollback", "--log-level=trace")
    said += move.said.encode() + b"".join(path.read_bytes() for path in move.state.rglob("*") if path.is_file())
    for secret in [held[1] for held in keys.values()] + [destination.token.encode()]:
        for form in (secret, base64.b64encode(secret), secret.hex().encode(), secret.hex().upper().encode()):
            assert form not in said and form[:20] not in said
    assert all(destination.token not in one["path"] and "value" not in one["path"] for one in vault.log)


# --- looked at ---


def test_keyring_list_show_and_check(rehome, home, vault, version):  # noqa: F811
    """By the store's options as words; nothing there is changed, and the token isn't taken from the command line."""
    keys = {**make_keys(30), (b"", b"a/b"): (b"AES", bytes(16))}
    there = VaultKeys(vault, home, version=version, keys=keys)
    words = ["keyring_vault", f"vault_url={vault.url}", f"secret_mount_point={there.point}", f"token_file={there.token_file}",
             f"tls.ca_file={vault.ca}"]
    before = there.state()
    done = rehome("keyring", "list", "--json", *words)
    assert done.returncode == OK, done.stderr
    found = {(key["owner"].encode(), key["id"].encode()): (key["type"].encode(), key["bytes"]) for key in json.loads(done.stdout)["keys"]}
    assert found == {name: (key[0], len(key[1])) for name, key in keys.items()}
    named = next(name for owner, name in keys if not owner and name.startswith(b"INNODBKey-") and name.endswith(b"-3")).decode()
    assert "\n  newest   yes, of the 3 of its server here" in rehome("keyring", "show", named, *words).stdout
    done = rehome("keyring", "check", f"--datadir={DATA.parent}/mysql-data/data", *words)
    assert done.returncode == MISMATCH and "\nmissing " in done.stdout, done.stderr  # another server's folder
    config = home / "keyring_vault.conf"
    config.write_text(f"vault_url = {vault.url}\nsecret_mount_point = {there.point}\nvault_ca = {vault.ca}\ntoken = {there.token}\n")
    config.chmod(0o600)
    done = rehome("keyring", "list", "keyring_vault", config)  # as the server has it
    assert done.returncode == OK and done.stderr.startswith(f"{len(keys)} keys in keyring_vault '{vault.url}"), done.stderr
    assert there.state() == before
    done = rehome("keyring", "list", *words, "token=hvs.do-not-show")
    assert done.returncode == USAGE and "isn't taken from the command line" in done.stderr and "do-not" not in done.stderr
    there.token_file.write_text("hvs.of-nobody", encoding="utf-8")
    done = rehome("keyring", "list", *words, "--json")
    assert done.returncode == SOURCE and json.loads(done.stdout)["exit_name"] == "source", done.stderr
