"""One architecture at half the filters of every free group: cut, proved, checked by hand, exported."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import FAMILIES
from family import Family
from networks import conditioned
from torch import Tensor, nn
from torch.nn.utils import parametrize
from written import WRITTEN, Written

from pfa_gate.artifacts.program import program_of, trials, write_program
from pfa_gate.compress.prune import PrunedModel, compress, floating
from pfa_gate.graph import Coupling, inputs_of, trace
from pfa_gate.graph.cost import stored
from pfa_gate.graph.editing import with_ancestors
from pfa_gate.graph.program import writes
from pfa_gate.model.global_state import Randomness

ZOO: dict[str, Written | Family] = {**WRITTEN, **FAMILIES}

Keep = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Judged:
    """What became of one architecture.

    Attributes:
        name: its name in the zoo.
        form: `module` or `graph`.
        left: parameters left, as a share of those that the forward pass reads.
        miscounted: parameters that the footprint foretold and the compressed model lacks, less those that nothing read.
        groups: how many groups there are.
        free: how many of them may be cut.
        error: of the proof.
        put_back: groups whose proof failed, and why.
        unknown: operators without a rule.
        frozen: for each group that may not be cut, why.
        checked: how many groups were compared with weights zeroed by hand.
        silent_error: largest difference from the model with those weights, relative.
        effect: how far the outputs moved by the cut, relative; a check of a cut without effect says nothing.
        untouched: whether the model is bit for bit as it was.
        dynamic: whether the program runs at another batch too.
        seconds: trace and surgery.
        model: the compressed model.
    """

    name: str
    form: str
    left: float
    miscounted: int
    groups: int
    free: int
    error: float
    put_back: Mapping[str, str]
    unknown: tuple[str, ...]
    frozen: Mapping[str, str]
    checked: int
    silent_error: float
    effect: float
    untouched: bool
    dynamic: bool
    seconds: float
    model: nn.Module = field(repr=False)


def judge(name: str, folder: Path | None = None) -> Judged:
    """Build, trace, halve and check one architecture.

    Args:
        name: of the zoo.
        folder: where model.pt2, in.pt and out.pt are written; nowhere if left out.
    """
    entry = ZOO[name]
    model, example = conditioned(entry.build()), entry.example()
    before = copy.deepcopy(model)
    start = time.perf_counter()
    groups = trace(model, example)
    result = compress(model, groups, halves(groups), inputs_of(example))
    seconds = time.perf_counter() - start
    untouched = _same(model, before)  # some models keep a note of their own last forward pass
    keep = {name: kept for name, kept in halves(groups).items() if name not in result.put_back}
    return Judged(
        name=name,
        form=result.form,
        left=_footprint(groups, keep) / groups.footprint().parameters,
        miscounted=_footprint(groups, keep) - stored(result.model).parameters - _unread(groups, result),
        groups=len(groups.groups),
        free=len(groups.free),
        error=result.proof.max_error,
        put_back=result.put_back,
        unknown=groups.unknown,
        frozen={group.name: group.frozen for group in groups.groups if group.frozen is not None},
        checked=len(_silenceable(groups)),
        silent_error=_silent_error(model, groups, result, example),
        effect=distance(outputs(result.model, example), outputs(model, example)),
        untouched=untouched,
        dynamic=_export(result.model, example, folder) if folder is not None else False,
        seconds=seconds,
        model=result.model,
    )


def halves(groups: Coupling) -> dict[str, np.ndarray]:
    """Every other filter of every free group."""
    return {group.name: np.arange(group.width)[::2] for group in groups.free}


def outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """Every floating output; a forward that draws numbers draws the same each time."""
    args, kwargs = inputs_of(example)
    with torch.no_grad(), Randomness(0).borrowed():
        return floating(model(*args, **kwargs))


def distance(ones: list[Tensor], others: list[Tensor]) -> float:
    """Largest difference of any output, relative to its largest value; infinite where shapes differ."""
    if not others or [one.shape for one in ones] != [other.shape for other in others]:
        return float("inf")
    pairs = zip(ones, others, strict=True)
    tiny = torch.finfo(torch.float32).tiny  # an output of zeros must be zeros
    scales = [(one.double(), other.double(), other.double().abs().max().clamp_min(tiny)) for one, other in pairs]
    found = [float((one - other).abs().max() / scale) for one, other, scale in scales]
    return max(found) if np.isfinite(found).all() else float("inf")


def _footprint(groups: Coupling, keep: Keep) -> int:
    return groups.footprint({name: len(kept) for name, kept in keep.items()}).parameters


def _unread(groups: Coupling, result: PrunedModel) -> int:
    """Parameters on which no output depends; a graph drops them, a module keeps them."""
    if result.form == "module":
        return 0
    program = groups.program
    nodes = list(program.graph.nodes)
    live = with_ancestors(node for node in nodes if node.op == "output" or (node.op != "placeholder" and writes(node)))
    read = {program.tensors[alias.name].data_ptr() for node, alias in program.aliases.items() if node in live}
    held = {name: program.state[name] for name in program.parameters}
    sizes = {name: list(tensor.shape) for name, tensor in held.items() if tensor.data_ptr() not in read}
    for name, shape in sizes.items():
        for axis, indices in result.axis_indices.get(name, {}).items():
            shape[axis] = len(indices)
    return sum(math.prod(shape) for shape in sizes.values())


def _silent_error(model: nn.Module, groups: Coupling, result: PrunedModel, example: Any) -> float:
    """Against weights zeroed by hand, in the groups over which nothing is normalised."""
    keep = _silenceable(groups)
    smaller = result.model
    if len(keep) < len(groups.free):
        smaller = compress(model, groups, keep, inputs_of(example)).model
    return distance(outputs(smaller, example), outputs(zeroed(model, groups, keep), example))


def _silenceable(groups: Coupling) -> Keep:
    """Half of each group whose silence does not change the statistics of what stays."""
    nodes = [node for node in groups.program.nodes if node.name in groups.normalised]
    values = (groups.labels.get(source.name) for node in nodes for source in node.all_input_nodes)
    labels = {int(label) for value in values if isinstance(value, Tensor) for label in value.unique()}
    apart = {group.name for group in groups.free if labels.isdisjoint(group.labels.tolist())}
    return {name: kept for name, kept in halves(groups).items() if name in apart}


def zeroed(model: nn.Module, groups: Coupling, keep: Keep) -> nn.Module:
    """A copy with zeros in all that makes or reads a filter that is not kept; from the public page alone."""
    silent = weights_stored(copy.deepcopy(model), groups)
    tensors = dict(silent.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, kept in keep.items():
            for part in groups.group(name).slices:
                if part.parameter in tensors:
                    gone = np.flatnonzero((part.filters >= 0) & ~np.isin(part.filters, kept))
                    tensors[part.parameter].index_fill_(part.axis, torch.from_numpy(gone), 0)
    return silent


def weights_stored(model: nn.Module, groups: Coupling) -> nn.Module:
    """The model with each weight that it computes, as weight_norm does, stored as a parameter of that name.

    torch's own `remove_parametrizations` would change the class, which copies share. Where the weight is computed by
    code that is no parametrization, the program that stores it stands for the model; `compress` has compared the two.
    """
    parametrised = [module for module in model.modules() if parametrize.is_parametrized(module)]
    if groups.program.stored is not None and not parametrised:
        return copy.deepcopy(groups.program.stored)
    for module in parametrised:
        values = {name: getattr(module, name).detach() for name in module.parametrizations}
        del module.parametrizations
        module.__class__ = type(module).__base__
        for name, value in values.items():
            setattr(module, name, nn.Parameter(value))
    return model


def _same(model: nn.Module, before: nn.Module) -> bool:
    pairs = zip(model.modules(), before.modules(), strict=True)
    alike = all(one.training == other.training and vars(one).keys() == vars(other).keys() for one, other in pairs)
    weights = before.state_dict()
    return alike and all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())


def _export(model: nn.Module, example: Any, folder: Path) -> bool:
    """Write the program, inputs for it at a batch of its own, and what it should answer."""
    inputs = inputs_of(example)
    program = program_of(model, inputs)
    tried = trials(program, model, inputs)
    write_program(program, folder / "model.pt2", model, tried)
    args, kwargs = tried[-1]
    torch.save((args, kwargs), folder / "in.pt")
    with torch.no_grad():
        answer = model(*args, **kwargs)
    torch.save(floating(answer), folder / "out.pt")
    return len(tried) == 2
