"""From `module:callable` or `path/to/file.py:callable` to the object it names, or what is missing."""

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from pfa_gate.config.paths import importable, package_base, search_path
from pfa_gate.errors import FactoryError, PFAGateError
from pfa_gate.hooks import installed
from pfa_gate.model.user_frames import about_devices, raised, shown


@dataclass(frozen=True)
class UserCallable:
    """A callable of the user, under the name that pfa.yaml gives it.

    Args:
        name: as written in pfa.yaml.
        function: what it names.
        folder: of pfa.yaml; modules beside it can be imported during the call.
    """

    name: str
    function: Callable[..., Any]
    folder: Path

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Call it, and turn whatever it raises into a `FactoryError` with the user's own line.

        Example:
            >>> resolve("math:hypot", Path())(3.0, 4.0)
            5.0
            >>> resolve("math:sqrt", Path())(-1.0)
            Traceback (most recent call last):
            pfa_gate.errors.FactoryError: 'math:sqrt' raised ValueError: ...
        """
        with importable(self.folder):
            self.check_arguments(positional, named)
            try:
                return self.function(*positional, **named)
            # pytest.skip and sys.exit become errors too: only the user's own Ctrl-C passes.
            except (KeyboardInterrupt, PFAGateError):
                raise
            except BaseException as error:
                raise FactoryError(f"'{self.name}' raised {raised(error)}.", remedy=about_devices(error)) from error

    def unknown(self, names: Iterable[str]) -> list[str]:
        """List the keyword arguments that the callable does not have.

        Example:
            >>> resolve("shutil:copy", Path()).unknown(["src", "dest"])
            ['dest']
        """
        signature = self._signature()
        if signature is None or any(
            parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values()
        ):
            return []
        return [name for name in names if name not in signature.parameters]

    def check_arguments(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Compare arguments with the signature, before anything runs.

        Raises:
            FactoryError: one is unknown, missing, or one too many.

        Example:
            >>> resolve("shutil:copy", Path()).check_arguments((), {"src": "a", "dest": "b"})
            Traceback (most recent call last):
            pfa_gate.errors.FactoryError: 'shutil:copy' has no argument 'dest'.
              Did you mean 'dst'? Its signature is copy(src, dst, *, follow_symlinks=True).
        """
        signature = self._signature()
        if signature is None:
            return
        written = signature.replace(return_annotation=inspect.Signature.empty)
        remedy = f"Its signature is {self.name.rpartition(':')[2]}{written}."
        for name in self.unknown(named):
            near = _nearest(name, [known for known in signature.parameters if known not in named])
            raise FactoryError(
                f"'{self.name}' has no argument '{name}'.", remedy=f"{near} {remedy}" if near else remedy
            )
        try:
            signature.bind(*positional, **named)
        except TypeError as error:
            raise FactoryError(f"'{self.name}' cannot be called so: {error}.", remedy=remedy) from error

    def _signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.function)
        except (TypeError, ValueError):
            return None  # Some built-ins have no signature to check against.


def resolve(name: str, folder: Path) -> UserCallable:
    """Import what a reference names.

    Args:
        name: `module:callable` or `path/to/file.py:callable`; dots after the colon reach attributes.
        folder: the folder of pfa.yaml; paths start there, and so do modules.

    Returns:
        The callable; `sys.path` is as it was.

    Raises:
        FactoryError: no such module, file or attribute; the import raises; not callable.

    Example:
        >>> resolve("math:sqrt", Path())(9.0)
        3.0
        >>> resolve("math:sqtr", Path())
        Traceback (most recent call last):
        pfa_gate.errors.FactoryError: 'math' has no 'sqtr'.
          Did you mean 'sqrt'?
    """
    left, colon, attribute = name.rpartition(":")
    if not (colon and left and attribute):
        raise FactoryError(f"'{name}' names no callable.", remedy="Write module:callable or path/to/file.py:callable.")
    with importable(folder):
        target: Any = _file(folder / left) if left.endswith(".py") else _module(left, folder)
        for step in attribute.split("."):
            target = _attribute(target, step, left)
    if not callable(target):
        raise FactoryError(
            f"'{name}' is not callable: it is of type {type(target).__name__}.",
            remedy="Name a function or a class.",
        )
    return UserCallable(name, target, folder)


def resolve_or_ask_plugins(name: str, folder: Path, ask: Callable[[pluggy.PluginManager], Any]) -> UserCallable:
    """Import what a reference names, or take it from another package.

    Args:
        name: as for `resolve`, or a name that the other package knows.
        folder: the folder of pfa.yaml.
        ask: calls the hook; only where nothing of the name can be imported.

    Raises:
        FactoryError: no package knows the name; what another package gives is not callable, or giving it raises.
        ConfigError: another package does not load.

    Example:
        >>> resolve_or_ask_plugins("math:sqrt", Path(), lambda plugins: None)(9.0)
        3.0
    """
    try:
        return resolve(name, folder)
    except FactoryError:
        try:
            provided = None if name.rpartition(":")[0].endswith(".py") else ask(installed())
        except (KeyboardInterrupt, PFAGateError):
            raise
        except BaseException as error:
            raise FactoryError(f"Another package was asked for '{name}' and raised {raised(error)}.") from error
        if provided is None:
            raise
    if not callable(provided):
        raise FactoryError(
            f"Another package gave an object of type {type(provided).__name__} for '{name}', no callable."
        )
    return UserCallable(name, provided, folder)


def _module(name: str, folder: Path) -> ModuleType:
    _check_not_shadowed(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise _no_module(error.name, name, folder) from error
        raise _import_failed(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_failed(name, error) from error


def _check_not_shadowed(name: str) -> None:
    """Refuse a module of the same name from another folder, which Python would give silently."""
    top = name.partition(".")[0]
    loaded = getattr(sys.modules.get(top), "__file__", None)
    spec = PathFinder.find_spec(top)
    if loaded is None or spec is None or spec.origin is None:
        return
    if Path(loaded).resolve() != Path(spec.origin).resolve():
        raise FactoryError(
            f"Module '{top}' is already loaded from {shown(Path(loaded))}, "
            f"but this gate means {shown(Path(spec.origin))}.",
            remedy="Name the file instead, path/to/file.py:callable, or put it into a package of its own.",
        )


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.py"))
        raise FactoryError(
            f"There is no file {shown(path)}.",
            remedy=_nearest(path.name, beside) or "Paths start at the folder of pfa.yaml.",
        )
    base = package_base(path.parent)
    if base != path.parent.resolve():
        # Inside a package, so that its relative imports work.
        dotted = ".".join(path.resolve().relative_to(base).with_suffix("").parts)
        with importable(path.parent):
            return _module(dotted, path.parent)
    return _lone_file(path.resolve())


def _lone_file(path: Path) -> ModuleType:
    """Import a file under a name that no other file can have."""
    name = f"_pfa_gate_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FactoryError(f"{shown(path)} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up here
    try:
        with importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _import_failed(shown(path), error) from error
    return module


def _attribute(owner: Any, name: str, module: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        public = [other for other in dir(owner) if not other.startswith("_")]
        own = [other for other in public if callable(getattr(owner, other, None))]
        remedy = _nearest(name, own) or _listed(own)
        raise FactoryError(f"'{module}' has no '{name}'.", remedy=remedy) from error


def _no_module(name: str, meant: str, folder: Path) -> FactoryError:
    """The error of a module that is not there: `name` is the part of `meant` that is missing."""
    file = _one_folder_down(name, meant, folder)
    if file is not None:
        return FactoryError(
            f"There is no module '{name}'; {shown(file)} is there, in a folder that Python does not search.",
            remedy="Install the project (python -m pip install -e .), or name the file: "
            f"{Path(os.path.relpath(file, folder.resolve())).as_posix()}:callable.",
        )
    searched = ", ".join(str(path) for path in search_path(folder))
    parent, _, last = name.rpartition(".")
    siblings = [file.stem for path in search_path(folder) for file in (path / parent.replace(".", "/")).glob("*.py")]
    return FactoryError(
        f"There is no module '{name}'.",
        remedy=_nearest(last, sorted(set(siblings))) or f"Searched {searched}, then sys.path.",
    )


def _one_folder_down(name: str, meant: str, folder: Path) -> Path | None:
    """The file of a module that lies in `src`, or in another folder of the project."""
    for root in search_path(folder):
        for top in sorted([*root.glob(f"*/{name}"), *root.glob(f"*/{name}.py")]) if "." not in name else ():
            module = top.parent / meant.replace(".", "/")
            for file in (module.with_suffix(".py"), module / "__init__.py"):
                if file.is_file():
                    return file
    return None


def _import_failed(name: str, error: BaseException) -> FactoryError:
    return FactoryError(
        f"Importing '{name}' raised {raised(error)}.",
        remedy="Try the import by itself in the environment that runs pytest.",
    )


def _nearest(name: str, known: list[str]) -> str:
    """Ask whether the most similar name is meant; nothing where none is similar."""
    near = get_close_matches(name, known, n=1)
    return f"Did you mean '{near[0]}'?" if near else ""


def _listed(names: list[str], most: int = 8) -> str:
    """What a module has."""
    if not names:
        return "It defines nothing that can be called."
    return f"It has {', '.join(names[:most])}{', …' if len(names) > most else ''}."
