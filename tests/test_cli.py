"""The command line: what it prints is true, and its exit status says whether a config holds."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pfa_gate.cli import main
from pfa_gate.config import load
from pfa_gate.pipeline.run import run

EXAMPLE = Path(__file__).parents[1] / "example_project"


@pytest.mark.parametrize("name", ["pfa.yaml", "pfa.strict.yaml"])
def test_check_prints_a_config_that_means_the_same(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(EXAMPLE / name)]) == 0
    again = tmp_path / "pfa.yaml"
    again.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load(again).gates == load(EXAMPLE / name).gates


def test_check_names_the_origin_of_each_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "pfa.yaml"
    config.write_text(
        "version: 1\ngates:\n  a:\n    model: {factory: net:build}\n    probe: {data: net:probe, seed: 3}\n"
        "    budgets: {model: {parameters: 9 k}}\n",
        encoding="utf-8",
    )
    main(["check", str(config)])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "seed: 3 # pfa.yaml:5" in lines
    assert "batch_size: 128 # default" in lines
    assert 'parameters: "9 k" # pfa.yaml:6' in lines
    assert "# checkpoint: not set" in lines


def test_check_of_a_bad_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "pfa.yaml"
    config.write_text("version: 2\ngates: {}\n", encoding="utf-8")
    assert main(["check", str(config)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "version must be 1, not 2" in said.err
    assert "pfa.yaml:2:1: gates must not be empty" in said.err


def test_schema_prints_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    import pfa_gate.config  # noqa: PLC0415

    assert main(["schema"]) == 0
    shipped = Path(pfa_gate.config.__file__).parent / "pfa.schema.json"
    assert capsys.readouterr().out == shipped.read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["schema"], ["check", str(EXAMPLE / "pfa.yaml")]], ids=["schema", "check"])
def test_a_reader_that_has_gone_ends_a_command_without_a_traceback(arguments: list[str], light_python: str) -> None:
    """As in `pfa-gate schema | head -1`."""
    script = f"import sys; from pfa_gate.cli import main; sys.exit(main({arguments!r}))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([light_python, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_console_script_is_declared() -> None:
    (script,) = entry_points(group="console_scripts", name="pfa-gate")
    assert script.load() is main


def test_the_command_line_needs_no_torch() -> None:
    code = (
        "import sys; from pfa_gate.cli import main; main(['schema']); assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


NET = """
import torch
from torch import nn


def build(width=16, twins=False):
    if width < 1:
        raise ValueError("width must be positive")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 3))
    if twins:
        with torch.no_grad():
            model[0].weight[1], model[0].bias[1] = model[0].weight[0], model[0].bias[0]
    return model


def none():
    return iter(())


def probe():
    return torch.randn(256, 8, generator=torch.Generator().manual_seed(0))


def labelled():
    return probe(), torch.arange(256) % 3


def answered():
    with torch.no_grad():
        return probe(), build()(probe()).argmax(dim=1)
"""


@pytest.mark.parametrize(("labels", "count"), [("answered", 8), ("labelled", 7)])
def test_init_writes_a_config_that_the_model_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str, count: int
) -> None:
    (tmp_path / "net.py").write_text(NET)
    config = tmp_path / "pfa.yaml"
    arguments = ["init", "net.py:build", "net.py:probe", "--evaluation", f"net.py:{labels}", "--config", str(config)]
    assert main(arguments) == 0
    assert config.read_text() in capsys.readouterr().out
    budgets = load(config).gate("model").budgets
    assert budgets.layers[0].kl is not None
    assert budgets.layers[0].kl.value < 1
    assert [each.outcome for each in run(config).record.budgets] == ["kept"] * count
    # Of a model at chance no drop could be judged.
    assert ("      # No limit of a drop: The accuracy of the full model, " in config.read_text()) == (count == 7)
    assert {path.name for path in tmp_path.iterdir()} <= {"net.py", "pfa.yaml", ".pfa", "__pycache__"}
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_init_passes_arguments_on_and_writes_no_limit_that_cannot_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(NET)
    config = tmp_path / "pfa.yaml"
    asked = ["--arguments", "width: 12, twins: true", "--config", str(config)]
    assert main(["init", "net.py:build", "net.py:probe", *asked]) == 0
    capsys.readouterr()
    text = config.read_text()
    assert "      arguments: {width: 12, twins: true}\n" in text
    assert "        # No limit of peak_correlation: it is 1 in some layer today, and no value lies above 1.\n" in text
    (rule,) = load(config).gate("model").budgets.layers
    assert rule.peak_correlation is None
    assert rule.kl is not None
    record = run(config).record
    assert record.config.endswith("pfa.yaml")
    assert {each.outcome for each in record.budgets} == {"kept"}


WRONG = {
    "a file that is not there": (
        ["nett.py:build", "net.py:probe"],
        "There is no file nett.py.\n  at argument FACTORY\n  Did you mean 'net.py'?\n",
    ),
    "data that is not there": (
        ["net.py:build", "data/probe.npy"],
        "There is no file data/probe.npy.\n  at argument PROBE\n  Paths start at the folder of the config.\n",
    ),
    "weights that are not there": (
        ["net.py:build", "net.py:probe", "--checkpoint", "w.pt"],
        "There is no file w.pt.\n  at argument --checkpoint\n  Paths start at the folder of the config.\n",
    ),
    "no callable": (
        ["net.py", "net.py:probe"],
        "model.factory must name a callable, not be the text 'net.py'\n"
        "          factory: net.py\n                   ^\n"
        "  Write module:callable, or path/to/file.py:callable.\n",
    ),
    "an argument that the factory does not have": (
        ["net.py:build", "net.py:probe", "--arguments", "{widht: 8}"],
        "'net.py:build' has no argument 'widht'.\n  at argument --arguments\n"
        "  Did you mean 'width'? Its signature is build(width=16, twins=False).\n",
    ),
    "a factory that raises": (
        ["net.py:build", "net.py:probe", "--arguments", "width: -1"],
        "'net.py:build' raised ValueError: width must be positive (net.py:8).\n  at argument FACTORY\n",
    ),
    "data that is empty": (
        ["net.py:build", "net.py:none"],
        "'net.py:none' gives no samples.\n  at argument PROBE\n  Point it at more data.\n",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_init_says_which_argument_is_wrong_and_writes_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    assert main(["init", *arguments]) == 2
    assert capsys.readouterr().err == message
    assert {path.name for path in tmp_path.iterdir()} <= {"net.py", "__pycache__"}


def test_init_misses_a_file_before_it_imports_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pfa_gate.cli import main; status = main(['init', 'gone.py:build', 'gone.py:probe']); "
        "assert not {'torch', 'numpy'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "There is no file gone.py.\n  at argument FACTORY\n  Paths start at the folder of the config.\n",
    )
    assert list(tmp_path.iterdir()) == []
