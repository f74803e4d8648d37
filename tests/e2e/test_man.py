# SPDX-License-Identifier: Apache-2.0
"""Every option that a table has is named in its man page, and the page names none besides."""
import json
import re
from pathlib import Path

import pytest

MAN = Path(__file__).resolve().parents[2] / "docs/man"


@pytest.fixture
def tables(rehome):
    return json.loads(rehome("help", "--json").stdout)


def section(text, title):
    """The lines of one section of an scdoc page."""
    found = re.search(rf"^# {re.escape(title)}\n(.*?)(?=^# |\Z)", text, re.M | re.S)
    assert found, f"no section {title}"
    return found.group(1)


def documented(text):
    """Option names in the terms of a list of options: *-q*, *--quiet* or *PLAN*."""
    names = set()
    for line in text.splitlines():
        if line.startswith("*"):
            names |= {name.lstrip("-") for name in re.findall(r"\*(-{0,2}[A-Za-z][\w-]*)\*", line)}
    return names


def test_every_command_has_its_page_and_every_page_its_command(tables):
    pages = {path.name[len("rehome-"):-len(".1.scd")] for path in MAN.glob("rehome-*.1.scd")}
    assert pages == {command["name"].replace(" ", "-") for command in tables["commands"]}


def test_command_options(tables):
    for command in tables["commands"]:
        page = (MAN / f"rehome-{command['name'].replace(' ', '-')}.1.scd").read_text()
        known = set()
        for option in command["options"]:
            known.add(option["name"].upper() if option["positional"] else option["name"])
            if "letter" in option:
                known.add(option["letter"])
        assert documented(section(page, "OPTIONS")) == known, command["name"]


def flat(options, prefix=""):
    """Names of a store's options; those of a nested block with the block's name before them."""
    for option in options:
        yield prefix + option["name"]
        yield from flat(option.get("options", []), prefix + option["name"] + ".")


def test_store_options(tables):
    page = (MAN / "rehome-stores.7.scd").read_text()
    assert len(tables["stores"]) >= 3
    for store in tables["stores"]:
        text = section(page, "STORE " + store["name"])
        names = {found for found in re.findall(r"^\*([\w.]+)\* (?:=|\{)", text, re.M)}
        assert names == set(flat(store["options"])), store["name"]


def test_fence_options(tables):
    page = (MAN / "rehome-stores.7.scd").read_text()
    for kind in ("fence", "route"):
        assert tables[kind + "s"]
        for one in tables[kind + "s"]:
            text = section(page, f"{kind.upper()} {one['name']}")
            names = {found for found in re.findall(r"\*([\w.]+)\* (?:=|\{)", text)}
            assert names == set(flat(one["options"])), one["name"]


def test_plan_blocks(tables):
    page = (MAN / "rehome.plan.5.scd").read_text().replace("\\_", "_")
    for block, options in tables["blocks"].items():
        for option in options:
            assert re.search(rf"\*{re.escape(option['name'])}\*|\*{re.escape(option['name'])} ", page), (block, option["name"])


def test_exit_statuses(tables):
    page = section((MAN / "rehome.1.scd").read_text(), "EXIT STATUS")
    assert re.findall(r"^\*(\d)\* (\w+)", page, re.M) == [(str(e["code"]), e["name"]) for e in tables["exits"]]
