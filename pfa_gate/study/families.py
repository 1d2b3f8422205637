"""The families of compression that a study compares: each a few sections of pfa.yaml, with what moves its size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pfa_gate.budget.wording import trimmed
from pfa_gate.config import GateConfig
from pfa_gate.errors import ConfigError

Sections = Mapping[str, Mapping[str, Any]]
"""Sections of a gate, with those of their keys that matter."""

_KEPT_OF_RECIPES = ("residual", "round_to", "minimum", "statistic")


@dataclass(frozen=True)
class Part:
    """One way to make a model smaller.

    Attributes:
        name: for people.
        sections: what pfa.yaml says for it.
        size: what pfa.yaml says so that the file has this share of the full model's bytes; None where no key moves it.
        fixed: what pfa.yaml says for a number of its own, such as `50%` of the parameters; None where it takes none.
        baselines: whether sizes are divided among the layers evenly and by chance too, to compare with.
        numbered: its name with a number, of {name} and {number}.
        note: what a reader of its figures must know.
    """

    name: str
    sections: Sections
    size: Callable[[float], Sections] | None = None
    fixed: Callable[[str], Sections] | None = None
    baselines: bool = False
    numbered: str = "{name} to {number}"
    note: str = ""


def _percent(share: float) -> str:
    return f"{trimmed(100 * share, 4)}%"


def _of_bytes(share: float) -> Sections:
    return {"recipe": {"strategy": "bytes", "bytes": _percent(share)}}


def _of_file_bytes(share: float) -> Sections:
    return {"quantize": {"bytes": _percent(share)}}


def _of_low_rank(share: float) -> Sections:
    return {"factorize": {"parameters": _percent(share)}}


def _of_parameters(number: str) -> Sections:
    return {"recipe": {"strategy": "parameters", "parameters": number}}


_ZEROS = (
    "Zeros are stored as other weights are: a pattern of them saves neither bytes nor time of these files. It does on "
    "hardware that reads it."
)
PARTS: Mapping[str, Part] = {
    "cut": Part("cut", {}, _of_bytes, _of_parameters, baselines=True),
    "multiples": Part("cut to multiples", {"recipe": {"round_to": "auto"}}, _of_bytes, _of_parameters),
    "factorize": Part(
        "factorize",
        {"factorize": {"layers": ["*"]}},
        _of_low_rank,
        lambda number: {"factorize": {"parameters": number}},
    ),
    "sparsify": Part(
        "zeros 2:4",
        {"sparsify": {"pattern": "2:4"}},
        fixed=lambda number: {"sparsify": {"pattern": number}},
        numbered="zeros {number}",
        note=_ZEROS,
    ),
    "int8": Part("int8", {"quantize": {"bits": 8}}),
    "bits": Part(
        "bits by sensitivity", {"quantize": {"bits": "auto"}}, lambda share: {"quantize": {"bytes": _percent(share)}}
    ),
    **{f"{bits}bits": Part(f"{bits} bits", {"quantize": {"bits": bits}}) for bits in (6, 5, 4, 3, 2)},
    **{word: Part(word, {"quantize": {"bits": word}}) for word in ("ternary", "binary")},
}
"""What families are made of, by the word of the command line; `pfa-gate study --only` joins them with +."""

FAMILIES = (
    "cut", "multiples", "factorize", "sparsify", "int8", "6bits", "4bits", "ternary", "bits", "cut:70%+factorize",
    "cut+sparsify", "cut+int8", "multiples+int8", "factorize:70%+int8", "cut+6bits", "cut:70%+bits", "sparsify+bits",
)  # fmt: skip
"""What is compared unless `--only` says otherwise."""


@dataclass(frozen=True)
class Family:
    """Parts that are applied together.

    Attributes:
        parts: in the order in which they are applied.
    """

    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """For people.

        Example:
            >>> family("cut+int8").name
            'cut + int8'
        """
        return " + ".join(part.name for part in self.parts)

    @property
    def moved(self) -> Part | None:
        """The part whose size is moved so that the file has the bytes that are asked for."""
        return next((part for part in self.parts if part.size is not None), None)

    @property
    def baselines(self) -> bool:
        """Whether even and random recipes stand beside it: where a cut is all there is."""
        return len(self.parts) == 1 and self.parts[0].baselines

    def sections(self, share: float | None) -> dict[str, dict[str, Any]]:
        """What pfa.yaml says for it.

        Args:
            share: of the full model's bytes; None for what nothing moves.

        Example:
            >>> family("cut+int8").sections(0.25)
            {'quantize': {'bits': 8}, 'recipe': {'strategy': 'bytes', 'bytes': '25%'}}
        """
        found: dict[str, dict[str, Any]] = {}
        moved = self.moved
        sized = moved.size(share) if moved is not None and moved.size is not None and share is not None else {}
        for sections in (*(part.sections for part in self.parts), sized):
            for name, keys in sections.items():
                found.setdefault(name, {}).update(keys)
        return found

    def config(self, gate: GateConfig, share: float | None) -> GateConfig:
        """A gate that makes this family: what it says of other sections stays.

        Raises:
            ConfigError: the gate's own keys do not fit.
        """
        plain = {"recipe": {"strategy": "energy", "energy": 1.0}, **self.sections(share)}
        changed = {name: _section(gate, name, keys) for name, keys in plain.items()}
        gone = {name: None for name in ("quantize", "factorize", "sparsify") if name in GateConfig.model_fields}
        return gate.model_copy(update=gone | changed)


def family(word: str) -> Family:
    """The family of a word of the command line.

    Raises:
        ConfigError: there is no such part, or one is named twice.

    Example:
        >>> family("int8").moved is None, family("cut").baselines
        (True, True)
    """
    named = dict[str, Part]()
    for each in word.split("+"):
        name, _, number = each.strip().partition(":")
        if name not in PARTS:
            near = get_close_matches(name, PARTS, 1)
            raise ConfigError(
                f"There is no family '{name}'.",
                remedy=f"Write {near[0]}." if near else f"There are {', '.join(PARTS)}.",
            )
        named[name] = _with_number(PARTS[name], number)
    parts = tuple(named[name] for name in PARTS if name in named)
    sections = [name for part in parts for name in part.sections if name != "recipe"]
    twice = len({*sections}) != len(sections) or {"cut", "multiples"} <= set(named)
    if len(parts) != len(word.split("+")) or twice:
        raise ConfigError(f"The family '{word}' makes a model smaller in one way twice.", remedy="Name each once.")
    moved = [name for name in named if named[name].size is not None]
    if len(moved) > 1:
        fact = f"The family '{word}' has no size of its own for {moved[0]} or {moved[1]}."
        raise ConfigError(fact, remedy=f"Give one a number, such as {moved[0]}:70%.")
    return Family(parts)


def _with_number(part: Part, number: str) -> Part:
    if not number:
        return part
    if part.fixed is None:
        raise ConfigError(f"'{part.name}' takes no number.", remedy=f"Take :{number} away.")
    sections = {name: dict(keys) for name, keys in part.sections.items()}
    for name, keys in part.fixed(number).items():
        sections[name] = {**sections.get(name, {}), **keys}
    return Part(part.numbered.format(name=part.name, number=number), sections, note=part.note)


def yaml_line(sections: Sections) -> str:
    """Sections as pfa.yaml says them, on one line.

    Example:
        >>> yaml_line({"quantize": {"bits": 8}, "recipe": {"strategy": "bytes", "bytes": "25%"}})
        'recipe: {strategy: bytes, bytes: 25%}, quantize: {bits: 8}'
    """
    order = sorted(sections, key=list(GateConfig.model_fields).index)
    ordered = {name: dict(sections[name]) for name in order}
    return yaml.safe_dump(ordered, default_flow_style=True, sort_keys=False, width=10_000).strip()[1:-1]


def _section(gate: GateConfig, name: str, keys: Mapping[str, Any]) -> Any:
    """A section as the config checks it, with what the gate says beside these keys."""
    own = getattr(gate, name)
    before = {} if own is None else {key: getattr(own, key) for key in sorted(own.model_fields_set)}
    if name == "quantize" and keys["bits"] != 8:
        before = {key: before[key] for key in ("layers",) if key in before}
    if name == "recipe":
        sized = keys["strategy"] in ("parameters", "bytes", "macs")
        before = {key: before[key] for key in _KEPT_OF_RECIPES if key in before and (sized or key != "statistic")}
    field = GateConfig.model_fields[name]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        return TypeAdapter(kind).validate_python({**before, **keys})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join((name, *map(str, first["loc"])))
        raise ConfigError(f"The gate's own keys do not fit: {where}: {first['msg']}.") from error


def families_of(words: Sequence[str]) -> tuple[Family, ...]:
    """The families that are asked for, each once.

    Raises:
        ConfigError: there is no such family, or one is asked for twice.
    """
    found = tuple(map(family, words))
    twice = [each.name for place, each in enumerate(found) if each in found[:place]]
    if twice:
        raise ConfigError(f"The study asks for the family '{twice[0]}' twice.", remedy="Name each once.")
    return found
