"""A first config, made of the arguments of `pfa-gate init`; its errors name the arguments, not lines of a file."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pfa_gate.config.document import Document, parsed
from pfa_gate.config.named_sources import HUB, OWN_TRANSFORMS, name_of
from pfa_gate.config.sections import GateConfig
from pfa_gate.errors import ConfigError, DataError, PFAGateError

_BOUNDS = """\
    budgets:
      layers:
        - {match: "*", kl: 1}
"""
_POSITIONS = 16  # of each feature map: few images are many samples then, and wide layers are measured too
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*(:[\w.-]+)?")
_ALL = "this command"
_WORDS_OF_YAML = {"null", "true", "false"}
_ARGUMENTS: dict[tuple[str, ...], str] = {
    ("model", "factory"): "FACTORY",
    ("model", "arguments"): "--arguments",
    ("model", "checkpoint"): "--checkpoint",
    ("probe", "data"): "PROBE",
    ("evaluation", "data"): "--evaluation",
}


@dataclass(frozen=True)
class InitRequest:
    """What a first config is made of.

    Attributes:
        factory: module:callable.
        probe: callable or data file; a folder of images, or a .jsonl file for a model of transformers.
        arguments: keyword arguments of the factory, as YAML, with or without braces; empty for none.
        checkpoint: weights file, from the config's folder; empty for none.
        evaluation: callable or data file with labels; empty for none.
        name: of the gate.
        folder: of the config.
    """

    factory: str
    probe: str
    arguments: str = ""
    checkpoint: str = ""
    evaluation: str = ""
    name: str = "model"
    folder: Path = Path()


def config_without_budgets(request: InitRequest) -> str:
    """The config without its budgets.

    Example:
        >>> text = config_without_budgets(InitRequest("net:build", "probe.npy", arguments="width: 8"))
        >>> print(text.splitlines()[6].strip())
        arguments: {width: 8}
    """
    return "".join(_head(request))


def _head(request: InitRequest) -> Iterator[str]:
    yield "# Budgets hold what the model measured when this file was written, plus a margin: tighten them.\n"
    yield f"version: 1\ngates:\n  {_scalar(request.name)}:\n    model:\n      factory: {_scalar(request.factory)}\n"
    if request.arguments:
        text = " ".join(request.arguments.split())
        yield f"      arguments: {text if text.startswith('{') else f'{{{text}}}'}\n"
    if request.checkpoint:
        yield f"      checkpoint: {_scalar(request.checkpoint)}\n"
    yield f"    probe:\n      data: {_data(request, request.probe)}\n"
    if _images(request, request.probe):
        yield f"      positions: {_POSITIONS}\n"
    yield "    recipe: {strategy: energy, energy: 0.95}\n"
    if request.evaluation:
        yield f"    evaluation:\n      data: {_data(request, request.evaluation)}\n      metric: accuracy\n"


def _images(request: InitRequest, text: str) -> bool:
    return ":" not in text and (request.folder / text).is_dir()


def _data(request: InitRequest, text: str) -> str:
    """Data as it is written: a text, or a mapping for images and lines of JSON."""
    library, _, name = request.factory.partition(":")
    if _images(request, text):
        if library not in OWN_TRANSFORMS:
            fact = f"'{request.factory}' has no preprocessing of its own for the images in {text}."
            raise ConfigError(fact, remedy="Name a callable that gives the data, or a model as timm:NAME.")
        return f"{{images: {_scalar(text)}, transform: {library}}}"
    if text.endswith(".jsonl"):
        if f"{library}:" != HUB:
            fact = f"'{request.factory}' has no tokenizer of its own for the texts in {text}."
            raise ConfigError(fact, remedy="Name a callable that gives the data, or a model as hf:FOLDER.")
        return f"{{jsonl: {_scalar(text)}, tokenizer: {_scalar(name)}}}"
    return _scalar(text)


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML
    return text if plain else json.dumps(text, ensure_ascii=False)


def trial_config(request: InitRequest, path: Path) -> Document:
    """The config with a budget that any model keeps, checked as far as is possible without the model.

    Args:
        request: what the config is made of.
        path: of the config; nothing is written there.

    Raises:
        ConfigError: an argument does not hold.
        DataError: a file that an argument names is not there.
    """
    text = config_without_budgets(request) + _BOUNDS
    try:
        document = parsed(text, path)
    except ConfigError as error:
        places = re.compile(rf"^\S*{re.escape(path.name)}:\d+:\d+: ", re.MULTILINE)
        raise ConfigError(places.sub("", error.fact)) from error
    with naming_arguments(document):
        _check_files(document)
    return document


def _check_files(document: Document) -> None:
    """Report a missing file now: the import of torch, which comes next, takes seconds."""
    (gate,) = document.gates.values()
    named = {
        ("model", "factory"): gate.model.factory,
        ("model", "checkpoint"): gate.model.checkpoint,
        ("probe", "data"): name_of(gate.probe.data),
        ("evaluation", "data"): name_of(gate.evaluation.data) if gate.evaluation else None,
    }
    for keys, text in named.items():
        source, colon, _ = (text or "").rpartition(":")
        source = source if colon else text or ""
        file = document.path.parent / source
        if source and (source.endswith(".py") or not colon) and not file.exists():
            raise _no_file(source, file).at(str(document.place("gates", gate.name, *keys)))


def _no_file(source: str, file: Path) -> DataError:
    beside = sorted(path.name for path in file.parent.glob(f"*{file.suffix}"))
    near = get_close_matches(file.name, beside, n=1)
    remedy = f"Did you mean '{near[0]}'?" if near else "Paths start at the folder of the config."
    return DataError(f"There is no file {source}.", remedy=remedy)


@contextmanager
def naming_arguments(document: Document) -> Iterator[None]:
    """Errors raised in the block name the argument they belong to: the file whose lines they name does not exist."""
    (gate,) = document.gates.values()
    words = _ARGUMENTS | {("model", "arguments", name): "--arguments" for name in gate.model.arguments}
    places = {str(document.place("gates", gate.name, *keys)): words[keys] for keys in words if _has(gate, *keys)}
    file = re.escape(str(document.place()).rpartition(":")[0].rpartition(":")[0])
    try:
        yield
    except PFAGateError as error:
        named = tuple(dict.fromkeys(_by_argument(where, places, file) for where in error.where))
        error.where = tuple(where for where in named if not where.startswith(_ALL)) or named
        raise


def _has(gate: GateConfig, section: str, key: str, *_: str) -> bool:
    return bool(getattr(getattr(gate, section), key, None))


def _by_argument(where: str, places: dict[str, str], file: str) -> str:
    """The argument that a position in the config came from; any other text as it is."""
    match = re.match(rf"({file}:\d+:\d+)(?:, )?(.*)", where)
    if match is None:
        return where
    stage = match[2].rpartition("while ")[2]
    subject = f"argument {places[match[1]]}" if match[1] in places else _ALL
    return f"{subject}, while {stage}" if stage else subject
