"""Print what becomes of each architecture of the zoo: `python tests/benchmarks/zoo.py [name ...]`, from the root.

Each is cut to half the filters of every free group. `left` is the share of the parameters that stay, `zeroed` the
largest difference from the model whose weights were zeroed by hand, over the groups across which nothing is
normalised. Wanted: none wrong, no crash, and all with 75 % left or less.
"""

# ruff: noqa: E402  the zoo is no package
import logging
import sys
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "zoo")]

import torch
from judging import ZOO, Judged, judge
from rich.console import Console
from rich.table import Table

from pfa_gate.errors import PFAGateError

CONSOLE = Console(width=150)
COLUMNS = ("architecture", "form", "left", "groups", "free", "proof", "zeroed", "seconds", "reasons")
ENOUGH = 0.75


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    table = Table(*COLUMNS)
    rows = [(name, tried(name)) for name in names]
    for name, found in rows:
        table.add_row(name, *(cells(found) if isinstance(found, Judged) else ["-"] * 7 + [found]))
    CONSOLE.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; half the filters of every free group")
    CONSOLE.print(table)
    judged = [found for _, found in rows if isinstance(found, Judged)]
    small = sum(found.left <= ENOUGH for found in judged)
    wrong = [found.name for found in judged if found.put_back or found.silent_error > 1e-4]
    failed = [name for name, found in rows if isinstance(found, str)]
    CONSOLE.print(f"{len(rows)} architectures: {small} with {ENOUGH:.0%} left or less; wrong {wrong}; failed {failed}")


def tried(name: str) -> Judged | str:
    """What became of it; a failure is a row too."""
    try:
        return judge(name)
    except PFAGateError as error:
        return error.fact
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"


def cells(found: Judged) -> list[str]:
    back = [f"{name} put back: {reason}" for name, reason in found.put_back.items()]
    numbers = (found.form, f"{found.left:.0%}", str(found.groups), str(found.free), f"{found.error:.0e}")
    frozen = [f"{name}: {reason}" for name, reason in found.frozen.items() if reason != "it feeds the model's output"]
    rest = (f"{found.silent_error:.0e}", f"{found.seconds:.1f}", "; ".join([*back, *frozen]))
    return [*numbers, *rest]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:] or list(ZOO))
