"""What `pfa-gate compare` is asked for, checked before anything is loaded: two models, data, a metric and limits."""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pfa_gate.config.budgets import BudgetsConfig
from pfa_gate.config.candidate import CandidateConfig
from pfa_gate.config.complaints import RefusalError
from pfa_gate.config.evaluation import score_faults
from pfa_gate.config.field_types import SHARES
from pfa_gate.config.sections import GateConfig
from pfa_gate.errors import ConfigError

LIMITS: Mapping[str, tuple[str, str]] = {
    "max-parameters": ("parameters", ""),
    "max-bytes": ("bytes", ""),
    "max-macs": ("macs", ""),
    "min-score": ("score", "min"),
    "max-score": ("score", "max"),
    "max-accuracy-drop": ("accuracy_drop", ""),
    "max-score-drop": ("score_drop", ""),
    "min-agreement": ("agreement", "min"),
    "max-divergence": ("divergence", ""),
    "max-output-error": ("output_error", ""),
    "max-class-drop": ("class_drop", ""),
    "max-latency": ("latency", ""),
    "max-parity": ("parity", ""),
}
"""Options of the command, each with the budget that it is, and on which side it holds where a budget has two."""
_BATCH = 128
_FOLDER = ("model.pt2", "model.onnx")
_FORMS = "Write a .onnx or .pt2 file, the folder of a gate, or module:factory with or without @checkpoint."


@dataclass(frozen=True)
class ComparisonRequest:
    """Two models and how they are compared.

    Attributes:
        full, other: the models, as they are named.
        data: callable or data file.
        metric: as `evaluation.metric`; empty for the accuracy where the data has labels.
        direction: which way of a metric is better; empty where the metric says it.
        samples: of the data at most; None for all.
        batch_size: for data that is not batched yet.
        limits: by option, as they were written.
    """

    full: str
    other: str
    data: str
    metric: str = ""
    direction: str = ""
    samples: int | None = None
    batch_size: int = _BATCH
    limits: Mapping[str, str] = field(default_factory=dict)

    def operands(self, folder: Path) -> tuple[CandidateConfig, CandidateConfig]:
        """The two models.

        Raises:
            ConfigError: one names no model.
        """
        return operand(self.full, folder), operand(self.other, folder)

    def words(self) -> tuple[str, ...]:
        """The arguments of the command, whole.

        Example:
            >>> " ".join(ComparisonRequest("a.onnx", "b.onnx", "net:test", limits={"min-agreement": "97%"}).words())
            'a.onnx b.onnx --data net:test --min-agreement 97%'
        """
        named = {"data": self.data, "metric": self.metric, "direction": self.direction, **self.limits}
        if self.samples is not None:
            named["samples"] = str(self.samples)
        if self.batch_size != _BATCH:
            named["batch-size"] = str(self.batch_size)
        pairs = ((f"--{option}", text) for option, text in named.items() if text)
        return (self.full, self.other, *(word for pair in pairs for word in pair))

    def gate(self) -> GateConfig:
        """A gate with these limits, of which nothing but the data, the metric and the limits is read.

        Raises:
            ConfigError: a limit, the metric or the data cannot be read, or they do not fit together.

        Example:
            >>> ask = ComparisonRequest("a.onnx", "b.onnx", "net:test", limits={"min-agreement": "97%"})
            >>> [budget.name for budget in ask.gate().budgets_declared()]
            ['compressed.agreement']
        """
        budgets = {"compressed": self._budgets()} if self.limits else {"model": {"parameters": 10**18}}
        sections: dict[str, Any] = {
            "model": {"factory": "full:model"},
            "probe": {"data": self.data},
            "budgets": budgets,
        }
        sections["candidate"] = {"factory": "other:model"}
        if self.metric or any(key in _OF_SCORES for key in self.limits):
            direction = {"direction": self.direction} if self.direction else {}
            sections["evaluation"] = {"data": self.data, "metric": self.metric or "accuracy", **direction}
        for _, message, remedy in score_faults(sections, ()):
            raise ConfigError(f"{_of_options(message, self.limits)}.", remedy=_side_as_option(remedy))
        gate = _validated({"name": "comparison", **sections})
        return gate if self.limits else gate.model_copy(update={"budgets": BudgetsConfig.model_construct()})

    def _budgets(self) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        for option, text in self.limits.items():
            key, side = LIMITS[option]
            if key in asked:
                raise ConfigError(f"--{option} and another option limit the same.", remedy="Give one of them.")
            asked[key] = {side: _number(text)} if side else _number(text)
        return asked


_OF_SCORES = ("min-score", "max-score", "max-accuracy-drop", "max-score-drop")


def operand(text: str, folder: Path) -> CandidateConfig:
    """A model as it is named on the command line.

    Args:
        text: a file, a folder, or a factory with or without a checkpoint.
        folder: from which paths start.

    Raises:
        ConfigError: it names no model.

    Example:
        >>> operand("net.py:build@weights.safetensors", Path()).files
        ('weights.safetensors',)
    """
    path = folder / text
    if path.is_dir():
        held = next((name for name in _FOLDER if (path / name).is_file()), None)
        if held is None:
            raise ConfigError(f"The folder {text} holds neither {' nor '.join(_FOLDER)}.", remedy=_FORMS)
        return operand(f"{text.rstrip('/')}/{held}", folder)
    named: dict[str, Any]
    if text.lower().endswith((".onnx", ".pt2")):
        named = {text.lower().rpartition(".")[2]: text}
    else:
        factory, _, checkpoint = text.partition("@")
        named = {"factory": factory, **({"checkpoint": checkpoint} if checkpoint else {})}
    try:
        return CandidateConfig.model_validate(named)
    except ValidationError as error:
        raise ConfigError(f"{text!r} names no model.", remedy=_FORMS) from error


def _validated(data: dict[str, Any]) -> GateConfig:
    try:
        return GateConfig.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        refusal = details.get("ctx", {}).get("error")
        option = _option(details["loc"])
        if isinstance(refusal, RefusalError):
            raise ConfigError(f"{option} {refusal.predicate}.", remedy=refusal.remedy) from error
        raise ConfigError(f"{option}: {details['msg']}.") from error


def _option(keys: Iterable[object]) -> str:
    """The option of the command that a path of keys comes from."""
    *_, last = keys
    found = next((option for option, (key, _) in LIMITS.items() if key in keys), None)
    return f"--{found or last}"


def _of_options(message: str, options: Iterable[str]) -> str:
    """What is said of a config, of the options that were given."""
    for option in options:
        message = re.sub(rf"budgets[.]compressed[.]{LIMITS[option][0]}\b", f"--{option}", message)
    return message.replace("evaluation.", "--")


def _side_as_option(remedy: str) -> str:
    """A limit of a score as the option that it is."""
    return re.sub(r"\{(min|max): ([^}]*)\}", r"--\1-score \2", remedy)


def _number(text: str) -> str | float:
    """A limit as YAML has it: a number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def default_metric(labelled: bool) -> str:
    """The metric where none is named.

    Example:
        >>> default_metric(True), default_metric(False)
        ('accuracy', '')
    """
    return SHARES[0] if labelled else ""


def add_options(parser: ArgumentParser) -> None:
    """Add the arguments of the command to its parser, but for where its files go."""
    what = ".onnx or .pt2 file, folder of a gate, or module:factory with or without @checkpoint"
    parser.add_argument("full", metavar="A", help=what)
    parser.add_argument("other", metavar="B", help="the same; it is held against A")
    parser.add_argument("--data", required=True, metavar="DATA", help="callable or data file; with labels for a score")
    parser.add_argument("--metric", default="", help="accuracy, top5 or module:callable (accuracy if there are labels)")
    parser.add_argument("--direction", default="", choices=("higher", "lower"), help="which way a callable is better")
    parser.add_argument("--samples", type=int, metavar="N", help="of the data at most")
    parser.add_argument("--batch-size", type=int, default=_BATCH, metavar="N", help=f"samples in one pass ({_BATCH})")
    for option, (key, _) in LIMITS.items():
        parser.add_argument(f"--{option}", default=None, metavar="LIMIT", help=f"as budgets.compressed.{key}")


def asked(chosen: Namespace) -> ComparisonRequest:
    """What was asked for on the command line, checked.

    Raises:
        ConfigError: an argument says nothing that can be done.
    """
    given = {option: getattr(chosen, option.replace("-", "_")) for option in LIMITS}
    limits = {option: text for option, text in given.items() if text is not None}
    ask = ComparisonRequest(chosen.full, chosen.other, chosen.data, chosen.metric, chosen.direction)
    ask = replace(ask, samples=chosen.samples, batch_size=chosen.batch_size, limits=limits)
    for name, count in (("samples", ask.samples), ("batch-size", ask.batch_size)):
        if count is not None and count < 2 - (name == "batch-size"):
            raise ConfigError(f"--{name} is {count}.", remedy="Give a larger number.")
    ask.gate()
    ask.operands(Path.cwd())
    return ask
