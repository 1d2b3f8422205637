"""Studies of families made by hand: what the reports and the record are tested on."""

from typing import Any

from pfa_gate.record import AnswerSummary, BatchTiming, Size
from pfa_gate.record.families import FamilyStudy, FamilyTrial

FULL = Size(100_000, 400_000, 2_000_000)


def trial(family: str, asked: float | None, accuracy: float | None, **more: Any) -> FamilyTrial:
    size = more.pop("bytes", None if accuracy is None else round(400_000 * (asked or 0.26)))
    ratio = more.pop("ratio", 0.8)
    scored: dict[str, Any] = {
        "file": "model.onnx",
        "parameters": 50_000,
        "bytes": size,
        "macs": 900_000,
        "stderr": 0.01,
        "answers": AnswerSummary(0.95, round(1 - (accuracy or 0.0), 3), 0.1, 0.02),
        "time": None
        if ratio is None
        else BatchTiming(1, ratio, 0.01, (ratio - 0.02, ratio + 0.02), 2.0, 2 * ratio, 40),
        "timed": "" if ratio is None else "model.onnx",
    }
    given: dict[str, Any] = {
        "rule": "own",
        "draw": 0,
        "config": "recipe: {strategy: bytes, bytes: 30%}",
        "counts": {"stem": 8},
        "seconds": 12.0,
    }
    return FamilyTrial(family=family, asked=asked, accuracy=accuracy, **given | (scored if accuracy else {}) | more)


def trials() -> list[FamilyTrial]:
    bits = {"file": "weights.q.safetensors", "config": "quantize: {bits: 4}"}
    return [
        trial("int8", None, 0.915, ratio=1.2, file="model.int8.onnx", timed="model.int8.onnx"),
        trial("4 bits", None, 0.905, bytes=60_000, ratio=1.0, **bits),
        trial("sparsify", None, None, reason="No layer has four inputs."),
        trial("cut", 0.5, 0.91),
        trial("cut", 0.5, 0.90, rule="uniform", config=""),
        trial("cut", 0.5, 0.80, rule="random", config="", ratio=0.9),
        trial("cut", 0.5, 0.86, rule="random", draw=1, config="", bytes=199_000),
        trial("cut", 0.5, None, rule="random", draw=2, config="", reason="No random recipe of draw 2 comes within 1%."),
        trial("cut", 0.3, 0.70, ratio=0.55),
        trial("cut", 0.3, 0.72, rule="uniform", config="", ratio=0.7),
        trial("cut + int8", 0.3, 0.914, ratio=None, untimed="model.onnx was not made: it is too large"),
        trial("cut + int8", 0.5, None, reason="RuntimeError: no", failed=True),
    ]


def study(**more: Any) -> FamilyStudy:
    done = tuple(more.pop("trials", trials()))
    given: dict[str, Any] = {
        "gate": "digits",
        "config": "pfa.yaml",
        "metric": "accuracy",
        "samples": 761,
        "model": FULL,
        "accuracy": 0.917,
        "stderr": 0.01,
        "selection": "l1",
        "recovery": "compensate",
        "families": tuple(dict.fromkeys(trial.family for trial in done)),
        "sizes": (0.5, 0.3),
        "times": (0.9, 0.75, 0.5),
        "draws": 3,
        "seed": 7,
        "batch": 1,
        "trials": done,
        "versions": {"pfa-gate": "0.1.0"},
        "seconds": 125.0,
        "runtime": "ONNX Runtime 1.31.1",
        "notes": ("Zeros are stored as other weights are.",),
    } | more
    return FamilyStudy(**given)
