"""A model that another tool made: read from its file or its factory, counted, and run like the full model."""

from pfa_gate.candidate.load import Candidate, Origin, load_candidate

__all__ = ["Candidate", "Origin", "load_candidate"]
