"""Commands on what a run has left: they import no code of the project."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from pfa_gate.record.plain_data import plain, text_of
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.text import printable


def add_report(parser: argparse.ArgumentParser) -> None:
    """Options of `report`."""
    parser.add_argument(
        "records", nargs="*", type=Path, default=[Path(".pfa")], metavar="RECORD", help="files or folders (.pfa)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the comment here")
    parser.add_argument("--badge", type=Path, metavar="FILE", help="write the badge here")
    parser.add_argument("--base", type=Path, metavar="RECORD", help="draw this record's spectra over those of the page")
    parser.add_argument("--history", type=Path, metavar="DIR", help="draw the records below this folder over time")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="all layers; twice: every spectrum")
    parser.set_defaults(command=_report)


def _report(chosen: argparse.Namespace) -> None:
    from pfa_gate.report.command import ReportOptions, Screen, write_reports  # noqa: PLC0415  no other command renders

    options = ReportOptions(
        tuple(chosen.records), chosen.history, chosen.html, chosen.markdown, chosen.badge, chosen.base
    )
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size().columns
    shown = write_reports(options, Screen(width, colour, shows_unicode(sys.stdout.encoding), chosen.verbose))
    print(printable(shown, styled=True), end="")


def add_comment(parser: argparse.ArgumentParser) -> None:
    """Options of `comment`."""
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "records", nargs="*", type=Path, default=[], metavar="RECORD", help="files or folders; .pfa unless given"
    )
    whose.add_argument("--from", dest="foreign", nargs="+", type=Path, metavar="RECORD", help="of a run of a fork")
    parser.add_argument("--repo", default="", metavar="OWNER/NAME", help="instead of GITHUB_REPOSITORY")
    parser.add_argument("--pull", type=int, metavar="N", help="instead of the event's pull request")
    parser.add_argument(
        "--policy", choices=("auto", "always", "never", "on_failure"), default="auto", help="when to comment"
    )
    parser.add_argument("--leg", default="", help="name of the matrix leg")
    parser.add_argument("--status", type=int, metavar="N", help="exit status of pytest, for gates without a record")
    parser.add_argument("--only", action="store_true", help="drop the sections of other gates and legs")
    parser.add_argument("--dry-run", action="store_true", help="print the comment and make no request")
    parser.set_defaults(command=_comment)


def _comment(chosen: argparse.Namespace) -> None:
    from pfa_gate.github import CommentRequest, comment  # noqa: PLC0415  no other command renders

    request = CommentRequest(
        records=tuple(chosen.foreign or chosen.records),
        trusted=chosen.foreign is not None,
        repository=chosen.repo,
        pull=chosen.pull,
        policy=chosen.policy,
        leg=chosen.leg,
        only=chosen.only,
        status=chosen.status,
        dry_run=chosen.dry_run,
    )
    print(printable(comment(request, os.environ)))


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Options of `verify`."""
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(".pfa")], metavar="DIR", help="results (.pfa)")
    parser.set_defaults(command=_verify)


def _verify(chosen: argparse.Namespace) -> int:
    from pfa_gate.report.command import verify  # noqa: PLC0415  no other command reads manifests

    found = verify(chosen.folders)
    for sentence in found.sentences:
        print(printable(sentence))
    for fault in found.faults:
        print(printable(f"ERROR: {fault}"), file=sys.stderr)
    return int(bool(found.faults))


def add_parity(parser: argparse.ArgumentParser) -> None:
    """Options of `parity`."""
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[Path(".pfa")], metavar="DIR", help="a gate's folder, or all (.pfa)"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="run this file in place of the one in DIR")
    parser.add_argument("--threads", type=_count, default=1, metavar="N", help="threads of each operator (1)")
    parser.add_argument(
        "--provider", action="append", default=[], metavar="NAME", help="of ONNX Runtime (CPUExecutionProvider)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_parity)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _parity(chosen: argparse.Namespace) -> int:
    from pfa_gate.runtime.parity_check import Ask, check_parity  # noqa: PLC0415  no other command runs a file
    from pfa_gate.runtime.parity_words import parity_json, parity_lines  # noqa: PLC0415
    from pfa_gate.runtime.session import ON_CPU  # noqa: PLC0415

    providers = tuple(chosen.provider) or ON_CPU
    found = check_parity(Ask(tuple(chosen.folders), chosen.file, chosen.threads, providers))
    lines = [text_of(parity_json(found))] if chosen.json else parity_lines(found)
    for line in lines:
        print(printable(line))
    return int(any(each.verdict != "same" for each in found))


def add_inspect(parser: argparse.ArgumentParser) -> None:
    """Options of `inspect`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a .onnx, .pt2 or .safetensors file of any tool")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=_inspect)


def _inspect(chosen: argparse.Namespace) -> None:
    from pfa_gate.runtime.file_words import file_lines  # noqa: PLC0415  no other command reads such files
    from pfa_gate.runtime.inspect_file import inspect_file  # noqa: PLC0415

    facts = inspect_file(chosen.file)
    lines = [text_of({"schema": "pfa_gate.inspect/1", **plain(facts)})] if chosen.json else file_lines(facts)
    for line in lines:
        print(printable(line))
