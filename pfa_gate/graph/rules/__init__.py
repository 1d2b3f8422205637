"""One rule for each operator of ATen that networks use; importing this package registers them all."""

from . import contraction, einstein, elementwise, movement, statistics

__all__ = ["contraction", "einstein", "elementwise", "movement", "statistics"]
