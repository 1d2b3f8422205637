"""The search of the strategy `score` as rows and sentences, alike in all reports."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import amount, percent, plural
from pfa_gate.record import Record
from pfa_gate.record.search import HALF, SearchRecord, SearchTrial
from pfa_gate.report.formatting import change, score

_NAMES = {"parameters": "parameters", "bytes": "bytes", "macs": "MACs", "latency": "latency"}


@dataclass(frozen=True)
class TrialRow:
    """One trial, as texts.

    Attributes:
        number: from 1, in the order in which they were tried.
        size: what is to be small.
        of_full: the same as a share of the full model's.
        energy: the share of energy kept; empty where the recipe is not made by it.
        score: on the samples of the search.
        change: since the full model there.
        interval: 95 % interval of that change; empty where there is none.
        verdict: `holds`, `does not hold`, or `chosen`.
    """

    number: str
    size: str
    of_full: str
    energy: str
    score: str
    change: str
    interval: str
    verdict: str


def trial_rows(record: Record) -> tuple[TrialRow, ...]:
    """Every trial, in the order in which they were tried; none for any other strategy."""
    found = searched(record)
    return () if found is None else tuple(_rows(record, found))


def searched(record: Record) -> SearchRecord | None:
    """The search of a record; None for any other strategy, and for a record that names a trial which it does not have.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> searched(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))) is None
        True
    """
    found = record.recipe.search if record.recipe is not None else None
    return found if found is not None and 0 <= found.chosen < len(found.trials) else None


def search_sentences(record: Record) -> tuple[str, ...]:
    """How many trials there were, on what, and which was chosen; and what the scores of the report are of.

    Example:
        >>> from pfa_gate.record import Probe, RecipeRecord, Scores, Size
        >>> trials = (SearchTrial(3, 12, 27, None, 0.8, 0.7, 0.2, None, False),
        ...           SearchTrial(6, 24, 54, None, 0.9, 0.9, 0.0, None, True))
        >>> found = SearchRecord("parameters", 0.01, False, "a half of the evaluation", 30, 0.9, trials, 1, 31)
        >>> plan, scores = RecipeRecord("score", 0.9, {}, search=found), Scores("accuracy", 0.9, 0.88, 0.02)
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), recipe=plan, scores=scores)
        >>> for sentence in search_sentences(record):
        ...     print(sentence)
        Search for the fewest parameters at a fall of at most 1.00 pp: 2 trials, 1 of them holds.
        Trial 2 was chosen: 6 parameters (66.7%), a change of 0.00 pp on 30 samples, a half of the evaluation.
        The scores above are of 31 other samples, which the search did not see.
    """
    found = searched(record)
    return () if found is None else tuple(_sentences(record, found))


def _sentences(record: Record, found: SearchRecord) -> Iterator[str]:
    is_share, best = _is_share(record), found.best
    held = sum(trial.holds for trial in found.trials)
    limit = change(found.limit, is_share).removeprefix("+")
    sure = ", the upper end of its interval included" if found.confident else ""
    what = {"parameters": "fewest parameters", "macs": "fewest MACs", "bytes": "fewest bytes"}.get(
        found.of, "lowest latency"
    )
    yield (
        f"Search for the {what} at a fall of at most {limit}{sure}: {plural(len(found.trials), 'trial')}, {held} of "
        f"them {'holds' if held == 1 else 'hold'}."
    )
    yield (
        f"Trial {found.chosen + 1} was chosen: {_size(best, found)} ({_of_full(best, found, record)}), a change of "
        f"{change(_signed(record, best.drop), is_share)} on {plural(found.samples, 'sample')}, {found.data}."
    )
    if found.reported:
        other = f"{found.reported:,} other samples, which the search did not see"
        whole = f"all {found.reported:,} samples of the evaluation"
        yield f"The scores above are of {other if found.data == HALF else whole}."


def _rows(record: Record, found: SearchRecord) -> Iterator[TrialRow]:
    is_share = _is_share(record)
    for index, trial in enumerate(found.trials):
        verdict = "holds" if trial.holds else "does not hold"
        yield TrialRow(
            number=str(index + 1),
            size=_size(trial, found, unit=False),
            of_full=_of_full(trial, found, record),
            energy="" if trial.energy is None else percent(trial.energy, 2),
            score=score(trial.score, is_share),
            change=change(_signed(record, trial.drop), is_share),
            interval=_interval(record, trial),
            verdict="chosen" if index == found.chosen else verdict,
        )


def _size(trial: SearchTrial, found: SearchRecord, *, unit: bool = True) -> str:
    value = trial.size(found.of)
    if found.of == "latency":
        return f"{percent(value)} of the time" if unit else percent(value)
    text = amount(value, "B" if found.of == "bytes" else "")
    return f"{text} {_NAMES[found.of]}" if unit and found.of != "bytes" else text


def _of_full(trial: SearchTrial, found: SearchRecord, record: Record) -> str:
    return percent(part_of_full(trial, found, record))


def part_of_full(trial: SearchTrial, found: SearchRecord, record: Record) -> float:
    """What is to be small, as a share of the full model's."""
    if found.of == "latency":
        return trial.size(found.of)
    return trial.size(found.of) / (float(getattr(record.model, found.of)) or 1.0)


def _interval(record: Record, trial: SearchTrial) -> str:
    if trial.interval is None:
        return ""
    ends = sorted(_signed(record, end) for end in trial.interval)
    low, high = (change(end, _is_share(record)) for end in ends)
    return f"{low.removesuffix(' pp')} to {high}"


def _signed(record: Record, fall: float) -> float:
    """The change of a score that gets worse by so much."""
    return fall if record.scores is not None and record.scores.lower else -fall


def _is_share(record: Record) -> bool:
    return record.scores is not None and record.scores.share
