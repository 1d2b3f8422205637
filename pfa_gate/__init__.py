"""A pytest plugin and model-quality gate: redundancy spectra, recipes and budgets by Principal Filter Analysis.

Importing this package costs nothing; each name below loads its room when it is first used.

PYTEST_DONT_REWRITE: else pytest warns where a program has imported pfa_gate before it starts pytest.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfa_gate.analysis.spectrum import analyse
    from pfa_gate.artifacts import load
    from pfa_gate.compress.prune import operate
    from pfa_gate.compress.select import choose
    from pfa_gate.errors import (
        ArtifactError,
        CheckpointError,
        ConfigError,
        DataError,
        FactoryError,
        InactiveModelError,
        LabelsError,
        LayerNotCalledError,
        LayerPatternError,
        MetricError,
        NotFiniteError,
        PFAGateError,
        SurgeryError,
        TargetError,
        TooFewSamplesError,
        TraceError,
    )
    from pfa_gate.graph import trace
    from pfa_gate.pipeline.run import run
    from pfa_gate.recipe import keep_energy, keep_kl

_ROOMS = {
    "analyse": "analysis.spectrum",
    "choose": "compress.select",
    "keep_energy": "recipe",
    "keep_kl": "recipe",
    "load": "artifacts",
    "operate": "compress.prune",
    "run": "pipeline.run",
    "trace": "graph",
}

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "FactoryError",
    "InactiveModelError",
    "LabelsError",
    "LayerNotCalledError",
    "LayerPatternError",
    "MetricError",
    "NotFiniteError",
    "PFAGateError",
    "SurgeryError",
    "TargetError",
    "TooFewSamplesError",
    "TraceError",
    "analyse",
    "choose",
    "keep_energy",
    "keep_kl",
    "load",
    "operate",
    "run",
    "trace",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'pfa_gate' has no attribute '{name}'")
    from importlib import import_module  # noqa: PLC0415  the lazy page is the point

    room = import_module(f"pfa_gate.{_ROOMS.get(name, 'errors')}")
    return getattr(room, name)


def __dir__() -> list[str]:
    return __all__
