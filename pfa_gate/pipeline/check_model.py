"""A model that a test has at hand, judged layer by layer: no config, no compression, no files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from torch import nn

from pfa_gate.analysis.responses import chosen_layers, reader_of, respond, respond_by_hooks, with_unread_explained
from pfa_gate.budget import Context, judge
from pfa_gate.config import GateConfig, Place
from pfa_gate.graph.cost import cost
from pfa_gate.model import Batches, Sampling, batches_of
from pfa_gate.model.device import device_label, exact_arithmetic, input_device
from pfa_gate.model.torch_module import unwrapped
from pfa_gate.pipeline.findings import Findings, versions
from pfa_gate.pipeline.measure_and_cut import Measured, listed
from pfa_gate.pipeline.spectra import SampleSupply, read_layers, responses, spectra
from pfa_gate.pipeline.trace import trace_model
from pfa_gate.record import Probe, Record, Size

_NAME = "pfa.check"


@dataclass(frozen=True)
class CheckOptions:
    """What is asked of a model.

    Attributes:
        limits: by key: kl, peak_correlation, mean_correlation, inactive.
        include: patterns of the layers that are judged.
        exclude: patterns of those that are not.
        positions: of each map, each a response of its own; None for the maximum over all of them.
    """

    limits: Mapping[str, float]
    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    positions: int | None = None

    def config(self) -> GateConfig:
        """The same as a gate.

        Raises:
            ValueError: a limit is unknown or out of range.
        """
        drawn = {} if self.positions is None else {"positions": self.positions}
        plain: dict[str, Any] = {
            "name": _NAME,
            "model": {"factory": "test:model"},
            "probe": {"data": "test:batches", **drawn},
            "layers": {"include": list(self.include), "exclude": list(self.exclude)},
            "budgets": {"layers": [{"match": "*", **self.limits}]},
        }
        return GateConfig.model_validate(plain)


def check(model: nn.Module, data: Any, question: CheckOptions) -> Record:
    """Measure and judge a model's layers; the model is given back as it was.

    Args:
        model: measured where it lies.
        data: a tensor, Dataset, DataLoader or iterable of batches.
        question: the limits.

    Raises:
        PFAGateError: what could not be measured; a ScriptModule.
        ValueError: a limit is unknown or out of range.
    """
    config, model = question.config(), unwrapped(model)
    batches = batches_of(data, "batches", Sampling(None, config.probe.batch_size, config.probe.seed))
    with _evaluating(model), exact_arithmetic(input_device(model)):
        findings, traced = _measure(model, batches, config)
    layers, full = findings.measured.layers, findings.measured.cost
    records = tuple(
        replace(record, skipped=record.skipped or (layer.frozen if traced else None))
        for record, layer in zip(findings.layer_records, layers, strict=True)
    )
    measurements = replace(findings.measurements(), layers=tuple(each.measure() for each in records))
    place = Place(Path(_NAME), 1, 1)
    found = judge(config, measurements, lambda keys: place, Context(today=date.today()))
    return Record(
        gate=_NAME,
        config="",
        versions=versions(),
        seconds={},
        model=Size(full.parameters, full.bytes, full.macs),
        probe=Probe(batches.samples, batches.sha256, question.positions),
        layers=records,
        budgets=tuple(each for each in found if each.id != "exact"),
        device=device_label(input_device(model)),
    )


def _measure(model: nn.Module, batches: Batches, config: GateConfig) -> tuple[Findings, bool]:
    """What was found, and whether the model could be followed; else every layer is judged, as none is cut anyway."""
    batches = batches.on(input_device(model))
    example, reading = batches.example(), reader_of(config.probe)
    traced = trace_model(model, example)
    chosen = chosen_layers(model, traced.layers, config.layers.include, config.layers.exclude, example)
    program = traced.graph.program if traced.graph else None
    if program is None:
        stream = respond_by_hooks(model, batches, chosen, reading)
    else:
        stream = respond(program, batches, [tap for layer in chosen for tap in layer.taps], reading)
    moments = responses(chosen, (), stream)
    if program is None:
        chosen = with_unread_explained(model, batches, chosen, read_layers(chosen, moments))
    supply = SampleSupply(batches.samples, batches.samples, config.probe.positions, setting="positions={}")
    found = spectra((), chosen, moments, supply)
    measured = Measured(listed(traced.layers, chosen), chosen, cost(model, example, program), found)
    return Findings(config, measured, None, "pfa.check does not compress"), program is not None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
