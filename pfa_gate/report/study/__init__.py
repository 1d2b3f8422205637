"""A study as text for people: on a terminal, as Markdown, and as a plot."""

from pfa_gate.report.study.svg import svg
from pfa_gate.report.study.tables import markdown, terminal

__all__ = ["markdown", "svg", "terminal"]
