# SPDX-License-Identifier: Apache-2.0
"""Completion in real shells: what stands on the line after a Tab, and what is offered."""
import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
# A key that shows the line as it stands, between marks.
SETUP = {
    "bash": """PS1='> '; bind 'set enable-bracketed-paste off'; source {script}; """
            """bind -x '"\\C-g": printf "<<%s>>" "$READLINE_LINE"'; echo rea''dy\n""",
    "zsh": """PS1='> '; unset zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; source {script}; """
           """show() {{ print -n "<<$BUFFER>>" }}; zle -N show; bindkey '^G' show; echo rea''dy\n""",
}
# What is typed before Tab, and the whole line after it.
CASES = [
    ("rehome sta", "rehome status "),
    ("rehome oper", "rehome operator "),
    ("rehome operator mi", "rehome operator migrate "),
    ("rehome seal re", "rehome seal rewrap "),
    ("rehome keyring-m", "rehome keyring-migrate "),
    ("rehome keyring-migrate --on-conflict ke", "rehome keyring-migrate --on-conflict keep-equal "),
    ("rehome keyring-migrate --destination-keyring=component_keyring_f",
     "rehome keyring-migrate --destination-keyring=component_keyring_file "),
    ("rehome keyring li", "rehome keyring list "),
    ("rehome keyring check --datadir fold", {"rehome keyring check --datadir folder/", "rehome keyring check --datadir folder/ "}),
    ("rehome keyring list seal", "rehome keyring list sealed_keyring "),
    ("rehome keyring list sealed_keyring key_f", {"rehome keyring list sealed_keyring key_file="}),
    ("rehome keyring list sealed_keyring path=pla", "rehome keyring list sealed_keyring path=plan-of-mine.hcl "),
    ("rehome keyring list component_keyring_file component_dir=fold",
     {f"rehome keyring list component_keyring_file component_dir=folder{end}" for end in ("/", "/ ")}),
    ("rehome keyring check pla", "rehome keyring check plan-of-mine.hcl "),
    ("rehome keyring show an-id plan-o", "rehome keyring show an-id plan-of-mine.hcl "),
    ("rehome run --no-v", "rehome run --no-verify "),
    ("rehome operator migrate --max-p", {"rehome operator migrate --max-parallel ", "rehome operator migrate --max-parallel="}),
    ("rehome run --log-level de", "rehome run --log-level debug "),
    ("rehome run --log-format=js", "rehome run --log-format=json "),
    ("rehome run pla", "rehome run plan-of-mine.hcl "),
    ("rehome check --state-dir fold", {"rehome check --state-dir folder/", "rehome check --state-dir folder/ "}),
    ("rehome help mys", "rehome help mysql "),
    ("rehome completion fi", "rehome completion fish "),
    ("rehome version nothing-like-this", "rehome version nothing-like-this"),
]


def need(shell):
    if not shutil.which(shell):
        pytest.fail(f"{shell} is missing: apt-get install --no-install-recommends {shell}")


@pytest.fixture
def script(program, tmp_path):
    """script(shell): the file that `rehome completion` prints for it, in a folder with things to complete."""

    def make(shell):
        need(shell)
        path = tmp_path / f"completion.{shell}"
        done = subprocess.run([program, "completion", shell], capture_output=True, check=True)
        assert done.stderr == b""
        path.write_bytes(done.stdout)
        (tmp_path / "plan-of-mine.hcl").touch()
        (tmp_path / "folder").mkdir(exist_ok=True)
        return path

    return make


class Terminal:
    """An interactive shell on a terminal of its own."""

    def __init__(self, shell, folder, script):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb" if shell == "bash" else "vt100", HOME=str(folder), LC_ALL="C.UTF-8")
            os.execvp(START[shell][0], START[shell])
        self.type(SETUP[shell].format(script=script))
        self.until("ready")

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, mark):
        """What comes up to the mark."""
        seen, end = "", time.monotonic() + 20
        while mark not in seen:
            assert time.monotonic() < end, f"no {mark!r} in {seen!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                seen += os.read(self.fd, 65536).decode(errors="replace")
        return seen

    def complete(self, text):
        """The line after a Tab behind the text; the line is empty again afterwards."""
        self.type("\x15" + text + "\t")
        time.sleep(0.1)
        self.type("\x07")
        line = self.until(">>").rpartition("<<")[2].partition(">>")[0]
        self.type("\x15")
        return line

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("shell", START)
def test_tab(shell, script, tmp_path):
    terminal = Terminal(shell, tmp_path, script(shell))
    try:
        for typed, wanted in CASES:
            line = terminal.complete(typed)
            assert line in wanted if isinstance(wanted, set) else line == wanted, (typed, line)
    finally:
        terminal.close()


def fish(script, folder, line):
    """What fish offers behind a line."""
    done = subprocess.run(["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"], capture_output=True,
                          check=True, text=True, cwd=folder, env={**os.environ, "HOME": str(folder)})
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]


def test_fish(script, tmp_path):
    path = script("fish")
    for typed, wanted in CASES:
        wanted = {line.strip().replace("=", " ").split()[-1] for line in (wanted if isinstance(wanted, set) else {wanted})}
        offers = [offer.removesuffix("=").rpartition("=")[2] for offer in fish(path, tmp_path, typed)]
        assert offers == sorted(wanted)[:1] or not offers and "nothing" in typed, (typed, offers)


def test_every_option_is_offered(program, script, tmp_path):
    """By the tables, as `help --json` prints them: each named option of each command, in each shell's script."""
    tables = json.loads(subprocess.run([program, "help", "--json"], capture_output=True, check=True).stdout)
    bash, fish_script, count = script("bash"), script("fish"), 0
    zsh = script("zsh").read_text()
    for command in tables["commands"]:
        named = {"--" + o["name"] for o in command["options"] if not o["positional"] and not o["hidden"]} | {"--help"}
        words = command["name"].split()
        ask = f"""source {bash}; COMP_WORDS=(rehome {' '.join(words)} --); COMP_CWORD={len(words) + 1}; _rehome; """
        offered = subprocess.run(["bash", "-c", ask + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, check=True,
                                 text=True).stdout.split()
        assert set(offered) == named, command["name"]
        assert set(fish(fish_script, tmp_path, f"rehome {command['name']} --")) == named, command["name"]
        part = zsh.partition(f"    '{command['name']}')")[2].partition(";;")[0]
        assert all(f"{name}[" in part or f"{name}=[" in part or f"{name}}}" in part or f"{name}=}}" in part for name in named), command["name"]
        count += len(named)
    assert count > 50
