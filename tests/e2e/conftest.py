# SPDX-License-Identifier: Apache-2.0
"""What all end-to-end tests share: the program under test and a way to call it."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def build_dir():
    """REHOME_BUILD, else the folder of `make check`, else that of `make`."""
    given = os.environ.get("REHOME_BUILD")
    for folder in [Path(given)] if given else [ROOT / "build-check", ROOT / "build"]:
        if (folder / "src/cli/rehome").exists():
            return folder
    raise RuntimeError("rehome isn't built: run `make` or set REHOME_BUILD")


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
