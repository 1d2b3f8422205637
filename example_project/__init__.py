"""A small real repository with a gate: handwritten digits, a residual network, and its budgets."""
