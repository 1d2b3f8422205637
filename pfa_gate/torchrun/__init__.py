"""The processes that torchrun started: the seat of this one, its heartbeat, and the calls between them."""

from pfa_gate.torchrun.seat import Seat, seat_in

__all__ = ["Seat", "seat_in"]
