"""A study of families at equal bytes and at equal time: the rows of each size, and who wins there, in a sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from pfa_gate.budget.wording import listed, percent, plural, significant, trimmed
from pfa_gate.record import AnswerSummary
from pfa_gate.record.families import FamilyStudy, FamilyTrial
from pfa_gate.report.formatting import score

FamilyKind = Literal["own", "uniform", "random mean", "random best"]
Measure = Literal["bytes", "time"]
_KINDS: dict[str, FamilyKind] = {"own": "own", "uniform": "uniform", "random": "random best"}


@dataclass(frozen=True)
class FamilyRow:
    """One line of the table: one trial, or the mean of several that differ in what was drawn.

    Attributes:
        family: its name.
        kind: what divides the size among the layers, and whether the mean or the best of the random ones.
        trials: that it is of.
        bytes, macs, time: shares of the full model's; None where it is not known.
        accuracy, stderr: of the trial, or means.
        spread: standard deviation of the accuracy over the trials; None with fewer than two.
        answers: of the trial, or means.
        seconds: of the trial, or their mean.
        config: what pfa.yaml would say; empty where it cannot say it.
        file: that ships.
        timed: the file that was timed.
    """

    family: str
    kind: FamilyKind
    trials: int
    bytes: float
    macs: float | None
    time: float | None
    accuracy: float
    stderr: float | None
    spread: float | None
    answers: AnswerSummary | None
    seconds: float
    config: str
    file: str
    timed: str

    @property
    def name(self) -> str:
        """Of the family, with whose division of the size it is."""
        words = {"own": "", "uniform": ", uniform", "random best": f", best of {self.trials} random"}
        return self.family + words.get(self.kind, f", mean of {self.trials} random")

    @property
    def divergence(self) -> float | None:
        """Of its answers from the full model's."""
        return self.answers.divergence if self.answers else None


@dataclass(frozen=True)
class Level:
    """All families at one size, or within one time.

    Attributes:
        measure: of what `share` is.
        share: of the full model's; at most so much has a file here.
        rows: best first.
        unable: families that have no file here, with the reason.
        also: larger shares at which there is the same.
        smaller: rows of the smaller sizes, best first: whoever may have this size may have them.
    """

    measure: Measure
    share: float
    rows: tuple[FamilyRow, ...]
    unable: tuple[tuple[str, str], ...] = ()
    also: tuple[float, ...] = ()
    smaller: tuple[FamilyRow, ...] = ()

    @property
    def title(self) -> str:
        """The size in words.

        Example:
            >>> Level("bytes", 0.25, ()).title
            'at 25% of the bytes'
            >>> Level("time", 0.6, (), also=(0.75,)).title
            'in at most 60% of the time (75% alike)'
        """
        alike = f" ({', '.join(map(_share, self.also))} alike)" if self.also else ""
        return f"{'at' if self.measure == 'bytes' else 'in at most'} {_share(self.share)} of the {self.measure}{alike}"


def byte_levels(study: FamilyStudy) -> tuple[Level, ...]:
    """The rows at each size. What nothing moves stands at the smallest size that it keeps.

    What is larger than all sizes comes first, under 100 %.
    """
    fixed = [trial for trial in study.trials if trial.asked is None]
    sizes = study.sizes if _all_within(study, fixed) else (1.0, *(size for size in study.sizes if size < 1.0))
    levels = [_byte_level(study, size, sizes, fixed) for size in sizes]
    below = [
        _sorted(study, [row for level in levels[place + 1 :] for row in level.rows]) for place in range(len(levels))
    ]
    return tuple(replace(level, smaller=rows) for level, rows in zip(levels, below, strict=True))


def _all_within(study: FamilyStudy, fixed: Sequence[FamilyTrial]) -> bool:
    return all(_bytes(study, trial) <= study.sizes[0] for trial in fixed if trial.accuracy is not None)


def _byte_level(study: FamilyStudy, size: float, sizes: Sequence[float], fixed: Sequence[FamilyTrial]) -> Level:
    smaller = [each for each in sizes if each < size]
    here = [trial for trial in study.trials if trial.asked == size]
    here += [trial for trial in fixed if trial.accuracy is not None and size == _place(study, trial, sizes)]
    rows = [row for group in _alike(here) for row in _rows(study, group)]
    unable = [(_named(trial), trial.reason) for trial in here if trial.reason is not None]
    if not smaller:  # what could not be made at all is told once, with the smallest size
        unable += [(trial.family, trial.reason) for trial in fixed if trial.reason is not None]
    return Level("bytes", size, _sorted(study, rows), tuple(dict.fromkeys(unable)))


def _place(study: FamilyStudy, trial: FamilyTrial, sizes: Sequence[float]) -> float:
    """The smallest size that a file keeps; the largest where it keeps none."""
    return min((size for size in sizes if _bytes(study, trial) <= size), default=sizes[0])


def time_levels(study: FamilyStudy) -> tuple[Level, ...]:
    """Within each time the best that each family has at any size; times with the same rows are one."""
    if not any(trial.time for trial in study.trials):
        return ()
    found: list[Level] = []
    for level in (_time_level(study, time) for time in study.times):
        last = found.pop() if found and found[-1].rows == level.rows else None
        found.append(level if last is None else replace(level, also=(*last.also, last.share)))
    return tuple(found)


def _time_level(study: FamilyStudy, share: float) -> Level:
    rows, unable = [], []
    for group in _alike([trial for trial in study.trials if trial.accuracy is not None]):
        timed = [trial for trial in group if trial.time is not None]
        fast = [trial for trial in timed if trial.time is not None and trial.time.ratio <= share]
        if fast:
            best = _sorted(study, [_row(study, [trial], _KINDS[trial.rule]) for trial in fast])[0]
            rows.append(replace(best, trials=len(group)) if best.kind == "random best" else best)
        elif group[0].rule == "own":
            shortest = min((trial.time.ratio for trial in timed if trial.time is not None), default=None)
            reason = group[0].untimed if shortest is None else f"its shortest time is {percent(shortest)}"
            unable.append((group[0].family, reason))
    return Level("time", share, _sorted(study, rows), tuple(unable))


def _alike(trials: Sequence[FamilyTrial]) -> list[list[FamilyTrial]]:
    """Trials that differ in what was drawn, or in their size."""
    groups: dict[tuple[str, str], list[FamilyTrial]] = {}
    for trial in trials:
        groups.setdefault((trial.family, trial.rule), []).append(trial)
    return list(groups.values())


def _rows(study: FamilyStudy, group: Sequence[FamilyTrial]) -> Iterator[FamilyRow]:
    done = [trial for trial in group if trial.accuracy is not None]
    if not done:
        return
    rule = done[0].rule
    if rule == "random":
        yield _row(study, done, "random mean")
    best = _sorted(study, [_row(study, [trial], _KINDS[rule]) for trial in done])[0]
    yield replace(best, trials=len(done))


def _row(study: FamilyStudy, trials: Sequence[FamilyTrial], kind: FamilyKind) -> FamilyRow:
    first, model = trials[0], study.model
    scores = [trial.accuracy for trial in trials if trial.accuracy is not None]
    times = [trial.time.ratio for trial in trials if trial.time is not None]
    macs = [trial.macs for trial in trials if trial.macs is not None]
    errors = [trial.stderr for trial in trials if trial.stderr is not None]
    return FamilyRow(
        family=first.family,
        kind=kind,
        trials=len(trials),
        bytes=fmean(_bytes(study, trial) for trial in trials),
        macs=fmean(macs) / model.macs if macs and model.macs else None,
        time=fmean(times) if times else None,
        accuracy=fmean(scores),
        stderr=fmean(errors) if errors else None,
        spread=stdev(scores) if len(scores) > 1 else None,
        answers=_mean([trial.answers for trial in trials if trial.answers is not None]),
        seconds=fmean(trial.seconds for trial in trials),
        config=first.config if len(trials) == 1 else "",
        file=first.file,
        timed=first.timed,
    )


def _mean(found: Sequence[AnswerSummary]) -> AnswerSummary | None:
    if not found:
        return None
    columns = {key: [getattr(each, key) for each in found] for key in vars(found[0])}
    return AnswerSummary(**{key: None if None in values else fmean(values) for key, values in columns.items()})


def _bytes(study: FamilyStudy, trial: FamilyTrial) -> float:
    return (trial.bytes or 0) / study.model.bytes


def _sorted(study: FamilyStudy, rows: Sequence[FamilyRow]) -> tuple[FamilyRow, ...]:
    """By score, then divergence, then bytes, as `FAMILY_ORDER` tells."""
    sign = 1.0 if study.direction == "lower" else -1.0

    def key(row: FamilyRow) -> tuple[float, bool, float, float]:
        return sign * row.accuracy, row.divergence is None, row.divergence or 0.0, row.bytes

    return tuple(sorted(rows, key=key))


def _named(trial: FamilyTrial) -> str:
    words = {"own": "", "uniform": ", uniform", "random": f", random draw {trial.draw}"}
    return trial.family + words[trial.rule]


def _share(share: float) -> str:
    return f"{trimmed(100 * share, 2)}%"


def winner_sentences(study: FamilyStudy) -> tuple[str, ...]:
    """Who wins at each size and within each time, and who is level with it."""
    if not any(trial.accuracy is not None for trial in study.trials):
        return ("No family has a file that could be measured.",)
    times = time_levels(study)
    found = [_sentence(study, level) for level in byte_levels(study) if level.rows]
    found += [_sentence(study, level) for level in times if level.rows]
    return (*found, *_slower(study, [level for level in times if not level.rows]))


def _sentence(study: FamilyStudy, level: Level) -> str:
    """The best that can be had without looking at the evaluation first, and what is level with it."""
    title = level.title[0].upper() + level.title[1:]
    methods = [row for row in (*level.rows, *level.smaller) if row.kind in ("own", "uniform")]
    if not methods:
        return f"{title} there is nothing but random recipes."
    best, *others = _sorted(study, methods)
    facts = [f"{percent(best.bytes)} of the bytes"]
    facts += [] if best.time is None else [f"{percent(best.time)} of the time"]
    facts += [] if best.divergence is None else [f"divergence {significant(best.divergence)}"]
    what = f"{best.name} keeps {score(best.accuracy, study.share)} ({', '.join(facts)})"
    return f"{title}, {what}{_level_with(others, best)}."


def _level_with(others: Sequence[FamilyRow], best: FamilyRow) -> str:
    """Rows that one standard error does not tell from the best."""
    if best.stderr is None or not others:
        return ""
    near = [row.name for row in others if abs(row.accuracy - best.accuracy) <= best.stderr + 1e-9]
    near = list(dict.fromkeys(name for name in near if name != best.name))
    return f"; within one standard error of it: {listed(near, 6)}" if near else "; no other is within a standard error"


def _slower(study: FamilyStudy, missing: Sequence[Level]) -> Iterator[str]:
    """Which times no file keeps, and which one is the fastest."""
    timed = [trial for trial in study.trials if trial.time is not None and trial.rule == "own"]
    if not timed:
        return
    fastest = min(timed, key=lambda trial: trial.time.ratio if trial.time else 0.0)
    ratio, error = (fastest.time.ratio, fastest.time.error or 0.0) if fastest.time else (1.0, 0.0)
    if ratio + 2 * error >= 1:
        yield "No file is faster than the full model's."
    elif missing:
        times = listed([_share(share) for level in missing for share in (*level.also, level.share)], 6)
        yield f"No file takes at most {times} of the time; {fastest.family} is the fastest with {percent(ratio)}."


def faster_without_runtime(study: FamilyStudy) -> tuple[str, ...]:
    """Files that no runtime runs as they are stored, so that another was timed.

    Example:
        >>> from pfa_gate.record import Size
        >>> trial = FamilyTrial("4 bits", "own", 0, None, "", file="weights.q.safetensors", timed="model.onnx")
        >>> study = FamilyStudy("a", "b", "accuracy", 9, Size(1, 4, 9), 0.9, None, "l1", "none", (), (), (), 0, 0, 1,
        ...     (trial,), {}, 1.0)
        >>> faster_without_runtime(study)
        ('No common runtime runs weights.q.safetensors as it is stored: its time is that of model.onnx.',)
    """
    pairs = {(trial.file, trial.timed) for trial in study.trials if trial.timed and trial.timed != trial.file}
    said = "No common runtime runs {} as it is stored: its time is that of {}."
    return tuple(said.format(*pair) for pair in sorted(pairs))


def family_headline(study: FamilyStudy) -> str:
    """How much was tried, and how much of it could not be made."""
    missing = len([trial for trial in study.trials if trial.accuracy is None])
    families = len(study.families)
    words = f"{families:,} {'family' if families == 1 else 'families'}, {plural(len(study.trials), 'model')}"
    return f"{words}, {missing:,} could not be made" if missing else words
