"""How many filters each group keeps: a plan, made before anything is cut."""

from pfa_gate.recipe.by_losses import recipe_by_losses
from pfa_gate.recipe.by_spectra import keep_energy, keep_kl, recipe
from pfa_gate.recipe.rule import Footprint, Recipe, Rule, Strategy

__all__ = ["Footprint", "Recipe", "Rule", "Strategy", "keep_energy", "keep_kl", "recipe", "recipe_by_losses"]
