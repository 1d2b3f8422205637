"""What goes wrong in the user's own code, with the real gate: an error of each budget, with the reason."""

import pytest
from projects import Pfa

NET = """
import numpy as np
import torch
from torch import nn


def build(flaw=None):
    if flaw == "raises":
        raise ValueError("no such width")
    if flaw == "memory":
        raise MemoryError
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    if flaw == "nan":
        model[0].weight.data[2, 1] = float("nan")
    return model


def probe():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def unreadable():
    raise OSError("the share is not mounted")


def labelled():
    return probe(), torch.zeros(64, dtype=torch.long)


def metric(model, batches):
    raise ZeroDivisionError("no classes")
"""
GATE = """
  {name}:
    model: {{factory: net.py:build, arguments: {{{arguments}}}}}
    probe: {{data: "net.py:{data}"}}
    artifacts: [weights]
    evaluation: {{data: net.py:labelled, {scored}}}
    budgets: {{layers: [{{match: "*", kl: 1}}], compressed: {{score_drop: {limit}}}}}
    selection: correlation
    recovery: []
"""
MISHAPS = {
    "factory": ({"arguments": "flaw: raises"}, "'net.py:build' raised ValueError: no such width"),
    "memory": ({"arguments": "flaw: memory"}, "MemoryError"),
    "data": ({"data": "unreadable"}, "raised OSError: the share is not mounted"),
    "metric": (
        {"scored": "metric: net.py:metric, direction: higher", "limit": "100"},
        "raised ZeroDivisionError: no classes",
    ),
    "nan": ({"arguments": "flaw: nan"}, "NaN"),
    "labels": ({"data": "labelled"}, None),
}


def gate(name: str, **changes: str) -> str:
    plain = {"arguments": "", "data": "probe", "scored": "allow_chance: true", "limit": "1"}
    return GATE.format(name=name, **{**plain, **changes})


@pytest.mark.parametrize("way", [[], ["-n2"], ["-p", "no:cacheprovider"]])
def test_each_is_an_error_of_every_budget_with_its_reason(project: pytest.Pytester, real: Pfa, way: list[str]) -> None:
    (project.path / "net.py").write_text(NET)
    (project.path / "pfa.yaml").write_text(
        "version: 1\ngates:" + "".join(gate(name, **changes) for name, (changes, _) in MISHAPS.items())
    )
    result = real("-rE", *way)
    assert result.ret == 1
    outcomes = result.parseoutcomes()
    wrong = [name for name, (_, said) in MISHAPS.items() if said]
    assert outcomes == {"errors": 3 * len(wrong), "passed": 3}
    shown = result.stdout.str()
    for name in wrong:
        said = MISHAPS[name][1]
        assert said is not None
        assert said in shown
        assert f"ERROR pfa.yaml::{name}::compressed.score_drop" in shown


def test_a_folder_that_cannot_be_written(project: pytest.Pytester, real: Pfa) -> None:
    (project.path / "net.py").write_text(NET)
    (project.path / "pfa.yaml").write_text("version: 1\ngates:" + gate("digits"))
    (project.path / "results").write_text("a file where a folder should be")
    result = real("--pfa-output", "results")
    assert result.ret == 1
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["The results cannot be written to *results/digits: *", "*Free some space*"])


WRAPPED = """
import torch
from torch import nn


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def compiled():
    model = plain()
    model[0] = torch.compile(model[0])
    return torch.compile(nn.DataParallel(model))


def script():
    return torch.jit.script(plain())


def probe():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
"""
WRAPPED_GATES = """
version: 1
gates:
  compiled:
    model: {factory: net.py:compiled, checkpoint: weights.ckpt}
    probe: {data: net.py:probe}
    artifacts: [weights]
    budgets: {layers: [{match: "0", kl: 1}]}
    selection: correlation
    recovery: []
  script:
    model: {factory: net.py:script}
    probe: {data: net.py:probe}
    artifacts: [weights]
    budgets: {layers: [{match: "*", kl: 1}]}
    selection: correlation
    recovery: []
"""


def test_a_wrapped_model_takes_a_nested_checkpoint_and_says_which_weights_these_are(
    project: pytest.Pytester, real: Pfa
) -> None:
    import torch  # noqa: PLC0415  not needed where the real gate runs in a process of its own

    (project.path / "net.py").write_text(WRAPPED)
    (project.path / "pfa.yaml").write_text(WRAPPED_GATES)
    names = {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (3, 6), "2.bias": (3,)}
    trained, averaged = ({f"model.{name}": torch.rand(size) for name, size in names.items()} for _ in range(2))
    torch.save({"state_dict": trained, "ema": {"shadow": averaged}, "acc": 91.5}, project.path / "weights.ckpt")
    result = real()
    assert result.ret == 1
    assert result.parseoutcomes() == {"errors": 2, "passed": 2}
    shown = " ".join(result.stdout.str().split())
    assert "weights: 'state_dict.model' of weights.ckpt, where 'ema.shadow.model' would fit too Layers" in shown
    assert "The model is a ScriptModule: its layers are compiled code, which cannot be measured or cut. at" in shown
    report = (project.path / ".pfa/compiled/report.md").read_text()
    assert "weights: 'state\\_dict.model' of weights.ckpt, where 'ema.shadow.model' would fit too" in report
