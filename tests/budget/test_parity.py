"""The budget parity: flips against a limit, and against a baseline."""

from typing import Any

import pytest
import records

from pfa_gate.budget import Baseline, Context, Flip, Machine, Measurements, Parity, Size, judge, observed_values
from pfa_gate.budget.parity import OF_ITSELF, OF_TORCH

MACHINE = Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 1, "AMD EPYC", ("avx", "avx2"))


def parity(flips: int, **changes: Any) -> Parity:
    found = {
        "file": "model.int8.onnx", "reference": OF_ITSELF, "machine": MACHINE, "source": "evaluation", "samples": 761,
        "classes": True, "flips": flips, "gap": 0.5, "relative_gap": 0.25, "tolerance": 0.5,
        "flipped": tuple(Flip(at, 0, 1, 0.5, 0.25) for at in range(min(flips, 20))),
    }  # fmt: skip
    return Parity(**{**found, **changes})


def verdict(limit: Any, found: Parity | None, before: float | None = None, section: str = "compressed") -> Any:
    gate = records.gate(budgets={section: {"parity": limit}})
    known = {section: found} if found else {}
    measured = Measurements((), Size(9, 36, 81), parity=known, parity_reasons={section: "No file was written."})
    base = None if before is None else Baseline("pfa.baseline.json", "2026-11-20", values={f"{section}.parity": before})
    *_, finding = judge(gate, measured, records.place_of, Context(base))
    return finding


ON = "on 761 samples of the evaluation"


@pytest.mark.parametrize(
    ("flips", "limit", "outcome", "sentence"),
    [
        (0, 0, "kept", f"No answer of model.int8.onnx flips {ON}, within the limit of 0."),
        (1, 1, "kept", f"1 answer of model.int8.onnx flips {ON}, within the limit of 1."),
        (3, 1, "broken", f"3 answers of model.int8.onnx flip {ON}, 2 more than the limit of 1."),
    ],
)
def test_flips_are_held_to_a_limit(flips: int, limit: int, outcome: str, sentence: str) -> None:
    finding = verdict(limit, parity(flips))
    assert (finding.outcome, finding.sentence, finding.observed) == (outcome, sentence, str(flips))


@pytest.mark.parametrize(
    ("limit", "before", "outcome", "said"),
    [
        ({"max": 9, "max_increase": 1}, 2.0, "kept", "within the limit of 3. That is the baseline's 2 + 1."),
        ({"max": 9, "max_increase": 1}, 1.0, "broken", "1 more than the limit of 2. That is the baseline's 1 + 1."),
        ({"ratchet": True}, 2.0, "broken", "1 more than the limit of 2. That is the baseline, which ratchets."),
        ({"max": 2, "ratchet": True}, 5.0, "broken", "1 more than the limit of 2."),
    ],
)
def test_a_baseline_holds_them_too(limit: Any, before: float, outcome: str, said: str) -> None:
    finding = verdict(limit, parity(3), before)
    assert finding.outcome == outcome
    assert finding.sentence.endswith(said)


def test_what_was_not_compared_is_not_judged_and_is_no_value_of_a_baseline() -> None:
    finding = verdict(0, None)
    assert (finding.outcome, finding.sentence) == ("not judged", "No file was written.")
    known = Measurements((), Size(9, 36, 81), parity={"quantized": parity(3)})
    assert observed_values(known)["quantized.parity"] == 3
    assert "compressed.parity" not in observed_values(known)


def test_the_samples_are_named_and_the_probe_is_said() -> None:
    assert verdict(0, parity(2)).notes == ("Samples 0, 1, against the same file with all optimisations off.",)
    many = verdict(0, parity(32, source="probe", reference=OF_TORCH)).notes
    assert many[0] == "There is no evaluation, so the samples are those of the probe."
    assert many[1].endswith(" 18, 19 and 12 more, against the compressed model in torch.")
