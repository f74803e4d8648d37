# SPDX-License-Identifier: Apache-2.0
"""rehome keyring-migrate with keystores of a real MySQL, beside MySQL's own mysql_migrate_keyring."""
import json
import os
import pwd
import re
import shutil
import subprocess

import pytest
from keyringlib import KeyringServer, migrate_by_mysql, read_component, write_component
from vaultlib import missing_server

COMPONENT = "component_keyring_file.so"
OK, SOURCE, REFUSED = 0, 3, 8


@pytest.fixture(scope="module")
def keyring_server():
    """A server with encrypted data of all kinds and keys of all sorts."""
    if why := missing_server("mysql"):
        pytest.skip(f"no MySQL to be had: {why}")
    one = KeyringServer()
    one.encrypt()
    one.rotate(2)
    one.rotate_binlog()
    one.make_key("text", b"secret")
    one.make_key("text", b"another one's", owner="app2")
    one.make_key("a/b \"c\" \\ d", bytes(range(1, 256)))
    one.make_key("n" * 255, b"x" * 16384)
    one.generate_key("aes", "AES", 32)
    one.generate_key("rsa", "RSA", 256)
    one.generate_key("dsa", "DSA", 128)
    yield one
    one.stop()


@pytest.fixture
def keystore(keyring_server, tmp_path):
    """A copy of the running server's keystore, which no server uses."""
    path = tmp_path / "keys.json"
    path.write_bytes(keyring_server.keystore.read_bytes())
    return path


@pytest.fixture
def migrate(rehome, tmp_path):
    """migrate(source, destination, *more, code=OK): by the files' paths; what was said."""

    def run(source, destination, *more, code=OK, **how):
        words = [f"--keyring-migration-{side}={library}" for side, (library, _) in
                 (("source", source), ("destination", destination))]
        words += [f"--{side}-path={path}" for side, (_, path) in (("source", source), ("destination", destination))]
        done = rehome("keyring-migrate", "--no-defaults", "--user=root", *words, *more, **how)
        assert done.returncode == code, done.stderr
        assert done.stdout == "" or "--json" in more
        return done.stderr

    return run


def plan_of(said):
    """The plan that the closing words name."""
    return re.search(r"rehome rollback (\S+\.hcl)", said).group(1)


def test_same_keys_as_by_mysql(keystore, migrate, tmp_path):
    before = keystore.read_bytes()
    theirs, ours = tmp_path / "theirs.json", tmp_path / "ours.json"
    done = migrate_by_mysql(keystore, theirs, tmp_path / "tool")
    assert done.returncode == 0, done.stderr
    migrate((COMPONENT, keystore), (COMPONENT, ours))
    assert read_component(ours) == read_component(theirs) == read_component(keystore)
    assert keystore.read_bytes() == before
    assert not list(tmp_path.glob("*.backup"))


def test_configurations_lead_to_the_files(keystore, rehome, tmp_path):
    """As mysql_migrate_keyring finds them, and as mysqld does."""
    new = tmp_path / "new.json"
    for side, path in (("one", keystore), ("two", new)):
        (tmp_path / side).mkdir()
        (tmp_path / side / "component_keyring_file.cnf").write_text(json.dumps({"path": str(path), "read_only": False}))
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "component_keyring_file.cnf").write_text('{"read_local_config": true}')
    done = rehome("keyring-migrate", "--no-defaults", "--run-as=root", "--source-keyring=component_keyring_file",
                  "--destination-keyring=component_keyring_file", f"--component-dir={plugins}",
                  f"--source-keyring-configuration-dir={tmp_path}/one", f"--destination-keyring-configuration-dir={tmp_path}/two")
    assert done.returncode == 0, done.stderr
    assert read_component(new) == read_component(keystore)


def conflicting(keystore, path, data=None):
    """A destination that holds a key of its own and one of the source's, with other data."""
    keys = read_component(keystore)
    name = next(name for name in keys if name[0] == b"app1@localhost" and name[1] == b"text")
    kind, old = keys[name]
    write_component(path, {name: (kind, data or old), (b"", b"mine"): (b"AES", b"0" * 32)})
    return name


def test_a_key_that_is_there_already(keystore, migrate, tmp_path):
    new = tmp_path / "new.json"
    conflicting(keystore, new, b"somebody's")
    new.chmod(0o640)
    before = new.read_bytes()
    for policy in ([], ["--on-conflict=keep-equal"]):
        said = migrate((COMPONENT, keystore), (COMPONENT, new), *policy, code=REFUSED)
        assert "'text' of 'app1@localhost'" in said
        assert new.read_bytes() == before and not list(tmp_path.glob("new.json?*"))
    migrate((COMPONENT, keystore), (COMPONENT, new), "--on-conflict=overwrite")
    assert read_component(new) == read_component(keystore) | {(b"", b"mine"): (b"AES", b"0" * 32)}
    assert new.stat().st_mode & 0o777 == 0o640


def test_an_equal_key_is_kept(keystore, migrate, tmp_path):
    new = tmp_path / "new.json"
    conflicting(keystore, new)
    migrate((COMPONENT, keystore), (COMPONENT, new), code=REFUSED)
    migrate((COMPONENT, keystore), (COMPONENT, new), "--on-conflict=keep-equal")
    assert read_component(new) == read_component(keystore) | {(b"", b"mine"): (b"AES", b"0" * 32)}


def test_the_plan_that_is_kept(keystore, migrate, rehome, tmp_path):
    """verify, rollback and report take it; what was there before comes back bit for bit."""
    new = tmp_path / "new.json"
    write_component(new, {(b"", b"mine"): (b"AES", b"0" * 32)})
    before = new.read_bytes()
    said = migrate((COMPONENT, keystore), (COMPONENT, new), "--keyring-migration-to-component")
    plan = plan_of(said)
    assert os.stat(plan).st_mode & 0o777 == 0o600
    assert rehome("verify", plan).returncode == 0
    assert json.loads(rehome("report", plan).stdout)["moves"][0]["state"] == "complete"
    done = rehome("rollback", plan)
    assert done.returncode == 0, done.stderr
    assert new.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_owner(keystore, program, tmp_path):
    """All files are that user's; what only root may read is out of reach."""
    account = pwd.getpwnam("nobody")
    folder = tmp_path / "place"
    for parent in [tmp_path, *tmp_path.parents]:
        if str(parent).startswith("/tmp/") and parent.stat().st_uid == 0:
            parent.chmod(parent.stat().st_mode | 0o11)
    folder.mkdir()
    os.chown(folder, account.pw_uid, account.pw_gid)
    source, new, state = folder / "source", folder / "new", tmp_path / "state-of-nobody"
    shutil.copy(keystore, source)
    words = [program, "keyring-migrate", "--no-defaults", "--user=nobody", f"--state-dir={state}",
             "--keyring-migration-source=component_keyring_file.so", f"--source-path={source}",
             "--keyring-migration-destination=component_keyring_file.so", f"--destination-path={new}"]
    source.chmod(0o600)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == SOURCE and "Permission denied" in done.stderr, done.stderr
    os.chown(source, account.pw_uid, account.pw_gid)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_component(new) == read_component(source)
    owners = {path: path.stat().st_uid for path in [new, state, *state.rglob("*")]}
    assert set(owners.values()) == {account.pw_uid}, owners
