"""How many filters each layer keeps: the section `recipe` as a type."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from pfa_gate.config.field_types import BytesTarget, SizeTarget, StrictSection


def _goes_with_its_strategy(key: str) -> dict[str, Any]:
    chosen = {"properties": {"strategy": {"const": key}}, "required": ["strategy"]}
    return {"if": chosen, "then": {"required": [key]}, "else": {"not": {"required": [key]}}}


_OWN_KEYS: Any = [_goes_with_its_strategy(key) for key in ("energy", "parameters", "bytes", "macs")]
_STATISTIC_IS_OF_SIZES: Any = {
    "if": {"required": ["statistic"]},
    "then": {"properties": {"strategy": {"enum": ["parameters", "bytes", "macs"]}}, "required": ["strategy"]},
}


class RecipeConfig(StrictSection):
    """How many filters each layer keeps."""

    model_config = ConfigDict(json_schema_extra={"allOf": [*_OWN_KEYS, _STATISTIC_IS_OF_SIZES]})

    strategy: Literal["kl", "energy", "parameters", "bytes", "macs"] = Field(
        default="kl",
        description="`kl` and `energy` look at each layer alone; the others meet a size of the whole model",
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
    statistic: Literal["energy", "standardised", "reconstruction"] | None = Field(
        default=None,
        description="with a size strategy: what divides the size among the layers. `energy` (if left out): the "
        "spectra; `standardised`: the spectra of filters scaled to equal variance; `reconstruction`: what the layers "
        "that read each layer lose",
    )
    residual: Literal["project", "pad"] = Field(
        default="project",
        description="at a sum: `project` cuts all layers that feed it alike; `pad` cuts each by itself and restores "
        "the full width before the sum",
    )
    round_to: int = Field(default=1, ge=1, description="each layer keeps a multiple of this many filters")
    minimum: int = Field(default=1, ge=1, description="fewest filters that a layer keeps")
    rounds: int = Field(
        default=1, ge=1, le=100, description="how often PFA is applied: each round measures and cuts the model anew"
    )
