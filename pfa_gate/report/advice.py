"""What a broken budget most likely comes from, and what would mend it: all of it read off the record."""

import math
from collections.abc import Iterator, Sequence

from pfa_gate.budget import Finding, LayerFinding
from pfa_gate.budget.wording import amount, listed, percent, plural
from pfa_gate.record import LayerRecord, Record

_WORST = 3
_SIZES = ("parameters", "bytes", "macs")


def advice(record: Record, finding: Finding) -> tuple[str, ...]:
    """Sentences that help with one broken budget; none for any other.

    Args:
        record: what the run found.
        finding: the verdict on the budget.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> advice(record, Finding("compressed.macs", "60%", "65%", "broken", "Too many.", 7))[0][:48]
        'Write recipe: {strategy: macs, macs: 60%}: it fi'
    """
    if finding.outcome != "broken":
        return ()
    area, _, key = finding.id.partition(".")
    if area == "layers":
        return tuple(_of_layers(record, finding, key))
    if area == "compressed" and key in _SIZES:
        return (_target(key, finding.limit),)
    if area == "model" and key in _SIZES:
        return tuple(_smaller(record, key))
    return tuple(_of_drop(record)) if key == "accuracy_drop" else ()


def _of_layers(record: Record, finding: Finding, key: str) -> Iterator[str]:
    layers = {layer.name: layer for layer in record.layers}
    # A record by a stranger may judge layers that it does not have.
    broken = [each for each in finding.details if each.outcome == "broken" and not each.waived and each.layer in layers]
    worst = sorted(broken, key=lambda each: -((each.observed or 0.0) - (each.limit or 0.0)))
    for detail in worst[:_WORST]:
        yield f"{detail.layer}: {_cause(layers[detail.layer], detail, key)}{_since(record, detail)}."
    if key == "kl":
        cures = [cure for detail in worst if (cure := _cure(layers[detail.layer], detail))]
        if cures:
            yield f"A recipe that keeps {listed(cures, _WORST)} brings the compressed layers under the limit."
    if record.baseline is not None and record.baseline.changed:
        yield f"Changed since the baseline: {', '.join(record.baseline.changed)}."


def _cause(layer: LayerRecord, detail: LayerFinding, key: str) -> str:
    """The likely cause: dead filters, then scale, then correlation."""
    if layer.inactive and key in ("kl", "inactive"):
        return f"{layer.inactive} of {plural(layer.filters, 'filter')} never move, dead or constant"
    standardised = layer.kl_ratio_standardised
    if key == "kl" and standardised is not None and detail.limit is not None and standardised <= detail.limit:
        return f"the cause is scale: with all filters at one variance its KL ratio is {standardised:.3f}"
    if layer.peak_correlation is None or layer.mean_correlation is None:
        return "the cause is correlation"
    pair = f"peak |r| {layer.peak_correlation:.3f}, mean |r| {layer.mean_correlation:.3f}"
    return f"the cause is correlation: filters say the same ({pair})"


def _since(record: Record, detail: LayerFinding) -> str:
    if detail.before is None or record.baseline is None:
        return ""
    return f"; it was {detail.before:.3f} in the baseline of {record.baseline.written}"


def _cure(layer: LayerRecord, detail: LayerFinding) -> str:
    keep = fewest_cut(layer.eigenvalues, detail.limit if detail.limit is not None else 0.0)
    return "" if keep is None else f"{keep} of {layer.filters} in {layer.name} ({percent(keep / layer.filters, 0)})"


def fewest_cut(eigenvalues: Sequence[float], limit: float) -> int | None:
    """The most directions that can stay so that the KL ratio of what stays is within a limit.

    Args:
        eigenvalues: descending.
        limit: largest kl_ratio.

    Returns:
        How many stay; None where not even two do.

    Example:
        >>> fewest_cut([0.4, 0.4, 0.1, 0.1, 0.0], 0.05)
        2
    """
    for keep in range(len(eigenvalues), 1, -1):
        if _kl_ratio(eigenvalues[:keep]) <= limit:
            return keep
    return None


def _kl_ratio(eigenvalues: Sequence[float]) -> float:
    total = sum(eigenvalues)
    if total <= 0:
        return 1.0
    shares = [value / total for value in eigenvalues if value > 0]
    return sum(share * math.log(share * len(eigenvalues)) for share in shares) / math.log(len(eigenvalues))


def _target(key: str, limit: str) -> str:
    written = limit.partition(",")[0]
    recipe = f"recipe: {{strategy: {key}, {key}: {written}}}"
    return f"Write {recipe}: it finds the counts that keep this limit, or says how near it gets."


def _smaller(record: Record, key: str) -> Iterator[str]:
    if record.compressed is not None:
        size = amount(getattr(record.compressed, key), "B" if key == "bytes" else "")
        unit = {"bytes": "", "macs": " MACs"}.get(key, f" {key}")
        yield f"The compressed model has {size}{unit}."


def _of_drop(record: Record) -> Iterator[str]:
    if record.compressed is not None and not record.compressed.recovery:
        yield "Write recovery: [compensate]: it needs no labels and wins back most of what a cut costs."
    if record.recipe is not None and record.recipe.energy is not None and record.recipe.energy < 1:
        yield f"The recipe keeps {percent(record.recipe.energy)} of the energy; a higher recipe.energy cuts less."
