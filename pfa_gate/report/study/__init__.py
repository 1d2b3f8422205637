"""A study as text for people: on a terminal, as Markdown, and as a plot."""

from pfa_gate.report.study.families import families_markdown, families_terminal
from pfa_gate.report.study.families_plot import families_svg
from pfa_gate.report.study.svg import svg
from pfa_gate.report.study.tables import markdown, terminal

__all__ = ["families_markdown", "families_svg", "families_terminal", "markdown", "svg", "terminal"]
