"""Whether a file gives the same answers as its reference where it runs: the evidence as plain data, and the verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pfa_gate.budget.finding import Judgement, not_judged, outcome_of
from pfa_gate.budget.wording import plural, significant
from pfa_gate.config import Limit

OF_TORCH, OF_ITSELF = "the compressed model in torch", "the same file with all optimisations off"
"""What a file is held against: in floating point, and in eight bits or made by another tool."""
_VNNI = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")


@dataclass(frozen=True)
class Machine:
    """What a file ran on.

    Attributes:
        runtime: with its version.
        providers: of its kernels, in the order in which they are asked.
        threads: of each operator.
        cpu: name of its model.
        flags: its instructions that kernels are chosen by, as Linux spells them; empty where they are not known.
    """

    runtime: str
    providers: tuple[str, ...]
    threads: int
    cpu: str
    flags: tuple[str, ...]

    @property
    def saturates(self) -> bool:
        """Whether its products of eight bits, unsigned by signed, are added up in sixteen bits, which overflow.

        Example:
            >>> Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx", "avx2")).saturates
            True
        """
        return "avx2" in self.flags and not any(flag in self.flags for flag in _VNNI)


@dataclass(frozen=True)
class Flip:
    """A sample whose answer is another one than the reference's.

    Attributes:
        sample: its number in the data, from 0.
        reference: the class that the reference gives; None where outputs are no class scores.
        here: the class that the file gives; None likewise.
        gap: largest difference of its outputs; None where it is not finite.
        lead: by how much the reference's class leads the class given here; None where outputs are no class scores.
    """

    sample: int
    reference: int | None
    here: int | None
    gap: float | None
    lead: float | None = None


@dataclass(frozen=True)
class Parity:
    """A file as the runtime optimises it against its reference, sample by sample.

    Attributes:
        file: its name.
        reference: what it is held against, in words.
        machine: what it ran on.
        source: evaluation, or the probe where there is none.
        samples: how many were compared.
        classes: whether outputs are class scores, so that an answer is the largest; else an answer flips where its
            outputs are off by more than `tolerance`.
        flips: samples whose answer is another one.
        gap: largest difference of outputs; None where it is not finite.
        relative_gap: the same as a share of the standard deviation of the output; None where it is not finite.
        tolerance: largest relative gap of what is no class score.
        flipped: the first of them.
    """

    file: str
    reference: str
    machine: Machine
    source: Literal["evaluation", "probe"]
    samples: int
    classes: bool
    flips: int
    gap: float | None
    relative_gap: float | None
    tolerance: float
    flipped: tuple[Flip, ...] = ()

    @property
    def where(self) -> str:
        """The samples that were compared, in words."""
        return f"{plural(self.samples, 'sample')} of the {self.source}"


def judge_parity(limit: Limit, found: Parity | None, reason: str) -> Judgement:
    """Hold the number of answers that flip to a limit.

    Args:
        limit: most of them.
        found: what was measured.
        reason: why nothing was.

    Example:
        >>> machine = Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx2",))
        >>> found = Parity("model.onnx", OF_TORCH, machine, "evaluation", 761, True, 0, 1.9e-5, 2.3e-6, 0.001)
        >>> judge_parity(Limit(0, "absolute", "0"), found, "").sentence
        'No answer of model.onnx flips on 761 samples of the evaluation, within the limit of 0.'
    """
    if found is None:
        return not_judged(limit.words(), reason)
    kept = found.flips <= limit.value
    over = f"{found.flips - int(limit.value):,} more than" if not kept else "within"
    count = plural(found.flips, "answer") if found.flips else "No answer"
    verb = "flips" if found.flips <= 1 else "flip"
    sentence = f"{count} of {found.file} {verb} on {found.where}, {over} the limit of {limit.text}."
    return Judgement(limit.text, f"{found.flips:,}", outcome_of(kept), sentence, notes=tuple(_notes(found)))


def _notes(found: Parity) -> Iterator[str]:
    if found.source == "probe":
        yield "There is no evaluation, so the samples are those of the probe."
    if found.flips:
        more = f" and {found.flips - len(found.flipped):,} more" if found.flips > len(found.flipped) else ""
        noun = "Sample" if found.flips == 1 else "Samples"
        yield f"{noun} {', '.join(str(each.sample) for each in found.flipped)}{more}, against {found.reference}."


def gap_words(found: Parity) -> str:
    """The largest gap of outputs, and as a share of their spread.

    Example:
        >>> machine = Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx2",))
        >>> gap_words(Parity("model.onnx", OF_TORCH, machine, "probe", 8, True, 0, 0.5, 0.25, 0.001))
        '0.5, 25% of their spread'
    """
    if found.gap is None or found.relative_gap is None:
        return "not finite"
    return f"{_small(found.gap)}, {_small(100 * found.relative_gap)}% of their spread"


def _small(value: float) -> str:
    return significant(value, 2) if value == 0 or value >= 0.001 else f"{value:.1e}"
