"""Parity in words: which answers of a file flip, against what, on which machine."""

from pfa_gate.budget.parity import OF_ITSELF, Flip, Machine, Parity, gap_words
from pfa_gate.budget.wording import plural, significant
from pfa_gate.record import Record


def parity_fact(found: Parity) -> str:
    """How many answers of a file flip, and the largest gap.

    Example:
        >>> machine = Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx2",))
        >>> parity_fact(Parity("a.onnx", "its reference", machine, "probe", 8, True, 0, 0.5, 0.25, 0.001))
        'a.onnx: 0 of 8 answers flip against its reference; the largest gap of outputs is 0.5, 25% of their spread.'
    """
    verb = "flips" if found.flips == 1 else "flip"
    count = f"{found.flips:,} of {plural(found.samples, 'answer')} {verb}"
    beyond = "" if found.classes else f" by more than {significant(100 * found.tolerance)}% of the outputs' spread"
    return f"{found.file}: {count}{beyond} against {found.reference}; the largest gap of outputs is {gap_words(found)}."


def machine_words(machine: Machine) -> str:
    """What a file ran on, in one line.

    Example:
        >>> machine_words(Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx2", "fma")))
        'ONNX Runtime 1.31.1, CPUExecutionProvider, 1 thread, AMD EPYC with avx2, fma'
    """
    flags = f"with {', '.join(machine.flags)}" if machine.flags else "(its instructions are not known)"
    return (
        f"{machine.runtime}, {', '.join(machine.providers)}, {plural(machine.threads, 'thread')}, {machine.cpu} {flags}"
    )


def flip_words(flip: Flip) -> str:
    """A sample whose answer flips.

    Example:
        >>> flip_words(Flip(12, 3, 5, 0.25, 0.0625)), flip_words(Flip(12, None, None, 0.25))
        ('sample 12: 3 there, 5 here; 3 led by 0.062, the gap is 0.25', 'sample 12: the gap is 0.25')
    """
    gap = "the gap is not finite" if flip.gap is None else f"the gap is {significant(flip.gap, 2)}"
    if flip.reference is None or flip.here is None:
        return f"sample {flip.sample}: {gap}"
    led = "" if flip.lead is None else f"; {flip.reference} led by {significant(flip.lead, 2)}"
    return f"sample {flip.sample}: {flip.reference} there, {flip.here} here{led}, {gap}"


def parity_sentences(record: Record) -> tuple[str, ...]:
    """All of it for a report: of each file the fact, the samples that flip, the machine."""
    return tuple(sentence for section in sorted(record.parity) for sentence in _of_file(record.parity[section]))


def _of_file(found: Parity) -> tuple[str, ...]:
    more = found.flips - len(found.flipped)
    flips = [*map(flip_words, found.flipped), *([f"{more:,} more"] if more else [])]
    judged = f"On {found.where}. {machine_words(found.machine)}."
    return (parity_fact(found), *([f"{'; '.join(flips)}."] if flips else []), judged)


def parity_advice(found: Parity | None) -> tuple[str, ...]:
    """What to do about answers that flip.

    Example:
        >>> machine = Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx2",))
        >>> parity_advice(Parity("a.onnx", OF_ITSELF, machine, "probe", 8, True, 3, 0.5, 0.25, 0.5))[0][:55]
        'Quantize weights as unsigned bytes or with reduce_range'
    """
    if found is None:
        return ()
    if found.reference == OF_ITSELF and found.machine.saturates:
        return (
            "Quantize weights as unsigned bytes or with reduce_range, or leave the layers with the largest sums "
            f"floating: {found.machine.cpu} has no VNNI, and sums of products of bytes may overflow there.",
        )
    return (
        "Try another version of the runtime. Answers whose class led by next to nothing are ties: allow as many as "
        "your use of the model can bear.",
    )
