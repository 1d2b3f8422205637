"""The fixture `pfa`: the gate's measures and messages for ordinary tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pfa_gate.pipeline.run import Run
    from pfa_gate.record import Record


class Checks:
    """What the fixture `pfa` gives.

    Args:
        folder: for the results of runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(
        self,
        model: Any,
        batches: Any,
        *,
        exclude: tuple[str, ...] = (),
        positions: int | None = None,
        **limits: float,
    ) -> "Record":
        """Assert that a model's layers keep these limits on these batches.

        Args:
            model: a torch module on the CPU; it is given back as it was.
            batches: a tensor, Dataset, DataLoader or iterable of batches.
            exclude: patterns of layers that are not judged.
            positions: so many random positions of each map are samples; its maximum is one unless given.
            limits: kl, peak_correlation, mean_correlation, inactive; one or more.

        Returns:
            What was measured, for further assertions.

        Raises:
            AssertionError: a limit is broken, or could not be judged.
            PFAGateError: nothing could be measured.
            TypeError: no limit, or one that is not known.
        """
        from pfa_gate.pipeline.check_model import CheckOptions, check  # noqa: PLC0415  torch, for tests that ask for it alone

        __tracebackhide__ = True
        _refuse_unknown(limits)
        record = check(model, batches, CheckOptions(limits, exclude=exclude, positions=positions))
        said = list(_message(record))
        if said:
            raise AssertionError("\n".join(said))
        return record

    def run(
        self,
        config: Path | str,
        gate: str | None = None,
        *,
        output: Path | str | None = None,
        baseline: Path | str | None = None,
    ) -> "Run":
        """Run a gate of a config, as `pfa_gate.run` does; its results go to a temporary folder unless one is given."""
        from pfa_gate.pipeline.run import run  # noqa: PLC0415

        return run(config, gate, output=output if output is not None else self._folder, baseline=baseline)


def checks(factory: pytest.TempPathFactory) -> Checks:
    """Make the value of the fixture."""
    return Checks(factory.mktemp("pfa"))


def _refuse_unknown(limits: dict[str, float]) -> None:
    from pfa_gate.config.budgets import LAYER_LIMITS  # noqa: PLC0415
    from pfa_gate.config.complaints import nearest  # noqa: PLC0415

    for name in limits:
        if name not in LAYER_LIMITS:
            raise TypeError(f"pfa.check knows no limit '{name}'. {nearest(name, LAYER_LIMITS)}")
    if not limits:
        raise TypeError(f"pfa.check needs a limit: one of {', '.join(LAYER_LIMITS)}.")


def _message(record: "Record") -> Iterator[str]:
    from pfa_gate.report.advice import advice  # noqa: PLC0415

    for finding in record.budgets:
        if finding.outcome != "kept":
            yield f"{finding.id.removeprefix('layers.')} is {finding.outcome}: {finding.sentence}"
            yield from (f"  {note}" for note in (*advice(record, finding), *finding.notes))
