"""A forward pass as the list of its operators, recorded while the model runs: no operator is taken apart.

Below autograd a dispatch mode sees `conv2d`, `linear`, `batch_norm` or attention whole, in place and on views as
they are. What is kept of a value is its shape; the value itself lives as long as the model needs it.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pfa_gate.graph.owners import Owners, whole_operators
from pfa_gate.model.batch import Inputs
from pfa_gate.model.structure import leaves_of
from pfa_gate.model.user_frames import running_line


class Given(NamedTuple):
    """A value of the model's inputs, by its place among them."""

    leaf: int


class Held(NamedTuple):
    """A tensor that neither an operator made nor the inputs hold, by the order in which they are first read."""

    place: int


class Made(NamedTuple):
    """The result of an operator, or one of its several results."""

    operation: int
    part: int | None = None


class Form(NamedTuple):
    """Shape and dtype of a tensor; once two recordings are merged, by how much a sample more makes an axis longer."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    growing: tuple[tuple[int, Fraction], ...] = ()


class Read(NamedTuple):
    """Where Python read a tensor's elements: the number that an operator made of them, or the tensor; and the line."""

    value: Any
    line: str


@dataclass(frozen=True)
class Operation:
    """One operator as it was called.

    Attributes:
        operator: torch's own, such as `aten.conv2d.default`.
        args, kwargs: a reference (`Given`, `Held`, `Made`) in place of each tensor.
        result: a `Form` in place of each tensor.
        owner: qualified name of the module that was running.
        line: of the user's code, where Python reads elements by it.
    """

    operator: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    owner: str
    line: str = ""


@dataclass(frozen=True)
class Recording:
    """One forward pass.

    Attributes:
        operations: in the order in which they ran.
        inputs: the form of each tensor among the values of the inputs, None for what is no tensor.
        held: the tensors that `Held` counts.
        outputs: references in place of the tensors of the output's values.
        assigned: buffers that hold another value after the pass: (owner, attribute) and that value.
        structure: of the output.
        read: where Python read a tensor's elements.
        single: whether something was cast to float32 that is so already; in a double copy it would not be.
    """

    operations: tuple[Operation, ...]
    inputs: tuple[Form | None, ...]
    held: tuple[Tensor, ...]
    outputs: tuple[Any, ...]
    assigned: tuple[tuple[str, Any], ...]
    structure: Any
    read: tuple[Read, ...] = field(default=())
    single: bool = False


def record(model: nn.Module, inputs: Inputs, again: bool = False) -> Recording:
    """Run a model once, without gradients, and record its operators.

    Args:
        model: in eval mode; what its forward keeps is the caller's to take back.
        inputs: positional and keyword inputs; an operator in place may write into them.
        again: leave out what a recording before has told: owners, and where Python copies elements out of torch.

    Raises:
        Exception: whatever the model's forward raises.
        OpaqueObjectError: an object of its output holds tensors and has no parts that torch knows.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> [operation.operator.name() for operation in record(net, ((torch.zeros(1, 2),), {})).operations]
        ['aten::linear', 'aten::relu']
    """
    given, _ = leaves_of(inputs)
    modules = dict(model.named_modules())
    buffers = {(name, key): value for name, module in modules.items() for key, value in module._buffers.items()}
    recorder = _Recorder(given, modules)
    with recorder.running(again):
        output = model(*inputs[0], **inputs[1])
    values, structure = leaves_of(output)
    return Recording(
        operations=tuple(recorder.operations),
        inputs=tuple(_formed(leaf) if isinstance(leaf, Tensor) else None for leaf in given),
        held=tuple(recorder.held),
        outputs=tuple(recorder.described(value) for value in values),
        assigned=tuple(recorder.reassigned(buffers)),
        structure=structure,
        read=tuple(recorder.read),
        single=recorder.single,
    )


# Their answer is a number of Python's, made from a tensor's elements.
READING = frozenset(["item", "_local_scalar_dense", "is_nonzero", "equal", "allclose"])
_COPYING_OUT = (Tensor.tolist, Tensor.numpy, Tensor.__array__)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, given: list[Any], modules: Mapping[str, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._modules = modules
        tables = (table for each in modules.values() for table in (each._parameters, each._buffers))
        self._stored = {id(tensor) for table in tables for tensor in table.values() if tensor is not None}
        self.operations: list[Operation] = []
        self.held: list[Tensor] = []
        self.read: list[Read] = []
        self.single = False
        self._owners = Owners(modules)
        self._known: dict[int, tuple[Callable[[], Tensor | None], Any]] = {}
        for leaf, value in enumerate(given):
            if isinstance(value, Tensor):
                self._know(value, Given(leaf))

    @contextmanager
    def running(self, again: bool) -> Iterator[None]:
        """Record what runs inside the block; the module that runs is the owner of its operators."""
        with ExitStack() as stack:
            if not again:
                stack.enter_context(self._owners.followed())
                stack.enter_context(_Reading(self))
            stack.enter_context(whole_operators())
            stack.enter_context(self)
            yield

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Otherwise torch wraps what follows so that its first call imports the compiler."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Before it runs: afterwards an operator in place stands for what it wrote into.
        read, named = self.described(args), self.described(kwargs)
        result = func(*args, **kwargs)
        self._note_result(func, read, named, result)
        return result

    def _note_result(self, operator: Any, args: Any, kwargs: Any, result: Any) -> None:
        if self._is_known(result) and (not operator._schema.is_mutable or operator._opname == "detach_"):
            self.single |= torch.float32 in (*args, *kwargs.values())
            return  # it gave back what it was given, as dropout does in eval mode
        place = len(self.operations)
        if isinstance(result, Tensor):
            self._know(result, Made(place))
        elif isinstance(result, list | tuple):
            for part, each in enumerate(result):
                if isinstance(each, Tensor):
                    self._know(each, Made(place, part))
        line = running_line() if operator._opname in READING else ""
        if operator._opname in READING:
            self.read.append(Read(Made(place), line))
        self.operations.append(Operation(operator, tuple(args), kwargs, _forms(result), self._owners.current, line))

    def _know(self, tensor: Tensor, reference: Any) -> None:
        self._known[id(tensor)] = weakref.ref(tensor), reference

    def _is_known(self, value: Any) -> bool:
        return isinstance(value, Tensor) and self._known.get(id(value), (_nothing, None))[0]() is value

    def described(self, value: Any) -> Any:
        """The value with a reference in the place of each tensor; lists become plain lists."""
        if isinstance(value, Tensor):
            return self.reference(value)
        if isinstance(value, list):
            return [self.described(each) for each in value]
        if isinstance(value, tuple):
            return tuple(self.described(each) for each in value)
        if isinstance(value, dict):
            return {key: self.described(each) for key, each in value.items()}
        return value

    def reference(self, tensor: Tensor) -> Any:
        """What a tensor is in this recording."""
        alive, reference = self._known.get(id(tensor), (_nothing, None))
        if alive() is tensor:
            return reference
        reference = None if id(tensor) in self._stored else self._same_elements(tensor)
        if reference is None:
            reference = Held(len(self.held))
            self.held.append(tensor)
        self._know(tensor, reference)
        return reference

    def _same_elements(self, tensor: Tensor) -> Any:
        """What is known under another object of Python's, as `x.data` is another object than `x`."""
        place = _elements(tensor)
        if place is None:
            return None
        self._known = {key: known for key, known in self._known.items() if known[0]() is not None}
        others = ((alive(), reference) for alive, reference in self._known.values())
        found = (ref for other, ref in others if other is not None and _elements(other) == place)
        return next(found, None)

    def reassigned(self, before: Mapping[tuple[str, str], Tensor | None]) -> Iterator[tuple[str, Any]]:
        """Buffers that are another tensor now."""
        for (name, key), former in before.items():
            value = self._modules[name]._buffers.get(key)
            if value is not former and value is not None and former is not None:
                yield f"{name}.{key}" if name else key, self.reference(value)


class _Reading(TorchFunctionMode):
    """Notes where Python takes a tensor's elements out of torch."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _COPYING_OUT:
            self._recorder.read.append(Read(self._recorder.reference(args[0]), running_line()))
        return func(*args, **(kwargs or {}))


def _nothing() -> None:
    return None


def _elements(tensor: Tensor) -> tuple[Any, ...] | None:
    if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return None
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _formed(tensor: Tensor) -> Form:
    return Form(tuple(tensor.shape), tensor.dtype)


def _forms(result: Any) -> Any:
    if isinstance(result, Tensor):
        return _formed(result)
    return [_forms(each) for each in result] if isinstance(result, list | tuple) else result
