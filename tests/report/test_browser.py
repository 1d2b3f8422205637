"""The pages in headless Chromium: silent, asking nobody, usable with and without scripts, and accessible."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import records
from browsers import chromium, missing
from examples import changed, followed, named, pictured

from pfa_gate.report.files import DatedRecord
from pfa_gate.report.history import gates, history_page
from pfa_gate.report.html import render

PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pfa_gate_tests"
NAMES = ("broken", "kept", "not_judged", "deep", "hostile", "history")
pytestmark = pytest.mark.browser


def fetched() -> tuple[Path | None, str]:
    """The folder of the packages, installed once; or None, and why not."""
    place = CACHE / "-".join(PACKAGES).replace("@", "-")
    if (place / "whole").is_file():
        return place / "node_modules", ""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None, "there is no npm"
    place.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(place), *PACKAGES]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        return None, f"npm install {' '.join(PACKAGES)} failed: {done.stderr.strip()[-200:]}"
    (place / "whole").touch()
    return place / "node_modules", ""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser has to say of each page."""
    browser = chromium()
    modules, reason = fetched()
    if modules is None:
        missing(reason)
    folder = tmp_path_factory.mktemp("pages")
    shots = Path(os.environ.get("PFA_GATE_SCREENSHOTS") or folder / "shots")
    shots.mkdir(parents=True, exist_ok=True)
    hostile = pictured(named('"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'))
    pages = {
        "broken": render(changed(), records.kept()),
        "kept": render(pictured(followed(records.kept()))),
        "not_judged": render(records.not_judged()),
        "deep": render(pictured(records.deep(60))),
        "hostile": render(hostile),
        "history": history_page(
            gates([DatedRecord(f"{day}.json", day, each()) for day, each in PAST.items()]), ["a.json: no record."]
        ),
    }
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    files = [str(folder / f"{name}.html") for name in NAMES]
    command = ["node", str(Path(__file__).with_name("browse.js")), browser, str(modules), str(shots), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(shots.glob("*.png"))) >= 4 * len(NAMES)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


PAST = {"2026-11-18T08:00:00Z": records.kept, "2026-11-19T08:00:00Z": records.broken, "2026-11-20T08:00:00Z": changed}


@pytest.mark.parametrize("name", NAMES)
def test_no_error_and_no_request(told: dict[str, Any], name: str) -> None:
    for visit in (*told[name]["looks"], told[name]["use"], told[name]["plain"]):
        assert visit["console"] == []
        assert visit["errors"] == []
        assert all(each.startswith(("file://", "data:image/png")) for each in visit["requests"])
        assert sum(each.startswith("file://") for each in visit["requests"]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wider_than_the_screen_and_both_schemes_differ(told: dict[str, Any], name: str) -> None:
    assert [look["overflow"] for look in told[name]["looks"]] == [0, 0, 0, 0]
    colours = {(look["scheme"], look["background"]) for look in told[name]["looks"]}
    assert len(colours) == 2


@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_no_serious_fault(told: dict[str, Any], name: str) -> None:
    judged = [look for look in told[name]["looks"] if look["rules"]]
    assert [(look["width"], look["scheme"]) for look in judged] == [(1280, "light"), (360, "dark")]
    for look in judged:
        serious = [fault for fault in look["faults"] if fault["impact"] in ("serious", "critical")]
        assert serious == [], (look["width"], look["scheme"])
        assert look["rules"] > 15


@pytest.mark.parametrize("name", ["broken", "kept", "deep"])
def test_a_click_sorts_and_a_key_turns_the_order(told: dict[str, Any], name: str) -> None:
    use = told[name]["use"]
    assert len(use["before"]) >= 8
    assert use["descending"] == ["descending", sorted(use["before"], reverse=True)]
    assert use["ascending"] == ["ascending", sorted(use["before"])]
    assert use["again"] == use["before"] != sorted(use["before"])


@pytest.mark.parametrize("name", ["broken", "kept", "deep"])
def test_a_heat_map_opens_and_tells_what_is_below_the_pointer(told: dict[str, Any], name: str) -> None:
    use = told[name]["use"]
    assert use["picture"] in (32, 64)
    assert use["corner"] == "filters 0 and 0: |r| about 1.00"
    assert use["other"].startswith(f"filters 0 and {use['picture'] - 1}: |r| about 0.")


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_there_without_scripts_and_on_paper(told: dict[str, Any], name: str) -> None:
    plain = told[name]["plain"]
    assert plain["buttons"] == 0
    assert plain["rows"] > 2
    assert plain.get("visible") == (None if name in ("not_judged", "history") else True)
    assert plain["folded"] == 0
    assert plain["pages"] > 10_000
