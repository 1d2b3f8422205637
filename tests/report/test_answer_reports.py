"""What the reports say of answers: on a terminal, on the page, in the comment, to JUnit and beside a baseline."""

import dataclasses

import pytest
import records
from goldens import golden

from pfa_gate.budget import AnswerPair, Answers, ClassAnswers, Estimated
from pfa_gate.record import Compared, Record
from pfa_gate.report.answers import ConfusionTable, answer_sentences, class_rows, confusion
from pfa_gate.report.ci import scalars
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown import comment
from pfa_gate.report.terminal import render

BUDGETS = {
    "compressed": {
        "parameters": "80%",
        "agreement": {"min": "97%", "ratchet": True},
        "divergence": 0.05,
        "output_error": "20%",
        "class_drop": "5 pp",
    }
}
CLASSES = (
    (0, 80, 76, 75, 2, 1, 0.9),
    (1, 82, 77, 74, 5, 2, 0.9),
    (2, 75, 69, 54, 16, 1, 0.0011),
    (3, 79, 70, 64, 9, 3, 0.51),
    (4, 76, 70, 71, 0, 1, 1.0),
    (5, 19, 17, 12, 5, 0, None),
)


def answers() -> Answers:
    """Of six classes, one of which loses more than by chance, and one of which is rare."""
    return Answers(
        "evaluation",
        411,
        agreement=Estimated(0.8832, 0.8485, 0.9108),
        divergence=Estimated(0.0302, 0.0251, 0.0362),
        output_error=Estimated(0.1234, 0.11, 0.13),
        changed=48,
        lost=37,
        won=8,
        otherwise=3,
        classes=tuple(
            ClassAnswers(*each, *((-0.02, 0.3) if each[-1] is not None else (None, None))) for each in CLASSES
        ),
        confusion=(
            AnswerPair(2, 0, 2),
            AnswerPair(2, 2, 60),
            AnswerPair(2, 3, 11),
            AnswerPair(2, 4, 5),
            AnswerPair(3, 2, 1),
            AnswerPair(3, 3, 70),
            AnswerPair(3, 5, 8),
        ),
    )


def answered(**changes: object) -> Record:
    """A gate whose budgets on answers are judged against a baseline of agreement."""
    base = Compared("pfa.baseline.json", "2026-11-12", "", values={"compressed.agreement": 99.0})
    plain = dataclasses.replace(records.kept(), answers=dataclasses.replace(answers(), **changes), baseline=base)
    limits = {**BUDGETS["compressed"], "agreement": {"min": "97%"}}
    return records.judged(plain, {"compressed": limits})


def held_out() -> Record:
    """The same on a part of the probe, without labels."""
    found = dataclasses.replace(
        answers(), source="probe", lost=None, won=None, otherwise=None, classes=(), reasons={"class_drop": "No labels."}
    )
    plain = records.kept()
    probe = dataclasses.replace(plain.probe, held_out=411)
    return records.judged(
        dataclasses.replace(plain, answers=found, probe=probe),
        BUDGETS | {"compressed": {"divergence": 0.05, "class_drop": "5 pp"}},
    )


@pytest.fixture(autouse=True)
def _on_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import date  # noqa: PLC0415

    class Day(date):
        @classmethod
        def today(cls) -> date:
            return cls(2026, 11, 20)

    monkeypatch.setattr("pfa_gate.report.baseline.date", Day)


def test_golden_terminal() -> None:
    golden("answers.plain.txt", render(answered(), width=100, colour=False, unicode=True, verbosity=2))
    golden("answers.60.ascii.txt", render(answered(), width=60, colour=False, unicode=False))
    golden("held_out.plain.txt", render(held_out(), width=100, colour=False, unicode=True))


def test_golden_comment_names_the_worst_class() -> None:
    text = comment([answered()])
    golden("answers.md", text)
    head = text.partition("<details>")[0]
    assert "class 2 falls most, by 20 pp (of 75 samples 16 lost, 1 won): more than noise, p = 0.001" in head


def test_golden_page() -> None:
    """The section alone; the rest is that of any page."""
    section = page(answered()).partition('<section aria-labelledby="answers">')[2].partition("</section>")[0]
    golden("answers.html", section)
    assert 'aria-labelledby="answers"' not in page(records.kept())


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (40, 60, 80):
        for verbosity in (-1, 0, 1, 2):
            text = render(answered(), width=width, colour=False, unicode=True, verbosity=verbosity)
            assert max(map(len, text.splitlines())) <= width


def test_without_a_sure_fall_the_largest_is_named_as_noise() -> None:
    noise = answered(classes=(ClassAnswers(1, 80, 76, 72, 5, 1, 0.109, -0.06, 0.16),))
    assert answer_sentences(noise)[1] == (
        "The recall of class 1 falls most, by 5 pp (of 80 samples 5 lost, 1 won): within noise, p = 0.109 over 1 class."
    )
    assert len(answer_sentences(answered(changed=0, lost=0, won=0, otherwise=0, classes=()))) == 1
    assert answer_sentences(answered(changed=0, classes=())) == (
        "On 411 samples of the evaluation, no answer changed.",
    )
    assert len(answer_sentences(answered(reasons={"class_drop": "It is at chance."}))) == 1


def test_classes_are_listed_by_their_fall_and_the_rare_come_last() -> None:
    rows = class_rows(answered())
    assert [row.label for row in rows] == ["2", "3", "1", "0", "4", "5"]
    assert [row.falls for row in rows] == [True, False, False, False, False, False]
    assert (rows[0].before, rows[0].after, rows[0].change, rows[-1].p) == ("92.0%", "72.0%", "-20.0 pp", "")


def test_a_confusion_of_many_classes_has_a_column_of_others() -> None:
    pairs = tuple(AnswerPair(3, label, 1 + label) for label in range(12))
    found = confusion(answered(confusion=pairs))
    assert found == ConfusionTable(
        ("3", "5", "6", "7", "8", "9", "10", "11", "others"),
        (("3", ("4", "6", "7", "8", "9", "10", "11", "12", "11")),),
    )
    assert confusion(answered(confusion=())) is None


def test_junit_has_each_measure_in_its_plain_unit_and_the_class() -> None:
    record = answered()
    told = {finding.id: scalars(record, finding) for finding in record.budgets}
    assert told["compressed.agreement"]["pfa_value"] == pytest.approx(0.8832)
    assert told["compressed.agreement"]["pfa_baseline"] == pytest.approx(0.99)
    assert told["compressed.divergence"]["pfa_value"] == 0.0302
    assert told["compressed.output_error"]["pfa_value"] == pytest.approx(0.1234)
    assert told["compressed.class_drop"]["pfa_value"] == pytest.approx(0.2)
    assert [told["compressed.class_drop"][key] for key in ("pfa_class", "pfa_lost", "pfa_won")] == [2, 16, 1]
    assert {type(value) for each in told.values() for value in each.values()} <= {str, int, float}
    unjudged = held_out()
    of_classes = {finding.id: scalars(unjudged, finding) for finding in unjudged.budgets}["compressed.class_drop"]
    assert "pfa_value" not in of_classes
    assert "pfa_class" not in of_classes
