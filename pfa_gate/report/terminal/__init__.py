"""The report on a terminal."""

from pfa_gate.report.terminal.report import follows_links, linked, printed, render

__all__ = ["follows_links", "linked", "printed", "render"]
