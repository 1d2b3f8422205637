"""Which tensors of a checkpoint are a model's: found by their names and shapes, wherever they lie in the file."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

State = Mapping[str, Tensor]

# What training scripts call the weights to be used, likeliest first; decides where several mappings fit.
_USUAL = ("state_dict", "model_state_dict", "model", "net")
# What parallel, compiled, checkpointed and sharded modules put into the names of the module within.
_WRAPPERS = frozenset({"module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"})
COUNT = "num_batches_tracked"  # of a batch norm; files of before torch 0.4 lack it, and it is not read in eval mode
_MOST = 5


@dataclass(frozen=True)
class Difference:
    """How names and shapes of a file differ from a model's."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        """One indented line for each kind that occurs."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.reshaped}
        return "\n".join(f"    {len(names)} {kind}: {abbreviated(names)}" for kind, names in kinds.items() if names)


@dataclass(frozen=True)
class WeightsMatch:
    """Tensors of a file, under the names of a model as far as those are known.

    Attributes:
        location: where they lie: keys of the file, then what their names begin with, joined by dots; empty for its top.
        state: model's name, or the file's -> tensor.
        difference: from the model.
        left_out: tensors beside them whose names begin otherwise.
    """

    location: str
    state: State
    difference: Difference
    left_out: State = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether every tensor of the model is there, and no other."""
        return not self.difference.any

    @property
    def complete(self) -> bool:
        """Whether it leaves out nothing but single numbers, such as `n_averaged` of an averaged model."""
        return all(tensor.ndim == 0 for tensor in self.left_out.values())

    @property
    def known(self) -> int:
        """How many names are the model's."""
        return len(self.state) - len(self.difference.unexpected)


def mappings(content: Any) -> Iterator[tuple[str, State]]:
    """List the mappings from names to tensors in what a file holds, by their place, outermost first.

    Args:
        content: mappings, lists and tuples of anything, nested to any depth.

    Example:
        >>> [place for place, _ in mappings({"acc": 0.5, "nets": [{"w": Tensor()}, {"w": Tensor()}]})]
        ['nets.0', 'nets.1']
    """
    waiting, seen = deque([("", content)]), {id(content)}
    while waiting:
        location, value = waiting.popleft()
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        inner = [(str(key), entry) for key, entry in entries]
        tensors = {name: entry for name, entry in inner if isinstance(entry, Tensor)}
        if tensors and isinstance(value, Mapping):
            yield location, tensors
        for name, entry in inner:
            # A pickle may hold itself.
            if isinstance(entry, Mapping | list | tuple) and id(entry) not in seen:
                seen.add(id(entry))
                waiting.append((_joined(location, name), entry))


def below_key(every: Mapping[str, State], key: str) -> dict[str, State]:
    """Keep what lies at a key or below it; a key may also be the beginning of names.

    Example:
        >>> below_key({"state_dict": {"model.w": Tensor(), "loss.w": Tensor()}}, "state_dict.model")
        {'state_dict.model': {'w': tensor([])}}
    """
    inside = {location: state for location, state in every.items() if f"{location}.".startswith(f"{key}.")}
    if inside:
        return inside
    for location, state in every.items():
        start = f"{key}.".removeprefix(f"{location}." if location else "")
        named = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
        if named and _joined(location, start[:-1]) == key:
            return {key: named}
    return {}


def matches_of(model: nn.Module, location: str, state: State) -> list[WeightsMatch]:
    """Say how a mapping of a file fits a model.

    The names may have what wrappers put into them, anywhere, and may all begin with the same.

    Returns:
        All matches that fit; else the one in which the fewest names differ. At least one.

    Example:
        >>> state = {f"net.{name}": value for name, value in nn.Linear(2, 3).state_dict().items()}
        >>> [(match.location, match.fits) for match in matches_of(nn.Linear(2, 3), "", state)]
        [('net', True)]
    """
    own = _held(model)
    names = _Names.of(own)
    direct = WeightsMatch(location, renamed := names.rename(state), compare(own, renamed))
    if direct.fits:
        return [direct]
    matches = [direct, *_by_beginning(own, names, location, state)]
    return [match for match in matches if match.fits] or [nearest_match(matches)]


def _by_beginning(own: State, names: "_Names", location: str, state: State) -> Iterator[WeightsMatch]:
    """The mapping without what most of its names begin with; several matches where beginnings are equally common."""
    counts = Counter(start for name in state for start in names.beginnings(name))
    most = max(counts.values(), default=0)
    seen: set[frozenset[str]] = set()
    for start in (start for start, count in counts.items() if count == most):
        inside = frozenset(name for name in state if name.startswith(start))
        if inside not in seen:
            seen.add(inside)
            renamed = names.rename({name.removeprefix(start): state[name] for name in state if name in inside})
            left_out = {name: value for name, value in state.items() if name not in inside}
            yield WeightsMatch(_joined(location, start[:-1]), renamed, compare(own, renamed), left_out)


def nearest_match(matches: Iterable[WeightsMatch]) -> WeightsMatch:
    """Choose the match in which most names are the model's; among those, the one that leaves out least."""
    return max(matches, key=lambda match: (match.known, -len(match.left_out)))


def most_usual(matches: Iterable[WeightsMatch]) -> list[WeightsMatch]:
    """The matches whose location is the most usual one for weights.

    Example:
        >>> none = Difference((), (), ())
        >>> matches = [WeightsMatch(location, {}, none) for location in ("ema", "model", "state_dict")]
        >>> [match.location for match in most_usual(matches)]
        ['state_dict']
    """

    def rank(match: WeightsMatch) -> list[int]:
        steps = match.location.split(".") if match.location else []
        return [_USUAL.index(step) if step in _USUAL else len(_USUAL) for step in steps]

    ordered = sorted(matches, key=rank)
    return [match for match in ordered if rank(match) == rank(ordered[0])]


@dataclass(frozen=True)
class _Names:
    """The names of a model, and the same without what wrappers put into them."""

    own: frozenset[str]
    plain: Mapping[str, str]

    @classmethod
    def of(cls, own: Iterable[str]) -> "_Names":
        names = frozenset(own)
        times = Counter(map(_plain, names))
        return cls(names, {_plain(name): name for name in names if times[_plain(name)] == 1})

    def known(self, name: str) -> str | None:
        return name if name in self.own else self.plain.get(_plain(name))

    def rename(self, state: State) -> dict[str, Tensor]:
        """The model's names where they are known, unless two would become one."""
        new = {name: self.known(name) or name for name in state}
        times = Counter(new.values())
        return {new[name] if times[new[name]] == 1 else name: value for name, value in state.items()}

    def beginnings(self, name: str) -> Iterator[str]:
        """Each beginning, with its dot, after which a name of the model follows."""
        for index, letter in enumerate(name):
            if letter == "." and self.known(name[index + 1 :]) is not None:
                yield name[: index + 1]


def _plain(name: str) -> str:
    return ".".join(step for step in name.split(".") if step not in _WRAPPERS)


def _joined(location: str, name: str) -> str:
    return f"{location}.{name}" if location and name else location or name


def _held(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors, not views of them: what is tied is the same object."""
    return {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}


def compare(own: State, state: State) -> Difference:
    """How the names and shapes of a file differ from those of a model.

    Args:
        own: the model's tensors, those that are tied the same.
        state: the file's.

    Example:
        >>> compare({"w": Tensor()}, {"v": Tensor()})
        Difference(missing=('w',), unexpected=('v',), reshaped=())
    """
    # Tied weights are stored once; the twin is filled through the storage that both share.
    stored = {_storage(own[name]) for name in state if name in own}
    absent = (name for name in own if name not in state and _storage(own[name]) not in stored)
    return Difference(
        missing=tuple(sorted(name for name in absent if not name.endswith(COUNT))),
        unexpected=tuple(sorted(name for name in state if name not in own)),
        reshaped=tuple(
            f"{name} {list(state[name].shape)} for {list(own[name].shape)}"
            for name in sorted(state)
            if name in own and not is_lazy(own[name]) and state[name].shape != own[name].shape
        ),
    )


def _storage(tensor: Tensor) -> tuple[object, ...]:
    # An empty or unmaterialised tensor has no storage to share.
    shared = not is_lazy(tensor) and tensor.numel() > 0 and not tensor.is_meta
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) if shared else (id(tensor),)


def abbreviated(names: Iterable[object]) -> str:
    """The first names of a list, and how many more there are.

    Example:
        >>> abbreviated("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    listed = [str(name) for name in names]
    rest = len(listed) - _MOST
    return ", ".join(listed[:_MOST]) + (f" and {rest} more" if rest > 0 else "")
