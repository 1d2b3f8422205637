"""The records of past runs as curves: parameters, KL ratio and score, on a page and on a terminal.

PYTEST_DONT_REWRITE
"""

from pfa_gate.report.history.past import Past, Run, gates
from pfa_gate.report.history.picture import page
from pfa_gate.report.history.words import words

__all__ = ["Past", "Run", "gates", "page", "words"]
