"""A correlation heat map as a small PNG, transparent where nothing is correlated: right on light and dark alike."""

import base64
import struct
import zlib

from pfa_gate.record import Correlations

_LEVELS = 16
_BLUE = (59, 130, 246)
_MOST = 128


def picture(correlations: Correlations | None) -> str:
    """The heat map as a data URI; empty where there is none, or where its cells are not what they should be.

    Example:
        >>> picture(Correlations(2, (0, 1), "f0f"))[:22]
        'data:image/png;base64,'
        >>> picture(Correlations(2, (0, 1), "f0")), picture(None)
        ('', '')
    """
    if correlations is None or not _sound(correlations):
        return ""
    return f"data:image/png;base64,{base64.b64encode(_png(_square(correlations))).decode('ascii')}"


def _sound(correlations: Correlations) -> bool:
    side, cells = correlations.side, correlations.cells
    return 0 < side <= _MOST and len(cells) == side * (side + 1) // 2 and set(cells) <= set("0123456789abcdef")


def _square(correlations: Correlations) -> list[list[int]]:
    side = correlations.side
    levels = iter(correlations.cells)
    square = [[0] * side for _ in range(side)]
    for row in range(side):
        for column in range(row, side):
            square[row][column] = square[column][row] = int(next(levels), _LEVELS)
    return square


def _png(square: list[list[int]]) -> bytes:
    """Four bits a pixel, and a palette of one hue from clear to full."""
    lines = b"".join(b"\0" + _packed(row) for row in square)
    alphas = bytes(round(255 * level / (_LEVELS - 1)) for level in range(_LEVELS))
    head = struct.pack(">IIBBBBB", len(square), len(square), 4, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"PLTE", bytes(_BLUE) * _LEVELS),
        (b"tRNS", alphas),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _packed(row: list[int]) -> bytes:
    even = [*row, 0] if len(row) % 2 else row
    return bytes(even[index] * _LEVELS + even[index + 1] for index in range(0, len(even), 2))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
