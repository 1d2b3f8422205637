"""One rule for each operator of ATen that networks use; importing this package registers them all."""

from . import contraction, elementwise, movement, products, statistics

__all__ = ["contraction", "elementwise", "movement", "products", "statistics"]
