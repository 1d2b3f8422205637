"""The fixture `pfa` in ordinary tests, with --pfa and without."""

import pytest

TEST = """
import pytest
import torch
from torch import nn


def model():
    torch.manual_seed(0)
    first, second = nn.Linear(8, 6), nn.Linear(6, 3)
    first.weight.data[1] = 2 * first.weight.data[0]
    first.bias.data[1] = 2 * first.bias.data[0]
    return nn.Sequential(first, nn.ReLU(), second)


BATCHES = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))


def test_kept(pfa):
    net = model().train()
    record = pfa.check(net, BATCHES, kl=0.7, inactive=0)
    assert net.training
    assert [layer.name for layer in record.layers] == ["0", "2"]
    assert record.layers[1].skipped


def test_broken(pfa):
    pfa.check(model(), BATCHES, peak_correlation=0.9)


def test_words(pfa):
    with pytest.raises(AssertionError) as error:
        pfa.check(model(), torch.utils.data.DataLoader(BATCHES, batch_size=50), peak_correlation=0.9)
    said = str(error.value).splitlines()
    assert said[0].startswith("peak_correlation is broken: 1 of 1 layer has too high a peak correlation: 0 1 ")
    assert said[-1].startswith("  0: the cause is correlation: filters respond alike (peak |r| 1.000")


def test_mistakes(pfa):
    with pytest.raises(TypeError, match="knows no limit 'peak_corelation'. Did you mean peak_correlation"):
        pfa.check(model(), BATCHES, peak_corelation=0.9)
    with pytest.raises(TypeError, match="needs a limit"):
        pfa.check(model(), BATCHES)
    with pytest.raises(ValueError, match="must be from 0 to 1"):
        pfa.check(model(), BATCHES, kl=7)
    from pfa_gate import TooFewSamplesError
    with pytest.raises(TooFewSamplesError):
        pfa.check(model(), BATCHES[:5], kl=0.7)


def test_nothing_left(pfa):
    with pytest.raises(AssertionError, match="kl is not judged: Every layer it applies to is skipped"):
        pfa.check(model(), BATCHES, kl=0.7, exclude=("*",))
"""


@pytest.mark.parametrize("arguments", [[], ["-p", "no:cacheprovider", "-n2"]])
def test_it_asserts_with_the_words_of_the_gate(
    project: pytest.Pytester, torch_python: str, arguments: list[str]
) -> None:
    project.makepyfile(test_net=TEST)
    result = project.run(torch_python, "-m", "pytest", "test_net.py", *arguments)
    result.assert_outcomes(passed=4, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E*AssertionError: peak_correlation is broken: 1 of 1 layer has*"])
    result.stdout.no_fnmatch_line("*checks.py*_words*")


def test_a_gate_can_be_run_from_a_test(project: pytest.Pytester, torch_python: str) -> None:
    (project.path / "net.py").write_text(TEST + "\n\ndef probe():\n    return BATCHES\n")
    (project.path / "pfa.yaml").write_text(
        "version: 1\ngates:\n  digits:\n    model: {factory: net.py:model}\n    probe: {data: 'net.py:probe'}\n"
        "    selection: correlation\n    recovery: []\n    budgets: {layers: [{match: '*', kl: 0.7}]}\n"
    )
    project.makepyfile(
        test_run="def test_run(pfa):\n"
        "    run = pfa.run('pfa.yaml')\n"
        "    assert [each.outcome for each in run.record.budgets] == ['kept', 'kept']\n"
    )
    assert project.run(torch_python, "-m", "pytest", "test_run.py").ret == 0
    assert not (project.path / ".pfa").exists()
