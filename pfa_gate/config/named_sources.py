"""Models and data by name: of timm, torchvision and transformers; images in folders; lines of JSON."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from pfa_gate.config.complaints import RefusalError, describe, nearest
from pfa_gate.config.field_types import (
    CALLED,
    Data,
    FilePath,
    StrictSection,
    Text,
    callable_reference,
    checked,
    portable_path,
)
from pfa_gate.config.project import FOREIGN

HUB = "hf:"
LIBRARIES = ("timm:", "torchvision:", HUB)
"""How the name of a model begins that a library builds."""
IMAGE_FILES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
OWN_TRANSFORMS = ("timm", "torchvision")


def factory_reference(text: str) -> str:
    """Check that a text names a model: a callable, or `hf:` with a folder or a name.

    Raises:
        RefusalError: it names none.

    Example:
        >>> factory_reference("hf:weights/bert"), factory_reference("timm:resnet18.a1_in1k")
        ('hf:weights/bert', 'timm:resnet18.a1_in1k')
    """
    if text.startswith(HUB) and text != HUB:
        return portable_path(text)
    return callable_reference(text)


def transform_reference(text: str) -> str:
    """Check that a text names a transform of images.

    Raises:
        RefusalError: it is neither a library's own nor a callable.

    Example:
        >>> transform_reference("timm")
        'timm'
    """
    if text in OWN_TRANSFORMS:
        return text
    try:
        return callable_reference(text)
    except RefusalError:
        known = (*OWN_TRANSFORMS, "module:callable")
        raise RefusalError(f"must name a transform, not be {describe(text)}", nearest(text, known)) from None


Factory = Annotated[Text, *checked(factory_reference, FOREIGN, f"^{HUB}.+$|{CALLED}")]
Transform = Annotated[Text, *checked(transform_reference, FOREIGN, f"^({'|'.join(OWN_TRANSFORMS)})$|{CALLED}")]


class ImageFolder(StrictSection):
    """Images in a folder: a class for each subfolder, or none where the images are in the folder itself."""

    images: FilePath = Field(description="folder; the subfolders, sorted, are the classes", examples=["images/"])
    transform: Transform = Field(
        description="what turns an image into a tensor: `timm` or `torchvision`, the preprocessing of the model's own "
        "weights; or a callable(PIL image)",
        examples=["timm"],
    )


class JsonLines(StrictSection):
    """Texts in a file, one JSON object on each line."""

    jsonl: FilePath = Field(description="the file", examples=["texts.jsonl"])
    tokenizer: Text = Field(
        description="folder of a tokenizer of transformers, or the name of one in the local cache",
        examples=["weights/bert"],
    )
    text: Text = Field(default="text", description="key of the text")
    label: Text = Field(default="label", description="key of the number of the class; lines may have none")
    length: int = Field(
        default=128, ge=1, description="longest text, in tokens; shorter ones are padded to the longest"
    )
    next_tokens: bool = Field(
        default=False, description="the labels are the token that follows each, and -100 at the end and where padded"
    )


FORMS = ("data as text", "images in folders", "lines of JSON")
"""What pydantic calls the forms in which data is named; no key of a config."""


def _form(value: object) -> str:
    if isinstance(value, ImageFolder) or (isinstance(value, dict) and "images" in value):
        return FORMS[1]
    return FORMS[2] if isinstance(value, JsonLines | dict) else FORMS[0]


def _known_form(value: object) -> object:
    if isinstance(value, dict) and {"images", "jsonl"}.isdisjoint(value):
        remedy = "Write {images: folder/, transform: timm}, or {jsonl: file.jsonl, tokenizer: folder}."
        raise RefusalError("is a mapping with neither images nor jsonl", remedy)
    return value


DataSource = Annotated[
    Annotated[Data, Tag(FORMS[0])] | Annotated[ImageFolder, Tag(FORMS[1])] | Annotated[JsonLines, Tag(FORMS[2])],
    Discriminator(_form),
    BeforeValidator(_known_form),
]
"""Data as a config names it."""


def name_of(data: str | ImageFolder | JsonLines) -> str:
    """What to call data in errors and reports.

    Example:
        >>> name_of("net:probe"), name_of(JsonLines(jsonl="texts.jsonl", tokenizer="weights/bert"))
        ('net:probe', 'texts.jsonl')
    """
    if isinstance(data, str):
        return data
    return data.images if isinstance(data, ImageFolder) else data.jsonl


def plain(data: str | ImageFolder | JsonLines) -> Any:
    """Data as plain values, to be compared with those of another time."""
    return data if isinstance(data, str) else data.model_dump()


def hub_folder(name: str, folder: Path) -> Path | None:
    """The folder that the name of a model or tokenizer means; None where it is a name in the local cache.

    Args:
        name: behind `hf:`.
        folder: of pfa.yaml.
    """
    found = folder / name
    return found if found.is_dir() else None


def image_files(folder: Path) -> Iterator[Path]:
    """The images of a folder and of its subfolders, sorted by path; hidden files are none. Links are followed once."""
    known: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and _is_new(place, name, known))
        yield from (Path(place, name) for name in sorted(names) if _is_image(name))


def _is_new(place: str, name: str, known: set[str]) -> bool:
    """Whether a folder was not met before: a link may lead back to a folder that holds it."""
    real = os.path.realpath(os.path.join(place, name))
    above = os.path.realpath(place)
    new = real not in known and not f"{above}{os.sep}".startswith(f"{real}{os.sep}")
    known.add(real)
    return new


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(IMAGE_FILES)


def files_of_data(data: ImageFolder | JsonLines, folder: Path) -> Iterator[Path]:
    """The files that data by name depends on, as far as they lie in folders.

    Args:
        data: as the config has it.
        folder: of pfa.yaml.
    """
    if isinstance(data, ImageFolder):
        yield from image_files(folder / data.images)
        return
    yield folder / data.jsonl
    tokenizer = hub_folder(data.tokenizer, folder)
    yield from () if tokenizer is None else files_below(tokenizer)


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder, sorted; hidden ones are left out."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
