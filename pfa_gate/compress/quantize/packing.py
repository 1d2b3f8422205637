"""Numbers of a grid packed tightly into bytes, and back.

A number is stored as its place in the grid, from 0. Places of b bits follow one another without gaps, the first one in
the lowest bits of the first byte. Five ternary places share a byte: their sum, each times a power of 3, the first one
times 1. What is left of the last byte is 0.
"""

import numpy as np
import numpy.typing as npt

from pfa_gate.compress.quantize.grid import Width

_PER_BYTE = 5
_POWERS = 3 ** np.arange(_PER_BYTE, dtype=np.int64)

Bytes = npt.NDArray[np.uint8]


def packed_bytes(width: Width, count: int) -> int:
    """Bytes that so many numbers take.

    Example:
        >>> packed_bytes(3, 5), packed_bytes("ternary", 6), packed_bytes("binary", 9)
        (2, 2, 2)
    """
    if width == "ternary":
        return -(-count // _PER_BYTE)
    return -(-count * _bits(width) // 8)


def pack(places: npt.NDArray[np.integer], width: Width) -> Bytes:
    """Places in a grid as bytes.

    Args:
        places: int [n], from 0.
        width: of the grid.

    Example:
        >>> pack(np.array([1, 2, 3]), 4).tolist(), pack(np.array([2, 1, 0]), "ternary").tolist()
        ([33, 3], [5])
    """
    if width == "ternary":
        filled = np.zeros(_PER_BYTE * packed_bytes(width, len(places)), np.int64)
        filled[: len(places)] = places
        return (filled.reshape(-1, _PER_BYTE) @ _POWERS).astype(np.uint8)
    bits = (np.asarray(places, np.uint8)[:, None] >> np.arange(_bits(width), dtype=np.uint8)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")


def unpack(content: Bytes, width: Width, count: int) -> npt.NDArray[np.int16]:
    """The inverse of `pack`, int16 [count].

    Raises:
        ValueError: there are more or fewer bytes, or one that `pack` does not write.

    Example:
        >>> unpack(np.array([33, 3], np.uint8), 4, 3).tolist()
        [1, 2, 3]
    """
    if len(content) != packed_bytes(width, count):
        raise ValueError(f"{len(content):,} bytes for {count:,} numbers of width {width}")
    if width == "ternary":
        if content.size and content.max() >= 3**_PER_BYTE:
            raise ValueError("a byte of five ternary numbers is above 242")
        places = (content.astype(np.int64)[:, None] // _POWERS % 3).reshape(-1)
    else:
        each = _bits(width)
        bits = np.unpackbits(content, count=count * each, bitorder="little").reshape(count, each)
        places = bits.astype(np.int64) @ (1 << np.arange(each))
    found: npt.NDArray[np.int16] = places[:count].astype(np.int16)
    return found


def _bits(width: Width) -> int:
    return 1 if width == "binary" else int(width)
