# SPDX-License-Identifier: Apache-2.0
"""What all end-to-end tests share: the program under test and a way to call it."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


OTHER_SERVERS = ["consul", "postgresql"]  # besides MariaDB and MySQL, that the fault tests run on


def build_dir():
    """REHOME_BUILD, else the folder of `make check`, else that of `make`."""
    given = os.environ.get("REHOME_BUILD")
    for folder in [Path(given)] if given else [ROOT / "build-check", ROOT / "build"]:
        if (folder / "src/cli/rehome").exists():
            return folder
    raise RuntimeError("rehome isn't built: run `make` or set REHOME_BUILD")


def pytest_configure(config):
    config.addinivalue_line("markers", "mariadb_only(why, but=()): not also on other servers, but for those named")
    config.addinivalue_line("markers", "mysql_only(why): on MariaDB and MySQL, but on no other server")


def pytest_generate_tests(metafunc):
    """What asks for a server runs on MariaDB and on MySQL, faults also on the servers of other kinds of store."""
    if "server" in metafunc.fixturenames:
        kinds = ["mariadb", "mysql"] + (OTHER_SERVERS if metafunc.module.__name__.startswith("test_faults_") else [])
        metafunc.parametrize("server", kinds, ids=["on-" + kind for kind in kinds], indirect=True, scope="module")


def pytest_collection_modifyitems(config, items):
    """Takes away what would only be the same once more: cases without a table, and those marked."""
    again = []
    for item in items:
        given = item.callspec.params if getattr(item, "callspec", None) else {}
        first = given.get("server", "mariadb") == "mariadb"
        only = item.get_closest_marker("mariadb_only")
        if not first and (given.get("way") == "file-file" or (only and given["server"] not in only.kwargs.get("but", ()))):
            again.append(item)
        elif given.get("server") in OTHER_SERVERS and item.get_closest_marker("mysql_only"):
            again.append(item)
    config.hook.pytest_deselected(items=again)
    items[:] = [item for item in items if item not in set(again)]
    # what runs on one server stays together, so that it is started once; the rest of a file, too
    for item in items:
        given = item.callspec.params if getattr(item, "callspec", None) else {}
        item.add_marker(pytest.mark.xdist_group(f"{item.module.__name__}-{given.get('server', 'none')}"))


@pytest.fixture(scope="session")
def build():
    return build_dir()


@pytest.fixture(scope="session")
def program(build):
    return build / "src/cli/rehome"


@pytest.fixture
def rehome(program, tmp_path):
    """rehome(*words, env={}, stdin=None): runs it to its end, with state and home of the test's own."""

    def run(*words, env=None, timeout=60, **more):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("REHOME_", "VAULT_", "BAO_", "RH_"))}
        clean.update({"HOME": str(tmp_path), "REHOME_STATE_DIR": str(tmp_path / "state")}, **(env or {}))
        return subprocess.run([program, *map(str, words)], env=clean, timeout=timeout, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, **more)

    return run


@pytest.fixture
def vault_tree(build, tmp_path):
    """vault_tree(name, entries): a Vault file storage below the test's folder."""

    def make(name="vault", entries=50, size=200, seed=1):
        folder = tmp_path / name
        subprocess.run([build / "tests/tools/vault-tree", folder, "--entries", str(entries), "--size", str(size), "--seed",
                        str(seed)], check=True, capture_output=True)
        return folder

    return make
