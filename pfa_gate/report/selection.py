"""What `selection: auto` found, in one sentence, alike in all reports."""

from pfa_gate.budget.wording import percent, significant
from pfa_gate.record import Record
from pfa_gate.record.choice import SelectionChoice, SelectionTrial


def selection_sentence(record: Record) -> str:
    """Which selection was kept, with what each one had; empty where pfa.yaml names one.

    Example:
        >>> from pfa_gate.record import Probe, RecipeRecord, Size
        >>> trials = SelectionTrial("reconstruction", 0.1234), SelectionTrial("l1", 0.2)
        >>> choice = SelectionChoice(trials, "reconstruction", "divergence", 300)
        >>> plan = RecipeRecord("kl", None, {}, choice=choice)
        >>> selection_sentence(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), recipe=plan))
        'Selection reconstruction, of 2 by the divergence on 300 probe samples held out: reconstruction 0.123, l1 0.2.'
    """
    choice = record.recipe.choice if record.recipe is not None else None
    if choice is None:
        return ""
    values = ", ".join(f"{trial.name} {_value(trial, choice)}" for trial in choice.trials)
    measure = {"output_error": "output error"}.get(choice.measure, choice.measure)
    return (
        f"Selection {choice.chosen}, of {len(choice.trials)} by the {measure} on {choice.samples:,} probe samples held "
        f"out: {values}."
    )


def _value(trial: SelectionTrial, choice: SelectionChoice) -> str:
    return percent(trial.value) if choice.measure == "output_error" else significant(trial.value)
