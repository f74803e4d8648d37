# SPDX-License-Identifier: Apache-2.0
"""Percona's keys in the conformance server of Vault's API, as a side of a move; written and read without rehome."""
import base64
import json
import pathlib
import sys

from vaultlib import TOP

sys.path.insert(0, str(TOP / "tests/servers"))
import vault_server  # pylint: disable=wrong-import-position

# what a token has to be allowed in a mount of version 2
NEED = {"data/*": ["create", "read", "update", "delete"], "metadata/*": ["list", "read", "delete"], "destroy/*": ["update"]}


class VaultKeys:
    """A place for keys in a Vault, with a token of its own in a file."""

    def __init__(self, vault, home, name="dst", version=2, keys=None, namespace="", **config):
        self.vault, self.version, self.mount, self.namespace = vault, version, name, namespace
        self.point = f"{name}/mysql/one"
        vault.mount(name, version, namespace=namespace, **config)
        rules = {f"{name}/{path}": rights for path, rights in NEED.items()} if version == 2 else \
            {f"{name}/*": ["create", "read", "update", "delete", "list"]}
        vault.policy(name, rules, namespace=namespace)
        self.token_file = pathlib.Path(home, name.replace("/", "-") + ".token")
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
