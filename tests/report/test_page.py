"""The HTML page against golden files and rules: no request, no foreign markup, bounded, sound."""

import base64
import dataclasses
import hashlib
import re
import zlib
from collections import Counter
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest
import records
from examples import HOSTILE, changed, many, named, pictured
from goldens import golden

from pfa_gate import keep_energy, keep_kl
from pfa_gate.analysis.covariance import Moments
from pfa_gate.analysis.spectrum import spectrum as spectrum_of
from pfa_gate.record import Correlations, Record, RecoveryStep, Scores
from pfa_gate.report.html import render
from pfa_gate.report.html.layers import picture
from pfa_gate.report.html.report import steps
from pfa_gate.report.layers import energy_cut, kl_cut

EXAMPLES = {"kept": records.kept, "not_judged": records.not_judged, "changed": changed}
VOID = {"meta", "img", "link", "input", "br", "wbr"}


class Page(HTMLParser):
    """Elements and texts of a page; raises where an element is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def count(self) -> Counter[str]:
        """How often each element is there."""
        return Counter(tag for tag, _ in self.elements)

    def attributes(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [found[name] for _, found in self.elements if name in found]


@pytest.fixture(autouse=True)
def _on_a_day(monkeypatch):
    class Day(date):
        @classmethod
        def today(cls):
            return cls(2026, 11, 20)

    monkeypatch.setattr("pfa_gate.report.baseline.date", Day)


@pytest.mark.parametrize("example", EXAMPLES)
def test_golden_page(example):
    """Style, script and pictures are left out of the golden files; the browser judges them."""
    text = render(EXAMPLES[example](), records.kept() if example == "changed" else None)
    text = re.sub(r"(?s)(<(style|script)>).*?(</\2>)", r"\1\3", text)
    text = re.sub(r"sha256-[^&]*", "sha256-", re.sub(r"base64,[^\"]*", "base64,", text))
    golden(f"{example}.html", text)


def test_the_page_asks_nobody_for_anything():
    page = Page(render(changed()))
    assert all(source.startswith("data:image/png;base64,") for source in page.attributes("src"))
    assert page.attributes("href") == ["#main"]
    assert {"style", "srcset", "action", "background"}.isdisjoint({name for _, each in page.elements for name in each})
    assert not any(name.startswith("on") for _, each in page.elements for name in each)
    assert not re.search(r"@import|url\(|fetch|XMLHttp|import\(", render(changed()))


def test_the_policy_names_the_style_and_the_script_and_nothing_else():
    text = render(records.kept())
    (policy,) = [each["content"] for _, each in Page(text).elements if each.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digests = {}
    for tag in ("style", "script"):
        (content,) = re.findall(rf"(?s)<{tag}>(.*?)</{tag}>", text)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        digests[f"{tag}-src"] = f"'sha256-{digest}'"
    wanted = {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert rules == {**wanted, **digests}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_text_and_nothing_else(name):
    usual, hostile = Page(render(named("stem"))), Page(render(named(name)))
    # A name may have places at which it breaks.
    assert hostile.count() - Counter(wbr=10**6) <= usual.count()
    shapes = [{(tag, *sorted(each)) for tag, each in page.elements} for page in (usual, hostile)]
    assert shapes[1] <= shapes[0]
    text = render(named(name))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert len(text) < 2.5 * len(render(named("stem")))
    text.encode("utf-8")


def test_sixty_layers_with_the_worst_pictures_fit():
    assert len(render(pictured(many(60))).encode()) < 400_000


def test_a_page_of_five_thousand_layers_shows_the_worst_and_counts_the_rest():
    record = many(5_000)
    text = render(record)
    assert len(text.encode()) < 2_000_000
    names = [layer.name for layer in record.layers if layer.kl_ratio and layer.kl_ratio > 0.5]
    assert len(names) == 3
    assert all(f'title="{name}"' in text for name in names)
    assert "4,600 more layers are not shown" in text
    assert text.count("<figure") == 400


def test_real_heat_maps_take_less_than_noise():
    """Noise is the worst case for a picture: nothing in it repeats."""
    noise = records.layer("a", 64, 0.1)
    found = pictured(records.record((noise,), {"model": {"parameters": 9}})).layers[0].correlations
    assert found is not None
    smooth = Correlations(64, (), "8" * len(found.cells))
    assert len(picture(smooth)) < len(picture(found)) < 3_200


def pixels(uri: str, side: int) -> list[list[int]]:
    """Levels of a four-bit PNG, read by its chunks."""
    data = base64.b64decode(uri.partition(",")[2])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    content = data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8]
    lines = zlib.decompress(content)
    width = 1 + (side + 1) // 2
    rows = [lines[index * width + 1 : (index + 1) * width] for index in range(side)]
    return [[level for byte in row for level in (byte >> 4, byte & 15)][:side] for row in rows]


@pytest.mark.parametrize("side", [1, 2, 5, 64])
def test_a_picture_is_the_symmetric_matrix_of_its_cells(side):
    generator = np.random.default_rng(side)
    levels = generator.integers(0, 16, (side, side))
    levels = np.triu(levels) + np.triu(levels, 1).T
    cells = "".join(f"{level:x}" for level in levels[np.triu_indices(side)])
    assert pixels(picture(Correlations(side, (), cells)), side) == levels.tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        Correlations(0, (), ""),
        Correlations(3, (), "f"),
        Correlations(2, (), "f<f"),
        Correlations(10**6, (), ""),
        Correlations(-1, (), ""),
    ],
)
def test_cells_that_are_none_make_no_picture(wrong):
    assert picture(wrong) == ""
    layer = dataclasses.replace(records.layer("stem", 8, 0.1), correlations=wrong)
    assert "<img" not in render(records.record((layer,), {"model": {"parameters": 9}}))


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("energy", [0.5, 0.9, 1.0])
def test_the_cuts_are_those_of_the_rules(decay, energy):
    layer = records.layer("stem", 48, decay)
    spectrum = spectrum_of(Moments(10_000, np.zeros(48), np.diag(layer.eigenvalues) * 9_999.0))
    layer = dataclasses.replace(layer, inactive=48 - spectrum.active)
    assert layer.inactive == (38 if decay == 3.0 else 0)
    assert kl_cut(layer) == keep_kl(spectrum)
    assert energy_cut(layer, energy) == keep_energy(spectrum, energy)


@pytest.mark.parametrize("example", [*EXAMPLES, "deep", "bare"])
def test_tables_have_captions_heads_and_scopes(example):
    bare = dataclasses.replace(records.kept(), layers=(), budgets=(), compressed=None, scores=None, recipe=None)
    record: Record = {**EXAMPLES, "deep": records.deep, "bare": lambda: bare}[example]()
    page = Page(render(record))
    count = page.count()
    assert count["table"] == count["caption"] == count["thead"]
    assert all("scope" in each for tag, each in page.elements if tag == "th")
    assert all(each.get("alt") for tag, each in page.elements if tag == "img")
    assert count["h1"] == 1
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert set(page.attributes("aria-labelledby")) <= set(ids)


def test_what_a_step_wins_back_is_a_rise_also_where_less_is_better():
    course = (RecoveryStep("cut", 2.2, 0.0), RecoveryStep("compensate", 0.9, 1.0), RecoveryStep("finetune", 1.0, 1.0))
    kept = records.kept()
    part = dataclasses.replace(kept.compressed, recovery=course)
    scores = Scores("net.py:loss", 0.1, 1.0, 0.9, direction="lower", unit="plain")
    kinds = [step.kind for step in steps(dataclasses.replace(kept, compressed=part, scores=scores))]
    assert kinds == ["whole", "fall", "rise", "fall"]
    scores = dataclasses.replace(scores, direction="higher")
    kinds = [step.kind for step in steps(dataclasses.replace(kept, compressed=part, scores=scores))]
    assert kinds == ["whole", "rise", "fall", "rise"]


def test_the_verdict_comes_first():
    text = " ".join("".join(Page(render(records.broken())).texts).split())
    assert "digits ✗ Broken 12 budgets: 5 broken, 7 kept" in text
    heads = re.findall(r"<h2[^>]*>([^<]*)", render(changed()))
    assert heads == [
        "What is not kept",
        "Footprint",
        "Recovery",
        "Budgets",
        "Layers",
        "Spectra",
        "What was not measured, and why",
        "Baseline",
        "How to reproduce",
    ]


def test_each_spectrum_tells_what_either_rule_would_keep():
    text = render(records.kept())
    layer = records.kept().layers[0]
    ends = f'<span>1</span><span class="key kl">KL {kl_cut(layer)}</span><span class="key energy">98% '
    assert f"{ends}{energy_cut(layer, 0.98)}</span><span>{layer.filters}</span>" in text
    assert text.count('<p class="axis"><span>1</span>') == 8
    plain = dataclasses.replace(records.kept(), recipe=None)
    assert 'class="key energy"' not in render(plain)


def test_a_name_breaks_behind_its_dots_and_stays_whole_for_who_copies_it():
    layer = records.layer("stages.1.<b>.conv_2", 8, 0.1)
    text = render(records.record((layer,), {"model": {"parameters": 9}}))
    assert "<span>stages.<wbr>1.<wbr>&lt;b&gt;.<wbr>conv_<wbr>2</span>" in text


def test_the_base_is_drawn_over_the_spectra_where_there_is_one():
    assert '<path class="base"' not in render(records.kept())
    assert render(records.broken(), records.kept()).count('<path class="base"') == 8
    assert "A baseline has no spectra" in render(changed())
    assert "A baseline has no spectra" not in render(changed(), records.kept())


def test_the_same_record_gives_the_same_page():
    assert render(changed()) == render(changed())
