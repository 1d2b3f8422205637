"""The sections of a gate as types: what may stand where. What spans sections is in `checks`."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from pfa_gate.config.budgets import BudgetsConfig, Declared, Waivers, declared
from pfa_gate.config.candidate import NOT_BESIDE, CandidateConfig
from pfa_gate.config.complaints import RefusalError, describe, nearest
from pfa_gate.config.energy import LIMITS_NEED_A_TABLE, EnergyConfig
from pfa_gate.config.evaluation import EvaluationConfig
from pfa_gate.config.factorize import FactorizeConfig
from pfa_gate.config.field_types import (
    SHARES,
    Artifacts,
    Device,
    FilePath,
    Globs,
    MostBytes,
    Patterns,
    StrictSection,
    Text,
)
from pfa_gate.config.latency import LatencyConfig
from pfa_gate.config.named_sources import LIBRARIES, DataSource, Factory
from pfa_gate.config.parity import PARITY_NEEDS_ONNX
from pfa_gate.config.project import UNSEEN
from pfa_gate.config.quantize import NEEDS_QUANTIZE, QuantizeConfig
from pfa_gate.config.recipe import RecipeConfig
from pfa_gate.config.recovery import Step, recovery_steps
from pfa_gate.config.sparsify import NEEDS_A_ZERO, SparsifyConfig

# A gate's name is a folder and a part of a test's id; `checks` says what is wrong with one.
_NOT_IN_NAME = UNSEEN + r"""/\\:\[\]<>"|?*"""
_DEVICE = r"([cC][oO][nN]|[pP][rR][nN]|[aA][uU][xX]|[nN][uU][lL]|([cC][oO][mM]|[lL][pP][tT])[1-9])([.]|$)"
NAME_PATTERN = rf"^(?!\s)(?!{_DEVICE})[^{_NOT_IN_NAME}]*[^\s.{_NOT_IN_NAME}]$"
SELECTIONS = (
    "reconstruction",
    "correlation",
    "auto",
    "l1",
    "geometric_median",
    "batchnorm",
    "taylor",
    "kse",
    "activation",
    "random",
)


_CLASSES_BY_NAME: Any = {
    "if": {"required": ["num_classes"]},
    "then": {"properties": {"factory": {"pattern": f"^({'|'.join(LIBRARIES)})"}}},
}
_NEED_A_FILE: Any = {
    "if": {
        "anyOf": [
            {"properties": {"loader": {"const": "mmap"}}, "required": ["loader"]},
            {"properties": {"checkpoint_key": {"type": "string"}}, "required": ["checkpoint_key"]},
        ]
    },
    "then": {"required": ["checkpoint"]},
}


class ModelConfig(StrictSection):
    """Where the model comes from, and where it runs."""

    model_config = ConfigDict(json_schema_extra={"allOf": [_NEED_A_FILE, _CLASSES_BY_NAME]})

    factory: Factory = Field(
        description="callable that returns a `torch.nn.Module`: `module:callable` or `path/to/file.py:callable`; or a "
        "model by name: `timm:NAME`, `torchvision:NAME`, `hf:FOLDER`",
        examples=["example_project.model:build"],
    )
    arguments: dict[str, Any] = Field(default={}, description="keyword arguments of the factory")
    num_classes: int | None = Field(
        default=None, ge=1, description="how many classes a model by name gets; its own number if left out"
    )
    checkpoint: FilePath | None = Field(
        default=None,
        description="file of weights; without one the model is used as the factory returns it",
        examples=["weights/digits.safetensors"],
    )
    checkpoint_key: Text | None = Field(
        default=None,
        description="where in the file the weights are, keys joined by dots; found automatically where only one "
        "mapping fits the model",
        examples=["state_dict_ema"],
    )
    loader: Literal["copy", "mmap"] = Field(
        default="copy",
        description="`copy` copies the weights into the model; `mmap` builds the model without allocating weights and "
        "maps the file in their place",
    )
    device: Device = Field(
        default="auto",
        description="where the probe and the evaluation run; `auto` is CUDA where there is a device, else the CPU",
        examples=["cuda:1"],
    )


class ProbeConfig(StrictSection):
    """The data on which responses are measured."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["pooling", "positions"]}})

    data: DataSource = Field(
        description="callable that returns a Dataset, a DataLoader, tensors or an iterable; a `.npy`, `.npz` or "
        "`.safetensors` file; or a mapping: images in a folder, or lines of JSON",
        examples=["example_project.data:probe"],
    )
    samples: int | None = Field(
        default=None,
        ge=2,
        description="how many samples to use: a seeded draw from a Dataset, the first of a stream; all if left out",
    )
    batch_size: int = Field(
        default=128,
        ge=1,
        description="samples in one forward pass, for data that is not batched yet, and in one step of `distill`; "
        "changes no measurement",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="seed of the draw, and of all random numbers that your code asks for"
    )
    pooling: Literal["max", "mean"] = Field(
        default="max", description="how the positions of a feature map become one response; `max` is the paper's"
    )
    positions: int | None = Field(
        default=None,
        ge=1,
        description="instead of `pooling`: this many random positions of each feature map, each of them a sample",
    )
    max_bytes: MostBytes | None = Field(
        default=None,
        description="most memory that a data file may take, that of `evaluation` too; 2 GB if left out",
    )


class LayersConfig(StrictSection):
    """Which layers are judged and cut: fnmatch patterns on module names."""

    include: Annotated[Patterns, Field(min_length=1, json_schema_extra={"minItems": 1})] = Field(
        default=("*",), description="layers to judge and cut; `*` matches dots too"
    )
    exclude: Patterns = Field(default=(), description="layers to leave out nevertheless")


def _known_selection(value: object) -> object:
    # Another package may add a selection, so only what looks like a slip of one of ours is refused here.
    if isinstance(value, str) and value not in SELECTIONS and get_close_matches(value, SELECTIONS, 1):
        raise RefusalError(f"must name a selection, not be {describe(value)}", nearest(value, SELECTIONS))
    return value


def _holds(*keys: str) -> dict[str, Any]:
    below = {"properties": {keys[0]: _holds(*keys[1:])}} if keys[1:] else {}
    return {"required": [keys[0]], **below}


_OF_SCORES = (
    ("model", "score"),
    *((area, key) for area in ("compressed", "quantized") for key in ("score", "score_drop")),
)
_LIMITS_NEED_SCORES: Any = [
    {
        "if": {"anyOf": [*(_holds("budgets", *keys) for keys in _OF_SCORES), _holds("recipe", "score")]},
        "then": {"required": ["evaluation"]},
    },
    {
        "if": {"anyOf": [_holds("budgets", area, "accuracy_drop") for area in ("compressed", "quantized")]},
        "then": {
            "required": ["evaluation"],
            "properties": {"evaluation": {"properties": {"metric": {"enum": [*SHARES]}}}},
        },
    },
]


class GateSections(StrictSection):
    """One gate as it stands in the config, under its name."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                *_LIMITS_NEED_SCORES,
                LIMITS_NEED_A_TABLE,
                NOT_BESIDE,
                *NEEDS_QUANTIZE,
                PARITY_NEEDS_ONNX,
                NEEDS_A_ZERO,
            ]
        }
    )

    model: ModelConfig
    probe: ProbeConfig
    layers: LayersConfig = LayersConfig.model_construct()
    recipe: RecipeConfig = RecipeConfig.model_construct()
    selection: Annotated[Text, BeforeValidator(_known_selection)] = Field(
        default="reconstruction",
        description=f"which filters are kept: {', '.join(f'`{name}`' for name in SELECTIONS)}, or one that another "
        "package adds; `correlation` is the paper's",
    )
    factorize: FactorizeConfig | None = None
    recovery: Annotated[tuple[Step, ...], Field(strict=False), BeforeValidator(recovery_steps)] = Field(
        default=("compensate",),
        description="steps that give the compressed model its accuracy back, in this order; `[]` for none",
    )
    sparsify: SparsifyConfig | None = None
    quantize: QuantizeConfig | None = None
    candidate: CandidateConfig | None = None
    evaluation: EvaluationConfig | None = None
    energy: EnergyConfig | None = None
    latency: LatencyConfig = LatencyConfig.model_construct()
    budgets: BudgetsConfig
    allow: Waivers = ()
    artifacts: Annotated[Artifacts, Field(min_length=1, json_schema_extra={"minItems": 1})] | None = Field(
        default=None,
        description="files of the compressed model to write: `weights`, `pt2`, `onnx`; all if left out, `onnx` where "
        "its extra is installed; `onnx-int8` is written wherever `quantize` stands; `openvino` and `executorch`, each "
        "with its extra, where they are named",
        examples=["weights"],
    )
    watch: Annotated[Globs, Field(min_length=1, json_schema_extra={"minItems": 1})] | None = Field(
        default=None,
        description="globs of all other files that model, data and metric read, so that a verdict can outlive a run",
        examples=["data/*.npy"],
    )


class GateConfig(GateSections):
    """One gate with its name.

    Example:
        >>> gate = GateConfig.model_validate({
        ...     "name": "digits",
        ...     "model": {"factory": "net:build"},
        ...     "probe": {"data": "net:probe"},
        ...     "budgets": {"layers": [{"match": "*", "kl": 0.7}]},
        ... })
        >>> [budget.name for budget in gate.budgets_declared()]
        ['exact', 'layers.kl']
    """

    name: Text

    @property
    def int8(self) -> bool:
        """Whether an int8 file is made, which ONNX Runtime runs."""
        return self.quantize is not None and self.quantize.bits == 8

    def budgets_declared(self) -> tuple[Declared, ...]:
        """List the budgets in the order of their tests; `exact`, the proof of the cut, comes first if one is made."""
        return declared(self.budgets, ("gates", self.name), proved=self.candidate is None)


def _version(value: object) -> object:
    # True and 1.0 equal 1, so a literal would let them pass.
    if type(value) is not int or value != 1:
        raise RefusalError(f"must be 1, not {describe(value)}", "This pfa_gate reads version 1.")
    return value


class Root(StrictSection):
    """A whole config."""

    version: Annotated[Literal[1], BeforeValidator(_version)] = Field(
        description="version of the format of this file", examples=[1]
    )
    gates: dict[str, GateSections] = Field(
        min_length=1,
        description="the gates by name",
        json_schema_extra={"propertyNames": {"maxLength": 80, "pattern": NAME_PATTERN}},
    )
