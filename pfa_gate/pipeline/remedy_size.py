"""The size of a remedy: what a broken budget on layers asks for, applied to the whole model."""

from collections.abc import Iterator
from dataclasses import replace

from pfa_gate.budget import Finding
from pfa_gate.budget.wording import amount, percent
from pfa_gate.pipeline.findings import Findings
from pfa_gate.redundancy import most_within_kl


def with_remedy_size(verdict: tuple[Finding, ...], findings: Findings) -> tuple[Finding, ...]:
    """Add to a broken `layers.kl` the size of the model that its remedy would leave.

    Args:
        verdict: on all budgets.
        findings: what was measured, the coupling among it.
    """
    return tuple(
        replace(each, notes=(*each.notes, *_size_of_remedy(each, findings))) if each.id == "layers.kl" else each
        for each in verdict
    )


def _size_of_remedy(finding: Finding, findings: Findings) -> Iterator[str]:
    keep = _counts(finding, findings)
    if not keep or findings.cut is None:
        return
    after = findings.cut.coupling.footprint(keep)
    sizes = (amount(after.parameters), amount(after.bytes, "B"), amount(after.macs))
    share = percent(after.parameters / findings.measured.cost.parameters)
    layers = "those layers keep it that can be cut" if _some_stay(finding, findings, keep) else "these layers keep it"
    yield "Cut so far that {}, the model would have {} parameters ({}), {} and {} MACs.".format(
        layers, sizes[0], share, *sizes[1:]
    )


def _some_stay(finding: Finding, findings: Findings, keep: dict[str, int]) -> bool:
    groups = {layer.name: layer.group for layer in findings.layer_records}
    return any(
        groups[each.layer] not in keep for each in finding.details if each.outcome == "broken" and not each.waived
    )


def _counts(finding: Finding, findings: Findings) -> dict[str, int]:
    """Group -> filters kept, by the layer of the group that must lose most; groups that cannot be cut are left out."""
    layers = {layer.name: layer for layer in findings.layer_records}
    free = (
        {group.name: group.width for group in findings.cut.coupling.groups if not group.frozen} if findings.cut else {}
    )
    keep: dict[str, int] = {}
    for detail in finding.details:
        layer = layers[detail.layer]
        if detail.outcome != "broken" or detail.waived or detail.limit is None or layer.group not in free:
            continue
        count = most_within_kl(layer.eigenvalues, detail.limit)
        if count is not None and layer.group is not None and layer.filters == free[layer.group]:
            keep[layer.group] = min(count, keep.get(layer.group, count))
    return keep
