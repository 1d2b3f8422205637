"""A badge for a README: what shields.io reads from an address."""

import json

from pfa_gate.budget import Outcome
from pfa_gate.record import Record
from pfa_gate.report.formatting import headline, share
from pfa_gate.report.text import clean, shorten

_COLOURS: dict[Outcome, str] = {"kept": "brightgreen", "broken": "red", "not judged": "yellow"}
_LONGEST = 40


def badge(record: Record) -> str:
    r"""The verdict and the share of parameters that is left, as the JSON of a shields endpoint.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> badge(record)
        '{"schemaVersion": 1, "label": "pfa digits", "message": "not judged", "color": "yellow"}\n'
    """
    outcome, _ = headline(record)
    part = record.compressed
    left = share(part.parameters, record.model.parameters) if part is not None else ""
    facts = {
        "schemaVersion": 1,
        "label": f"pfa {shorten(clean(record.gate), _LONGEST)}",
        "message": f"{outcome} · {left} of parameters" if left else outcome,
        "color": _COLOURS[outcome],
    }
    return json.dumps(facts, ensure_ascii=False) + "\n"
