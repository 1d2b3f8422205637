"""Weights that a forward pass computes from parameters, stored as parameters of the layer that they belong to.

`weight_norm`, `spectral_norm`, standardised convolutions, equalised learning rates, merged adapters, weights unpacked
from integers: the product reads a tensor that no parameter holds. A smaller one cannot be computed from smaller
parameters in general (a norm over fewer inputs is another norm), so the computed tensor is what is cut and stored.
It bears its layer's name, and everything after the trace sees an ordinary weight.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from pfa_gate.graph.editing import as_module, drop_dead, drop_unread, register, with_ancestors
from pfa_gate.graph.program import Program, is_tensor, operator_name, origin, writes

_PRODUCTS = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "einsum", "embedding")
_NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
_DECORATED = re.compile(r"((?:weight|bias)\w*?)_(?:orig|v|bar|raw)")  # what reparametrisations call their tensor


@dataclass(frozen=True)
class ComputedWeight:
    """A weight that is computed from others.

    Attributes:
        nodes: that compute it, all alike: one for each call of its layer.
        name: of the parameter that stores it.
        sources: names of the tensors it is computed from.
    """

    nodes: tuple[str, ...]
    name: str
    sources: tuple[str, ...]


def computed_weights(program: Program) -> tuple[ComputedWeight, ...]:
    """The weights and biases that products and normalisations read and that are computed from stored weights.

    Constants computed from float buffers alone, such as the kernel of a blur, are no weights.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> net = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))
        >>> program = record_model(torch.nn.Sequential(net), (torch.zeros(2, 3),), {})
        >>> sorted(program.state)
        ['0.bias', '0.weight']
    """
    held = held_nodes(program)
    alike: dict[Any, list[Node]] = {}
    canonical: dict[Node, Any] = {}
    for node in _read_as_weights(program):
        alike.setdefault(_computation(node, canonical), []).append(node)
    names = _names_still_read(program, {node for nodes in alike.values() for node in nodes})
    weights = []
    for nodes in alike.values():
        sources = _sources(nodes[0], held)
        if any(_is_weight(program, name) for name in sources):
            name = _free_name(_weight_name(nodes[0], sources, program), names)
            names.add(name)
            weights.append(ComputedWeight(tuple(node.name for node in nodes), name, tuple(sources)))
    return tuple(weights)


def store_weights(program: Program, weights: Sequence[ComputedWeight]) -> GraphModule:
    """The program as a module in which these weights are parameters; what only they were computed from is gone.

    Args:
        program: of the model as it is.
        weights: what `computed_weights` found in it.
    """
    module = as_module(program, compiled=False)
    values = {node.name: value for node, value in program.constants.items()}
    for weight in weights:
        register(module, weight.name, nn.Parameter(values[weight.nodes[0]].detach().clone().contiguous()))
    names = {node: weight.name for weight in weights for node in weight.nodes}
    for node in [node for node in module.graph.nodes if node.name in names]:
        with module.graph.inserting_before(node):
            stored = module.graph.create_node("get_attr", names[node.name])
        stored.meta = dict(node.meta)
        node.replace_all_uses_with(stored)
    drop_dead(module, values)
    drop_unread(module, {name for weight in weights for name in weight.sources})
    module.graph.lint()
    module.recompile()
    return module


def unpacked_weights(program: Program, weights: Sequence[ComputedWeight]) -> frozenset[str]:
    """Names of the integer buffers that these weights are unpacked from: they are the model's weights."""
    trained = program.parameters
    sources = {name for weight in weights for name in weight.sources}
    return frozenset(name for name in sources if name not in trained and _is_weight(program, name))


# --- which nodes


def _read_as_weights(program: Program) -> Iterator[Node]:
    """The constant nodes that give what is read as a weight or bias, each once, in order of execution."""
    written = {origin(node) for node in program.constants if writes(node)}
    seen: set[Node] = set()
    for node in program.nodes:
        for operand in _weight_operands(node):
            alias = program.aliases.get(operand)
            source = program.folded.get(alias.name) if alias is not None else None
            if source is not None and source not in seen and source not in written:
                seen.add(source)
                yield source


def _weight_operands(node: Node) -> Iterator[Node]:
    name = operator_name(node) if node.op == "call_function" else ""
    if name.startswith((*_PRODUCTS, *_NORMS)):
        operands = (operand for operand in node.all_input_nodes if is_tensor(operand))
        yield from (operand for operand in operands if operand.meta["val"].is_floating_point())


def _computation(node: Node, known: dict[Node, Any]) -> Any:
    """What a node computes, such that two nodes that compute the same are equal."""
    if node.op != "call_function":
        return node
    if node not in known:
        args = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: _computation(source, known))
        known[node] = (str(node.target), repr(args))
    return known[node]


# --- what they are computed from


def held_nodes(program: Program) -> Mapping[Node, str]:
    """Graph inputs that stand for stored tensors of the model, and their names."""
    stored = program.state
    return {
        node: alias.name for node, alias in program.aliases.items() if node.op == "placeholder" and alias.name in stored
    }


def sources_of(program: Program, node: Node) -> list[str]:
    """Names of the stored tensors that a constant of the program is computed from."""
    return _sources(node, held_nodes(program))


def _sources(node: Node, held: Mapping[Node, str]) -> list[str]:
    """The stored tensors that a node is computed from, in the order in which the graph holds them."""
    needed = with_ancestors([node])
    return [name for source, name in held.items() if source in needed]


def _is_weight(program: Program, name: str) -> bool:
    """A parameter, or integers that weights are unpacked from."""
    if name in program.parameters:
        return True
    tensor = program.tensors[name]
    return not tensor.is_floating_point() and tensor.dtype != torch.bool and tensor.ndim > 1


# --- what they are called


def _weight_name(node: Node, sources: Sequence[str], program: Program) -> str:
    """The name that a layer of torch would give it, in the module that holds its main source.

    The main source has as many elements as the weight; else it is the largest. A part of one tensor keeps its name.
    """
    value = node.meta["val"]
    sizes = {name: program.tensors[name].numel() for name in sources}
    main = next((name for name, size in sizes.items() if size == value.numel()), max(sizes, key=sizes.__getitem__))
    owner, _, attribute = main.rpartition(".")
    module, reparametrised, of = owner.rpartition("parametrizations.")
    if reparametrised:
        return f"{module}{of.split('.')[0]}"
    decorated = _DECORATED.fullmatch(attribute)
    if decorated:
        attribute = decorated[1]
    elif value.ndim > 1 and sizes[main] <= value.numel():
        attribute = "weight" if owner else attribute
    return f"{owner}.{attribute}" if owner else attribute


def _names_still_read(program: Program, replaced: set[Node]) -> set[str]:
    """Names of stored tensors that something else than these nodes reads."""
    live: set[Node] = set()
    waiting = [node for node in program.graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in live and node not in replaced:
            live.add(node)
            waiting.extend(node.all_input_nodes)
    return {program.aliases[node].name for node in live if node.op == "placeholder" and node in program.aliases}


def _free_name(name: str, used: set[str]) -> str:
    number, wanted = 1, name
    while wanted in used:
        number += 1
        wanted = f"{name}_{number}"
    return wanted
