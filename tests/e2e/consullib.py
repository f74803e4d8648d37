# SPDX-License-Identifier: Apache-2.0
"""A private Consul for the tests, and a reader and writer of Vault's layout in it that owes nothing to rehome."""
import base64
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from faultlib import Proxy
from vaultlib import TIMEOUT, TOP


class ConsulServer:
    """With ACLs and TLS. The moves' traffic passes a proxy of ours, the tests' own doesn't."""

    kind, word = "consul", "Consul"
    files = ("CONSUL_TOKEN_FILE", "CONSUL_CA")
    can = set()
    rules = 'key_prefix "vault/" { policy = "write" } agent_prefix "" { policy = "read" } session_prefix "" { policy = "write" }'

    def __init__(self, *options, verb="start"):
        self.script = TOP / "tests/servers/consul"
        self.dir = tempfile.mkdtemp(prefix="rh-test-consul-")
        os.chmod(self.dir, 0o755)
        try:
            self._call(verb, *options)
        except BaseException:
            subprocess.run([self.script, "stop", self.dir], check=False, timeout=TIMEOUT)
            shutil.rmtree(self.dir, ignore_errors=True)
            raise
        self.env = {}
        for line in pathlib.Path(self.dir, "env").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            self.env[name] = value.strip('"')
        self.token = pathlib.Path(self.env["CONSUL_ROOT_FILE"]).read_text(encoding="utf-8").strip()
        self.port = int(self.env["CONSUL_PORT"])
        self.connection = None
        self.proxy = Proxy(self.port)

    def another(self, *options):
        """A second server, with options of its own."""
        return ConsulServer(*options)

    def _call(self, verb, *more):
        # files, not pipes: a server that was started keeps what it has inherited open
        with tempfile.TemporaryFile() as err:
            done = subprocess.run([self.script, verb, self.dir, *more], stdout=err, stderr=err, timeout=TIMEOUT, check=False)
            err.seek(0)
            assert done.returncode == 0, f"tests/servers/consul {verb}: {err.read().decode(errors='replace')}"

    def ask(self, method, target, body=None):
        """A request with the management token: status, headers, body."""
        for attempt in range(2):
            self.connection = self.connection or http.client.HTTPConnection(
                "127.0.0.1", int(self.env["CONSUL_HTTP_PORT"]), timeout=TIMEOUT)
            try:
                self.connection.request(method, target, body, {"X-Consul-Token": self.token})
                answer = self.connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection = None
                if attempt:
                    raise
        raise AssertionError("not reached")

    def must(self, method, target, body=None):
        deadline = time.monotonic() + 10
        status, _, said = self.ask(method, target, body)
        while status == 500 and time.monotonic() < deadline: # a server that has just come back
            time.sleep(0.1)
            status, _, said = self.ask(method, target, body)
        assert status == 200, f"{method} {target}: {status} {said[:300]!r}"
        return said

    def set_rules(self, rules):
        policy = json.loads(self.must("GET", "/v1/acl/policy/name/vault"))
        policy["Rules"] = rules
        self.must("PUT", "/v1/acl/policy/" + policy["ID"], json.dumps(policy))

    def revoke(self, right="ALL"):
        """Takes away all rights, that to write, or (of which Consul's listings say nothing) that to read a part."""
        kept = {"ALL": "", "INSERT": 'key_prefix "vault/" { policy = "read" }',
                "SELECT": 'key_prefix "vault/" { policy = "write" } key_prefix "vault/dst/logical/2222" { policy = "deny" }'}
        self.set_rules(kept[right] + ' agent_prefix "" { policy = "read" } session_prefix "" { policy = "write" }')
        return self.end_connections()

    def grant(self):
        self.set_rules(self.rules)

    def fresh(self):
        self.proxy.cut()
        self.must("DELETE", "/v1/kv/vault/?recurse=true")
        self.grant()

    def end_connections(self):
        """Cuts the moves' connections; how many there were."""
        with self.proxy.lock:
            count = len(self.proxy.open)
        self.proxy.cut()
        return count

    def make_table(self, table="vault"):
        """A path needs no making."""

    def _key(self, key, table):
        return f"vault/{table}/" + key.decode()

    def fill(self, records, table="vault"):
        pack, size = [], 0
        for key, value in records.items():
            text = base64.b64encode(value).decode()
            if pack and (len(pack) == 64 or size + len(text) > 450_000):
                self.must("PUT", "/v1/txn", json.dumps(pack))
                pack, size = [], 0
            pack.append({"KV": {"Verb": "set", "Key": self._key(key, table), "Value": text}})
            size += len(text) + 300
        if pack:
            self.must("PUT", "/v1/txn", json.dumps(pack))

    def put(self, key, value, table="vault"):
        self.fill({key: value}, table)

    def drop(self, key, table="vault"):
        self.must("PUT", "/v1/txn", json.dumps([{"KV": {"Verb": "delete", "Key": self._key(key, table)}}]))

    def entries(self, table="vault"):
        """key -> the entry as Consul tells it, Value decoded."""
        status, _, said = self.ask("GET", f"/v1/kv/vault/{table}/?recurse=true&consistent")
        assert status in (200, 404), f"{status} {said[:300]!r}"
        prefix, found = len(f"vault/{table}/"), {}
        for one in json.loads(said) if status == 200 else []:
            one["Value"] = base64.b64decode(one["Value"] or "", validate=True)
            found[one["Key"][prefix:].encode()] = one
        return found

    def read(self, table="vault"):
        return {key: one["Value"] for key, one in self.entries(table).items()}

    def kill(self, *number):
        self._call("kill", *number)

    def restart(self, *number):
        self._call("restart", *number)

    def stop(self):
        self.proxy.close()
        self._call("stop")
        shutil.rmtree(self.dir, ignore_errors=True)
