# SPDX-License-Identifier: Apache-2.0
"""Percona's keyring_vault as a side of a move, on the conformance server: round trips, refusals, faults, the way back."""
import base64
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from faultlib import DESTINATION, INTERRUPTED, KILLED, LOCKED, OK, PLAN, REFUSED, SOURCE, Cases, Move, home  # noqa: F401
from keystorelib import DATA, Keystore, make_keys
from vaultlib import TIMEOUT, TOP

sys.path.insert(0, str(TOP / "tests/servers"))
import vault_server  # pylint: disable=wrong-import-position

MARKER = vault_server.signature(b"rehome-migration")
NEED = {"data/*": ["create", "read", "update", "delete"], "metadata/*": ["list", "read", "delete"], "destroy/*": ["update"]}


@pytest.fixture(name="tls", scope="module")
def make_tls():
    with tempfile.TemporaryDirectory(prefix="rh-test-vault-") as folder:
        subprocess.run([TOP / "tests/servers/tls", folder], check=True, timeout=TIMEOUT)
        yield folder


@pytest.fixture(name="vault")
def make_vault(tls):
    with vault_server.Vault(tls) as vault:
        yield vault


class VaultKeys:
    """A place for keys in a Vault, with a token of its own in a file."""

    def __init__(self, vault, home, name="dst", version=2, keys=None, namespace="", **config):
        self.vault, self.version, self.mount, self.namespace = vault, version, name, namespace
        self.point = f"{name}/mysql/one"
        vault.mount(name, version, namespace=namespace, **config)
        rules = {f"{name}/{path}": rights for path, rights in NEED.items()} if version == 2 else \
            {f"{name}/*": ["create", "read", "update", "delete", "list"]}
        vault.policy(name, rules, namespace=namespace)
        self.token_file = pathlib.Path(home, name + ".token")
        self.use(vault.token(policies=[name], namespace=namespace))
        self.more = ""
        for key, held in (keys or {}).items():
            self.put(key, held)

    def use(self, token):
        self.token = token
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(token + "\n", encoding="utf-8")

    def block(self, side):
        access = "" if "approle" in self.more else f'token_file = "{self.token_file}"'
        space = f'namespace = "{self.namespace}"' if self.namespace else ""
        return (f'{side} "keyring_vault" {{ vault_url = "{self.vault.url}" secret_mount_point = "{self.point}" {access} '
                f'{space} tls {{ ca_file = "{self.vault.ca}" }} {self.more} }}')

    def path(self, key):
        return f"{self.point}/{vault_server.signature(key[1], key[0])}"

    def put(self, key, held):
        self.vault.put(self.path(key), {"type": held[0].decode(), "value": base64.b64encode(held[1]).decode()}, self.namespace)

    def state(self):
        """Every name with all its versions, or its content."""
        with self.vault.lock:
            items = self.vault.mounts[self.namespace][self.mount + "/"].items
            return json.dumps({name: item if self.version == 1 else
                               [item.current, {n: (v["data"], bool(v["gone"]), v["destroyed"]) for n, v in item.versions.items()}]
                               for name, item in sorted(items.items())})

    def names(self):
        folder = self.point.partition("/")[2] + "/"
        return [name.removeprefix(folder) for name in self.vault.names(self.mount, self.namespace)]

    def read(self):
        """The keys as Percona's servers find them; anything else there is an error."""
        found = {}
        for name in self.names():
            held = self.vault.get(f"{self.point}/{name}", self.namespace)
            if held is None:
                continue
            assert sorted(held) == ["type", "value"] and "/" not in name, name
            size, rest = base64.b64decode(name, validate=True).split(b"_", 1)
            ident, (length, owner) = rest[:int(size)], rest[int(size):].split(b"_", 1)
            assert int(length) == len(owner) and vault_server.signature(ident, owner) == name
            found[owner, ident] = (held["type"].encode(), base64.b64decode(held["value"], validate=True))
        return found


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
