"""The report as one HTML page, and its templates."""

from pfa_gate.report.html.report import filled_template, render

__all__ = ["filled_template", "render"]
