"""How far a model's answers move when one layer alone gets few bits, at every width."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from torch import Tensor, nn

from pfa_gate.compress.prune.silence import silent_program
from pfa_gate.compress.quantize import FewBits, WeightLayer, Width, rounded
from pfa_gate.compress.recover.refit import about
from pfa_gate.compress.regress import Sums
from pfa_gate.compress.select import Evidence
from pfa_gate.compress.select.reconstruction import COLUMNS, grams
from pfa_gate.compress.sensitivity import precision_of
from pfa_gate.graph import Program
from pfa_gate.graph.calls import Call, calls, epilogue_of, matrix_of, weight_of
from pfa_gate.model import Subject
from pfa_gate.pipeline.answer_distance import AnswerDistance, Effect, Split

MOST = 256  # samples that are judged on: every layer is, at every width
WORK = 1e9  # products of one sweep over all layers, up to which each is tried with error feedback
Progress = Callable[[int, int], None]


def _solvable(program: Program, weights: Mapping[str, Tensor]) -> dict[str, Call]:
    """The calls of layers whose weights can have error feedback; none where it is too much work for all of them."""
    found = {
        call.weight: call
        for call in calls(program)
        if call.fault is None and call.readable and call.outputs == 0 and call.weight in weights
    }
    shapes = [matrix_of(call, weights[name]).shape for name, call in found.items()]
    narrow = all(columns <= COLUMNS for _, columns, _ in shapes)
    return found if narrow and sum(groups * columns**2 * filters for groups, columns, filters in shapes) <= WORK else {}


class BitSensitivity:
    """Divergence of the answers when weights are others than they are.

    Args:
        subject: whose probe answers are compared on: on one of every five samples, up to 256 of them.
        model: whose weights get few bits.
        program: of it.
        known: effects of (weight, width) that were measured before; new ones are added.
        feedback: whether a layer's numbers are those with error feedback, where that is not too much work for all of
            them; else they are the nearest.
    """

    def __init__(
        self,
        subject: Subject,
        model: nn.Module,
        program: Program,
        known: dict[tuple[str, Width], Effect] | None = None,
        *,
        feedback: bool = False,
    ) -> None:
        self._known = {} if known is None else known
        self.split = Split.of(subject.probe, MOST)
        self._evidence = Evidence(program, (), {}, self.split.fitted, device=subject.device)
        self._weights = dict(model.named_parameters(remove_duplicate=False))
        self._solvable = _solvable(program, self._weights) if feedback else {}

    @cached_property
    def _answers(self) -> AnswerDistance:
        return AnswerDistance(self._with({}), self.split.judged, self._evidence.runs)

    @property
    def feedback(self) -> bool:
        """Whether layers are tried with error feedback."""
        return bool(self._solvable)

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
        """How far the answers move when this layer alone has numbers of a width."""
        key = layer.weight, width
        if key not in self._known:
            fed_back = layer.weight in self._solvable and layer.axis == 0
            self._known[key] = self.of(self._fed_back(layer, width) if fed_back else self._nearest(layer, width))
        return self._known[key]

    def _nearest(self, layer: WeightLayer, width: Width) -> dict[str, Tensor]:
        weight = self._weights[layer.weight]
        return {layer.weight: rounded(weight, width, layer.axis).weight(weight.dtype).movedim(0, layer.axis)}

    def _fed_back(self, layer: WeightLayer, width: Width) -> dict[str, Tensor]:
        """The weight with error feedback, and where there is an offset to move, that which its outputs' means need."""
        call, weight = self._solvable[layer.weight], self._weights[layer.weight].detach()
        norm = self._norms[layer.weight]
        read = about(self._read[layer.weight], centred=call.bias is not None or norm is not None)
        free = matrix_of(call, weight).double()
        few = FewBits({call.layer: width}, {call.layer: weight}).stored(call, free, read.gram)
        tensors = {layer.weight: weight_of(call, few, tuple(weight.shape)).to(weight)}
        moved = (read.row_mean[:, :, None] * (free - few)).sum(1).flatten()
        held = self._evidence.program.tensors
        if call.bias is not None:
            tensors[call.bias] = held[call.bias] + moved.to(held[call.bias])
        elif norm is not None:
            tensors[norm] = held[norm] - moved.to(held[norm])
        return tensors

    @cached_property
    def _read(self) -> dict[str, Sums]:
        """What each layer reads."""
        return grams(self._evidence, list(self._solvable.values()))

    @cached_property
    def _norms(self) -> dict[str, str | None]:
        """Weight of a layer -> the mean of the batch norm that follows it, if one does."""
        program = self._evidence.program
        return {weight: epilogue_of(program, call).mean for weight, call in self._solvable.items()}

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
