"""From trials to the rows of the table: means over what was drawn, and the best of the random recipes."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, stdev

from pfa_gate.record.study import Counts, Kind, Row, Trial
from pfa_gate.study.context import stderr_of

ORDER = "task and strategy as asked for, then score, best first"

_Key = tuple[str, str, Counts, str, str]


def rows_of(trials: Sequence[Trial], samples: Mapping[str, int], lower: bool = False) -> tuple[Row, ...]:
    """The rows of a study, in the order that `ORDER` tells.

    Args:
        trials: in the order in which they ran.
        samples: task -> samples of its evaluation.
        lower: whether a lower score is better.
    """
    alike: dict[_Key, list[Trial]] = {}
    for trial in trials:
        key = trial.task, trial.strategy, trial.counts, trial.selection, trial.recovery
        alike.setdefault(key, []).append(trial)
    rows = [row for group in alike.values() for row in _rows(group, samples[group[0].task], lower)]
    first = {(row.task, row.strategy): place for place, row in reversed(list(enumerate(rows)))}
    return tuple(sorted(rows, key=lambda row: (first[row.task, row.strategy], *_rank(row.accuracy, lower))))


def _rank(score: float | None, lower: bool) -> tuple[bool, float]:
    """Best first, what was not scored last."""
    return score is None, (score or 0.0) if lower else -(score or 0.0)


def _rows(trials: Sequence[Trial], samples: int, lower: bool) -> Iterator[Row]:
    counts = trials[0].counts
    if counts != "random":
        yield _row(trials, trials, counts, samples)
        return
    yield _row(trials, trials, "random mean", samples)
    done = [trial for trial in trials if trial.accuracy is not None]
    if done:
        best = min(done, key=lambda trial: (*_rank(trial.accuracy, lower), trial.draw))
        yield _row(trials, [best], "random best", samples)


def _row(trials: Sequence[Trial], told: Sequence[Trial], kind: Kind, samples: int) -> Row:
    """A row that tells of some of the trials, or of all."""
    first = trials[0]
    done = [trial for trial in told if trial.size is not None and trial.accuracy is not None]
    scores = [trial.accuracy for trial in done if trial.accuracy is not None]
    sizes = [trial.size for trial in done if trial.size is not None]
    accuracy = fmean(scores) if scores else None
    known = accuracy is not None and all(trial.stderr is not None for trial in done)
    failed = [trial.reason for trial in trials if trial.reason is not None]
    return Row(
        task=first.task,
        strategy=first.strategy,
        kind=kind,
        selection=first.selection,
        recovery=first.recovery,
        trials=len([trial for trial in trials if trial.reason is None]),
        failed=len(failed),
        parameters=fmean(size.parameters for size in sizes) if sizes else None,
        macs=fmean(size.macs for size in sizes) if sizes else None,
        accuracy=accuracy,
        stderr=stderr_of(accuracy, samples) if accuracy is not None and known else None,
        spread=stdev(scores) if len(scores) > 1 else None,
        seconds=fmean(trial.seconds for trial in done) if done else None,
        reason=failed[0] if failed else None,
    )
