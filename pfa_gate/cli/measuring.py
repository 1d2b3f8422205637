"""Commands that import a project's code to measure its models."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from pfa_gate.config import load
from pfa_gate.config.init_request import InitRequest, trial_config
from pfa_gate.errors import ConfigError
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.text import printable


def add_init(parser: argparse.ArgumentParser) -> None:
    """Options of `init`."""
    parser.add_argument(
        "factory", help="module:callable or path/to/file.py:callable that builds the model, or timm:NAME"
    )
    parser.add_argument("probe", help="callable, data file or folder of images: the samples to measure")
    parser.add_argument("--arguments", default="", metavar="YAML", help="of the factory, by keyword: 'width: 32'")
    parser.add_argument("--checkpoint", default="", help="weights file, from the config's folder")
    parser.add_argument("--evaluation", default="", metavar="DATA", help="labelled data, for the accuracy")
    parser.add_argument("--name", default="model", help="name of the gate (model)")
    parser.add_argument("--config", type=Path, default=Path("pfa.yaml"), help="the file to write (pfa.yaml)")
    parser.set_defaults(command=_init)


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


def _add_gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", type=Path, default=Path("pfa.yaml"), help="pfa.yaml unless given")
    parser.add_argument("--gate", metavar="NAME", help="which of its gates, if there are several")


def add_collect(parser: argparse.ArgumentParser) -> None:
    """Options of `collect`."""
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


def add_merge(parser: argparse.ArgumentParser) -> None:
    """Options of `merge`."""
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


def add_study(parser: argparse.ArgumentParser) -> None:
    """Options of `study`."""
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
    parser.add_argument("--families", action="store_true", help="compare families at equal bytes and time of the file")
    parser.add_argument("--only", metavar="LIST", help="families alone, such as cut,cut+int8")
    parser.add_argument("--sizes", metavar="LIST", help="of the full model's bytes (50%%,30%%,12%%)")
    parser.add_argument("--times", metavar="LIST", help="of the full model's time (90%%,75%%,60%%)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the files (.pfa/NAME.study or .families)")
    parser.set_defaults(command=_study, study_defaults=parser.get_default)


_OF_STRATEGIES = ("strategies", "selections", "recoveries", "domain", "seeds")
_OF_FAMILIES = ("only", "sizes", "times")


def _study(chosen: argparse.Namespace) -> int:
    for name in _OF_STRATEGIES if chosen.families else _OF_FAMILIES:
        if getattr(chosen, name) != chosen.study_defaults(name):
            if chosen.families:
                raise ConfigError(f"--families does not read --{name}.", remedy=f"Remove --{name}.")
            raise ConfigError(f"--{name} is of --families.", remedy=f"Add --families, or remove --{name}.")
    return _of_families(chosen) if chosen.families else _of_strategies(chosen)


def _of_families(chosen: argparse.Namespace) -> int:
    from pfa_gate.study.families import FAMILIES, families_of  # noqa: PLC0415  needs torch
    from pfa_gate.study.family_study import (  # noqa: PLC0415
        SIZES,
        TIMES,
        FamilyCommand,
        FamilyOptions,
        shares,
        study_families,
    )
    from pfa_gate.study.options import listed  # noqa: PLC0415

    ask = FamilyOptions(
        families=families_of(listed(chosen.only) if chosen.only is not None else FAMILIES),
        sizes=shares(SIZES if chosen.sizes is None else chosen.sizes),
        times=shares(TIMES if chosen.times is None else chosen.times),
        random=chosen.random,
        uniform=chosen.uniform,
    )
    return study_families(FamilyCommand(chosen.config, chosen.gate, ask, chosen.output))


def _of_strategies(chosen: argparse.Namespace) -> int:
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


def add_sensitivity(parser: argparse.ArgumentParser) -> None:
    """Options of `sensitivity`."""
    _add_gate(parser)
    parser.add_argument("--bits", action="store_true", help="give each layer alone few bits instead, at every width")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the files (.pfa/NAME.sensitivity)")
    parser.set_defaults(command=_sensitivity)


def _sensitivity(chosen: argparse.Namespace) -> int:
    from pfa_gate.study.sensitivity import SensitivityCommand, sensitivity  # noqa: PLC0415  needs torch

    order = SensitivityCommand(chosen.config, chosen.gate, chosen.output)
    if not chosen.bits:
        return sensitivity(order)
    from pfa_gate.study.bit_sensitivity import bit_sensitivity  # noqa: PLC0415

    return bit_sensitivity(order)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Options of `compare`."""
    from pfa_gate.config.comparison import add_options  # noqa: PLC0415  no other command needs it

    add_options(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="write comparison.json, .md and .html there")
    parser.set_defaults(command=_compare)


def _compare(chosen: argparse.Namespace) -> int:
    from pfa_gate.config.comparison import asked  # noqa: PLC0415  no other command needs it

    ask = asked(chosen)  # what is wrong with an option is said before torch is imported
    from pfa_gate.study.compare import compare_command  # noqa: PLC0415  needs torch

    return compare_command(ask, chosen.output)


RUN_CODE = (_collect, _compare, _init, _merge, _sensitivity, _study)
"""What they run; it is guarded against user code that ends the process."""
