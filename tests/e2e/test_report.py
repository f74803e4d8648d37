# SPDX-License-Identifier: Apache-2.0
"""rehome report: the JSON document, the page that is made of it, signatures over either."""
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
from html.parser import HTMLParser

import pytest

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;'\"\u202e"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: tags that don't match, and whatever could load or run something, are errors."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.words, self.raw = [], [], [], [], {}
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        assert tag not in {"img", "iframe", "object", "embed", "link", "form", "base", "image", "use", "foreignobject"}
        for name, value in attrs.items():
            assert not name.startswith("on") and name not in {"style", "src", "srcdoc", "action"}, (tag, attrs)
            if name in {"href", "xlink:href"}:
                assert value.startswith("#"), value
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> in {self.open}"

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside in {"script", "style"}:
            self.raw[inside] = self.raw.get(inside, "") + data
        else:
            self.words.append(data)

    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def document_of(text):
    """The JSON document inside a page, by the rule of docs/formats/report.md."""
    return text.split('<script type="application/json" id="rehome-report">\n')[1].split("</script>")[0]


def write_plan(tmp_path, source, destination, more=""):
    path = tmp_path / "plan.hcl"
    path.write_text(f'plan "p" {{ state_dir = "{tmp_path}/state" }}\n'
                    f'move "m" {{\n  source "file" {{ path = {json.dumps(str(source))} }}\n'
                    f'  destination "file" {{ path = {json.dumps(str(destination))} }}\n{more}}}\n')
    return path


@pytest.fixture
def plan(vault_tree, tmp_path):
    return write_plan(tmp_path, vault_tree(), tmp_path / "new")


@pytest.fixture
def moved(rehome, plan):
    assert rehome("run", plan, "-q").returncode == 0
    return plan


@pytest.fixture
def keys(tmp_path):
    """keys.private, keys.public: made by openssl."""

    class Keys:
        private, public = tmp_path / "private.pem", tmp_path / "public.pem"

    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", Keys.private], check=True)
    Keys.private.chmod(0o600)
    subprocess.run(["openssl", "pkey", "-in", Keys.private, "-pubout", "-out", Keys.public], check=True)
    return Keys


def test_the_page_is_one_well_made_file(rehome, moved):
    text = rehome("report", moved, "--html").stdout
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>") and page.tags[0] == ("html", {"lang": "en"})
    assert len(page.ids) == len(set(page.ids))
    names = [tag for tag, _ in page.tags]
    assert names.count("h1") == 1 and names.count("title") >= 2 and {"h2", "h3", "svg", "desc", "caption"} <= set(names)
    assert names.count("svg") > 2 and names.count("table") == names.count("caption")
    assert all(attrs.get("scope") in {"col", "row"} for tag, attrs in page.tags if tag == "th")
    for tag, attrs in page.tags:
        if tag == "svg" and attrs.get("role") == "img":
            assert set(attrs["aria-labelledby"].split()) <= set(page.ids)
        assert tag != "script" or attrs == {"type": "application/json", "id": "rehome-report"}
    assert not re.search(r"https?:|url\(|@import|//", page.raw["style"])


def test_the_page_allows_its_own_style_sheet_alone(rehome, moved):
    page = Page(rehome("report", moved, "--html").stdout)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.raw["style"].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "prefers-color-scheme:dark" in page.raw["style"] and "@media print" in page.raw["style"]


def test_the_page_holds_the_document_and_shows_its_facts(rehome, moved):
    text = rehome("report", moved, "--html").stdout
    inside, alone = json.loads(document_of(text)), json.loads(rehome("report", moved).stdout)
    page = Page(text)
    assert json.loads(page.raw["script"]) == inside
    inside["time"] = alone["time"]
    assert inside == alone
    move, shown = alone["moves"][0], page.text()
    assert "Complete and proven equal" in shown
    for side in (move["source"], move["destination"]):
        for name in ("product", "version", "address", "identity", "store"):
            assert side[name] in shown, name
    for digest in "abc":
        assert move["digests"][digest]["sum"] in shown
    for item in move["not_moved"] + move["limits"]:
        assert item["text"] in shown
    for name in ("expected", "records", "written"):
        assert f"{move['counts'][name]:,}" in shown
    assert alone["seal"]["provider"] in shown and alone["seal"]["protects"] in shown
    assert "Commands that were given" in shown and "rehome run" in shown and "not signed" in shown


def test_the_document_is_ascii_without_markup(rehome, moved):
    text = rehome("report", moved).stdout
    assert text.isascii() and text.endswith("}\n") and not set("<>&") & set(text)
    assert json.dumps(json.loads(text), indent=2).replace("<", "\\u003c") + "\n" == text


def test_hostile_names_stay_words(rehome, vault_tree, tmp_path):
    source = vault_tree(entries=5)
    some = next(p for p in sorted(source.rglob("_*")) if p.is_file())
    hostile = source / ("<" + "x" * 3) / ("_script><img src=x onerror=alert(1)>&amp;'\"\u202e")
    hostile.parent.mkdir(mode=0o700)
    shutil.copy(some, hostile)
    home = tmp_path / HOSTILE.replace("/", "-")
    home.mkdir(mode=0o700)
    source.rename(home / "vault")
    plan = write_plan(tmp_path, home / "vault", home / "new")
    done = rehome("run", plan, "-q")
    assert done.returncode == 0, done.stderr
    (home / "new" / hostile.relative_to(source)).unlink()
    assert rehome("verify", plan).returncode == 5
    text = rehome("report", plan, "--html").stdout
    page = Page(text)
    note = json.loads(document_of(text))["moves"][0]["notes"][0]
    assert "<img src=x onerror=alert(1)>" in note["key"]
    assert "<img src=x onerror=alert(1)>&amp;'\"\\xe2\\x80\\xae" in page.text()
    assert "<img src=x" not in text and text.count("<script") == text.count("</script>") == 1
    assert "\u202e" not in text
    assert "not proven equal" in page.text()


def test_what_was_cut_off_is_in_history_and_page(rehome, plan):
    killed = rehome("run", plan, "-q", env={"RH_CRASH_AT": "copy:2"})
    assert killed.returncode == -signal.SIGKILL
    assert "Not finished" in Page(rehome("report", plan, "--html").stdout).text()
    assert rehome("run", plan, "-q").returncode == 0
    report = json.loads(rehome("report", plan).stdout)
    move = report["moves"][0]
    assert [c["outcome"] for c in report["commands"]] == ["interrupted", "done"]
    assert [(a["step"], a["outcome"]) for a in move["history"] if a["step"] == "copy"] == [
        ("copy", "interrupted"), ("copy", "done")]
    cut = next(a for a in move["history"] if a["outcome"] == "interrupted")
    assert cut["ended"] is None and cut["begun"] <= cut.get("last_seen", cut["begun"])
    assert move["resumes"] == 1
    page = Page(rehome("report", plan, "--html").stdout)
    assert "cut off before its end" in page.text() and "1 time" in page.text()


def test_what_was_killed_ends_with_no_other_command(rehome, plan):
    assert rehome("run", plan, "-q", env={"RH_CRASH_AT": "copy:2"}).returncode == -signal.SIGKILL
    assert rehome("rollback", plan, "-q").returncode == 0
    report = json.loads(rehome("report", plan).stdout)
    killed, back = report["commands"]
    assert (killed["command"], killed["outcome"], killed["ended"]) == ("run", "interrupted", None)
    assert (back["command"], back["outcome"]) == ("rollback", "done")
    copy = next(a for a in report["moves"][0]["history"] if a["step"] == "copy")
    assert (copy["outcome"], copy["ended"]) == ("interrupted", None)


def test_what_was_asked_to_stop_ended_then(rehome, plan, program, tmp_path):
    run = subprocess.Popen([program, "run", plan, "-q"], env={**os.environ, "RH_STOP_AT": "copy:1"},
                           stderr=subprocess.DEVNULL)
    os.waitpid(run.pid, os.WUNTRACED)
    run.send_signal(signal.SIGTERM)
    run.send_signal(signal.SIGCONT)
    assert run.wait(30) == 7
    report = json.loads(rehome("report", plan).stdout)
    assert report["commands"][0]["outcome"] == "failed" and report["commands"][0]["ended"]
    copy = next(a for a in report["moves"][0]["history"] if a["step"] == "copy")
    assert copy["outcome"] == "interrupted" and copy["ended"] == report["commands"][0]["ended"]


def test_a_rollback_and_another_pass_stay_in_the_history(rehome, moved):
    assert rehome("rollback", moved, "-q").returncode == 0
    shown = Page(rehome("report", moved, "--html").stdout).text()
    assert "Taken back" in shown and "before the move was taken back" in shown
    assert rehome("run", moved, "-q").returncode == 0
    report = json.loads(rehome("report", moved).stdout)
    assert [c["command"] for c in report["commands"]] == ["run", "rollback", "run"]
    steps = [a["step"] for a in report["moves"][0]["history"]]
    assert steps.count("copy") == 2 and steps.count("rollback") == 1
    assert [s["step"] for s in report["moves"][0]["steps"]].count("rollback") == 0
    assert rehome("finish", moved, "--yes").returncode == 0
    shown = Page(rehome("report", moved, "--html").stdout).text()
    assert "Given up" in shown and "rehome finish" in shown


def test_a_failed_run_is_in_the_history_with_its_reason(rehome, moved, tmp_path):
    shutil.rmtree(tmp_path / "vault")
    assert rehome("verify", moved).returncode != 0
    last = json.loads(rehome("report", moved).stdout)["commands"][-1]
    assert (last["command"], last["outcome"]) == ("verify", "failed") and last["note"]


def test_speed_is_recorded(rehome, vault_tree, tmp_path):
    plan = write_plan(tmp_path, vault_tree(entries=3000), tmp_path / "new")
    assert rehome("run", plan, "-q").returncode == 0
    move = json.loads(rehome("report", plan).stdout)["moves"][0]
    points = move["throughput"]["points"]
    assert 0 < len(points) <= 240 and move["throughput"]["width_us"] >= 250000
    assert sum(p["records"] for p in points if p["phase"] == "copy") == move["counts"]["records"]
    assert sum(p["records"] for p in points if p["phase"] == "verify") == move["counts"]["records"]
    assert [p["time"] for p in points] == sorted(p["time"] for p in points)
    assert all(p["active_us"] > 0 for p in points)
    shown = Page(rehome("report", plan, "--html").stdout).text()
    assert "records/s on average" in shown and "iB/s on average" in shown


# --- files and signatures ---


def test_speed_into_an_archive_is_recorded(rehome, vault_tree, tmp_path):
    key = tmp_path / "seal.key"
    key.write_text("42" * 32)
    key.chmod(0o600)
    plan = tmp_path / "plan.hcl"
    plan.write_text(f'plan "p" {{ state_dir = "{tmp_path}/state" }}\n'
                    f'move "m" {{\n  source "file" {{ path = "{vault_tree()}" }}\n'
                    f'  destination "archive" {{\n    path = "{tmp_path}/vault.archive"\n    key_file = "{key}"\n  }}\n}}\n')
    rehome("run", plan)
    move = json.loads(rehome("report", plan).stdout)["moves"][0]
    copied = [point for point in move["throughput"]["points"] if point["phase"] == "copy"]
    assert sum(point["records"] for point in copied) == move["counts"]["records"]
    assert all(move["begun"] <= point["time"] <= move["ended"] for point in copied)
    assert sum(point["active_us"] for point in copied) < 600_000_000


def test_output_is_private_and_whole(rehome, moved, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("old")
    out.chmod(0o644)
    assert rehome("report", moved, "--html", "--output", out).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and out.read_text().endswith("</html>\n")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".rehome")] == []
    assert rehome("report", moved, "-o", tmp_path / "nowhere" / "x").returncode == 9


@pytest.mark.parametrize("form", ["--html", "--json"])
def test_a_signature_is_openssls_too(rehome, moved, keys, tmp_path, form):
    out = tmp_path / "out"
    assert rehome("report", moved, form, "-o", out, "--sign-key", keys.private).returncode == 0
    assert len((tmp_path / "out.sig").read_bytes()) == 64
    done = rehome("report", "--verify", out, "--public-key", keys.public)
    assert done.returncode == 0 and "as it was signed" in done.stdout
    subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", keys.public, "-in", out, "-sigfile",
                    tmp_path / "out.sig"], check=True, capture_output=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", keys.public, "-outform", "der"], check=True,
                         capture_output=True).stdout
    name = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()
    text = out.read_text()
    assert name in text and name in done.stdout
    document = json.loads(document_of(text) if form == "--html" else text)
    assert document["signature"] == {"algorithm": "Ed25519", "public_key": name}
    answer = json.loads(rehome("report", "--verify", out, "--public-key", keys.public, "--json").stdout)
    assert answer["verified"] is True and answer["public_key"] == name
    # and the other way round
    subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", keys.private, "-in", out, "-out",
                    tmp_path / "theirs"], check=True)
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "out.sig").read_bytes()


@pytest.mark.parametrize("form", ["--html", "--json"])
def test_one_changed_byte_is_refused(rehome, moved, keys, tmp_path, form):
    out, signature = tmp_path / "out", tmp_path / "out.sig"
    assert rehome("report", moved, form, "-o", out, "--sign-key", keys.private).returncode == 0
    good, good_signature = out.read_bytes(), signature.read_bytes()
    check = ["report", "--verify", out, "--public-key", keys.public]
    step = max(1, len(good) // 40)
    for at in [*range(0, len(good), step), len(good) - 1]:
        out.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        assert rehome(*check).returncode == 5, at
    for other in (good[:-1], good + b"\n", b""):
        out.write_bytes(other)
        assert rehome(*check).returncode == 5
    out.write_bytes(good)
    for at in range(0, 64, 7):
        signature.write_bytes(good_signature[:at] + bytes([good_signature[at] ^ 1]) + good_signature[at + 1:])
        assert rehome(*check).returncode == 5, at
    for other in (b"", good_signature[:-1], good_signature + b"x", good_signature[:32] + b"\xff" * 32):
        signature.write_bytes(other)
        assert rehome(*check).returncode == 5
    signature.write_bytes(good_signature)
    assert rehome(*check).returncode == 0


def test_another_key_is_refused(rehome, moved, keys, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other.pem"
    assert rehome("report", moved, "-o", out, "--sign-key", keys.private).returncode == 0
    private = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True).stdout
    other.write_bytes(subprocess.run(["openssl", "pkey", "-pubout"], input=private, check=True,
                                     capture_output=True).stdout)
    done = rehome("report", "--verify", out, "--public-key", other, "--json")
    assert done.returncode == 5 and json.loads(done.stdout)["error"]["status"] == "mismatch"


def test_keys_that_cannot_be_used(rehome, moved, keys, tmp_path):
    out = tmp_path / "out"
    make = ["report", moved, "-o", out, "--sign-key"]
    assert rehome(*make, tmp_path / "none.pem").returncode != 0
    assert rehome(*make, keys.public).returncode != 0
    keys.private.chmod(0o644)
    done = rehome(*make, keys.private)
    assert done.returncode == 8 and "chmod" in done.stderr
    keys.private.chmod(0o600)
    for words in (["rsa", "-pkeyopt", "rsa_keygen_bits:2048"], ["ed25519", "-aes256", "-pass", "pass:secret"]):
        bad = tmp_path / "bad.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", *words, "-out", bad], check=True, capture_output=True)
        bad.chmod(0o600)
        done = rehome(*make, bad)
        assert done.returncode == 8 and "Ed25519" in done.stderr and "openssl genpkey" in done.stderr
    assert not out.exists() and not (tmp_path / "out.sig").exists()
    assert rehome(*make, keys.private).returncode == 0
    for public in (tmp_path / "none.pem", keys.private, moved):
        assert rehome("report", "--verify", out, "--public-key", public).returncode == 1
    (tmp_path / "out.sig").unlink()
    done = rehome("report", "--verify", out, "--public-key", keys.public)
    assert done.returncode == 1 and "out.sig" in done.stderr


@pytest.mark.parametrize("words", [[], ["--verify", "x"], ["--verify", "x", "--public-key", "y", "plan.hcl"],
                                   ["plan.hcl", "--sign-key", "k"], ["plan.hcl", "--public-key", "k"],
                                   ["plan.hcl", "--html", "--json"],
                                   ["--verify", "x", "--public-key", "y", "-o", "z"]])
def test_options_that_do_not_go_together(rehome, words):
    done = rehome("report", *words)
    assert done.returncode == 1 and "--help" in done.stderr


# --- looking at it ---


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium isn't installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_in_a_browser(rehome, moved, tmp_path, width):
    """The page fits its window: what sticks out would make the document wider than it."""
    page = tmp_path / "page.html"
    assert rehome("report", moved, "--html", "-o", page).returncode == 0
    # the page itself allows no script: a frame around it, of the width to try, is measured from outside
    probe = tmp_path / "probe.html"
    probe.write_text(f"""<body><iframe id=f src=page.html width={width} height=900></iframe><p id=r></p><script>
      f.onload = () => r.textContent = "wide:" + f.contentDocument.documentElement.scrollWidth</script>""")
    done = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
                           "--virtual-time-budget=3000", "--dump-dom", f"--user-data-dir={tmp_path}/chromium",
                           probe.as_uri()], capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": str(tmp_path)})
    wide = re.search(r"wide:(\d+)", done.stdout)
    assert wide, done.stderr[-2000:]
    assert int(wide[1]) <= width
