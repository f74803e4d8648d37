# SPDX-License-Identifier: Apache-2.0
"""rehome keyring-migrate with keystores of a real MySQL, beside MySQL's own mysql_migrate_keyring."""
import json
import os
import pty
import pwd
import re
import select
import shutil
import signal
import subprocess

import archive_reader
import pytest
from keyringlib import KeyringServer, migrate_by_mysql, read_component, read_plugin, write_component
from vaultlib import missing_server

FILE, COMPONENT, SEALED = "keyring_file.so", "component_keyring_file.so", "keyring_encrypted_file.so"
OK, SOURCE, REFUSED = 0, 3, 8


@pytest.fixture(scope="module")
def keyring_server():
    """A server with encrypted data of all kinds and keys that any keystore takes."""
    if why := missing_server("mysql"):
        pytest.skip(f"no MySQL to be had: {why}")
    one = KeyringServer()
    one.encrypt()
    one.rotate(2)
    one.rotate_binlog()
    one.make_key("text", b"sixteen letters!", "AES")
    one.make_key("text", b"another's letter", "AES", owner="app2")
    one.make_key("a/b \"c\" \\ d", b"0123456789abcdef", "AES")
    one.make_key("n" * 255, b"fedcba9876543210", "AES")
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


def add_secrets(keystore):
    """Keys that not every keystore takes: SECRETs up to the longest there may be."""
    keys = read_component(keystore)
    for size in (1, 14, 16384):
        keys[b"app1@localhost", b"secret of %d" % size] = (b"SECRET", os.urandom(size))
    write_component(keystore, keys)


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
    add_secrets(keystore)
    before = keystore.read_bytes()
    theirs, ours = tmp_path / "theirs.json", tmp_path / "ours.json"
    done = migrate_by_mysql(keystore, theirs, tmp_path / "tool")
    assert done.returncode == 0, done.stderr
    migrate((COMPONENT, keystore), (COMPONENT, ours))
    assert read_component(ours) == read_component(theirs) == read_component(keystore)
    assert keystore.read_bytes() == before
    assert not list(tmp_path.glob("*.backup"))


@pytest.mark.parametrize("version", ["2.0", "1.0"])
def test_to_the_plugin_and_back(keystore, migrate, tmp_path, version):
    plugin, back = tmp_path / "keyring", tmp_path / "back.json"
    if version == "2.0":
        add_secrets(keystore)
    migrate((COMPONENT, keystore), (FILE, plugin), f"--keyring-file-version={version}")
    assert plugin.read_bytes().startswith(b"Keyring file version:" + version.encode())
    assert read_plugin(plugin) == read_component(keystore)
    migrate((FILE, plugin), (COMPONENT, back))
    assert read_component(back) == read_component(keystore)


def test_what_a_keystore_cannot_hold_is_named(keystore, migrate, tmp_path):
    add_secrets(keystore)
    said = migrate((COMPONENT, keystore), (FILE, tmp_path / "keyring"), "--keyring-file-version=1.0", code=REFUSED)
    assert "can't hold 'secret of 14' of 'app1@localhost'" in said
    assert not (tmp_path / "keyring").exists()


def test_to_a_sealed_keyring_and_back(keystore, migrate, tmp_path):
    sealed, back, words = tmp_path / "sealed", tmp_path / "back.json", tmp_path / "words"
    words.write_text("correct horse\n")
    words.chmod(0o600)
    add_secrets(keystore)
    said = migrate((COMPONENT, keystore), (SEALED, sealed), f"--keyring-encrypted-file-password-file={words}")
    assert "no MySQL reads it" in said
    for _, data in read_component(keystore).values():
        assert len(data) < 16 or data not in sealed.read_bytes()
    migrate((SEALED, sealed), (COMPONENT, back), "--keyring-encrypted-file-password-env=WORDS", code=SOURCE, env={"WORDS": "wrong"})
    assert not back.exists()
    migrate((SEALED, sealed), (COMPONENT, back), "--keyring-encrypted-file-password-env=WORDS",
            env={"WORDS": "correct horse"})
    assert read_component(back) == read_component(keystore)


def test_a_password_is_asked_for(keystore, program, tmp_path):
    """On the terminal, without an echo."""
    words = [program, "keyring-migrate", "--no-defaults", "--user=root", "--keyring-migration-source=component_keyring_file.so",
             f"--source-path={keystore}", "--keyring-migration-destination=keyring_encrypted_file.so",
             f"--keyring-encrypted-file-data={tmp_path}/sealed", "--keyring-encrypted-file-password"]
    child, terminal = pty.fork()
    if child == 0:
        os.execve(program, words, {"HOME": str(tmp_path), "REHOME_STATE_DIR": str(tmp_path / "state"), "TERM": "dumb"})
    said, answered, more = b"", False, b""
    while True:
        if not select.select([terminal], [], [], 30)[0]:
            os.kill(child, signal.SIGKILL)
        try:
            more = os.read(terminal, 1000)
        except OSError:
            more = b""
        said += more
        if not more:
            break
        if not answered and b"Password of the sealed keyring: " in said:
            answered = True
            os.write(terminal, b"correct horse\n")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, said
    assert b"horse" not in said
    archive = archive_reader.read((tmp_path / "sealed").read_bytes(), passphrase=b"correct horse")
    assert archive_reader.keyring(archive) == read_component(keystore)


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


def test_a_servers_own_configuration(keyring_server, rehome, tmp_path):
    """my.cnf names plugin_dir and datadir; the .cnf in the former sends to the latter, whose encrypted files prove the keys."""
    options, plugin, plugins = tmp_path / "my.cnf", tmp_path / "keyring", tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "component_keyring_file.cnf").write_text('{"read_local_config": true}')
    options.write_text(f"[mysqld]\nuser=root\nplugin_dir={plugins}\ndatadir={keyring_server.datadir}\n"
                       f"keyring_file_data={plugin}\n"
                       "[rehome]\nkeyring_migration_source=component_keyring_file.so\nkeyring_migration_from_component\n"
                       "keyring_migration_destination=keyring_file.so\n")
    keyring_server.halt()
    done = rehome("keyring-migrate", f"--defaults-file={options}")
    keyring_server.restart()
    assert done.returncode == 0, done.stderr
    assert read_plugin(plugin) == read_component(keyring_server.keystore)
    found = re.search(r"(\d+) of (\d+) encrypted files opened", done.stderr)
    assert found and found.group(1) == found.group(2) and int(found.group(1)) >= 8, done.stderr


def conflicting(keystore, path, data=None):
    """A destination that holds a key of its own and one of the source's, with other data."""
    keys = read_component(keystore)
    name = next(name for name in keys if name[0] == b"app1@localhost" and name[1] == b"text")
    kind, old = keys[name]
    write_component(path, {name: (kind, data or old), (b"", b"mine"): (b"AES", b"0" * 32)})
    return name


def test_a_key_that_is_there_already(keystore, migrate, tmp_path):
    new = tmp_path / "place/new.json"
    new.parent.mkdir()
    conflicting(keystore, new, b"somebody's")
    new.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(new, 65534, 65533)
        os.chown(new.parent, 65534, 65533)
    owner = (new.stat().st_uid, new.stat().st_gid)
    before = new.read_bytes()
    for policy in ([], ["--on-conflict=keep-equal"]):
        said = migrate((COMPONENT, keystore), (COMPONENT, new), *policy, code=REFUSED)
        assert "'text' of 'app1@localhost'" in said
        assert new.read_bytes() == before and os.listdir(new.parent) == ["new.json"]
    migrate((COMPONENT, keystore), (COMPONENT, new), "--on-conflict=overwrite")
    assert read_component(new) == read_component(keystore) | {(b"", b"mine"): (b"AES", b"0" * 32)}
    assert new.stat().st_mode & 0o777 == 0o640 and (new.stat().st_uid, new.stat().st_gid) == owner


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


def test_json(keystore, rehome, tmp_path):
    done = rehome("keyring-migrate", "--no-defaults", "--user=root", "--json", "--keyring-migration-source=component_keyring_file.so",
                  f"--source-path={keystore}", "--keyring-migration-destination=keyring_file.so",
                  f"--destination-path={tmp_path}/new")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exit_name"] == "ok"


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
    assert "these commands are for the user 'nobody'" in done.stderr
    back = subprocess.run([program, "rollback", next(state.glob("*.hcl"))], capture_output=True, text=True, check=False)
    assert back.returncode == 8 and "sudo -u nobody" in back.stderr, back.stderr
    # an account without a home of its own, as that of a server often is
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("REHOME_", "XDG_"))}
    homeless = subprocess.run(["setpriv", "--reuid=nobody", "--clear-groups", *words[:3], *words[5:]], capture_output=True,
                              text=True, check=False, env={**mine, "HOME": "/nonexistent"}, cwd="/")
    assert homeless.returncode != 0 and "name another one by --state-dir" in homeless.stderr, homeless.stderr
    owners = {path: path.stat().st_uid for path in [new, state, *state.rglob("*")]}
    assert set(owners.values()) == {account.pw_uid}, owners


def test_the_server_starts_on_what_went_all_ways(keyring_server, migrate, tmp_path):
    """Component, plugin 1.0, component, sealed, plugin 2.0, component: every row and every key is read."""
    rows, keys = keyring_server.rows(), keyring_server.keys()
    keyring_server.halt()
    place = keyring_server.keystore
    before = place.read_bytes()
    words = ["--keyring-encrypted-file-password-env=WORDS"]
    env = {"WORDS": "correct horse"}
    stages = [(COMPONENT, place), (FILE, tmp_path / "1"), (COMPONENT, tmp_path / "2"), (SEALED, tmp_path / "3"),
              (FILE, tmp_path / "4"), (COMPONENT, tmp_path / "5")]
    more = [["--keyring-file-version=1.0"], [], words, words, []]
    for source, destination, extra in zip(stages, stages[1:], more):
        migrate(source, destination, *extra, env=env)
    assert place.read_bytes() == before
    keyring_server.use(tmp_path / "5")
    assert keyring_server.status()["Data_file"] == str(tmp_path / "5")
    assert (keyring_server.rows(), keyring_server.keys()) == (rows, keys)
    keyring_server.rotate()
    assert keyring_server.rows() == rows


@pytest.mark.parametrize("crash", ["journal:3", "journal:8", "journal:14", "journal:20"])
def test_the_same_command_goes_on(keystore, migrate, tmp_path, crash):
    new = tmp_path / "new.json"
    write_component(new, {(b"", b"mine"): (b"AES", b"0" * 32)})
    before = new.read_bytes()
    migrate((COMPONENT, keystore), (COMPONENT, new), code=-9, env={"RH_CRASH_AT": crash})
    assert new.read_bytes() == before or read_component(new).keys() > read_component(keystore).keys()
    migrate((COMPONENT, keystore), (COMPONENT, new))
    assert read_component(new) == read_component(keystore) | {(b"", b"mine"): (b"AES", b"0" * 32)}
    assert len(list((tmp_path / "state").glob("keyring-*.hcl"))) == 1


# --- online ---


def mover(server, *more):
    """The options that reach the running server."""
    return ("--keyring-migration-host=127.0.0.1", f"--keyring-migration-port={server.port}", "--keyring-migration-user=mover",
            f"--password-file={server.env['MYSQL_PASSWORD_FILE']}", f"--ssl-ca={server.env['MYSQL_CA']}", *more)


def is_on(server):
    return server.sql("SELECT @@keyring_operations") == [["1"]]


def test_online_by_the_options_of_mysqld(keyring_server, migrate, rehome, tmp_path):
    """The running server's own keystore, to the plugin's file; keys made since are found by verify."""
    plugin = tmp_path / "keyring"
    before = read_component(keyring_server.keystore)
    said = migrate((COMPONENT, keyring_server.keystore), (FILE, plugin), *mover(keyring_server))
    assert is_on(keyring_server)
    assert read_plugin(plugin) == before == read_component(keyring_server.keystore)
    plan = plan_of(said)
    report = json.loads(rehome("report", plan).stdout)["moves"][0]
    assert report["mode"] == "paused" and report["verified"] == "yes"
    assert rehome("verify", plan).returncode == 0
    keyring_server.generate_key("made since", "AES", 16)
    done = rehome("verify", plan)
    assert done.returncode == 5 and "'made since' of 'app1@localhost'" in done.stdout + done.stderr


def test_online_by_the_options_of_mysql_migrate_keyring(keyring_server, rehome, tmp_path):
    """To another file of the same component, by socket; the server goes on on it without a restart."""
    new, place, plugins = tmp_path / "new.json", tmp_path / "place", tmp_path / "plugins"
    for folder in (place, plugins):
        folder.mkdir()
    (plugins / "component_keyring_file.cnf").write_text('{"read_local_config": true}')
    (place / "component_keyring_file.cnf").write_text(json.dumps({"path": str(new), "read_only": False}))
    rows, keys = keyring_server.rows(), keyring_server.keys()
    keyring_server.sql(f"CREATE USER local@localhost IDENTIFIED BY '{keyring_server.password}';"
                       "GRANT SYSTEM_VARIABLES_ADMIN, ENCRYPTION_KEY_ADMIN ON *.* TO local@localhost;"
                       "GRANT SELECT ON performance_schema.* TO local@localhost")
    done = rehome("keyring-migrate", "--no-defaults", "--run-as=root", "--source-keyring=component_keyring_file",
                  "--destination-keyring=component_keyring_file", f"--component-dir={plugins}",
                  f"--source-keyring-configuration-dir={keyring_server.datadir}",
                  f"--destination-keyring-configuration-dir={place}", "--online-migration", "--user=local",
                  f"--socket={keyring_server.env['MYSQL_SOCKET']}", "--password-env=PW", env={"PW": keyring_server.password})
    assert done.returncode == 0, done.stderr
    assert is_on(keyring_server) and read_component(new) == read_component(keyring_server.keystore)
    keyring_server.point(new)
    keyring_server.sql("ALTER INSTANCE RELOAD KEYRING")
    assert keyring_server.status()["Data_file"] == str(new)
    keyring_server.rotate()
    assert (keyring_server.rows(), keyring_server.keys()) == (rows, keys)


def test_one_server_twice(keyring_server, rehome, tmp_path):
    """Two fences, and the engine sees that they are of one server."""
    done = rehome("keyring-migrate", "--no-defaults", "--user=root", "--keyring-migration-source=component_keyring_file.so",
                  f"--source-path={keyring_server.keystore}", "--keyring-migration-destination=component_keyring_file.so",
                  f"--destination-path={tmp_path}/new", *mover(keyring_server, f"--servers=localhost:{keyring_server.port}"))
    assert done.returncode == REFUSED and f"'localhost:{keyring_server.port}' has a fence already" in done.stderr, done.stderr
    assert is_on(keyring_server) and not (tmp_path / "new").exists()


@pytest.mark.parametrize("more, told", [
    (["--password-env=WRONG"], "mover"),
    (["--password-env=PW", "--ssl-ca=/nonexistent/ca.pem"], "/nonexistent/ca.pem"),
    (["--password-env=PW", "--keyring-migration-user=app1"], "app1"),
])
def test_online_that_cannot_be(keyring_server, rehome, tmp_path, more, told):
    """Nothing is written and nobody is held back."""
    words = [word for word in mover(keyring_server, *more) if not word.startswith("--password-file")]
    done = rehome("keyring-migrate", "--no-defaults", "--user=root", "--keyring-migration-source=component_keyring_file.so",
                  f"--source-path={keyring_server.keystore}", "--keyring-migration-destination=component_keyring_file.so",
                  f"--destination-path={tmp_path}/new", *words, env={"PW": keyring_server.password, "WRONG": "none of it"})
    assert done.returncode not in (0, 1, 7, 9), done.stderr
    assert told in done.stderr and keyring_server.password not in done.stderr
    assert is_on(keyring_server) and not (tmp_path / "new").exists()
