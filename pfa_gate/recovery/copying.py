"""A model of one's own to work on."""

import copy
import warnings

from torch import nn


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, in eval mode.

    Example:
        >>> copied(nn.Dropout()).training
        False
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # graph modules copy what torch itself deprecates
        return copy.deepcopy(model).eval()
