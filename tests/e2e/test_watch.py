# SPDX-License-Identifier: Apache-2.0
"""`status --watch`: follows a run to its end and ends as that does."""
import json
import os
import pty
import subprocess

import pytest

from faultlib import DESTINATION, INTERRUPTED, MARKER, MISMATCH, OK, FileStore, Move, end, go_on, home, make_tree  # noqa: F401


@pytest.fixture
def move(home):  # noqa: F811
    make_tree(home / "src", 400)
    return Move(home / "move", FileStore(home / "src"), FileStore(home / "dst"), more="parallel = 1")


def watch(move, *more, **how):
    """Starts it and gives it back with its first line."""
    process = subprocess.Popen(move.args("status", "--watch", "--interval=50ms", *more), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, **how)
    return process, process.stdout.readline()


def test_follows_to_the_end(move):
    run = move.stopped("copy:3")
    try:
        watcher, first = watch(move)
        assert first.startswith("m copy: ") and " of 4" in first and " records, " in first, first
        assert watcher.poll() is None
        assert go_on(run) == OK
        out, err = watcher.communicate(timeout=30)
    finally:
        end(run)
    lines = out.splitlines()
    assert watcher.returncode == OK and err == ""
    assert lines[-1].startswith("m: complete, 4") and "%" not in lines[-1]
    done, total = lines[-1].split(", ")[1].split(" records")[0].split(" of ")
    assert done == total
    assert len(set(lines)) == len(lines), "a plain line is only printed when something has changed"


def test_nobody_at_work(move):
    watcher, first = watch(move)
    assert watcher.wait(20) == OK and first == "nothing was run yet\n"
    move.must(OK)
    watcher, first = watch(move)
    assert watcher.wait(20) == OK and first.startswith("m: complete, ")


def test_json_lines_and_a_run_that_is_killed(move):
    run = move.stopped("copy:3")
    watcher, first = watch(move, "--json")
    look = json.loads(first)
    assert look["running"] is True and look["exit"] is None and look["moves"][0]["step"] == "copy"
    assert 0 < look["moves"][0]["expected"] and look["moves"][0]["ranges"] > 0
    end(run)
    out, err = watcher.communicate(timeout=30)
    last = json.loads(out.splitlines()[-1])
    assert watcher.returncode == INTERRUPTED and err == ""
    assert last["running"] is False and last["exit"] is None and last["moves"][0]["state"] == "interrupted"
    move.must(OK)
    watcher, first = watch(move, "--json")
    assert watcher.wait(20) == OK and json.loads(first)["exit"] == OK


def test_ends_with_the_status_of_the_run(move):
    """A source that changes under the copy: the run fails, and so does who watches."""
    run = move.stopped("copy:4")  # a batch is over
    watcher, _ = watch(move)
    for key in move.source.read(crashed=True):
        if key != MARKER:
            move.source.put(key, b"changed")
    code = go_on(run)
    assert code in (MISMATCH, DESTINATION) and watcher.wait(30) == code


def test_on_a_terminal_the_line_is_rewritten(move):
    run = move.stopped("copy:3")
    master, slave = pty.openpty()
    watcher = subprocess.Popen(move.args("status", "--watch", "--interval=50ms"), stdout=slave, stderr=slave,
                               env={**os.environ, "TERM": "vt100"})
    os.close(slave)
    try:
        seen = os.read(master, 4096).decode()
        while seen.count("\r\033[K") < 3:
            seen += os.read(master, 4096).decode()
        assert seen.count("\033[1A") >= 2 and "m copy: " in seen
        assert go_on(run) == OK
        while True:
            try:
                seen += os.read(master, 4096).decode()
            except OSError:  # the other end is closed
                break
    finally:
        end(run)
        os.close(master)
    assert watcher.wait(20) == OK
    assert seen.rstrip().rpartition("\033[K")[2].startswith("m: complete, ")
