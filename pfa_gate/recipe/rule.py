"""What a recipe is asked to be, and what it is: counts of filters, in the multiples that were asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pfa_gate.errors import ConfigError, TargetError
from pfa_gate.redundancy import RoundTo, multiple_of

Strategy: TypeAlias = Literal["kl", "energy", "parameters", "bytes", "macs"]
Footprint: TypeAlias = Callable[[Mapping[str, int]], float]


@dataclass(frozen=True)
class Rule:
    """The strategy of a recipe and its numbers.

    Args:
        strategy: kl and energy look at each group alone; parameters, bytes and macs meet a target.
        energy: share of the spectrum to keep, in [0, 1]; for strategy energy.
        target: the most parameters, bytes or macs allowed, as an absolute count.
        round_to: counts are multiples of this, or all filters of a group; `auto`: of 8 from 32 filters on, of 4 from 16
            on. kl and energy round up to a number, so that what they keep is kept; all else goes to the nearest
            multiple, at the size that the strategy asks for or comes to.
        minimum: fewest filters of a group, as far as it has them.
        widths: group name -> filters in the full model, of groups that were cut before.

    Raises:
        ConfigError: the strategy lacks its number, or a number is out of range.

    Example:
        >>> Rule("energy", energy=0.95).round_to
        1
    """

    strategy: Strategy
    energy: float | None = None
    target: float | None = None
    round_to: RoundTo = 1
    minimum: int = 1
    widths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.strategy == "energy" and self.energy is None:
            raise ConfigError("Strategy energy has no energy.", remedy="Set recipe.energy, say to 0.95.")
        if self.strategy in ("parameters", "bytes", "macs") and self.target is None:
            raise ConfigError(
                f"Strategy {self.strategy} has no target.", remedy=f"Set recipe.{self.strategy}, say to 50%."
            )
        if min(multiple_of(self.round_to, 1), self.minimum) < 1:
            raise ConfigError(
                f"round_to is {self.round_to} and minimum {self.minimum}; neither may be below 1.",
                remedy="Leave them out, or set them to 1 or more.",
            )


@dataclass(frozen=True)
class Recipe:
    """How many filters each group keeps (paper 3.2).

    Args:
        strategy: the strategy that found it.
        energy: the share of each spectrum kept, in [0, 1]; None for strategy kl.
        counts: group name -> filters kept.
        reasons: group name -> why it is kept whole.
        widths: group name -> filters before.

    Example:
        >>> print(Recipe("energy", 0.9, {"stem": 19}, {"head": "it feeds the output"}, {"stem": 32}))
        energy 0.9
        head  whole: it feeds the output
        stem  32 -> 19
    """

    strategy: Strategy
    energy: float | None
    counts: dict[str, int]
    reasons: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """The strategy, then one line per group, sorted by name."""
        plans = {name: f"whole: {reason}" for name, reason in self.reasons.items()}
        plans |= {name: f"{self.widths.get(name, '?')} -> {count}" for name, count in self.counts.items()}
        longest = max(map(len, plans), default=0)
        title = self.strategy if self.energy is None else f"{self.strategy} {self.energy:.6g}"
        return "\n".join([title, *(f"{name:{longest}}  {plans[name]}" for name in sorted(plans))])


def out_of_reach(smallest: float, target: float, rule: Rule) -> TargetError:
    """What is said of a target that is below the smallest recipe."""
    return TargetError(
        f"The smallest recipe has {smallest:,.0f} {rule.strategy}; the target is {target:,.0f}.",
        remedy=f"Set recipe.{rule.strategy} to {smallest:,.0f} or more, or lower round_to and minimum.",
    )
