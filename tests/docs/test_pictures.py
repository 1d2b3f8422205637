"""The script that draws the pictures of README and docs, and what its pictures hold.

That the pictures in the repository are those of today's reports is asked in `test_examples.py`, where the example runs.
"""

import re
import struct
import sys

import pytest
import records
from browsers import chromium
from documents import DOCS, read

from pfa_gate.record import Record
from pfa_gate.report.html import render as page
from pfa_gate.report.terminal import render

sys.path.insert(0, str(DOCS / "images"))
import draw

SVG = (DOCS / "images" / "terminal.svg").read_text("utf-8")
PNG = (DOCS / "images" / "report.png").read_bytes()


@pytest.mark.parametrize("record", [records.kept(), records.broken(), records.deep()], ids=lambda record: record.gate)
def test_a_terminal_shows_every_line_of_the_report(record: Record) -> None:
    shown = draw.words_of(draw.terminal(record))
    report = render(record, width=draw.COLUMNS, colour=False, unicode=True)
    assert shown == f"$ {draw.COMMAND}\n\n{report}"


def test_a_terminal_is_drawn_alike_each_time() -> None:
    assert draw.terminal(records.kept()) == draw.terminal(records.kept())


def test_a_page_with_other_words_or_another_style_has_another_digest() -> None:
    html = page(records.kept())
    others = [html.replace("KL ratio", "KL share"), html.replace("</style>", "b{color:red}</style>")]
    assert all(other != html for other in others)
    assert len({draw.digest(each) for each in (html, *others)}) == 3


def test_seconds_and_dates_leave_a_digest_alone() -> None:
    html = page(records.kept())
    later = re.sub(r"\b\d+(\.\d)? s\b", "99.9 s", html)
    assert later != html
    assert draw.digest(later) == draw.digest(html)


def test_the_words_beside_a_picture_come_back_and_leave_it_whole() -> None:
    plain = PNG.replace(PNG[PNG.index(b"tEXt") - 4 : -12], b"")
    assert draw.words_beside(plain) == ""
    assert draw.with_words(plain, draw.words_beside(PNG)) == PNG


def test_the_pictures_are_small_and_ask_nobody_for_anything() -> None:
    assert len(SVG) < 40_000
    assert len(PNG) < 160_000
    assert struct.unpack(">II", PNG[16:24]) == draw.SIZE
    assert re.findall(r"(?:href|src)=|url\((?!#)|@import|@font-face|<script|<foreignObject", SVG) == []


def test_the_pictures_are_shown() -> None:
    assert "](docs/images/terminal.svg)" in read("README.md")
    assert "](images/report.png)" in read("reports.md")


@pytest.mark.browser
def test_a_page_is_photographed() -> None:
    html = page(records.kept())
    png = draw.photographed(html, chromium())
    assert struct.unpack(">II", png[16:24]) == draw.SIZE
    assert draw.words_beside(png) == draw.digest(html)
