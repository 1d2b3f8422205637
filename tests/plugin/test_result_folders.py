"""Two gates of a run never write to one folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pfa_gate.errors import ConfigError
from pfa_gate.plugin.result_files import ResultFolders
from pfa_gate.plugin.run_plan import RunPlan


def claimed(root: Path, gates: Mapping[str, Sequence[str]], output: str | None = "out") -> list[str]:
    """Where each gate writes, from the root of the repository, in the order of the configs."""
    (root / ".git").mkdir(exist_ok=True)
    configs = {root / path: names for path, names in gates.items()}
    plan = RunPlan(tuple(configs), root / "shared", None if output is None else root / output)
    folders = ResultFolders(plan, lambda path: configs[path])
    found = []
    for config, names in configs.items():
        for name in names:
            place = folders.claim(config, name)
            found.append(((place or config.parent / ".pfa") / name).relative_to(root).as_posix())
    return found


def test_gates_of_different_names_lie_side_by_side(tmp_path: Path) -> None:
    gates = {"a/pfa.yaml": ["digits"], "b/pfa.yaml": ["letters"]}
    assert claimed(tmp_path, gates) == ["out/digits", "out/letters"]
    assert claimed(tmp_path, gates, output=None) == ["a/.pfa/digits", "b/.pfa/letters"]


def test_gates_of_one_name_lie_by_their_configs(tmp_path: Path) -> None:
    gates = {"services/a/pfa.yaml": ["digits", "letters"], "services/b/pfa.yaml": ["digits"], "pfa.yaml": ["digits"]}
    assert claimed(tmp_path, gates) == [
        "out/services/a/digits", "out/letters", "out/services/b/digits", "out/digits",
    ]  # fmt: skip


def test_two_configs_of_one_folder_lie_by_their_names(tmp_path: Path) -> None:
    gates = {"pfa.yaml": ["digits"], "pfa.strict.yaml": ["digits"]}
    assert claimed(tmp_path, gates) == ["out/digits", "out/pfa.strict/digits"]
    with pytest.raises(ConfigError, match=r"as .*pfa\.yaml does"):
        claimed(tmp_path, gates, output=None)


def test_no_gate_writes_into_the_folder_of_another(tmp_path: Path) -> None:
    """The folder of a gate is replaced whole, and what lay below it would be gone."""
    gates = {"pfa.yaml": ["digits", "letters"], "digits/pfa.yaml": ["letters"]}
    with pytest.raises(ConfigError, match=r"Gate 'letters' of .* writes to .*out/digits/letters, and to .*out/digits "):
        claimed(tmp_path, gates)


def test_a_config_that_does_not_hold_has_no_gates(tmp_path: Path) -> None:
    plan = RunPlan((tmp_path / "a.yaml", tmp_path / "b.yaml"), tmp_path, tmp_path / "out")

    def refuse(path: Path) -> Sequence[str]:
        raise ConfigError(f"{path} does not hold.")

    assert ResultFolders(plan, refuse).claim(tmp_path / "a.yaml", "digits") == tmp_path / "out"
