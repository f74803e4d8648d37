# SPDX-License-Identifier: Apache-2.0
"""docs/moving-a-mysql-keyring.md followed word by word, on a real MySQL: every block of the page is run, in the page's order.

What a block is, its fence says:

    console  lines that begin with "# " are commands (continued by a backslash) and have to end with 0; the lines below a
             command are what it says, standard output first. "..." stands for any lines, other lines have to follow on
             each other. Not compared: times, durations, versions, numbers of processes and of files, widths of columns.
    sql      the same, with "mysql> " and the server's own client.
    hcl,     the content of a file: the last path in the paragraph above it.
    json

Any other block fails, and so does one that wasn't run. The page's paths, account and identity stand for those of the
test (`Walk.places`). Between the blocks, comments that no reader sees (<!-- test: WORDS, WORDS -->) say what has
happened meanwhile; `Walk.happens` knows them. "exit 5" is what the next block's last command ends with.
"""
import dataclasses
import getpass
import grp
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from keyringlib import KeyringServer, read_component, wait_written, write_plugin
from vaultlib import KILLED, OK, REFUSED, REHOME, TOP, missing_server

PAGE = TOP / "docs/moving-a-mysql-keyring.md"
UUID = "d9f0c2a4-7c35-41ef-8f2b-0242ac110002"  # the page's server
PROMPTS = {"console": "# ", "sql": "mysql> "}
FILES = ("hcl", "json")


# --- the page ---


@dataclasses.dataclass
class Block:
    kind: str
    line: int
    path: str
    text: str

    def commands(self):
        """Each command with the lines that it is to say."""
        prompt, found, going_on = PROMPTS[self.kind], [], False
        for line in self.text.splitlines():
            if going_on:
                found[-1][0] += "\n" + line
            elif line.startswith(prompt):
                found.append([line[len(prompt):], []])
            else:
                assert found, f"line {self.line}: a block begins with what a command says"
                found[-1][1].append(line)
                continue
            going_on = line.endswith("\\")
        return found


def steps():
    """The page's blocks and what happens between them, in order."""
    found, above, block = [], "", None
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        if block and line == "```":
            found.append(block)
            block = None
        elif block:
            block.text += line + "\n"
        elif line.startswith("```"):
            paths = re.findall(r"`(/[^`]+)`", above)
            block, above = Block(line[3:], number, paths[-1] if paths else "", ""), ""
        else:
            above = above + line + "\n" if line else above.rpartition("\n\n")[2] + "\n"
            found += [word for words in re.findall(r"<!-- test: (.*?) -->", line) for word in words.split(", ")]
    assert not block, "the last block doesn't end"
    return found


MASKS = [
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\b\d+(\.\d+)? (ms|s|min)\b", "WHILE"),
    (r"\bMySQL \d[\w.+~-]*", "MySQL VERSION"),
    (r"\(process \d+\)", "(process N)"),
    (r"\b(\d+) of \1 encrypted", "ALL encrypted"),
    (r"\b\d+ files (that )?aren't", "N files aren't"),
    (r"(newest|number|-)( +[\d-]+){4} ", r"\1 FILES "),
    (r"[ \t]+", " "),
]


def compared(text):
    """Lines without what differs from time to time."""
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return [line.strip() for line in text.splitlines()]


def missing_line(shown, said):
    """The first of the lines that should have been said, None when all were. "..." stands for any."""
    at, anywhere = 0, False
    for line in compared("\n".join(shown)):
        if line == "...":
            anywhere = True
            continue
        here = said[at:] if anywhere else said[at:at + 1]
        if line not in here:
            return line
        at += here.index(line) + 1
        anywhere = False
    return None if anywhere or at == len(said) or not shown else f"nothing more, but there is: {said[at]}"


def test_lines_are_compared():
    said = ["a", "b", "c", "d"]
    assert missing_line(["a", "...", "c", "d"], said) is None
    assert missing_line(["...", "d"], said) is None and missing_line([], said) is None
    assert missing_line(["a", "c", "..."], said) == "c"
    assert missing_line(["...", "b", "a"], said) == "a"
    assert "but there is: d" in missing_line(["a", "b", "c"], said)
    assert compared("paused for 12 ms") == compared("paused for 7 ms")
    assert compared("1 of 2 encrypted") != compared("2 of 2 encrypted")


# --- the machine that the page speaks of ---


class Walk:
    """A server whose places have the page's names, and what is done to it."""

    def __init__(self, folder):
        self.folder, self.late, self.other = folder, 0, None
        for name in ("old", "old2", "bin"):
            (folder / name).mkdir()
        self.server = KeyringServer(f"--keyring={folder}/old/keys")
        self.server.encrypt(rows=4)
        self.server.make_key("payroll", b"0123456789abcdef", "AES")
        wait_written(self.server)
        self.rows = self.server.rows()
        self.places = {
            "/etc/rehome": folder / "etc",
            "/var/lib/rehome": folder / "state",
            "/srv/mysql-keyring": folder / "new",
            "/srv/mysql2-keyring": folder / "new2",
            "/var/lib/mysql-keyring": folder / "old",
            "/var/lib/mysql2-keyring": folder / "old2",
            "/var/lib/mysql": self.server.datadir,
            "/run/mysqld/mysqld.sock": self.server.env["MYSQL_SOCKET"],
            "/usr/sbin/mysqld.my": pathlib.Path(self.server.dir, "run/keyring/bin/mysqld.my"),
            "/usr/lib/mysql/plugin": self.server.env["MYSQL_PLUGIN_DIR"],
            "/usr/lib/mysql/plugin/component_keyring_file.cnf": self.server.cnf,
            UUID: self.server.env["MYSQL_UUID"],
        }
        self.words = {
            "-o mysql -g mysql": f"-o {getpass.getuser()} -g {grp.getgrgid(os.getgid()).gr_name}",
            "--user=mysql": f"--user={getpass.getuser()}",
        }
        self.exit, self.plan, self.account = OK, None, None
        self.programs()

    def stop(self):
        for server in filter(None, (self.server, self.other)):
            server.stop()

    def programs(self):
        """rehome as it was built, and a systemctl that knows the server."""
        (self.folder / "bin/rehome").symlink_to(REHOME)
        script = self.folder / "bin/systemctl"
        script.write_text(f"""#!/bin/sh
case "$*" in
"stop mysql") exec '{self.server.script}' halt '{self.server.dir}' ;;
"start mysql") exec '{self.server.script}' restart '{self.server.dir}' ;;
esac
exit 1
""", encoding="utf-8")
        script.chmod(0o755)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("REHOME_", "RH_"))}
        self.env.update(PATH=f"{self.folder}/bin:{os.environ['PATH']}", REHOME_STATE_DIR=str(self.folder / "state"))

    def here(self, text):
        """The page's text with what it stands for."""
        if "PASSWORD" in text:
            text = text.replace("PASSWORD", (self.folder / "etc/password").read_text(encoding="utf-8").strip())
        names = {**self.places, **self.words}
        return re.sub("|".join(sorted(map(re.escape, names), key=len, reverse=True)), lambda m: str(names[m[0]]), text)

    def there(self, text):
        """The other way round: what was said, in the page's names."""
        names = {str(real): name for name, real in self.places.items()}
        return re.sub("|".join(sorted(map(re.escape, names), key=len, reverse=True)), lambda m: names[m[0]], text)

    # --- blocks ---

    def run(self, block):
        if block.kind in FILES:
            assert block.path, f"line {block.line}: which file is this?"
            self.write(self.here(block.path), self.here(block.text))
            if block.path == "/etc/rehome/keyring.hcl" and not self.plan:
                self.plan = block
            return
        commands = block.commands()
        assert commands, f"line {block.line}: no command"
        if block.kind == "sql" and not self.account:
            self.account = block
        for command, shown in commands:
            wanted = self.exit if command is commands[-1][0] else OK
            done = self.do(block.kind, command)
            said = compared(self.there(done.stdout + done.stderr))
            told = f"line {block.line}: {command}\nexit {done.returncode}\n" + "\n".join(said)
            assert done.returncode == wanted, told
            missing = missing_line(shown, said)
            assert missing is None, f"{told}\n\nisn't said there: {missing}"
        self.exit = OK

    def do(self, kind, command, server=None):
        """One command of a block, by the shell or the server's client."""
        server = server or self.server
        words = ["sh", "-c", self.here(command)] if kind == "console" else server.client_words("-e", self.here(command))
        if "systemctl" in command:
            server.leave()
        with open(self.folder / "out", "w+b") as out, open(self.folder / "err", "w+b") as err:  # a server may keep them
            code = subprocess.run(words, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                  timeout=120, check=False).returncode
        return subprocess.CompletedProcess(words, code, *((self.folder / name).read_text(encoding="utf-8", errors="replace")
                                                          for name in ("out", "err")))

    @staticmethod
    def write(path, text):
        path = pathlib.Path(path)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644 if path.suffix == ".hcl" else 0o444)

    # --- what happens between them ---

    def happens(self, words):
        {
            "start over": self.start_over,
            "without the cutover block": self.without_cutover,
            "cut over": lambda: self.rehome("run", "cutover"),
            "by hand": self.switch_by_hand,
            "a key is made": self.make_key,
            "second server": self.second_server,
            "the plugin's file": self.plugin_file,
            "killed": self.killed,
        }.get(words, lambda: setattr(self, "exit", int(words.removeprefix("exit "))))()

    def rehome(self, *verbs, want=OK, **env):
        for verb in verbs:
            words = [REHOME, verb, self.folder / "etc/keyring.hcl"]
            done = subprocess.run(words, env={**self.env, **env}, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == want, f"{verb}: {done.stderr}"

    def start_over(self):
        """The server is on its first keystore, with all its keys, and no plan was run."""
        now = pathlib.Path(self.server.status()["Data_file"])
        first = self.folder / "old/keys"
        if now != first:
            assert set(read_component(first)) <= set(read_component(now))
            shutil.copy(now, first)
            self.point(first)
        for name in ("new/keys", "new2/keys"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "state")
        self.run(self.plan)

    def point(self, keystore):
        """The server goes to another keystore as an administrator sends it there."""
        self.server.cnf.unlink()
        self.server.point(keystore)
        self.server.sql("ALTER INSTANCE RELOAD KEYRING")

    def without_cutover(self):
        plan = self.folder / "etc/keyring.hcl"
        self.write(plan, plan.read_text(encoding="utf-8").partition("cutover {")[0])

    def switch_by_hand(self):
        self.start_over()
        self.without_cutover()
        self.rehome("run")
        self.point(self.folder / "new/keys")
        self.make_key()

    def make_key(self):
        self.late += 1
        self.server.make_key(f"late {self.late}", b"0123456789abcdef", "AES")

    def second_server(self):
        """Another one with its keystore; the account is on both."""
        self.other = KeyringServer(f"--keyring={self.folder}/old2/keys")
        self.other.make_key("payroll", b"0123456789abcdef", "AES")
        self.places["/var/lib/mysql2"] = self.other.datadir
        self.places["/run/mysqld2/mysqld.sock"] = self.other.env["MYSQL_SOCKET"]
        (self.folder / "new2").mkdir()
        for server in (self.server, self.other):
            for command, _ in self.account.commands():
                assert self.do("sql", command, server).returncode == OK

    def plugin_file(self):
        write_plugin(self.folder / "old/keyring", read_component(self.folder / "old/keys"))

    def killed(self):
        self.rehome("run")
        self.rehome("cutover", want=KILLED, RH_CRASH_AT="route:5")
        self.rehome("finish", want=REFUSED)


@pytest.fixture
def walk(tmp_path):
    if why := missing_server("mysql"):
        pytest.skip(f"no MySQL to be had: {why}")
    one = Walk(tmp_path)
    yield one
    one.stop()


def test_page(walk):
    ran, page = 0, steps()
    for step in page:
        if isinstance(step, str):
            walk.happens(step)
        else:
            walk.run(step)
            ran += 1
    # the page is counted in another way than it was read
    assert ran == len(re.findall(r"^ *```", PAGE.read_text(encoding="utf-8"), re.M)) / 2 > 25
    assert walk.late > 3 and walk.server.rows() == walk.rows
    assert set(walk.server.keys().values()) == {("AES", b"0123456789abcdef".hex().upper())}
    assert pathlib.Path(walk.server.status()["Data_file"]) == walk.folder / "new/keys"
