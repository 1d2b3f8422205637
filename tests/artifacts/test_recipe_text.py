"""recipe.yaml is written by hand where PyYAML is slow: what is read from it is what was given."""

import numpy as np
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.artifacts.recipe import _parameters_text

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
INDICES = st.lists(st.integers(0, 5000), max_size=70, unique=True).map(sorted)


@given(st.dictionaries(NAMES, st.dictionaries(st.integers(0, 3), INDICES, max_size=3), max_size=4))
def test_every_index_of_every_axis_is_read_again(given_axes: dict[str, dict[int, list[int]]]) -> None:
    axes = {name: {axis: np.array(indices, int) for axis, indices in each.items()} for name, each in given_axes.items()}
    text = _parameters_text(axes)
    assert yaml.safe_load(text) == {"parameters": given_axes}
    assert list(yaml.safe_load(text)["parameters"]) == sorted(given_axes)
