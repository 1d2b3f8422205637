"""The record of a run: plain, versioned data that every report, cache and baseline is made from."""

from pfa_gate.budget import Finding, LayerFinding, LayerMeasure, PartSize, Size, layer_values
from pfa_gate.compress.repair import Repair
from pfa_gate.record.factorized import FactorizedLayer, FactorizedRecord
from pfa_gate.record.gate_record import (
    COMPRESSED_MODEL,
    SCHEMA,
    Compared,
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
from pfa_gate.record.memory import DemandsRecord, LiveRecord, MemoryRecord
from pfa_gate.record.plain_data import finite
from pfa_gate.record.quantized import BitsRecord, LayerBits, QuantizedLayer, QuantizedRecord
from pfa_gate.record.smaller_model import CandidateRecord, CompressedRecord, Exact
from pfa_gate.record.sparsity import SparseLayer, SparsityRecord, ZeroCount
from pfa_gate.record.timing import BatchTiming, RoundedForecast, TimingRecord

__all__ = [
    "COMPRESSED_MODEL",
    "SCHEMA",
    "AnswerSummary",
    "BatchTiming",
    "BitsRecord",
    "CandidateRecord",
    "Compared",
    "CompressedRecord",
    "Correlations",
    "DemandsRecord",
    "Exact",
    "FactorizedLayer",
    "FactorizedRecord",
    "Finding",
    "LayerBits",
    "LayerFinding",
    "LayerMeasure",
    "LayerRecord",
    "LiveRecord",
    "MemoryRecord",
    "PartSize",
    "Probe",
    "QuantizedLayer",
    "QuantizedRecord",
    "RecipeRecord",
    "Record",
    "RecoveryStep",
    "Repair",
    "RoundedForecast",
    "Scores",
    "Size",
    "SparseLayer",
    "SparsityRecord",
    "TimingRecord",
    "Unmeasured",
    "ZeroCount",
    "dumps",
    "finite",
    "from_dict",
    "layer_values",
    "loads",
    "to_dict",
]
