"""What a study compares: the words of its command line, turned into sections of a gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import TypeAdapter, ValidationError

from pfa_gate.config import GateConfig, RecipeConfig
from pfa_gate.config.checks import check
from pfa_gate.errors import ConfigError

Steps = tuple[Any, ...]
_SEEDED = frozenset({"random"})
# The sizes that a recipe can meet have a key of their own; every other number is the strategy's energy.
_NUMBER = "energy"


@dataclass(frozen=True)
class StudyOptions:
    """What to compare.

    Attributes:
        strategies: each a strategy of recipes, after a colon its number: `kl`, `energy:0.95`, `parameters:50%`.
        selections: by name.
        recoveries: steps joined by `+`, or `none`.
        random: random recipes for each strategy, at its number of parameters.
        uniform: whether to add the recipe that keeps one share of every group.
        domains: classes that a task is restricted to, each on its own; none for the whole task.
        seeds: of selections that draw.
    """

    strategies: tuple[str, ...]
    selections: tuple[str, ...] = ("reconstruction",)
    recoveries: tuple[str, ...] = ("none",)
    random: int = 0
    uniform: bool = False
    domains: tuple[tuple[int, ...], ...] = ()
    seeds: int = 3

    def __post_init__(self) -> None:
        for name, words in (
            ("strategy", self.strategies),
            ("selection", self.selections),
            ("recovery", self.recoveries),
        ):
            twice = sorted({word for word in words if words.count(word) > 1})
            if not words or "" in words or twice:
                fact = f"The study asks for {name} '{twice[0]}' twice." if twice else f"The study asks for no {name}."
                raise ConfigError(fact, remedy="Name each once, with commas between.")
        if min(self.random, self.seeds - 1) < 0:
            raise ConfigError(
                f"random is {self.random} and seeds {self.seeds}.", remedy="Draw 0 or more, with 1 seed or more."
            )

    def seeds_of(self, selection: str) -> range:
        """The seeds that a selection runs for: one where it draws nothing.

        Example:
            >>> ask = StudyOptions(("kl",), seeds=3)
            >>> list(ask.seeds_of("l1")), list(ask.seeds_of("random"))
            ([0], [0, 1, 2])
        """
        return range(self.seeds if selection in _SEEDED else 1)


def listed(text: str) -> tuple[str, ...]:
    """Words with commas between.

    Example:
        >>> listed("kl, energy:0.95")
        ('kl', 'energy:0.95')
    """
    return tuple(word.strip() for word in text.split(","))


def domain(text: str) -> tuple[int, ...]:
    """Classes with commas between.

    Raises:
        ConfigError: they are no classes.

    Example:
        >>> domain("3, 0,5")
        (0, 3, 5)
    """
    words = listed(text)
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"'{text}' names no classes.", remedy="Write their numbers with commas between: 0,3,5.")
    return tuple(sorted({int(word) for word in words}))


def with_strategy(config: GateConfig, strategy: str) -> GateConfig:
    """A gate whose recipe has another strategy; residual, round_to and minimum stay.

    A size is followed by its statistic where it is not the spectra's energy: `parameters:50%/reconstruction`.

    Raises:
        ConfigError: there is no such strategy, or its number is none.

    Example:
        >>> gate = GateConfig.model_validate({
        ...     "name": "digits", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"},
        ...     "budgets": {"layers": [{"match": "*", "kl": 0.7}]},
        ... })
        >>> with_strategy(gate, "energy:0.95").recipe.energy
        0.95
    """
    strategy_word, _, statistic = strategy.partition("/")
    name, colon, number = strategy_word.partition(":")
    if name == "score":
        fact = "A study compares recipes of known sizes, and 'score' looks for one."
        raise ConfigError(fact, remedy="Run the gate with it, or study energies: energy:0.95.")
    given: dict[str, object] = {key: getattr(config.recipe, key) for key in ("residual", "round_to", "minimum")}
    given["strategy"] = name
    if statistic:
        given["statistic"] = statistic
    if colon:
        given[name if name in RecipeConfig.model_fields else _NUMBER] = _number(number)
    try:
        recipe = RecipeConfig.model_validate(given)
    except ValidationError as error:
        raise _refused(f"strategy '{strategy}'", error) from error
    for objection in check({"gates": {config.name: {"recipe": given}}}):
        if "recipe" in objection.keys:
            fact = f"The study's strategy '{strategy}' does not hold: {objection.message}."
            raise ConfigError(
                fact, remedy="Write its number after a colon, and none where it has none: energy:0.95, kl."
            )
    return config.model_copy(update={"recipe": recipe})


def steps_of(recovery: str) -> Steps:
    """The steps of a recovery, as a gate has them.

    Raises:
        ConfigError: there is no such step.

    Example:
        >>> steps_of("compensate+distill"), steps_of("none")
        (('compensate', 'distill'), ())
    """
    if recovery == "none":
        return ()
    words = [word.strip() for word in recovery.split("+")]
    own = [{"finetune": word.removeprefix("finetune:")} if word.startswith("finetune:") else word for word in words]
    field = GateConfig.model_fields["recovery"]
    kind: Any = Annotated[(field.annotation, *field.metadata)]  # the field as the config checks it
    try:
        return cast(Steps, TypeAdapter(kind).validate_python(own))
    except ValidationError as error:
        raise _refused(f"recovery '{recovery}'", error) from error


def chains(recoveries: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Recoveries that one run serves: the first of each has all the steps, the others begin as it does.

    Example:
        >>> chains(["none", "compensate", "compensate+distill", "recalibrate"])
        (('compensate+distill', 'none', 'compensate'), ('recalibrate',))
    """
    longest = sorted(recoveries, key=lambda each: -len(steps_of(each)))
    runs: dict[str, list[str]] = {}
    for each in longest:
        steps = steps_of(each)
        for run, served in runs.items():
            if steps_of(run)[: len(steps)] == steps:
                served.append(each)
                break
        else:
            runs[each] = [each]
    order = list(recoveries)
    return tuple((run, *sorted(others[1:], key=order.index)) for run, others in runs.items())


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _refused(what: str, error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    return ConfigError(f"The study's {what} does not hold: {first['msg']}.", remedy="It is written as in pfa.yaml.")
