"""Patterns on the names of layers that hold weights: each must match one."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from pfa_gate.errors import LayerPatternError
from pfa_gate.graph import Layer

_MOST = 5


def matches(layer: str, patterns: Iterable[str]) -> bool:
    """Whether one of some patterns matches a layer.

    Example:
        >>> matches("layer1.0.conv1", ["layer1.*"]), matches("linear", ["layer1.*"])
        (True, False)
    """
    return any(fnmatchcase(layer, pattern) for pattern in patterns)


def any_matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Whether one of some patterns matches one of the names of a layer.

    Example:
        >>> any_matches(("fc.0", "fc"), ["fc"])
        True
    """
    patterns = list(patterns)
    return any(matches(name, patterns) for name in names)


def names_of(layer: str, full: nn.Module) -> tuple[str, ...]:
    """The names by which pfa.yaml may mean a layer: its own, and that of the layer in whose place it is one of two.

    Args:
        layer: of a smaller model, in which two layers may stand for one.
        full: the full model.

    Example:
        >>> full = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8)))
        >>> names_of("0.1", full), names_of("1.0", full)
        (('0.1', '0'), ('1.0',))
    """
    whole, _, half = layer.rpartition(".")
    two = half in ("0", "1") and _is_there(full, whole) and not _is_there(full, layer)
    return (layer, whole) if two else (layer,)


def _is_there(model: object, name: str) -> bool:
    for part in name.split("."):
        model = getattr(model, part, None)
    return model is not None


def weighted_layers(model: nn.Module, layers: Iterable[Layer]) -> list[str]:
    """The names of the layers that hold weights: those that are followed, and modules with a table or a matrix.

    Example:
        >>> weighted_layers(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.LSTM(3, 3)), [])
        ['0', '2']
    """
    followed = [layer.name for layer in layers]
    modules = model.named_modules()
    own = [name for name, each in modules if any(part.ndim > 1 for part in each.parameters(recurse=False))]
    return list(dict.fromkeys([*followed, *own]))


def require_matched(patterns: Sequence[str], layers: Sequence[str], key: str) -> None:
    """Refuse a pattern that matches nothing.

    Args:
        patterns: as pfa.yaml has them.
        layers: that there are.
        key: of pfa.yaml that has the patterns.

    Raises:
        LayerPatternError: one matches no layer; names the nearest.

    Example:
        >>> require_matched(["conv*"], ["conv1", "linear"], "quantize.layers.exclude")
    """
    for pattern in patterns:
        if not any(fnmatchcase(layer, pattern) for layer in layers):
            near = get_close_matches(pattern, layers, 3, 0.5)
            named = ", ".join(near or layers[:_MOST]) + (" …" if not near and len(layers) > _MOST else "")
            raise LayerPatternError(
                f"The pattern '{pattern}' of {key} matches no layer.",
                remedy=f"The {'nearest ' if near else ''}layers are {named}.",
            )
