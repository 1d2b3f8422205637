"""Why a model cannot be exported, in words for people: the exporter's own text is for its authors."""

import re

from pfa_gate.errors import TraceError
from pfa_gate.model.user_frames import origin

_ONLY = "Only models that torch.export(strict=False) accepts can be followed and compressed."
_OUTPUT = re.compile(r"Found <class '(?:[^']*\.)?([^'.]+)'> in output")
_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "UserError")
_LONGEST = 300


def export_error(cause: Exception) -> TraceError:
    """Say why an export failed, and what helps.

    Args:
        cause: what the exporter raised, or the model while it was exported.

    Example:
        >>> print(export_error(RuntimeError("Found <class 'net.Output'> in output, which is not a known type. If …")))
        The model returns an object of type Output, which torch.export does not take.
          Return a tensor, or a tuple or dict of tensors.
    """
    returned = _OUTPUT.search(str(cause))
    if returned is not None:
        return _returned(returned[1])
    place = origin(cause)
    where = f" ({place})" if place else ""
    if type(cause).__name__ in _DATA_DEPENDENT and "data-dependent" in str(cause):
        return TraceError(
            f"The model cannot be exported: which operators it runs depends on the values of its inputs{where}.",
            remedy="Choose with torch.where instead of a branch, so that each input runs through the same operators.",
        )
    return TraceError(f"The model cannot be exported: {type(cause).__name__}: {_opening(cause)}{where}.", remedy=_ONLY)


def fails_always(cause: Exception) -> bool:
    """Whether another way of exporting would fail alike, as with an output of an unknown type.

    Example:
        >>> fails_always(RuntimeError("Found <class 'net.Output'> in output"))
        True
    """
    return _OUTPUT.search(str(cause)) is not None


def _returned(kind: str) -> TraceError:
    if kind.endswith("Cache"):
        return TraceError(
            f"The model returns a cache of keys and values ({kind}), which torch.export does not take.",
            remedy="Have the factory switch it off: model.config.use_cache = False.",
        )
    return TraceError(
        f"The model returns an object of type {kind}, which torch.export does not take.",
        remedy="Return a tensor, or a tuple or dict of tensors.",
    )


def _opening(cause: Exception) -> str:
    """As many whole sentences of the first line as are short enough; where the first is too long, its first words."""
    line = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    first, *more = re.split(r"(?<=[.!?]) +", line)
    for sentence in more:
        if len(first) + len(sentence) >= _LONGEST:
            break
        first += f" {sentence}"
    if len(first) > _LONGEST:
        first = f"{first[:_LONGEST].rpartition(' ')[0]} …"
    return first.rstrip(".") or "without a message"
