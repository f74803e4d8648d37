# SPDX-License-Identifier: Apache-2.0
"""require_at_rest_encryption: tables that a server encrypts on its disk, by a keyring or a key file of its own."""
import json
import pathlib
import secrets
import subprocess
import tempfile

import pytest
from faultlib import DESTINATION, OK, REFUSED, FileStore, Move, TableStore, assert_equal, home, server
from vaultlib import SHAPE, Server, missing_server

ENCRYPTED = {"mysql": "ENCRYPTION='Y'", "mariadb": "ENCRYPTED=YES"}
NOT_ENCRYPTED = {"mysql": "ENCRYPTION='N'", "mariadb": "ENCRYPTED=NO"}
PLAIN = b"words that nobody may read on the disk " * 4


class SecretStore(TableStore):
    """A table that has to be encrypted."""

    def block(self, side):
        return super().block(side).replace(" table =", " require_at_rest_encryption = true table =")


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def encrypting(request):
    """A server that can encrypt: MySQL by component_keyring_file, MariaDB by the plugin file_key_management."""
    kind = request.param
    if why := missing_server(kind):
        pytest.skip(f"no {kind} server to be had: {why}")
    with tempfile.TemporaryDirectory(prefix="rh-keys-") as folder:
        keys = pathlib.Path(folder, "keys")
        keys.write_text(f"1;{secrets.token_hex(32)}\n", encoding="utf-8")
        keys.parent.chmod(0o755)
        keys.chmod(0o644)  # the server's user is another
        options = {"mysql": ["--keyring"], "mariadb": ["--option=plugin-load-add=file_key_management",
                                                       f"--option=file-key-management-filename={keys}"]}
        one = Server(*options[kind], kind=kind)
        yield one
        one.stop()


def fresh(server):
    """As fresh(), and the account may look whether a table is encrypted, which MariaDB tells only those with PROCESS."""
    server.fresh()
    if server.kind == "mariadb":
        server.sql("GRANT PROCESS ON *.* TO vault@'%'")


def on_disk(server):
    """The bytes of the table's file, once the server has written them."""
    server.sql("FLUSH TABLES vault.vault FOR EXPORT; UNLOCK TABLES")
    folder = pathlib.Path(server.sql("SELECT @@datadir")[0][0])
    return (folder / "vault/vault.ibd").read_bytes()


def at_rest(move):
    """What the report says of both sides."""
    report = json.loads(subprocess.run(move.args("report"), capture_output=True, check=True).stdout)["moves"][0]
    return report["source"]["encrypted_at_rest"], report["destination"]["encrypted_at_rest"]


@pytest.fixture
def records():
    return {b"a/%d" % i: PLAIN + b"%d" % i for i in range(50)}


def test_table_made_encrypted(encrypting, home, records):
    """Without a table one is made that is, on the disk too; without the option it isn't."""
    source = FileStore(home / "src")
    source.fill(records)
    for store, there, word in ((SecretStore, False, "yes"), (TableStore, True, "no")):
        fresh(encrypting)
        move = Move(home / word, source, store(encrypting))
        move.must(OK)
        assert_equal(records, move.destination.read(), "the destination")
        assert at_rest(move)[1] == word
        assert (PLAIN in on_disk(encrypting)) == there
        move.must(OK, "rollback")
        assert move.destination.read() is None


def test_table_that_is_not_encrypted(encrypting, home, records):
    """Refused as a destination, with the statement that mends it; then it is taken."""
    source, destination = FileStore(home / "src"), SecretStore(encrypting)
    source.fill(records)
    fresh(encrypting)
    encrypting.make_table()
    move = Move(home / "move", source, destination)
    for verb in ("check", "run"):
        move.must(REFUSED, verb)
        assert "isn't encrypted at rest" in move.said and ENCRYPTED[encrypting.kind] in move.said, move.said[-800:]
    assert destination.read() == {}
    encrypting.sql(f"ALTER TABLE vault.vault {ENCRYPTED[encrypting.kind]}")
    move.must(OK)
    assert_equal(records, destination.read(), "the destination")
    back = Move(home / "back", destination, FileStore(home / "dst"))
    back.must(OK)
    assert at_rest(back)[0] == "yes"
    encrypting.sql(f"ALTER TABLE vault.vault {NOT_ENCRYPTED[encrypting.kind]}")
    again = Move(home / "again", destination, FileStore(home / "dst2"))
    again.must(OK)  # it asks for what is made, not for what was
    assert at_rest(again)[0] == "no"


def test_server_that_cannot_encrypt(server, home, records):
    """No keyring, no plugin: said in the server's words, and nothing is left."""
    source = FileStore(home / "src")
    source.fill(records)
    server.fresh()
    move = Move(home / "move", source, SecretStore(server))
    move.must(DESTINATION)
    assert "the server needs keys" in move.said or "keyring" in move.said, move.said[-800:]
    move.go_back()
    assert move.destination.read() is None
    assert_equal(records, source.read(), "the source")
