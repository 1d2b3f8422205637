"""Two recordings of one model as one program: the same operators, and each integer equal or affine in the batch.

What does not repeat depends on the data: there is no one program to follow.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

from torch import Tensor

from pfa_gate.graph.record import READING, Form, Held, Operation, Recording


class Affine(NamedTuple):
    """An integer that depends on the batch: factor x samples / divisor + offset."""

    factor: int
    offset: int
    divisor: int = 1

    def at(self, samples: int) -> int:
        """Its value for a batch of so many samples.

        Example:
            >>> Affine(4, 1).at(2)
            9
        """
        return self.factor * samples // self.divisor + self.offset

    @property
    def plain(self) -> bool:
        """Whether it is a multiple of the batch."""
        return not self.offset and self.divisor == 1


class PartingError(Exception):
    """Two recordings are not one program.

    Attributes:
        operation: of the first recording, where they part; None where it is their outputs.
        how: in words, after the operator's name.
    """

    def __init__(self, operation: Operation | None, how: str) -> None:
        super().__init__(how)
        self.operation, self.how = operation, how


def merged(first: Recording, second: Recording, samples: tuple[int, int]) -> Recording:
    """The first recording, `Affine` in the place of each integer that depends on the batch.

    Args:
        first: of a model.
        second: of the same model.
        samples: how many samples each had.

    Raises:
        PartingError: they are not one program.

    Example:
        >>> import torch
        >>> from pfa_gate.graph.record import record
        >>> net = torch.nn.Flatten(0)
        >>> one, two = (record(net, ((torch.zeros(size, 3).reshape(size, 3),), {})) for size in (2, 3))
        >>> [operation.result for operation in merged(one, two, (2, 3)).operations]
        [Form(shape=(6,), dtype=torch.float32, growing=((0, Fraction(3, 1)),))]
    """
    pairing = _Pairing(first, second, samples)
    operations = tuple(pairing.operations())
    outputs = pairing.same(first.outputs, second.outputs, None)
    assigned = pairing.same(first.assigned, second.assigned, None)
    inputs = tuple(pairing.grown(one, two) for one, two in zip(first.inputs, second.inputs, strict=True))
    return replace(first, operations=operations, outputs=outputs, assigned=assigned, inputs=inputs)


def require(program: Recording, recording: Recording, samples: int) -> None:
    """Hold a merged recording to one more, of a batch of so many samples.

    Raises:
        PartingError: it is another program.
    """
    _Pairing(program, recording, (samples, samples)).require()


class _Pairing:
    def __init__(self, first: Recording, second: Recording, samples: tuple[int, int]) -> None:
        self._first, self._second, self._samples = first, second, samples

    def operations(self) -> Iterator[Operation]:
        """Each operator of both, merged."""
        for one, two in self._pairs():
            args = self.same(one.args, two.args, one)
            kwargs = self.same(dict(one.kwargs), dict(two.kwargs), one)
            yield replace(one, args=args, kwargs=kwargs, result=self.grown(one.result, two.result))

    def require(self) -> None:
        """Compare all, without a result."""
        for one, two in self._pairs():
            self.same((one.args, dict(one.kwargs)), (two.args, dict(two.kwargs)), one)
        self.same(self._first.outputs, self._second.outputs, None)

    def _pairs(self) -> Iterator[tuple[Operation, Operation]]:
        first, second = self._first.operations, self._second.operations
        for one, two in zip(first, second, strict=False):
            if one.operator is not two.operator:
                raise PartingError(one, "is another for other inputs")
            if one.operator._opname in READING and one.result != two.result:
                raise PartingError(one, "gives Python another number for other inputs")
            yield one, two
        if len(first) != len(second):
            longer = max(first, second, key=len)
            raise PartingError(longer[min(len(first), len(second))], "runs for some inputs only")

    def same(self, one: Any, two: Any, where: Operation | None) -> Any:
        """An argument of both: itself where it is equal, `Affine` where it is an integer that follows the batch."""
        if isinstance(one, Affine):
            return self._holds(one, two, where)
        if isinstance(one, Held):
            return self._held(one, two, where)
        if type(one) is int and type(two) is int and one != two:
            return self._affine(one, two, where)
        if type(one) in (list, tuple) and type(two) is type(one) and len(one) == len(two):
            return type(one)(self.same(each, other, where) for each, other in zip(one, two, strict=True))
        if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
            return {key: self.same(each, two[key], where) for key, each in one.items()}
        if type(one) is not type(two) or not (one == two or (_is_nan(one) and _is_nan(two))):
            raise PartingError(where, "has other arguments for other inputs")
        return one

    def _affine(self, one: int, two: int, where: Operation | None) -> Affine:
        fewer, more = self._samples
        rate = Fraction(two - one, more - fewer) if fewer != more else Fraction(0)
        offset = one - rate * fewer
        if not rate or offset.denominator != 1:
            raise PartingError(where, "has another number among its arguments for other inputs")
        return Affine(rate.numerator, int(offset), rate.denominator)

    def _holds(self, one: Affine, two: Any, where: Operation | None) -> Affine:
        if type(two) is not int or one.at(self._samples[1]) != two:
            raise PartingError(where, "has a number among its arguments that depends on the values of the inputs")
        return one

    def _held(self, one: Held, two: Any, where: Operation | None) -> Held:
        if one != two or not _equal(self._first.held[one.place], self._second.held[one.place]):
            raise PartingError(where, "reads a tensor that is made anew for each input")
        return one

    def grown(self, one: Any, two: Any) -> Any:
        """The form of a result, with the axes along which it grows."""
        if isinstance(one, Form):
            return Form(one.shape, one.dtype, self._growth(one.shape, two.shape if isinstance(two, Form) else ()))
        if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
            return [self.grown(each, other) for each, other in zip(one, two, strict=True)]
        return one

    def _growth(self, one: tuple[int, ...], two: tuple[int, ...]) -> tuple[tuple[int, Fraction], ...]:
        fewer, more = self._samples
        if len(one) != len(two) or one == two or fewer == more:
            return ()
        longer = ((axis, other - size) for axis, (size, other) in enumerate(zip(one, two, strict=True)))
        return tuple((axis, Fraction(by, more - fewer)) for axis, by in longer if by)


def _equal(one: Tensor, two: Tensor) -> bool:
    if one is two:
        return True
    alike = one.shape == two.shape and one.dtype == two.dtype and one.device == two.device
    return alike and bool(((one == two) | (one.isnan() & two.isnan())).all())


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
