"""A spectrum as a row of blocks."""

import math
import sys
from collections.abc import Sequence


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


def cut(filters: int, keep: int, width: int) -> int:
    """How many columns of a sparkline stand for filters that stay.

    Example:
        >>> cut(filters=64, keep=16, width=8), cut(filters=64, keep=1, width=8)
        (2, 1)
    """
    columns = min(width, filters)
    return max(1, round(columns * keep / max(1, filters))) if keep else 0


def _mean(values: Sequence[float], column: int, columns: int) -> float:
    first, last = column * len(values) // columns, (column + 1) * len(values) // columns
    return min(sum(values[first:last]), sys.float_info.max) / (last - first)


def _block(height: float, blocks: str) -> str:
    return " " if height <= 0 else blocks[min(len(blocks), math.ceil(height * len(blocks))) - 1]
