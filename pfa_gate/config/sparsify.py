"""The section `sparsify` as a type: a pattern of zeros in the compressed model's weights."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from pfa_gate.config.complaints import RefusalError, describe
from pfa_gate.config.field_types import Patterns, StrictSection, Text

_PATTERN = r"^[1-9][0-9]?:[1-9][0-9]?$"
_WIDEST = 32


def pattern_of_zeros(text: str) -> str:
    """Check that a text is a pattern such as 2:4.

    Raises:
        RefusalError: it is none.

    Example:
        >>> pattern_of_zeros("2:4")
        '2:4'
    """
    kept, of = map(int, text.split(":")) if re.search(_PATTERN, text) else (0, 0)
    if 0 < kept < of <= _WIDEST:
        return text
    fact = f"must be a pattern N:M with N below M, and M at most {_WIDEST}, not {describe(text)}"
    raise RefusalError(fact, "Write 2:4: of every 4 weights 2 stay.")


class SparsifyLayers(StrictSection):
    """Which layers get zeros: fnmatch patterns on module names."""

    exclude: Patterns = Field(default=(), description="layers whose weights all stay")


class SparsifyConfig(StrictSection):
    """Zeros in the weights of the compressed model: of every M neighbouring input channels of a filter, N stay."""

    pattern: Annotated[Text, AfterValidator(pattern_of_zeros)] = Field(
        description="how many of how many neighbouring weights stay, `N:M`; hardware of today reads `2:4`",
        examples=["2:4"],
        json_schema_extra={"pattern": _PATTERN},
    )
    layers: SparsifyLayers = SparsifyLayers.model_construct()
