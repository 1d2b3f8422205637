"""Which configs run."""

import pytest
from projects import ONE_TEST, Pfa, config, gate, runs

from pfa_gate.plugin.discovery import Request, search


@pytest.fixture
def tree(project: pytest.Pytester) -> pytest.Pytester:
    """Configs at the root, in a/ and in a/deep/, and one that must never run in a hidden folder."""
    for folder in ("a/deep", "b", ".hidden", "node_modules/x"):
        (project.path / folder).mkdir(parents=True)
    for folder in ("a", "a/deep", ".hidden", "node_modules/x"):
        (project.path / folder / "pfa.yaml").write_text(config())
    (project.path / "b" / "test_b.py").write_text(ONE_TEST)
    (project.path / "a" / "test_a.py").write_text(ONE_TEST)
    return project


def found(tree: pytest.Pytester, *arguments: str, here: str = ".", **rest: tuple[object, ...]) -> list[str]:
    """Configs that a command line means, from the root of the tree; hidden folders are ignored."""
    root = tree.path
    options, ini = rest.get("options", ()), rest.get("ini", ())
    request = Request(arguments, options, ini, root / here, root)  # type: ignore[arg-type]
    configs = search(request, lambda path: path.name in {".hidden", "node_modules"})
    return [path.relative_to(root).as_posix() for path in configs]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "pfa.yaml a/pfa.yaml a/deep/pfa.yaml"),
        (".", "pfa.yaml a/pfa.yaml a/deep/pfa.yaml"),
        ("a", "a/pfa.yaml a/deep/pfa.yaml"),
        ("a a/deep", "a/pfa.yaml a/deep/pfa.yaml"),
        ("a/deep", "a/deep/pfa.yaml"),
        ("b", "pfa.yaml"),
        ("b/test_b.py", "pfa.yaml"),
        ("a/test_a.py", "a/pfa.yaml"),
        ("a/test_a.py b", "a/pfa.yaml pfa.yaml"),
        ("a/test_a.py b/test_b.py::test_passes", "a/pfa.yaml pfa.yaml"),
        ("a/deep/pfa.yaml", "a/deep/pfa.yaml"),
        ("a/../a/pfa.yaml", "a/pfa.yaml"),
        ("b a/pfa.yaml", "a/pfa.yaml"),
        ("other.yml a", "other.yml"),
        (".hidden/pfa.yaml", ".hidden/pfa.yaml"),
        (".hidden", ".hidden/pfa.yaml"),
        ("a/pfa.yaml::digits::exact", "a/pfa.yaml"),
        ("b/test_b.py::test_passes", ""),
        ("not.a.path", "pfa.yaml"),
    ],
)
def test_the_configs_that_arguments_mean(tree: pytest.Pytester, arguments: str, expected: str) -> None:
    assert found(tree, *arguments.split()) == expected.split()


def test_options_replace_the_search_and_add_to_what_is_named(tree: pytest.Pytester) -> None:
    assert found(tree, "a", options=("b/x.yaml",), ini=(tree.path / "pfa.yaml",)) == ["b/x.yaml"]
    assert found(tree, "a/pfa.yaml", options=("b/x.yaml",)) == ["a/pfa.yaml", "b/x.yaml"]
    assert found(tree, "b/test_b.py::test_passes", options=("b/x.yaml",)) == ["b/x.yaml"]


def test_the_ini_file_replaces_the_search_only(tree: pytest.Pytester) -> None:
    ini = (tree.path / "b/x.yaml",)
    assert found(tree, "a", ini=ini) == ["b/x.yaml"]
    assert found(tree, "a/pfa.yaml", ini=ini) == ["a/pfa.yaml"]
    assert found(tree, "b/test_b.py::test_passes", ini=ini) == []


def test_from_a_folder_below_the_root(tree: pytest.Pytester) -> None:
    assert found(tree, here="a/deep") == ["a/deep/pfa.yaml"]
    assert found(tree, here="b") == ["pfa.yaml"]
    assert found(tree, "../a", here="b") == ["a/pfa.yaml", "a/deep/pfa.yaml"]


def test_the_search_does_not_leave_the_root(tree: pytest.Pytester) -> None:
    here = tree.path / "b"
    assert search(Request((), (), (), here, here), lambda path: False) == ()


def collected(result: pytest.RunResult) -> list[str]:
    assert result.ret == 0
    return sorted({line.split("::")[0] for line in result.outlines if "::exact" in line})


def test_what_is_found_is_collected_even_beside_testpaths(tree: pytest.Pytester, pfa: Pfa) -> None:
    tree.makeini("[pytest]\ntestpaths = b\n")
    assert collected(pfa("--co", "-q")) == ["a/deep/pfa.yaml", "a/pfa.yaml", "pfa.yaml"]
    assert collected(pfa("--co", "-q", "b")) == ["pfa.yaml"]
    assert collected(pfa("--co", "-q", "a/test_a.py", "--pfa-config=a/deep/pfa.yaml")) == ["a/deep/pfa.yaml"]
    assert collected(pfa("--co", "-q", "--ignore=a")) == ["pfa.yaml"]


@pytest.mark.usefixtures("tree")
def test_the_header_names_the_configs(pfa: Pfa) -> None:
    pfa("a").stdout.fnmatch_lines(["pfa_gate: a/pfa.yaml, a/deep/pfa.yaml"])


def test_an_ini_file_names_configs_from_its_own_folder(tree: pytest.Pytester, pfa: Pfa) -> None:
    tree.makeini("[pytest]\npfa_config = a/deep/pfa.yaml\n")
    assert collected(pfa("--co", "-q", "b")) == ["a/deep/pfa.yaml"]
    assert collected(pfa("--co", "-q", "a/pfa.yaml")) == ["a/pfa.yaml"]
    assert collected(pfa("--co", "-q", "--pfa-config", "pfa.yaml")) == ["pfa.yaml"]


def test_a_config_of_any_name_may_be_an_argument(project: pytest.Pytester, pfa: Pfa) -> None:
    (project.path / "pfa.strict.yaml").write_text(config(gate(arguments="{broken: [exact]}")))
    result = pfa("pfa.strict.yaml")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1


def test_it_runs_from_a_folder_below(tree: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.makeini("[pytest]\n")
    monkeypatch.chdir(tree.path / "b")
    assert runs(tree) == []
    pfa().assert_outcomes(passed=3)
    assert len(runs(tree)) == 1


def test_folders_with_odd_names(project: pytest.Pytester, pfa: Pfa) -> None:
    folder = project.mkdir("odd [name] ü")
    (folder / "pfa.yaml").write_text(config())
    (project.path / "pfa.yaml").unlink()
    pfa().assert_outcomes(passed=3)
    # pytest itself takes no argument with brackets.
    assert pfa(folder.name).ret == pytest.ExitCode.USAGE_ERROR
    assert pfa("--pfa-config", f"{folder.name}/pfa.yaml", "test_one.py").ret == pytest.ExitCode.USAGE_ERROR


def test_a_link_to_a_folder_above_ends(project: pytest.Pytester, pfa: Pfa) -> None:
    (project.mkdir("sub") / "up").symlink_to(project.path)
    assert "pfa.yaml" in collected(pfa("--co", "-q"))


def test_the_results_go_where_they_are_told(project: pytest.Pytester, pfa: Pfa) -> None:
    pfa("--pfa-output", "results")
    project.makeini("[pytest]\npfa_output = from_ini\n")
    pfa()
    written = [line.split(maxsplit=2)[2] for line in runs(project)]
    assert written == [str(project.path / "results"), str(project.path / "from_ini")]
