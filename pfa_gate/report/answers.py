"""The answers of both models in words: measures with their intervals, what changed, the classes, what they became."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget import Answers, ClassAnswers, Estimated
from pfa_gate.budget.answers import class_sentence
from pfa_gate.budget.wording import percent, significant, trimmed
from pfa_gate.record import Record

_MOST_COLUMNS = 8


@dataclass(frozen=True)
class MeasureRow:
    """A measure of the answers: its name, its value, and its 95 % interval; empty where there is none."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True)
class ClassRow:
    """A class: its recall in the full and in the compressed model, in words.

    Attributes:
        label: of the class.
        samples: that have it.
        before: recall in the full model.
        after: recall in the compressed model.
        change: in percentage points, with its sign.
        lost: samples that only the full model answers rightly.
        won: samples that only the compressed model does.
        p: of the fall; empty for a class of fewer than 20 samples.
        falls: whether the fall is more than noise.
    """

    label: str
    samples: str
    before: str
    after: str
    change: str
    lost: str
    won: str
    p: str
    falls: bool


@dataclass(frozen=True)
class ConfusionTable:
    """What became of the full model's answers, a row for each of the classes that lost most.

    Attributes:
        columns: answers of the compressed model; the last may be all others.
        rows: answer of the full model, and how many of its samples each column has; empty for none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def answer_measures(record: Record) -> tuple[MeasureRow, ...]:
    """Agreement, divergence and output error; what was not measured is left out.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> found = Answers("evaluation", 761, agreement=Estimated(0.942, 0.923, 0.957))
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), answers=found)
        >>> answer_measures(record)
        (MeasureRow(name='agreement', value='94.20%', interval='92.30% to 95.70%'),)
    """
    found = record.answers
    if found is None:
        return ()
    rows = (
        _measure("agreement", found.agreement, share=True),
        _measure("divergence", found.divergence, share=False),
        _measure("output error", found.output_error, share=True),
    )
    return tuple(row for row in rows if row is not None)


def _measure(name: str, found: Estimated | None, *, share: bool) -> MeasureRow | None:
    if found is None:
        return None
    value, *ends = (
        "" if end is None else percent(end, 2) if share else f"{significant(end)} nats"
        for end in (found.value, found.low, found.high)
    )
    interval = f"{ends[0].removesuffix(' nats')} to {ends[1]}" if all(ends) else ""
    return MeasureRow(name, value, interval)


def smaller_model(record: Record) -> str:
    """What the smaller of the two models is called in a sentence.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> smaller_model(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")))
        'compressed model'
    """
    return "compressed model" if record.candidate is None else "candidate"


def answer_sentences(record: Record) -> tuple[str, ...]:
    """Which answers changed, and the class that falls most; none where answers were not compared.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> found = Answers("evaluation", 761, changed=44, lost=22, won=19, otherwise=3)
        >>> answer_sentences(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), answers=found))
        ('On 761 samples of the evaluation, 44 answers changed: 22 lost, 19 won, 3 wrong both times.',)
    """
    return tuple(_sentences(record.answers)) if record.answers is not None else ()


def _sentences(found: Answers) -> Iterator[str]:
    if found.changed is None:
        yield f"Compared on {found.where}; they are no class scores."
    else:
        count = f"{found.changed:,}" if found.changed else "no"
        yield f"On {found.where}, {count} {'answer' if found.changed in (0, 1) else 'answers'} changed{_parted(found)}."
    worst = worst_class(found)
    if worst is not None and worst.fall > 0:
        noise = "more than noise" if worst.falls else "within noise"
        fact = class_sentence(worst)
        yield f"{fact[0].upper()}{fact[1:]}: {noise}, p = {_chance(worst)} over {_classes(len(found.judged_classes))}."


def worst_class(found: Answers) -> ClassAnswers | None:
    """The class whose recall falls most, of those whose fall is more than noise, if any.

    Example:
        >>> noise, sure = ClassAnswers(1, 20, 18, 13, 8, 3, 0.34), ClassAnswers(2, 500, 480, 430, 55, 5, 1e-9)
        >>> worst_class(Answers("evaluation", 520, classes=(noise, sure))).label
        2
    """
    if "class_drop" in found.reasons:
        return None
    judged = found.judged_classes
    return next((each for each in judged if each.falls), judged[0] if judged else None)


def _parted(found: Answers) -> str:
    counts = ((found.lost, "lost"), (found.won, "won"), (found.otherwise, "wrong both times"))
    words = [f"{count:,} {word}" for count, word in counts if count is not None]
    return f": {', '.join(words)}" if words and found.changed else ""


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count:,} classes"


def class_rows(record: Record) -> tuple[ClassRow, ...]:
    """Every class of the record, the largest fall first, those with too few samples last."""
    found = record.answers
    classes = () if found is None else found.classes
    order = sorted(classes, key=lambda each: (each.p is None, -each.fall, each.label))
    return tuple(
        ClassRow(
            label=str(each.label),
            samples=f"{each.samples:,}",
            before=percent(each.full / max(1, each.samples)),
            after=percent(each.compressed / max(1, each.samples)),
            change=f"{-each.fall + 0.0:+.1f} pp" if each.fall else "0 pp",
            lost=f"{each.lost:,}",
            won=f"{each.won:,}",
            p=_chance(each),
            falls=each.falls,
        )
        for each in order
    )


def _chance(found: ClassAnswers) -> str:
    return "" if found.p is None else "< 0.001" if found.p < 0.001 else trimmed(found.p, 3)


def confusion(record: Record) -> ConfusionTable | None:
    """What became of the full model's answers in the classes that lost most; None where none did.

    Example:
        >>> from pfa_gate.budget import AnswerPair
        >>> from pfa_gate.record import Probe, Size
        >>> found = Answers("evaluation", 9, confusion=(AnswerPair(3, 3, 5), AnswerPair(3, 5, 4)))
        >>> confusion(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), answers=found))
        ConfusionTable(columns=('3', '5'), rows=(('3', ('5', '4')),))
    """
    pairs = () if record.answers is None else record.answers.confusion
    if not pairs:
        return None
    labels = sorted({pair.full for pair in pairs})
    totals: dict[int, int] = {}
    for pair in pairs:
        totals[pair.compressed] = totals.get(pair.compressed, 0) + pair.samples
    often = sorted(totals, key=lambda label: (label not in labels, -totals[label], label))
    shown, rest = sorted(often[:_MOST_COLUMNS]), set(often[_MOST_COLUMNS:])
    counts = {(pair.full, pair.compressed): pair.samples for pair in pairs}
    rows = []
    for label in labels:
        cells = [counts.get((label, column), 0) for column in shown]
        cells += [sum(counts.get((label, column), 0) for column in rest)] if rest else []
        rows.append((str(label), tuple(f"{cell:,}" if cell else "" for cell in cells)))
    return ConfusionTable((*map(str, shown), *(["others"] if rest else [])), tuple(rows))
