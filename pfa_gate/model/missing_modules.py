"""What is said of a module or a name that is not there."""

import os
from difflib import get_close_matches
from pathlib import Path

from pfa_gate.config.paths import search_path
from pfa_gate.errors import FactoryError
from pfa_gate.model.user_frames import raised, shown


def no_module(name: str, meant: str, folder: Path) -> FactoryError:
    """Say that a module is not there.

    Args:
        name: the part of the wanted name that is missing.
        meant: the whole of it.
        folder: of pfa.yaml.

    Example:
        >>> print(no_module("zqx", "zqx.net", Path("/")))
        There is no module 'zqx'.
          Searched ..., then sys.path.
    """
    found = _one_folder_down(name, meant, folder)
    if found is not None:
        return FactoryError(
            f"There is no module '{name}'; {shown(found)} is there, in a folder that Python does not search.",
            remedy="Install the project (python -m pip install -e .), or name the file: "
            f"{Path(os.path.relpath(found, folder.resolve())).as_posix()}:callable.",
        )
    searched = ", ".join(str(path) for path in search_path(folder))
    parent, _, last = name.rpartition(".")
    siblings = [file.stem for path in search_path(folder) for file in (path / parent.replace(".", "/")).glob("*.py")]
    return FactoryError(
        f"There is no module '{name}'.",
        remedy=nearest(last, sorted(set(siblings))) or f"Searched {searched}, then sys.path.",
    )


def _one_folder_down(name: str, meant: str, folder: Path) -> Path | None:
    """The file of a module that lies in `src`, or in another folder of the project."""
    for root in search_path(folder):
        for top in sorted([*root.glob(f"*/{name}"), *root.glob(f"*/{name}.py")]) if "." not in name else ():
            whole = top.parent / meant.replace(".", "/")
            for file in (whole.with_suffix(".py"), whole / "__init__.py"):
                if file.is_file():
                    return file
    return None


def import_failed(name: str, error: BaseException) -> FactoryError:
    """Say what an import raised."""
    return FactoryError(
        f"Importing '{name}' raised {raised(error)}.",
        remedy="Try the import by itself in the environment that runs pytest.",
    )


def nearest(name: str, known: list[str]) -> str:
    """Ask whether the most similar name is meant; nothing where none is similar.

    Example:
        >>> nearest("sqtr", ["sin", "sqrt"]), nearest("zzz", ["sin", "sqrt"])
        ("Did you mean 'sqrt'?", '')
    """
    near = get_close_matches(name, known, n=1)
    return f"Did you mean '{near[0]}'?" if near else ""


def listed(names: list[str], most: int = 8) -> str:
    """Say what a module has.

    Example:
        >>> listed(["build", "probe"])
        'It has build, probe.'
    """
    if not names:
        return "It defines nothing that can be called."
    return f"It has {', '.join(names[:most])}{', …' if len(names) > most else ''}."
