#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/crash/soak.py [PYTEST-OPTION...]: the whole crash matrix, then a table of faults, cases tried and cases passed.
RH_SOAK=0 takes the sample that CI takes."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]


def main():
    tests = sorted(str(path) for path in (TOP / "tests/e2e").glob("test_faults*.py"))
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder, "table")
        env = {"RH_SOAK": "1", **os.environ, "RH_FAULT_TABLE": str(table)}
        done = subprocess.run(
            ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", *sys.argv[1:], *tests], env=env, check=False
        )
        counts = {}
        for line in table.read_text(encoding="utf-8").splitlines() if table.exists() else []:
            fault, tried, passed = json.loads(line)
            old = counts.get(fault, (0, 0))
            counts[fault] = (old[0] + tried, old[1] + passed)
    for fault, (tried, passed) in sorted(counts.items()):
        print(f"{fault:88} {tried:6} {passed:6}")
    print(f"{'all':88} {sum(c[0] for c in counts.values()):6} {sum(c[1] for c in counts.values()):6}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
