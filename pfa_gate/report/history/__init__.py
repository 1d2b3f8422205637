"""The records of past runs as curves: parameters, KL ratio and score, on a page and on a terminal."""

from pfa_gate.report.history.curves import GateHistory, RecordFile, gates
from pfa_gate.report.history.page import page
from pfa_gate.report.history.terminal import words

__all__ = ["GateHistory", "RecordFile", "gates", "page", "words"]
