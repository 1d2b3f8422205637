"""The report as Markdown: a comment on a pull request, and the summary of a job."""

from pfa_gate.report.markdown.gate_section import verdict_line
from pfa_gate.report.markdown.report import MARKER, comment, not_measured, section

__all__ = ["MARKER", "comment", "not_measured", "section", "verdict_line"]
