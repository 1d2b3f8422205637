"""What one section requires of another, checked on the plain data, so that a wrong type hides no other mistake."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pfa_gate.config.budgets import AREAS, COMPRESSED_LIMITS, LAYER_LIMITS, MODEL_LIMITS, QUANTIZED_LIMITS, SIZES
from pfa_gate.config.candidate import candidate_faults
from pfa_gate.config.energy import energy_faults
from pfa_gate.config.evaluation import score_faults
from pfa_gate.config.factorize import factorize_faults
from pfa_gate.config.named_sources import LIBRARIES
from pfa_gate.config.parity import parity_faults
from pfa_gate.config.project import Project, paths_outside
from pfa_gate.config.quantize import quantize_faults
from pfa_gate.config.reader import Keys
from pfa_gate.config.sparsify import sparsify_faults

# A gate's name is a folder on three systems and a part of a pytest node id.
_NOT_IN_NAME = re.compile(r'[/\\:\[\]<>"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|\Z)", re.IGNORECASE)

_STRATEGIES = ("kl", "energy", *SIZES, "score")
_LIMITS = {
    "layers": LAYER_LIMITS,
    "model": MODEL_LIMITS,
    "compressed": COMPRESSED_LIMITS,
    "quantized": QUANTIZED_LIMITS,
}


@dataclass(frozen=True)
class Objection:
    """A path of the config, and what is wrong there."""

    keys: Keys
    message: str
    remedy: str


def check(data: object, project: Project | None = None) -> Iterator[Objection]:
    """Find what is wrong between sections, and between the config and the files around it.

    Args:
        data: the whole config as plain data, of any shape.
        project: that of the config, which its paths must not leave; None for a text without a place.

    Example:
        >>> [objection.message for objection in check({"gates": {"a/b": None}})]
        ["the gate name 'a/b' contains '/'"]
    """
    gates = _at(data, "gates")
    if not isinstance(gates, dict):
        return
    yield from _names(list(gates))
    if project is not None:
        yield from (Objection(*found) for found in paths_outside(data, project))
    for name, gate in gates.items():
        yield from _loader(gate, ("gates", name, "model"))
        yield from _classes(gate, ("gates", name, "model"))
        yield from _positions(gate, ("gates", name, "probe"))
        yield from _energy(gate, ("gates", name, "recipe"))
        yield from _targets(gate, ("gates", name, "recipe"))
        yield from _search(gate, ("gates", name, "recipe"))
        yield from _misplaced_statistic(gate, ("gates", name, "recipe"))
        yield from (Objection(*found) for found in candidate_faults(gate, ("gates", name)))
        yield from (Objection(*found) for found in factorize_faults(gate, ("gates", name)))
        yield from (Objection(*found) for found in quantize_faults(gate, ("gates", name)))
        yield from (Objection(*found) for found in sparsify_faults(gate, ("gates", name)))
        yield from (Objection(*found) for found in parity_faults(gate, ("gates", name)))
        yield from (Objection(*found) for found in score_faults(gate, ("gates", name)))
        yield from (Objection(*found) for found in energy_faults(gate, ("gates", name)))
        yield from _budgets(gate, ("gates", name, "budgets"))
        yield from _waivers(gate, ("gates", name, "allow"))


def _at(data: object, *keys: str) -> Any:
    """Value of a path, or None where the data has another shape."""
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def _names(names: list[str]) -> Iterator[Objection]:
    remedy = "The name becomes a folder and a part of the test's id; use letters, digits, '-' and '_'."
    for index, name in enumerate(names):
        fault = _fault_of(name)
        if fault:
            yield Objection(("gates", name), f"the gate name {name!r} {fault}", remedy)
        twins = [other for other in names[:index] if other.casefold() == name.casefold()]
        if twins:
            message = f"the gate names {twins[0]!r} and {name!r} differ only in case"
            yield Objection(("gates", name), message, "Some file systems would mix their folders up.")


def _fault_of(name: str) -> str:
    forbidden = next((letter for letter in name if not letter.isprintable() or _NOT_IN_NAME.match(letter)), None)
    if forbidden:
        return f"contains {forbidden!r}"
    if not name.strip():
        return "is empty"
    if name != name.strip() or name.endswith("."):
        return "begins or ends with white space or a dot"
    if _DEVICE.match(name):
        return "is a device on Windows"
    return "is longer than 80 characters" if len(name) > 80 else ""


def _loader(gate: object, at: Keys) -> Iterator[Objection]:
    if _at(gate, "model", "loader") == "mmap" and _at(gate, "model", "checkpoint") is None:
        remedy = "Name the weights file, or remove the loader."
        yield Objection((*at, "loader"), "the loader mmap needs model.checkpoint", remedy)
    if _at(gate, "model", "checkpoint_key") is not None and _at(gate, "model", "checkpoint") is None:
        remedy = "Name the weights file, or remove the key."
        yield Objection((*at, "checkpoint_key"), "model.checkpoint_key needs model.checkpoint", remedy)


def _classes(gate: object, at: Keys) -> Iterator[Objection]:
    factory = _at(gate, "model", "factory")
    if _at(gate, "model", "num_classes") is not None and isinstance(factory, str) and not factory.startswith(LIBRARIES):
        message = f"model.num_classes is not read for {factory!r}, which is no model by name"
        yield Objection((*at, "num_classes"), message, "Give it to the factory: model.arguments.")


def _positions(gate: object, at: Keys) -> Iterator[Objection]:
    probe = _at(gate, "probe")
    if isinstance(probe, dict) and {"pooling", "positions"} <= probe.keys():
        remedy = "Remove pooling, to take each position as a sample, or remove positions."
        yield Objection((*at, "pooling"), "probe.pooling and probe.positions exclude each other", remedy)


def _energy(gate: object, at: Keys) -> Iterator[Objection]:
    strategy, given = _strategy(gate), _gives(gate, "energy")
    if strategy == "energy" and not given:
        yield Objection((*at, "strategy"), "the strategy energy needs recipe.energy", "Add energy: 0.95.")
    if strategy != "energy" and given and strategy in _STRATEGIES:
        yield _unread(at, "energy", strategy)


def _targets(gate: object, at: Keys) -> Iterator[Objection]:
    strategy = _strategy(gate)
    for target in SIZES:
        given = _gives(gate, target)
        if strategy == target and not given:
            message = f"the strategy {target} needs recipe.{target}"
            yield Objection((*at, "strategy"), message, f"Add its target, such as {target}: 50%.")
        if strategy != target and given and strategy in _STRATEGIES:
            yield _unread(at, target, strategy)


def _search(gate: object, at: Keys) -> Iterator[Objection]:
    strategy = _strategy(gate)
    if strategy == "score" and not _gives(gate, "score"):
        remedy = "Add how far the score may fall, such as score: 0.5 pp."
        yield Objection((*at, "strategy"), "the strategy score needs recipe.score", remedy)
    for key in ("score", "of", "confident", "data"):
        if strategy != "score" and strategy in _STRATEGIES and _gives(gate, key):
            message = f"recipe.{key} is not read by the strategy {strategy}"
            yield Objection((*at, key), message, "Remove it, or write strategy: score with how far the score may fall.")


def _gives(gate: object, key: str) -> bool:
    """Whether the recipe has a key, even one whose value the reader refused."""
    recipe = _at(gate, "recipe")
    return isinstance(recipe, dict) and key in recipe


def _misplaced_statistic(gate: object, at: Keys) -> Iterator[Objection]:
    strategy = _strategy(gate)
    if _gives(gate, "statistic") and strategy in ("kl", "energy"):
        message = f"recipe.statistic is not read by the strategy {strategy}"
        remedy = "Remove it, or write strategy: parameters, bytes, macs or score with its target."
        yield Objection((*at, "statistic"), message, remedy)


def _strategy(gate: object) -> object:
    recipe = _at(gate, "recipe")
    return recipe.get("strategy", "kl") if isinstance(recipe, dict) else None


def _unread(at: Keys, key: str, strategy: object) -> Objection:
    message = f"recipe.{key} is not read by the strategy {strategy}"
    return Objection((*at, key), message, f"Remove it, or write strategy: {key}.")


def _budgets(gate: object, at: Keys) -> Iterator[Objection]:
    budgets = _at(gate, "budgets")
    if not isinstance(budgets, dict):
        return
    if not _has_limit(budgets):
        remedy = 'Add one, such as layers: [{match: "*", kl: 0.7}].'
        yield Objection(at, "budgets must hold at least one limit", remedy)
    rules = budgets.get("layers")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict) and set(rule) <= {"match"}:
            message = f"budgets.layers[{index}] limits nothing"
            yield Objection((*at, "layers", index), message, f"Add one of {', '.join(LAYER_LIMITS)}.")


def _waivers(gate: object, at: Keys) -> Iterator[Objection]:
    entries = _at(gate, "allow")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        budget, keys = _at(entry, "budget"), (*at, index)
        if not isinstance(budget, str):
            continue
        area, _, key = (budget if "." in budget else f"layers.{budget}").partition(".")
        if key not in _LIMITS.get(area, ()):
            continue  # complained about where its type is checked
        of_layer, named = area == "layers", _at(entry, "layer") is not None
        if of_layer and not named:
            yield Objection(keys, f"the waiver of {budget} names no layer", 'Add it, such as layer: "stem".')
        if named and not of_layer:
            yield Objection((*keys, "layer"), f"{budget} is not a budget of layers", "Remove the layer.")
        if not _declares(gate, area, key):
            remedy = "Remove the waiver, or add the limit that it waives."
            yield Objection((*keys, "budget"), f"the waiver matches nothing: there is no budget {budget}", remedy)


def _declares(gate: object, area: str, key: str) -> bool:
    """Whether a limit is there."""
    declared = _at(gate, "budgets", area)
    rules = declared if isinstance(declared, list) else [declared]
    return any(_at(rule, key) is not None for rule in rules)


def _has_limit(budgets: Mapping[str, object]) -> bool:
    """Whether any limit is there, or anything else that is complained about elsewhere."""
    if set(budgets) - {"layers", *AREAS} or budgets.get("layers"):
        return True
    sections = [budgets.get(area, {}) for area in AREAS]
    return any(section is None or not isinstance(section, dict) or section for section in sections)
