"""The section `candidate` as a type: a model that another tool made, judged in place of one that is cut here."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from pfa_gate.config.complaints import RefusalError, describe
from pfa_gate.config.field_types import FilePath, StrictSection, Text
from pfa_gate.config.named_sources import Factory
from pfa_gate.config.reader import Keys

FORMS = ("onnx", "pt2", "factory")
_OF_FACTORY = ("arguments", "checkpoint", "checkpoint_key")
IN_PLACE_OF = ("recipe", "selection", "factorize", "recovery", "sparsify", "quantize", "artifacts")
"""The sections on how a model is made here, of which a candidate has none."""
NOT_BESIDE: Any = {
    "if": {"required": ["candidate"]},
    "then": {"not": {"anyOf": [{"required": [section]} for section in IN_PLACE_OF]}},
}
"""For the JSON schema of a gate."""

_ONE_FORM: Any = {
    "oneOf": [{"required": [form]} for form in FORMS],
    "dependentRequired": {
        **{key: ["factory"] for key in _OF_FACTORY},
        "checkpoint_key": ["factory", "checkpoint"],
    },
}


def _ending(suffix: str) -> tuple[AfterValidator, Any]:
    def check(text: str) -> str:
        if text.lower().endswith(suffix):
            return text
        raise RefusalError(f"must be a file ending in {suffix}, not {describe(text)}")

    pattern = "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else f"[{letter}]" for letter in suffix)
    return AfterValidator(check), Field(json_schema_extra={"pattern": f"{pattern}$"})


class CandidateConfig(StrictSection):
    """A model that another tool made, judged in place of what is made here from recipe to artifacts."""

    model_config = ConfigDict(json_schema_extra=_ONE_FORM)

    onnx: Annotated[FilePath, *_ending(".onnx")] | None = Field(
        default=None, description="an ONNX file; it runs in ONNX Runtime on the CPU", examples=["build/model.onnx"]
    )
    pt2: Annotated[FilePath, *_ending(".pt2")] | None = Field(
        default=None, description="a file that `torch.export.save` wrote", examples=["build/model.pt2"]
    )
    factory: Factory | None = Field(
        default=None,
        description="callable that returns the candidate as a `torch.nn.Module`",
        examples=["example_project.model:build_small"],
    )
    arguments: dict[str, Any] | None = Field(default=None, description="keyword arguments of the candidate's factory")
    checkpoint: FilePath | None = Field(
        default=None,
        description="file of the weights of the factory's model, as for `model`",
        examples=["build/small.safetensors"],
    )
    checkpoint_key: Text | None = Field(
        default=None, description="where in that file the weights are, as for `model`", examples=["state_dict_ema"]
    )

    @property
    def form(self) -> str:
        """Which of the forms it has: the key that names it."""
        return next(form for form in FORMS if getattr(self, form) is not None)

    @property
    def source(self) -> str:
        """The file or the factory that it is named by."""
        return str(getattr(self, self.form))

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is read from, as they are written."""
        return tuple(name for name in (self.onnx, self.pt2, self.checkpoint) if name is not None)


Fault = tuple[Keys, str, str]


def candidate_faults(gate: object, at: Keys) -> Iterator[Fault]:
    """Find what is wrong between a candidate and the sections beside it, and between its keys.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> gate = {"candidate": {"onnx": "net.onnx"}, "recovery": ["compensate"]}
        >>> [fault[1] for fault in candidate_faults(gate, ())]
        ['recovery stands beside candidate, which was made elsewhere']
    """
    if not isinstance(gate, dict) or "candidate" not in gate:
        return
    for section in IN_PLACE_OF:
        if section in gate:
            remedy = f"Remove {section}, or remove candidate to have the full model cut here."
            yield (*at, section), f"{section} stands beside candidate, which was made elsewhere", remedy
    candidate = gate["candidate"]
    if isinstance(candidate, dict):
        yield from _of_form(candidate, (*at, "candidate"))


def _of_form(candidate: dict[str, Any], at: Keys) -> Iterator[Fault]:
    forms = [form for form in FORMS if form in candidate]
    if len(forms) != 1:
        held = f"holds {' and '.join(forms)}" if forms else "names no model"
        yield at, f"candidate {held}", f"Give one of {', '.join(FORMS)}."
    elif forms != ["factory"]:
        for key in _OF_FACTORY:
            if key in candidate:
                message = f"candidate.{key} is not read for candidate.{forms[0]}"
                yield (*at, key), message, "Remove it; it belongs to a factory."
    elif "checkpoint_key" in candidate and "checkpoint" not in candidate:
        message = "candidate.checkpoint_key needs candidate.checkpoint"
        yield (*at, "checkpoint_key"), message, "Name the weights file, or remove the key."
