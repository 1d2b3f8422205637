"""Studies made by hand: what the reports and the record are tested on."""

from pfa_gate.record import Size
from pfa_gate.record.study import Study, StudyPlan, Task, Trial
from pfa_gate.study.run import ORDER, rows_of

FULL = Size(100_000, 400_000, 2_000_000)
SAMPLES = {"all": 400, "0,3,5": 120}


def trial(strategy: str, counts, accuracy: float | None, **more) -> Trial:
    given = {
        "task": "0,3,5",
        "draw": 0,
        "selection": "l1",
        "seed": 0,
        "recovery": "compensate",
        "keep": {"stem": 8, "head.first": 12},
        "size": None if accuracy is None else Size(50_200, 200_800, 900_000),
        "stderr": None if accuracy is None else 0.02,
        "seconds": 1.25,
        "reason": "No uniform recipe comes within 1%." if accuracy is None else None,
    } | more
    return Trial(strategy=strategy, counts=counts, accuracy=accuracy, **given)


def trials() -> list[Trial]:
    none = {"size": None, "stderr": None, "keep": {}, "reason": "The smallest recipe has 3 parameters."}
    return [
        trial("kl", "pfa", 0.95),
        trial("kl", "pfa", 0.90, recovery="none"),
        trial("kl", "pfa", 0.80, selection="random"),
        trial("kl", "pfa", 0.70, selection="random", seed=1),
        trial("kl", "uniform", None),
        trial("kl", "random", 0.60, size=Size(50_000, 200_000, 700_000)),
        trial("kl", "random", 0.85, draw=1),
        trial("kl", "random", 0.80, draw=2, size=Size(50_300, 201_200, 1_100_000)),
        trial("kl", "random", None, draw=3, reason="No random recipe of draw 3 comes within 1%."),
        trial("energy:0.9", "pfa", 0.99, size=Size(80_000, 320_000, 1_500_000)),
        trial("energy:0.9", "uniform", 0.98, size=Size(80_010, 320_040, 1_400_000)),
        trial("parameters:1%", "pfa", None, **none),
    ]


def study(**more) -> Study:
    done = more.pop("trials", trials())
    given = {
        "gate": "digits",
        "config": "pfa.yaml",
        "metric": "accuracy",
        "seed": 7,
        "draws": 4,
        "tolerance": 0.01,
        "order": ORDER,
        "filters": 40,
        "model": FULL,
        "tasks": (
            Task("all", False, 1000, 400, 0.985, 0.006),
            Task("0,3,5", True, 310, 120, 0.9917, 0.0083),
        ),
        "plans": (
            StudyPlan("all", "kl", 24, Size(60_000, 240_000, 1_000_000), {"stem": 10, "head.first": 14}),
            StudyPlan("0,3,5", "kl", 20, Size(50_200, 200_800, 900_000), {"stem": 8, "head.first": 12}),
            StudyPlan("0,3,5", "energy:0.9", 30, Size(80_000, 320_000, 1_500_000), {"stem": 12, "head.first": 18}),
            StudyPlan("0,3,5", "parameters:1%", 0, None, {}, "The smallest recipe has 3 parameters."),
        ),
        "rows": rows_of(done, SAMPLES),
        "trials": tuple(done),
        "versions": {"pfa-gate": "0.1.0"},
        "seconds": 12.5,
    } | more
    return Study(**given)


def named(name: str) -> Study:
    """Everything that a user may call as they like is called this."""
    done = [trial("kl", "pfa", 0.9, selection=name), trial("kl", "pfa", None, selection=name + "x", reason=name)]
    return study(gate=name, config=name, metric=name, trials=done)
