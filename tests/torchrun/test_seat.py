"""Who this process is among others, read off the environment."""

import pytest

from pfa_gate.errors import RankError
from pfa_gate.torchrun import Seat, seat_in

HERE = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "one", "MASTER_PORT": "29500"}


def test_all_that_torchrun_sets() -> None:
    assert seat_in(HERE) == Seat(rank=3, size=4, silence=60.0, stall=1800.0)
    bounds = {"PFA_GATE_RANK_SILENCE": "4", "PFA_GATE_RANK_STALL": "2.5"}
    assert seat_in(HERE | bounds) == Seat(3, 4, 4.0, 2.5)


@pytest.mark.parametrize("environment", [{}, HERE | {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "8"}])
def test_a_process_alone(environment: dict[str, str]) -> None:
    assert seat_in(environment) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RANK": "4"}, "RANK is 4, and WORLD_SIZE is 4."),
        ({"RANK": "-1"}, "RANK is '-1', not a whole number from 0."),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', not a whole number from 2."),
        ({"MASTER_ADDR": ""}, "RANK and WORLD_SIZE are set, and MASTER_ADDR is not."),
        ({"PFA_GATE_RANK_STALL": "soon"}, "PFA_GATE_RANK_STALL is 'soon', not a number of seconds from 1."),
        ({"PFA_GATE_RANK_SILENCE": "nan"}, "PFA_GATE_RANK_SILENCE is 'nan', not a number of seconds from 1."),
        ({"PFA_GATE_RANK_SILENCE": "0.5"}, "PFA_GATE_RANK_SILENCE is '0.5', not a number of seconds from 1."),
    ],
)
def test_what_cannot_be_meant(change: dict[str, str], words: str) -> None:
    with pytest.raises(RankError) as caught:
        seat_in(HERE | change)
    assert caught.value.fact == words
