# SPDX-License-Identifier: Apache-2.0
"""A conformance server for what rehome asks of a Vault or an OpenBao: it gives the replies that their HTTP API gives.

Knowledge: HashiCorp Vault's API documentation (secret/kv v1 and v2, auth/token, auth/approle, sys/health, sys/mounts,
sys/internal/ui/mounts, sys/capabilities-self, namespaces) and its error texts; OpenBao's API is the same there. That it
answers as a Vault does is proven by a client that isn't ours: MariaDB's hashicorp_key_management opens its tables with
keys that it gets from here (tests/e2e/test_vault_server.py).

Everything is kept in memory. A test uses the class Vault in its own process, or starts tests/servers/vault and steers
it by requests under /_test/ (see Vault.steer).
"""
import base64
import datetime
import http.server
import json
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse
import uuid

DEFAULT_RULES = {  # the policy "default", as far as anything here looks at it
    "auth/token/lookup-self": ["read"],
    "auth/token/renew-self": ["update"],
    "auth/token/revoke-self": ["update"],
    "sys/capabilities-self": ["update"],
    "sys/internal/ui/mounts/*": ["read"],
}
OPEN_PATHS = ("sys/health", "sys/seal-status", "auth/approle/login")
VERSIONS_KEPT = 10  # of a secret of version 2, unless told otherwise
LEASE = 2764800


def stamp(at=None):
    at = time.time() if at is None else at
    return datetime.datetime.utcfromtimestamp(at).isoformat(timespec="microseconds") + "000Z"


class Refused(Exception):
    def __init__(self, status, *errors, headers=None, body=None):
        super().__init__(status, *errors)
        self.status, self.headers = status, headers or {}
        self.body = body if body is not None else {"errors": list(errors)}


NOT_FOUND = (404,)  # {"errors":[]}: the engine knows of no such thing


class Mount:
    """One KV engine. Version 1: path -> dict. Version 2: path -> Secret."""

    def __init__(self, path, version, **config):
        self.path, self.version, self.items = path, version, {}
        self.config = {"cas_required": False, "delete_version_after": "0s", "max_versions": 0, **config}
        self.accessor, self.uuid = "kv_" + uuid.uuid4().hex[:8], str(uuid.uuid4())


class Secret:
    def __init__(self):
        self.versions, self.current, self.oldest = {}, 0, 0
        self.created = self.updated = stamp()
        self.config = {"cas_required": False, "delete_version_after": "0s", "max_versions": 0, "custom_metadata": None}


class Token:
    def __init__(self, ident, policies, ttl, renewable, max_ttl, namespace):
        self.id, self.policies, self.ttl, self.renewable = ident, policies, ttl, renewable
        self.namespace, self.accessor, self.made = namespace, uuid.uuid4().hex[:24], time.time()
        self.until = self.made + ttl if ttl else None
        self.most = self.made + max_ttl if max_ttl else None
        self.renewals = 0

    def alive(self):
        return self.until is None or time.time() < self.until

    def left(self):
        return 0 if self.until is None else max(0, int(self.until - time.time()))


class Vault:
    """The server. `with Vault(tls_folder) as vault: vault.url, vault.ca, vault.root`."""

    def __init__(self, tls=None, cert="server", port=0, version="1.15.6"):
        self.lock = threading.RLock()
        self.version, self.cluster = version, str(uuid.uuid4())
        self.mounts, self.policies, self.tokens, self.roles = {"": {}}, {"": {}}, {}, {}
        self.faults, self.log, self.sealed = [], [], False
        self.root = self.token(ident="hvs." + uuid.uuid4().hex, policies=["root"])
        self.ca = f"{tls}/ca.pem" if tls else None
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(f"{tls}/{cert}.pem", f"{tls}/{cert}.key")
        handler = type("Bound", (Handler,), {"vault": self})
        self.server = Listener(("127.0.0.1", port), handler)
        self.server.open = set()
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.cut()

    # --- what a test sets up ---

    def mount(self, path, version=2, namespace="", **config):
        self.mounts.setdefault(namespace, {})[path.strip("/") + "/"] = Mount(path.strip("/") + "/", version, **config)
        self.policies.setdefault(namespace, {})

    def policy(self, name, rules, namespace=""):
        """rules: path (with `*` at its end, `+` for one part) -> capabilities."""
        self.policies.setdefault(namespace, {})[name] = rules

    def token(self, ident=None, policies=(), ttl=0, renewable=True, max_ttl=0, namespace=""):
        token = Token(ident or "hvs." + uuid.uuid4().hex, list(policies), ttl, renewable and ttl > 0, max_ttl, namespace)
        self.tokens[token.id] = token
        return token.id

    def approle(self, policies, ttl=3600, role_id=None, secret_id=None, namespace="", **more):
        role = {"role_id": role_id or str(uuid.uuid4()), "secret_id": secret_id or str(uuid.uuid4()),
                "policies": list(policies), "ttl": ttl, "namespace": namespace, "logins": 0, **more}
        self.roles[role["role_id"]] = role
        return role["role_id"], role["secret_id"]

    def fault(self, kind, match=".", after=0, count=1, status=503, seconds=0.0, errors=("fault",), body=None, headers=None):
        """Of requests whose "METHOD path" matches: lets `after` of them pass, then has `count` of them (-1: all) fail.
        kind: status (this answer), before (cut, nothing was done), after (done, then cut without an answer), body (done,
        the answer is cut in its middle), slow (done after `seconds`)."""
        with self.lock:
            self.faults.append({"kind": kind, "match": re.compile(match), "after": after, "count": count, "status": status,
                                "seconds": seconds, "errors": list(errors), "body": body, "headers": headers or {}})

    def calm(self):
        with self.lock:
            self.faults.clear()

    def cut(self):
        """Cuts all connections."""
        for one in list(self.server.open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def put(self, path, data, namespace="", mount=None):
        """A secret behind the API's back: "secret/a" -> its next version, or its content."""
        with self.lock:
            where, rest = self.find(namespace, path)
            assert where and (mount is None or where.path == mount.strip("/") + "/"), path
            if where.version == 1:
                where.items[rest] = data
            else:
                self.write2(where, rest, data)

    def get(self, path, namespace=""):
        """The secret that a reader would get, or None."""
        with self.lock:
            where, rest = self.find(namespace, path)
            item = where.items.get(rest)
            if where.version == 1 or item is None:
                return item
            version = item.versions.get(item.current)
            return version["data"] if version and not version["gone"] and not version["destroyed"] else None

    def names(self, mount, namespace=""):
        """Everything that is listed in a mount, alive or not."""
        with self.lock:
            return sorted(self.mounts[namespace][mount.strip("/") + "/"].items)

    def steer(self, what, told):
        """A request under /_test/: what is asked, with a JSON object; gives the answer."""
        with self.lock:
            if what == "token":
                return {"token": self.token(**told)}
            if what == "approle":
                return dict(zip(("role_id", "secret_id"), self.approle(**told)))
            if what == "names":
                return {"names": self.names(**told)}
            if what == "log":
                return {"log": self.log}
            if what == "seal":
                self.sealed = told.get("sealed", True)
            elif what in ("mount", "policy", "fault", "calm", "cut", "put"):
                getattr(self, what)(**told)
            else:
                raise Refused(404, f"unknown request /_test/{what}")
            return {}

    # --- requests ---

    def fault_of(self, method, path):
        with self.lock:
            for one in self.faults:
                if not one["match"].search(f"{method} {path}"):
                    continue
                if one["after"] > 0:
                    one["after"] -= 1
                elif one["count"]:
                    one["count"] -= 1
                    return one
        return None

    def answer(self, method, path, query, headers, body):
        """(status, object or None); raises Refused."""
        namespace = (headers.get("X-Vault-Namespace") or "").strip("/")
        if path.startswith("_test/"):
            if headers.get("X-Vault-Token") != self.root:
                raise Refused(403, "permission denied")
            return 200, self.steer(path[6:], body or {})
        if path == "sys/health":
            return self.health(namespace, query)
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        if method == "GET" and query.get("list") == ["true"]:
            method = "LIST"
        if path == "auth/approle/login":
            return 200, self.login(namespace, body)
        token = self.need_token(headers, namespace)
        return self.route(token, namespace, {"PUT": "POST"}.get(method, method), path, query, body)

    def need_token(self, headers, namespace):
        given = headers.get("X-Vault-Token") or (headers.get("Authorization") or "").removeprefix("Bearer ")
        token = self.tokens.get(given)
        if not token or not token.alive() or not (namespace + "/").startswith(token.namespace + "/" if token.namespace else ""):
            raise Refused(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
        return token

    def rights(self, token, namespace, path):
        """The capabilities that the token's policies give for a path: those of the most specific rule."""
        if "root" in token.policies:
            return {"root"}
        found, best = set(), None
        tables = [self.policies.get(namespace, {}).get(name, {}) for name in token.policies] + [DEFAULT_RULES]
        for rule, given in [one for table in tables for one in table.items()]:
            pattern = re.escape(rule.rstrip("*")).replace(r"\+", "[^/]+") + (".*" if rule.endswith("*") else "")
            if not re.fullmatch(pattern, path, re.S):
                continue
            rank = (not rule.endswith("*"), "+" not in rule, len(rule))
            if best is None or rank > best:
                best, found = rank, set()
            if rank == best:
                found |= set(given)
        return {"deny"} if "deny" in found else found

    def need_right(self, token, namespace, path, *wanted):
        have = self.rights(token, namespace, path)
        if path.endswith("/") and not have:
            have = self.rights(token, namespace, path[:-1])
        if "root" not in have and not have & set(wanted):
            raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")

    def find(self, namespace, path):
        """The mount that a path is of, and the rest."""
        best = None
        for one in self.mounts.get(namespace, {}).values():
            if (path + "/").startswith(one.path) and (best is None or len(one.path) > len(best.path)):
                best = one
        return (best, path[len(best.path):]) if best else (None, path)

    def route(self, token, namespace, method, path, query, body):
        if path.startswith("sys/") or path.startswith("auth/"):
            return self.system(token, namespace, method, path, body)
        mount, rest = self.find(namespace, path)
        if not mount:
            self.need_right(token, namespace, path, "create", "read", "update", "delete", "list")
            raise Refused(404, f'no handler for route "{path}". route entry not found.')
        if mount.version == 1:
            return self.version1(token, namespace, mount, method, path, rest, body)
        return self.version2(token, namespace, mount, method, path, rest, query, body)

    def envelope(self, data, lease=0, warnings=None, mount_type="kv"):
        return {"request_id": str(uuid.uuid4()), "lease_id": "", "renewable": False, "lease_duration": lease, "data": data,
                "wrap_info": None, "warnings": warnings, "auth": None, "mount_type": mount_type}

    def list(self, items, under):
        under = under.strip("/") + "/" if under.strip("/") else ""
        found = set()
        for path in items:
            if path.startswith(under):
                head, slash, _ = path[len(under):].partition("/")
                found.add(head + slash)
        if not found:
            raise Refused(*NOT_FOUND)
        return 200, self.envelope({"keys": sorted(found)})

    # --- KV version 1 ---

    def version1(self, token, namespace, mount, method, path, rest, body):
        if method == "LIST":
            self.need_right(token, namespace, path.rstrip("/") + "/", "list")
            return self.list(mount.items, rest)
        if method == "GET":
            self.need_right(token, namespace, path, "read")
            if rest not in mount.items:
                raise Refused(*NOT_FOUND)
            return 200, self.envelope(mount.items[rest], LEASE)
        if method == "POST":
            self.need_right(token, namespace, path, "update" if rest in mount.items else "create")
            if not body:
                raise Refused(400, "missing data fields")
            mount.items[rest] = body
            return 204, None
        if method == "DELETE":
            self.need_right(token, namespace, path, "delete")
            mount.items.pop(rest, None)
            return 204, None
        raise Refused(405, "unsupported operation")

    # --- KV version 2 ---

    def version2(self, token, namespace, mount, method, path, rest, query, body):
        part, _, name = rest.partition("/")
        does = {"config": self.config2, "data": self.data2, "metadata": self.metadata2, "delete": self.delete2,
                "undelete": self.delete2, "destroy": self.delete2}.get(part)
        if not does:
            self.need_right(token, namespace, path, "create", "read", "update", "delete", "list")
            raise Refused(404, body=self.envelope(None, warnings=[
                "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. "
                "If using the Vault CLI, use 'vault kv get' for this operation."]))
        return does(token, namespace, mount, method, path, part, name, query, body or {})

    def config2(self, token, namespace, mount, method, path, part, name, query, body):
        self.need_right(token, namespace, path, "read" if method == "GET" else "update", "create")
        if method == "GET":
            return 200, self.envelope(dict(mount.config))
        mount.config.update(body)
        return 204, None

    def version_words(self, item, number):
        version = item.versions[number]
        return {"created_time": version["created"], "custom_metadata": item.config["custom_metadata"],
                "deletion_time": version["gone"], "destroyed": version["destroyed"], "version": number}

    def write2(self, mount, name, data):
        item = mount.items.setdefault(name, Secret())
        item.current += 1
        item.versions[item.current] = {"data": data, "created": stamp(), "gone": "", "destroyed": False}
        item.updated = stamp()
        kept = item.config["max_versions"] or mount.config["max_versions"] or VERSIONS_KEPT
        for number in [one for one in item.versions if one <= item.current - kept]:
            del item.versions[number]
            item.oldest = number + 1
        return self.version_words(item, item.current)

    def data2(self, token, namespace, mount, method, path, part, name, query, body):
        item = mount.items.get(name)
        if method == "GET":
            self.need_right(token, namespace, path, "read")
            number = int(query.get("version", ["0"])[0]) or (item.current if item else 0)
            if not item or number not in item.versions:
                raise Refused(*NOT_FOUND)
            words, version = self.version_words(item, number), item.versions[number]
            if version["gone"] or version["destroyed"]:
                raise Refused(404, body=self.envelope({"data": None, "metadata": words}))
            return 200, self.envelope({"data": version["data"], "metadata": words})
        if method == "POST":
            self.need_right(token, namespace, path, "update" if item else "create")
            if not isinstance(body.get("data"), dict):
                raise Refused(400, "no data provided")
            cas = (body.get("options") or {}).get("cas")
            if cas is None and (mount.config["cas_required"] or (item and item.config["cas_required"])):
                raise Refused(400, "check-and-set parameter required for this call")
            if cas is not None and int(cas) != (item.current if item else 0):
                raise Refused(400, "check-and-set parameter did not match the current version")
            return 200, self.envelope(self.write2(mount, name, body["data"]))
        if method == "DELETE":
            self.need_right(token, namespace, path, "delete")
            if item and item.current in item.versions and not item.versions[item.current]["gone"]:
                item.versions[item.current]["gone"] = stamp()
            return 204, None
        raise Refused(405, "unsupported operation")

    def metadata2(self, token, namespace, mount, method, path, part, name, query, body):
        item = mount.items.get(name)
        if method == "LIST":
            self.need_right(token, namespace, path.rstrip("/") + "/", "list")
            return self.list(mount.items, name)
        if method == "GET":
            self.need_right(token, namespace, path, "read")
            if not item:
                raise Refused(*NOT_FOUND)
            versions = {str(number): {"created_time": one["created"], "deletion_time": one["gone"], "destroyed": one["destroyed"]}
                        for number, one in item.versions.items()}
            return 200, self.envelope({**item.config, "created_time": item.created, "current_version": item.current,
                                       "oldest_version": item.oldest, "updated_time": item.updated, "versions": versions})
        if method == "POST":
            self.need_right(token, namespace, path, "update" if item else "create")
            mount.items.setdefault(name, Secret()).config.update(body)
            return 204, None
        if method == "DELETE":
            self.need_right(token, namespace, path, "delete")
            mount.items.pop(name, None)
            return 204, None
        raise Refused(405, "unsupported operation")

    def delete2(self, token, namespace, mount, method, path, part, name, query, body):
        """delete, undelete and destroy of versions by their numbers."""
        if method != "POST":
            raise Refused(405, "unsupported operation")
        self.need_right(token, namespace, path, "update", "create")
        item, numbers = mount.items.get(name), [int(one) for one in body.get("versions") or []]
        if not numbers:
            raise Refused(400, "no version number provided")
        for number in numbers:
            version = item.versions.get(number) if item else None
            if not version or version["destroyed"]:
                continue
            if part == "destroy":
                version.update(destroyed=True, data=None)
            else:
                version["gone"] = stamp() if part == "delete" and not version["gone"] else version["gone"] if part == "delete" else ""
        return 204, None

    # --- tokens, system ---

    def system(self, token, namespace, method, path, body):
        if path.startswith("sys/internal/ui/mounts/"):
            self.need_right(token, namespace, path, "read")
            return self.ui_mount(token, namespace, path[len("sys/internal/ui/mounts/"):])
        self.need_right(token, namespace, path, "read" if method == "GET" else "update")
        tune = re.fullmatch(r"sys/mounts/(.+)/tune", path)
        if tune and method == "GET":
            mount = self.mounts.get(namespace, {}).get(tune[1] + "/")
            if not mount:
                raise Refused(400, f'cannot fetch sysview for path "{tune[1]}/"')
            data = {"default_lease_ttl": LEASE, "description": "", "force_no_cache": False, "max_lease_ttl": LEASE,
                    "options": {"version": str(mount.version)}}
            return 200, {**self.envelope(data, mount_type="system"), **data}
        if path == "sys/capabilities-self" and method == "POST":
            answer = {one: sorted(self.rights(token, namespace, one)) or ["deny"] for one in body.get("paths", [])}
            if len(answer) == 1:
                answer["capabilities"] = list(answer.values())[0]
            return 200, {**self.envelope(answer, mount_type="system"), **answer}
        if path == "auth/token/lookup-self" and method == "GET":
            until = None if token.until is None else stamp(token.until)
            return 200, self.envelope({
                "accessor": token.accessor, "creation_time": int(token.made), "creation_ttl": int(token.ttl), "display_name": "token",
                "entity_id": "", "expire_time": until, "explicit_max_ttl": 0, "id": token.id, "issue_time": stamp(token.made),
                "meta": None, "num_uses": 0, "orphan": True, "path": "auth/token/create", "policies": token.policies,
                "renewable": token.renewable, "ttl": token.left(), "type": "service"}, mount_type="token")
        if path == "auth/token/renew-self" and method == "POST":
            if not token.renewable:
                raise Refused(400, "lease is not renewable")
            token.until = time.time() + token.ttl
            token.until = min(token.until, token.most) if token.most else token.until
            token.renewals += 1
            return 200, {**self.envelope(None, mount_type="token"), "auth": self.auth(token)}
        if path == "auth/token/revoke-self" and method == "POST":
            del self.tokens[token.id]
            return 204, None
        raise Refused(404, f'no handler for route "{path}". route entry not found.')

    def auth(self, token):
        return {"client_token": token.id, "accessor": token.accessor, "policies": token.policies,
                "token_policies": token.policies, "metadata": None, "lease_duration": round(token.until - time.time()) if token.until else 0, "renewable": token.renewable,
                "entity_id": "", "token_type": "service", "orphan": True, "mfa_requirement": None, "num_uses": 0}

    def login(self, namespace, body):
        role = self.roles.get((body or {}).get("role_id"))
        if not role or role["namespace"] != namespace or body.get("secret_id") != role["secret_id"]:
            raise Refused(400, "invalid role or secret ID")
        role["logins"] += 1
        token = self.tokens[self.token(policies=role["policies"], ttl=role["ttl"], namespace=namespace,
                                       max_ttl=role.get("max_ttl", 0), renewable=role.get("renewable", True))]
        return {**self.envelope(None, mount_type="approle"), "auth": self.auth(token)}

    def health(self, namespace, query):
        if namespace:
            raise Refused(404, "unsupported path")
        status = int(query.get("sealedcode", ["503"])[0]) if self.sealed else 200
        return status, {"initialized": True, "sealed": self.sealed, "standby": self.sealed, "performance_standby": False,
                        "replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
                        "server_time_utc": int(time.time()), "version": self.version, "enterprise": False,
                        "cluster_name": "vault-cluster-" + self.cluster[:8], "cluster_id": self.cluster}

    def ui_mount(self, token, namespace, path):
        """What the command line client asks first: of which engine a path is. Told to whoever has any right below it."""
        mount, _ = self.find(namespace, path.rstrip("/"))
        touches = mount and ("root" in token.policies or any(
            (rule.startswith(mount.path) or (rule.endswith("*") and mount.path.startswith(rule[:-1]))) and "deny" not in given
            for name in token.policies for rule, given in self.policies.get(namespace, {}).get(name, {}).items()))
        if not touches:
            raise Refused(403, "preflight capability check returned 403, please ensure client's policies grant access to "
                               f'path "{path}/"')
        return 200, self.envelope({
            "accessor": mount.accessor, "config": {"default_lease_ttl": 0, "force_no_cache": False, "max_lease_ttl": 0},
            "description": "", "external_entropy_access": False, "local": False,
            "options": {"version": "2"} if mount.version == 2 else None, "path": mount.path, "plugin_version": "",
            "seal_wrap": False, "type": "kv", "uuid": mount.uuid}, mount_type="system")


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    vault = None
    wbufsize = -1  # one segment an answer

    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.vault.server.open.add(self.request)
        self.plain = self.request
        if self.vault.context:
            self.request.settimeout(30)
            self.request = self.vault.context.wrap_socket(self.request, server_side=True)
            self.vault.server.open.discard(self.plain)
            self.vault.server.open.add(self.request)
        self.request.settimeout(None)
        super().setup()

    def finish(self):
        self.vault.server.open.discard(self.request)
        super().finish()

    def log_message(self, *_):
        pass

    def drop(self, reset=True):
        """Cuts the connection; what is buffered isn't sent."""
        self.close_connection = True
        if reset:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            self.request.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def reply(self, status, told, headers, cut):
        body = json.dumps(told, separators=(",", ":")).encode() + b"\n" if told is not None else b""
        self.send_response(status)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name, str(value))
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            self.drop(reset=False)

    def respond(self):
        vault, url = self.vault, urllib.parse.urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(url.path).removeprefix("/v1/").lstrip("/")
        fault = None if path.startswith("_test/") else vault.fault_of(self.command, path)
        kind = fault["kind"] if fault else ""
        if kind == "before":
            return self.drop()
        if kind == "slow":
            time.sleep(fault["seconds"])
        headers = {}
        try:
            if kind == "status":
                raise Refused(fault["status"], *fault["errors"], headers=fault["headers"], body=fault["body"])
            try:
                told = json.loads(raw) if raw else None
            except ValueError as wrong:
                raise Refused(400, "failed to parse JSON input: " + str(wrong)) from wrong
            with vault.lock:
                status, answer = vault.answer(self.command, path, urllib.parse.parse_qs(url.query), self.headers, told)
        except Refused as refused:
            status, answer, headers = refused.status, refused.body, refused.headers
        if not path.startswith("_test/"):
            with vault.lock:
                vault.log.append({"method": self.command, "path": path, "status": status})
        if kind == "after":
            return self.drop()
        self.reply(status, answer, headers, kind == "body")
        return None

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = respond


def signature(ident, owner=b""):
    """The name that Percona's keyring_vault gives a key."""
    return base64.b64encode(b"%d_%s%d_%s" % (len(ident), ident, len(owner), owner)).decode()
