"""`pfa-gate`: what can be asked of a config outside pytest."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from pfa_gate.cli.measuring import (
    RUN_CODE,
    add_collect,
    add_compare,
    add_init,
    add_merge,
    add_sensitivity,
    add_study,
)
from pfa_gate.cli.results import add_comment, add_inspect, add_parity, add_report, add_verify
from pfa_gate.config import load
from pfa_gate.config.document import resolved
from pfa_gate.config.schema import text
from pfa_gate.errors import PFAGateError
from pfa_gate.report.text import printable

BAD_CONFIG = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0, or 2 with the reason on the error stream; 1 is the command's own.

    It is 1 too, without a word, where the reader of the output has gone before its end.

    Example:
        >>> main(["check", "no/pfa.yaml"])
        2
    """
    chosen = command_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = chosen.command
    try:
        if command in RUN_CODE:
            from pfa_gate.plugin.exit_guard import run_guarded  # noqa: PLC0415  posting a comment needs no pytest

            status = run_guarded(lambda: command(chosen), to_the_end=arguments is None)
        else:
            status = command(chosen) or 0
        sys.stdout.flush()
    except PFAGateError as error:
        print(printable(str(error)), file=sys.stderr)
        return BAD_CONFIG
    except BrokenPipeError:
        # The reader has gone, as `head` does after its lines. What Python still holds is written nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def command_parser() -> argparse.ArgumentParser:
    """Give the parser of all commands; what it parses holds the command's function as `command`.

    Example:
        >>> command_parser().parse_args(["check", "pfa.yaml"]).config.name
        'pfa.yaml'
    """
    parser = argparse.ArgumentParser(
        prog="pfa-gate", description="Commands beside `pytest --pfa`, which runs the gates."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('pfa-gate')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="check a config and print it whole, each value with its origin")
    check.add_argument("config", nargs="?", type=Path, default=Path("pfa.yaml"), help="pfa.yaml unless given")
    check.set_defaults(command=_check)
    add_init(commands.add_parser("init", help="measure a model and write a first config"))
    schema = commands.add_parser("schema", help="print the JSON schema of pfa.yaml, for editors")
    schema.set_defaults(command=_schema)
    add_collect(commands.add_parser("collect", help="measure one shard of the probe"))
    add_merge(commands.add_parser("merge", help="judge a gate on all its collected shards"))
    add_study(commands.add_parser("study", help="compare recipes, selections and recoveries at equal parameters"))
    add_sensitivity(commands.add_parser("sensitivity", help="cut each group alone and say what the answers lose"))
    add_compare(commands.add_parser("compare", help="hold a model against another, without a config"))
    add_report(commands.add_parser("report", help="render a record again, or draw the records of past runs"))
    add_verify(commands.add_parser("verify", help="check that a run judged and kept every budget"))
    add_parity(commands.add_parser("parity", help="check that a gate's files give the same answers on this machine"))
    add_inspect(commands.add_parser("inspect", help="say what is in a file: inputs, sizes, operators, bytes"))
    add_comment(commands.add_parser("comment", help="write one comment on the pull request"))
    return parser


def _check(chosen: argparse.Namespace) -> None:
    print(printable(resolved(load(chosen.config))))


def _schema(chosen: argparse.Namespace) -> None:
    del chosen
    print(printable(text()), end="")
