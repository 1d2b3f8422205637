"""The record of a run: plain, versioned data that every report, cache and baseline is made from."""

from pfa_gate.budget import Finding, LayerFinding, LayerMeasure, PartSize, Size, layer_values
from pfa_gate.compress.repair import Repair
from pfa_gate.record.gate_record import (
    COMPRESSED_MODEL,
    SCHEMA,
    CandidateRecord,
    Compared,
    CompressedRecord,
    Exact,
    Probe,
    RecipeRecord,
    Record,
    Unmeasured,
    dumps,
    from_dict,
    loads,
    to_dict,
)
from pfa_gate.record.measured import AnswerSummary, Correlations, LayerRecord, RecoveryStep, Scores
from pfa_gate.record.plain_data import finite

__all__ = [
    "COMPRESSED_MODEL",
    "SCHEMA",
    "AnswerSummary",
    "CandidateRecord",
    "Compared",
    "CompressedRecord",
    "Correlations",
    "Exact",
    "Finding",
    "LayerFinding",
    "LayerMeasure",
    "LayerRecord",
    "PartSize",
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
