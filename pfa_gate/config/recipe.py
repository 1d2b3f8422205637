"""How many filters each layer keeps: the section `recipe` as a type."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from pfa_gate.config.complaints import RefusalError, describe
from pfa_gate.config.field_types import BytesTarget, DropTarget, SizeTarget, StrictSection
from pfa_gate.config.named_sources import DataSource


def _goes_with_its_strategy(key: str) -> dict[str, Any]:
    chosen = {"properties": {"strategy": {"const": key}}, "required": ["strategy"]}
    return {"if": chosen, "then": {"required": [key]}, "else": {"not": {"required": [key]}}}


_OWN_KEYS: Any = [_goes_with_its_strategy(key) for key in ("energy", "parameters", "bytes", "macs", "score")]
_OF_A_SEARCH: Any = {
    "if": {"anyOf": [{"required": [key]} for key in ("of", "confident", "data")]},
    "then": {"properties": {"strategy": {"const": "score"}}, "required": ["strategy"]},
}
_STATISTIC_IS_OF_SIZES: Any = {
    "if": {"required": ["statistic"]},
    "then": {"properties": {"strategy": {"enum": ["parameters", "bytes", "macs", "score"]}}, "required": ["strategy"]},
}


def multiple(value: object) -> object:
    """Check what counts are to be multiples of.

    Raises:
        RefusalError: it is neither a whole number from 1 nor `auto`.

    Example:
        >>> multiple(8), multiple("auto")
        (8, 'auto')
    """
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusalError(f"must be a whole number or auto, not {describe(value)}", "Write 8, say, or auto.")
    if value < 1:
        raise RefusalError(f"must be at least 1, not {describe(value)}")
    return value


_MULTIPLE = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}
RoundTo = Annotated[int | Literal["auto"], BeforeValidator(multiple), WithJsonSchema(_MULTIPLE)]


class RecipeConfig(StrictSection):
    """How many filters each layer keeps."""

    model_config = ConfigDict(json_schema_extra={"allOf": [*_OWN_KEYS, _OF_A_SEARCH, _STATISTIC_IS_OF_SIZES]})

    strategy: Literal["kl", "energy", "parameters", "bytes", "macs", "score"] = Field(
        default="kl",
        description="`kl` and `energy` look at each layer alone; `parameters`, `bytes` and `macs` meet a size of the "
        "whole model; `score` looks for the smallest model whose score holds",
    )
    energy: float | None = Field(
        default=None, gt=0, le=1, description="with strategy `energy`: share of each layer's energy to keep"
    )
    parameters: SizeTarget | None = Field(
        default=None, description="with strategy `parameters`: target, a count or a percentage of the full model's"
    )
    bytes: BytesTarget | None = Field(
        default=None, description="with strategy `bytes`: target, bytes of stored weights or a percentage"
    )
    macs: SizeTarget | None = Field(
        default=None,
        description="with strategy `macs`: target, multiply-accumulates of one sample or a percentage",
    )
    score: DropTarget | None = Field(
        default=None,
        description="with strategy `score`: by how much the score may fall, in the metric's own unit or in percentage "
        "points",
    )
    of: Literal["parameters", "bytes", "macs", "latency"] | None = Field(
        default=None, description="with strategy `score`: what is to be small; `parameters` if left out"
    )
    confident: bool | None = Field(
        default=None,
        description="with strategy `score`: whether the upper end of the 95 % interval of the fall has to hold too; "
        "if left out it need not",
    )
    data: DataSource | None = Field(
        default=None,
        description="with strategy `score`: what the search scores on, as `evaluation.data`; a half of the "
        "evaluation's samples if left out, and then the other half is what the gate reports",
        examples=["example_project.data:validation"],
    )
    statistic: Literal["energy", "standardised", "reconstruction", "measured"] | None = Field(
        default=None,
        description="with a size strategy or `score`: what divides the size among the layers. `energy` (if left out): "
        "the spectra; `standardised`: the spectra of filters scaled to equal variance; `reconstruction`: what the "
        "layers that read each layer lose; `measured`: what the answers lose when each layer is cut alone",
    )
    residual: Literal["project", "pad"] = Field(
        default="project",
        description="at a sum: `project` cuts all layers that feed it alike; `pad` cuts each by itself and restores "
        "the full width before the sum",
    )
    round_to: RoundTo = Field(
        default=1,
        description="each layer keeps a multiple of this many filters, or all of them. `auto`: of 8 from 32 filters "
        "on, of 4 from 16 on",
    )
    minimum: int = Field(default=1, ge=1, description="fewest filters that a layer keeps")
    rounds: int = Field(
        default=1, ge=1, le=100, description="how often PFA is applied: each round measures and cuts the model anew"
    )
