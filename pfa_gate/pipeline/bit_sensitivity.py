"""How far a model's answers move when one layer alone gets few bits, at every width."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from torch import Tensor, nn

from pfa_gate.compress.prune.silence import silent_program
from pfa_gate.compress.quantize import WeightLayer, Width, rounded
from pfa_gate.compress.select import Evidence
from pfa_gate.compress.sensitivity import precision_of
from pfa_gate.graph import Program
from pfa_gate.model import Subject
from pfa_gate.pipeline.answer_distance import AnswerDistance, Effect, Split

MOST = 256  # samples that are judged on: every layer is, at every width
Progress = Callable[[int, int], None]


class BitSensitivity:
    """Divergence of the answers when weights are others than they are.

    Args:
        subject: whose probe answers are compared on: on one of every five samples, up to 256 of them.
        model: whose weights get few bits.
        program: of it.
        known: effects of (weight, width) that were measured before; new ones are added.
    """

    def __init__(
        self,
        subject: Subject,
        model: nn.Module,
        program: Program,
        known: dict[tuple[str, Width], Effect] | None = None,
    ) -> None:
        self._known = {} if known is None else known
        self.split = Split.of(subject.probe, MOST)
        self._evidence = Evidence(program, (), {}, self.split.fitted, device=subject.device)
        self._weights = dict(model.named_parameters(remove_duplicate=False))

    @cached_property
    def _answers(self) -> AnswerDistance:
        return AnswerDistance(self._with({}), self.split.judged, self._evidence.runs)

    @property
    def samples(self) -> int:
        """How many samples answers are compared on."""
        return self._answers.samples

    @property
    def measure(self) -> str:
        """Divergence, or output error where there are no class scores."""
        return self._answers.measure

    def _with(self, tensors: Mapping[str, Tensor]) -> Program:
        program = self._evidence.program
        return silent_program(program, {}, precision_of(program), tensors).on(self._evidence.device)

    def of(self, tensors: Mapping[str, Tensor]) -> Effect:
        """How far the answers move with these tensors in the place of its own, by name."""
        held = {name: tensor.detach() for name, tensor in tensors.items() if name in self._evidence.program.tensors}
        return self._answers.to(self._with(held))

    def at(self, layer: WeightLayer, width: Width) -> Effect:
        """How far the answers move when this layer alone has the nearest numbers of a width."""
        key = layer.weight, width
        if key not in self._known:
            weight = self._weights[layer.weight]
            few = rounded(weight, width, layer.axis).weight(weight.dtype).movedim(0, layer.axis)
            self._known[key] = self.of({layer.weight: few})
        return self._known[key]

    def table(
        self, layers: Sequence[WeightLayer], widths: Sequence[Width] = (), progress: Progress | None = None
    ) -> dict[str, dict[Width, Effect]]:
        """For each layer its effect at each width.

        Args:
            layers: that get few bits, one at a time.
            widths: each of them; those that each layer may have unless given.
            progress: called with how many are done, of how many.
        """
        wanted = [(layer, width) for layer in layers for width in widths or layer.widths]
        found: dict[str, dict[Width, Effect]] = {layer.name: {} for layer in layers}
        for done, (layer, width) in enumerate(wanted, 1):
            found[layer.name][width] = self.at(layer, width)
            if progress is not None:
                progress(done, len(wanted))
        return found
