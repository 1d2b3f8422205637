"""What all sections share: strictness, and the kinds of text and limit that stand in them."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from pfa_gate.config.answer_limits import AGREEMENT, CLASS_DROP, DIVERGENCE, OUTPUT_ERROR
from pfa_gate.config.complaints import RefusalError, describe, nearest
from pfa_gate.config.project import FOREIGN, UNSEEN, invisible_letter, path_fault
from pfa_gate.config.quantity import (
    BYTES,
    BYTES_OR_SHARE,
    COUNT,
    DROP,
    LATENCY,
    RATIO,
    SCORE,
    SIZE,
    SIZE_OR_SHARE,
    Kind,
    Limit,
    parse,
)

Direction = Literal["higher", "lower"]
SHARES = ("accuracy", "top5")
"""The metrics that pfa_gate computes: shares of hits, in [0, 1]. Any other is in plain numbers of its own."""

_CALLABLE = re.compile(r"(?P<source>.+\.py|[^\W\d][\w.]*):(?P<name>[^\W\d][\w.]*)\Z")
_DEVICE = r"^(auto|cpu|cuda(:[0-9]+)?)$"
_DATA_FILES = (".npy", ".npz", ".safetensors")


class StrictSection(BaseModel):
    """A mapping of the config: immutable, no unknown keys, no conversions between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _has_value(cls, value: object) -> object:
        # `kl:` without a value would otherwise be a budget that silently does not exist.
        if value is None:
            raise RefusalError("has no value", "Write one after the colon, or remove the line.")
        # 1e3 is a whole number, to JSON schema as well.
        return int(value) if isinstance(value, float) and value.is_integer() else value


def visible_text(text: str) -> str:
    """Check that all letters of a text can be seen.

    Raises:
        RefusalError: one cannot.

    Example:
        >>> visible_text("trunk.*")
        'trunk.*'
    """
    problem = invisible_letter(text)
    if problem:
        raise RefusalError(*problem)
    return text


def portable_path(text: str) -> str:
    """Check that a path means the same on every machine.

    Raises:
        RefusalError: it refers to the environment, to a drive or an address, or holds what cannot be seen.

    Example:
        >>> portable_path("weights/net.safetensors")
        'weights/net.safetensors'
    """
    problem = path_fault(text)
    if problem:
        raise RefusalError(*problem)
    return text


def callable_reference(text: str) -> str:
    """Check that a text names a callable.

    Raises:
        RefusalError: it is neither `module:callable` nor `path/to/file.py:callable`.

    Example:
        >>> callable_reference("src/net.py:build")
        'src/net.py:build'
    """
    if _CALLABLE.match(portable_path(text)):
        return text
    remedy = "Write module:callable, or path/to/file.py:callable."
    raise RefusalError(f"must name a callable, not be {describe(text)}", remedy)


def data_reference(text: str) -> str:
    """Check that a text names a callable or a file of data.

    Raises:
        RefusalError: it is neither.

    Example:
        >>> data_reference("probe.npy")
        'probe.npy'
    """
    if portable_path(text).lower().endswith(_DATA_FILES) or _CALLABLE.match(text):
        return text
    remedy = f"Write module:callable, path/to/file.py:callable, or a file ending in {', '.join(_DATA_FILES)}."
    raise RefusalError(f"must name a callable or a data file, not be {describe(text)}", remedy)


def of_torchmetrics(metric: str) -> bool:
    """Whether a metric is a class of torchmetrics, which says itself which way is better.

    Example:
        >>> of_torchmetrics("torchmetrics.classification:MulticlassF1Score"), of_torchmetrics("metrics.py:f1")
        (True, False)
    """
    return metric.startswith(("torchmetrics.", "torchmetrics:"))


def metric_reference(text: str) -> str:
    """Check that a text names a metric.

    Raises:
        RefusalError: it is neither a known metric nor a callable.

    Example:
        >>> metric_reference("top5")
        'top5'
    """
    known = (*SHARES, "module:callable")
    if text in SHARES or _CALLABLE.match(portable_path(text)):
        return text
    raise RefusalError(f"must name a metric, not be {describe(text)}", nearest(text, known))


def device_name(text: str) -> str:
    """Check that a text names a device.

    Raises:
        RefusalError: it names none.

    Example:
        >>> device_name("cuda:1")
        'cuda:1'
    """
    if re.search(_DEVICE, text):
        return text
    raise RefusalError(f"must name a device, not be {describe(text)}", "Write auto, cpu, cuda, or cuda:1, say.")


def _list_of(what: str) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, list | tuple):
            raise RefusalError(f"must be a list of {what}, not {describe(value)}", f"Write {_listed(value)}.")
        return value

    return BeforeValidator(check)


def _listed(value: object) -> str:
    return f'["{value}"]' if isinstance(value, str) and len(value) < 60 else '["*"], say'


def limited(kind: Kind) -> tuple[PlainValidator, WithJsonSchema]:
    """A validator of limits of a kind, and what the schema says of them."""
    return PlainValidator(_parser(kind)), WithJsonSchema(_limit_schema(kind))


def _parser(kind: Kind) -> Callable[[object], Limit]:
    # An instance is a limit already: sections can be built from Python, not only from YAML.
    return lambda raw: raw if isinstance(raw, Limit) else parse(raw, kind)


_ABOVE_100_PERCENT = (
    r"^ *[+]?(0*([1-9][0-9]{3,}|[2-9][0-9]{2}|1([1-9][0-9]|0[1-9])|100[.]0*[1-9])|[0-9._]+[eE][+]?0*[1-9][0-9]).*%"
)


def _limit_schema(kind: Kind) -> dict[str, Any]:
    units = "|".join(sorted(unit for unit in kind.scales if unit))
    suffix = f" *({units}){'?' if '' in kind.scales else ''}" if units else ""
    sign = "[-+]?" if kind.ranges.get("absolute", (0, 0))[0] < 0 else "[+]?"
    text: dict[str, Any] = {"type": "string", "pattern": rf"^ *{sign}[0-9._]+([eE][-+]?[0-9]+)?{suffix} *$"}
    if kind.ranges.get("percent") == (0, 100):
        text["not"] = {"pattern": _ABOVE_100_PERCENT}
    forms = [text, *([_number_schema(kind)] if "" in kind.scales else [])]
    once = {"anyOf": forms} if len(forms) > 1 else text
    if kind.sided:
        return {"anyOf": [_only(side, once) for side in ("min", "max")], "examples": [f"{{min: {kind.example}}}"]}
    if kind.floor:
        return {**_wrapped(once, kind), "examples": [f"{{min: {kind.example}}}"]}
    return {"anyOf": [*forms, _wrapped(once, kind)], "examples": [kind.example]}


def _only(key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


def _wrapped(once: dict[str, Any], kind: Kind) -> dict[str, Any]:
    bound, change = kind.keys
    properties: dict[str, Any] = {bound: once}
    if kind.step:
        step = [form for form in _limit_schema(kind.step)["anyOf"] if form["type"] != "object"]
        properties |= {change: {"anyOf": step}, "ratchet": {"type": "boolean"}}
    effective: list[dict[str, Any]] = [{"required": [key]} for key in properties if key != "ratchet"]
    if kind.step:
        effective.append({"required": ["ratchet"], "properties": {"ratchet": {"const": True}}})
    return {"type": "object", "properties": properties, "anyOf": effective, "additionalProperties": False}


def _number_schema(kind: Kind) -> dict[str, Any]:
    low, high = kind.ranges["absolute"]
    number: dict[str, Any] = {"type": "integer" if kind.whole else "number"}
    if low > -math.inf:
        number["minimum"] = low
    return number if high == math.inf else {**number, "maximum": high}


Text = Annotated[str, StringConstraints(min_length=1)]


def checked(check: Callable[[str], str], never: str, pattern: str = "") -> tuple[AfterValidator, Any]:
    """A validator of a text, and what the schema can say of it.

    Args:
        check: raises `RefusalError`.
        never: regular expression of what the text must not hold.
        pattern: of what it must be.
    """
    said: dict[str, Any] = {"not": {"pattern": never}, **({"pattern": pattern} if pattern else {})}
    return AfterValidator(check), Field(json_schema_extra=said)


# Letters of an identifier by what they are not: those of all languages, in every dialect of regular expressions.
_FIRST, _LETTER = r"[^\s!-@\[-^`{-~]", r"[^\s!-\-/:-@\[-^`{-~]"
CALLED = rf"^(.+\.py|{_FIRST}{_LETTER}*):{_FIRST}{_LETTER}*$"
_ARRAYS = r"\.([nN][pP][yY]|[nN][pP][zZ]|[sS][aA][fF][eE][tT][eE][nN][sS][oO][rR][sS])$"
Pattern = Annotated[Text, *checked(visible_text, f"[{UNSEEN}]")]
FilePath = Annotated[Text, *checked(portable_path, FOREIGN)]
Reference = Annotated[Text, *checked(callable_reference, FOREIGN, CALLED)]
Data = Annotated[Text, *checked(data_reference, FOREIGN, f"{CALLED}|{_ARRAYS}")]
Metric = Annotated[Text, *checked(metric_reference, FOREIGN, f"^({'|'.join(SHARES)})$|{CALLED}")]
Device = Annotated[Text, AfterValidator(device_name), Field(json_schema_extra={"pattern": _DEVICE})]
# Lists of YAML become tuples; what stands in them is still taken as it is.
Patterns = Annotated[tuple[Pattern, ...], Field(strict=False), _list_of("patterns")]
Globs = Annotated[tuple[FilePath, ...], Field(strict=False), _list_of("patterns")]
OTHERS = ("openvino", "executorch")
"""Files for runtimes beside ONNX Runtime, each with an extra of its name."""
Form = Literal["weights", "pt2", "onnx", "onnx-int8", "openvino", "executorch"]
Artifacts = Annotated[tuple[Form, ...], Field(strict=False), _list_of("files")]

Ratio = Annotated[Limit, *limited(RATIO)]
Count = Annotated[Limit, *limited(COUNT)]
Size = Annotated[Limit, *limited(SIZE)]
Bytes = Annotated[Limit, *limited(BYTES)]
SizeOrShare = Annotated[Limit, *limited(SIZE_OR_SHARE)]
SizeTarget = Annotated[Limit, *limited(replace(SIZE_OR_SHARE, step=None))]
MostBytes = Annotated[Limit, *limited(replace(BYTES, step=None))]
BytesOrShare = Annotated[Limit, *limited(BYTES_OR_SHARE)]
BytesTarget = Annotated[Limit, *limited(replace(BYTES_OR_SHARE, step=None))]
Drop = Annotated[Limit, *limited(DROP)]
DropTarget = Annotated[Limit, *limited(replace(DROP, step=None))]
Score = Annotated[Limit, *limited(SCORE)]
Latency = Annotated[Limit, *limited(LATENCY)]
Agreement = Annotated[Limit, *limited(AGREEMENT)]
Divergence = Annotated[Limit, *limited(DIVERGENCE)]
OutputError = Annotated[Limit, *limited(OUTPUT_ERROR)]
ClassDrop = Annotated[Limit, *limited(CLASS_DROP)]
