"""Verdicts that outlive a run, and what they depend on.

PYTEST_DONT_REWRITE
"""
