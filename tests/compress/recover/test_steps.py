"""Recalibration, distillation and the user's own training: what they reach, and what they leave alone."""

import copy

import pytest
import torch
from networks import network
from torch import nn

from pfa_gate.compress.recover import DistillSettings
from pfa_gate.compress.recover.distill import distill, resampled
from pfa_gate.compress.recover.recalibrate import recalibrate
from pfa_gate.errors import DataError, FactoryError
from pfa_gate.graph import record_model
from pfa_gate.graph.editing import as_module
from pfa_gate.model import Batch
from pfa_gate.model.copies import copied
from pfa_gate.pipeline.finetune import finetune


def same(one: nn.Module, other: nn.Module) -> bool:
    mine = other.state_dict()
    return all(torch.equal(tensor, mine[name]) for name, tensor in one.state_dict().items())


def test_recalibration_takes_the_statistics_of_the_probe():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()
    before, probe = copy.deepcopy(model), torch.randn(64, 2, 4, 4)
    found, count = recalibrate(model, [probe])
    made = model[0](probe).detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(found[1].running_mean, made.mean(1))
    torch.testing.assert_close(found[1].running_var, made.var(1))
    assert count == 1
    assert found[1].momentum == 0.1
    assert not any(module.training for module in found.modules())
    assert same(model, before)


def test_recalibration_without_batch_norm_changes_nothing():
    model = nn.Linear(2, 2).eval()
    found, count = recalibrate(model, [torch.randn(3, 2)])
    assert count == 0
    assert same(model, found)


def test_distillation_comes_closer_is_the_same_again_and_borrows_politely():
    full, example = network("sequence")
    smaller = copy.deepcopy(full)
    with torch.no_grad():
        smaller.hidden.weight[::2] = 0
    before = copy.deepcopy(smaller)
    probe = list(torch.randn(128, *example.shape[1:]).split(32))
    seen: list[tuple[int, int]] = []
    course = DistillSettings(steps=40, rate=3e-3, statistics="batch", augment=lambda batch, generator: batch + 0.01)
    found = distill(full, smaller, probe, course, lambda done, steps: seen.append((done, steps)))
    one, two = found.model, distill(full, smaller, probe, course).model
    assert not found.undone
    assert found.before is not None
    assert found.after is not None
    assert found.after < found.before
    gap = [float((full(probe[0]) - model(probe[0])).square().mean().detach()) for model in (smaller, one)]
    assert gap[1] < gap[0]
    assert same(one, two)
    assert same(smaller, before)
    assert seen[-1] == (40, 40)
    assert same(one, recalibrate(one, probe)[0])  # its statistics are those of the probe as it is, not of the lessons
    assert not any(module.training for module in one.modules())
    assert all(tensor.grad is None and tensor.requires_grad for tensor in one.parameters())


def test_fixed_statistics_stay():
    full, example = network("sequence")
    smaller = copy.deepcopy(full)
    with torch.no_grad():
        smaller.hidden.weight[::2] = 0
    taught = distill(
        full, smaller, list(torch.randn(128, *example.shape[1:]).split(32)), DistillSettings(steps=20)
    ).model
    assert torch.equal(taught.norm.running_mean, smaller.norm.running_mean)
    assert torch.equal(taught.norm.running_var, smaller.norm.running_var)
    assert not same(taught, smaller)


def test_few_samples_are_too_few_for_statistics_of_their_own():
    """A batch of one has no variance: batch norms then work on those they have, and the step is still taken."""
    full, example = network("sequence")
    smaller = copy.deepcopy(full)
    with torch.no_grad():
        smaller.hidden.weight[::2] = 0
    taught = distill(
        full, smaller, list(torch.randn(8, *example.shape[1:]).split(1)), DistillSettings(steps=4, statistics="batch")
    ).model
    assert all(bool(tensor.isfinite().all()) for tensor in taught.state_dict().values())
    assert not same(taught, smaller)


def test_a_course_that_comes_no_closer_is_undone():
    """A pupil that answers as its teacher does can only be led astray."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    probe = list(torch.randn(128, 4).split(32))
    found = distill(teacher, teacher, probe, DistillSettings(steps=5, rate=0.5, augment=lambda rows, _: rows * 0 + 3))
    assert found.undone
    assert found.before == 0
    assert same(found.model, teacher)
    assert found.model is not teacher


def test_held_out_samples_are_never_shown():
    shown: list[float] = []

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(1, 2)

        def forward(self, rows):
            if torch.is_grad_enabled():
                shown.extend(rows.flatten().tolist())
            return self.head(rows)

    probe = [torch.arange(64.0)[:, None]]
    distill(Told(), Told(), probe, DistillSettings(steps=6))
    assert {*shown} == {*range(64)} - {15, 31, 47, 63}


def test_the_samples_of_all_batches_are_dealt_anew_at_each_reading():
    batches = [((torch.arange(start, start + 10),), {"mask": torch.arange(start, start + 10) % 7}) for start in (0, 10)]
    batches.append(((torch.arange(20, 24),), {"mask": torch.arange(20, 24) % 7}))
    generator = torch.Generator().manual_seed(0)
    one, two = (list(resampled(batches, generator)) for _ in range(2))
    for hand in (one, two):
        assert [len(args[0]) for args, _ in hand] == [10, 10, 4]
        assert sorted(torch.cat([args[0] for args, _ in hand]).tolist()) == list(range(24))
        assert all(torch.equal(args[0] % 7, kwargs["mask"]) for args, kwargs in hand)
    assert [args[0].tolist() for args, _ in one] != [args[0].tolist() for args, _ in two]
    assert {*one[0][0][0].tolist()} & {*range(10, 24)}


def test_batches_of_different_forms_come_whole():
    batches = [((torch.zeros(3, length),), {}) for length in (4, 5, 6)]
    lengths = [args[0].shape for args, _ in resampled(batches, torch.Generator().manual_seed(1))]
    assert sorted(lengths) == [(3, 4), (3, 5), (3, 6)]


def test_the_users_augmentation_gets_what_the_model_takes():
    seen: list[object] = []

    def augment(inputs, generator):
        assert isinstance(generator, torch.Generator)
        seen.append(inputs)
        return inputs

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 3)

        def forward(self, one, other):
            return self.head(one + other)

    one = torch.randn(20, 2)
    distill(Sum(), Sum(), [Batch((one, one), {})], DistillSettings(steps=1, augment=augment))
    distill(Sum(), Sum(), [Batch((), {"one": one, "other": one})], DistillSettings(steps=1, augment=augment))
    distill(nn.Linear(2, 1), nn.Linear(2, 1), [one], DistillSettings(steps=1, augment=augment))
    assert [type(each) for each in seen] == [tuple, dict, torch.Tensor]


def test_an_empty_probe_teaches_nothing():
    with pytest.raises(DataError, match="no batch to learn from"):
        distill(nn.Linear(1, 1), nn.Linear(1, 1), [])


def test_finetuning_works_on_a_copy_and_names_the_culprit():
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model)
    trained = finetune(model, [1, 2], lambda net, batches: net.weight.data.fill_(len(batches)))
    assert same(model, before)
    assert bool((trained.weight == 2).all())

    def broken(net, batches):
        raise ValueError("no data")

    with pytest.raises(FactoryError, match=r"raised ValueError: no data"):
        finetune(model, [], broken)

    def wider(net, batches):
        net.weight = nn.Parameter(torch.zeros(3, 2))

    with pytest.raises(FactoryError, match="changed the shapes"):
        finetune(model, [], wider)


def test_a_graph_is_recalibrated_as_the_module_that_it_was_exported_from():
    torch.manual_seed(0)
    blocks = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    module, probe = nn.Sequential(*blocks).eval(), [torch.randn(8, 2, 4, 4), torch.randn(5, 2, 4, 4)]
    graph = as_module(record_model(module, (probe[0],), {}))
    before = copied(graph)
    (found, count), (wanted, _) = recalibrate(graph, probe), recalibrate(module, probe)
    assert count == 2
    names = [name for name, buffer in wanted.named_buffers() if buffer.is_floating_point()]
    for name in names:
        torch.testing.assert_close(dict(found.named_buffers())[name], dict(wanted.named_buffers())[name])
    torch.testing.assert_close(found(probe[0]), wanted(probe[0]))
    assert same(graph, before)
