"""What the reports say of memory and energy: sizes, where memory peaks, what is live there, and its course."""

import dataclasses
import re

import records
from examples import followed
from goldens import golden

from pfa_gate.record import DemandsRecord, LiveRecord, Record, loads
from pfa_gate.record import dumps as record_text
from pfa_gate.report.advice import advice
from pfa_gate.report.ci import scalars
from pfa_gate.report.formatting import footprint
from pfa_gate.report.html import render as page
from pfa_gate.report.html.memory import memory_plot
from pfa_gate.report.markdown import comment
from pfa_gate.report.memory import energy_sentence, memory_sentences
from pfa_gate.report.terminal import render

FULL = (
    "Memory of the full model peaks at 197 kB in conv2d of layer1.0.conv1, operator 4 of 13: relu of act 65.5 kB, "
    "conv2d of layer1.0.conv1 65.5 kB, batch_norm of layer1.0.norm1 65.5 kB."
)
SMALL = (
    "Memory of the compressed model peaks at 172 kB in add of layer1.0, operator 7 of 13: relu of act 57.3 kB, "
    "conv2d of layer1.0.conv1 57.3 kB, input 12.3 kB and 2 more."
)
ENERGY = (
    "Energy is worked out, not measured: of the full model 5.41 M MACs at 4.6 pJ and 1.95 MB moved at 640 pJ a byte "
    "(weights read once 746 kB, activations read and written)."
)


def example() -> Record:
    return followed(records.kept())


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_the_peak_and_what_is_live_there_stand_in_every_report() -> None:
    assert (*memory_sentences(example()), energy_sentence(example())) == (FULL, SMALL, ENERGY)
    terminal = " ".join(render(example(), width=80, colour=False, unicode=True).split())
    for sentence in (FULL, SMALL, ENERGY):
        assert sentence in terminal
        assert sentence in words(page(example()))
        assert sentence in comment([example()]).replace("\\", "")


def test_both_are_sizes_among_the_others() -> None:
    rows = {row.name: (row.full, row.compressed, row.change) for row in footprint(example())}
    assert rows["memory"] == ("197 kB", "172 kB", "87.5%")
    assert rows["energy"] == ("1.27 mJ", "990 uJ", "78.0%")


def test_a_report_of_a_gate_without_such_budgets_is_brief() -> None:
    quiet = dataclasses.replace(example(), budgets=records.kept().budgets)
    text = render(quiet, width=80, colour=False, unicode=True)
    assert "memory" in text
    assert "peaks" not in text
    assert "peaks" in render(quiet, width=80, colour=False, unicode=True, verbosity=1)


def test_whole_reports() -> None:
    golden("memory.plain.txt", render(example(), width=80, colour=False, unicode=True, verbosity=1))
    golden("memory.ascii.txt", render(example(), width=80, colour=False, unicode=False, verbosity=1))
    golden("memory.40.txt", render(example(), width=40, colour=False, unicode=True))
    golden("memory.md", comment([example()]))
    section = re.search(r'<section aria-labelledby="memory">.*?</section>', page(example()), re.DOTALL)
    assert section is not None
    golden("memory.html", section[0] + "\n")


def test_the_picture_names_both_peaks_and_its_texts_do_not_meet() -> None:
    plot = memory_plot(example())
    assert plot is not None
    full, small = plot.lines
    assert (full.kind, small.kind) == ("full", "smaller")
    assert full.peak.text == "197 kB in conv2d of layer1.0.conv1"
    assert small.peak.text == "172 kB in add of layer1.0"
    assert full.peak.y < small.peak.y  # more bytes are drawn higher
    assert abs(full.peak.height - small.peak.height) >= 15
    assert plot.top <= full.peak.y <= plot.base
    assert len(full.stretches) == 13
    assert full.stretches[3][2] == "conv2d of layer1.0.conv1: 197 kB"
    assert plot.up[0].text == "0 B"


def test_a_broken_limit_names_what_is_live_at_the_peak() -> None:
    broken = next(finding for finding in example().budgets if finding.id == "compressed.memory")
    assert broken.outcome == "broken"
    assert broken.sentence == (
        "The compressed model keeps 87.5% of the memory (172 kB of 197 kB), 7.5 points above the limit of 80%."
    )
    assert advice(example(), broken) == (
        "The peak is in add of layer1.0; largest there: relu of act 57.3 kB, conv2d of layer1.0.conv1 57.3 kB, "
        "input 12.3 kB.",
    )


def test_junit_has_the_plain_numbers() -> None:
    values = {
        finding.id: scalars(example(), finding)["pfa_value"] for finding in example().budgets if "." in finding.id
    }
    assert values == {
        "model.memory": 196_608,
        "model.energy": 1.27e9,
        "compressed.memory": 172_032,
        "compressed.energy": 0.99e9,
    }


def test_a_record_of_before_has_neither_and_one_of_today_survives_its_file() -> None:
    assert loads(record_text(example())) == example()
    plain = records.kept()
    assert plain.demands is None
    assert not memory_sentences(plain)
    assert memory_plot(plain) is None
    assert '<h2 id="memory">' not in page(plain)


def test_samples_that_run_together_are_told() -> None:
    found = example().demands
    assert found is not None
    assert found.full is not None
    peak = LiveRecord("add", "", 400)
    both = dataclasses.replace(found.full, samples=4, peak=peak, alive=(peak,))
    told = memory_sentences(dataclasses.replace(example(), demands=DemandsRecord(both)))
    assert told == (
        "Memory of the full model peaks at 400 B (of 4 samples, which it takes together) in add, operator 4 of 13: "
        "add 400 B.",
    )
