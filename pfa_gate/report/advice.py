"""What would mend a broken budget, and what it most likely comes from: all of it read off the record."""

from collections.abc import Iterator

from pfa_gate.budget import Finding
from pfa_gate.budget.wording import amount, percent
from pfa_gate.config.budgets import DROPS
from pfa_gate.record import Record
from pfa_gate.report.layer_advice import of_layers

_SIZES = ("parameters", "bytes", "macs")
_UNITS = {"bytes": "", "macs": " MACs", "parameters": " parameters"}
_FAST = 8  # filters that a kernel takes at a time
_ALWAYS = {
    "exact": "Leave the layers of the part that differs out of the recipe (layers.exclude). A model whose answers "
    "differ from call to call (dropout or noise in eval mode) cannot be proved; if yours is no such model, please "
    "report it.",
    "model.score": "Nothing is cut here: check model.checkpoint, and that inputs and labels are those of training.",
}


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
        return tuple(of_layers(record, finding, key))
    if finding.id in _ALWAYS:
        return (_ALWAYS[finding.id],)
    if key in _SIZES:
        return (_target(key, finding.target) if area == "compressed" else _smaller(record, key),)
    if key == "latency":
        return (_faster(record),)
    return tuple(_of_drop(record)) if key in (*DROPS, "score") else ()


def _target(key: str, target: str) -> str:
    recipe = f"recipe: {{strategy: {key}, {key}: {target or '...'}}}"  # older records have no target
    return f"Write {recipe}: it finds the counts that keep this limit, or says how near it gets."


def _smaller(record: Record, key: str) -> str:
    remedy = "Build the model with fewer or narrower layers (model.arguments)"
    if record.compressed is None:
        return f"{remedy}, or raise the limit."
    size = amount(getattr(record.compressed, key), "B" if key == "bytes" else "")
    held = f"which budgets.compressed.{key} holds to a limit"
    return f"{remedy}, or ship the compressed model, {held}: it has {size}{_UNITS[key]}."


def _faster(record: Record) -> str:
    kept = [layer.keep for layer in record.layers if layer.keep is not None]
    odd = sum(count % _FAST != 0 for count in kept)
    if odd:
        fact = (
            f"{odd} of {len(kept)} cut layers keep a count that is not a multiple of {_FAST}, which saves little time"
        )
        return f"Write recipe.round_to: {_FAST}: {fact}."
    return "Cut more: a recipe with {strategy: macs} holds the multiply-accumulates to a share of the full model's."


def _of_drop(record: Record) -> Iterator[str]:
    if record.compressed is not None and not record.compressed.recovery:
        yield "Write recovery: [compensate]: it needs no labels and recovers most of what a cut costs."
    recipe = record.recipe
    if recipe is None:
        return
    if recipe.strategy in _SIZES:
        yield f"A larger recipe.{recipe.strategy} cuts less."
    elif recipe.strategy == "energy" and recipe.energy is not None and recipe.energy < 1:
        yield f"The recipe keeps {percent(recipe.energy)} of the energy; a higher recipe.energy cuts less."
    else:
        yield "Cut less: recipe: {strategy: energy, energy: 0.99} says by how much."
