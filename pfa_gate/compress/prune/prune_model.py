"""The compressed model, cut in place or as a graph: the program on smaller tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from pfa_gate.compress.prune.arguments import RemainingValues, rewrite_node, stored
from pfa_gate.compress.prune.cut import AxisIndices, axis_indices_of, narrow
from pfa_gate.compress.prune.proof import Proof, Silenced, prove
from pfa_gate.compress.prune.silence import silent_constants
from pfa_gate.compress.prune.stand_in import require_same, require_unfused
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import inputs_of, trace
from pfa_gate.graph.computed_weights import sources_of
from pfa_gate.graph.editing import as_module, drop_dead, drop_unread
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.parts import take_parts
from pfa_gate.graph.program import origin, shape_of, writes
from pfa_gate.model.batch import Inputs
from pfa_gate.model.eval_mode import in_eval_mode

aten = torch.ops.aten


def rewrite(coupling: Coupling, remaining: RemainingValues, axis_indices: AxisIndices) -> GraphModule:
    """The program with the planned parameters cut and every shape constant that depends on them changed.

    Args:
        coupling: with the program and the labels of its values.
        remaining: what is left of every value.
        axis_indices: what is left of every parameter.

    Raises:
        SurgeryError: an operator's arguments cannot follow.
    """
    program = coupling.program
    smaller = as_module(program, compiled=False)
    graph = smaller.graph
    graph.eliminate_dead_code()  # what nothing reads was not followed
    _own_tensors(smaller, axis_indices)
    sources = {node.name: node for node in program.graph.nodes}
    for node in list(graph.nodes):
        if node.op == "call_function":
            rewrite_node(node, sources[node.name], remaining)
            if node.name in coupling.scattered:
                _scatter_operands(node, sources[node.name], remaining)
    _bake_constants(smaller, coupling, axis_indices)
    take_parts(smaller, program, axis_indices)
    drop_dead(smaller, {node.name for node in program.constants})
    graph.eliminate_dead_code()
    drop_unread(smaller)
    graph.lint()
    smaller.recompile()
    return smaller


def _own_tensors(module: GraphModule, axis_indices: AxisIndices) -> None:
    """Give the module its own, cut copies of the tensors that it shares with the full model so far."""
    seen: dict[int, Tensor] = {}
    for owner_name, owner in module.named_modules():
        for table in (owner._parameters, owner._buffers):
            for attribute, tensor in table.items():
                if tensor is not None and id(tensor) not in seen:
                    name = f"{owner_name}.{attribute}" if owner_name else attribute
                    seen[id(tensor)] = _cut(tensor, axis_indices.get(name, {}))
    for owner in module.modules():
        for table in (owner._parameters, owner._buffers):
            for attribute, tensor in table.items():
                if tensor is not None and id(tensor) in seen:
                    table[attribute] = seen[id(tensor)]  # type: ignore[assignment]


def _cut(tensor: Tensor, axes: Mapping[int, Any]) -> Tensor:
    fresh = tensor.detach()
    for axis, indices in axes.items():
        fresh = fresh.index_select(axis, torch.as_tensor(indices))
    fresh = fresh if axes else fresh.clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(fresh.contiguous(), requires_grad=tensor.requires_grad)
    return fresh.contiguous()


def _drop_writers(module: GraphModule, coupling: Coupling, axis_indices: AxisIndices) -> None:
    """What was written into a constant in place is in its stored value already."""
    baked = {node for name, node in coupling.program.folded.items() if name in axis_indices}
    writers = {node.name for node in coupling.program.constants if writes(node) and origin(node) in baked}
    for node in reversed(list(module.graph.nodes)):
        if node.name in writers and not node.users:
            module.graph.erase_node(node)


def _bake_constants(module: GraphModule, coupling: Coupling, axis_indices: AxisIndices) -> None:
    """What was computed from parameters alone and is cut now, or computed from what is, becomes a stored tensor."""
    _drop_writers(module, coupling, axis_indices)
    program = coupling.program
    cut = {node: axis_indices[name] for name, node in program.folded.items() if name in axis_indices}
    values = {node.name: (node, _cut(program.constants[node], axes)) for node, axes in cut.items()}
    values |= {node.name: (node, value) for node, value in silent_constants(program, axis_indices).items()}
    for node in [node for node in module.graph.nodes if node.name in values]:
        source, value = values[node.name]
        name = constant_name(source)
        _register_constant(module, name, value, sources_of(program, source))
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(name)
        stored.meta = dict(node.meta)
        node.replace_all_uses_with(stored)
        module.graph.erase_node(node)


def constant_name(node: Node) -> str:
    """What a constant of the full program is called where the compressed model stores it."""
    return f"constant_{node.name}"


def _register_constant(module: GraphModule, name: str, value: Tensor, sources: Sequence[str]) -> None:
    """What was computed from parameters is a parameter; from stored buffers, one of these; else nothing to store."""
    trained = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    if value.is_floating_point() and not trained.isdisjoint(sources):
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value, persistent=bool(sources))


def _scatter_operands(node: Node, source: Node, remaining: RemainingValues) -> None:
    """Each operand back to full width: one channel of zeros is appended, and read wherever a filter is gone."""
    for operand, place in zip(node.all_input_nodes, source.all_input_nodes, strict=True):
        left = remaining.of(place)
        if left is None:
            continue
        axis, stays = left
        index = torch.where(stays, stays.cumsum(0) - 1, int(stays.sum()))
        amounts = [0] * (2 * (len(shape_of(place)) - axis))
        amounts[-1] = 1
        with node.graph.inserting_before(node):
            wider = node.graph.call_function(aten.constant_pad_nd.default, (operand, amounts))
            index_node = stored(node, f"scatter_{node.name}_{operand.name}", index)
            whole = node.graph.call_function(aten.index_select.default, (wider, axis, index_node))
        node.replace_input_with(operand, whole)


Keep = Mapping[str, npt.ArrayLike]
Form = Literal["module", "graph"]


@dataclass(frozen=True)
class PrunedModel:
    """A proved smaller model.

    Attributes:
        model: the smaller model, in eval mode.
        axis_indices: for each parameter and axis, the indices that stayed.
        proof: how exactly it equals the silenced model.
        put_back: for each group whose cut could not be proved, why; these groups are whole.
        form: `module` where the model's own class runs at the new widths; else `graph`, its program.
    """

    model: nn.Module
    axis_indices: AxisIndices
    proof: Proof
    put_back: Mapping[str, str]
    form: Form = "module"


def operate(model: nn.Module, example: Any, keep: Keep) -> nn.Module:
    """A smaller model that keeps the filters named in `keep`; `model` is not changed.

    Args:
        model: any module.
        example: a batch of inputs: a tensor, a tuple of positional inputs, or a mapping of keyword inputs.
        keep: for each group to cut, int64 indices of the filters that stay; other groups stay whole.

    Returns:
        A module in eval mode with `.kept`, {parameter: {axis: int64 indices}}.

    Raises:
        TraceError: the model cannot be followed.
        SurgeryError: a group is unknown or frozen, or the proof fails; the message names the groups.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> operate(net, torch.zeros(2, 4), {"0": [1, 3, 5]})[0]
        Linear(in_features=4, out_features=3, bias=True)
    """
    result = compress(model, trace(model, example), keep, inputs_of(example))
    if result.put_back:
        names = "; ".join(f"'{name}': {reason}" for name, reason in sorted(result.put_back.items()))
        raise SurgeryError(f"The cut of these groups cannot be proved exact: {names}.")
    return with_kept(result.model, result.axis_indices)


def with_kept(model: nn.Module, axis_indices: AxisIndices) -> nn.Module:
    """The model itself with `.kept`, where the user of a smaller model reads which indices stayed.

    Example:
        >>> with_kept(nn.Linear(1, 1), {"weight": {0: [2]}}).kept
        {'weight': {0: [2]}}
    """
    vars(model)["kept"] = axis_indices
    return model


def compress(model: nn.Module, coupling: Coupling, keep: Keep, inputs: Inputs) -> PrunedModel:
    """Cut every group in `keep` whose cut can be proved; put the others back and say why.

    A model that computes its weights in each forward pass is cut as its program, in which they are stored.
    """
    with in_eval_mode(model):
        require_same(model, coupling, inputs)
        trial = _Trial(model, coupling, dict(keep), inputs)
        good, reasons = provable_parts(trial.attempt, sorted(keep))
        attempt = trial.attempt(good)
        if isinstance(attempt, PrunedModel) and attempt.form == "graph":
            require_unfused(model, coupling, inputs)
    if isinstance(attempt, str):
        raise SurgeryError(f"No cut of this model can be proved exact: {attempt}.")
    return replace(attempt, put_back=reasons)


@dataclass(frozen=True)
class _Trial:
    model: nn.Module
    coupling: Coupling
    keep: dict[str, npt.ArrayLike]
    inputs: Inputs
    done: dict[tuple[str, ...], "PrunedModel | str"] = field(default_factory=dict)

    def attempt(self, names: Sequence[str]) -> "PrunedModel | str":
        """The proved model with these groups cut, or why there is none."""
        key = tuple(sorted(names))
        if key not in self.done:
            self.done[key] = self._attempt(key)
        return self.done[key]

    def _attempt(self, names: tuple[str, ...]) -> "PrunedModel | str":
        keep = {name: self.keep[name] for name in names}
        axis_indices = axis_indices_of(self.coupling, keep)
        stored = self.coupling.program.stored
        remaining = RemainingValues(self.coupling, keep)
        silenced = Silenced(stored or self.model, self.coupling, axis_indices, remaining, self.inputs)
        in_place: PrunedModel | str = "it computes its weights"
        if stored is None:
            in_place = self._proved("module", lambda: narrow(self.model, axis_indices).eval(), silenced)
        if isinstance(in_place, PrunedModel):
            return in_place
        by_graph = self._proved("graph", lambda: rewrite(self.coupling, silenced.remaining, axis_indices), silenced)
        return by_graph if isinstance(by_graph, PrunedModel) else f"{by_graph} (in its own class: {in_place})"

    def _proved(self, form: Form, build: Callable[[], nn.Module], silenced: Silenced) -> "PrunedModel | str":
        try:
            smaller = build()
            proof = prove(smaller, silenced)
        except SurgeryError as error:
            return error.fact.removesuffix(".")
        if not proof.passed:
            return f"off by {proof.max_error:.1e} (allowed {proof.tolerance:.0e})"
        return PrunedModel(smaller, silenced.axis_indices, proof, {}, form)


def provable_parts(
    attempt: Callable[[Sequence[str]], object], names: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Halve until the faulty parts are found; parts that are exact alone but not together lose the later half.

    Args:
        attempt: of some parts; what it gives is a text, which says why, where they cannot be proved.
        names: of the parts.

    Returns:
        Those that can be proved together, and why the others cannot.

    Example:
        >>> provable_parts(lambda names: "it is odd" if "b" in names else 1, ["a", "b", "c"])
        (['a', 'c'], {'b': 'it is odd'})
    """
    fault = attempt(names)
    if not isinstance(fault, str):
        return list(names), {}
    if len(names) <= 1:
        return [], dict.fromkeys(names, fault)
    half = len(names) // 2
    first, reasons = provable_parts(attempt, names[:half])
    second, more = provable_parts(attempt, names[half:])
    reasons |= more
    together = attempt([*first, *second])
    if not isinstance(together, str):
        return [*first, *second], reasons
    return first, reasons | dict.fromkeys(second, f"not exact together with others: {together}")
