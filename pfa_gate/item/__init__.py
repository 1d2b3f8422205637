"""What pytest collects: a config is a file, a gate a collector, a budget an item.

The names are known from the YAML alone; torch is imported by the first item of a gate that is set up.

PYTEST_DONT_REWRITE
"""

from pfa_gate.item.choice import Choice
from pfa_gate.item.nodes import BudgetItem, ConfigFile, GateCollector
from pfa_gate.item.once import Result, results
from pfa_gate.item.plan import ANALYSIS, PLAN, PROGRESS, Analysis, Plan

__all__ = [
    "ANALYSIS",
    "PLAN",
    "PROGRESS",
    "Analysis",
    "BudgetItem",
    "Choice",
    "ConfigFile",
    "GateCollector",
    "Plan",
    "Result",
    "results",
]
