# SPDX-License-Identifier: Apache-2.0
"""The keyring server that other tests rely on: it does what they take for granted."""
from keyringlib import (  # noqa: F401 (keyring_server is a fixture)
    keyring_server, migrate_by_mysql, read_component, read_plugin, write_component, write_plugin,
)


def test_keys_and_encrypted_data_outlive_a_restart_on_a_copy(keyring_server, tmp_path):
    one = keyring_server
    assert one.status()["Data_file"] == str(one.keystore)
    one.make_key("a 'quoted' id", b"v")
    one.make_key(b"a\xffb", b"not utf-8", owner="app2")
    one.generate_key("aes")
    one.encrypt()
    one.rotate(2)
    one.rotate_binlog()
    rows, keys, old = one.rows(), one.keys(), one.keystore
    assert keys["app1", "a 'quoted' id"] == ("SECRET", "76")
    stored = read_component(old)
    assert stored[b"app2@localhost", b"a\xffb"] == (b"SECRET", b"not utf-8")
    assert (b"", b"INNODBKey-%s-3" % one.env["MYSQL_UUID"].encode()) in stored
    # through the plugin's format and back, by the tests' own writers
    plugin, new = tmp_path / "plugin", tmp_path / "new"
    write_plugin(plugin, stored)
    write_component(new, read_plugin(plugin))
    one.use(new)
    assert one.status()["Data_file"] == str(new) and one.keystore == new
    assert (one.rows(), one.keys()) == (rows, keys)
    # and without a key it doesn't start
    less = tmp_path / "less"
    write_component(less, {name: key for name, key in stored.items() if not name[1].endswith(b"-3")})
    one.point(less)
    assert not one.starts()
    one.use(old)
    assert one.rows() == rows


def test_mysqls_own_migrator_runs(keyring_server, tmp_path):
    keyring_server.make_key("moved", b"1")
    source = tmp_path / "source"  # without the id that isn't UTF-8, which its reader is not asked about here
    write_component(source, {name: key for name, key in read_component(keyring_server.keystore).items() if b"\xff" not in name[1]})
    done = migrate_by_mysql(source, tmp_path / "new", tmp_path / "work")
    assert done.returncode == 0 and "Successfully migrated" in done.stdout, (done.stdout, done.stderr)
    assert read_component(tmp_path / "new") == read_component(source)
