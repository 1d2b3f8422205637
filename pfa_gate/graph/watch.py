"""A forward pass while it is watched: which storage each operator reads and gives, and how long each one is needed."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from pfa_gate.graph.editing import LOOKED_UP, drawn

INPUT = "input"


@dataclass(frozen=True)
class LiveTensor:
    """Memory that is live while an operator runs.

    Attributes:
        operator: that made it; `input` for an input of the model.
        layer: the module that ran this operator; empty for the model itself.
        bytes: of the memory, whatever views of it there are.
    """

    operator: str
    layer: str
    bytes: int


@dataclass(frozen=True)
class LiveMemory:
    """The memory of a pass.

    Attributes:
        bytes: most that are live at once.
        steps: the operators in order, but for views, and for those that read and make weights alone: name, module, and
            all bytes that are live while it runs: what it reads, what it makes, and what waits for a later reader.
        alive: what is live where most bytes are, largest first.
        moved: bytes of activations that operators read and write; views move none.
        samples: of the pass; 1 unless the model takes no sample alone.
    """

    bytes: int
    steps: tuple[LiveTensor, ...]
    alive: tuple[LiveTensor, ...]
    moved: int
    samples: int = 1

    @property
    def peak(self) -> int | None:
        """The place in `steps` where most bytes are live; the first of several, None where there is no operator."""
        places = range(len(self.steps))
        return max(places, key=lambda place: (self.steps[place].bytes, -place), default=None)


@dataclass(eq=False)
class LiveStorage:
    """A storage.

    Attributes:
        made: the operator that made it, and its bytes.
        last: the last step that needs it; -1 before any does.
        born: the step that made it.
        active: whether it is made in the pass, of more than weights.
        held: whether the model holds it, as it does its weights.
    """

    made: LiveTensor
    born: int = 0
    last: int = -1
    active: bool = False
    held: bool = False


@dataclass
class WatchedOperator:
    """An operator as it ran.

    Attributes:
        operator: its name.
        layer: the module that ran it.
        reads, gives: memory, with the bytes of the elements there.
        sizes: of the tensors that it gave.
        writes: whether it writes into what it reads.
        anew: whether it makes something in each pass, whatever it reads.
    """

    operator: str
    layer: str
    reads: list[tuple[LiveStorage, int]]
    gives: list[tuple[LiveStorage, int]] = field(default_factory=list)
    sizes: tuple[torch.Size, ...] = ()
    writes: bool = False
    anew: bool = False

    @property
    def active(self) -> bool:
        """Whether it reads or makes anything but weights."""
        return any(memory.active for memory, _ in (*self.reads, *self.gives))

    @property
    def view(self) -> bool:
        """Whether it gives nothing but what is there."""
        there = {id(memory) for memory, _ in self.reads}
        return bool(self.gives) and not self.writes and all(id(memory) in there for memory, _ in self.gives)

    @property
    def moved(self) -> int:
        """Bytes of activations that it reads and writes."""
        return 0 if self.view else sum(size for memory, size in (*self.reads, *self.gives) if memory.active)


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator of a pass.

    Args:
        owner: gives the module that runs.
    """

    def __init__(self, owner: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.owner = owner
        # A weak reference keeps a storage's address taken, so that no later one is mistaken for it.
        self._known: dict[int, tuple[StorageWeakRef, LiveStorage]] = {}
        self.steps: list[WatchedOperator] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Otherwise torch wraps what follows so that its first call imports the compiler."""
        return False

    def give(self, leaves: Iterable[Any]) -> None:
        """These are inputs of the model: they are there before the first operator."""
        for tensor in _tensors(leaves):
            self._memory(tensor, INPUT).active = True

    def need(self, leaves: Iterable[Any]) -> None:
        """These are outputs of the model: they are needed to the end."""
        for tensor in _tensors(leaves):
            self._memory(tensor).last = len(self.steps)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _tensors(pytree.tree_leaves((args, kwargs)))
        step = WatchedOperator(
            func._opname, self.owner(), [(self._memory(each), _element_bytes(each)) for each in given]
        )
        result = func(*args, **kwargs)
        self._note(step, func, _tensors(pytree.tree_leaves(result)))
        return result

    def _note(self, step: WatchedOperator, func: Any, made: list[Tensor]) -> None:
        step.gives = [(self._memory(each, step.operator, step.layer), _element_bytes(each)) for each in made]
        step.sizes = tuple(each.shape for each in made)
        step.writes = func._schema.is_mutable
        step.anew = not step.reads or step.operator in LOOKED_UP or drawn(func)
        for memory, _ in (*step.reads, *step.gives):
            memory.last = len(self.steps)
        self.steps.append(step)

    def _memory(self, tensor: Tensor, operator: str = "", layer: str = "") -> LiveStorage:
        """The memory of a tensor; what no operator made and is no input is held by the model."""
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        if reference.cdata not in self._known:
            made = LiveTensor(operator, layer, storage.nbytes())
            memory = LiveStorage(made, len(self.steps), held=not operator)
            self._known[reference.cdata] = reference, memory
        return self._known[reference.cdata][1]

    def _activate(self, growing: Collection[int]) -> None:
        """Tell what is computed from weights alone from all else, operator by operator."""
        for place, step in enumerate(self.steps):
            if step.active or step.anew or place in growing:
                there = {id(memory) for memory, _ in step.reads}
                for memory, _ in step.gives:
                    # What an activation is written into is one from where it was made; a view of a weight is a weight.
                    memory.active |= not memory.held and (step.writes or id(memory) not in there)

    def memory(self, samples: int, growing: Collection[int]) -> LiveMemory:
        """What was live, once the pass is over.

        Args:
            samples: of the pass.
            growing: the places of operators whose results grow with the batch.
        """
        self._activate(growing)
        return live_of([memory for _, memory in self._known.values()], self.steps, samples)


def live_of(memories: Iterable[LiveStorage], steps: Sequence[WatchedOperator], samples: int) -> LiveMemory:
    """What was live in a pass.

    Args:
        memories: of the pass; active ones count.
        steps: in order.
        samples: of the pass.
    """
    memories = [each for each in memories if each.active]
    changes = [0] * (len(steps) + 2)
    for each in memories:
        if each.last >= 0:
            changes[each.born] += each.made.bytes
            changes[each.last + 1] -= each.made.bytes
    live = list(accumulate(changes))
    places = [place for place, step in enumerate(steps) if step.active and not step.view]
    shown = tuple(LiveTensor(steps[place].operator, steps[place].layer, live[place]) for place in places)
    peak = max(places, key=lambda place: (live[place], -place), default=-1)
    alive = [each.made for each in memories if peak < 0 or each.born <= peak <= each.last]
    ordered = tuple(sorted(alive, key=lambda each: -each.bytes))
    moved = sum(steps[place].moved for place in places)
    return LiveMemory(sum(each.bytes for each in alive), shown, ordered, moved, samples)


def _tensors(leaves: Iterable[Any]) -> list[Tensor]:
    """The tensors among values, each once."""
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}.values())


def _element_bytes(tensor: Tensor) -> int:
    """The bytes of its elements; those that are one in memory, as along an expanded axis, count once."""
    if tensor.layout is not torch.strided:
        return tensor.untyped_storage().nbytes()
    sizes = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or size == 0)
    return prod(sizes) * tensor.element_size()
