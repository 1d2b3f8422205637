"""The report as one HTML page: no request, no foreign script, readable with scripts off."""

import base64
import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from pfa_gate.config.budgets import DEMANDS, SIZES
from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.answers import answer_measures, answer_sentences, class_rows, confusion, smaller_model
from pfa_gate.report.baseline import baseline_sentences, baseline_value
from pfa_gate.report.delivery import delivery
from pfa_gate.report.factorized import TITLES, rank_facts
from pfa_gate.report.formatting import (
    SEVERITY,
    SizeRow,
    footprint,
    headline,
    looked_at,
    moment,
    rerun_command,
)
from pfa_gate.report.html.layers import lines
from pfa_gate.report.html.memory import memory_plot
from pfa_gate.report.html.search import curve
from pfa_gate.report.parity import parity_sentences
from pfa_gate.report.quantized import int8_facts
from pfa_gate.report.selection import selection_sentence
from pfa_gate.report.sparsity import zeros_rows, zeros_sentences
from pfa_gate.report.steps import (
    RepairRow,
    recovery_rows,
    repair_rows,
    repair_summary,
    repaired,
    round_rows,
    rounds_sentence,
)
from pfa_gate.report.text import clean, shorten
from pfa_gate.report.timing import time_rows, time_sentences

LONGEST_NAME = 120
_MOST_REASONS = 400
_MOST_GROUPS = 400
# Of a sentence; no budget has more to say.
_LONGEST = 2000
_MOST_REPAIRS = 400
_MOST_CLASSES = 400


def render(record: Record, base: Record | None = None) -> str:
    """The report of one gate as a whole page.

    Args:
        record: what the run found.
        base: an earlier record of the gate, whose spectra are drawn over those of this run.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> render(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")))[:15]
        '<!doctype html>'
    """
    outcome, words = headline(record)
    rows = list(lines(record, base))
    skipped = [layer for layer in record.layers if layer.skipped is not None]
    findings = sorted(record.budgets, key=lambda finding: SEVERITY.index(finding.outcome))
    return filled_template(
        "report.html.j2",
        record=record,
        base=base,
        outcome=outcome,
        words=words,
        findings=[(finding, baseline_value(record, finding.id), advice(record, finding)) for finding in findings],
        tiles=tiles(record),
        steps=steps(record),
        measures=answer_measures(record),
        parity=parity_sentences(record),
        smaller=smaller_model(record),
        answer_sentences=answer_sentences(record),
        ranks=rank_facts(record),
        rank_titles=TITLES,
        int8=int8_facts(record),
        zeros=_zeros(record),
        **_classes(record),
        times={"rows": time_rows(record), "sentences": time_sentences(record)},
        repairs=repairs(record),
        curve=curve(record),
        memory=memory_plot(record),
        selection_sentence=selection_sentence(record),
        **_rounds(record),
        lines=rows,
        share=_energy_kept(record),
        sensitive=any(line.sensitivity for line in rows),
        hidden=len(record.layers) - len(skipped) - len(rows),
        skipped=skipped[:_MOST_REASONS],
        unnamed=max(0, len(skipped) - _MOST_REASONS),
        baseline=list(baseline_sentences(record)),
        delivery=delivery(record),
        rerun_command=rerun_command(record),
    )


def _rounds(record: Record) -> dict[str, Any]:
    """The filters after each round, how many groups are not shown, and what they say."""
    rows = round_rows(record)
    hidden = max(0, len(rows) - _MOST_GROUPS)
    return {"rounds": rows[:_MOST_GROUPS], "rounds_hidden": hidden, "rounds_sentence": rounds_sentence(record)}


def _classes(record: Record) -> dict[str, Any]:
    """The recall of each class, how many are not shown, and what the answers of the worst became."""
    rows, unlisted = class_rows(record), record.answers.unlisted if record.answers else 0
    hidden = max(0, len(rows) - _MOST_CLASSES) + unlisted
    return {"classes": rows[:_MOST_CLASSES], "classes_hidden": hidden, "confusion": confusion(record)}


def _zeros(record: Record) -> dict[str, Any]:
    """What is said of zeros among the weights, the layers, and how many of these are not shown."""
    rows = zeros_rows(record)
    hidden = max(0, len(rows) - _MOST_REPAIRS)
    return {"sentences": zeros_sentences(record), "rows": rows[:_MOST_REPAIRS], "hidden": hidden}


def _energy_kept(record: Record) -> str:
    """The share of energy that the recipe keeps; empty for a recipe of another kind."""
    energy = record.recipe.energy if record.recipe is not None else None
    return "" if energy is None else f"{100 * energy:.4g}%"


def filled_template(template: str, **facts: Any) -> str:
    """Fill a template of this folder; it holds its style and script, and its policy allows no others.

    Args:
        template: its file.
        facts: what it shows; all text in them is escaped.
    """
    style, script = _text("style.css"), _text("script.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _template(template).render(**facts, style=Markup(style), script=Markup(script), policy=policy)


@functools.cache
def _template(name: str) -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_one_line
    )
    environment.filters |= {"name": _name, "parts": _parts, "moment": moment, "looked_at": looked_at}
    return environment.from_string(_text(name))


def _name(text: str) -> str:
    return shorten(clean(text), LONGEST_NAME) or "(no name)"


def _parts(text: str) -> Markup:
    """A name that a narrow column breaks after its dots and bars, not within a word."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[./_:])(?=[^./_:])", _name(text)))


def _one_line(value: Any) -> Any:
    """A text that a template shows, on one line and without control or format characters."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return shorten(clean(value), _LONGEST)
    return value


@functools.cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}"


@dataclass(frozen=True)
class Tile:
    """A line of the footprint, and how full its bar is, in percent; None for no bar."""

    row: SizeRow
    part: float | None


@dataclass(frozen=True)
class Step:
    """A step of the waterfall: a bar from `start` over `width`, in percent of the picture."""

    name: str
    score: str
    change: str
    seconds: str
    detail: str
    start: float
    width: float
    kind: str


@dataclass(frozen=True)
class Repairs:
    """A step layer by layer: the rows that are shown, and how many are not."""

    name: str
    summary: str
    rows: tuple[RepairRow, ...]
    hidden: int


def tiles(record: Record) -> tuple[Tile, ...]:
    """The footprint, each size with the share that is left.

    Example:
        >>> from pfa_gate.record import CompressedRecord, Exact, Probe, Size
        >>> part, sizes, probe = CompressedRecord(4, 16, 36, None, Exact(0.0, True)), Size(8, 32, 72), Probe(64, "ab")
        >>> [tile.part for tile in tiles(Record("digits", "pfa.yaml", {}, {}, sizes, probe, compressed=part))]
        [50.0, 50.0, 50.0]
    """
    full, part = record.model, record.compressed
    sizes = {key: (getattr(full, key), getattr(part, key, None)) for key in (*SIZES, *DEMANDS)}
    if record.quantized is not None:
        sizes[f"{record.quantized.label} bytes"] = full.bytes, record.quantized.bytes
    shares = {
        {"macs": "MACs"}.get(key, key): 100 * after / before
        for key, (before, after) in sizes.items()
        if before and after is not None
    }
    return tuple(Tile(row, _bounded(shares.get(row.name))) for row in footprint(record))


def steps(record: Record) -> tuple[Step, ...]:
    """The waterfall: the score after the cut, and by how much each step changed it; none without recovery."""
    return tuple(_steps(record))


def repairs(record: Record) -> tuple[Repairs, ...]:
    """What each step did to each layer; of more than 400 those left alone and those with the largest errors."""
    return tuple(
        Repairs(
            name=step.step,
            summary=repair_summary(step),
            rows=repair_rows(step, _MOST_REPAIRS),
            hidden=max(0, len(step.repairs) - _MOST_REPAIRS),
        )
        for step in repaired(record)
    )


def _steps(record: Record) -> Iterator[Step]:
    rows = recovery_rows(record)
    known = [row.value for row in rows if row.value is not None]
    lower = record.scores is not None and record.scores.lower
    low = 0.0 if record.scores is not None and record.scores.share else min([0.0, *known])
    span = (max(known, default=0.0) - low) or 1.0
    last: float | None = None
    for row in rows:
        value = row.value
        start = low if last is None or value is None else min(last, value)
        end = low if value is None else value if last is None else max(last, value)
        kind = "none" if value is None else "whole" if last is None else _gain(value, last, lower)
        yield Step(
            name=row.name,
            score=row.score,
            change=row.change,
            seconds=row.seconds,
            detail=row.detail,
            start=round(100 * (start - low) / span, 2),
            width=round(100 * (end - start) / span, 2),
            kind=kind,
        )
        last = value if value is not None else last


def _gain(value: float, last: float, lower: bool) -> str:
    """The kind of a bar: an improvement is a rise, also where a lower score is better."""
    return "rise" if value == last or (value < last) == lower else "fall"


def _bounded(share: float | None) -> float | None:
    return None if share is None else round(min(100.0, max(0.0, share)), 2)
