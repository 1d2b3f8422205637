"""The record of a run: plain, versioned data that every report, cache and baseline is made from.

PYTEST_DONT_REWRITE
"""

from pfa_gate.budget import Finding, LayerFinding, LayerMeasure, Size
from pfa_gate.record.parts import (
    SCHEMA,
    Compared,
    Compressed,
    Exact,
    LayerRecord,
    Probe,
    RecipeRecord,
    Record,
    RecoveryStep,
    Scores,
    Unmeasured,
)
from pfa_gate.record.reading import from_dict, loads
from pfa_gate.record.writing import dumps, finite, to_dict

__all__ = [
    "SCHEMA",
    "Compared",
    "Compressed",
    "Exact",
    "Finding",
    "LayerFinding",
    "LayerMeasure",
    "LayerRecord",
    "Probe",
    "RecipeRecord",
    "Record",
    "RecoveryStep",
    "Scores",
    "Size",
    "Unmeasured",
    "dumps",
    "finite",
    "from_dict",
    "loads",
    "to_dict",
]
