# SPDX-License-Identifier: Apache-2.0
"""keyring-migrate's command line: both of MySQL's sets of options, option files, passwords, and who it runs as."""
import os
import subprocess

import pytest

FILE, COMPONENT, SEALED = "keyring_file.so", "component_keyring_file.so", "keyring_encrypted_file.so"


@pytest.fixture
def printed(rehome):
    """printed(*words): the plan that a command line means."""

    def run(*words, **more):
        done = rehome("keyring-migrate", "--no-defaults", *words, "--print-plan", **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def refused(rehome):
    """refused(*words): what is said of a command line that is wrong."""

    def run(*words, code=1, **more):
        done = rehome("keyring-migrate", *words, "--print-plan", **more)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        return done.stderr

    return run


def server(source, destination, *more):
    return (f"--keyring-migration-source={source}", f"--keyring-migration-destination={destination}", *more)


def test_the_options_of_mysqld(printed):
    plan = printed(*server("keyring_file=keyring_file.so", COMPONENT), "--keyring_file_data=/k", "--plugin_dir=/p",
                   "--datadir", "/d", "--keyring-migration-to-component", "--state-dir=/s")
    assert plan == """# made by rehome keyring-migrate
plan "keyring" {
  state_dir = "/s"
}

move "keys" {
  mode = "offline"
  on_conflict = "fail"
  datadir = "/d"
  source "keyring_file" {
    path = "/k"
  }
  destination "component_keyring_file" {
    component_dir = "/p"
    instance_dir = "/d"
  }
}
"""


def test_the_options_of_mysql_migrate_keyring(printed):
    plan = printed("--source-keyring=component_keyring_file", "--destination-keyring", "component_keyring_file",
                   "--component-dir=/c", "--source-keyring-configuration-dir=/one",
                   "--destination-keyring-configuration-dir=/two", "--online-migration", "-h", "db1", "-P", "3307", "-u",
                   "mover", "--ssl-ca=/ca.pem", "--lease=5s", "--on-conflict=keep-equal", "--run-as=mysql")
    assert plan == """# made by rehome keyring-migrate
plan "keyring" {
}

move "keys" {
  mode = "paused"
  on_conflict = "keep-equal"
  source "component_keyring_file" {
    component_dir = "/c"
    instance_dir = "/one"
  }
  destination "component_keyring_file" {
    component_dir = "/c"
    instance_dir = "/two"
  }
  fence "keyring_operations" {
    host = "db1"
    port = 3307
    user = "mover"
    lease = "5s"
    tls {
      ca_file = "/ca.pem"
    }
  }
}
"""


@pytest.mark.parametrize("given", ["host=h", "port=3306", "socket=/s", "user=u", "password=p"])
def test_any_option_of_a_server_means_online(rehome, given):
    words = server(FILE, FILE, "--source-path=/a", "--destination-path=/b", f"--keyring-migration-{given}")
    done = rehome("keyring-migrate", "--no-defaults", *words, "--print-plan")
    if given == "user=u":
        assert 'mode = "paused"' in done.stdout and 'host = "127.0.0.1"' in done.stdout
    else:
        assert done.returncode == 1 and "no account is given for the running server" in done.stderr


def test_several_servers(printed):
    plan = printed(*server(FILE, FILE, "--source-path=/a", "--destination-path=/b", "--keyring-migration-user=u"),
                   "--servers=a,b:3307,[::1]:3308,/run/s", "--ssl-mode=required")
    assert plan.count('fence "keyring_operations"') == 4
    assert [line.strip() for line in plan.splitlines() if line.strip().startswith(("host", "port", "socket"))] == [
        'host = "a"', 'host = "b"', "port = 3307", 'host = "::1"', "port = 3308", 'socket = "/run/s"']
    assert plan.count('verify = "off"') == 4


def test_a_plan_that_is_shown_has_no_password(printed, tmp_path):
    words = server(FILE, SEALED, "--keyring-file-data=/a", "--keyring-encrypted-file-data=/b", "--keyring-migration-user=u")
    plan = printed(*words, "--keyring-migration-password=sesame", "--keyring-encrypted-file-password=open")
    assert "sesame" not in plan and "open" not in plan
    assert plan.count("isn't kept here") == 2
    plan = printed(*words, "--password-file=/run/pw", "--keyring-encrypted-file-password-env=PW")
    assert 'password_file = "/run/pw"' in plan and 'passphrase_env = "PW"' in plan


def test_any_path_reaches_the_plan(printed):
    plan = printed(*server(FILE, FILE, '--source-path=/a "b" \\ ${c} \n', "--destination-path=/é"))
    assert r'path = "/a \"b\" \\ \x24{c} \x0a"' in plan and 'path = "/é"' in plan


@pytest.mark.parametrize("words, told", [
    ([], "option '--keyring-migration-source' is missing"),
    (["--keyring-migration-source=keyring_file.so"], "option '--keyring-migration-destination' is missing"),
    (["--source-keyring=component_keyring_file"], "option '--destination-keyring' is missing"),
    (server("keyring_fiel.so", FILE), "unknown keyring 'keyring_fiel'; did you mean 'keyring_file'?"),
    (server("keyring_okv.so", FILE), "there is no driver yet for keyring 'keyring_okv'"),
    (server("/x/keyring_file.so", FILE), "the name of a library without a path"),
    (server(FILE, COMPONENT), "the source keyring_file has no place: option '--keyring-file-data' is missing"),
    (server(FILE, COMPONENT, "--keyring-file-data=k", "--plugin-dir=/p"), "takes an absolute path, not 'k'"),
    (server(FILE, FILE, "--keyring-file-data=/k"), "both keyring_file in the same place"),
    (server(FILE, COMPONENT, "--keyring-migration-from-component"), "but the source keyring_file is a plugin"),
    (server(FILE, SEALED, "--keyring-file-data=/k", "--keyring-encrypted-file-data=/s"), "has no password"),
    (server(FILE, FILE, "--source-keyring=component_keyring_file"), "'--keyring-migration-source' is mysqld's"),
    (server(FILE, FILE, "--source-path=/a", "--destination-path=/b", "--keyring-migration-user=u", "--servers=a:x"),
     "'a:x' is neither HOST[:PORT] nor a socket's path"),
    (server(FILE, FILE, "--source-path=/a", "--destination-path=/b", "--keyring-migration-user=u",
            "--keyring-migration-host=h", "--keyring-migration-socket=/s"), "are two ways to one server"),
    (server(FILE, FILE, "--source-path=/a", "--destination-path=/b/"), "takes a file, and '/b/' is a folder"),
    (server(FILE, FILE, "--source-path=/a", "--destination-path=/b", "--keyring-migration-user=u", "--lease=1s"),
     "option '--lease' is between 2s and 10m"),
    (["--keyring-migration-sorce=x"], "unknown option '--keyring-migration-sorce'; did you mean '--keyring-migration-source'?"),
])
def test_what_is_wrong_is_said(refused, words, told):
    assert told in refused("--no-defaults", *words)


def test_two_ways_to_one_secret(rehome, tmp_path):
    words = server(FILE, FILE, "--source-path=/a", "--destination-path=/b", "--keyring-migration-user=u", "--user=root")
    done = rehome("keyring-migrate", "--no-defaults", *words, "--password-env=A", "--password-file=/b")
    assert done.returncode == 1 and "give the same secret" in done.stderr
    done = rehome("keyring-migrate", "--no-defaults", *words, "--password-env=NOT_SET")
    assert done.returncode == 1 and "'NOT_SET' isn't set" in done.stderr


def test_option_files_fill_the_plan(rehome, tmp_path):
    more, options = tmp_path / "more.cnf", tmp_path / "my.cnf"
    more.write_text("[rehome]\nloose_nothing=1\non_conflict=overwrite\n")
    options.write_text("[mysqld]\nuser=mysql  # the server's\ninnodb_buffer_pool_size=1G\nport=3306\nkeyring_file_data='/k k'\nplugin_dir=/p\n"
                       "[rehome]\nkeyring-migration-source=keyring_file.so\n"
                       "keyring-migration-destination=component_keyring_file.so\n"
                       f"!include {more}\n")
    done = rehome("keyring-migrate", f"--defaults-file={options}", "--print-plan")
    assert done.returncode == 0 and 'on_conflict = "overwrite"' in done.stdout
    assert "unknown option is passed over" in done.stderr
    done = rehome("keyring-migrate", f"--defaults-file={options}", "--print-plan", "--on-conflict=keep-equal")
    assert done.returncode == 0, done.stderr
    assert 'path = "/k k"' in done.stdout and 'component_dir = "/p"' in done.stdout
    assert 'on_conflict = "keep-equal"' in done.stdout and 'mode = "offline"' in done.stdout


def test_a_data_folder_of_a_file_proves_offline_only(rehome, tmp_path):
    options = tmp_path / "my.cnf"
    options.write_text("[mysqld]\ndatadir=/d\n[rehome]\nsource-path=/a\ndestination-path=/b\n"
                       "keyring-migration-source=keyring_file.so\nkeyring-migration-destination=keyring_file.so\n")
    words = ["keyring-migrate", f"--defaults-file={options}", "--print-plan"]
    assert 'datadir = "/d"' in rehome(*words).stdout
    assert "datadir" not in rehome(*words, "--keyring-migration-user=u").stdout
    assert 'datadir = "/e"' in rehome(*words, "--keyring-migration-user=u", "--datadir=/e").stdout


def test_an_account_in_a_file_alone_makes_no_online_migration(rehome, tmp_path):
    """[mysql_migrate_keyring] is read by that program only, and that one goes online by --online-migration alone."""
    options = tmp_path / "my.cnf"
    options.write_text("[mysql_migrate_keyring]\nuser=mover\nhost=db\nsource-path=/a\ndestination-path=/b\n")
    utility = ["--source-keyring=component_keyring_file", "--destination-keyring=component_keyring_file"]
    words = ["keyring-migrate", f"--defaults-file={options}", "--print-plan"]
    assert 'mode = "offline"' in rehome(*words, *utility).stdout
    assert 'mode = "offline"' in rehome(*words, *server(FILE, FILE)).stdout
    said = rehome(*words, *utility, "--online-migration").stdout
    assert 'mode = "paused"' in said and 'user = "mover"' in said and 'host = "db"' in said
    assert 'user = "other"' in rehome(*words, *utility, "--online-migration", "--user=other").stdout


def test_groups_of_option_files(rehome, tmp_path):
    """As MySQL's own my_print_defaults reads them, but that nobody knows here which version's group a server reads."""
    options = tmp_path / "my.cnf"
    words = ["keyring-migrate", f"--defaults-file={options}", "--print-plan", *server(FILE, COMPONENT, "--destination-path=/b")]
    options.write_text("[mysqld ] # c\nkeyring_file_data=/a\n[ mysqld]\nkeyring_file_data=/blank\n"
                       "[mysqld-8.0]\nkeyring_file_data=/old\nport=1\n[mysqld_x]\nkeyring_file_data=/suffix\n")
    done = rehome(*words)
    assert 'path = "/a"' in done.stdout
    assert done.stderr.count("a group for one version of the server isn't read") == 1
    assert 'path = "/suffix"' in rehome(*words, "--defaults-group-suffix=_x").stdout
    assert 'path = "/suffix"' in rehome(*words, env={"MYSQL_GROUP_SUFFIX": "_x"}).stdout


def test_a_password_of_any_bytes(rehome, tmp_path):
    """It goes through the plan's text, which is UTF-8."""
    (tmp_path / "pw").write_bytes(b"caf\xe9 $\x01\"\\")
    (tmp_path / "pw").chmod(0o600)
    done = rehome("keyring-migrate", "--no-defaults", f"--user={os.geteuid()}", "--keyring-migration-user=u",
                  "--keyring-migration-socket=/nonexistent/socket", f"--password-file={tmp_path}/pw", "--retry=1ms",
                  *server(FILE, FILE, "--source-path=/a", "--destination-path=/b"))
    assert done.returncode == 3 and "'/nonexistent/socket'" in done.stderr, done.stderr


@pytest.mark.parametrize("text, told", [
    ("[rehome]\nkeyring_migration_sorce=x\n", ":2: unknown option 'keyring-migration-sorce'"),
    ("[rehome]\n\non_conflict=maybe\n", ":3: option 'on-conflict' takes"),
    ("[mysql_migrate_keyring]\nssl_crl=/x\n", ":2: unknown option 'ssl-crl'"),
    ("x\n", ":1: an option stands before the first [group]"),
    ("!include /nonexistent/x.cnf\n", ":1: option file '/nonexistent/x.cnf' isn't there"),
])
def test_a_wrong_option_file(refused, tmp_path, text, told):
    options = tmp_path / "my.cnf"
    options.write_text(text)
    assert f"{options}{told}" in refused(f"--defaults-file={options}", code=2)


def test_passwords_in_argv_are_wiped_and_warned_of(program, tmp_path):
    """The process waits for a password on a pipe meanwhile, so that its argv can be looked at."""
    reading, writing = os.pipe()
    words = [program, "keyring-migrate", "--no-defaults", "--user=root", "--keyring-migration-password=open-sesame",
             *server(FILE, SEALED, "--keyring-file-data=/nonexistent/a", "--keyring-encrypted-file-data=/nonexistent/b"),
             f"--keyring-encrypted-file-password-fd={reading}"]
    env = {"HOME": str(tmp_path), "REHOME_STATE_DIR": str(tmp_path / "state")}
    with subprocess.Popen(words, env=env, pass_fds=[reading], stderr=subprocess.PIPE, text=True) as process:
        os.close(reading)
        warning = process.stderr.readline()
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            seen = file.read()
        os.close(writing)
        rest = process.stderr.read()
    assert "a secret on the command line can be seen" in warning
    assert b"--keyring-migration-password=" in seen and b"sesame" not in seen
    assert "sesame" not in warning + rest
    assert process.returncode == 8 and "it is empty" in rest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_says_as_whom(rehome):
    words = server(FILE, FILE, "--source-path=/a", "--destination-path=/b")
    done = rehome("keyring-migrate", "--no-defaults", *words)
    assert done.returncode == 1 and "doesn't run as root unless told to" in done.stderr
    assert "--user=mysql" in done.stderr
    done = rehome("keyring-migrate", "--no-defaults", *words, "--user=nobody-of-that-name")
    assert done.returncode == 1 and "this system has no user 'nobody-of-that-name'" in done.stderr
