"""The processes that torchrun started together: which of them this one is, read off the environment alone.

PYTEST_DONT_REWRITE
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pfa_gate.errors import RankError

SILENCE, STALL = 60.0, 1800.0


@dataclass(frozen=True)
class Seat:
    """One of several processes.

    Attributes:
        rank: which, from 0.
        size: how many there are.
        silence: seconds without a sign of life after which a process counts as dead.
        stall: seconds without progress after which a process that measures counts as hung.
    """

    rank: int
    size: int
    silence: float = SILENCE
    stall: float = STALL


def seat_in(environment: Mapping[str, str]) -> Seat | None:
    """Read what torchrun has set; None where this process is the only one, or was not started so.

    Args:
        environment: such as os.environ. PFA_GATE_RANK_SILENCE and PFA_GATE_RANK_STALL give other bounds.

    Raises:
        RankError: a variable is missing, or is no number that can be meant.

    Example:
        >>> at = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
        >>> seat_in(at)
        Seat(rank=1, size=2, silence=60.0, stall=1800.0)
        >>> seat_in(at | {"WORLD_SIZE": "1"}) is None, seat_in({"WORLD_SIZE": "2"}) is None
        (True, True)
    """
    if environment.get("WORLD_SIZE", "1") == "1" or "RANK" not in environment:
        return None
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not environment.get(name):
            raise RankError(f"RANK and WORLD_SIZE are set, and {name} is not.", remedy="Start pytest with torchrun.")
    size, rank = _whole(environment, "WORLD_SIZE", 2), _whole(environment, "RANK", 0)
    if rank >= size:
        raise RankError(f"RANK is {rank}, and WORLD_SIZE is {size}.", remedy="Start pytest with torchrun.")
    silence, stall = _seconds(environment, "SILENCE", SILENCE), _seconds(environment, "STALL", STALL)
    return Seat(rank, size, silence, stall)


def _whole(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment[name]
    if text.isdecimal() and int(text) >= least:
        return int(text)
    raise RankError(f"{name} is '{text}', not a whole number from {least}.", remedy="Start pytest with torchrun.")


def _seconds(environment: Mapping[str, str], which: str, default: float) -> float:
    name = f"PFA_GATE_RANK_{which}"
    try:
        seconds = float(environment.get(name, default))
    except ValueError:
        seconds = 0.0
    if 1.0 <= seconds < float("inf"):
        return seconds
    raise RankError(f"{name} is '{environment[name]}', not a number of seconds from 1.", remedy="Correct or unset it.")
