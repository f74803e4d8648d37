# SPDX-License-Identifier: Apache-2.0
"""What is Consul's own: TLS and tokens, answers that lie or don't come, late requests, a leader that is lost, odd keys."""
import base64
import http.client
import http.server
import json
import os
import pathlib
import re
import socketserver
import subprocess
import threading
import time

import pytest
from consullib import ConsulServer
from faultlib import (
    DESTINATION, EXTRAS, INTERRUPTED, LOCKED, MARKER, OK, PLAN, REFUSED, REHOME, SOURCE, Cases, FileStore, KvStore, Move, Proxy,
    assert_equal, assert_moved, end, go_on, home, make_records, server_store, tally, without_marker,
)
from vaultlib import missing_server


def start(*options, **how):
    if why := missing_server("consul"):
        pytest.skip(f"no consul server to be had: {why}")
    return ConsulServer(*options, **how)


@pytest.fixture(scope="module")
def consul():
    one = start()
    yield one
    one.stop()


@pytest.fixture
def db(consul):
    consul.fresh()
    return consul


class Plan:
    """A file to a consul, or back, with any words in consul's block."""

    def __init__(self, home, block, name="m", way="to", more=""):
        self.folder, self.state = home / name, home / name / "state"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "plan.hcl"
        tree, consul = f'"file" {{ path = "{home / "tree"}" }}', f'"consul" {{ {block} }}'
        source, destination = (tree, consul) if way == "to" else (consul, tree)
        self.file.write_text(f'plan "{name}" {{ state_dir = "{self.state}" }}\nmove "{name}" {{\n {more}\n'
                             f' source {source}\n destination {destination}\n}}\n')

    def do(self, verb, *more, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CONSUL_", "RH_", "REHOME_"))}
        done = subprocess.run([REHOME, verb, *more, self.file], capture_output=True, text=True, timeout=120, check=False,
                              env={**clean, **env})
        self.said = done.stdout + done.stderr
        return done.returncode


def words(db, port=None, token="CONSUL_TOKEN_FILE", path="vault/dst/", tls=None):
    tls = f'ca_file = "{db.env["CONSUL_CA"]}"' if tls is None else tls
    token = f'token_file = "{db.env[token]}"' if token in db.env else token
    return f'address = "127.0.0.1:{port or db.port}"\n {token}\n path = "{path}"\n tls {{ {tls} }}'


# --- TLS ---


@pytest.fixture(scope="module", params=["wrong-host", "expired", "self-signed"])
def bad_cert(request):
    one = start(f"--cert={request.param}")
    yield request.param, one
    one.stop()


def test_wrong_certificates_are_refused(bad_cert, home):
    """Not connected to, with the remedy; the token isn't sent; verify = "off" takes it, with a warning."""
    kind, db = bad_cert
    FileStore(home / "tree").fill({b"a": b"1"})
    plan = Plan(home, words(db))
    assert plan.do("check") == DESTINATION, plan.said
    remedy = {"wrong-host": "another host", "expired": "has run out", "self-signed": "isn't signed by a CA we trust"}
    assert remedy[kind] in plan.said, plan.said
    plan = Plan(home, words(db, tls='verify = "off"'))
    assert plan.do("check") == OK, plan.said
    assert "isn't verified" in plan.said and "not verified" in plan.said, plan.said
    tally(f"TLS to Consul: {kind}", 2, 2)


def test_tls_choices(db, home):
    FileStore(home / "tree").fill({b"a": b"1"})
    http_port, ca = db.env["CONSUL_HTTP_PORT"], f'ca_file = "{db.env["CONSUL_CA"]}"'
    other = db.env["CONSUL_TLS"] + "/other-ca.pem"
    cases = [
        (words(db), OK, "TLSv1.3"),
        (words(db, tls=f'{ca} server_name = "localhost"'), OK, "peer verified"),
        (words(db, tls=f'{ca} server_name = "db.elsewhere.example"'), DESTINATION, "another host"),
        (words(db, tls=f'ca_file = "{other}"'), DESTINATION, "isn't signed by a CA we trust"),
        (words(db, tls=""), DESTINATION, "isn't signed by a CA we trust"),
        (words(db, port=http_port), DESTINATION, "offers no TLS"),
        (words(db, tls='mode = "off"'), DESTINATION, "https"),
        (words(db, port=http_port, tls='mode = "off"'), OK, "plain text"),
        (words(db) + '\n scheme = "http"', DESTINATION, "plain text"),
        (words(db) + '\n tls_min_version = "tls13"', OK, "TLSv1.3"),
        (words(db) + '\n tls_min_version = "tls14"', PLAN, "tls14"),
        (words(db, tls="").replace("tls {  }", "") + f'\n tls_{ca}', OK, "peer verified"),
    ]
    with Cases("TLS to Consul: choices") as table:
        for n, (block, code, said) in enumerate(cases):
            with table.one(block):
                plan = Plan(home, block, name=f"m{n}")
                got = plan.do("check")
                assert (got in (code, PLAN) if code == DESTINATION else got == code), f"{got}: {plan.said[-900:]}"
                assert said in plan.said, plan.said[-900:]


def test_client_certificates(home):
    db = start("--client-certs")
    try:
        FileStore(home / "tree").fill({b"a": b"1"})
        folder, ca = db.env["CONSUL_TLS"], f'ca_file = "{db.env["CONSUL_CA"]}"'
        plan = Plan(home, words(db))
        assert plan.do("check") == DESTINATION and "cert_file" in plan.said, plan.said
        plan = Plan(home, words(db, tls=f'{ca} cert_file = "{folder}/other-client.pem" key_file = "{folder}/other-client.key"'))
        assert plan.do("check") == DESTINATION and "cert_file" in plan.said, plan.said
        plan = Plan(home, words(db, tls=f'{ca} cert_file = "{folder}/client.pem" key_file = "{folder}/client.key"'))
        assert plan.do("run") == OK, plan.said
        assert db.read("dst") == {b"a": b"1"}
    finally:
        db.stop()
    tally("TLS to Consul: client certificates", 3, 3)


# --- tokens ---

RULES = {
    "write": ('key_prefix "vault/" { policy = "write" }', True),
    "write-all": ('key_prefix "" { policy = "write" }', True),
    "read": ('key_prefix "vault/" { policy = "read" }', False),  # its own policies can't be read
    "read-acl": ('key_prefix "vault/" { policy = "read" } acl = "read"', True),
    "read-acl-json": ('{"key_prefix": {"vault/": {"policy": "read"}}, "acl": "read"}', True),
    "part-denied": ('key_prefix "vault/" { policy = "write" } key_prefix "vault/src/b" { policy = "deny" } acl = "read"', False),
    "one-denied": ('key_prefix "vault/" { policy = "read" } key "vault/src/b/2" { policy = "deny" } acl = "read"', False),
    "other-denied": ('key_prefix "vault/" { policy = "read" } key_prefix "vaults" { policy = "deny" } acl = "read"', True),
    "nothing": ('acl = "read"', False),
    "part-only": ('key_prefix "vault/src/a" { policy = "write" }', False),
}


@pytest.mark.parametrize("name", RULES)
def test_a_token_must_see_everything(name, db, home):
    """Consul answers a listing with what the token may see, and 200. That is never taken for the whole store."""
    rules, good = RULES[name]
    token = f"{list(RULES).index(name):08d}-0000-4000-8000-000000000000"
    db.fill({b"a/1": b"1", b"b/2": b"2", b"c": b"3"}, "src")
    db._call("policy", name, token, rules)
    plan = Plan(home, words(db, token=f'token = "{token}"', path="vault/src/"), way="from", more='marker = "none"')
    code = plan.do("check")
    if good:
        assert code == OK, plan.said
        assert plan.do("run") == OK, plan.said
        assert FileStore(home / "tree").read() == {b"a/1": b"1", b"b/2": b"2", b"c": b"3"}
    else:
        assert code == SOURCE, f"{code}: {plan.said}"
        assert "can't be shown" in plan.said and "full_read" in plan.said, plan.said
        assert plan.do("run") == SOURCE, plan.said
        assert FileStore(home / "tree").read() in (None, {})
    assert token not in plan.said
    tally(f"a Consul token with the rules '{name}'")


def test_no_token_and_an_unknown_one(db, home):
    db.fill({b"a": b"1"}, "src")
    plan = Plan(home, words(db, token="", path="vault/src/"), way="from", more='marker = "none"')
    assert plan.do("run") == SOURCE and "can't be shown" in plan.said, plan.said
    plan = Plan(home, words(db, token='token = "99999999-0000-4000-8000-000000000000"'), name="n")
    FileStore(home / "tree").fill({b"a": b"1"})
    begin = time.monotonic()
    assert plan.do("run") == DESTINATION and "token" in plan.said, plan.said
    assert time.monotonic() - begin < 5, "a wrong token isn't worth waiting for"
    assert "99999999" not in plan.said
    tally("no token, an unknown token", 2, 2)


def test_vouched_for(db, home):
    """full_read = "assumed": the user's word counts, and is warned of."""
    db.fill({b"a/1": b"1", b"c": b"3"}, "src")
    db._call("policy", "vouched", "77777777-0000-4000-8000-000000000000", RULES["read"][0])
    block = words(db, token='token = "77777777-0000-4000-8000-000000000000"', path="vault/src/") + '\n full_read = "assumed"'
    plan = Plan(home, block, way="from", more='marker = "none"')
    assert plan.do("run") == OK and "assumed" in plan.said, plan.said
    assert FileStore(home / "tree").read() == {b"a/1": b"1", b"c": b"3"}


def test_the_token_is_nowhere(db, home):
    token = pathlib.Path(db.env["CONSUL_TOKEN_FILE"]).read_text().strip()
    FileStore(home / "tree").fill(make_records(50))
    plan = Plan(home, words(db, token=""))
    assert plan.do("run", "--log-level=trace", CONSUL_HTTP_TOKEN=token) == OK, plan.said
    assert token not in plan.said
    files = [file for file in plan.folder.rglob("*") if file.is_file()]
    assert len(files) > 1
    for file in files:
        assert token.encode() not in file.read_bytes(), file


def test_vaults_stanza_and_environment(db, home):
    """Vault's own file, with Consul's environment: scheme http by default, the token from outside."""
    records = make_records(60)
    FileStore(home / "tree").fill(records)
    token = pathlib.Path(db.env["CONSUL_TOKEN_FILE"]).read_text().strip()
    file = home / "migrate.hcl"
    more = ('max_parallel = "20" consistency_mode = "strong" session_ttl = "15s" lock_wait_time = "15s" service = "vault" '
            'service_tags = "a,b" service_address = "" check_timeout = "5s" disable_registration = "true" '
            'redirect_addr = "http://x" cluster_addr = "https://y"').replace('" ', '"\n')
    env = {"CONSUL_HTTP_TOKEN": token, "CONSUL_HTTP_ADDR": f"127.0.0.1:{db.env['CONSUL_HTTP_PORT']}"}
    file.write_text(f'storage_source "file" {{ path = "{home / "tree"}" }}\nstorage_destination "consul" {{ path = "vault/dst"\n {more} }}\n')
    clean = {**os.environ, "REHOME_STATE_DIR": str(home / "state"), **env}
    done = subprocess.run([REHOME, "operator", "migrate", "-config", file], capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == OK and "plain text" in done.stderr, done.stderr
    assert_equal(records, db.read("dst"), "the destination")
    env["CONSUL_HTTP_ADDR"] = f"https://127.0.0.1:{db.port}"
    db.fresh()
    for extra, code in (({}, DESTINATION), ({"CONSUL_CACERT": db.env["CONSUL_CA"]}, OK), ({"CONSUL_HTTP_SSL_VERIFY": "false"}, OK)):
        clean = {**os.environ, "REHOME_STATE_DIR": str(home / f"state{len(extra)}{code}"), **env, **extra}
        done = subprocess.run([REHOME, "operator", "migrate", "-config", file, "--overwrite"], capture_output=True, text=True, check=False, env=clean)
        assert done.returncode == code, f"{extra}: {done.returncode} {done.stderr}"
    tally("operator migrate with Vault's consul stanza and environment", 4, 4)


# --- another owner ---


def test_a_live_vault_is_refused(db, home):
    """core/lock held by a session is a Vault that is active."""
    FileStore(home / "tree").fill(make_records(20))
    session = json.loads(db.must("PUT", "/v1/session/create", json.dumps({"Name": "Vault Lock", "TTL": "60s"})))["ID"]
    db.must("PUT", f"/v1/kv/vault/dst/core/lock?acquire={session}", "some-uuid")
    plan = Plan(home, words(db))
    assert plan.do("run") == LOCKED, plan.said
    assert session in plan.said and "Vault Lock" in plan.said, plan.said
    assert set(db.read("dst")) == {b"core/lock"}
    db.must("PUT", f"/v1/session/destroy/{session}")
    assert plan.do("run") == OK, plan.said
    tally("a live Vault on Consul is refused", 2, 2)


# --- keys and values ---


ODD = [b"a//b", b"..", b"a/../b", b"./x", b"a%2Fb", b"%", b"a?b#c", b"sp ace", b"quo\"te\\", b"tab\t", b"nul\0x", "gr\u00f6\u00dfe".encode(),
       "\U0001f511/k".encode(), b"trailing/x ", b"-", b"\x7f", "\ufffd".encode(), b"k" * 3000, b"~!@$&'()*+,;=:"]


def test_odd_keys_are_exact(db, home):
    records = {key: b"value of %d" % n for n, key in enumerate(ODD)}
    db.fill(records, "src")
    move = Move(home / "move", server_store(db, "src"), server_store(db, "dst"))
    move.must(OK, "run")
    move.must(OK, "verify")
    assert_equal(records, db.read("dst"), "the destination")
    move.must(OK, "rollback")
    assert db.read("dst") == {}
    tally("odd keys from Consul to Consul", len(ODD), len(ODD))


def test_keys_that_cannot_be_told(db, home):
    """A key that isn't UTF-8 is refused, by itself and beside the key that it looks like; a folder entry is left out."""
    db.fill({b"a": b"1"}, "src")
    db.must("PUT", "/v1/kv/vault/src/bad%ff", "x")
    plan = Plan(home, words(db, path="vault/src/"), way="from")
    assert plan.do("check") in (REFUSED, SOURCE) and "UTF-8" in plan.said, plan.said
    db.must("PUT", "/v1/kv/vault/src/bad%ef%bf%bd", "y")
    assert plan.do("run") in (REFUSED, SOURCE) and "UTF-8" in plan.said, plan.said
    db.must("DELETE", "/v1/kv/vault/src/bad%ff")
    db.must("DELETE", "/v1/kv/vault/src/bad%ef%bf%bd")
    db.must("PUT", "/v1/kv/vault/src/", "")
    assert plan.do("run") == OK and "entry of the path itself" in plan.said, plan.said
    assert FileStore(home / "tree").read() == {b"a": b"1"}
    tally("keys that Consul can't tell", 3, 3)


def test_large_values(db, home):
    """What doesn't fit into a transaction is refused by name; what a PUT has brought in can be moved away."""
    limit = 392_000
    FileStore(home / "tree").fill({b"fits": os.urandom(limit), b"too/large": os.urandom(394_000)})
    plan = Plan(home, words(db))
    assert plan.do("check") == REFUSED, plan.said
    assert "too/large" in plan.said and "txn_max_req_len" in plan.said and "fits'" not in plan.said, plan.said
    assert db.read("dst") == {}
    value = os.urandom(524_288)
    db.must("PUT", "/v1/kv/vault/src/large", value)
    db.fill({b"small": b"1"}, "src")
    plan = Plan(home / "back", words(db, path="vault/src/"), way="from")
    assert plan.do("run") == OK, plan.said
    assert FileStore(home / "back/tree").read() == {b"large": value, b"small": b"1"}
    tally("large values", 2, 2)


def test_limits_are_the_servers(home):
    """413 from the server: named by check where the limit can be seen, in words where it can't."""
    db = start("--set=limits { txn_max_req_len = 20000 kv_max_value_size = 20000 }")
    try:
        FileStore(home / "tree").fill({b"a": b"1", b"b/large": os.urandom(18_000)})
        plan = Plan(home, words(db))
        assert plan.do("check") == REFUSED and "b/large" in plan.said, plan.said
        db.set_rules('key_prefix "vault/" { policy = "write" }')  # no agent_prefix: the limit can't be seen
        assert plan.do("run") in (DESTINATION, REFUSED), plan.said
        assert "413" in plan.said and "txn_max_req_len" in plan.said, plan.said
        assert without_marker(db.read("dst")) in ({}, {b"a": b"1"})
        plan.do("rollback")
        assert db.read("dst") == {}
    finally:
        db.stop()
    tally("413: transactions and values larger than the server takes", 2, 2)


def test_flags_stay(db, home):
    """An entry's flags are no part of a record; rehome writes over it and goes back without changing them."""
    FileStore(home / "tree").fill({b"k": b"new", b"l": b"new"})
    db.must("PUT", "/v1/kv/vault/dst/k?flags=42", "old")
    plan = Plan(home, words(db), more='on_conflict = "overwrite"')
    assert plan.do("run") == OK, plan.said
    now = db.entries("dst")
    assert (now[b"k"]["Value"], now[b"k"]["Flags"], now[b"l"]["Flags"]) == (b"new", 42, 0)
    assert plan.do("rollback") == OK, plan.said
    now = db.entries("dst")
    assert list(now) == [b"k"] and (now[b"k"]["Value"], now[b"k"]["Flags"]) == (b"old", 42)


def test_the_same_store_in_other_words(db, home):
    """Source and destination are one, or one inside the other, however they are spelled."""
    db.fill({b"a": b"1"}, "src")
    for path in ("vault/src", "/vault/src/", "vault/", "vault/src/inner"):
        inner = f'address = "https://localhost:{db.port}" token_file = "{db.env["CONSUL_ROOT_FILE"]}" path = "{path}" tls {{ ca_file = "{db.env["CONSUL_CA"]}" }}'
        folder = home / re.sub(r"\W", "_", path)
        folder.mkdir()
        file = folder / "plan.hcl"
        file.write_text(f'plan "x" {{ state_dir = "{folder}/state" }}\nmove "x" {{ source "consul" {{ {words(db, path="vault/src/")} }}\n destination "consul" {{ {inner} }} }}\n')
        done = subprocess.run([REHOME, "run", file], capture_output=True, text=True, check=False)
        assert done.returncode == REFUSED, f"{path}: {done.returncode} {done.stderr}"
        assert "same store" in done.stderr or "inside" in done.stderr or "overlap" in done.stderr or "share" in done.stderr, done.stderr
    assert db.read("src") == {b"a": b"1"}


# --- answers that lie, come late or not at all ---


class HttpProxy:
    """Hands requests on to Consul's plain port. `rule(n, method, path, body)` says what becomes of the n-th: None (passed
    on), ("status", code, text), ("short", n): the answer's body ends after n bytes, in a whole HTTP message, ("lost",):
    done by the server, the answer never comes, ("hold",): the client is cut off, the server gets it when release() says so,
    ("edit", function): the answer's body is changed."""

    def __init__(self, port, rule=lambda *_: None):
        proxy = self
        self.rule, self.count, self.held, self.hits, self.lock = rule, 0, [], 0, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def pass_on(self, body):
                one = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")}
                one.request(self.command, self.path, body, headers)
                answer = one.getresponse()
                data = answer.read()
                one.close()
                return answer.status, answer.headers, data

            def reply(self, status, headers, data):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "date", "server", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
                with proxy.lock:
                    proxy.count += 1
                    what = proxy.rule(proxy.count, self.command, self.path, body)
                    proxy.hits += what is not None
                if what and what[0] == "status":
                    return self.reply(what[1], {"Content-Type": "text/plain"}, what[2].encode())
                if what and what[0] == "hold":
                    proxy.held.append(lambda: self.pass_on(body))
                    self.close_connection = True
                    return None
                status, headers, data = self.pass_on(body)
                if what and what[0] == "lost":
                    self.close_connection = True
                    return None
                if what and what[0] == "short":
                    data = data[:what[1]]
                if what and what[0] == "edit":
                    data = what[1](data)
                return self.reply(status, headers, data)

            do_GET = do_PUT = do_POST = any

        class Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Threads(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def release(self):
        return [one() for one in self.held]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def liar(db):
    one = HttpProxy(int(db.env["CONSUL_HTTP_PORT"]))
    yield one
    one.close()


def is_write(method, path, body):
    return method == "PUT" and path.startswith("/v1/txn") and b'"get"' not in body


def is_listing(method, path, body):
    return "?keys" in path and "separator" not in path


def is_reading(method, path, body):
    return path.startswith("/v1/txn") and b'"get"' in body


def through(db, liar, path="vault/dst/"):
    return words(db, port=liar.port, path=path, tls='mode = "off"')


ANSWERS = {
    "429": ("status", 429, "rate limit exceeded, try again later or against a different server"),
    "500-leader": ("status", 500, "No cluster leader"),
    "500-rpc": ("status", 500, "rpc error making call: EOF"),
    "503": ("status", 503, "upstream connect error"),
    "lost": ("lost",),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_passing_failures(answer, db, liar, home):
    """Now and then a request fails, at any kind of request: the move completes by itself, exactly."""
    records = make_records(700)
    FileStore(home / "tree").fill(records)
    db.fill(EXTRAS, "dst")
    with Cases(f"Consul answers {answer} now and then") as cases:
        for kind, every in ((is_write, 3), (is_listing, 2), (is_reading, 4)):
            seen = [0]

            def rule(n, method, path, body):
                if not kind(method, path, body or b"") or b'"cas"' in (body or b"") and b"core/migration" in body and kind is not is_write:
                    return None
                seen[0] += 1
                return ANSWERS[answer] if seen[0] % every == 1 else None

            with cases.one(kind.__name__):
                db.fresh()
                db.fill(EXTRAS, "dst")
                liar.rule, liar.hits = rule, 0
                plan = Plan(home, through(db, liar), name=f"m-{kind.__name__}")
                # a lost answer of the marker's own request, before anything is written, ends a run with its reason
                for _ in range(6):
                    code = plan.do("run")
                    if code == OK:
                        break
                    assert code in (DESTINATION, INTERRUPTED), f"{code}: {plan.said[-1200:]}"
                assert code == OK, plan.said[-1500:]
                liar.rule = lambda *_: None
                assert liar.hits > 0
                assert_equal({**EXTRAS, **records}, db.read("dst"), "the destination")


@pytest.mark.parametrize("answer", ["429", "500-rpc"])
def test_lasting_failures(answer, db, liar, home):
    """It gives up in time, with the server's words; later it goes on."""
    records = make_records(700)
    FileStore(home / "tree").fill(records)
    count = [0]

    def rule(n, method, path, body):
        count[0] += is_write(method, path, body or b"")
        return ANSWERS[answer] if count[0] > 4 and path.startswith("/v1/txn") else None

    liar.rule = rule
    plan = Plan(home, through(db, liar))
    begin = time.monotonic()
    assert plan.do("run", "--retry=2s") in (DESTINATION, INTERRUPTED), plan.said[-1500:]
    assert time.monotonic() - begin < 30
    assert ANSWERS[answer][2][:20] in plan.said, plan.said[-1500:]
    liar.rule = lambda *_: None
    assert plan.do("run") == OK, plan.said[-1500:]
    assert_equal(records, db.read("dst"), "the destination")
    tally(f"Consul answers {answer} for good")


@pytest.mark.parametrize("forever", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("kind", [is_listing, is_reading], ids=lambda kind: kind.__name__)
def test_body_cut_inside_a_string(kind, forever, db, liar, home):
    """A whole HTTP message whose JSON ends inside a string is an error, never the end of the data."""
    records = make_records(300)
    db.fill(records, "src")
    with Cases(f"a body cut inside a JSON string, {kind.__name__}, {'always' if forever else 'once'}") as cases:
        for n, size in enumerate((13, 40, 200, 1777)):
            with cases.one(f"after {size} bytes"):
                done = [False]

                def rule(_, method, path, body):
                    if not kind(method, path, body or b"") or b"core/" in (body or b"")[:60] or (done[0] and not forever):
                        return None
                    done[0] = True
                    return ("short", size)

                liar.rule = rule
                plan = Plan(home / str(n), through(db, liar, "vault/src/"), way="from")
                code = plan.do("run", "--retry=1s")
                assert done[0], "nothing was cut"
                if forever:
                    assert code in (SOURCE, INTERRUPTED), f"{code}: {plan.said[-1200:]}"
                    assert "cut" in plan.said, plan.said[-1200:]
                    liar.rule = lambda *_: None
                    assert plan.do("run") == OK, plan.said[-1200:]
                else:
                    assert code == OK, plan.said[-1200:]
                assert_equal(records, FileStore(home / str(n) / "tree").read(), "the destination")


def test_a_record_left_out_of_an_answer(db, liar, home):
    """Consul leaves out what a token may not read; an answer with a record too few is never taken."""
    records = make_records(300)
    db.fill(records, "src")

    def without_one(data):
        answer = json.loads(data)
        if answer.get("Results") and len(answer["Results"]) > 5:
            del answer["Results"][3]
        return json.dumps(answer).encode()

    liar.rule = lambda n, method, path, body: ("edit", without_one) if is_reading(method, path, body or b"") else None
    plan = Plan(home, through(db, liar, "vault/src/"), way="from")
    assert plan.do("run") == SOURCE, plan.said[-1200:]
    assert "may not read" in plan.said, plan.said[-1200:]
    tally("a record left out of Consul's answer")


def test_not_consul(db, liar, home):
    """A 404 or an empty list of something else in between isn't an empty store."""
    db.fill(make_records(20), "src")
    for answer in (("status", 404, ""), ("status", 200, "[]")):
        liar.rule = lambda n, method, path, body: answer if is_listing(method, path, body) else None
        plan = Plan(home, through(db, liar, "vault/src/"), way="from", name=f"m{answer[1]}")
        assert plan.do("run") == SOURCE and "X-Consul-Index" in plan.said, plan.said[-1200:]
    tally("an answer that isn't Consul's", 2, 2)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_late_request_has_no_effect(number, db, liar, home):
    """A put is cut off on its way and the process dies; the move is taken back; then the put arrives after all."""
    records = make_records(400)
    FileStore(home / "tree").fill(records)
    db.fill(EXTRAS, "dst")
    count = [0]

    def rule(n, method, path, body):
        if not is_write(method, path, body or b"") or b'"check-index"' not in body:
            return None
        count[0] += 1
        return ("hold",) if count[0] == number else None

    liar.rule = rule
    plan = Plan(home, through(db, liar))
    process = subprocess.Popen([REHOME, "run", plan.file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not liar.held and time.monotonic() < until:
            time.sleep(0.001)
        process.kill()
    finally:
        end(process)
    assert liar.held, "nothing was held back"
    answers = []

    def deliver(n, method, path, body):
        """It arrives when all is taken back, and the marker is about to go."""
        if b"delete-cas" in (body or b"") and b"core/migration" in body and not answers:
            answers.extend(liar.release())

    liar.rule = deliver
    code = plan.do("rollback")
    assert code == OK, f"{code}: {plan.said[-1200:]}"
    assert_equal(EXTRAS, db.read("dst"), "the destination after rollback")
    assert [status for status, _, _ in answers] == [409], answers
    assert_equal(EXTRAS, db.read("dst"), "the destination after the late request")
    tally(f"a late request has no effect, put {number}")


def test_late_requests_while_it_goes_on(db, liar, home):
    """Cut off, retried by the same process, and arriving in the middle of it and after it."""
    records = make_records(900)
    FileStore(home / "tree").fill(records)
    count = [0]

    def rule(n, method, path, body):
        if not is_write(method, path, body or b"") or b'"check-index"' not in body:
            return None
        count[0] += 1
        if count[0] == 8:
            threading.Thread(target=liar.release, daemon=True).start()
        return ("hold",) if count[0] in (2, 3, 5) else None

    liar.rule = rule
    plan = Plan(home, through(db, liar))
    assert plan.do("run") == OK, plan.said[-1500:]
    assert len(liar.held) == 3
    before = db.entries("dst")
    assert {status for status, _, _ in liar.release()} == {409}
    assert before == db.entries("dst")
    assert_equal(records, db.read("dst"), "the destination")
    tally("late requests while it goes on", 3, 3)


# --- a cluster ---


@pytest.fixture(scope="module")
def cluster():
    one = start("--servers=3")
    yield one
    one.stop()


def leader_of(cluster):
    """The number of the leading server."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for number in "123":
            try:
                one = http.client.HTTPConnection("127.0.0.1", int(pathlib.Path(cluster.dir, number + ".http").read_text()), timeout=5)
                one.request("GET", "/v1/status/leader")
                port = one.getresponse().read().decode().strip().strip('"').rpartition(":")[2]
                one.close()
            except OSError:
                continue
            for other in "123":
                if port and pathlib.Path(cluster.dir, other + ".server").read_text().strip() == port:
                    return other
        time.sleep(0.1)
    raise AssertionError("no leader")


@pytest.mark.parametrize("way", ["to", "from"])
@pytest.mark.parametrize("lost", ["leader", "quorum"])
def test_leader_lost_and_back(way, lost, cluster, home):
    """The leader dies in the middle, or the majority does and comes back: the same run goes on and is exact."""
    cluster.fresh()
    records = make_records(1500)
    leader = leader_of(cluster)
    ours = next(number for number in "123" if number != leader)
    port = pathlib.Path(cluster.dir, ours + ".https").read_text().strip()
    tree, name = FileStore(home / "tree"), "dst" if way == "to" else "src"
    (tree.fill(records) if way == "to" else cluster.fill(records, name))
    plan = Plan(home, words(cluster, port=port, path=f"vault/{name}/"), way=way, more="parallel = 2")
    process = subprocess.Popen([REHOME, "run", "--retry=60s", plan.file], stdout=open(home / "log", "wb"), stderr=subprocess.STDOUT,
                               env={**os.environ, "RH_STOP_AT": "copy:2"})
    gone = [leader] if lost == "leader" else [number for number in "123" if number != ours]
    try:
        until = time.monotonic() + 60
        while pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
            assert process.poll() is None and time.monotonic() < until, (home / "log").read_text()[-1000:]
            time.sleep(0.01)
        for number in gone:
            cluster.kill(number)
        back = threading.Timer(3, lambda: [cluster.restart(number) for number in gone[:1]])
        if lost == "quorum":
            back.start()
        code = go_on(process)
        if lost == "quorum":
            back.join()
    finally:
        end(process)
        cluster.restart(*gone)
    assert code == OK, f"{code}: {(home / 'log').read_text()[-1500:]}"
    assert_equal(records, cluster.read(name), "the cluster")
    assert_equal(records, tree.read(), "the tree")
    tally(f"the {lost} of a Consul cluster lost and back, {way}")


def test_dev_mode(home):
    """`consul agent -dev`: no ACLs, no TLS; known by its CA's trust domain."""
    db = start(verb="dev")
    try:
        records = make_records(100)
        FileStore(home / "tree").fill(records)
        plan = Plan(home, words(db, token="", tls='mode = "off"'))
        assert plan.do("run") == OK, plan.said
        assert_equal(records, db.read("dst"), "the destination")
        assert plan.do("rollback") == OK, plan.said
        assert db.read("dst") == {}
    finally:
        db.stop()
