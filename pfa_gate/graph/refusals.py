"""Why a model cannot be followed: the fact, where in the model, and what helps."""

import re

from pfa_gate.errors import TraceError
from pfa_gate.graph.record import Operation
from pfa_gate.model.user_frames import origin

_CHOOSE = "Choose with torch.where instead of a branch, so that each input runs through the same operators."
_LONGEST = 300


def data_dependent(how: str, line: str = "") -> TraceError:
    """Say that which operators run depends on the values of the inputs, and where it shows.

    Args:
        how: it shows, in words.
        line: of the user's code, if it is known.

    Example:
        >>> print(data_dependent("operator relu runs for some inputs only", "net.py:3").fact)
        The model cannot be followed: which operators it runs depends on the values of its inputs (net.py:3: operator \
relu runs for some inputs only).
    """
    where = f"{line}: {how}" if line else how
    return TraceError(
        f"The model cannot be followed: which operators it runs depends on the values of its inputs ({where}).",
        remedy=_CHOOSE,
    )


def named(operation: Operation | None) -> str:
    """An operator and the module it runs in, in words; of None, the model's output."""
    if operation is None:
        return "its output"
    name = operation.operator._opname
    return f"operator {name} in '{operation.owner}'" if operation.owner else f"operator {name}"


def refused(cause: Exception) -> TraceError:
    """Say what a model raised while it was recorded.

    Example:
        >>> print(refused(RuntimeError("The first. And more.")).fact)
        The model cannot be followed: RuntimeError: The first. And more.
    """
    line = origin(cause)
    where = f" ({line})" if line else ""
    return TraceError(
        f"The model cannot be followed: {type(cause).__name__}: {opening(str(cause))}{where}.",
        remedy="Only models that run in eval mode under torch.no_grad() can be followed and compressed.",
    )


def opaque(kind: str) -> TraceError:
    """Say that a model gives or takes an object that holds tensors and has no parts that torch knows.

    Example:
        >>> print(opaque("DynamicCache"))
        The model takes or returns a cache of keys and values (DynamicCache), whose tensors cannot be followed.
          Have the factory switch it off: model.config.use_cache = False.
    """
    if kind.endswith("Cache"):
        return TraceError(
            f"The model takes or returns a cache of keys and values ({kind}), whose tensors cannot be followed.",
            remedy="Have the factory switch it off: model.config.use_cache = False.",
        )
    return TraceError(
        f"The model takes or returns an object of type {kind}, whose tensors cannot be followed.",
        remedy="Use a tensor, or a tuple, dict or dataclass of tensors.",
    )


def opening(text: str) -> str:
    r"""As many whole sentences of the first line as are short enough; where the first is too long, its first words.

    Example:
        >>> opening("The first.\nAnd a line.")
        'The first'
    """
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    first, *more = re.split(r"(?<=[.!?]) +", line)
    for sentence in more:
        if len(first) + len(sentence) >= _LONGEST:
            break
        first += f" {sentence}"
    if len(first) > _LONGEST:
        first = f"{first[:_LONGEST].rpartition(' ')[0]} …"
    return first.rstrip(".") or "without a message"
