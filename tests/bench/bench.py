#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: rehome beside a key-by-key copier and the server's own bulk load, in one run.

  tests/bench/bench.py [--quick] [--runs N] [--only LIST] [--sizes LIST] [--million] [--json FILE]

Servers are private MariaDBs and PostgreSQLs, and a Consul, at their default durability (tests/servers), reached over TCP
with TLS by all that take part. Data: 100,000 entries of 1 KiB and 10,000 of 64 KiB in Vault's own layout. Every run begins with an
empty destination, servers without dirty pages and a synced disk. The contestants take turns, and a ratio is that of one
turn; what is printed is the median of the turns.

The bulk load is one client with the rows in the server's own form: multi-row INSERTs for MariaDB, psql's \\copy in binary
format for PostgreSQL, into a table that has its indexes.

The copier (tests/tools/keycopy.c) does one Get and one Put per key, as Vault's command does. Where it would take
longer than a minute it gets a tenth of the entries and its time is multiplied by ten; such times have a '~'.
Peak memory is VmHWM of `rehome run` less that of `rehome check` on the same plan.
"""
import argparse
import base64
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAIRS = ["file-mysql", "mysql-file", "mysql-mysql", "file-file", "file-consul", "file-archive", "archive-file", "archive-archive",
         "file-postgresql", "mysql-postgresql", "postgresql-archive"]
SIZES = {"1k": (1024, 100_000), "64k": (65536, 10_000)}
VERIFY_GOAL = {"mysql-mysql": 25, "file-mysql": 60, "file-file": 120}
COPIER_GOAL = {("mysql", "1k"): 10, ("mysql", "64k"): 2, ("consul", "1k"): 3, ("postgresql", "1k"): 10,
               ("postgresql", "64k"): 2}  # destination, size
BULK_GOAL = 1.5
MEMORY_GOAL = 64 * 1024  # KiB
MEMORY_SPREAD = 4 * 1024  # "the same": what two runs of one plan differ by
LONG = 60  # seconds; a copier that would take longer gets the sample
SAMPLE = 10  # a tenth


def say(text):
    print(text, file=sys.stderr, flush=True)


def timed(command, **kwargs):
    """Runs a command; seconds and its VmHWM in KiB (a high-water mark, read until the process ends)."""
    peak = 0
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, **kwargs)
        while True:
            try:
                with open(f"/proc/{process.pid}/status") as status:
                    found = re.search(r"^VmHWM:\s+(\d+)", status.read(), re.M)
                    peak = max(peak, int(found.group(1)) if found else 0)
            except OSError:
                pass
            try:
                process.wait(0.003 if time.monotonic() - start < 1 else 0.01)
                break
            except subprocess.TimeoutExpired:
                pass
        seconds = time.monotonic() - start
        if process.returncode != 0:
            errors.seek(0)
            sys.exit(f"bench: {' '.join(command)} failed with {process.returncode}: {errors.read()[-2000:].decode()}")
    return seconds, peak


class Server:
    """A private MariaDB of the benchmark's own."""

    dump = ".sql"  # a data set in the form of its bulk load

    def __init__(self, work, name):
        self.dir = os.path.join(work, name)
        self.call("start", "--option=innodb-log-file-size=96M")
        with open(os.path.join(self.dir, "env")) as env:
            self.env = dict(line.strip().split("=", 1) for line in env if "=" in line)

    def call(self, verb, *more):
        subprocess.run([f"{ROOT}/tests/servers/mariadb", verb, self.dir, *more], check=True, stdin=subprocess.DEVNULL)

    def sql(self, text):
        return subprocess.run(["mariadb", "--no-defaults", "-uroot", f"--socket={self.env['MYSQL_SOCKET']}", "-NB"],
                              input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode().strip()

    def client(self):
        with open(self.env["MYSQL_PASSWORD_FILE"]) as file:
            password = file.read().strip()
        return ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{self.env['MYSQL_PORT']}", f"-u{self.env['MYSQL_USER']}",
                f"-p{password}", f"--ssl-ca={self.env['MYSQL_CA']}", "--ssl-verify-server-cert", "--binary-mode",
                "--default-character-set=binary", "--max-allowed-packet=64M"]

    def settle(self):
        """Waits until the server has written its dirty pages and forgotten what was dropped."""
        self.sql("SET GLOBAL innodb_max_dirty_pages_pct=0")
        last, since = None, time.monotonic()
        while time.monotonic() - since < 1: # no fewer for a second: what is left stays
            dirty = int(self.sql("SHOW STATUS LIKE 'Innodb_buffer_pool_pages_dirty'").split()[-1])
            if dirty <= 100:
                break
            if last is None or dirty < last:
                last, since = dirty, time.monotonic()
            time.sleep(0.02)
        self.sql("SET GLOBAL innodb_max_dirty_pages_pct=DEFAULT")

    def load(self, path):
        """The command of the bulk load, and what it reads."""
        return self.client(), path + self.dump

    def empty(self):
        self.sql("DROP DATABASE IF EXISTS vault")

    def drop(self, table):
        self.sql(f"DROP TABLE IF EXISTS vault.{table}")

    def place(self, table):
        return ("mysql:127.0.0.1:{MYSQL_PORT}:{MYSQL_USER}:{MYSQL_PASSWORD_FILE}:{MYSQL_CA}:vault:".format(**self.env)
                + table)

    def stanza(self, table):
        return """"mysql" {{
    address = "127.0.0.1:{MYSQL_PORT}"
    username = "{MYSQL_USER}"
    password_file = "{MYSQL_PASSWORD_FILE}"
    tls {{ ca_file = "{MYSQL_CA}" }}
    database = "vault"
    table = "{table}"
  }}""".format(table=table, **self.env)


class Consul:
    """A private Consul of the benchmark's own, with ACLs; a new one for each run, since its log and snapshots grow."""

    def __init__(self, work, name):
        self.dir = os.path.join(work, name)
        self.running = False

    def call(self, verb, *more):
        subprocess.run([f"{ROOT}/tests/servers/consul", verb, self.dir, *more], check=True, stdin=subprocess.DEVNULL)

    def fresh(self):
        self.stop()
        self.call("start")
        self.running = True
        with open(os.path.join(self.dir, "env")) as env:
            self.env = dict(line.strip().split("=", 1) for line in env if "=" in line)

    def stop(self):
        if self.running:
            self.call("stop")
        self.running = False

    def place(self):
        return "consul:127.0.0.1:{CONSUL_PORT}:{CONSUL_TOKEN_FILE}:{CONSUL_CA}:vault/".format(**self.env)

    def stanza(self):
        return """"consul" {{
    address = "127.0.0.1:{CONSUL_PORT}"
    token_file = "{CONSUL_TOKEN_FILE}"
    tls {{ ca_file = "{CONSUL_CA}" }}
  }}""".format(**self.env)


class PgServer:
    """A private PostgreSQL of the benchmark's own."""

    dump = ".copy"

    def __init__(self, work, name):
        self.dir = os.path.join(work, name)
        self.call("start", "--option=max_connections=300")
        with open(os.path.join(self.dir, "env")) as env:
            self.env = dict(line.strip().split("=", 1) for line in env if "=" in line)
        with open(self.env["PG_PASSWORD_FILE"]) as file:
            self.password = file.read().strip()

    def call(self, verb, *more):
        subprocess.run([f"{ROOT}/tests/servers/postgresql", verb, self.dir, *more], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)

    def settle(self):
        self.call("sql", "CHECKPOINT")

    def load(self, path, table="vault"):
        """psql's own COPY into a new table with its indexes, as the account and over TLS."""
        make = (f'CREATE TABLE {table} (parent_path TEXT COLLATE "C" NOT NULL, path TEXT COLLATE "C", '
                'key TEXT COLLATE "C", value BYTEA, PRIMARY KEY (path, key)); '
                f"CREATE INDEX {table}_idx ON {table} (parent_path)")
        where = ("host=127.0.0.1 port={PG_PORT} user={PG_USER} dbname={PG_DATABASE} sslmode=verify-full sslrootcert={PG_CA}"
                 .format(**self.env))
        return ["env", "PGPASSWORD=" + self.password, "psql", "-Xq", where, "-c", make, "-c",
                f"\\copy {table} FROM STDIN (FORMAT binary)"], path + self.dump

    def drop(self, table):
        self.call("sql", f"SET client_min_messages = error; DROP TABLE IF EXISTS {table}")

    def empty(self):
        self.drop("vault")

    def place(self, table):
        return ("postgresql:127.0.0.1:{PG_PORT}:{PG_USER}:{PG_PASSWORD_FILE}:{PG_CA}:{PG_DATABASE}:".format(**self.env)
                + table)

    def stanza(self, table):
        return """"postgresql" {{
    connection_url = "postgres://{PG_USER}@127.0.0.1:{PG_PORT}/{PG_DATABASE}"
    password_file = "{PG_PASSWORD_FILE}"
    tls {{ ca_file = "{PG_CA}" }}
    table = "{table}"
  }}""".format(table=table, **self.env)


SERVERS = {"mysql": Server, "postgresql": PgServer}


def sql_text(data):
    for byte, text in ((b"\\", b"\\\\"), (b"'", b"\\'"), (b"\0", b"\\0"), (b"\n", b"\\n"), (b"\r", b"\\r")):
        data = data.replace(byte, text)
    return b"'" + data + b"'"


def tree_records(tree):
    """Keys and values of a tree in key order of each folder."""
    for folder, folders, files in os.walk(tree):
        folders.sort()
        prefix = os.path.relpath(folder, tree)
        prefix = b"" if prefix == "." else prefix.encode() + b"/"
        for name in sorted(files):
            with open(os.path.join(folder, name), "rb") as file:
                yield prefix + name[1:].encode(), base64.b64decode(json.loads(file.read())["Value"])


def write_dump(tree, path, table):
    """The tree as the multi-row INSERTs of about 1 MiB that a bulk load consists of."""
    with open(path, "wb") as out:
        out.write(f"CREATE DATABASE IF NOT EXISTS vault; USE vault; CREATE TABLE {table} (vault_key varbinary(512), "
                  "vault_value mediumblob, PRIMARY KEY (vault_key));\n".encode())
        rows, size = [], 0
        for key, value in sorted(tree_records(tree)):
            rows.append(b"(" + sql_text(key) + b"," + sql_text(value) + b")")
            size += len(rows[-1])
            if size > 1 << 20:
                out.write(b"INSERT INTO " + table.encode() + b" VALUES " + b",".join(rows) + b";\n")
                rows, size = [], 0
        if rows:
            out.write(b"INSERT INTO " + table.encode() + b" VALUES " + b",".join(rows) + b";\n")


def write_copy(tree, path):
    """The tree in COPY's binary format."""
    with open(path, "wb") as out:
        out.write(b"PGCOPY\n\377\r\n\0" + struct.pack(">II", 0, 0))
        for key, value in sorted(tree_records(tree)):
            folder, slash, name = key.rpartition(b"/")
            parent = b"/" + folder.rpartition(b"/")[0] + b"/" if b"/" in folder else b"/" if slash else b""
            out.write(struct.pack(">h", 4))
            for field in (parent, b"/" + folder + slash, name, value):
                out.write(struct.pack(">i", len(field)) + field)
        out.write(struct.pack(">h", -1))


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = tempfile.mkdtemp(prefix="rh-bench-", dir=args.work)
        os.chmod(self.work, 0o755)
        self.servers = {}
        self.consul = Consul(self.work, "consul")
        self.build = args.build
        self.rehome = os.path.join(self.build, "src/cli/rehome")
        self.results = []
        self.goals = []
        self.memory = []

    def path(self, *names):
        return os.path.join(self.work, *names)

    def start(self):
        for pair in self.args.only:
            for side, kind in zip(("source", "destination"), pair.split("-")):
                if kind in SERVERS and (side, kind) not in self.servers:
                    self.servers[side, kind] = SERVERS[kind](self.work, f"{side}-{kind}")

    def stop(self):
        self.consul.stop()
        for server in self.servers.values():
            server.call("stop")
        if self.args.keep:
            say(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    # --- data ---

    def make_data(self, name, size, entries):
        """Tree, dump and, in the source server, table of a data set."""
        if os.path.isdir(self.path(name)):
            return
        say(f"making {entries} entries of {size} bytes ...")
        subprocess.run([f"{self.build}/tests/tools/vault-tree", self.path(name), "--entries", str(entries), "--size",
                        str(size)], check=True, stdout=subprocess.DEVNULL)
        if any(kind == "mysql" for _, kind in self.servers):
            write_dump(self.path(name), self.path(name + ".sql"), name)
        if any(kind == "postgresql" for _, kind in self.servers):
            write_copy(self.path(name), self.path(name + ".copy"))
        if ("source", "mysql") in self.servers:
            with open(self.path(name + ".sql"), "rb") as dump:
                subprocess.run(self.servers["source", "mysql"].client(), stdin=dump, check=True)
        if ("source", "postgresql") in self.servers:
            command, path = self.servers["source", "postgresql"].load(self.path(name), name)
            with open(path, "rb") as dump:
                subprocess.run(command, stdin=dump, check=True)

    def drop_data(self, name):
        shutil.rmtree(self.path(name), ignore_errors=True)
        if os.path.exists(self.path(name + ".archive")):
            os.unlink(self.path(name + ".archive"))
        shutil.rmtree(self.path("make-state"), ignore_errors=True)
        for dump in (".sql", ".copy"):
            if os.path.exists(self.path(name + dump)):
                os.unlink(self.path(name + dump))
        for (side, _), server in self.servers.items():
            if side == "source":
                server.drop(name)

    def fresh(self, pair=""):
        """Empty destinations, nothing under way."""
        if "consul" in pair:
            self.consul.fresh()
        shutil.rmtree(self.path("out"), ignore_errors=True)
        if os.path.exists(self.path("out.archive")):
            os.unlink(self.path("out.archive"))
        shutil.rmtree(self.path("state"), ignore_errors=True)
        for (side, _), server in self.servers.items():
            if side == "destination":
                server.empty()
        for server in self.servers.values():
            server.settle()
        os.sync()

    # --- archives and their yardsticks ---

    def archive(self, name):
        """The stanza of an archive; the source's is made once, from the tree of that name."""
        key = self.path("archive.key")
        if not os.path.exists(key):
            with open(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as out:
                out.write(os.urandom(32))
        return f'"archive" {{ path = "{self.path(name)}" key_file = "{key}" }}'

    def make_archive(self, data):
        if os.path.exists(self.path(data + ".archive")):
            return
        with open(self.path("make.plan"), "w") as plan:
            plan.write(f'plan "make-{data}" {{\n  state_dir = "{self.path("make-state")}"\n}}\nmove "all" {{\n  marker = "none"\n'
                       f'  source "file" {{ path = "{self.path(data)}" }}\n  destination {self.archive(data + ".archive")}\n}}\n')
        subprocess.run([self.rehome, "run", "-q", "--log-level", "warn", self.path("make.plan")], check=True)

    def raw_write(self, size):
        """Seconds for so many bytes to the disk: written and fsync'd, by nobody clever."""
        block = os.urandom(1 << 20)
        start = time.monotonic()
        fd = os.open(self.path("raw"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for _ in range(max(1, size >> 20)):
            os.write(fd, block)
        os.fsync(fd)
        os.close(fd)
        seconds = time.monotonic() - start
        os.unlink(self.path("raw"))
        return seconds

    def cipher_rate(self):
        """Bytes a second that `openssl speed` says of AES-256-GCM on one core."""
        said = subprocess.run(["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "65536", "-evp", "aes-256-gcm"],
                              capture_output=True, check=True, text=True).stdout
        return float(re.search(r"^AES-256-GCM\s+([\d.]+)k", said, re.M | re.I).group(1)) * 1000

    # --- contestants ---

    def stanza(self, kind, side, data):
        if kind in SERVERS:
            return self.servers[side, kind].stanza(data if side == "source" else "vault")
        if kind == "consul":
            return self.consul.stanza()
        if kind == "archive":
            return self.archive(data + ".archive" if side == "source" else "out.archive")
        return f'"file" {{ path = "{self.path(data if side == "source" else "out")}" }}'

    def place(self, kind, side, data):
        if kind in SERVERS:
            return self.servers[side, kind].place(data if side == "source" else "vault")
        if kind == "consul":
            return self.consul.place()
        return "file:" + self.path(data if side == "source" else "out")

    def write_plan(self, pair, data):
        """Empties the destination, too: a plan says where it is."""
        self.fresh(pair)
        source, destination = pair.split("-")
        with open(self.path("bench.plan"), "w") as plan:
            from_ = self.stanza(source, "source", data)
            to = self.stanza(destination, "destination", data)
            plan.write(f'plan "bench" {{\n  state_dir = "{self.path("state")}"\n}}\n'
                       f'move "all" {{\n  source {from_}\n  destination {to}\n}}\n')
        return self.path("bench.plan")

    def ours(self, pair, data, verify):
        plan = self.write_plan(pair, data)
        command = [self.rehome, "run", "-q", plan] + ([] if verify else ["--no-verify"])
        return timed(command + self.args.run_option)

    def checked(self, pair, data):
        plan = self.write_plan(pair, data)
        return timed([self.rehome, "check", plan])

    def keycopy(self, pair, data, parallel):
        source, destination = pair.split("-")
        self.fresh(pair)
        return timed([f"{self.build}/tests/tools/keycopy", self.place(source, "source", data),
                      self.place(destination, "destination", data), "--parallel", str(parallel)])[0]

    def bulk(self, pair, data):
        self.fresh(pair)
        command, path = self.servers["destination", pair.split("-")[1]].load(self.path(data))
        with open(path, "rb") as dump:
            return timed(command, stdin=dump)[0]

    # --- one case ---

    def copier_times(self, pair, data, sample, parallel, runs):
        """The copier's seconds, and whether they are from a sample."""
        if self.args.quick:
            return [self.keycopy(pair, data, parallel) for _ in range(runs)], False
        probe = self.keycopy(pair, sample, parallel) * SAMPLE
        if probe > LONG:
            return [probe], True
        return [self.keycopy(pair, data, parallel) for _ in range(runs)], False

    def case(self, pair, size_name, size, entries):
        data, sample = f"d{size_name}", f"s{size_name}"
        self.make_data(data, size, entries)
        copier = not self.args.no_copier and "archive" not in pair  # an archive has no single Put
        if pair.startswith("archive"):
            self.make_archive(data)
        times = {"off": [], "on": [], "bulk": [], "copier10": []}
        sampled = {}
        peak = 0
        base = self.checked(pair, data)[1]
        if not self.args.quick and copier:
            self.make_data(sample, size, entries // SAMPLE)
        for turn in range(self.args.runs):
            for mode in ("off", "on"):
                seconds, high = self.ours(pair, data, mode == "on")
                times[mode].append(seconds)
                peak = max(peak, high)
            if pair.split("-")[1] in SERVERS:
                times["bulk"].append(self.bulk(pair, data))
            if pair.endswith("archive"):
                self.fresh()
                times.setdefault("raw", []).append(self.raw_write(size * entries))
            if copier and not sampled.get(10):
                seconds, sampled[10] = self.copier_times(pair, data, sample, 10, 1) if turn == 0 else \
                    ([self.keycopy(pair, data, 10)], False)
                times["copier10"] += seconds
            say(f"  {pair} {size_name} turn {turn + 1}: " +
                ", ".join(f"{k} {v[-1]:.2f} s" for k, v in times.items() if v))
        for parallel in (1, 128) if copier else ():
            times[f"copier{parallel}"], sampled[parallel] = self.copier_times(pair, data, sample, parallel, 1)
            say(f"  {pair} {size_name} copier at {parallel}: {times[f'copier{parallel}'][-1]:.2f} s")
        result = {"pair": pair, "size": size, "entries": entries, "seconds": times,
                  "sampled": [p for p, yes in sampled.items() if yes], "check_kib": base, "peak_kib": peak}
        self.results.append(result)
        self.judge(result, size_name)

    def goal(self, what, goal, value, met, text):
        self.goals.append({"what": what, "goal": goal, "value": value, "met": met, "text": text})

    def judge(self, result, size_name):
        pair, times = result["pair"], result["seconds"]
        label = f"{pair} {size_name}"

        def ratio(over, under):
            pairs = [a / b for a, b in zip(times[over], times[under])]
            return statistics.median(pairs)

        wanted = COPIER_GOAL.get((pair.split("-")[1], size_name))
        if wanted and times["copier10"]:
            value = ratio("copier10", "off")
            self.goal(f"{label}: times the copier at parallelism 10", f">= {wanted}", value, value >= wanted,
                      f"{value:.1f} (with verification {ratio('copier10', 'on'):.1f})")
        if pair.split("-")[1] in SERVERS:
            value = ratio("off", "bulk")
            self.goal(f"{label}: time over the bulk load's", f"<= {BULK_GOAL}", value, value <= BULK_GOAL,
                      f"{value:.2f}")
        if pair.endswith("archive"):
            size = result["size"] * result["entries"]
            limit = min(size / statistics.median(times["raw"]), self.cipher_rate())
            value = size / statistics.median(times["off"]) / limit
            self.goal(f"{label}: of the disk's or the cipher's speed", ">= 0.5", value, value >= 0.5,
                      f"{value:.2f} of {limit / 1e6:.0f} MB/s")
        added = (ratio("on", "off") - 1) * 100
        limit = VERIFY_GOAL.get(pair)
        self.goal(f"{label}: verification adds", f"<= {limit} %" if limit else "-", added,
                  added <= limit if limit else None, f"{added:.0f} %")
        memory = result["peak_kib"] - result["check_kib"]
        self.goal(f"{label}: peak memory over check", "<= 64 MiB", memory, memory <= MEMORY_GOAL,
                  f"{memory / 1024:.1f} MiB")

    # --- memory with many entries ---

    def million(self):
        few, many = (10_000, 100_000) if self.args.quick else (100_000, 1_000_000)
        for pair in self.args.only:
            over = {}
            for entries in (few, many):
                name = f"m{entries}"
                self.make_data(name, 1024, entries)
                base = self.checked(pair, name)[1]
                seconds, peak = self.ours(pair, name, True)
                over[entries] = peak - base
                self.memory.append({"pair": pair, "entries": entries, "check_kib": base, "peak_kib": peak,
                                    "seconds": seconds})
                say(f"  {pair} with {entries} entries: {seconds:.1f} s, {(peak - base) / 1024:.1f} MiB over check's "
                    f"{base / 1024:.1f}")
            grown = over[many] - over[few]
            self.goal(f"{pair}: peak memory with {many:,} entries", "<= 64 MiB", over[many], over[many] <= MEMORY_GOAL,
                      f"{over[many] / 1024:.1f} MiB")
            self.goal(f"{pair}: more than with {few:,}", "about 0", grown, grown <= MEMORY_SPREAD,
                      f"{grown / 1024:.1f} MiB")
        for entries in (few, many):
            self.drop_data(f"m{entries}")

    # --- output ---

    def run(self):
        for size_name in self.args.sizes:
            size, entries = SIZES[size_name]
            entries = entries // 10 if self.args.quick else entries
            for pair in self.args.only:
                if "consul" in pair and size_name != "1k":
                    continue # Consul holds everything in memory and isn't made for it
                self.case(pair, size_name, size, entries)
            self.drop_data(f"d{size_name}")
            self.drop_data(f"s{size_name}")
        if self.args.million:
            self.million()

    def table(self):
        lines = ["", f"{'seconds (median)':24}{'ours, no verify':>16}{'ours':>9}{'bulk load':>11}{'copier 1':>10}"
                 f"{'copier 10':>11}{'copier 128':>12}{'MB/s':>7}"]
        for result in self.results:
            times = result["seconds"]

            def cell(name, parallel=None):
                if not times.get(name):
                    return "-"
                return ("~" if parallel in result["sampled"] else "") + f"{statistics.median(times[name]):.2f}"

            rate = result["size"] * result["entries"] / statistics.median(times["off"]) / 1e6
            label = f"{result['pair']}, {result['entries']} x {result['size'] // 1024} KiB"
            lines.append(f"{label:30}{cell('off'):>10}{cell('on'):>9}{cell('bulk'):>11}{cell('copier1', 1):>10}"
                         f"{cell('copier10', 10):>11}{cell('copier128', 128):>12}{rate:>7.0f}")
        lines += ["~ a tenth of the entries, times ten; MB/s: ours without verification", "",
                  f"{'goal':52}{'wanted':>10}  measured"]
        for goal in self.goals:
            verdict = {True: "met", False: "NOT MET", None: ""}[goal["met"]]
            lines.append(f"{goal['what']:52}{goal['goal']:>10}  {goal['text']:34}{verdict}")
        missed = sum(goal["met"] is False for goal in self.goals)
        judged = sum(goal["met"] is not None for goal in self.goals)
        lines.append(f"{judged - missed} of {judged} goals met")
        return "\n".join(lines)

    def save(self, path):
        with open(path, "w") as out:
            json.dump({"version": subprocess.run([self.rehome, "version"], stdout=subprocess.PIPE).stdout.decode(),
                       "cpus": os.cpu_count(), "quick": self.args.quick, "runs": self.args.runs,
                       "results": self.results, "memory": self.memory, "goals": self.goals}, out, indent=1)


def make_build(build):
    """A release build of its own, without test hooks."""
    if not os.path.exists(f"{build}/build.ninja"):
        subprocess.run(["meson", "setup", build, "-Dbuildtype=release"], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", build, "src/cli/rehome", "src/cli/rehome-keyring-host", "tests/tools/keycopy",
                    "tests/tools/vault-tree"], check=True, stdout=subprocess.DEVNULL)


def words(allowed):
    def parse(text):
        found = text.split(",")
        for word in found:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"'{word}' isn't one of {', '.join(allowed)}")
        return found
    return parse


def main():
    parser = argparse.ArgumentParser(description="times beside other ways to move a Vault storage")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, one turn")
    parser.add_argument("--runs", type=int, help="turns (3)")
    parser.add_argument("--only", type=words(PAIRS), default=PAIRS, metavar="LIST", help=", ".join(PAIRS))
    parser.add_argument("--sizes", type=words(list(SIZES)), default=list(SIZES), metavar="LIST", help="1k, 64k")
    parser.add_argument("--million", action="store_true", help="also peak memory with 1,000,000 entries")
    parser.add_argument("--no-copier", action="store_true", help="leave out the key-by-key copier")
    parser.add_argument("--run-option", action="append", default=[], metavar="OPTION", help="handed to rehome run")
    parser.add_argument("--build", default=os.path.join(ROOT, "build-bench"), help="build folder (build-bench)")
    parser.add_argument("--work", help="folder for data and servers (the system's temporary folder)")
    parser.add_argument("--json", default=os.path.join(ROOT, "build-bench", "bench.json"), help="where figures go")
    parser.add_argument("--keep", action="store_true", help="leave data behind")
    args = parser.parse_args()
    args.runs = args.runs or (1 if args.quick else 3)
    args.build = os.path.abspath(args.build)
    make_build(args.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by a signal"))
    bench = Bench(args)
    try:
        bench.start()
        bench.run()
        bench.save(args.json)
        print(bench.table())
    finally:
        bench.stop()


if __name__ == "__main__":
    main()
