"""How far a gate is: whom to tell, and since when somebody waits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) while a gate runs."""

WAITED = "waited"
"""The stage that ends a wait for another process, after which there may be no other."""


@dataclass(frozen=True)
class Wait:
    """A wait for a gate, which the seconds of its record add up to.

    Attributes:
        progress: called with how far the gate is; None to stay silent.
        since: `time.perf_counter()` of when it began.
    """

    progress: Progress | None = None
    since: float = field(default_factory=time.perf_counter)
