"""Products of matrices in float64: by NumPy for narrow layers, by scipy for all others.

Each of the two brings a library of its own, whose threads wait actively for a while when they are done. Where work goes
back and forth between them they take the cores from each other, and several times as long. So all that is done with one
layer is done by one of them: scipy's, which solves wide matrices faster, but takes a quarter of a second to import.
"""

import numpy as np

from pfa_gate.analysis.covariance.rows import Matrix

NARROW = 128
"""So many filters of a layer, and NumPy is as fast as scipy."""


def product(left: Matrix, right: Matrix) -> Matrix:
    """Left @ right, in C's order.

    Args:
        left: float64 [m, n].
        right: float64 [n, k].

    Example:
        >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])).tolist()
        [[11.0]]
    """
    if max(right.shape) <= NARROW:
        return np.asarray(left @ right)
    from scipy.linalg.blas import dgemm  # noqa: PLC0415  a quarter of a second, which narrow layers do not win back

    (first, first_turned), (second, second_turned) = _in_columns(right.T), _in_columns(left.T)
    return np.asarray(dgemm(1.0, first, second, trans_a=first_turned, trans_b=second_turned).T)


def _in_columns(matrix: Matrix) -> tuple[Matrix, bool]:
    """A matrix as Fortran reads it without a copy, and whether that is its transpose."""
    return (matrix.T, True) if matrix.flags.c_contiguous else (matrix, False)


def summed(rows: Matrix) -> Matrix:
    """The sum of rows, [n, C] -> [C].

    Example:
        >>> summed(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [4.0, 6.0]
    """
    ones = np.ones(len(rows))
    if rows.shape[1] <= NARROW:
        return np.asarray(ones @ rows)
    from scipy.linalg.blas import dgemv  # noqa: PLC0415

    return np.asarray(dgemv(1.0, rows.T, ones))


def with_squares(lower: Matrix, rows: Matrix) -> Matrix:
    """Add rows.T @ rows to the lower triangle of a matrix in Fortran's order, in place.

    Args:
        lower: float64 [C, C]; what it holds above the diagonal afterwards is of no meaning.
        rows: float64 [n, C].

    Example:
        >>> with_squares(np.zeros((1, 1)), np.array([[1.0], [3.0]])).tolist()
        [[10.0]]
    """
    if len(lower) <= NARROW:
        # NumPy gives a matrix times its own transpose to the symmetric rank-k routine.
        return np.add(lower, (rows.T @ rows).T, out=lower)
    from scipy.linalg.blas import dsyrk  # noqa: PLC0415

    columns, turned = _in_columns(rows.T)
    return np.asarray(dsyrk(1.0, columns, beta=1.0, c=lower, trans=turned, lower=1, overwrite_c=1))
