"""pfa.yaml: read strictly, checked as a whole, and every complaint with its line.

Paths in a config start at its own folder and stay in its project; `model` resolves them.
"""

from pfa_gate.config.budgets import BudgetsConfig, CompressedBudgets, Declared, LayerRule, ModelBudgets, Waiver
from pfa_gate.config.complaints import Place
from pfa_gate.config.document import Document, load, resolved
from pfa_gate.config.evaluation import EvaluationConfig
from pfa_gate.config.quantity import Limit
from pfa_gate.config.recipe import RecipeConfig
from pfa_gate.config.schema import schema
from pfa_gate.config.sections import (
    GateConfig,
    LayersConfig,
    ModelConfig,
    ProbeConfig,
)

__all__ = [
    "BudgetsConfig",
    "CompressedBudgets",
    "Declared",
    "Document",
    "EvaluationConfig",
    "GateConfig",
    "LayerRule",
    "LayersConfig",
    "Limit",
    "ModelBudgets",
    "ModelConfig",
    "Place",
    "ProbeConfig",
    "RecipeConfig",
    "Waiver",
    "load",
    "resolved",
    "schema",
]
