"""Records that all reports are tried on: the examples, with a baseline, recovery and heat maps, and hostile ones."""

import dataclasses
import random

import records

from pfa_gate.budget import Answers, ClassAnswers, Estimated, LayerFinding
from pfa_gate.record import (
    BitsRecord,
    Compared,
    Correlations,
    DemandsRecord,
    Exact,
    FactorizedLayer,
    FactorizedRecord,
    LayerBits,
    LiveRecord,
    MemoryRecord,
    QuantizedLayer,
    QuantizedRecord,
    RecipeRecord,
    Record,
    RecoveryStep,
    Repair,
    Scores,
    Unmeasured,
)

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "attribute": "' onmouseover='alert(1)",
    "bar": "a|b\\|c||",
    "backtick": "``` `x` ```",
    "mention": "@everyone @octocat/team",
    "reference": "#1 GH-2 owner/name#3",
    "picture": "![x](https://example.org/x.png)",
    "link": "[x](javascript:alert(1)) https://example.org www.example.org",
    "comment": "<!-- pfa_gate:comment --> --> <!--",
    "lines": "a\n## b\r\n\r\n| c |\n---\n</details>",
    "direction": "\u202etxet\u2066 desrever\u200f",
    "escape": "\x1b[31mred\x07",
    "command": "::error::x%0A::warning file=a,line=1::y",
    "template": "{{ 7 * 7 }}{% raw %}${x}",
    "long": "x" * 5000,
    "longer": "a|`<@" * 1000,
    "surrogate": "\ud800",
    "empty": "",
}


def pictured(record: Record, seed: int = 0) -> Record:
    """The same with a heat map for each layer, made up."""
    generator = random.Random(seed)
    return dataclasses.replace(
        record,
        layers=tuple(
            layer if layer.kl_ratio is None else dataclasses.replace(layer, correlations=_map(layer.filters, generator))
            for layer in record.layers
        ),
    )


def _map(filters: int, generator: random.Random) -> Correlations:
    side = min(64, filters)
    cells = (
        "f" if row == column else f"{min(15, int(12 * generator.random() ** 2) + 4 * (row // 8 == column // 8)):x}"
        for row in range(side)
        for column in range(row, side)
    )
    return Correlations(side, tuple(range(side)) if side == filters else (), "".join(cells))


REPAIRS = (
    Repair("layer1.0.conv1", 0.08123, 0.00912, 1e-3, 48_000),
    Repair("layer1.0.conv2", 0.1234, 0.05678, 1e-4, 48_000),
    Repair("layer2.0.conv1", 0.0213, 0.0213, None, 12_000, "no solution was better on held-out positions"),
    Repair("layer2.0.conv2", 0.31, 0.1, 1e-2, 96_000),
    Repair("layer2.0.shortcut", 0.29, 0.12, 1e-2, 96_000),
    Repair("layer2.1.conv1", 0.2, 0.18, 0.1, 24_000),
    Repair("branch.3", 1.27, 0.00042, 1e-5, 96_000),
    Repair("head", None, None, None, 0, "its weight is not a parameter of the model"),
)


CURVE = (12_288, 77_824, 131_072, 196_608, 196_608, 131_072, 196_608, 147_456, 98_304, 98_304, 65_536, 8_192, 296)
OPERATORS = (
    *(
        "conv2d of stem",
        "batch_norm of norm",
        "relu of act",
        "conv2d of layer1.0.conv1",
        "batch_norm of layer1.0.norm1",
    ),
    *("relu of layer1.0", "add of layer1.0", "conv2d of layer2.0.conv1", "batch_norm of layer2.0.norm1"),
    *("relu of layer2.0", "add of layer2.0", "mean", "linear of head"),
)


def followed(record: Record) -> Record:
    """The same with memory and energy of both models, and budgets of them judged."""
    alive = (
        LiveRecord("relu", "act", 65_536),
        LiveRecord("conv2d", "layer1.0.conv1", 65_536),
        LiveRecord("batch_norm", "layer1.0.norm1", 65_536),
    )
    peak = LiveRecord("conv2d", "layer1.0.conv1", 196_608)
    full = MemoryRecord(13, 3, peak, alive, 0, CURVE, OPERATORS, 1_200_000)
    part = MemoryRecord(
        13,
        6,
        LiveRecord("add", "layer1.0", 172_032),
        (*(dataclasses.replace(each, bytes=each.bytes - 8_192) for each in alive[:2]), LiveRecord("input", "", 12_288)),
        2,
        (12_288, 77_824, 131_072, 155_648, 155_648, 114_688, 172_032, 118_784, 77_824, 77_824, 49_152, 8_192, 296),
        OPERATORS,
        1_000_000,
    )
    assert record.compressed is not None
    plain = dataclasses.replace(
        record,
        model=dataclasses.replace(record.model, memory=196_608, energy=1.27e9),
        compressed=dataclasses.replace(record.compressed, memory=172_032, energy=0.99e9),
        demands=DemandsRecord(full, part, 4.6, 640.0),
    )
    budgets = {
        "model": {"memory": "192 KiB", "energy": "1.5 mJ"},
        "compressed": {"memory": {"max": "80%", "ratchet": True}, "energy": "1 mJ"},
    }
    return records.judged(plain, budgets)


def quantized(record: Record, scheme: str = "static") -> Record:
    """The same with an int8 file and budgets of it, of which some are broken."""
    found = Answers(
        "evaluation",
        360,
        Estimated(0.9417, 0.9122, 0.9617),
        Estimated(0.0312, 0.0211, 0.0421),
        Estimated(0.084, 0.079, 0.089),
        changed=21,
        lost=12,
        won=7,
        otherwise=2,
        classes=(ClassAnswers(3, 40, 39, 34, 6, 1, 0.04, -0.01, 0.24), ClassAnswers(8, 36, 35, 35, 1, 1, 1.0)),
    )
    layers = (
        QuantizedLayer("layer2.0.conv2", "Conv", 8.04),
        QuantizedLayer("head", "Gemm", 17.31),
        QuantizedLayer("layer1.0.conv1", "Conv", 23.9),
        QuantizedLayer("stem", "Conv", None),
    )
    static = scheme == "static"
    file = QuantizedRecord(
        "0123abcd" * 8,
        171_204,
        "ONNX Runtime 1.31.1",
        8,
        "static" if static else "weights",
        "" if static else "encoder.attention multiplies activations with one another, as attention does",
        256 if static else 0,
        128_306,
        138_214,
        138_112,
        Scores("accuracy", 0.99444, 0.975, 0.01944, (0.008, 0.031)),
        found,
        {"head": "pfa.yaml leaves it out"},
        layers,
        32,
        7 if static else 8,
    )
    budgets = {
        "quantized": {
            "bytes": "18%",
            "accuracy_drop": "1 pp",
            "agreement": {"min": "95%"},
            "divergence": 0.05,
            "class_drop": "8 pp",
        }
    }
    return records.judged(dataclasses.replace(record, quantized=file), budgets)


def packed(record: Record) -> Record:
    """The same with a file of few bits, each layer its own number, and budgets of it, of which some are broken."""
    layers = (
        LayerBits("stem", "6", 432, 388, 0.0004, 63),
        LayerBits("layer1.0.conv1", "4", 2304, 1216, 0.0021, 16),
        LayerBits("layer2.0.conv2", "3", 9216, 3584, 0.0312, 8),
        LayerBits("head", "ternary", 640, 168, None, 3),
    )
    plan = BitsRecord(layers, 9_000, "divergence", 256, 0.0711, 0.0412, True)
    file = dataclasses.replace(
        _without_runtime(quantized(record)), bits="auto", scheme="packed", bytes=8_912, file_bytes=9_744, plan=plan
    )
    budgets = {"quantized": {"bytes": "1%", "agreement": {"min": "95%"}, "divergence": 0.05}}
    return records.judged(dataclasses.replace(record, quantized=file), budgets)


def _without_runtime(record: Record) -> QuantizedRecord:
    if record.quantized is None:
        raise ValueError("The record has no file.")
    runtime = "torch, from floating copies of its weights"
    return dataclasses.replace(
        record.quantized, runtime=runtime, reason="", samples=0, forecast=None, layers=(), compared=0, weight_bits=8
    )


def factorized(record: Record) -> Record:
    """The same with two layers that are two each, found by energy, and others that could not be."""
    layers = (
        FactorizedLayer(
            "layer2.0.conv2", "convolution", 21, 576, 64, (36_864, 13_440), (589_824, 215_040), 0.9712, 0.0213
        ),
        FactorizedLayer("head", "linear", 4, 64, 10, (640, 296), (640, 296), None, 0.001),
    )
    whole = {
        "stem": "no rank of it would save anything",
        "layer1.0.conv1": "97% of its energy takes a rank of 30, and none above 15 saves",
        "layer1.0.conv2": "cutting its filters loses no more and saves as much",
        "layer2.0.conv1": "cutting its filters loses no more and saves as much",
        "layer2.0.shortcut": "cutting its filters loses no more and saves as much",
        "layer2.1.conv1": "cutting its filters loses no more and saves as much",
        "branch.2": "its weight is shared: it is 'branch.3.weight' too",
        "branch.3": "it is grouped: its 4 blocks read apart from each other",
    }
    found = FactorizedRecord("energy", 0.97, layers, whole, Exact(3.4e-16, True), 1e-10, chosen=False)
    return dataclasses.replace(record, factorized=found)


def changed() -> Record:
    """The broken example with recovery layer by layer, made in rounds, compared with a baseline."""
    record = pictured(records.broken())
    assert record.compressed is not None
    assert record.recipe is not None
    rounds = tuple({name: count + more for name, count in record.recipe.keep.items()} for more in (3, 1, 0))
    steps = (
        RecoveryStep("cut", 0.5123, 0.0, "19 of 64 filters a group"),
        RecoveryStep("compensate", 0.98056, 1.3, "6 of 8 layers solved anew on 408,000 patches", REPAIRS),
    )
    before = {
        layer.name: {"kl": round(0.9 * (layer.kl_ratio or 0.0), 6), "inactive": 0.0}
        for layer in record.layers
        if layer.name not in ("branch.3", "head")
    }
    against = Compared(
        "pfa.baseline.json",
        "2026-11-12",
        "abcdef0123456",
        changed=("the weights",),
        new=("branch.3",),
        gone=("branch.2",),
        layers=before,
        values={"model.parameters": 180_000.0, "compressed.macs": 3_000_000.0},
    )
    return dataclasses.replace(
        record,
        compressed=dataclasses.replace(record.compressed, recovery=steps),
        recipe=dataclasses.replace(record.recipe, rounds=rounds),
        baseline=against,
        written="2026-11-20T08:30:00Z",
    )


def named(name: str) -> Record:
    """A record in which everything that a stranger may name has this name."""
    record = records.broken()
    layers = (dataclasses.replace(record.layers[0], name=name, kind=name), *record.layers[1:])
    skipped = dataclasses.replace(records.HEAD, name=f"{name}2", skipped=name)
    plain = records.record(
        (*layers, skipped),
        {"layers": [{"match": "*", "kl": 0.1}], "model": {"parameters": "200 k"}},
        gate=name,
        config=name,
        versions={name: name},
        unmeasured=(Unmeasured(name, name),),
        files={"record": name},
        baseline=Compared(name, name, name, "", (name,), (name,), (name,), {name: name}),
    )
    assert plain.compressed is not None
    repairs = (Repair(name, 0.2, 0.1, 1e-3, 9), Repair(f"{name}2", None, None, None, 0, name))
    steps = (RecoveryStep("cut", 0.5, 0.0, name), RecoveryStep(name, 0.9, 1.0, name, repairs))
    recipe = RecipeRecord("kl", None, {name: 7}, {name: name}, ({name: 9}, {name: 7}))
    few = QuantizedLayer(name, name, 9.0)
    file = QuantizedRecord(name, 9, name, 8, "weights", name, 0, 9, 9, floating={name: name}, layers=(few,))
    compressed = dataclasses.replace(plain.compressed, recovery=steps)
    two = FactorizedLayer(name, name, 1, 9, 9, (81, 18), (81, 18), 0.9, 0.1)
    ranks = FactorizedRecord("ranks", None, (two,), {name: name})
    return dataclasses.replace(plain, compressed=compressed, recipe=recipe, quantized=file, factorized=ranks)


def many(layers: int) -> Record:
    """A deep network whose layers have names as long as names get in practice."""
    record = records.deep(layers)
    renamed = (dataclasses.replace(layer, name=f"backbone.{layer.name}") for layer in record.layers)
    return records.record(tuple(renamed), {**records.BUDGETS, "layers": records.BUDGETS["layers"][:1]})


def everything() -> Record:
    """A small record that has something in every place."""
    record = changed()
    few = tuple(layer for layer in record.layers if layer.name in ("stem", "layer2.0.conv2", "head"))
    assert record.compressed is not None
    assert record.baseline is not None
    steps = tuple(dataclasses.replace(step, repairs=step.repairs[2:4]) for step in record.compressed.recovery)
    judged = records.record(few, {**records.BUDGETS, "layers": [{"match": "*", "kl": 0.5}]})
    first, *rest = record.budgets
    waived = dataclasses.replace(
        first,
        outcome="broken",
        details=(LayerFinding("stem", 0.3, 0.5, "broken", waived="old"), *first.details),
        notes=("Within noise.",),
    )
    return dataclasses.replace(
        record,
        layers=judged.layers,
        budgets=(waived, *rest),
        versions={"pfa-gate": "0.1.0", "torch": "2.13.0"},
        compressed=dataclasses.replace(record.compressed, recovery=steps),
        baseline=dataclasses.replace(record.baseline, renamed={"stem": "conv0"}),
        unmeasured=(Unmeasured("score", "there is no evaluation"),),
        device="cuda:0 (NVIDIA H100)",
    )
