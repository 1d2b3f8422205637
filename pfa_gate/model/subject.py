"""All that a gate measures, loaded: the model, its data, the metric."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pfa_gate.config import Document, GateConfig, ModelConfig
from pfa_gate.config.budgets import ANSWERS
from pfa_gate.config.named_sources import LIBRARIES, ImageFolder, JsonLines
from pfa_gate.errors import DataError, FactoryError, PFAGateError
from pfa_gate.model.batch import Batch
from pfa_gate.model.batches import Batches
from pfa_gate.model.data import Sampling, open_data
from pfa_gate.model.data_files import MOST_BYTES
from pfa_gate.model.device import CPU, device_of, input_device, is_spread
from pfa_gate.model.global_state import Randomness
from pfa_gate.model.held_out import held_out_apart
from pfa_gate.model.import_callable import UserCallable, resolve_or_ask_plugins
from pfa_gate.model.metric import Metric, metric_of
from pfa_gate.model.torch_module import forward, unwrap_inside, unwrapped


@dataclass(frozen=True)
class Subject:
    """What a gate judges.

    Args:
        model: on the CPU, in eval mode, with the checkpoint's weights; where the factory spread it, if it did.
        example: two samples of the probe.
        probe: the data whose responses are read.
        evaluation: the data of the score; None where pfa.yaml has no evaluation.
        metric: `accuracy`, `top5`, a metric of torchmetrics, or the user's callable(model, batches) -> float.
        device: where probe and scoring run.
        weights: which of several sets of weights in the checkpoint were taken; empty where there was one.
        held_out: samples of the data of the probe that the probe does not have, for budgets on answers; None where an
            evaluation has some, or no budget asks.
        apart: samples of the data of the probe that the probe does not have, for the selection `auto` to choose by;
            None for any other.
        search: the data that the strategy `score` searches with; None where pfa.yaml names none.
    """

    model: nn.Module
    example: Batch
    probe: Batches
    evaluation: Batches | None = None
    metric: Metric = "accuracy"
    device: torch.device = CPU
    weights: str = ""
    held_out: Batches | None = None
    search: Batches | None = None
    apart: Batches | None = None


def load(document: Document, gate: str) -> Subject:
    """Load what a gate names, with the seed of its probe; the global generators are left as they were.

    Args:
        document: a checked pfa.yaml.
        gate: the name of one of its gates.

    Raises:
        FactoryError: a callable does not import, raises, or the factory gives no model, or a device is not there.
        CheckpointError: the checkpoint cannot be read, or does not fit.
        DataError: the data is empty, unreadable, or does not fit the model.
        ConfigError: there is no such gate.

    Each error carries its place in pfa.yaml.
    """
    config = document.gate(gate)
    folder = document.path.resolve().parent
    at = partial(_at, document, gate)
    model, weights = _model(config, folder, at)
    with at("model", "device"):
        device = device_of(config.model.device, model)
    model = model if is_spread(model) else model.cpu()
    with at("probe", "data") as place:
        probe = replace(_open(config, config.probe.data, model, folder), where=(place,))
        probe, held_out = held_out_apart(probe) if holds_out(config) else (probe, None)
        probe, chooses_by = held_out_apart(probe) if config.selection == "auto" else (probe, None)
        example = _example(probe, model)
    if config.evaluation is None:
        return Subject(model, example, probe, device=device, weights=weights, held_out=held_out, apart=chooses_by)
    with at("evaluation", "data") as place:
        evaluation = replace(_open(config, config.evaluation.data, model, folder, whole=True), where=(place,))
    metric = metric_of(config, config.evaluation, folder, at)
    search = None
    if config.recipe.data is not None:
        with at("recipe", "data") as place:
            search = replace(_open(config, config.recipe.data, model, folder, whole=True), where=(place,))
    return Subject(model, example, probe, evaluation, metric, device, weights, search=search, apart=chooses_by)


def holds_out(config: GateConfig) -> bool:
    """Whether a part of the probe is held out: where a budget on answers is declared, and there is no evaluation.

    Example:
        >>> plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> holds_out(GateConfig.model_validate(plain | {"budgets": {"compressed": {"divergence": 0.05}}}))
        True
    """
    budgets = (config.budgets.compressed, config.budgets.quantized)
    asked = (getattr(section, key) is not None for section in budgets for key in ANSWERS)
    return config.evaluation is None and any(asked)


@contextmanager
def _at(document: Document, gate: str, *keys: str) -> Iterator[str]:
    """Give the place of a key, and add it to what is raised inside the block."""
    place = str(document.place("gates", gate, *keys))
    try:
        yield place
    except PFAGateError as error:
        error.at(place)
        raise


def _model(config: GateConfig, folder: Path, at: Callable[..., AbstractContextManager[str]]) -> tuple[nn.Module, str]:
    """The model with its weights, and which of several sets of weights they are."""
    with at("model", "factory"):
        factory = _factory(config.model, folder)
    with at("model", *_doubtful(factory, config.model.arguments)):
        factory.check_arguments((), config.model.arguments)
    with at("model", "factory"):
        model = _built(factory, config.model, config.probe.seed)
    if config.model.checkpoint is None:
        return model, ""
    from pfa_gate.model.checkpoint import load_weights  # noqa: PLC0415  many a factory loads its own

    with at("model", "checkpoint"):
        return model, load_weights(model, folder / config.model.checkpoint, config.model.checkpoint_key)


def build(config: ModelConfig, folder: Path, seed: int) -> nn.Module:
    """Call the factory.

    Args:
        config: with the factory and its arguments.
        folder: of pfa.yaml.
        seed: of the weights it draws.

    Raises:
        FactoryError: it does not import, raises, or gives no model, or one without weights and no checkpoint is named.

    Example:
        >>> config = ModelConfig(factory="torch.nn:Linear", arguments={"in_features": 2, "out_features": 3})
        >>> build(config, Path(), seed=0)
        Linear(in_features=2, out_features=3, bias=True)
    """
    return _built(_factory(config, folder), config, seed)


def _built(factory: UserCallable, config: ModelConfig, seed: int) -> nn.Module:
    # On the meta device nothing is allocated and nothing is drawn.
    with Randomness(seed).borrowed(), torch.device("meta") if config.loader == "mmap" else nullcontext():
        model = factory(**config.arguments)
    if not isinstance(model, nn.Module):
        raise FactoryError(
            f"'{config.factory}' gave an object of type {type(model).__name__}, not a torch.nn.Module.",
            remedy="Return the model itself.",
        )
    model = unwrapped(model)
    unwrap_inside(model)
    without = any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    if without and config.checkpoint is None and not is_spread(model):
        raise FactoryError(
            f"'{config.factory}' gave a model on the meta device, which has no weights.",
            remedy="Build it on the CPU, or name the file of its weights: model.checkpoint.",
        )
    return model.eval()


def _factory(config: ModelConfig, folder: Path) -> UserCallable:
    if config.factory.startswith(LIBRARIES):
        from pfa_gate.model.named_models import named_model  # noqa: PLC0415  most models come from code

        found = named_model(config, folder)
        if found is not None:
            return found
    return resolve_or_ask_plugins(
        config.factory, folder, lambda plugins: plugins.hook.pfa_gate_model_loader(factory=config.factory)
    )


def _doubtful(factory: UserCallable, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Where in `model` an error of its arguments is."""
    return ("arguments", *factory.unknown(arguments)[:1]) if arguments else ("factory",)


def _example(probe: Batches, model: nn.Module) -> Batch:
    """Two samples that the model takes: data of the wrong shape is named before anything is measured."""
    try:
        example = probe.example().to(input_device(model))
        forward(model, example)
    except DataError as error:
        if probe.interpretation:
            error.remedy = f"{probe.interpretation} {error.remedy}"
        raise
    return example


def _open(
    config: GateConfig, data: str | ImageFolder | JsonLines, model: nn.Module, folder: Path, *, whole: bool = False
) -> Batches:
    """Open data; all of it, or what the probe takes."""
    sampling = replace(_sampling(config), samples=None) if whole else _sampling(config)
    if isinstance(data, str):
        return open_data(data, folder, sampling)
    from pfa_gate.model.named_data import open_named_data  # noqa: PLC0415  reads images and texts

    return open_named_data(data, (config.model.factory, model), folder, sampling)


def _sampling(config: GateConfig) -> Sampling:
    most = MOST_BYTES if config.probe.max_bytes is None else int(config.probe.max_bytes.value)
    return Sampling(config.probe.samples, config.probe.batch_size, config.probe.seed, most)
