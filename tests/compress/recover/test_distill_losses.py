"""What a pupil is to make small, against sums by hand; and that neither model notices."""

import copy

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.compress.recover import DistillSettings
from pfa_gate.compress.recover.distill import distill
from pfa_gate.compress.recover.distill_losses import block_outputs, distill_loss, logits_of, squared_error
from pfa_gate.errors import DataError


class Chain(nn.Module):
    """Two blocks within a stage, which makes nothing of its own, and a head."""

    def __init__(self, inner: int = 5) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True))
        second = nn.Sequential(nn.Linear(6, inner), nn.Linear(inner, 3))
        self.stage = nn.Sequential(first, second)
        self.head = nn.Linear(3, 2)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.stage(rows).relu_())


def share(given: Tensor, wanted: Tensor) -> float:
    return (((given - wanted) ** 2).sum() / (wanted**2).sum()).item()


def test_the_loss_is_the_errors_of_the_answer_and_of_the_blocks_added_up():
    torch.manual_seed(0)
    full, pupil, rows = Chain(), Chain(inner=4), torch.randn(7, 4)
    first, second, last = [], [], []
    for net in (full, pupil):
        first.append(net.stage[0](rows))
        # What a block has made may be written over later, as here by a rectifier.
        second.append(net.stage[1](first[-1]).relu())
        last.append(net.head(second[-1]))
    by_hand = share(*last[::-1]) + share(*first[::-1]) + share(*second[::-1])
    assert distill_loss(full, pupil, (rows,), {}).item() == pytest.approx(by_hand, rel=1e-5)


def test_blocks_of_other_shapes_do_not_count():
    torch.manual_seed(0)
    full = nn.Sequential(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Linear(6, 2))
    pupil = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.ReLU()), nn.Linear(5, 2))
    rows = torch.randn(7, 4)
    assert distill_loss(full, pupil, (rows,), {}).item() == pytest.approx(share(pupil(rows), full(rows)), rel=1e-5)


def test_a_silent_answer_is_learnt_as_it_is():
    full, pupil = nn.Linear(2, 3), nn.Linear(2, 3)
    with torch.no_grad():
        for tensor in full.parameters():
            tensor.zero_()
    rows = torch.randn(5, 2)
    loss = distill_loss(full, pupil, (rows,), {})
    loss.backward()
    assert loss.item() == pytest.approx(pupil(rows).square().sum().item(), rel=1e-5)
    assert bool(pupil.weight.grad.isfinite().all())


def test_a_pupil_that_answers_as_its_teacher_stays_where_it_is():
    torch.manual_seed(0)
    full = Chain()
    pupil = copy.deepcopy(full)
    distill_loss(full, pupil, (torch.randn(7, 4),), {}).backward()
    assert all(bool((tensor.grad == 0).all()) for tensor in pupil.parameters())


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_sums_over_many_values_are_exact_enough(form):
    """Millions of equal values: one running sum of them all in float32 is off by 1.6 %."""
    wanted = torch.full((128, 32, 64, 64), 1.1).contiguous(memory_format=form)
    error, size = squared_error(wanted * 3, wanted)
    assert size.item() == pytest.approx(1.1**2 * wanted.numel(), rel=1e-3)
    assert error.item() == pytest.approx(4 * 1.1**2 * wanted.numel(), rel=1e-3)


def test_hooks_are_gone_afterwards_and_gradients_stay_with_the_pupil():
    full, pupil = Chain(), Chain()
    distill_loss(full, pupil, (torch.randn(3, 4),), {}).backward()
    assert all(tensor.grad is None for tensor in full.parameters())
    assert all(tensor.grad is not None for tensor in pupil.parameters())
    with pytest.raises(RuntimeError), block_outputs(full):
        full(torch.randn(3, 5))
    assert not any(module._forward_hooks for net in (full, pupil) for module in net.modules())


def test_a_model_of_one_number_is_taught_too():
    """A softmax over one logit is 1 whatever it is: a divergence would teach nothing."""
    torch.manual_seed(0)
    teacher, pupil = nn.Linear(4, 1), nn.Linear(4, 1)
    found = distill(teacher, pupil, list(torch.randn(128, 4).split(32)), DistillSettings(steps=60, rate=0.1))
    assert not found.undone
    assert found.before is not None
    assert found.after is not None
    assert found.after < 0.01 * found.before


def test_what_holds_no_answer_is_told():
    assert logits_of({"loss": torch.tensor(1.0), "logits": torch.tensor(2.0)}).item() == 2
    with pytest.raises(DataError, match="of type list, holds no floating tensor"):
        logits_of([torch.tensor(1)])
