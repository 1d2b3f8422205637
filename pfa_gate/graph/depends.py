"""What each operator of a recording depends on: the values of the inputs, through arguments and through memory."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pfa_gate.graph.record import Given, Held, Made, Operation, Read, Recording
from pfa_gate.graph.repeat import Affine

Leaves = frozenset[int]  # places among the values of the inputs
_NONE: Leaves = frozenset()
_SINGLE = frozenset(["item", "_local_scalar_dense", "is_nonzero"])


class Dependence:
    """On which values of the inputs the results of a recording depend.

    Example:
        >>> from pfa_gate.graph.record import record
        >>> recording = record(torch.nn.ReLU(), ((torch.zeros(2),), {}))
        >>> Dependence(recording).of(recording.outputs)
        frozenset({0})
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._results: list[Leaves] = []
        self._memory: dict[Any, Leaves] = {}  # what was written into the memory that starts there
        for operation in recording.operations:
            found = self.of((operation.args, dict(operation.kwargs)))
            self._results.append(found)
            if operation.operator._schema.is_mutable:
                start = self._start(next(_references(operation.args), None))
                self._memory[start] = self._memory.get(start, _NONE) | found

    def of(self, value: Any) -> Leaves:
        """Of an argument: any nesting of references and constants."""
        return _NONE.union(*(self._of_reference(each) for each in _references(value)))

    def _of_reference(self, reference: Any) -> Leaves:
        if isinstance(reference, Given):
            return frozenset({reference.leaf})
        own = self._results[reference.operation] if isinstance(reference, Made) else _NONE
        return own | self._memory.get(self._start(reference), _NONE)

    def _start(self, reference: Any) -> Any:
        """Where the memory of a value starts: followed through views and operators in place."""
        while isinstance(reference, Made):
            operation = self._recording.operations[reference.operation]
            source = next(_references(operation.args), None)
            if source is None or not _shares_memory(operation):
                return Made(reference.operation, reference.part)
            reference = source
        return reference


def doubtful(recording: Recording) -> bool:
    """Whether two recordings say too little: shapes or numbers in it may come from the values of the inputs.

    So it is with integers that are no multiples of the batch, and with operators whose results have sizes of their own.
    """
    sized = (torch.Tag.dynamic_output_shape in operation.operator.tags for operation in recording.operations)
    numbers = (each for operation in recording.operations for each in _affine((operation.args, operation.kwargs)))
    return bool(recording.read) or any(sized) or any(not number.plain for number in numbers)


def read_inputs(recording: Recording) -> Iterator[tuple[Read, Leaves]]:
    """Where Python reads elements that depend on the inputs, and on which of them."""
    if not recording.read:
        return
    dependence = Dependence(recording)
    for read in recording.read:
        found = dependence.of(read.value)
        if found:
            yield read, found


def single(recording: Recording, read: Read) -> bool:
    """Whether Python read the one element of a tensor."""
    if not isinstance(read.value, Made):
        return False
    return recording.operations[read.value.operation].operator._opname in _SINGLE


def _shares_memory(operation: Operation) -> bool:
    return any(each.alias_info is not None for each in operation.operator._schema.returns)


def _references(value: Any) -> Iterator[Any]:
    if isinstance(value, Given | Held | Made):
        yield value
    elif isinstance(value, Mapping):
        yield from (each for entry in value.values() for each in _references(entry))
    elif isinstance(value, list | tuple):
        yield from (each for entry in value for each in _references(entry))


def _affine(value: Any) -> Iterator[Affine]:
    if isinstance(value, Affine):
        yield value
    elif isinstance(value, Mapping):
        yield from _affine(list(value.values()))
    elif isinstance(value, list | tuple) and not isinstance(value, Given | Held | Made):
        yield from (each for entry in value for each in _affine(entry))
