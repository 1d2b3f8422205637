"""What torch's serialiser of programs does again and again: it is done once here, and the file is the same.

The sizes of a program that takes any image are formulas. Each of them is written and read at every node that has it,
and the types of the format's own classes are looked up for every object, which takes most of the time.
"""

import functools
import importlib
import typing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any


@contextmanager
def repeated_work_kept() -> Iterator[None]:
    """Keep, until it is left, formulas that were written or read, and types that were looked up."""
    try:
        serialiser: Any = importlib.import_module("torch._export.serde.serialize")
        reader = serialiser.GraphModuleDeserializer
        originals = serialiser._print_sympy, reader._parse_sym_expr, serialiser.typing.get_type_hints
    except (ImportError, AttributeError):  # a torch that does this elsewhere
        yield
        return
    writes, reads, looks_up = originals
    with ExitStack() as replaced:
        replaced.enter_context(_replaced(serialiser, "_print_sympy", _written_once(writes)))
        replaced.enter_context(_replaced(reader, "_parse_sym_expr", _read_once(reads)))
        kept = SimpleNamespace(**{**vars(typing), "get_type_hints": _looked_up_once(looks_up)})
        replaced.enter_context(_replaced(serialiser, "typing", kept))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _written_once(write: Callable[[Any], str]) -> Callable[[Any], str]:
    of_formula = functools.cache(write)

    def written(size: Any) -> str:
        return of_formula(size.node.expr if hasattr(size, "node") else size)

    return written


def _read_once(read: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}
    environments: list[Any] = []  # held, so that no other one gets the number of one that is gone

    def formula(self: Any, text: Any, hint: Any = None) -> Any:
        key = id(self.shape_env), type(text), text, type(hint), hint
        if key not in known:
            environments.append(self.shape_env)
            known[key] = read(self, text, hint)
        return known[key]

    return formula


def _looked_up_once(look_up: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def types(owner: Any, *, globalns: Any = None, **others: Any) -> Any:
        key = owner, id(globalns), *others.items()
        if key not in known:
            known[key] = look_up(owner, globalns=globalns, **others)
        return known[key]

    return types
