"""`pfa-gate`: what can be asked of a config outside pytest."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from pfa_gate.config import load
from pfa_gate.config.document import resolved
from pfa_gate.config.init_request import InitRequest, trial_config
from pfa_gate.config.schema import text
from pfa_gate.errors import ConfigError, PFAGateError
from pfa_gate.report.formatting import shows_unicode
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
        if command in _RUN_CODE:
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
    init = commands.add_parser("init", help="measure a model and write a first config")
    init.add_argument("factory", help="module:callable or path/to/file.py:callable that builds the model, or timm:NAME")
    init.add_argument("probe", help="callable, data file or folder of images: the samples to measure")
    init.add_argument("--arguments", default="", metavar="YAML", help="of the factory, by keyword: 'width: 32'")
    init.add_argument("--checkpoint", default="", help="weights file, from the config's folder")
    init.add_argument("--evaluation", default="", metavar="DATA", help="labelled data, for the accuracy")
    init.add_argument("--name", default="model", help="name of the gate (model)")
    init.add_argument("--config", type=Path, default=Path("pfa.yaml"), help="the file to write (pfa.yaml)")
    init.set_defaults(command=_init)
    schema = commands.add_parser("schema", help="print the JSON schema of pfa.yaml, for editors")
    schema.set_defaults(command=_schema)
    _add_collect(commands.add_parser("collect", help="measure one shard of the probe"))
    _add_merge(commands.add_parser("merge", help="judge a gate on all its collected shards"))
    _add_study(commands.add_parser("study", help="compare recipes, selections and recoveries at equal parameters"))
    _add_sensitivity(commands.add_parser("sensitivity", help="cut each group alone and say what the answers lose"))
    _add_compare(commands.add_parser("compare", help="hold a model against another, without a config"))
    _add_report(commands.add_parser("report", help="render a record again, or draw the records of past runs"))
    _add_verify(commands.add_parser("verify", help="check that a run judged and kept every budget"))
    _add_comment(commands.add_parser("comment", help="write one comment on the pull request"))
    return parser


def _add_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", type=Path, default=Path("pfa.yaml"), help="pfa.yaml unless given")
    parser.add_argument("--gate", metavar="NAME", help="which of its gates, if there are several")


def _add_collect(parser: argparse.ArgumentParser) -> None:
    _add_gate(parser)
    parser.add_argument("--shard", required=True, metavar="I/N", help="which shard of how many, such as 2/3")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file to write")
    parser.set_defaults(command=_collect)


def _collect(chosen: argparse.Namespace) -> None:
    from pfa_gate.report.ownership import MOMENTS, require_file  # noqa: PLC0415  no other command needs it

    require_file(chosen.output, MOMENTS)
    from pfa_gate.artifacts.moments import write_moments  # noqa: PLC0415  needs torch
    from pfa_gate.distributed.collect_shard import ShardSpec, collect  # noqa: PLC0415
    from pfa_gate.pipeline.run import only_gate  # noqa: PLC0415

    shard, document = ShardSpec.parse(chosen.shard), load(chosen.config)
    part = collect(document, document.gate(chosen.gate or only_gate(document)).name, shard)
    write_moments(chosen.output, part)
    counts = f"{part.samples:,} of {part.probe.samples:,} samples"
    print(printable(f"Shard {shard.shard}/{shard.of}: {counts}, in {chosen.output}"))


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of collect, one for each shard")
    parser.add_argument("--config", type=Path, default=Path("pfa.yaml"), help="pfa.yaml unless given")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the results (.pfa beside the config)")
    parser.add_argument("--baseline", default="", metavar="PATH", help="compare with this file, or with git:REF")
    parser.set_defaults(command=_merge)


def _merge(chosen: argparse.Namespace) -> int:
    from pfa_gate.distributed.merge_shards import merge  # noqa: PLC0415  needs torch
    from pfa_gate.report.terminal import render  # noqa: PLC0415

    record = merge(chosen.config, chosen.files, output=chosen.output, baseline=chosen.baseline).record
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size().columns
    shown = render(record, width=width, colour=colour, unicode=shows_unicode(sys.stdout.encoding))
    print(printable(shown, styled=True), end="")
    return int(not record.budgets or any(finding.outcome != "kept" for finding in record.budgets))


def _add_study(parser: argparse.ArgumentParser) -> None:
    _add_gate(parser)
    parser.add_argument(
        "--strategies", default="kl", metavar="LIST", help="such as kl,energy:0.95,parameters:50%% (kl)"
    )
    parser.add_argument(
        "--selections", default="reconstruction", metavar="LIST", help="such as l1,correlation (reconstruction)"
    )
    parser.add_argument(
        "--recoveries", default="none", metavar="LIST", help="such as none,compensate,compensate+distill (none)"
    )
    parser.add_argument("--random", type=int, default=0, metavar="N", help="random recipes for each strategy (0)")
    parser.add_argument("--uniform", action="store_true", help="add the recipe that keeps one share of every group")
    parser.add_argument("--domain", action="append", default=[], metavar="CLASSES", help="0,3,5; more than once")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of a selection by chance (3)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the files (.pfa/NAME.study)")
    parser.set_defaults(command=_study)


def _study(chosen: argparse.Namespace) -> int:
    from pfa_gate.study.options import StudyOptions, domain, listed  # noqa: PLC0415  needs torch
    from pfa_gate.study.run import StudyCommand, study  # noqa: PLC0415  needs torch

    ask = StudyOptions(
        strategies=listed(chosen.strategies),
        selections=listed(chosen.selections),
        recoveries=listed(chosen.recoveries),
        random=chosen.random,
        uniform=chosen.uniform,
        domains=tuple(domain(each) for each in chosen.domain),
        seeds=chosen.seeds,
    )
    return study(StudyCommand(chosen.config, chosen.gate, ask, chosen.output))


def _add_sensitivity(parser: argparse.ArgumentParser) -> None:
    _add_gate(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the files (.pfa/NAME.sensitivity)")
    parser.set_defaults(command=_sensitivity)


def _sensitivity(chosen: argparse.Namespace) -> int:
    from pfa_gate.study.sensitivity import SensitivityCommand, sensitivity  # noqa: PLC0415  needs torch

    return sensitivity(SensitivityCommand(chosen.config, chosen.gate, chosen.output))


def _add_compare(parser: argparse.ArgumentParser) -> None:
    from pfa_gate.config.comparison import add_options  # noqa: PLC0415  no other command needs it

    add_options(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="write comparison.json, .md and .html there")
    parser.set_defaults(command=_compare)


def _compare(chosen: argparse.Namespace) -> int:
    from pfa_gate.config.comparison import asked  # noqa: PLC0415  no other command needs it

    ask = asked(chosen)  # what is wrong with an option is said before torch is imported
    from pfa_gate.study.compare import compare_command  # noqa: PLC0415  needs torch

    return compare_command(ask, chosen.output)


def _add_report(parser: argparse.ArgumentParser) -> None:
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


def _add_comment(parser: argparse.ArgumentParser) -> None:
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


def _add_verify(parser: argparse.ArgumentParser) -> None:
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


def _check(chosen: argparse.Namespace) -> None:
    print(printable(resolved(load(chosen.config))))


def _init(chosen: argparse.Namespace) -> None:
    path: Path = chosen.config.absolute()
    if os.path.lexists(path):
        raise ConfigError(f"{chosen.config} is there already.", remedy="Remove it, or name another with --config.")
    from pfa_gate.report.ownership import NOTHING, require_file  # noqa: PLC0415  no other command needs it

    require_file(path, NOTHING)
    given = (chosen.factory, chosen.probe, chosen.arguments, chosen.checkpoint, chosen.evaluation)
    request = InitRequest(*given, name=chosen.name, folder=path.parent)
    trial_config(request, path)  # what is wrong with a path is said before torch is imported
    from pfa_gate.pipeline.init_config import write_first_config  # noqa: PLC0415  needs torch

    print(printable(write_first_config(request, path)), end="")
    print(printable(f"# Written to {chosen.config}. Next: pytest --pfa {chosen.config}"))


def _schema(chosen: argparse.Namespace) -> None:
    del chosen
    print(printable(text()), end="")


_RUN_CODE = (_collect, _compare, _init, _merge, _sensitivity, _study)  # commands that import the project's code
