"""What would make a broken budget hold, and what most likely breaks it: all of it read off the record."""

import json
import math
from collections.abc import Iterator, Sequence

from pfa_gate.budget import Finding, LayerFinding
from pfa_gate.budget.wording import amount, listed, percent, plural
from pfa_gate.config.budgets import ANSWERS, DEMANDS, DROPS, PARITY
from pfa_gate.record import COMPRESSED_MODEL, BitsRecord, LayerRecord, QuantizedRecord, Record
from pfa_gate.redundancy import most_within_kl, multiple_of
from pfa_gate.report.candidate import candidate_advice
from pfa_gate.report.formatting import change
from pfa_gate.report.memory import energy_sentence, live_at_peak
from pfa_gate.report.parity import parity_advice

_SIZES = ("parameters", "bytes", "macs")
_UNITS = {"bytes": "", "macs": " MACs", "parameters": " parameters"}
_ALWAYS = {
    "exact": "Leave the layers of the part that differs out of the recipe (layers.exclude). A model whose answers "
    "differ from call to call (dropout or noise in eval mode) cannot be proved; if yours is no such model, please "
    "report it.",
    "model.score": "Nothing is cut here: check model.checkpoint, and that inputs and labels are those of training.",
}
_WORST = 3
_Broken = tuple[LayerRecord, LayerFinding]


def advice(record: Record, finding: Finding) -> tuple[str, ...]:
    """Sentences that help with one broken budget, what to do first; none for any other.

    Args:
        record: what the run found.
        finding: the verdict on the budget.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> finding = Finding("compressed.macs", "60%", "65%", "broken", "Too many.", 7, target="60%")
        >>> advice(record, finding)[0][:48]
        'Write recipe: {strategy: macs, macs: 60%}: it fi'
    """
    if finding.outcome != "broken":
        return ()
    area, _, key = finding.id.partition(".")
    if area == "layers":
        return tuple(_of_layers(record, finding, key))
    if key == PARITY:
        return parity_advice(record.parity.get(area))
    if record.candidate is not None and area == "compressed":
        return (candidate_advice(key),)
    if area == "quantized":
        return tuple(_of_int8(record, finding, key))
    return _of_whole(record, finding, area, key)


def _of_whole(record: Record, finding: Finding, area: str, key: str) -> tuple[str, ...]:
    """What helps with a budget of a whole model that was cut here."""
    if finding.id in _ALWAYS:
        return (_ALWAYS[finding.id],)
    file = record.quantized
    if key == "bytes" and area == "compressed" and file is not None and file.scheme != "packed":
        return ("Write recipe: {strategy: parameters}: with quantize the strategy bytes is for the int8 file.",)
    if key in _SIZES:
        return (_target(key, finding.target) if area == "compressed" else _smaller(record, key),)
    if key == "latency":
        return (_faster(record),)
    if key in DEMANDS:
        return tuple(filter(None, (live_at_peak(record, area) if key == "memory" else energy_sentence(record),)))
    return tuple(_of_drop(record)) if key in (*DROPS, *ANSWERS, "score") else ()


def _of_int8(record: Record, finding: Finding, key: str) -> Iterator[str]:
    """What helps with a budget of the int8 file: with what costs more, the bits or the cut before them, first."""
    file = record.quantized
    if file is None:
        return
    if key == "bytes":
        yield _fewer_bytes(file, finding.target) if file.scheme == "packed" else _target(key, finding.target)
        if file.floating:
            yield f"In floating numbers: {listed([f'{name} ({why})' for name, why in file.floating.items()], _WORST)}."
    elif key == "latency":
        yield _faster_int8(record, file)
    else:
        cut, whole = ((each.drop if each else None) or 0.0 for each in (record.scores, file.scores))
        if key in (*DROPS, "score") and record.scores is not None and cut > 0 and record.candidate is None:
            yield f"The cut alone costs {change(cut, record.scores.share).lstrip('+')}, before the bits."
        steps = (tuple(_of_bits(file)), tuple(_of_drop(record)))
        for step in reversed(steps) if cut > whole / 2 else steps:
            yield from step


def _fewer_bytes(file: QuantizedRecord, target: str) -> str:
    written = f"quantize: {{bits: auto, bytes: {target or '...'}}}"
    if file.bits == "auto":
        return f"Write {written}: it keeps this limit, or says how near it gets."
    return f"Write {written}: it finds the width of each layer that harms least, or says how near it gets."


def _of_packed(plan: BitsRecord) -> Iterator[str]:
    if plan.target is None:
        yield "Write quantize: {bits: auto} with bytes: at the same bytes it gives the layers that matter more bits."
    worst = sorted((layer for layer in plan.layers if layer.alone), key=lambda layer: -(layer.alone or 0.0))[:_WORST]
    if worst:
        named = listed([f"{layer.name} ({layer.width})" for layer in worst], _WORST)
        yield f"Alone, {named} move the answers most: more quantize.bytes, or quantize.layers.exclude spares them."


def _of_bits(file: QuantizedRecord) -> Iterator[str]:
    if file.plan is not None:
        yield from _of_packed(file.plan)
    worst = [f"{layer.name} ({layer.noise_ratio:.1f} dB)" for layer in file.layers if layer.noise_ratio is not None]
    if worst:
        yield f"The outputs that suffer most are those of {listed(worst, _WORST)}: quantize.layers.exclude spares them."
    if file.scheme == "static":
        ranges = f"The ranges are those of {plural(file.samples, 'sample')}"
        yield f"{ranges}: more quantize.samples may show what these miss."


def _faster_int8(record: Record, file: QuantizedRecord) -> str:
    floating = record.compressed.latency if record.compressed else None
    integers = file.timing.ratio if file.timing else None
    if floating is None or integers is None or integers < floating:
        return _faster(record)
    return (
        f"The floating file takes {percent(floating)} here: this processor computes int8 no faster. Judge "
        "quantized.latency on one like that which runs the file, or ship model.onnx."
    )


def _target(key: str, target: str) -> str:
    recipe = f"recipe: {{strategy: {key}, {key}: {target or '...'}}}"  # older records have no target
    return f"Write {recipe}: it finds the counts that keep this limit, or says how near it gets."


def _smaller(record: Record, key: str) -> str:
    remedy = "Build the model with fewer or narrower layers (model.arguments)"
    if record.compressed is None:
        return f"{remedy}, or raise the limit."
    size = getattr(record.compressed, key)
    if size is None:
        return f"{remedy}, or raise the limit."
    smaller = "candidate" if record.candidate is not None else "compressed model"
    held = f"which budgets.compressed.{key} holds to a limit"
    shown = amount(size, "B" if key == "bytes" else "")
    return f"{remedy}, or ship the {smaller}, {held}: it has {shown}{_UNITS[key]}."


def _faster(record: Record) -> str:
    kept = [(layer.keep, multiple_of("auto", layer.filters)) for layer in record.layers if layer.keep is not None]
    odd = sum(count % multiple != 0 for count, multiple in kept)
    if odd:
        fact = f"{odd} of {len(kept)} cut layers keep a count that is no multiple of 8 (of 4 below 32 filters)"
        return f"Write recipe.round_to: auto: {fact}, which saves little time."
    return "Cut more: a recipe with {strategy: macs} holds the multiply-accumulates to a share of the full model's."


def _of_drop(record: Record) -> Iterator[str]:
    if record.compressed is not None and not record.compressed.recovery:
        yield "Write recovery: [compensate]: it needs no labels and recovers most of what a cut costs."
    recipe = record.recipe
    if recipe is None:
        return
    if recipe.strategy in _SIZES:
        yield f"A larger recipe.{recipe.strategy} cuts less."
    elif recipe.strategy == "score":
        yield "A smaller recipe.score cuts less; confident: true asks the whole interval to hold."
    elif recipe.strategy == "energy" and recipe.energy is not None and recipe.energy < 1:
        yield f"The recipe keeps {percent(recipe.energy)} of the energy; a higher recipe.energy cuts less."
    else:
        yield "Cut less: recipe: {strategy: energy, energy: 0.99} says by how much."


def _of_layers(record: Record, finding: Finding, key: str) -> Iterator[str]:
    """The remedy, then the causes of the worst layers, then what has changed since the baseline.

    Args:
        record: what the run found.
        finding: a broken layer budget.
        key: kl, peak_correlation, mean_correlation or inactive.
    """
    layers = {layer.name: layer for layer in record.layers}
    # A record by a stranger may judge layers that it does not have.
    broken = [
        (layers[detail.layer], detail)
        for detail in finding.details
        if detail.outcome == "broken" and not detail.waived and detail.layer in layers
    ]
    worst = sorted(broken, key=lambda pair: -((pair[1].observed or 0.0) - (pair[1].limit or 0.0)))
    if worst:
        yield from _narrower(record, worst) if key == "kl" else _others(record, worst, key)
    for layer, detail in worst[:_WORST]:
        yield f"{layer.name}: {_cause(layer, detail, key)}{_since(record, detail)}."
    if record.baseline is not None and record.baseline.changed:
        yield f"Changed since the baseline: {', '.join(record.baseline.changed)}."


def _narrower(record: Record, broken: Sequence[_Broken]) -> Iterator[str]:
    """How many filters of each layer keep the KL limit: a recipe can cut it, has cut it, or cannot."""
    enough = _enough(broken)
    more, done, never = [], [], []
    for layer, _ in broken:
        count = enough.get(_group(layer))
        if count is None:
            continue
        counted, share = f"{count} of {layer.filters} in {layer.name}", percent(count / max(1, layer.filters), 0)
        if _whole(record, layer) is not None:
            never.append(f"{counted} ({share})")
        elif layer.keep is not None and layer.keep <= count:
            done.append(f"{layer.keep} of {layer.filters} in {layer.name} ({count} would be enough)")
        else:
            more.append(
                f"{counted} ({share})" if layer.keep is not None else f"{counted} ({share}; this one keeps all)"
            )
    if more:
        yield f"A recipe that keeps {listed(more, _WORST)} brings the compressed layers under the limit."
    if done:
        yield f"Ship the compressed model, or build the model this narrow: it keeps {listed(done, _WORST)}."
    if never:
        reasons = dict.fromkeys(filter(None, (_whole(record, layer) for layer, _ in broken)))
        why = f" ({listed(list(reasons), 1)})" if reasons else ""
        cut = "" if record.candidate is not None else f": no recipe cuts these layers{why}"
        yield f"Build the model with {listed(never, _WORST)}{cut}."


def _enough(broken: Sequence[_Broken]) -> dict[str, int]:
    """Filters within the limit for each group: the fewest of its layers, since a group is cut as one."""
    counts: dict[str, int] = {}
    for layer, detail in broken:
        count = most_within_kl(layer.eigenvalues, detail.limit if detail.limit is not None else 0.0)
        if count is not None:
            counts[_group(layer)] = min(count, counts.get(_group(layer), count))
    return counts


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
    names = listed([layer.name for layer, _ in broken], _WORST)
    if key == "inactive":
        whole = [layer.name for layer, _ in broken if _whole(record, layer) is not None]
        cut = "" if whole else "A recipe cuts filters that never change first: ship the compressed model, or "
        counts = [f"{layer.filters - (layer.inactive or 0)} of {layer.filters} in {layer.name}" for layer, _ in broken]
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
