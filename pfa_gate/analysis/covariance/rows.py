"""Responses as float64 rows, or an error that says what they are instead."""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from pfa_gate.errors import DataError, NotFiniteError

if TYPE_CHECKING:
    from torch import Tensor

Matrix: TypeAlias = npt.NDArray[np.float64]
Responses: TypeAlias = "npt.ArrayLike | Tensor"

_NAMED = 8


def as_rows(responses: Responses) -> Matrix:
    """Responses as float64 rows, whatever they came as.

    Args:
        responses: [n, C], a torch tensor on any device or anything NumPy reads; any real dtype,
            integers, booleans and half precision included.

    Returns:
        float64 [n, C], in units of the response.

    Raises:
        DataError: not a matrix of real numbers.
        NotFiniteError: NaN or infinity; names the filters.

    Example:
        >>> as_rows(np.array([[100], [100]], dtype=np.int8)).sum()
        np.float64(200.0)
    """
    array = as_matrix(responses)
    refuse_not_finite(array)
    return array.astype(np.float64, copy=False)


def as_matrix(responses: Responses) -> npt.NDArray[np.generic]:
    """As `as_rows`, in the dtype they came in, if that is no wider, and whether they are finite or not.

    Example:
        >>> as_matrix(np.ones((4, 3), np.float32)).dtype
        dtype('float32')
    """
    array = _array(responses)
    if array.ndim != 2:
        raise _no_matrix(array)
    return _real(array)


def as_samples(responses: Responses) -> npt.NDArray[np.generic]:
    """As `as_matrix`, the responses of a sample together.

    Args:
        responses: [n, C], or [n, m, C] with m of each sample.

    Returns:
        [n, m, C], for those who copy it into float64 of their own, and refuse what is not finite.

    Raises:
        DataError: not real numbers, or of another shape.

    Example:
        >>> as_samples(np.ones((4, 3))).shape, as_samples(np.ones((4, 5, 3))).shape
        ((4, 1, 3), (4, 5, 3))
    """
    array = _array(responses)
    if array.ndim not in (2, 3):
        raise _no_matrix(array)
    return _real(array if array.ndim == 3 else array[:, None])


def _no_matrix(array: npt.NDArray[np.generic]) -> DataError:
    return DataError(
        f"Responses must be a matrix [samples, filters]; these have shape {list(array.shape)}.",
        remedy="Pool every axis that is neither sample nor filter, for example by its maximum.",
    )


def _real(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The same, if they are real and of one filter or more."""
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"Responses must be real numbers; these are {array.dtype}.",
            remedy="Give integers or floating point numbers.",
        )
    if array.shape[-1] == 0:
        raise _no_matrix(array)
    if array.dtype.itemsize > 8:  # wider than float64, in which a number of theirs may be infinite
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    return array


def _array(responses: Responses) -> npt.NDArray[np.generic]:
    if not hasattr(responses, "detach"):
        try:
            return np.asarray(responses)
        except ValueError as error:
            raise DataError(
                "Responses must be a matrix [samples, filters]; these rows differ in length.",
                remedy="Give every sample the same number of filters.",
            ) from error
    tensor = responses.detach().cpu()
    try:
        return np.asarray(tensor.numpy())
    except TypeError:  # NumPy has no bfloat16, so the widening happens on torch's side
        return np.asarray(tensor.double().numpy())


def all_finite(array: npt.NDArray[np.generic]) -> bool:
    """Whether there is neither NaN nor infinity.

    Example:
        >>> all_finite(np.ones(3)), all_finite(np.array([1.0, np.nan]))
        (True, False)
    """
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def refuse_not_finite(rows: npt.NDArray[np.generic]) -> None:
    """Refuse responses [..., C] with NaN or infinity.

    Raises:
        NotFiniteError: there are some; names the filters.
    """
    finite = np.isfinite(rows)
    if finite.all():
        return
    broken = ~finite
    filters = np.flatnonzero(broken.any(axis=tuple(range(rows.ndim - 1))))
    samples = broken.any(axis=tuple(range(1, rows.ndim)))
    named = ", ".join(map(str, filters[:_NAMED])) + (", ..." if len(filters) > _NAMED else "")
    raise NotFiniteError(
        f"{len(filters)} of {rows.shape[-1]} filters gave NaN or infinity in "
        f"{int(samples.sum())} of {len(rows)} samples: filter {named}.",
        remedy="Look for NaN or infinity in the probe and the weights, or for overflow in half precision.",
    )
