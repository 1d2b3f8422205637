"""Verdicts that outlive a run, and what they depend on."""
