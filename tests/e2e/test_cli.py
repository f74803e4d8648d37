# SPDX-License-Identifier: Apache-2.0
"""The command line itself: dispatch, help, exit statuses, where output goes. Moves between two file storages."""
import json
import os
import pty
import shutil
import subprocess

import pytest


@pytest.fixture
def plan(vault_tree, tmp_path):
    """A plan from one file storage to another."""
    source = vault_tree()
    path = tmp_path / "plan.hcl"
    path.write_text(f'plan "p" {{ state_dir = "{tmp_path}/state" }}\n'
                    f'move "m" {{\n  source "file" {{ path = "{source}" }}\n'
                    f'  destination "file" {{ path = "{tmp_path}/new" }}\n}}\n')
    return path


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_no_command_is_a_usage_error(rehome):
    done = rehome()
    assert (done.returncode, done.stdout) == (1, "")
    assert "rehome help" in done.stderr


def test_unknown_command_names_the_nearest(rehome):
    done = rehome("chekc")
    assert done.returncode == 1
    assert "'chekc'" in done.stderr and "'check'" in done.stderr


def test_control_characters_never_reach_the_terminal(rehome):
    done = rehome("a\x1b[2Jb")
    assert "\x1b" not in done.stderr and "\\x1b" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["help", "stores"], ["help", "mysql"], ["help", "move"],
                                   ["run", "--help"], ["run", "nowhere.hcl", "-h"], ["operator", "migrate", "-help"]])
def test_help_goes_to_stdout(rehome, words):
    done = rehome(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 3


def test_unknown_option_names_the_nearest(rehome):
    done = rehome("run", "--paralel", "3", "x.hcl")
    assert done.returncode == 1
    assert "paralel" in done.stderr and "parallel'" in done.stderr


def test_version_is_data(rehome):
    done = rehome("version", "--json")
    version = json.loads(done.stdout)
    assert {"file", "mysql", "memory"} <= {store["name"] for store in version["stores"]}
    assert version["version"] in rehome("--version").stdout


def test_a_full_stdout_is_a_failure(program):
    with open("/dev/full", "w") as full:
        assert subprocess.run([program, "help", "--json"], stdout=full, stderr=subprocess.PIPE).returncode == 9


def test_a_missing_plan_is_a_plan_error(rehome):
    done = rehome("check", "nowhere.hcl")
    assert done.returncode == 2 and "nowhere.hcl" in done.stderr


def test_check_says_what_both_sides_are(rehome, plan, tmp_path):
    done = rehome("check", plan)
    assert done.returncode == 0, done.stderr
    assert "nothing stands in the way" in done.stdout and str(tmp_path / "vault") in done.stdout
    assert not (tmp_path / "new").exists()


def test_check_as_json(rehome, plan):
    answer = json.loads(rehome("check", plan, "--json").stdout)
    assert (answer["exit"], answer["problems"], answer["error"]) == (0, 0, None)
    assert {"fact"} <= {finding["kind"] for finding in answer["findings"]}


def test_check_names_a_problem_with_its_fix(rehome, plan, tmp_path):
    plan.write_text(plan.read_text().replace(f"{tmp_path}/new", f"{tmp_path}/vault"))
    done = rehome("check", plan)
    assert done.returncode == 8
    assert "problem: " in done.stdout and "  fix: " in done.stdout and "\n1 problem named above" in done.stdout


def test_a_fix_for_many_problems_is_said_once(rehome, plan, tmp_path):
    shutil.copytree(tmp_path / "vault", tmp_path / "new")
    count = len(content(tmp_path / "vault"))
    done = rehome("check", plan)
    assert done.returncode == 8 and done.stdout.count("problem: ") == count > 10
    fixes = [line for line in done.stdout.splitlines() if line.startswith("  fix")]
    assert len(fixes) == 1 and fixes[0].startswith(f"  fix for these {count}: ")
    answer = json.loads(rehome("check", plan, "--json").stdout)
    assert all(f["hint"] for f in answer["findings"] if f["kind"] == "problem")


def test_an_unknown_option_is_shown_as_it_was_written(rehome):
    assert "unknown option '-x'" in rehome("run", "-x").stderr
    assert "unknown option '--x'" in rehome("run", "--x").stderr


def test_run_says_when_a_step_begins_and_ends(rehome, plan):
    killed = rehome("run", plan, env={"RH_CRASH_AT": "copy:1"})
    assert "step begins move=m step=copy" in killed.stderr and "step done move=m step=copy" not in killed.stderr
    done = rehome("run", plan)
    assert "going on where an earlier run stopped move=m resumes=1" in done.stderr
    for step in ("copy", "verify", "unmark"):
        assert f"step begins move=m step={step}" in done.stderr and f"step done move=m step={step}" in done.stderr
    assert "step begins" not in rehome("rollback", plan, "--log-level", "warn").stderr


def test_the_story_of_a_move(rehome, plan, tmp_path):
    source = content(tmp_path / "vault")
    assert "nothing was run yet" in rehome("status", plan).stdout
    assert rehome("report", plan).returncode == 8
    assert rehome("run", plan).returncode == 0
    assert content(tmp_path / "new") == source == content(tmp_path / "vault")
    status = rehome("status", plan).stdout
    assert "complete" in status and "the source stood still" in status
    assert rehome("verify", plan).returncode == 0
    report = json.loads(rehome("report", plan).stdout)
    assert report["moves"][0]["counts"]["records"] == len(source)
    assert rehome("rollback", plan).returncode == 0
    assert not (tmp_path / "new").exists() or content(tmp_path / "new") == {}
    assert "rolled-back" in rehome("status", plan).stdout


def test_verify_names_the_record(rehome, plan, tmp_path):
    assert rehome("run", plan, "--quiet").returncode == 0
    victim = next(p for p in sorted((tmp_path / "new").rglob("_*")) if p.is_file())
    victim.unlink()
    done = rehome("verify", plan)
    assert done.returncode == 5
    assert victim.name[1:] in done.stdout and "missing" in done.stdout
    assert rehome("verify", plan, "--repair").returncode == 0
    assert content(tmp_path / "new") == content(tmp_path / "vault")


def test_finish_ends_the_way_back(rehome, plan, tmp_path):
    assert rehome("run", plan).returncode == 0
    assert rehome("finish", plan).returncode == 0
    assert rehome("rollback", plan).returncode != 0
    assert content(tmp_path / "new") == content(tmp_path / "vault")


def test_finish_asks_on_a_terminal(program, rehome, plan):
    assert rehome("run", plan).returncode == 0
    ours, theirs = pty.openpty()
    asked = subprocess.Popen([program, "finish", plan], stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    os.write(ours, b"no\n")
    assert asked.wait(timeout=30) == 1
    os.close(ours)
    assert "complete" in rehome("status", plan).stdout


def test_log_as_json(rehome, plan):
    done = rehome("run", plan, "--log-format", "json", "--log-level", "debug")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert lines and all({"@level", "@message", "@timestamp"} <= set(line) for line in lines)


def test_unknown_log_level(rehome, plan):
    assert rehome("run", plan, "--log-level", "loud").returncode == 1


def migrate_file(tmp_path, source):
    path = tmp_path / "migrate.hcl"
    path.write_text(f'storage_source "file" {{\n  path = "{source}"\n}}\n'
                    f'storage_destination "file" {{\n  path = "{tmp_path}/new"\n}}\n')
    return path


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_operator_migrate(rehome, vault_tree, tmp_path, dashes):
    source = vault_tree()
    done = rehome("operator", "migrate", dashes + "config", migrate_file(tmp_path, source), dashes + "max-parallel=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Success! All of the keys have been migrated.\n")
    assert content(tmp_path / "new") == content(source)


def test_operator_migrate_needs_its_file(rehome):
    done = rehome("operator", "migrate")
    assert done.returncode == 1 and "Must specify exactly one config path using -config" in done.stderr


def test_operator_migrate_takes_its_file_from_the_environment(rehome, vault_tree, tmp_path):
    config = migrate_file(tmp_path, vault_tree())
    assert rehome("operator", "migrate", env={"BAO_MIGRATE_CONFIG_PATH": str(config)}).returncode == 0


def test_operator_migrate_reset(rehome, vault_tree, tmp_path):
    source = vault_tree()
    (source / "core").mkdir(exist_ok=True)
    (source / "core/_migration").write_text('{"Value":"eyJzdGFydCI6IjIwMTgtMDktMjBUMTQ6MjM6MjMuNjU2WiJ9Cg=="}\n')
    config = migrate_file(tmp_path, source)
    assert rehome("operator", "migrate", "-config", config).returncode == 6
    done = rehome("operator", "migrate", "-config", config, "-reset")
    assert (done.returncode, done.stdout) == (0, "Success! Migration lock reset (if it was set).\n")
    assert not (source / "core/_migration").exists()


def test_a_plan_of_ours_is_no_migrate_file(rehome, plan):
    done = rehome("operator", "migrate", "-config", plan)
    assert done.returncode == 2 and "rehome run" in done.stderr


def test_check_knows_its_own_plan(rehome, plan):
    assert rehome("run", plan).returncode == 0
    done = rehome("check", plan)
    assert done.returncode == 0, done.stdout
    assert "complete" in done.stdout and "already holds" not in done.stdout
    assert rehome("finish", plan).returncode == 0
    done = rehome("check", plan)
    assert done.returncode == 8 and "already holds" in done.stdout


def test_check_says_how_many_it_doesnt_name(rehome, vault_tree, plan, tmp_path):
    shutil.rmtree(tmp_path / "vault")
    vault_tree(entries=200)
    vault_tree("new", entries=200)
    done = rehome("check", plan)
    assert done.returncode == 8
    assert "only the first 100 of " in done.stdout and "100 problems named above" in done.stdout


def test_check_warns_of_an_empty_source(rehome, plan, tmp_path):
    (tmp_path / "vault").rename(tmp_path / "elsewhere")
    (tmp_path / "vault").mkdir()
    assert "holds no records" in rehome("check", plan).stdout


@pytest.mark.parametrize("command", ["check", "run", "status", "verify", "rollback", "recover", "finish", "report"])
@pytest.mark.parametrize("words", [["--foo", "x.hcl"], [], ["nowhere.hcl"]])
def test_json_on_failure(rehome, command, words):
    done = rehome(command, "--json", *words)
    answer = json.loads(done.stdout)
    assert (answer["command"], answer["exit"]) == (command, done.returncode)
    assert answer["error"]["text"] and done.returncode in (1, 2)


def test_operator_migrate_as_json(rehome, vault_tree, tmp_path):
    config = tmp_path / "migrate.hcl"
    config.write_text(f'storage_source "file" {{ path = "{vault_tree()}" }}\n'
                      f'storage_destination "file" {{ path = "{tmp_path}/new" }}\n')
    done = rehome("operator", "migrate", "-config", config, "-json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exit"], answer["command"]) == (0, 0, "operator migrate")
    assert answer["report"]["moves"][0]["digests"]["equal"] is True and "Success!" not in done.stdout
    done = rehome("operator", "migrate", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit"]) == (1, 1)
    assert "Must specify exactly one config path using -config" in done.stderr
    keyring = tmp_path / "vault" / "core" / "_keyring"
    if not keyring.exists():
        some = next(p for p in (tmp_path / "vault").rglob("_*") if p.is_file())
        keyring.parent.mkdir(exist_ok=True)
        shutil.copy(some, keyring)
    shutil.copytree(tmp_path / "vault", tmp_path / "taken")
    config.write_text(config.read_text().replace(f"{tmp_path}/new", f"{tmp_path}/taken"))
    done = rehome("check", config)
    assert done.returncode == 8 and "'rehome operator migrate --overwrite'" in done.stdout


def test_report_of_nothing_as_json(rehome, plan):
    done = rehome("report", plan, "--json")
    assert done.returncode == 8 and json.loads(done.stdout)["error"]["status"] == "refused"


def test_a_refusal_is_told_once_and_says_that_nothing_was_written(rehome, plan, tmp_path):
    plan.write_text(plan.read_text().replace(f"{tmp_path}/new", f"{tmp_path}/vault"))
    done = rehome("run", plan)
    assert done.returncode == 8 and done.stderr.count("are the same store") == 1
    assert "nothing was written yet" in done.stderr and "interrupted" not in done.stderr


def test_what_cant_be_known_isnt_claimed(rehome, plan, tmp_path):
    assert rehome("run", plan).returncode == 0
    (tmp_path / "state/p.journal").write_bytes(b"no journal" * 1000)
    done = rehome("rollback", plan)
    assert done.returncode == 9
    assert "can't be told" in done.stderr and "nothing was written" not in done.stderr


def test_a_damaged_undo_log_names_the_way_out(rehome, plan, tmp_path):
    assert rehome("run", plan).returncode == 0
    segment = tmp_path / "state/p.undo-0001"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    done = rehome("rollback", plan)
    assert done.returncode == 9 and "rehome recover" in done.stderr and "go back" in done.stderr
    assert rehome("recover", plan).returncode == 0
    assert not (tmp_path / "new/core/_migration").exists()


def test_rolling_back_nothing_says_so(rehome, plan):
    assert rehome("run", plan).returncode == 0
    assert rehome("rollback", plan).returncode == 0
    assert "nothing to roll back" in rehome("rollback", plan).stderr


def test_running_again_says_that_it_compares(rehome, plan):
    assert rehome("run", plan).returncode == 0
    assert "is complete; comparing both sides again" in rehome("run", plan).stderr


def test_another_seal_key_is_named_as_the_cause(rehome, plan, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name * 64 + "\n")
        (tmp_path / name).chmod(0o600)
    text = plan.read_text().replace('state"', 'state"\nseal { key_file = "KEY" }')
    plan.write_text(text.replace("KEY", f"{tmp_path}/a"))
    assert rehome("run", plan).returncode == 0
    plan.write_text(text.replace("KEY", f"{tmp_path}/b"))
    done = rehome("rollback", plan)
    assert done.returncode == 9 and "the key that this move was begun with" in done.stderr


def test_the_move_that_failed_is_named(rehome, plan, vault_tree, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "_key").write_text("no record")
    plan.write_text(plan.read_text() + f'move "second" {{\n  source "file" {{ path = "{broken}" }}\n'
                    f'  destination "file" {{ path = "{tmp_path}/new2" }}\n}}\n')
    done = rehome("run", plan)
    assert done.returncode == 3 and "move 'second': " in done.stderr


@pytest.mark.parametrize("words", [["operator"], ["operator", "migrat"], ["migrate"]])
def test_words_that_are_nearly_operator_migrate(rehome, words):
    done = rehome(*words)
    assert "operator migrate" in done.stdout + done.stderr
