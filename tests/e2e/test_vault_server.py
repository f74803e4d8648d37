# SPDX-License-Identifier: Apache-2.0
"""The conformance server of the Vault drivers, asked by a client that isn't ours: MariaDB's hashicorp_key_management."""
import json
import pathlib
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import pytest

from vaultlib import TIMEOUT, TOP

sys.path.insert(0, str(TOP / "tests/servers"))
import vault_server  # pylint: disable=wrong-import-position

SCRIPT = TOP / "tests/servers/mariadb"
PLUGIN = pathlib.Path("/usr/lib/mysql/plugin/hashicorp_key_management.so")
PLAIN = "the words that must not be on disk in plain text"


@pytest.fixture(name="folder")
def make_folder():
    with tempfile.TemporaryDirectory(prefix="rh-test-vault-") as folder:
        pathlib.Path(folder).chmod(0o755)
        subprocess.run([TOP / "tests/servers/tls", folder + "/tls"], check=True, timeout=TIMEOUT)
        # for the account that MariaDB runs as
        shutil.copy(folder + "/tls/ca.pem", folder + "/ca.pem")
        pathlib.Path(folder, "ca.pem").chmod(0o644)
        yield folder


def mariadb(verb, folder, *more):
    with tempfile.TemporaryFile() as said:
        done = subprocess.run([SCRIPT, verb, folder + "/db", *more], stdout=said, stderr=said, timeout=TIMEOUT, check=False)
        said.seek(0)
        return done.returncode, said.read().decode(errors="replace")


@pytest.mark.skipif(not PLUGIN.exists(), reason="no mariadb-plugin-hashicorp-key-management")
def test_mariadb_opens_its_tables(folder):
    with vault_server.Vault(folder + "/tls") as vault:
        vault.mount("mdb", 2)
        vault.policy("mariadb", {"mdb/data/*": ["read"], "sys/mounts/mdb/tune": ["read"]})
        token = vault.token(policies=["mariadb"])
        vault.put("mdb/1", {"data": secrets.token_hex(32)})
        vault.put("mdb/2", {"data": secrets.token_hex(32)})
        options = ["plugin-load-add=hashicorp_key_management.so", f"hashicorp-key-management-vault-url={vault.url}/v1/mdb",
                   f"hashicorp-key-management-token={token}", f"hashicorp-key-management-vault-ca={folder}/ca.pem",
                   "innodb-encrypt-tables=FORCE", "innodb-encryption-threads=1"]
        try:
            code, said = mariadb("start", folder, *("--option=" + one for one in options))
            assert code == 0, said
            code, said = mariadb("sql", folder, "CREATE DATABASE d; CREATE TABLE d.t (v TEXT) ENCRYPTED=YES ENCRYPTION_KEY_ID=2; "
                                 f"INSERT INTO d.t VALUES ('{PLAIN}'); FLUSH TABLES d.t FOR EXPORT; UNLOCK TABLES")
            assert code == 0, said
            env = dict(line.split("=", 1) for line in pathlib.Path(folder, "db/env").read_text(encoding="utf-8").splitlines())
            assert PLAIN.encode() not in pathlib.Path(env["MYSQL_DATA"], "d/t.ibd").read_bytes()
            code, said = mariadb("restart", folder)
            assert code == 0, said
            assert mariadb("sql", folder, "SELECT v FROM d.t") == (0, PLAIN + "\n")
            code, said = mariadb("sql", folder, "SELECT ENCRYPTION_SCHEME, CURRENT_KEY_ID FROM information_schema."
                                 "INNODB_TABLESPACES_ENCRYPTION WHERE NAME = 'd/t'")
            assert (code, said) == (0, "1\t2\n")
            # another key under the same name doesn't open it: the answers are what counts
            vault.mounts[""]["mdb/"].items["2"].versions[1]["data"] = {"data": secrets.token_hex(32)}
            assert mariadb("restart", folder)[0] == 0
            code, said = mariadb("sql", folder, "SELECT v FROM d.t")
            assert code != 0 and PLAIN not in said, said
            assert {"method": "GET", "path": "sys/mounts/mdb/tune", "status": 200} in vault.log
            assert {"method": "GET", "path": "mdb/data/2", "status": 200} in vault.log
        finally:
            mariadb("stop", folder)


class Asking:
    """A client of the server's own tests."""

    def __init__(self, vault, token, **headers):
        self.vault, self.headers = vault, {"X-Vault-Token": token, **headers}
        self.context = ssl.create_default_context(cafile=vault.ca)

    def __call__(self, method, path, told=None):
        body = None if told is None else json.dumps(told).encode()
        request = urllib.request.Request(f"{self.vault.url}/v1/{path}", body, self.headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=20) as answer:
                said = answer.read()
                return answer.status, json.loads(said) if said else None
        except urllib.error.HTTPError as wrong:
            with wrong:
                said = wrong.read()
            return wrong.code, json.loads(said) if said else None


@pytest.fixture(name="vault")
def make_vault(folder):
    with vault_server.Vault(folder + "/tls") as vault:
        vault.mount("kv", 2)
        vault.mount("one", 1)
        yield vault


def test_versions(vault):
    ask = Asking(vault, vault.root)
    wrong_version = (400, {"errors": ["check-and-set parameter did not match the current version"]})
    assert ask("GET", "kv/data/a") == ask("GET", "kv/metadata?list=true") == (404, {"errors": []})
    assert ask("POST", "kv/data/a", {"data": {"x": "1"}, "options": {"cas": 1}}) == wrong_version
    status, said = ask("POST", "kv/data/a", {"data": {"x": "1"}, "options": {"cas": 0}})
    assert (status, said["data"]["version"]) == (200, 1)
    assert ask("POST", "kv/data/a", {"data": {"x": "1"}, "options": {"cas": 0}}) == wrong_version
    assert ask("GET", "kv/data/a")[1]["data"]["data"] == {"x": "1"}
    assert ask("DELETE", "kv/data/a") == (204, None)
    status, said = ask("GET", "kv/data/a")
    assert status == 404 and said["data"]["data"] is None and said["data"]["metadata"]["deletion_time"]
    assert ask("LIST", "kv/metadata/")[1]["data"]["keys"] == ["a"]  # deleted, and listed still
    assert ask("POST", "kv/data/a", {"data": {"x": "2"}, "options": {"cas": 0}}) == wrong_version
    assert ask("POST", "kv/undelete/a", {"versions": [1]}) == (204, None)
    assert ask("GET", "kv/data/a")[0] == 200
    assert ask("POST", "kv/destroy/a", {"versions": [1]}) == (204, None)
    assert ask("GET", "kv/metadata/a")[1]["data"]["versions"]["1"]["destroyed"] is True
    assert ask("DELETE", "kv/metadata/a") == (204, None)
    assert ask("LIST", "kv/metadata") == (404, {"errors": []})
    assert ask("GET", "kv/config")[1]["data"] == {"cas_required": False, "delete_version_after": "0s", "max_versions": 0}
    assert ask("GET", "kv/a")[1]["warnings"]
    assert ask("GET", "nowhere/a") == (404, {"errors": ['no handler for route "nowhere/a". route entry not found.']})


def test_version_1(vault):
    ask = Asking(vault, vault.root)
    assert ask("LIST", "one") == (404, {"errors": []})
    assert ask("POST", "one/dir/a", {"x": "1"}) == (204, None)
    assert ask("PUT", "one/b", {"x": "2"}) == (204, None)
    assert ask("GET", "one?list=true")[1]["data"]["keys"] == ["b", "dir/"]
    assert ask("GET", "one/dir/a")[1]["data"] == {"x": "1"}
    assert ask("DELETE", "one/b") == (204, None)
    assert ask("GET", "one/b") == (404, {"errors": []})


def test_who_may_what(vault):
    vault.policy("some", {"kv/data/*": ["create", "read"], "kv/data/hidden": ["deny"], "kv/metadata/*": ["list"]})
    ask = Asking(vault, vault.token(policies=["some"], ttl=100))
    assert ask("POST", "kv/data/a", {"data": {"x": "1"}})[0] == 200
    assert ask("POST", "kv/data/a", {"data": {"x": "1"}})[0] == 403  # that would be an update
    assert ask("GET", "kv/data/hidden") == (403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})
    assert ask("LIST", "kv/metadata")[0] == 200 and ask("LIST", "one")[0] == 403
    assert ask("GET", "sys/internal/ui/mounts/kv")[1]["data"]["options"] == {"version": "2"}
    assert ask("GET", "sys/internal/ui/mounts/one")[0] == 403
    told = ask("POST", "sys/capabilities-self", {"paths": ["kv/data/a", "one/a"]})[1]["data"]
    assert told == {"kv/data/a": ["create", "read"], "one/a": ["deny"]}
    assert 0 < ask("GET", "auth/token/lookup-self")[1]["data"]["ttl"] <= 100
    assert ask("POST", "auth/token/renew-self", {})[1]["auth"]["lease_duration"] >= 99
    role, secret = vault.approle(["some"], ttl=50)
    assert ask("POST", "auth/approle/login", {"role_id": role, "secret_id": "no"}) == (400, {"errors": ["invalid role or secret ID"]})
    login = ask("POST", "auth/approle/login", {"role_id": role, "secret_id": secret})[1]["auth"]
    assert Asking(vault, login["client_token"])("LIST", "kv/metadata")[0] == 200
    assert Asking(vault, "hvs.other")("LIST", "kv/metadata")[0] == 403
    vault.tokens[login["client_token"]].until = 1
    assert Asking(vault, login["client_token"])("LIST", "kv/metadata")[0] == 403


def test_namespaces_and_faults(vault):
    vault.mount("kv", 2, namespace="team")
    vault.put("kv/a", {"x": "1"}, namespace="team")
    vault.put("kv/b", {"x": "1"})
    there = Asking(vault, vault.root, **{"X-Vault-Namespace": "team"})
    assert there("LIST", "kv/metadata")[1]["data"]["keys"] == ["a"]
    here = Asking(vault, vault.root)
    assert here("LIST", "kv/metadata")[1]["data"]["keys"] == ["b"]
    vault.fault("status", "GET kv/data", after=1, status=429, headers={"Retry-After": "1"})
    assert [here("GET", "kv/data/b")[0] for _ in range(3)] == [200, 429, 200]
    for kind in ("before", "after", "body"):
        vault.fault(kind, "POST kv/data/" + kind)
        with pytest.raises(Exception): # noqa: B017  (whatever the library makes of a cut)
            here("POST", "kv/data/" + kind, {"data": {"x": "1"}})
        assert (vault.get("kv/" + kind) is None) == (kind == "before")
    vault.sealed = True
    assert here("GET", "kv/data/b") == (503, {"errors": ["Vault is sealed"]})
    assert here("GET", "sys/health")[0] == 503
