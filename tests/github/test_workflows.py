"""Every workflow and action fits GitHub's schema, passes zizmor, is pinned, may little, and is what the docs show."""

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTIONS = sorted((ROOT / ".github" / "actions").rglob("action.yml"))
WORKFLOWS = sorted([*(ROOT / ".github/workflows").glob("*.yml"), *(ROOT / "example_project/.github").rglob("*.yml")])
SCRIPTS = Path(sysconfig.get_path("scripts"))
PIN = re.compile(r"uses: ((?:actions|pypa)/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")


def ran(*command: str | Path) -> str:
    done = subprocess.run(
        [str(SCRIPTS / command[0]), *map(str, command[1:])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_there_are_workflows_and_an_action() -> None:
    assert len(ACTIONS) == 1
    assert len(WORKFLOWS) == 6


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_workflows_fit_the_schema(path: Path) -> None:
    ran("check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)


@pytest.mark.parametrize("path", ACTIONS, ids=named)
def test_actions_fit_the_schema(path: Path) -> None:
    ran("check-jsonschema", "--builtin-schema", "vendor.github-actions", path)


def test_zizmor_finds_nothing() -> None:
    told = ran(
        "zizmor", "--offline", "--persona=pedantic", "--strict-collection", "--no-progress", *ACTIONS, *WORKFLOWS
    )
    assert "No findings to report" in told
    # The one trigger that is dangerous and cannot be done without: where nothing of a stranger's is run.
    ignored = [path.name for path in WORKFLOWS if "zizmor: ignore" in path.read_text("utf-8")]
    assert ignored == ["comment.yml", "pfa-forks.yml"]


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    text = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    bad.write_text(text.replace("run: bash .ci/run", "run: echo ${{ github.head_ref }}"), "utf-8")
    with pytest.raises(AssertionError, match="template-injection"):
        ran("zizmor", "--offline", "--persona=pedantic", "--no-progress", bad)


@pytest.mark.parametrize(("schema", "path"), [("workflows", WORKFLOWS[0]), ("actions", ACTIONS[0])], ids=str)
def test_the_schemas_would_refuse_something(tmp_path: Path, schema: str, path: Path) -> None:
    bad = tmp_path / path.name
    bad.write_text(path.read_text("utf-8").replace("steps:", "stepps:"), "utf-8")
    with pytest.raises(AssertionError, match="stepps"):
        ran("check-jsonschema", "--builtin-schema", f"vendor.github-{schema}", bad)


@pytest.mark.parametrize("path", [*ACTIONS, *WORKFLOWS], ids=named)
def test_every_foreign_action_is_pinned_the_same_way(path: Path) -> None:
    uses = [line.strip().removeprefix("- ") for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    foreign = [line for line in uses if "$/" not in line]
    assert uses
    assert [line for line in foreign if not PIN.fullmatch(line)] == []
    pins = {found[1]: found[0] for each in [*ACTIONS, *WORKFLOWS] for found in _pins(each)}
    assert all(pins[found[1]] == found[0] for found in _pins(path))


def _pins(path: Path) -> list[tuple[str, str]]:
    found = (PIN.search(line) for line in path.read_text("utf-8").splitlines())
    return [(f"{one[2]} {one[3]}", one[1]) for one in found if one]


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_no_job_may_more_than_it_must(path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        writes = {name for name, level in job["permissions"].items() if level != "read"}
        # Who publishes may only say who it is, and nothing but the job that publishes may.
        assert writes <= ({"id-token"} if job["name"] == "Publish" else {"pull-requests"})
        assert job["timeout-minutes"] <= 40


def test_what_a_stranger_measured_is_never_run() -> None:
    for name in (".github/workflows/comment.yml", "example_project/.github/workflows/pfa-forks.yml"):
        workflow = yaml.safe_load((ROOT / name).read_text("utf-8"))
        (job,) = workflow["jobs"].values()
        checkouts = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
        assert all("ref" not in step["with"] and "repository" not in step["with"] for step in checkouts)
        assert job["steps"][-1]["run"].startswith("pfa-gate comment --from ")


def test_the_docs_show_the_examples_workflows() -> None:
    page = (ROOT / "docs" / "ci-github.md").read_text("utf-8")
    for name in ("pfa.yml", "pfa-forks.yml"):
        assert (ROOT / "example_project/.github/workflows" / name).read_text("utf-8") in page
    assert len((ROOT / "example_project/.github/workflows/pfa.yml").read_text("utf-8").splitlines()) <= 20
