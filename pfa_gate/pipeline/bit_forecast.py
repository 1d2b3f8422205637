"""A forecast of the bytes of a file of few bits, for recipes whose target they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pfa_gate.analysis.layer_patterns import matches
from pfa_gate.artifacts.few_bits_file import floating_bytes
from pfa_gate.compress.quantize import WeightLayer, Width, weight_layers
from pfa_gate.graph import Coupling
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.trace import ModelGraph

_FLOATING = 4  # bytes of a number in a floating file


@dataclass(frozen=True)
class FewBitsInventory:
    """What the file of few bits of the full model stores, each weight with the same width.

    Attributes:
        layers: that get few bits, as they are in the full model.
        width: of their weights.
        whole: bytes of all.
        extra: bytes that the full model's file has more than its parts sum to.
    """

    layers: tuple[WeightLayer, ...]
    width: Width
    whole: int
    extra: int = 0

    def bytes(self, coupling: Coupling, counts: Mapping[str, int]) -> int:
        """What the file of a cut model stores.

        Args:
            coupling: of the model that is cut.
            counts: filters that each group keeps; groups that are not named stay whole.
        """
        widths = {group.name: group.width for group in coupling.groups} | dict(counts)
        volumes = {volume.name: volume for volume in coupling.volumes if volume.name}
        total = coupling.footprint(counts).bytes + self.extra
        for layer in self.layers:
            volume = volumes[layer.weight]
            shape = tuple(round(axis.length(widths)) for axis in volume.axes)
            smaller = replace(layer, shape=shape)
            total += smaller.bytes(self.width) - volume.bytes * smaller.count
        return total


def few_bits_inventory(job: GateJob, graph: ModelGraph) -> FewBitsInventory | None:
    """What the file of few bits of the full model stores.

    Args:
        job: the gate.
        graph: of the full model.

    Returns:
        None where no recipe asks for its bytes, or each layer has a width of its own.
    """
    config = job.config.quantize
    if config is None or config.bits in (8, "auto") or job.config.recipe.strategy != "bytes":
        return None
    patterns = config.layers.exclude
    layers, _ = weight_layers(job.subject.model, graph.coupling, lambda name: matches(name, patterns))
    whole = floating_bytes(job.subject.model, {layer.weight for layer in layers})
    whole += sum(layer.bytes(config.width) for layer in layers)
    sized = FewBitsInventory(layers, config.width, whole)
    return replace(sized, extra=whole - sized.bytes(graph.coupling, {}))
