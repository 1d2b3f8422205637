"""Laws of packing: what is packed comes back, in as few bytes as can be, and nothing else is read as such."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pfa_gate.compress.quantize.grid import WIDTHS, Width, bits_in, grids
from pfa_gate.compress.quantize.packing import pack, packed_bytes, unpack

_LEVELS = {width: max(grid.levels for grid in grids(width)) for width in (*WIDTHS, 7)}


@pytest.mark.parametrize("width", list(_LEVELS))
@given(data=st.data())
@settings(max_examples=25)
def test_every_place_comes_back(width: Width, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, _LEVELS[width] - 1), max_size=40))
    content = pack(np.array(places, np.int16), width)
    assert content.dtype == np.uint8
    assert len(content) == packed_bytes(width, len(places)) == int(np.ceil(round(len(places) * bits_in(width) / 8, 6)))
    assert unpack(content, width, len(places)).tolist() == places


def test_the_layout_is_the_one_that_is_documented() -> None:
    """Counted by hand, as docs/quantization.md says: the first number in the lowest bits; base 3 for ternary ones."""
    places = np.array([5, 1, 7, 2, 0, 3])
    whole = sum(int(place) << (3 * number) for number, place in enumerate(places))
    assert pack(places, 3).tobytes() == whole.to_bytes(3, "little")
    assert pack(np.array([2, 0, 1, 1, 2, 1]), "ternary").tolist() == [2 + 0 * 3 + 1 * 9 + 1 * 27 + 2 * 81, 1]


@pytest.mark.parametrize(("width", "content", "count"), [(4, [1, 2], 5), ("ternary", [243], 5), (2, [1], 0)])
def test_bytes_that_were_not_packed_so_are_refused(width: Width, content: list[int], count: int) -> None:
    with pytest.raises(ValueError, match=r"numbers"):
        unpack(np.array(content, np.uint8), width, count)
