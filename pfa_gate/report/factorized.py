"""The factorized layers in words: which are two, by which rank, what that saves and loses, and which stay one."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import amount, listed, plural, significant
from pfa_gate.record import FactorizedLayer, FactorizedRecord, Record
from pfa_gate.report.formatting import share

_MOST_REASONS = 4
_MOST_NAMES = 3


@dataclass(frozen=True)
class RankRow:
    """A layer that is two: its rank of how many, what it has of before, and what its outputs keep and lose."""

    layer: str
    rank: str
    parameters: str
    macs: str
    energy: str
    lost: str


@dataclass(frozen=True)
class RankFacts:
    """What a report says of the factorized layers; all of it empty where none was asked for."""

    sentences: tuple[str, ...]
    rows: tuple[RankRow, ...]


TITLES = ("layer", "rank", "of parameters", "of MACs", "energy kept", "outputs lost")
"""Of a table of rows."""


def rank_facts(record: Record) -> RankFacts:
    """The factorized layers in sentences, and those that are two in rows, in forward order.

    Example:
        >>> from pfa_gate.record import Exact, Probe, Size
        >>> layer = FactorizedLayer("fc", "linear", 2, 8, 8, (64, 32), (64, 32), 0.98, 0.0123)
        >>> found = FactorizedRecord("energy", 0.97, (layer,), {"head": "no rank saves"}, Exact(3e-16, True), 1e-10)
        >>> facts = rank_facts(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), factorized=found))
        >>> print(*facts.sentences, sep=chr(10))
        1 layer is two now: 32 parameters fewer, and 32 MACs of a sample.
        Its rank keeps 97.0% of the energy of its outputs.
        The model equals the one with the products as weights: largest relative error 3.0e-16.
        One as before: head (no rank saves).
        >>> facts.rows
        (RankRow(layer='fc', rank='2 of 8', parameters='50.0%', macs='50.0%', energy='98.0%', lost='1.23%'),)
    """
    found = record.factorized
    if found is None:
        return RankFacts((), ())
    return RankFacts(tuple(_sentences(found)), tuple(map(_row, found.layers)))


def _sentences(found: FactorizedRecord) -> Iterator[str]:
    if found.layers:
        fewer = sum(each.parameters[0] - each.parameters[1] for each in found.layers)
        less = sum(each.macs[0] - each.macs[1] for each in found.layers)
        several = len(found.layers) > 1
        subject = f"{len(found.layers):,} layers are two each now" if several else "1 layer is two now"
        yield f"{subject}: {amount(fewer)} parameters fewer, and {amount(less)} MACs of a sample."
        yield _found(found, "Their ranks" if several else "Its rank", several)
    else:
        yield "No layer became two."
    if found.exact is not None and found.exact.max_error is not None:
        error = f"largest relative error {found.exact.max_error:.1e}"
        yield f"The model equals the one with the products as weights: {error}."
    reasons: dict[str, list[str]] = {}
    for name, reason in found.whole.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in list(reasons.items())[:_MOST_REASONS]:
        yield f"One as before: {listed(names, _MOST_NAMES)} ({reason})."
    if len(reasons) > _MOST_REASONS:
        yield f"And {plural(len(reasons) - _MOST_REASONS, 'more reason')}, in record.json."


def _found(found: FactorizedRecord, subject: str, several: bool) -> str:
    verb, outputs = ("keep", "each layer's outputs") if several else ("keeps", "its outputs")
    lose = "lose" if several else "loses"
    if found.way == "energy":
        return f"{subject} {verb} {share(found.target or 0, 1)} of the energy of {outputs}."
    if found.way == "ranks":
        return f"{subject} {'stand' if several else 'stands'} in pfa.yaml."
    unit = "MACs" if found.way == "macs" else "parameters"
    return f"{subject} {lose} least for a model of at most {found.target or 0:,.0f} {unit}."


def _row(layer: FactorizedLayer) -> RankRow:
    return RankRow(
        layer=layer.name,
        rank=f"{layer.rank:,} of {min(layer.columns, layer.filters):,}",
        parameters=share(layer.parameters[1], layer.parameters[0]),
        macs=share(layer.macs[1], layer.macs[0]),
        energy="" if layer.energy is None else share(layer.energy, 1),
        lost=f"{significant(100 * layer.lost)}%",
    )
