"""The reports at the end of a run.

PYTEST_DONT_REWRITE
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.plugin.shared_results import results
from pfa_gate.report.text import printable

if TYPE_CHECKING:
    from pfa_gate.record import Record


def write_reports(reporter: pytest.TerminalReporter, config: pytest.Config, plan: RunPlan) -> None:
    """Write the report of every gate that was analysed, in the order of the configs and of the gates' names.

    Args:
        reporter: the terminal.
        config: says how much is wanted: -q, -v, --color.
        plan: that of the run.
    """
    verbosity = config.get_verbosity()
    found = [each for each in results(plan.shared) if each.record is not None]
    if not found or verbosity < -1:
        return
    from pfa_gate.record import from_dict  # noqa: PLC0415
    from pfa_gate.report.formatting import shows_unicode  # noqa: PLC0415
    from pfa_gate.report.terminal import (  # noqa: PLC0415
        follows_links,
        linked,
        render,
    )

    reporter.write_sep("=", "pfa_gate")
    writer = config.get_terminal_writer()
    links = writer.hasmarkup and follows_links(os.environ)
    order = {str(path): index for index, path in enumerate(plan.configs)}
    for result in sorted(found, key=lambda each: (order[each.config], each.gate)):
        text = render(
            from_dict(result.record),
            width=writer.fullwidth,
            colour=writer.hasmarkup,
            unicode=shows_unicode(sys.stdout.encoding),
            verbosity=verbosity,
        )
        if links:
            text = linked(text, from_dict(result.record), Path.cwd())
        reporter.write_line(printable(text.rstrip("\n"), styled=True))
        for line in _sections(config, from_dict(result.record)):
            reporter.write_line(printable(line, styled=True))
        if result.since:
            fact = f"{result.gate}: measured {result.since}; nothing that it depends on has changed since."
            reporter.write_line(printable(f"{fact} --pfa-no-cache measures again."))
        elif result.remark:
            reporter.write_line(printable(f"{result.gate}: {result.remark}."))
        elif result.not_reusable and verbosity > 0:
            reporter.write_line(printable(f"{result.gate}: the next run measures again: {result.not_reusable}."))


def _sections(config: pytest.Config, record: "Record") -> list[str]:
    """What other plugins add."""
    try:
        found = config.hook.pytest_pfa_report_section(record=record)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an exit here would end a run of broken budgets with the exit's own status
        return [f"A plugin's pytest_pfa_report_section raised {type(error).__name__}: {error}"]
    return [str(section) for section in found if section]
