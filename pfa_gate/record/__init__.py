"""The record of a run: plain, versioned data that every report, cache and baseline is made from.

PYTEST_DONT_REWRITE
"""

from pfa_gate.budget import Finding, LayerFinding, LayerMeasure, Size, layer_values
from pfa_gate.compress.repair import Repair
from pfa_gate.record.parts import (
    COMPRESSED_MODEL,
    SCHEMA,
    Compared,
    CompressedRecord,
    Correlations,
    Exact,
    LayerRecord,
    Probe,
    RecipeRecord,
    Record,
    Unmeasured,
)
from pfa_gate.record.reading import from_dict, loads
from pfa_gate.record.recovery import RecoveryStep
from pfa_gate.record.scores import Scores
from pfa_gate.record.writing import dumps, finite, to_dict

__all__ = [
    "COMPRESSED_MODEL",
    "SCHEMA",
    "Compared",
    "CompressedRecord",
    "Correlations",
    "Exact",
    "Finding",
    "LayerFinding",
    "LayerMeasure",
    "LayerRecord",
    "Probe",
    "RecipeRecord",
    "Record",
    "RecoveryStep",
    "Repair",
    "Scores",
    "Size",
    "Unmeasured",
    "dumps",
    "finite",
    "from_dict",
    "layer_values",
    "loads",
    "to_dict",
]
