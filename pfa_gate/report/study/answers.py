"""The columns of a study that tell of answers: as many as there is room for on a terminal, all of them in Markdown."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import significant
from pfa_gate.record import AnswerSummary
from pfa_gate.record.study import Row
from pfa_gate.report.formatting import score
from pfa_gate.report.terminal.layout import GAP, Look, widths

NAMES = ("agreement", "divergence", "class drop", "output error")
METHOD = 2
"""The column of the method, which is shortened to what the others leave."""
_LEAST_METHOD = 20
_SHORT = ("agree", "diverge", "class drop")


def add_answers(cells: Sequence[list[Text]], rows: Sequence[Row], look: Look) -> None:
    """A column for each measure of the answers that a row has, as many as leave a method twenty cells."""
    columns = [answer_words(row.answers)[:3] for row in rows]
    for number, title in enumerate(_SHORT):
        words = [column[number] for column in columns]
        taken = sum(width for index, width in enumerate(widths(cells)) if index != METHOD) + GAP * len(cells[0])
        width = max(cell_len(word) for word in (title, *words))
        if not any(words) or taken + GAP + width + _LEAST_METHOD > look.width:
            continue
        for line, word in zip(cells, (title, *words), strict=True):
            line.append(Text(word, line[-1].style))


def answer_words(found: AnswerSummary | None) -> tuple[str, str, str, str]:
    """Agreement, divergence, class drop and output error of a row; empty where there is none.

    Example:
        >>> answer_words(AnswerSummary(0.9421, 0.0302, 0.1234, 0.079))
        ('94.21%', '0.0302', '7.90', '12.34%')
    """
    if found is None:
        return ("",) * 4
    return (
        score(found.agreement, True),
        "" if found.divergence is None else significant(found.divergence),
        "" if found.class_drop is None else f"{100 * found.class_drop:.2f}",
        score(found.output_error, True),
    )
