"""What a forward pass of one sample holds in memory: every tensor from the operator that makes it to its last reader.

The pass is watched operator by operator while it runs. Views and operators in place give memory that is there
already, so what counts is storages, not tensors. Weights, and what is computed from weights alone, are apart. Masks and
positions that are made anew in each pass are not, nor is what is spread over the samples of a batch.
"""

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from pfa_gate.errors import DataError
from pfa_gate.graph.owners import Owners, whole_operators
from pfa_gate.graph.watch import LiveMemory, LiveTensor, Watch
from pfa_gate.model import Batch
from pfa_gate.model.eval_mode import in_eval_mode
from pfa_gate.model.global_state import Randomness, without_garbage_collection
from pfa_gate.model.structure import leaves_of
from pfa_gate.model.user_frames import raised

__all__ = ["LiveMemory", "LiveTensor", "live_memory"]


def live_memory(model: nn.Module, example: Batch) -> LiveMemory:
    """Run a model on one sample, and follow the memory of its activations.

    Args:
        model: left as it was.
        example: its first sample is used; all of them where the model does not take one alone.

    Raises:
        DataError: the model does not run while its operators are watched.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> found = live_memory(net, Batch((torch.zeros(3, 4),), {}))
        >>> [(step.operator, step.layer, step.bytes) for step in found.steps]
        [('linear', '0', 48), ('relu', '1', 64), ('linear', '2', 40)]
        >>> found.bytes, [(each.operator, each.bytes) for each in found.alive], found.moved
        (64, [('linear', 32), ('relu', 32)], 152)
    """
    for batch in (example.take(slice(1)), example):
        try:
            watch = _watched(model, batch)
        except Exception as error:  # the user's forward may raise anything on a single sample
            failure = error
        else:
            return watch.memory(batch.size, _growing(model, watch, batch, example))
    raise DataError(
        f"The memory of the activations cannot be followed: the model raised {raised(failure)}.",
        remedy="Make the model run under a TorchDispatchMode, which sees its operators.",
    ) from failure


def _growing(model: nn.Module, watch: "Watch", batch: Batch, example: Batch) -> Collection[int]:
    """The places of operators whose results have other sizes for more samples; all, if that is not known."""
    sizes = [step.sizes for step in watch.steps]
    if example.size == batch.size:
        return ()
    try:
        others = [step.sizes for step in _watched(model, example).steps]
    except Exception:  # a forward that takes a single sample alone
        return ()
    if len(others) != len(sizes):
        return range(len(sizes))
    return {place for place, pair in enumerate(zip(sizes, others, strict=True)) if pair[0] != pair[1]}


def _watched(model: nn.Module, batch: Batch) -> "Watch":
    with in_eval_mode(model), Randomness(0).borrowed(), without_garbage_collection():
        return _run(model, batch)


def _run(model: nn.Module, batch: Batch) -> "Watch":
    # Copies: an operator in place may write into an input.
    args, kwargs = pytree.tree_map(
        lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, (batch.args, batch.kwargs)
    )
    owners = Owners(dict(model.named_modules()))
    watch = Watch(lambda: owners.current)
    watch.give(leaves_of((args, kwargs))[0])
    with owners.followed(), whole_operators(), watch:
        by_node = _by_node(model, (args, kwargs), watch)
        output = model(*args, **kwargs) if by_node is None else by_node()
    watch.need(leaves_of(output)[0])
    return watch


def _by_node(model: nn.Module, inputs: Any, watch: "Watch") -> Callable[[], Any] | None:
    """A call of a graph of ours, whose nodes know of which module they were; None for any other model."""
    if not isinstance(model, GraphModule) or not any("owner" in node.meta for node in model.graph.nodes):
        return None
    leaves, places = pytree.tree_leaves(inputs), model.graph.find_nodes(op="placeholder")
    if len(leaves) != len(places):
        return None
    graph = _NodeByNode(model)
    watch.owner = lambda: graph.owner
    return lambda: graph.run(*leaves, enable_io_processing=False)


class _NodeByNode(Interpreter):
    """Runs a graph, and knows of which module the node is that runs."""

    owner = ""

    def run_node(self, n: Node) -> Any:
        """Run one node."""
        self.owner = n.meta.get("owner", "")
        return super().run_node(n)
