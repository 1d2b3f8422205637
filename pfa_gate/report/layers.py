"""Layers as a report shows them: which break a limit, in what order, and their spectra with the cuts of each rule."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from pfa_gate.budget import LayerFinding
from pfa_gate.budget.wording import trimmed
from pfa_gate.record import LayerRecord, Record
from pfa_gate.redundancy import kept_by_energy, kept_by_kl
from pfa_gate.report.baseline import change_since, signed_change

KEYS = ("kl", "peak_correlation", "mean_correlation", "inactive")
WORST = 5


@dataclass(frozen=True)
class LayerRow:
    """A layer with the findings on it, by budget key (kl, peak_correlation, ...).

    Attributes:
        layer: as it was measured.
        findings: on it.
        elsewhere: whether another tool made the smaller model, so that nobody knows what stays of the layer.
    """

    layer: LayerRecord
    findings: dict[str, LayerFinding] = field(default_factory=dict)
    elsewhere: bool = False

    @property
    def kept(self) -> str:
        """How many filters stay, for a column.

        Example:
            >>> stem = LayerRecord("stem", "Conv2d", 8)
            >>> LayerRow(stem).kept, LayerRow(stem, elsewhere=True).kept
            ('all 8', '8')
        """
        layer = self.layer
        if layer.keep is not None:
            return f"{layer.keep}/{layer.filters}"
        return str(layer.filters) if self.elsewhere else f"all {layer.filters}"

    @property
    def broken(self) -> frozenset[str]:
        """Keys of the limits it breaks."""
        return frozenset(key for key, finding in self.findings.items() if finding.outcome == "broken")

    @property
    def unknown(self) -> bool:
        """Whether it has a limit, should have been measured, and was not."""
        return self.layer.skipped is None and any(f.outcome == "not judged" for f in self.findings.values())

    @property
    def noisy(self) -> bool:
        """Whether a value lies within two standard errors of its limit."""
        return any(finding.within_noise for finding in self.findings.values())


def layer_rows(record: Record) -> tuple[LayerRow, ...]:
    """Every layer in model order, with its findings.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> stem = LayerRecord("stem", "Conv2d", 16)
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), (stem,))
        >>> layer_rows(record)[0].broken
        frozenset()
    """
    findings: dict[str, dict[str, LayerFinding]] = {}
    for budget in record.budgets:
        for detail in budget.details:
            findings.setdefault(detail.layer, {})[budget.id.removeprefix("layers.")] = detail
    elsewhere = record.candidate is not None
    return tuple(LayerRow(layer, findings.get(layer.name, {}), elsewhere) for layer in record.layers)


def chosen(rows: Sequence[LayerRow], everything: bool) -> tuple[LayerRow, ...]:
    """The layers worth a line, in model order: those that fail or could not be judged, and the worst five.

    The worst are those with the highest KL ratio, among the layers on which a verdict is due.

    Args:
        rows: all layers.
        everything: show them all.

    Example:
        >>> rows = [LayerRow(LayerRecord(f"conv{i}", "Conv2d", 16, kl_ratio=i / 100)) for i in range(30)]
        >>> [row.layer.name for row in chosen(rows, everything=False)]
        ['conv25', 'conv26', 'conv27', 'conv28', 'conv29']
    """
    if everything:
        return tuple(rows)
    due = (index for index, row in enumerate(rows) if row.layer.skipped is None)
    worst = set(sorted(due, key=lambda index: -(rows[index].layer.kl_ratio or 0.0))[:WORST])
    return tuple(row for index, row in enumerate(rows) if row.broken or row.unknown or index in worst)


def changed(record: Record, row: LayerRow) -> bool:
    """Whether a layer is new since the baseline, or differs from it visibly and by more than two standard errors.

    Example:
        >>> from pfa_gate.record import Compared, Probe, Size
        >>> stem = LayerRecord("stem", "Conv2d", 16, kl_ratio=0.5, kl_stderr=0.01)
        >>> against = Compared("pfa.baseline.json", "2026-11-12", "", layers={"stem": {"kl": 0.49}})
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), baseline=against)
        >>> changed(record, LayerRow(stem))
        False
    """
    if record.baseline is None or record.baseline.refusal:
        return False
    layer = row.layer
    errors = {"kl": layer.kl_stderr, "peak_correlation": layer.peak_stderr, "mean_correlation": layer.mean_stderr}
    steps = {key: change_since(record, layer, key) for key in KEYS}
    moved = (
        key for key, by in steps.items() if signed_change(by, key) and abs(by or 0.0) > 2 * (errors.get(key) or 0.0)
    )
    return layer.name in record.baseline.new or any(moved)


def limits(rows: Sequence[LayerRow]) -> dict[str, str]:
    """The limit on each key, as a range where layers differ; keys without a limit are left out.

    Example:
        >>> finding = LayerFinding("stem", 0.7, 0.5, "kept")
        >>> limits([LayerRow(LayerRecord("stem", "Conv2d", 16), {"kl": finding})])
        {'kl': '0.7'}
    """
    all_limits = {key: {row.findings[key].limit for row in rows if key in row.findings} for key in KEYS}
    known = {key: {value for value in values if value is not None} for key, values in all_limits.items()}
    return {key: _range(min(values), max(values)) for key, values in known.items() if values}


def _range(low: float, high: float) -> str:
    return trimmed(low, 3) if low == high else f"{trimmed(low, 3)}-{trimmed(high, 3)}"


def sparkline(eigenvalues: Sequence[float], width: int, blocks: str) -> str:
    """Bars of the square roots of the eigenvalues (standard deviations), the largest full height.

    Eigenvalues fall over decades; their roots show the tail that the recipe cuts. Neighbours share a bar
    (their mean) where there are more of them than columns; exact zeros leave a gap.

    Args:
        eigenvalues: descending, any unit.
        width: most columns.
        blocks: signs of rising height.

    Example:
        >>> sparkline([0.64, 0.16, 0.04, 0.0], 8, "▁▂▃▄▅▆▇█")
        '█▄▂ '
    """
    columns = min(width, len(eigenvalues))
    means = [_mean(eigenvalues, column, columns) for column in range(columns)]
    top = max(means, default=0.0) or 1.0
    return "".join(_block(math.sqrt(max(mean, 0.0) / top), blocks) for mean in means)


def kept_columns(filters: int, keep: int, width: int) -> int:
    """How many columns of a sparkline are of filters that stay.

    Example:
        >>> kept_columns(filters=64, keep=16, width=8), kept_columns(filters=64, keep=1, width=8)
        (2, 1)
    """
    columns = min(width, filters)
    return max(1, round(columns * keep / max(1, filters))) if keep else 0


def _mean(values: Sequence[float], column: int, columns: int) -> float:
    first, last = column * len(values) // columns, (column + 1) * len(values) // columns
    return min(sum(values[first:last]), sys.float_info.max) / (last - first)


def _block(height: float, blocks: str) -> str:
    return " " if height <= 0 else blocks[min(len(blocks), math.ceil(height * len(blocks))) - 1]


def kl_cut(layer: LayerRecord) -> int | None:
    """Filters that the strategy `kl` would keep of a layer by itself; None where it was not measured.

    Example:
        >>> kl_cut(LayerRecord("stem", "Conv2d", 16, kl_ratio=0.5, inactive=0))
        8
    """
    if layer.kl_ratio is None:
        return None
    return kept_by_kl(layer.filters, layer.filters - (layer.inactive or 0), min(1.0, max(0.0, layer.kl_ratio)))


def energy_cut(layer: LayerRecord, energy: float | None) -> int | None:
    """Filters that carry a share of a layer's energy; None where it was not measured, or without a share.

    Example:
        >>> energy_cut(LayerRecord("stem", "Conv2d", 3, inactive=0, eigenvalues=(0.6, 0.3, 0.1)), 0.9)
        2
    """
    if energy is None or not layer.eigenvalues:
        return None
    return kept_by_energy(list(accumulate(layer.eigenvalues)), layer.filters - (layer.inactive or 0), energy)
