"""Where Chromium is, and what a test does that needs it and has it not."""

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Not run, and said so; a failure where everything has to run."""
    if os.environ.get("CI") or os.environ.get("PFA_GATE_MUST_RUN"):
        pytest.fail(f"not run: {reason}", pytrace=False)
    pytest.skip(f"not run: {reason}")


def chromium() -> str:
    """Its path; the test is not run where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or missing("there is no Chromium (apt-get install chromium)")
