"""An independent reading of the paper in plain NumPy and SciPy: slow, short, and sharing no code."""

import numpy as np
from scipy.stats import entropy

ACTIVE = 1e-6


def varying(rows: np.ndarray) -> np.ndarray:
    """Which filters vary, bool [C]; an explicit loop over design 5."""
    spread = rows.std(axis=0, ddof=1)
    return np.array([s > ACTIVE * max(abs(m), spread.max()) for s, m in zip(spread, rows.mean(axis=0), strict=True)])


def eigenvalues(rows: np.ndarray) -> np.ndarray:
    """Normalised, descending, of numpy.cov over the filters that vary."""
    silenced = np.where(varying(rows), rows, 0.0).astype(np.float64)
    raw = np.linalg.eigvalsh(np.atleast_2d(np.cov(silenced, rowvar=False)))[::-1].clip(0)
    return raw / raw.sum()


def kl(rows: np.ndarray) -> float:
    values = eigenvalues(rows)
    return float(entropy(values, np.full(len(values), 1 / len(values))))


def keep_energy(rows: np.ndarray, energy: float) -> int:
    values = eigenvalues(rows)
    fewest = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= energy - 1e-9)
    return max(1, min(fewest, int(varying(rows).sum())))


def correlation(rows: np.ndarray) -> np.ndarray:
    """|numpy.corrcoef| of the filters that vary, 0 elsewhere."""
    active = np.flatnonzero(varying(rows))
    full = np.zeros((rows.shape[1], rows.shape[1]))
    full[np.ix_(active, active)] = np.abs(np.atleast_2d(np.corrcoef(rows[:, active], rowvar=False)))
    return full


def removal_order(correlation: np.ndarray, inactive: np.ndarray) -> list[int]:
    """The paper's rule word by word: every norm summed anew for every removal, O(C^3)."""
    left = [j for j in range(len(correlation)) if not inactive[j]]
    gone = [j for j in range(len(correlation)) if inactive[j]]
    while left:
        others = {i: [correlation[i, j] for j in left if j != i] for i in left}
        norm = {i: sum(others[i]) for i in left}
        tied = [i for i in left if norm[i] >= max(norm.values()) - 1e-9]
        peak = {i: max(others[i], default=0.0) for i in tied}
        first = next(i for i in tied if peak[i] >= max(peak.values()) - 1e-9)
        left.remove(first)
        gone.append(first)
    return gone


def jackknife(rows: np.ndarray, folds: int = 8) -> np.ndarray:
    """Standard errors of kl / ln C, of the peak and of the mean correlation: all taken anew without each fold."""
    values = []
    for fold in range(folds):
        left = rows[np.arange(len(rows)) % folds != fold]
        active = varying(left)
        pairs = correlation(left)[np.ix_(active, active)][~np.eye(active.sum(), dtype=bool)]
        ratio = kl(left) / np.log(rows.shape[1])
        values.append((ratio, pairs.max(initial=0.0), pairs.mean() if pairs.size else 0.0))
    return np.sqrt((folds - 1) * np.var(values, axis=0))
