#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark of keyrings: rehome keyring-migrate beside mysql_migrate_keyring, in one run.

  tests/bench/keyring.py [--quick] [--runs N] [--online N] [--switches N] [--json FILE]

Keyrings of 100, 1,000, 10,000 and 100,000 keys as a server has them (AES of 32 bytes, SECRET up to 1,000, ids of some 50
bytes, owners), made by a generator. Both programs move one component's file to another one that isn't there yet; ours
verifies and keeps a journal. mysql_migrate_keyring writes the whole file for each key, so it gets no more than 10,000
keys, and those once; beside it rehome moves the same keys to the same component by its library. What all leave behind is compared: same keys. The contestants take turns; what is printed is the
median of the turns.

Then a running MySQL's own keystore of 1,000 keys is moved online, many times: how long that server was paused, as the
report has it; and it is switched to another keystore and back: for how long it made no keys.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/bench")]
from bench import make_build, timed  # noqa: E402

SIZES = [100, 1_000, 10_000, 100_000]
THEIRS_MOST = 10_000  # keys
GOAL_SECONDS = 2  # 100,000 keys with verification
GOAL_PAUSE = 300  # milliseconds, the median with 1,000 keys
ONLINE_KEYS = 1_000
GOAL_GROWTH = 12  # times as long for ten times the keys, from 10,000 on: linear, with some room


def say(text):
    print(text, file=sys.stderr, flush=True)


def write_keyring(path, count, seed=1):
    """A component's data file of so many keys."""
    rng, uuid = random.Random(seed), "6d796b72-0907-4bad-8000-000000000001"
    with open(path, "w", encoding="ascii") as out:
        out.write('{"version":"1.0","elements":[')
        for i in range(count):
            secret = i % 4 == 3
            size = rng.randrange(1, 1001) if secret else 32
            name = f"audit-{uuid}-{i}" if secret else f"INNODBKey-{uuid}-{i}"
            owner = "app@localhost" if secret else ""
            out.write("," if i else "")
            out.write(f'{{"user":"{owner}","data_id":"{name}","data_type":"{"SECRET" if secret else "AES"}",'
                      f'"data":"{rng.randbytes(size).hex().upper()}","extension":[]}}')
        out.write("]}")


def read_keyring(path):
    with open(path, encoding="ascii") as file:
        return {(e["user"], e["data_id"]): (e["data_type"], e["data"]) for e in json.load(file)["elements"]}


class Bench:
    def __init__(self, args):
        self.args, self.rehome = args, f"{args.build}/src/cli/rehome"
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="rh-keyring-", dir=args.work))
        self.tool = subprocess.run([ROOT / "tests/servers/mysql", "tool", "mysql_migrate_keyring"], capture_output=True,
                                   text=True, check=False)
        self.results, self.goals, self.pauses, self.switches = [], [], [], []

    def fresh(self, name):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        os.sync()
        return folder

    def ours(self, source):
        folder = self.fresh("ours")
        seconds, peak = timed([self.rehome, "keyring-migrate", "-q", "--no-defaults", "--user=root", f"--state-dir={folder}/state",
                               "--keyring-migration-source=component_keyring_file.so", f"--source-path={source}",
                               "--keyring-migration-destination=component_keyring_file.so",
                               f"--destination-path={folder}/keys", "--log-level=warn"])
        return seconds, peak, folder / "keys"

    def components(self, source, folder):
        """Two components of different names, the second a copy of the shipped one with a letter changed, and their configurations;
        options that name them."""
        program = self.tool.stdout.split("\n")[:-1]
        shipped = (pathlib.Path(program[-1]).parents[1] / "lib/mysql/plugin/component_keyring_file.so").read_bytes()
        words = [f"--component-dir={folder}"]
        for side, name, path in (("source", "component_keyring_file", source),
                                 ("destination", "componenu_keyring_file", folder / "keys")):
            (folder / f"{name}.so").write_bytes(shipped.replace(b"component_keyrin", name[:16].encode()))
            (folder / f"{name}.cnf").write_text('{"read_local_config": true}')
            (folder / side).mkdir()
            (folder / side / f"{name}.cnf").write_text(json.dumps({"path": str(path), "read_only": False}))
            words += [f"--{side}-keyring={name}", f"--{side}-keyring-configuration-dir={folder / side}"]
        return program, words

    def theirs(self, source):
        folder = self.fresh("theirs")
        program, words = self.components(source, folder)
        return timed([*program, "--no-defaults", *words])[0], folder / "keys"

    def by_library(self, source):
        """Ours to the same component by its library, which writes its whole file for each key, too."""
        folder = self.fresh("by-library")
        program, words = self.components(source, folder)
        seconds, _ = timed([self.rehome, "keyring-migrate", "-q", "--no-defaults", "--run-as=root", f"--state-dir={folder}/state",
                            "--log-level=warn", f"--component-loader={program[0]}", f"--component-library-path={program[2]}", *words])
        return seconds, folder / "keys"

    def case(self, count):
        source = self.work / f"source-{count}"
        write_keyring(source, count)
        before, keys = source.read_bytes(), read_keyring(source)
        theirs_too = count <= THEIRS_MOST and self.tool.returncode == 0 and not (self.args.quick and count > 1000)
        result = {"keys": count, "bytes": len(before), "ours": [], "theirs": [], "by_library": [], "peak_kib": 0}
        for turn in range(self.args.runs):
            seconds, peak, made = self.ours(source)
            result["ours"].append(seconds)
            result["peak_kib"] = max(result["peak_kib"], peak)
            assert read_keyring(made) == keys, "our destination holds other keys"
            if theirs_too and (turn == 0 or count < THEIRS_MOST):
                seconds, made = self.theirs(source)
                result["theirs"].append(seconds)
                assert read_keyring(made) == keys, "their destination holds other keys"
                seconds, made = self.by_library(source)
                result["by_library"].append(seconds)
                assert read_keyring(made) == keys, "our destination by a library holds other keys"
        assert source.read_bytes() == before, "the source was changed"
        source.unlink()
        say(f"  {count} keys: ours {statistics.median(result['ours']):.3f} s" +
            (f", theirs {statistics.median(result['theirs']):.3f} s" if result["theirs"] else ""))
        self.results.append(result)

    def online(self, turns):
        """The pauses of a server, in milliseconds."""
        folder, keystore = self.work / "server", self.work / "server-keys"
        write_keyring(keystore, ONLINE_KEYS)
        script = [ROOT / "tests/servers/mysql"]
        subprocess.run([*script, "start", folder, f"--keyring={keystore}"], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        try:
            env = dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines() if "=" in line)
            for _ in range(turns):
                place = self.fresh("online")
                subprocess.run([self.rehome, "keyring-migrate", "-q", "--no-defaults", "--user=root", "--log-level=error",
                                f"--state-dir={place}/state", "--keyring-migration-source=component_keyring_file.so",
                                f"--source-path={keystore}", "--keyring-migration-destination=component_keyring_file.so",
                                f"--destination-path={place}/keys", "--keyring-migration-host=127.0.0.1",
                                f"--keyring-migration-port={env['MYSQL_PORT']}",
                                f"--keyring-migration-user={env['MYSQL_MOVER']}",
                                f"--password-file={env['MYSQL_PASSWORD_FILE']}", f"--ssl-ca={env['MYSQL_CA']}"],
                               check=True, stderr=subprocess.DEVNULL)
                plan = next((place / "state").glob("*.hcl"))
                report = json.loads(subprocess.run([self.rehome, "report", plan], check=True, capture_output=True).stdout)
                self.pauses.append(report["moves"][0]["fences"][0]["pause_ms"])
                assert len(read_keyring(place / "keys")) >= ONLINE_KEYS
            self.switch(env, keystore)
        finally:
            subprocess.run([*script, "stop", folder], check=False)
        middle = statistics.median(self.pauses)
        self.goals.append({"what": f"pause of a server with {ONLINE_KEYS:,} keys, median", "goal": f"<= {GOAL_PAUSE} ms",
                           "value": middle, "met": middle <= GOAL_PAUSE, "text": f"{middle:.0f} ms"})

    def switch(self, env, keystore):
        """For how long the server makes no keys when it is switched, there and back, in milliseconds."""
        place = self.fresh("switch")
        account = (f'host = "127.0.0.1" port = {env["MYSQL_PORT"]} user = "{env["MYSQL_MOVER"]}" '
                   f'password_file = "{env["MYSQL_PASSWORD_FILE"]}" tls {{ ca_file = "{env["MYSQL_CA"]}" }}')
        plan = place / "switch.hcl"
        plan.write_text(f'plan "switch" {{ state_dir = "{place}/state" }}\nmove "keys" {{\n  mode = "paused"\n'
                        f'  source "component_keyring_file" {{ path = "{keystore}" }}\n'
                        f'  destination "component_keyring_file" {{ path = "{place}/keys" }}\n'
                        f'  fence "keyring_operations" {{ {account} }}\n}}\n'
                        f'cutover {{ route "keyring_reload" {{ {account} }} }}\n', encoding="utf-8")
        for turn in range(self.args.switches):
            for command in (["run"], ["cutover"]) if turn % 2 == 0 else (["rollback"],):
                subprocess.run([self.rehome, *command, "-q", "--log-level=error", plan], check=True, stderr=subprocess.DEVNULL)
            report = json.loads(subprocess.run([self.rehome, "report", plan], check=True, capture_output=True).stdout)
            self.switches.append(report["routes"][0]["pause_ms"])
        if self.args.switches % 2:
            subprocess.run([self.rehome, "rollback", "-q", "--log-level=error", plan], check=True, stderr=subprocess.DEVNULL)

    def judge(self):
        median = {r["keys"]: statistics.median(r["ours"]) for r in self.results}
        most = SIZES[-1]
        self.goals.append({"what": f"{most:,} keys with verification", "goal": f"< {GOAL_SECONDS} s", "value": median[most],
                           "met": median[most] < GOAL_SECONDS, "text": f"{median[most]:.2f} s"})
        growth = median[most] / median[most // 10]
        self.goals.append({"what": "ten times the keys take, at most, times as long", "goal": f"<= {GOAL_GROWTH}",
                           "value": growth, "met": growth <= GOAL_GROWTH, "text": f"{growth:.1f}"})

    def table(self):
        lines = ["", f"{'keys':>8}{'file':>10}{'ours':>11}{'mysql_migrate_keyring':>24}{'ratio':>9}{'peak':>11}" +
                 f"{'by library':>14}{'ratio':>8}"]
        for r in self.results:
            ours, theirs = statistics.median(r["ours"]), statistics.median(r["theirs"]) if r["theirs"] else None
            lines.append(f"{r['keys']:>8}{r['bytes'] / 1e6:>7.1f} MB{ours:>9.3f} s" +
                         (f"{theirs:>22.3f} s{theirs / ours:>9.1f}" if theirs else f"{'-':>24}{'-':>9}") +
                         f"{r['peak_kib'] / 1024:>7.1f} MiB" +
                         (f"{statistics.median(r['by_library']):>12.3f} s{theirs / statistics.median(r['by_library']):>8.1f}"
                          if r["by_library"] else ""))
        for what, times in (("online moves", self.pauses), ("switches", self.switches)):
            if not times:
                continue
            told = ", ".join(f"{name} {value:.0f}" for name, value in (
                ("least", min(times)), ("median", statistics.median(times)),
                ("nine of ten within", sorted(times)[(len(times) * 9 + 9) // 10 - 1]), ("most", max(times))))
            lines += ["", f"pause in ms, {len(times)} {what} of {ONLINE_KEYS:,} keys: {told}"]
        lines += ["", f"{'goal':52}{'wanted':>10}  measured"]
        for goal in self.goals:
            lines.append(f"{goal['what']:52}{goal['goal']:>10}  {goal['text']:12}{'met' if goal['met'] else 'NOT MET'}")
        return "\n".join(lines)

    def save(self, path):
        with open(path, "w", encoding="ascii") as out:
            json.dump({"cpus": os.cpu_count(), "quick": self.args.quick, "runs": self.args.runs, "results": self.results,
                       "pauses_ms": self.pauses, "switches_ms": self.switches, "goals": self.goals}, out, indent=1)


def main():
    parser = argparse.ArgumentParser(description="times beside mysql_migrate_keyring")
    parser.add_argument("--quick", action="store_true", help="one turn, and no more than 1,000 keys for the other one")
    parser.add_argument("--runs", type=int, help="turns (3)")
    parser.add_argument("--online", type=int, help="online moves for the pause (20)")
    parser.add_argument("--switches", type=int, help="switches of a server, there and back in turn (20)")
    parser.add_argument("--build", default=str(ROOT / "build-bench"), help="build folder (build-bench)")
    parser.add_argument("--work", help="folder for keystores (the system's temporary folder)")
    parser.add_argument("--json", default=str(ROOT / "build-bench" / "keyring.json"), help="where figures go")
    args = parser.parse_args()
    args.runs = args.runs or (1 if args.quick else 3)
    args.online = (3 if args.quick else 20) if args.online is None else args.online
    args.switches = (4 if args.quick else 20) if args.switches is None else args.switches
    args.build = os.path.abspath(args.build)
    make_build(args.build)
    bench = Bench(args)
    if bench.tool.returncode != 0:
        say(f"bench: no mysql_migrate_keyring to be had: {bench.tool.stderr.strip()}")
    try:
        start = time.monotonic()
        for count in SIZES:
            bench.case(count)
        bench.judge()
        if args.online and bench.tool.returncode == 0:
            bench.online(args.online)
        bench.save(args.json)
        print(bench.table())
        say(f"took {time.monotonic() - start:.0f} s")
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)


if __name__ == "__main__":
    main()
