"""Plans are checked before anything is touched."""

import numpy as np
import pytest
import torch
from networks import coupling, network
from torch import nn

from pfa_gate.compress.prune import operate
from pfa_gate.compress.prune.cut import axis_indices_of
from pfa_gate.errors import SurgeryError


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"nobody": [0]}, "There is no group 'nobody'."),
        ({"head": [0]}, "Group 'head' cannot be cut: it feeds the model's output."),
        ({"conv1": []}, "Group 'conv1' needs a non-empty list of filter indices."),
        ({"conv1": [0.5]}, "Group 'conv1' needs a non-empty list of filter indices."),
        ({"conv1": [8]}, "Group 'conv1' has filters 0 to 7, each to be named once."),
        ({"conv1": [-1]}, "Group 'conv1' has filters 0 to 7, each to be named once."),
        ({"conv1": [1, 1]}, "Group 'conv1' has filters 0 to 7, each to be named once."),
    ],
)
def test_bad_plans(keep: dict[str, list[float]], message: str) -> None:
    with pytest.raises(SurgeryError) as caught:
        axis_indices_of(coupling("residual"), keep)
    assert caught.value.fact == message


def test_the_order_of_indices_does_not_matter() -> None:
    found = coupling("residual")
    one, other = axis_indices_of(found, {"conv1": [5, 0, 3]}), axis_indices_of(found, {"conv1": [0, 3, 5]})
    assert all(np.array_equal(one[name][axis], other[name][axis]) for name in one for axis in one[name])


def test_what_was_kept_is_on_the_module_and_the_counts_agree() -> None:
    model, example = network("depthwise")
    smaller = operate(model, example, {"expand": [0, 1, 5], "squeeze": [2]})
    kept = smaller.kept
    assert isinstance(kept, dict)
    assert kept["depth.weight"][0].tolist() == [0, 1, 2, 3, 10, 11]
    depth, norm = smaller.get_submodule("depth"), smaller.get_submodule("norm")
    assert isinstance(depth, nn.Conv2d)
    assert (depth.in_channels, depth.out_channels, depth.groups) == (3, 6, 3)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_features == 6
    assert all(parameter.requires_grad for parameter in smaller.parameters())


def test_tied_weights_stay_tied() -> None:
    model, example = network("shared")
    smaller = operate(model, example, {"stem": [0, 1, 2]})
    head, again = smaller.get_submodule("head"), smaller.get_submodule("again")
    assert head.weight is again.weight
    assert head.weight.shape == torch.Size([4, 3])
