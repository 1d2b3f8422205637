"""Models by name: of timm, torchvision and transformers; only `pretrained` and `weights` ask a library to download."""

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from pfa_gate.config import ModelConfig
from pfa_gate.config.named_sources import HUB, hub_folder
from pfa_gate.errors import FactoryError
from pfa_gate.model.import_callable import UserCallable
from pfa_gate.model.user_frames import raised


def named_model(config: ModelConfig, folder: Path) -> UserCallable | None:
    """Give what builds a model that is named `timm:NAME`, `torchvision:NAME` or `hf:FOLDER`.

    Args:
        config: with the factory.
        folder: of pfa.yaml.

    Returns:
        What takes `model.arguments`; None where the name is a callable of the library, such as `timm:create_model`.

    Raises:
        FactoryError: the library is not installed, does not import, or knows no such model.
    """
    library, _, name = config.factory.partition(":")
    known: dict[str, Callable[[ModelConfig, str, Path], Any]] = {
        "timm": _of_timm,
        "torchvision": _of_torchvision,
        HUB.removesuffix(":"): _of_transformers,
    }
    build = known[library](config, name, folder)
    return None if build is None else UserCallable(config.factory, build, folder)


def library(name: str, what: str) -> Any:
    """Import an optional library.

    Args:
        name: of the module, which is that of the package too.
        what: needs it, for the error.

    Raises:
        FactoryError: it is not installed, or does not import.
    """
    top = name.partition(".")[0]
    package = {"PIL": "pillow"}.get(top, top)
    try:
        # A project's `error` filter is meant for its tests.
        with warnings.catch_warnings(action="ignore"):
            importlib.import_module(top)
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise FactoryError(f"Importing '{top}' raised {raised(error)}.", remedy=_repair(package)) from error
        fact = f"'{what}' needs {package}, which is not installed."
        raise FactoryError(fact, remedy=f"Run pip install {package}.") from error
    except Exception as error:
        raise FactoryError(f"Importing '{top}' raised {raised(error)}.", remedy=_repair(package)) from error


def _repair(package: str) -> str:
    return f"Install a {package} that fits the installed torch: pip install --upgrade {package}."


def _of_timm(config: ModelConfig, name: str, folder: Path) -> Callable[..., nn.Module] | None:
    timm = library("timm", config.factory)
    if not timm.is_model(name):
        if hasattr(timm, name):
            return None
        raise _unknown(config.factory, name, timm.list_models())
    classes = {} if config.num_classes is None else {"num_classes": config.num_classes}

    def build(*, pretrained: bool = False, **arguments: Any) -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **classes, **arguments)
        return model

    return build


def _of_torchvision(config: ModelConfig, name: str, folder: Path) -> Callable[..., nn.Module] | None:
    models = library("torchvision.models", config.factory)
    if name not in models.list_models():
        if hasattr(importlib.import_module("torchvision"), name):
            return None
        raise _unknown(config.factory, name, models.list_models())
    classes = {} if config.num_classes is None else {"num_classes": config.num_classes}

    def build(*, weights: str | None = None, **arguments: Any) -> nn.Module:
        model: nn.Module = models.get_model(name, weights=weights, **classes, **arguments)
        return model

    return build


def _unknown(factory: str, name: str, known: list[str]) -> FactoryError:
    near = get_close_matches(name, known, 1)
    kind = factory.partition(":")[0]
    return FactoryError(
        f"{kind} knows no model '{name}'.",
        remedy=f"Did you mean '{kind}:{near[0]}'?" if near else f"It knows {len(known):,}, such as '{known[0]}'.",
    )


def _of_transformers(config: ModelConfig, name: str, folder: Path) -> Callable[..., nn.Module]:
    transformers = library("transformers", config.factory)
    found = hub_folder(name, folder)
    if found is None and (name.startswith(".") or name.count("/") > 1 or name.endswith("/")):
        raise FactoryError(f"There is no folder {name}.", remedy="Paths start at the folder of pfa.yaml.")
    place = str(found or name)
    classes = {} if config.num_classes is None else {"num_labels": config.num_classes}

    def build(**arguments: Any) -> nn.Module:
        with _silent(transformers):
            settings = transformers.AutoConfig.from_pretrained(place, local_files_only=True, **classes)
            kind = getattr(transformers, (getattr(settings, "architectures", None) or ["AutoModel"])[0])
            if config.checkpoint is None:
                given = {"config": settings, "local_files_only": True, "output_loading_info": True, **arguments}
                model, found_weights = kind.from_pretrained(place, **given)
                return _whole(model, found_weights, config.factory)
            make = kind.from_config if kind is transformers.AutoModel else kind._from_config
            fresh: nn.Module = make(settings, **arguments)
            return fresh

    return build


def _whole(model: nn.Module, found: Mapping[str, Any], factory: str) -> nn.Module:
    """A model all of whose weights were in its folder: transformers draws those that were not."""
    missing = sorted(found["missing_keys"])
    if missing:
        fact = f"{len(missing)} weights of '{factory}' are not in its folder, such as '{missing[0]}'."
        raise FactoryError(fact, remedy="Save the model whole, or name a file with all weights: model.checkpoint.")
    return model


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Without its bars, which it draws over the output of tests."""
    settings = transformers.utils.logging
    shown, level = settings.is_progress_bar_enabled(), settings.get_verbosity()
    settings.disable_progress_bar()
    settings.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        settings.set_verbosity(level)
        if shown:
            settings.enable_progress_bar()
