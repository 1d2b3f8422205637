"""What would mend a broken layer budget, and what its layers most likely break it by: all of it read off the record."""

import json
import math
from collections.abc import Iterator, Sequence

from pfa_gate.budget import Finding, LayerFinding
from pfa_gate.budget.wording import listed, percent, plural
from pfa_gate.record import COMPRESSED_MODEL, LayerRecord, Record
from pfa_gate.redundancy import most_within_kl

_WORST = 3
_Broken = tuple[LayerRecord, LayerFinding]


def of_layers(record: Record, finding: Finding, key: str) -> Iterator[str]:
    """The remedy, then the causes of the worst layers, then what has changed since the baseline.

    Args:
        record: what the run found.
        finding: a broken layer budget.
        key: kl, peak_correlation, mean_correlation or inactive.
    """
    layers = {layer.name: layer for layer in record.layers}
    # A record by a stranger may judge layers that it does not have.
    broken = [
        (layers[each.layer], each)
        for each in finding.details
        if each.outcome == "broken" and not each.waived and each.layer in layers
    ]
    worst = sorted(broken, key=lambda pair: -((pair[1].observed or 0.0) - (pair[1].limit or 0.0)))
    if worst:
        yield from _narrower(record, worst) if key == "kl" else _others(record, worst, key)
    for layer, detail in worst[:_WORST]:
        yield f"{layer.name}: {_cause(layer, detail, key)}{_since(record, detail)}."
    if record.baseline is not None and record.baseline.changed:
        yield f"Changed since the baseline: {', '.join(record.baseline.changed)}."


def _narrower(record: Record, broken: Sequence[_Broken]) -> Iterator[str]:
    """How many filters of each layer keep the KL limit, apart by whether a recipe can cut it, and already does."""
    enough = _enough(broken)
    more, done, never = [], [], []
    for layer, _ in broken:
        count = enough.get(_group(layer))
        if count is None:
            continue
        told, share = f"{count} of {layer.filters} in {layer.name}", percent(count / max(1, layer.filters), 0)
        if _whole(record, layer) is not None:
            never.append(f"{told} ({share})")
        elif layer.keep is not None and layer.keep <= count:
            done.append(f"{layer.keep} of {layer.filters} in {layer.name} ({count} would be enough)")
        else:
            more.append(f"{told} ({share})" if layer.keep is not None else f"{told} ({share}; this one keeps all)")
    if more:
        yield f"A recipe that keeps {listed(more, _WORST)} brings the compressed layers under the limit."
    if done:
        yield f"Ship the compressed model, or build the model this narrow: it keeps {listed(done, _WORST)}."
    if never:
        reasons = dict.fromkeys(filter(None, (_whole(record, layer) for layer, _ in broken)))
        why = f" ({listed(list(reasons), 1)})" if reasons else ""
        yield f"Build the model with {listed(never, _WORST)}: no recipe cuts these layers{why}."


def _enough(broken: Sequence[_Broken]) -> dict[str, int]:
    """The filters that keep the limit of each group: layers of one group are cut alike, so the least of theirs."""
    found: dict[str, int] = {}
    for layer, detail in broken:
        count = most_within_kl(layer.eigenvalues, detail.limit if detail.limit is not None else 0.0)
        if count is not None:
            found[_group(layer)] = min(count, found.get(_group(layer), count))
    return found


def _group(layer: LayerRecord) -> str:
    return layer.group or layer.name


def _whole(record: Record, layer: LayerRecord) -> str | None:
    """Why no recipe cuts a layer, empty where the record does not say; None where one can."""
    if record.recipe is None:
        return next((gap.reason for gap in record.unmeasured if gap.what == COMPRESSED_MODEL), "").rstrip(".")
    if layer.group is None:
        return ""
    reason = record.recipe.reasons.get(layer.group)
    if reason is None and layer.group not in record.recipe.keep:
        return ""
    return reason


def _others(record: Record, broken: Sequence[_Broken], key: str) -> Iterator[str]:
    layer, detail = broken[0]
    names = listed([each.name for each, _ in broken], _WORST)
    if key == "inactive":
        whole = [each.name for each, _ in broken if _whole(record, each) is not None]
        cut = "" if whole else "A recipe cuts filters that never change first: ship the compressed model, or "
        counts = [f"{each.filters - (each.inactive or 0)} of {each.filters} in {each.name}" for each, _ in broken]
        text = f"{cut}build the model with {listed(counts, _WORST)}, or train again from another start."
        yield text[0].upper() + text[1:]
        return
    pair = "One filter of each such pair can go: build" if key == "peak_correlation" else "Build"
    yield f"{pair} {names} with fewer filters, and train again."
    limit = math.ceil(1000 * min(1.0, max(0.0, detail.observed or 0.0))) / 1000
    match = json.dumps(layer.name, ensure_ascii=False)
    yield f"To accept it, write the rule {{match: {match}, {key}: {limit:g}}} after the others."


def _cause(layer: LayerRecord, detail: LayerFinding, key: str) -> str:
    """The likely cause: dead filters, then scale, then correlation."""
    if layer.inactive and key in ("kl", "inactive"):
        return f"{layer.inactive} of {plural(layer.filters, 'filter')} never change, dead or constant"
    standardised = layer.kl_ratio_standardised
    if key == "kl" and standardised is not None and detail.limit is not None and standardised <= detail.limit:
        return f"the cause is scale: with all filters at one variance its KL ratio is {standardised:.3f}"
    if layer.peak_correlation is None or layer.mean_correlation is None:
        return "the cause is correlation"
    pair = f"peak |r| {layer.peak_correlation:.3f}, mean |r| {layer.mean_correlation:.3f}"
    return f"the cause is correlation: filters respond alike ({pair})"


def _since(record: Record, detail: LayerFinding) -> str:
    if detail.before is None or record.baseline is None:
        return ""
    return f"; it was {detail.before:.3f} in the baseline of {record.baseline.written}"
