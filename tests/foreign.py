"""Foreign text in every place of a record that holds text, and whether a reader of Markdown takes it for markup."""

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from markdown_it import MarkdownIt

# What is written by a stranger who wants to be markup, to mention or to link.
PAYLOADS = {
    "end of code": "x` @everyone [click](https://evil.test/) <img src=x onerror=y> ![i](https://evil.test/i.png) `y",
    "two ends of code": "x`` @octocat/team `` [click](https://evil.test/) ``` y",
    "heading": "# Kept",
    "headings in lines": "x\n# Kept\n\n## @everyone\n\nKept\n====\n\nx\r\n---",
    "fence": "```\n@everyone\n```",
    "tilde fence": "~~~ x\ny",
    "quote": "> Kept",
    "item": "- [x] Kept",
    "items": "* a\n+ b\n- c\n1. d\n2) e",
    "number": "1. Kept",
    "number in brackets": "7) Kept",
    "plus": "+ Kept",
    "rule": "---",
    "rule of stars": "* * *",
    "rule apart": "- - -",
    "underline": "===",
    "code by indent": "    @everyone",
    "html": "</td></table></details><h1>Kept</h1><script>x</script><!-- pfa_gate:end -->",
    "comment": "<!-- pfa_gate:comment --> <!--",
    "address": "https://evil.test/ www.evil.test mailto:a@evil.test <https://evil.test/> ftp://evil.test",
    "definition": "[a]: https://evil.test/ 'x'",
    "definition of a footnote": "[^a]: Kept [a][a] [a] [^a]",
    "reference": "#1 GH-1 octocat/nets#2 octocat@0123abc",
    "entity": "&lt;b&gt; &#64;everyone &commat;everyone &NewLine;# Kept",
    "table": "| a | b |\n| - | - |\n| c | d |",
    "escape": "\\` \\[a](b) \\\\[a](https://evil.test/) x\\",
    "stars": "**Kept** __Kept__ ~~Kept~~ $x$ $$y$$",
    "terminal": "\x1b[31mred\x1b[0m\x1b]8;;https://evil.test/\x1b\\x\x07\r::error::x\n##[error]x",
    "direction": "\u202etpeK\u2066 \u200fx\u2028# Kept\u0085# Kept\x0b# Kept\x0c# Kept",
    "nothing": "",
}

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = re.compile(r"</?(?:details|summary|sub)>|<!-- pfa_gate:(?:comment|end|section (?:(?!--).)*) -->|\s")
FOREIGN = {"link_open", "image", "fence", "code_block", "hr", "blockquote_open", "s_open"}
# What the host of a comment joins to a link, a mention or a reference outside of code.
JOINED = re.compile(r"@\w|#\d|\bGH-\d|:(?=//)|\bwww\.\w", re.IGNORECASE)

Site = tuple[str, str]
"""A dataclass and its field."""


def sites(value: Any) -> Iterator[Site]:
    """Every field of a value's dataclasses that holds text somewhere."""
    yield from dict.fromkeys(_sites(value))


def planted(value: Any, text: str, site: Site | None = None) -> Any:
    """The same value with this text at one site, or at all; keys of mappings stay apart by a number."""
    return _planted(value, text, site, site is None)


def _sites(value: Any) -> Iterator[Site]:
    if dataclasses.is_dataclass(value):
        for name in _free(type(value)):
            found = getattr(value, name)
            if _holds_text(found):
                yield type(value).__name__, name
            yield from _sites(found)
    elif isinstance(value, tuple):
        for each in value:
            yield from _sites(each)
    elif isinstance(value, Mapping):
        yield from _sites(tuple(value.values()))


def _free(kind: type) -> list[str]:
    """Fields that may hold any text: none of a few words, and not the schema's name."""
    hints = typing.get_type_hints(kind)
    return [name for name, hint in hints.items() if typing.get_origin(hint) is not typing.Literal and name != "schema"]


def _holds_text(value: Any) -> bool:
    if isinstance(value, str | Mapping):
        return True
    return isinstance(value, tuple) and any(map(_holds_text, value))


def _planted(value: Any, text: str, site: Site | None, here: bool) -> Any:
    if isinstance(value, str):
        return text if here else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            name: _planted(getattr(value, name), text, site, site in (None, (type(value).__name__, name)))
            for name in _free(type(value))
        }
        return dataclasses.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(_planted(each, text, site, here) for each in value)
    if isinstance(value, Mapping):
        return {
            (f"{text}{number or ''}" if here else key): _planted(each, text, site, here)
            for number, (key, each) in enumerate(value.items())
        }
    return value


def read(text: str) -> list[Any]:
    return [child for token in READER.parse(text) for child in (token, *(token.children or ()))]


def shape(text: str) -> list[tuple[str, str]]:
    """The blocks of a text in their order."""
    return [(token.type, token.tag) for token in READER.parse(text)]


def assert_all_markup_is_ours(text: str) -> None:
    tokens = read(text)
    assert {token.type for token in tokens}.isdisjoint(FOREIGN)
    for token in tokens:
        if token.type in ("html_block", "html_inline"):
            titles = re.sub(r"(?<=<summary>)[\w ]*(?=</summary>)", "", token.content)
            assert OURS.sub("", titles) == "", token.content
    assert not JOINED.search("\n".join(token.content for token in tokens if token.type == "text"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
