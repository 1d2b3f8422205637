"""Example records of a small residual network, judged by the real judge."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from pfa_gate.budget import Exactness, Measurements, judge
from pfa_gate.config import GateConfig, Place
from pfa_gate.record import (
    CompressedRecord,
    Exact,
    LayerRecord,
    PartSize,
    Probe,
    RecipeRecord,
    Record,
    Scores,
    Size,
    Unmeasured,
)

SAMPLES = 1024

BUDGETS: dict[str, Any] = {
    "layers": [
        {"match": "*", "kl": 0.5, "peak_correlation": 0.99, "mean_correlation": 0.5, "inactive": 0},
        {"match": "stem", "kl": 0.6},
    ],
    "model": {"parameters": "200 k", "bytes": "800 kB", "macs": "8 M"},
    "compressed": {"parameters": "80%", "macs": "90%", "accuracy_drop": "0.5 pp", "latency": "100%"},
}

# name, filters, decay of the spectrum, peak and mean correlation, inactive filters, group
NETWORK = (
    ("stem", 32, 0.22, 0.912, 0.284, 0, "stem"),
    ("layer1.0.conv1", 32, 0.11, 0.803, 0.207, 0, "layer1.0.conv1"),
    ("layer1.0.conv2", 32, 0.16, 0.871, 0.251, 0, "stem"),
    ("layer2.0.conv1", 64, 0.09, 0.844, 0.196, 0, "layer2.0.conv1"),
    ("layer2.0.conv2", 64, 0.13, 0.887, 0.243, 0, "layer2.0.conv2"),
    ("layer2.0.shortcut", 64, 0.12, 0.893, 0.239, 0, "layer2.0.conv2"),
    ("layer2.1.conv1", 64, 0.10, 0.868, 0.224, 0, "layer2.1.conv1"),
    ("branch.3", 48, 0.24, 0.941, 0.312, 0, "branch.3"),
)


def gate(name: str = "digits", budgets: dict[str, Any] = BUDGETS) -> GateConfig:
    """A gate with these budgets."""
    sections = {"model": {"factory": "net:build"}, "probe": {"data": "net:probe"}, "budgets": budgets}
    return GateConfig.model_validate({"name": name, **sections})


def place_of(keys: tuple[str | int, ...]) -> Place:
    """A made-up place, one line for each section of budgets."""
    if "layers" in keys:
        return Place(Path("pfa.yaml"), 33 + int(keys[4]), 12)
    return Place(Path("pfa.yaml"), {"model": 35, "compressed": 36}.get(str(keys[-2]), 4), 9)


def layer(
    name: str,
    filters: int,
    decay: float,
    peak: float = 0.8,
    mean: float = 0.2,
    inactive: int = 0,
    group: str | None = None,
) -> LayerRecord:
    """A layer whose eigenvalues fall by `exp(-decay)` each, with all that follows from them."""
    active = filters - inactive
    raw = [math.exp(-decay * index) if index < active else 0.0 for index in range(filters)]
    values = tuple(value / sum(raw) for value in raw)
    kl = sum(value * math.log(value * filters) for value in values if value > 0)
    keep = next(k for k in range(1, filters + 1) if sum(values[:k]) >= 0.98 - 1e-9)
    return LayerRecord(
        name=name,
        kind="Conv2d",
        filters=filters,
        group=group or name,
        samples=SAMPLES,
        kl=kl,
        kl_ratio=kl / math.log(filters),
        kl_ratio_standardised=0.8 * kl / math.log(filters),
        kl_stderr=0.004 + 0.01 * decay,
        kl_bias=filters / (2 * SAMPLES),
        peak_correlation=peak,
        mean_correlation=mean,
        inactive=inactive,
        eigenvalues=values,
        keep=keep,
        kept=tuple(range(keep)),
    )


HEAD = LayerRecord("head", "Linear", 10, calls=1, skipped="excluded by layers.exclude")


def record(layers: tuple[LayerRecord, ...], budgets: dict[str, Any] = BUDGETS, **changes: Any) -> Record:
    """A record of these layers, with its budgets judged."""
    full = Size(parameters=186_442, bytes=745_768, macs=5_412_864)
    small = CompressedRecord(128_306, 513_224, 4_208_640, latency=0.913, exact=Exact(2.41e-07, True))
    plain = Record(
        gate="digits",
        config="example_project/pfa.yaml",
        versions={"pfa_gate": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        seconds={
            "load": 0.84,
            "trace": 1.93,
            "probe": 2.71,
            "spectrum": 0.12,
            "surgery": 1.08,
            "score": 1.36,
        },
        model=full,
        probe=Probe(SAMPLES, "9f2c" * 16),
        layers=layers,
        recipe=RecipeRecord("energy", 0.98, {entry.group or entry.name: entry.keep for entry in layers if entry.keep}),
        compressed=small,
        scores=Scores("accuracy", 0.99444, 0.99167, 0.00277, (-0.00278, 0.00833)),
        files={
            "record": "example_project/.pfa/digits/record.json",
            "recipe": "example_project/.pfa/digits/recipe.yaml",
            "weights": "example_project/.pfa/digits/weights.safetensors",
            "program": "example_project/.pfa/digits/model.pt2",
        },
    )
    return judged(dataclasses.replace(plain, **changes), budgets)


def judged(plain: Record, budgets: dict[str, Any] = BUDGETS) -> Record:
    """The record with these budgets judged on what it measured."""
    part, scores = plain.compressed, plain.scores
    measurements = Measurements(
        layers=tuple(layer.measure() for layer in plain.layers),
        full=plain.model,
        compressed=part and PartSize(part.parameters, part.bytes, part.macs, part.memory, part.energy),
        compressed_reason="No group of filters is free to be cut.",
        scores=scores and scores.measure(),
        scores_reason="The gate has no evaluation.",
        latency=part and part.latency,
        latency_reason="Nothing was compressed.",
        exact=part and Exactness(part.exact.max_error or 0.0, part.exact.passed, part.put_back),
        answers=plain.answers,
        quantized=plain.quantized and plain.quantized.measure(),
        quantized_reason="The compressed model has no ONNX form.",
    )
    return dataclasses.replace(plain, budgets=judge(gate(budgets=budgets), measurements, place_of))


def kept() -> Record:
    """All budgets kept, nothing near a limit."""
    return record((*(layer(*row) for row in NETWORK), HEAD))


def broken() -> Record:
    """Two layers far above their KL limit, one grazing it, dead filters, and a score that fell too far."""
    layers = [layer(*row) for row in NETWORK]
    layers[4] = layer("layer2.0.conv2", 64, 0.55, 0.9932, 0.437, 0, "layer2.0.conv2")
    layers[5] = layer("layer2.0.shortcut", 64, 0.43, 0.968, 0.402, 3, "layer2.0.conv2")
    layers[7] = layer("branch.3", 48, 0.385, 0.951, 0.371, 0)
    scores = Scores("accuracy", 0.99444, 0.98056, 0.01388, (0.0, 0.02777))
    small = CompressedRecord(
        97_120, 388_480, 3_104_272, latency=1.042, exact=Exact(3.07e-07, True), put_back=("branch.3",), form="graph"
    )
    return record((*layers, HEAD), scores=scores, compressed=small)


def not_judged() -> Record:
    """Nothing could be compressed, no evaluation, and one layer gave no number."""
    layers = [layer(*row) for row in NETWORK]
    blank = LayerRecord("layer2.1.conv1", "Conv2d", 64, samples=48)
    layers[6] = blank
    gaps = (
        Unmeasured("layer2.1.conv1", "48 samples for 64 filters; its covariance cannot have full rank."),
        Unmeasured("compressed model", "No group of filters is free to be cut."),
        Unmeasured("score", "The gate has no evaluation."),
    )
    uncut = (dataclasses.replace(entry, keep=None, kept=None) for entry in layers)
    return record((*uncut, HEAD), compressed=None, scores=None, recipe=None, unmeasured=gaps)


def deep(layers: int = 56) -> Record:
    """A network with many layers, of which three break the KL limit."""
    decays = [0.6 if index in (17, 33, 50) else 0.05 + 0.004 * (index % 40) for index in range(layers)]
    rows = [layer(f"stages.{i // 9}.blocks.{i % 9}.conv{1 + i % 2}", 64, d) for i, d in enumerate(decays)]
    return record((*rows, HEAD), {**BUDGETS, "layers": BUDGETS["layers"][:1]})
