"""pfa.baseline.json: what each gate of a config measured when somebody accepted it. Small, sorted, for diffs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pfa_gate.budget import (
    Baseline,
    BaselineLayer,
    LayerMeasure,
    Measurements,
    PartSize,
    layer_values,
    observed_values,
)
from pfa_gate.errors import ArtifactError
from pfa_gate.record.gate_record import Compared, Record
from pfa_gate.record.plain_data import LARGEST_WHOLE, RepeatedKeyError, unique_keys

SCHEMA = "pfa_gate.baseline/1"
_DECIMALS = 6
# Of another kind in one of these, and two runs cannot be compared; in one of those, they can, and it is said.
_KIND = ("factory", "arguments", "data", "pooling", "positions", "samples")
_CHANGES = {"probe": "the probe's bytes", "weights": "the weights", "evaluation": "the evaluation"}


@dataclass(frozen=True)
class Stamp:
    """When a baseline was written, at which revision, and of what: `subject` says what model and probe it has."""

    written: str
    commit: str
    subject: Mapping[str, Any]


def baseline_entry(record: Record, stamp: Stamp) -> dict[str, Any]:
    """What a baseline holds of one gate.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> baseline_entry(record, Stamp("2026-11-20", "", {}))["budgets"]
        {'model.parameters': 9, 'model.bytes': 36, 'model.macs': 81}
    """
    layers = {
        layer.name: {
            "kind": layer.kind,
            "filters": layer.filters,
            **{key: _rounded(value) for key, value in layer_values(layer.measure()).items()},
        }
        for layer in record.layers
        if layer.skipped is None
    }
    values = {key: _rounded(value) for key, value in observed_values(_measured(record)).items()}
    # One fall under one name: the one that pfa.yaml budgets.
    for area in ("compressed", "quantized"):
        values.pop(_twin(record, area), None)
    subject = {**stamp.subject, "probe": record.probe.sha256, "device": record.device}
    return {"written": stamp.written, "commit": stamp.commit, "subject": subject, "layers": layers, "budgets": values}


def baseline_text(gates: Mapping[str, Mapping[str, Any]]) -> str:
    r"""A whole baseline as JSON, keys sorted, one value a line.

    Example:
        >>> baseline_text({})
        '{\n  "gates": {},\n  "schema": "pfa_gate.baseline/1"\n}\n'
    """
    return json.dumps({"schema": SCHEMA, "gates": gates}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def baseline_entries(content: str, source: str) -> dict[str, Any]:
    """The gates of a baseline.

    Args:
        content: of the file.
        source: how people know it.

    Raises:
        ArtifactError: it is none, or of another version.

    Example:
        >>> baseline_entries("{", "pfa.baseline.json")
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: The baseline pfa.baseline.json cannot be read: it is not JSON.
          Restore it, or write it anew: pytest --pfa --pfa-update-baseline.
    """
    try:
        plain = json.loads(content, object_pairs_hook=unique_keys, parse_constant=_finite)
    except RepeatedKeyError as error:
        raise unreadable(source, f"it {error}") from error
    except _NotFiniteError as error:
        raise unreadable(source, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise unreadable(source, _why(content)) from error
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA or not isinstance(plain.get("gates"), dict):
        raise unreadable(source, f"it has not the schema '{SCHEMA}'")
    return dict(plain["gates"])


def valid_entries(content: str, source: str) -> dict[str, Any]:
    """The gates of a baseline, each of them one that can be compared with.

    Args:
        content: of the file.
        source: how people know it.

    Raises:
        ArtifactError: it is none, or an entry is not what `baseline_entry` writes.

    Example:
        >>> valid_entries(baseline_text({}), "pfa.baseline.json")
        {}
    """
    gates = baseline_entries(content, source)
    for gate in gates:
        baseline_of(gates, gate, source, {})
    return gates


def baseline_of(gates: Mapping[str, Any], gate: str, source: str, subject: Mapping[str, Any]) -> Baseline | None:
    """The baseline of one gate, compared with what is measured today; None where the gate is not in it.

    Args:
        gates: those of the baseline.
        gate: name of the gate.
        source: how people know the baseline.
        subject: model and probe of today.

    Raises:
        ArtifactError: the entry is not what `baseline_entry` writes.
    """
    if gate not in gates:
        return None
    try:
        entry = gates[gate]
        layers = {name: _layer(name, plain) for name, plain in entry["layers"].items()}
        values = {str(name): _number(value, name) for name, value in entry["budgets"].items()}
        before = dict(entry["subject"])
        written, commit = _text(entry["written"], "written"), _text(entry["commit"], "commit")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(source, f"gate '{gate}' lacks or mistakes {error}") from error
    weights = before.get("weights") != subject.get("weights")
    rescored = "evaluation" in before and before["evaluation"] != subject.get("evaluation")
    return Baseline(
        source,
        written,
        commit,
        layers,
        values,
        refusal=_refusal(before, subject),
        changed=tuple(_CHANGES[key] for key, new in (("weights", weights), ("evaluation", rescored)) if new),
        rescored=rescored,
        probe=str(before.get("probe", "")),
        device=str(before.get("device", "cpu")),
    )


def comparison(
    base: Baseline | None, layers: Sequence[LayerMeasure], probe: str, device: str = "cpu"
) -> Compared | None:
    """What a report says of the baseline.

    Args:
        base: that of the gate.
        layers: those of today; skipped ones do not count.
        probe: digest of today's probe.
        device: of today.
    """
    if base is None:
        return None
    judged = [layer for layer in layers if layer.skipped is None]
    matched = base.matched(judged)
    changed = (*([_CHANGES["probe"]] if base.probe not in ("", probe) else ()), *base.changed)
    changed += (f"the device ({base.device} then, {device} now)",) if base.device != device else ()
    return Compared(
        base.source,
        base.written,
        base.commit,
        base.refusal,
        changed,
        matched.new(judged),
        matched.gone(judged),
        dict(matched.renamed),
        layers={layer.name: values for layer in judged if (values := matched.of_layer(layer.name))},
        values={name: value for name, value in base.values.items() if not base.lapsed(name)},
    )


def _layer(name: str, plain: Mapping[str, Any]) -> BaselineLayer:
    values = {key: _number(value, f"{name}.{key}") for key, value in plain.items() if key not in ("kind", "filters")}
    filters = plain["filters"]
    if type(filters) is not int or not 0 <= filters <= LARGEST_WHOLE:
        raise ValueError(f"{name}.filters, which is {_brief(filters)}")
    return BaselineLayer(_text(plain["kind"], f"{name}.kind"), filters, values)


def _number(value: object, name: str) -> float:
    """A value that a limit may refer to: a finite number."""
    # A truth value is an int in Python; NaN compares as false.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST_WHOLE:
        raise ValueError(f"{name}, which is {_brief(value)}")
    return float(value)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name}, which is {_brief(value)}")
    return value


def _brief(value: object) -> str:
    return f"{value!r:.40}"


class _NotFiniteError(ValueError):
    """Python reads NaN and infinities as JSON, and a baseline cannot hold them."""


def _finite(name: str) -> float:
    raise _NotFiniteError(f"it holds {name}, and only finite numbers can be compared")


def _why(content: str) -> str:
    marks = sum(content.startswith(mark) or f"\n{mark}" in content for mark in ("<<<<<<<", "=======", ">>>>>>>"))
    return "it holds the marks of a merge conflict" if marks > 1 else "it is not JSON"


def _refusal(before: Mapping[str, Any], today: Mapping[str, Any]) -> str:
    words = {"factory": "model.factory", "arguments": "model.arguments", "data": "probe.data"}
    for key in _KIND:
        if before.get(key) != today.get(key):
            name = words.get(key, f"probe.{key}")
            return f"{name} was {_shown(before.get(key))} then and is {_shown(today.get(key))} now"
    return ""


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _twin(record: Record, area: str) -> str:
    """Of the two names of a drop, the one that the config does not use."""
    named = any(finding.id == f"{area}.score_drop" for finding in record.budgets)
    share = record.scores is None or record.scores.share
    return f"{area}.accuracy_drop" if named or not share else f"{area}.score_drop"


def _measured(record: Record) -> Measurements:
    part, scores = record.compressed, record.scores
    return Measurements(
        layers=(),
        full=record.model,
        compressed=PartSize(part.parameters, part.bytes, part.macs, part.memory, part.energy) if part else None,
        scores=scores.measure() if scores else None,
        latency=part.latency if part else None,
        answers=record.answers,
        quantized=record.quantized.measure() if record.quantized else None,
        parity=record.parity,
    )


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, _DECIMALS)


def same_kind(plain: Mapping[str, Any], today: Mapping[str, Any]) -> bool:
    """Whether an entry is of the same factory, arguments and kind of probe.

    Example:
        >>> same_kind({"subject": {"factory": "net:build"}}, {"factory": "net:build"})
        True
    """
    subject = plain.get("subject") if isinstance(plain, dict) else None
    return isinstance(subject, dict) and not _refusal(subject, today)


def unreadable(source: str, why: str) -> ArtifactError:
    """The error to raise for a baseline that cannot be read.

    Example:
        >>> unreadable("b", "it is not JSON").fact
        'The baseline b cannot be read: it is not JSON.'
    """
    remedy = "Restore it, or write it anew: pytest --pfa --pfa-update-baseline."
    return ArtifactError(f"The baseline {source} cannot be read: {why}.", remedy=remedy)
