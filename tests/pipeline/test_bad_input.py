"""Bad input gets an answer, not a traceback: every mistake a gate of its own, in one real pytest run.

What is wrong before a gate exists (no config, YAML that does not parse, unknown keys) is in tests/plugin.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

NET = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


class Net(nn.Module):
    def __init__(self, idle=False):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)
        if idle:
            self.idle = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu())


def build(idle=False):
    torch.manual_seed(0)
    return Net(idle)


def raises():
    raise ZeroDivisionError("no such luck")


def not_a_model():
    return 7


def data(samples=200, width=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(samples, width, generator=generator)


def probe():
    return TensorDataset(data(), torch.zeros(200, dtype=torch.int64))


def unlabelled():
    return data()


def empty():
    return data(0)


def wide():
    return data(width=7)


def few():
    return data(8)


def nan():
    bad = data()
    bad[17, 2] = float("nan")
    return bad


def metric(model, batches):
    raise KeyError("weights")
"""

GATE = """
  {name}:
    model: {{factory: {factory}, arguments: {arguments}{checkpoint}}}
    probe: {{data: {probe}}}
    layers: {{include: ["{include}"]}}
    recipe: {recipe}
    evaluation: {{data: {evaluation}, metric: {metric}}}
    budgets: {{model: {{parameters: 1 M}}, compressed: {{score_drop: 0.01}}}}
    selection: correlation
    recovery: []
"""

GOOD = {
    "factory": "net.py:build",
    "arguments": "{}",
    "checkpoint": "",
    "probe": "net.py:probe",
    "include": "*",
    "recipe": "{strategy: energy, energy: 0.9}",
    "evaluation": "net.py:probe",
    "metric": "accuracy, allow_chance: true",
}

# name of the gate: (what is wrong, what the answer says, the key whose line it names)
MISTAKES: dict[str, tuple[dict[str, str], str, str]] = {
    "no-module": ({"factory": "nowhere.net:build"}, "There is no module 'nowhere'", "factory"),
    "no-callable": ({"factory": "net.py:bild"}, "build", "factory"),
    "raises": ({"factory": "net.py:raises"}, "ZeroDivisionError: no such luck", "factory"),
    "no-model": ({"factory": "net.py:not_a_model"}, "gave an object of type int, not a torch.nn.Module", "factory"),
    "no-checkpoint": ({"checkpoint": ", checkpoint: gone.safetensors"}, "gone.safetensors", "checkpoint"),
    "unfit-checkpoint": ({"checkpoint": ", checkpoint: other.safetensors"}, "second.bias", "checkpoint"),
    "empty-probe": ({"probe": "net.py:empty"}, "no samples", "probe"),
    "wide-probe": ({"probe": "net.py:wide"}, "The model does not take float32 [2, 7]", "probe"),
    "nan-probe": ({"probe": "net.py:nan"}, "gave NaN or infinity", "probe"),
    "few-samples": ({"probe": "net.py:few"}, "8 samples for 8 filters", "probe"),
    "no-layer": ({"include": "convolution*"}, "The pattern 'convolution*' matches no layer.", "include"),
    "idle-layer": ({"arguments": "{idle: true}"}, "Layer 'idle' is never called", "include"),
    "out-of-reach": ({"recipe": "{strategy: parameters, parameters: 1%}"}, "smallest", "recipe"),
    "no-labels": ({"evaluation": "net.py:unlabelled"}, "labels", "evaluation"),
    "bad-metric": ({"metric": "net.py:metric, direction: higher"}, "KeyError", "metric"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, torch_python: str) -> tuple[Path, str, int]:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "net.py").write_text(NET)
    gates = "".join(GATE.format(name=name, **{**GOOD, **wrong}) for name, (wrong, *_) in MISTAKES.items())
    good = GATE.format(name="good", **GOOD)
    (folder / "pfa.yaml").write_text(f"version: 1\ngates:{gates}{good}")
    write_other_checkpoint(folder / "other.safetensors")
    outcome = run_pytest(torch_python, folder, "--pfa", "-p", "no:cacheprovider", "--color=no")
    return folder, *outcome


def write_other_checkpoint(path: Path) -> None:
    save_file({"first.weight": torch.zeros(8, 6), "second.weight": torch.zeros(4, 8)}, path)


def run_pytest(python: str, folder: Path, *arguments: str) -> tuple[str, int]:
    done = subprocess.run(
        [python, "-m", "pytest", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr, done.returncode


def section(output: str, gate: str) -> str:
    """What pytest says about the first budget of a gate."""
    found = re.search(rf"^_+ ERROR at setup of {re.escape(gate)}: exact _+$\n(.*?)(?=^[_=]{{3,}})", output, re.M | re.S)
    assert found, f"no error for {gate} in:\n{output}"
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("gate", MISTAKES)
def test_every_mistake_has_an_answer_with_its_place(answers: tuple[Path, str, int], gate: str) -> None:
    folder, output, _ = answers
    _, fact, key = MISTAKES[gate]
    said = section(output, gate)
    assert fact in said
    lines = (folder / "pfa.yaml").read_text().splitlines()
    start = lines.index(f"  {gate}:")
    line = next(number for number, text in enumerate(lines[start + 1 :], start + 2) if f"{key}:" in text)
    assert f"pfa.yaml:{line}" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_nothing_is_written_for_a_gate_that_failed_and_the_good_one_is_judged(answers: tuple[Path, str, int]) -> None:
    folder, output, code = answers
    assert {path.name for path in (folder / ".pfa").iterdir()} == {"good", "pfa_gate.run.json"}
    assert code == 1
    assert f"3 passed, {3 * len(MISTAKES)} errors" in output
