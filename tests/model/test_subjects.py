"""From a whole pfa.yaml to a subject, and where each mistake is said to be."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pfa_gate import config
from pfa_gate.errors import PFAGateError
from pfa_gate.model import Subject, load

NET = """\
import numpy as np
import torch
from torch import nn

def build(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, width), nn.Dropout(), nn.Linear(width, 3))

def probe():
    return torch.rand(50, 2, 3)

def test():
    return [(torch.rand(8, 2, 3), torch.zeros(8).long()) for _ in range(3)]

def fraction(model, batches):
    return 0.5

def words():
    return {"model": 3}

def hollow():
    return nn.Linear(6, 3, device="meta")

def wide():
    return torch.rand(50, 9)

def single():
    return torch.rand(1, 2, 3)

def fickle():
    yield torch.rand(2, 2, 3)
    raise OSError("disk full")

def needy(width, depth=2):
    return build(width)

class Elsewhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)
    def forward(self, x):
        raise AssertionError("Torch not compiled with CUDA enabled")

def script():
    return torch.jit.script(build())

def flat_samples():
    return [torch.rand(6) for _ in range(30)]

def samples():
    return [torch.rand(2, 3) for _ in range(30)]

def ragged():
    return [torch.arange(4), torch.arange(5), torch.arange(6)]

def pixels():
    return {"pixels": torch.rand(50, 2, 3)}
"""
YAML = """\
version: 1
gates:
  tiny:
    model:
      factory: {factory}
      arguments: {arguments}
      checkpoint: {checkpoint}
    probe:
      data: {probe}
      samples: 20
      batch_size: 16
      seed: 3
    evaluation:
      data: {test}
      metric: {metric}
    budgets:
      layers:
        - {{match: "*", kl: 0.9}}
"""
GOOD = {
    "factory": "tiny_net:build",
    "arguments": "{width: 5}",
    "checkpoint": "weights.pt",
    "probe": "tiny_net:probe",
    "test": "tiny_net:test",
    "metric": "accuracy",
}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("tiny_net.py").write_text(NET)
    trained = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Dropout(), nn.Linear(5, 3))
    torch.save(trained.state_dict(), "weights.pt")
    torch.save({"inner.weight": torch.zeros(2, 3), "inner.bias": torch.zeros(2)}, "elsewhere.pt")
    yield
    sys.modules.pop("tiny_net", None)


UNTRAINED = YAML.replace("      checkpoint: {checkpoint}\n", "")


def loaded(text: str = YAML, **changes: str) -> Subject:
    Path("pfa.yaml").write_text(text.format(**{**GOOD, **changes}))
    return load(config.load("pfa.yaml"), "tiny")


def test_a_subject_is_whole() -> None:
    subject = loaded()
    assert not any(module.training for module in subject.model.modules())
    assert torch.equal(subject.model[1].weight, torch.load("weights.pt")["1.weight"])  # type: ignore[index]
    assert all(parameter.requires_grad for parameter in subject.model.parameters())
    assert [batch.size for batch in subject.probe] == [16, 4]
    assert subject.evaluation is not None
    assert [batch.size for batch in subject.evaluation] == [8, 8, 8]
    assert subject.metric == "accuracy"
    assert torch.equal(subject.example.args[0], next(iter(subject.probe)).args[0][:2])


def test_the_metric_may_be_the_users_own() -> None:
    subject = loaded(metric="tiny_net:fraction\n      direction: higher")
    assert callable(subject.metric)
    assert subject.evaluation is not None
    assert subject.metric(subject.model, subject.evaluation) == 0.5


def test_the_seed_rules_all_that_is_random() -> None:
    first, second = loaded(UNTRAINED), loaded(UNTRAINED)
    assert first.probe.sha256 == second.probe.sha256
    assert torch.equal(first.model[1].weight, second.model[1].weight)  # type: ignore[index]


def test_nothing_global_is_changed() -> None:
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    path = list(sys.path)
    loaded()
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert sys.path == path


def test_which_weights_were_taken_is_told_and_a_key_chooses_others() -> None:
    plain, averaged = (nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Dropout(), nn.Linear(5, 3)) for _ in range(2))
    torch.save({"state_dict": plain.state_dict(), "state_dict_ema": averaged.state_dict()}, "weights.pt")
    subject = loaded()
    assert subject.weights == "weights: 'state_dict' of weights.pt, where 'state_dict_ema' would fit too"
    assert torch.equal(subject.model[1].weight, plain[1].weight)  # type: ignore[index, arg-type]
    chosen = loaded(YAML.replace("{checkpoint}\n", "{checkpoint}\n      checkpoint_key: state_dict_ema\n"))
    assert chosen.weights == ""
    assert torch.equal(chosen.model[1].weight, averaged[1].weight)  # type: ignore[index, arg-type]


BAD = {
    "factory": (
        {"factory": "tiny_net:bild"},
        "'tiny_net' has no 'bild'.\n  at pfa.yaml:5:16\n  Did you mean 'build'?",
    ),
    "arguments": (
        {"arguments": "{wide: 5}"},
        "'tiny_net:build' has no argument 'wide'.\n"
        "  at pfa.yaml:6:25\n  Did you mean 'width'? Its signature is build(width=4).",
    ),
    "an argument that is missing": (
        {"factory": "tiny_net:needy", "arguments": "{depth: 5}"},
        "'tiny_net:needy' cannot be called so: missing a required argument: 'width'.\n"
        "  at pfa.yaml:6:7\n  Its signature is needy(width, depth=2).",
    ),
    "a script": (
        {"factory": "tiny_net:script", "arguments": "{}"},
        "The model is a ScriptModule: its layers are compiled code, which cannot be measured or cut.\n"
        "  at pfa.yaml:5:16\n"
        "  Give the nn.Module that it was made from; torch.jit.load(path).state_dict() holds its weights.",
    ),
    "another device in forward": (
        {"factory": "tiny_net:Elsewhere", "arguments": "{}", "checkpoint": "elsewhere.pt"},
        "The model's forward raised AssertionError: Torch not compiled with CUDA enabled (tiny_net.py:41).\n"
        "  at pfa.yaml:9:13\n"
        '  Leave out .cuda() and device="cuda": the gate moves model and data itself (model.device). Inside forward '
        'write device=x.device; load files with map_location="cpu".',
    ),
    "a list of samples, flat": (
        {"probe": "tiny_net:flat_samples"},
        "The data gives 29 inputs a call, and the model's forward takes (input): too many positional arguments.\n"
        "  at pfa.yaml:9:13\n"
        "  The list of 30 tensors was taken as one call, 29 inputs and then the labels. If they are samples, give "
        "torch.stack of them. Give one tensor with all samples for each argument, then the labels.",
    ),
    "a list of samples": (
        {"probe": "tiny_net:samples"},
        "The model does not take float32 [2, 3]: it raised RuntimeError: "
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 6x5).\n  at pfa.yaml:9:13\n"
        "  The list of 30 tensors was taken as 30 batches. If they are samples, give torch.stack of them. "
        "Give the data in the shape and type that the model was trained on.",
    ),
    "a list of samples of several lengths": (
        {"probe": "tiny_net:ragged"},
        "Its arrays are of different lengths: 4, 5, 6.\n  at pfa.yaml:9:13\n"
        "  The list of 3 tensors was taken as one call, 2 inputs and then the labels. If they are samples, give "
        "torch.stack of them.",
    ),
    "names that forward does not know": (
        {"probe": "tiny_net:pixels"},
        "The data gives the entries pixels, and the model's forward takes (input): "
        "missing a required argument: 'input'.\n  at pfa.yaml:9:13\n"
        "  Each entry of a mapping is an argument of forward, by its name; `labels` is kept apart.",
    ),
    "no model": (
        {"factory": "tiny_net:words", "arguments": "{}"},
        "'tiny_net:words' gave an object of type dict, not a torch.nn.Module.\n"
        "  at pfa.yaml:5:16\n  Return the model itself.",
    ),
    "checkpoint": (
        {"arguments": "{width: 6}"},
        "weights.pt does not fit the model.\n"
        "    3 of another shape: 1.bias [5] for [6], 1.weight [5, 6] for [6, 6], 3.weight [3, 5] for [3, 6]\n"
        "  at pfa.yaml:7:19\n"
        "  Check model.arguments: the checkpoint is of a model with other sizes.",
    ),
    "no file": (
        {"probe": "digits.npz"},
        "There is no file digits.npz.\n  at pfa.yaml:9:13\n  Relative paths start at the folder of pfa.yaml.",
    ),
    "shape": (
        {"probe": "tiny_net:wide"},
        "The model does not take float32 [2, 9]: it raised RuntimeError: "
        "mat1 and mat2 shapes cannot be multiplied (2x9 and 6x5).\n  at pfa.yaml:9:13\n"
        "  Give the data in the shape and type that the model was trained on.",
    ),
    "single": (
        {"probe": "tiny_net:single"},
        "'tiny_net:single' gives one sample; a spectrum needs at least 2.\n  at pfa.yaml:9:13\n"
        "  Point it at more data.",
    ),
    "reading": (
        {"test": "tiny_net:fickle"},
        "Reading 'tiny_net:fickle' raised OSError: disk full (tiny_net.py:31).\n  at pfa.yaml:14:13",
    ),
    "metric": (
        {"metric": "tiny_net:loss\n      direction: lower"},
        "'tiny_net' has no 'loss'.\n  at pfa.yaml:15:15\n"
        "  It has Elsewhere, build, fickle, flat_samples, fraction, hollow, needy, pixels, ….",
    ),
}


def test_a_model_without_weights_needs_a_file_of_them() -> None:
    with pytest.raises(PFAGateError) as caught:
        loaded(UNTRAINED, factory="tiny_net:hollow", arguments="{}")
    assert str(caught.value) == (
        "'tiny_net:hollow' gave a model on the meta device, which has no weights.\n  at pfa.yaml:5:16\n"
        "  Build it on the CPU, or name the file of its weights: model.checkpoint."
    )


def test_mmap_builds_without_memory_and_takes_the_file() -> None:
    mapped = YAML.replace("{checkpoint}\n", "{checkpoint}\n      loader: mmap\n")
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    subject, copied = loaded(mapped), loaded()
    assert torch.equal(torch.rand(()), expected)
    for name, tensor in copied.model.state_dict().items():
        assert torch.equal(subject.model.state_dict()[name], tensor)
    assert all(parameter.requires_grad for parameter in subject.model.parameters())


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_every_mistake_has_its_place(changes: dict[str, str], message: str) -> None:
    with pytest.raises(PFAGateError) as caught:
        loaded(**changes)
    assert str(caught.value) == message
