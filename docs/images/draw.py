"""Draw the pictures of README and docs from a run of the example: `python docs/images/draw.py`; needs Chromium.

`terminal.svg` is what `pytest --pfa example_project` prints, `report.png` the beginning of `report.html`. Neither has a
time stamp, and each holds the words it shows, so that `tests/docs/test_pictures.py` can tell when one is out of date.
"""

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pfa_gate.record import Record, loads
from pfa_gate.report.html import render as page
from pfa_gate.report.terminal import render

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMMAND = "pytest --pfa example_project"
COLUMNS = 100
SIZE = (1000, 1240)
_CELL = 12.2  # width of a character in rich's pictures
_KEYWORD = b"pfa_gate words"
# Differs from run to run: seconds, dates, and the size of rounding errors.
_FLEETING = re.compile(r"[\d.]+ s\b|\b\d(?:\.\d)?e-\d\d\b|\d{4}-\d\d-\d\d \d\d:\d\d")
# As rich has it, without the fonts that it would fetch: a picture asks nobody for anything.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>What pytest --pfa example_project prints</title>
<style>
.{unique_id}-matrix {{
font: {char_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def steady(text: str) -> str:
    """A text without what differs from run to run.

    Example:
        >>> steady("1,024 probe samples · 2.2 s")
        '1,024 probe samples · #'
    """
    return _FLEETING.sub("#", text)


def terminal(record: Record) -> str:
    """The report on a terminal of 100 columns, as an SVG."""
    shown = f"$ {COMMAND}\n\n{render(record, width=COLUMNS, colour=True, unicode=True)}"
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(shown), no_wrap=True, crop=True)
    return console.export_svg(title=COMMAND, code_format=_SVG, unique_id="pfa")


def words_of(svg: str) -> str:
    """What a picture of a terminal shows, line by line; each text stands in the column of its x."""
    rows: dict[float, str] = {}
    for x, y, text in re.findall(r'<text class="pfa-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg, re.DOTALL):
        rows[float(y)] = rows.get(float(y), "").ljust(round(float(x) / _CELL)) + unescape(text).replace("\xa0", " ")
    return "\n".join(rows[y].rstrip() for y in sorted(rows)).rstrip() + "\n"


def digest(html: str) -> str:
    """What the eye sees of a page: its style, and its words but for those that differ from run to run."""
    style = "".join(re.findall(r"<style>.*?</style>", html, re.DOTALL))
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    words = " ".join(steady(unescape(re.sub(r"<[^>]*>", " ", body))).split()).partition(" How to reproduce ")[0]
    return hashlib.sha256(f"{style}\n{words}".encode()).hexdigest()


def photographed(html: str, chromium: str) -> bytes:
    """The beginning of a page as a PNG, as headless Chromium shows it."""
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "report.html", Path(place) / "report.png"
        source.write_text(html, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]
        window = f"--window-size={SIZE[0]},{SIZE[1]}"
        command = [chromium, *flags, window, f"--screenshot={target}", source.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if not target.is_file():
            raise SystemExit(f"{chromium} gave no picture:\n{done.stderr}")
        return with_words(target.read_bytes(), digest(html))


def with_words(png: bytes, text: str) -> bytes:
    """A PNG with a text beside its pixels, in front of its last chunk."""
    chunk = b"tEXt" + _KEYWORD + b"\0" + text.encode("ascii")
    sealed = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return png[:-12] + sealed + png[-12:]


def words_beside(png: bytes) -> str:
    """The text beside the pixels of a PNG; empty if it has none."""
    found = re.search(rb"tEXt" + _KEYWORD + rb"\0([0-9a-f]{64})", png)
    return found[1].decode("ascii") if found else ""


def browser() -> str:
    """Where Chromium is; empty if it is not."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


def measured() -> Record:
    """The record of a run of the example, in a copy of it that has nothing from earlier runs."""
    with tempfile.TemporaryDirectory() as place:
        example = Path(place) / "example_project"
        shutil.copytree(ROOT / "example_project", example, ignore=shutil.ignore_patterns(".pfa", "__pycache__"))
        command = [sys.executable, "-m", "pytest", "--pfa", "-p", "no:cacheprovider", "example_project"]
        subprocess.run(command, cwd=place, env=os.environ | {"PYTHONPATH": place}, check=True)
        return loads((example / ".pfa" / "digits" / "record.json").read_text(encoding="utf-8"))


def main() -> None:
    """Run the example, or take the record that is named, and write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, help="of a run that has been; else the example is run")
    options = parser.parse_args()
    chromium = browser()
    if not chromium:
        raise SystemExit("There is no Chromium (apt-get install chromium).")
    record = loads(options.record.read_text(encoding="utf-8")) if options.record else measured()
    (HERE / "terminal.svg").write_text(terminal(record), encoding="utf-8", newline="\n")
    (HERE / "report.png").write_bytes(photographed(page(record), chromium))
    for name in ("terminal.svg", "report.png"):
        print(f"{name}: {(HERE / name).stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
