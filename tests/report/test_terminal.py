"""The terminal report against golden files, and the laws that hold at any width."""

import dataclasses
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import records
from examples import changed, named
from goldens import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pfa_gate import keep_energy, keep_kl
from pfa_gate.analysis.covariance import Moments
from pfa_gate.analysis.spectrum import spectrum as spectrum_of
from pfa_gate.record import Compared, Record, Unmeasured
from pfa_gate.report.terminal import linked, render

EXAMPLES = {
    "kept": records.kept,
    "broken": records.broken,
    "not_judged": records.not_judged,
    "deep": records.deep,
    "changed": changed,
}
KINDS = {
    "plain": {"colour": False, "unicode": True},
    "styled": {"colour": True, "unicode": True},
    "ascii": {"colour": False, "unicode": False},
}
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def plain(record: Record, width: int = 80, verbosity: int = 0) -> str:
    return render(record, width=width, colour=False, unicode=True, verbosity=verbosity)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("example", [name for name in EXAMPLES if name != "changed"])
def test_golden_at_80_columns(example, kind):
    golden(f"{example}.{kind}.txt", render(EXAMPLES[example](), width=80, **KINDS[kind]))


@pytest.mark.parametrize("width", [40, 60, 120])
def test_golden_at_other_widths(width):
    golden(f"broken.{width}.txt", plain(records.broken(), width))


@pytest.mark.parametrize("kind", ["styled", "ascii"])
@pytest.mark.parametrize("width", [40, 60])
def test_golden_of_the_twins_of_a_narrow_terminal(width, kind):
    golden(f"broken.{width}.{kind}.txt", render(records.broken(), width=width, **KINDS[kind]))


@pytest.mark.parametrize(("verbosity", "name"), [(-1, "quiet"), (1, "verbose"), (2, "spectra")])
def test_golden_at_other_verbosities(verbosity, name):
    golden(f"broken.{name}.txt", plain(records.broken(), verbosity=verbosity))


@pytest.mark.parametrize("kind", ["styled", "ascii"])
def test_golden_of_the_twins_of_spectra(kind):
    golden(f"broken.spectra.{kind}.txt", render(records.broken(), width=80, verbosity=2, **KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("verbosity", "name"), [(0, ""), (1, "verbose."), (2, "spectra.")])
def test_golden_of_recovery_rounds_and_baseline(kind, verbosity, name, monkeypatch):
    class Day(date):
        @classmethod
        def today(cls):
            return cls(2026, 11, 20)

    monkeypatch.setattr("pfa_gate.report.baseline.date", Day)
    golden(f"changed.{name}{kind}.txt", render(changed(), width=80, verbosity=verbosity, **KINDS[kind]))


def test_the_marks_of_a_spectrum_are_the_cuts_of_the_rules():
    layer = records.layer("stem", 64, 0.2)
    spectrum = analyse_like(layer)
    record = records.record((layer,))
    lines = plain(record, verbosity=2).split("Spectra\n")[1].splitlines()
    marks = lines[2]
    assert marks.index("k") - 3 == keep_kl(spectrum) - 1
    assert marks.index("e") - 3 == keep_energy(spectrum, 0.98) - 1
    assert len(lines[1].strip()) == 64


def analyse_like(layer):
    """A Spectrum that has the eigenvalues of a record's layer."""
    values = np.array(layer.eigenvalues)
    return spectrum_of(Moments(10_000, np.zeros(64), np.diag(values) * 9_999.0))


@pytest.mark.parametrize("name", ["::error::x", "##[add-mask]x", "a ::warning file=b::y", "::stop-commands::z" * 9])
@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_a_command_to_the_runner_of_a_workflow(name, width, unicode):
    text = render(named(name), width=width, colour=False, unicode=unicode, verbosity=2)
    assert [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line] == []
    assert max(map(cell_len, text.splitlines())) <= width


def test_spectra_are_shown_with_vv_only():
    assert "Spectra" not in plain(records.kept(), verbosity=1)
    assert "Spectra" in plain(records.kept(), verbosity=2)
    blank = records.record((records.HEAD,), {"model": {"parameters": 9}})
    assert "Spectra" not in plain(blank, verbosity=2)


def test_links_lead_to_the_files_and_change_nothing_that_is_seen():
    record = records.kept()
    text = plain(record)
    with_links = linked(text, record, Path("/project"))
    assert re.sub(r"\x1b]8;;.*?\x1b\\", "", with_links) == text
    found = dict(re.findall(r"\x1b]8;;(file:.*?)\x1b\\(.*?)\x1b]8;;\x1b\\", with_links))
    folder = "file:///project/example_project/.pfa/digits"
    assert found == {f"{folder}/{Path(path).name}": Path(path).name for path in record.files.values()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_styles_change_no_word(example):
    styled = render(EXAMPLES[example](), width=80, colour=True, unicode=True)
    assert STYLE.search(styled)
    assert STYLE.sub("", styled) == plain(EXAMPLES[example]())


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_wider_than_asked_and_none_ends_in_space(example, unicode):
    record = EXAMPLES[example]()
    for width in (40, 53, 60, 67, 80, 93, 119, 160):
        for verbosity in (-1, 0, 1, 2):
            text = render(record, width=width, colour=False, unicode=unicode, verbosity=verbosity)
            assert max(map(cell_len, text.splitlines())) <= width
            assert not re.search(r" $", text, re.MULTILINE)
            assert unicode or text.isascii()


def test_sentences_are_never_broken_within_a_word():
    record = records.broken()
    for width in (60, 80, 120):
        words = plain(record, width).split()
        for finding in record.budgets:
            if finding.outcome != "kept":
                assert set(finding.sentence.split()) <= set(words)


def test_a_deep_network_shows_what_fails_and_the_worst_and_counts_the_rest():
    text = plain(records.deep())
    assert "-v shows 52 more layers: 51 within all limits and of lower KL ratio, 1 not judged." in " ".join(
        text.split()
    )
    for name in ("stages.1.blocks.8.conv2", "stages.3.blocks.6.conv2", "stages.5.blocks.5.conv1"):
        assert f"✗  {name[:8]}" in text
    verbose = plain(records.deep(), verbosity=1)
    assert "more layers" not in verbose
    assert len(verbose.splitlines()) > len(text.splitlines()) + 45


def layer_names(text: str) -> list[str]:
    lines = text.partition("Layers\n")[2].partition("   limit")[0].splitlines()[1:]
    return [line[3:].split()[0] for line in lines]


def test_the_default_is_what_fails_and_the_worst_five():
    record = records.broken()
    assert layer_names(plain(record, 120)) == [
        "stem",
        "layer2.0.conv2",
        "layer2.0.shortcut",
        "layer2.1.conv1",
        "branch.3",
    ]
    assert layer_names(plain(record, 120, 1)) == [layer.name for layer in record.layers]
    dead = dataclasses.replace(records.layer("quiet", 32, 0.01), inactive=2)
    record = records.record((*record.layers, dead))
    assert layer_names(plain(record, 120))[-1] == "quiet"


def test_where_no_layer_is_judged_v_tells_why():
    record = records.record((records.HEAD,), {"model": {"parameters": 9}})
    assert "-v shows 1 more layer: 1 not judged." in plain(record)
    assert records.HEAD.skipped not in plain(record)
    assert records.HEAD.skipped in plain(record, verbosity=1)


def test_every_change_since_the_baseline_stands_behind_its_value():
    moved = {"kl": 0.01, "peak_correlation": -0.25, "mean_correlation": 0.125, "inactive": -3}
    now = records.layer("stem", 32, 0.2, 0.5, 0.25, 1)
    values = {"kl": now.kl_ratio, "peak_correlation": 0.5, "mean_correlation": 0.25, "inactive": 1}
    was = {key: value - moved[key] for key, value in values.items()}
    record = dataclasses.replace(
        records.record((now, records.layer("rest", 32, 0.1))),
        baseline=Compared("pfa.baseline.json", "2026-11-12", "", layers={"stem": was}),
    )
    assert plain(record, 80).count("signed: change") == 1
    (line,) = [line.split() for line in plain(record, 80).splitlines() if " stem " in line and "/32" in line]
    assert line[4:] == ["±.006", "+.010", "0.500", "-.250", "0.250", "+.125", "1", "-3"]
    same = dataclasses.replace(record, baseline=dataclasses.replace(record.baseline, refusal="another probe"))
    assert "signed" not in plain(same, 80)


def test_seconds_are_shown_with_v_only():
    assert "Seconds" not in plain(records.kept())
    assert re.search(r"probe +2\.71 s", plain(records.kept(), verbosity=1))


def renamed(name: str) -> Record:
    record = records.broken()
    layers = (dataclasses.replace(record.layers[0], name=name), *record.layers[1:])
    return records.record(
        layers,
        {"layers": [{"match": "*", "kl": 0.1}]},
        gate=name,
        config=name,
        unmeasured=(Unmeasured(name, name),),
        files={"record": name},
    )


@pytest.mark.parametrize(
    "name",
    [
        "[bold]stem[/bold]",
        "[/]",
        "stem\x1b[31m",
        "a\nb\r\tc",
        "x" * 5000,
        "\u202etxet desrever",
        "层" * 40,
        "e\u0301" * 30,
        ":smile:",
        "",
        "\ud800",
    ],
)
def test_hostile_names_are_harmless(name):
    record = renamed(name)
    for width in (40, 80, 120):
        text = plain(record, width)
        assert max(map(cell_len, text.splitlines())) <= width
        assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e]", text)
        text.encode("utf-8")
    assert ":smile:" in text or name != ":smile:"
    assert render(record, width=80, colour=False, unicode=False).isascii()


def test_weights_that_were_chosen_are_named():
    chosen = "weights: 'state_dict' of w.pt, where 'state_dict_ema' would fit too"
    text = plain(dataclasses.replace(records.kept(), weights=chosen), 120)
    assert text.splitlines()[2] == chosen


def test_another_device_than_the_cpu_is_named():
    text = plain(dataclasses.replace(records.kept(), device="cuda:0 (NVIDIA H100)"), 120)
    assert " probe samples · on cuda:0 (NVIDIA H100) · " in text


def test_markup_in_a_name_is_shown_as_it_is():
    assert "[bold]stem[/bold]" in plain(renamed("[bold]stem[/bold]"), 120)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60), st.integers(40, 140))
def test_any_name_fits_any_width(name, width):
    text = plain(renamed(name), width)
    assert max(map(cell_len, text.splitlines())) <= width


def test_no_environment_variable_changes_a_report():
    code = (
        "import records; from pfa_gate.report.terminal import render; import sys;"
        "sys.stdout.buffer.write(render(records.broken(), width=80, colour=False, unicode=True).encode())"
    )
    loud = {"FORCE_COLOR": "1", "COLUMNS": "33", "TERM": "dumb", "NO_COLOR": "", "JUPYTER_COLUMNS": "20"}
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = {**os.environ, **loud, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert done.stdout.decode() == plain(records.broken())
