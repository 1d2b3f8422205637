"""The report as one HTML page: no request, no foreign script, readable with scripts off."""

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.baseline import baseline_sentences, before
from pfa_gate.report.formatting import SEVERITY, again, delivery, headline, looked_at, moment
from pfa_gate.report.html.layers import lines
from pfa_gate.report.html.sizes import repairs, steps, tiles
from pfa_gate.report.rounds import round_rows, rounds_sentence
from pfa_gate.report.text import clean, shorten

__all__ = ["page", "render"]

LONGEST_NAME = 120
_MOST_REASONS = 400
_MOST_GROUPS = 400
# Of a sentence; no budget has more to say.
_LONGEST = 2000


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
    shown = list(lines(record, base))
    skipped = [layer for layer in record.layers if layer.skipped is not None]
    findings = sorted(record.budgets, key=lambda finding: SEVERITY.index(finding.outcome))
    rounds = round_rows(record)
    energy = record.recipe.energy if record.recipe is not None else None
    return page(
        "report.html.j2",
        record=record,
        base=base,
        outcome=outcome,
        words=words,
        findings=[(finding, before(record, finding.id), advice(record, finding)) for finding in findings],
        tiles=tiles(record),
        steps=steps(record),
        repairs=repairs(record),
        rounds=rounds[:_MOST_GROUPS],
        rounds_hidden=max(0, len(rounds) - _MOST_GROUPS),
        rounds_sentence=rounds_sentence(record),
        lines=shown,
        share="" if energy is None else f"{100 * energy:.4g}%",
        hidden=len(record.layers) - len(skipped) - len(shown),
        skipped=skipped[:_MOST_REASONS],
        unnamed=max(0, len(skipped) - _MOST_REASONS),
        baseline=list(baseline_sentences(record)),
        delivery=delivery(record),
        again=again(record),
    )


def page(template: str, **facts: Any) -> str:
    """Fill a template of this folder; style and script stand in it, named by their digests in its policy.

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
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters |= {"name": _name, "parts": _parts, "moment": moment, "looked_at": looked_at}
    return environment.from_string(_text(name))


def _name(text: str) -> str:
    return shorten(clean(text), LONGEST_NAME) or "(no name)"


def _parts(text: str) -> Markup:
    """A name that a narrow column breaks behind its dots and bars, not within a word."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[./_:])(?=[^./_:])", _name(text)))


def _shown(value: Any) -> Any:
    """Whatever text a template shows is on one line and has no control or format signs."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return shorten(clean(value), _LONGEST)
    return value


@functools.cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode('ascii')}"
