"""What an ONNX file holds in memory for one sample: its operators as they are written, each output to its last reader.

It is run once, unoptimised, with all values as outputs. Weights, and what is computed from them alone, are apart.
"""

import copy
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from pfa_gate.errors import CandidateError, DataError
from pfa_gate.graph.watch import INPUT, LiveMemory, LiveStorage, LiveTensor, WatchedOperator, live_of
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.session import onnx_session

# Their output is their first input, seen otherwise.
_VIEWS = frozenset("Reshape Flatten Squeeze Unsqueeze Identity Dropout".split())


def onnx_memory(content: bytes | str, name: str, run: Callable[[OnnxModel], int]) -> LiveMemory:
    """Follow the memory of an ONNX file's activations.

    Args:
        content: of the file, or its path where tensors of it lie in other files.
        name: of the file, for people.
        run: calls the model it is given, and says with how many samples.

    Raises:
        DataError: the file is not followed: it quantizes, holds graphs within operators, or does not run.
    """
    proto = _read(content, name)
    computed = list(_computed(proto.graph))
    _require_plain(proto, computed)
    outputs = {each.name for each in proto.graph.output}
    model, samples = _ran(_with_all_values(proto, computed, outputs), name, run)
    return _followed(proto.graph, model.sizes, model.batch or samples, outputs)


def _read(content: bytes | str, name: str) -> Any:
    onnx = importlib.import_module("onnx")
    try:
        return onnx.load(content) if isinstance(content, str) else onnx.load_from_string(content)
    except Exception as error:  # the reader refuses in exceptions of several libraries
        raise _unfollowed(name, f"it cannot be read: {type(error).__name__}") from error


def _with_all_values(proto: Any, computed: Sequence[Any], outputs: Collection[str]) -> Any:
    """The file with each computed value among its outputs, behind its own."""
    helper = importlib.import_module("onnx").helper
    whole = copy.deepcopy(proto)
    values = (name for node in computed for name in node.output if name and name not in outputs)
    whole.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in values)
    return whole


def _ran(proto: Any, name: str, run: Callable[[OnnxModel], int]) -> "tuple[_Bytes, int]":
    try:
        model = _Bytes(onnx_session(proto.SerializeToString(), name, optimised=False), name)
        return model, run(model)
    except CandidateError as error:
        raise _unfollowed(name, error.fact.rstrip(".")) from error
    except ValueError as error:  # a file of over 2 GB cannot be written into memory
        raise _unfollowed(name, f"it is too large: {error}") from error


def _unfollowed(name: str, why: str) -> DataError:
    return DataError(f"The memory of {name} is not followed: {why}.")


def _require_plain(proto: Any, computed: Sequence[Any]) -> None:
    if proto.functions:
        raise _unfollowed("the file", "it holds functions of its own")
    for node in computed:
        if "quantize" in node.op_type.lower() or node.op_type.startswith(("QLinear", "QGemm")):
            raise _unfollowed("the file", f"runtimes fuse its operator {node.op_type} with others")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise _unfollowed("the file", f"its operator {node.op_type} holds a graph")


def _computed(graph: Any) -> Iterator[Any]:
    """The operators that depend on the input, in order."""
    constant = {each.name for each in graph.initializer}
    for node in graph.node:
        if all(name in constant for name in node.input if name):
            constant |= set(node.output)
        else:
            yield node


class _Bytes(OnnxModel):
    """Remembers the bytes of all inputs and outputs of its last part."""

    def __init__(self, session: Any, name: str) -> None:
        super().__init__(session, name)
        self.sizes: dict[str, int] = {}

    def _run(self, feed: Mapping[str, Any]) -> list[Any]:
        values = super()._run(feed)
        self.sizes = {name: int(value.nbytes) for name, value in feed.items()}
        self.sizes |= {name: int(value.nbytes) for name, value in zip(self._names, values, strict=True)}
        return values


def _followed(graph: Any, sizes: Mapping[str, int], samples: int, outputs: Collection[str]) -> LiveMemory:
    memories = {
        each.name: LiveStorage(LiveTensor(INPUT, "", sizes[each.name]), active=True)
        for each in graph.input
        if each.name in sizes
    }
    steps: list[WatchedOperator] = []
    for node in graph.node:
        made = [name for name in node.output if name in sizes]
        if not made:  # it depends on weights alone
            continue
        layer = _layer(node)
        reads = [(memories[name], sizes[name]) for name in dict.fromkeys(node.input) if name in memories]
        for name in made:
            view = node.op_type in _VIEWS and node.input[0] in memories and sizes[name] == sizes[node.input[0]]
            new = LiveStorage(LiveTensor(node.op_type, layer, sizes[name]), len(steps), active=True)
            memories[name] = memories[node.input[0]] if view else new
        step = WatchedOperator(node.op_type, layer, reads, [(memories[name], sizes[name]) for name in made])
        for memory, _ in (*step.reads, *step.gives):
            memory.last = len(steps)
        steps.append(step)
    for name in outputs:
        if name in memories:
            memories[name].last = len(steps)
    return live_of({id(memory): memory for memory in memories.values()}.values(), steps, samples)


def _layer(node: Any) -> str:
    """The layer whose weight an operator reads, by the name of the weight."""
    weights = (name for name in node.input if name.endswith((".weight", ".bias")))
    return next((name.rpartition(".")[0] for name in weights), "")
