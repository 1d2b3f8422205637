"""Images in folders, and texts in lines of JSON, as data sets."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pfa_gate.config.named_sources import ImageFolder, JsonLines, hub_folder, image_files, name_of
from pfa_gate.errors import DataError, FactoryError
from pfa_gate.model.batches import Batches
from pfa_gate.model.data import Sampling, batches_of
from pfa_gate.model.import_callable import resolve
from pfa_gate.model.named_models import library
from pfa_gate.model.user_frames import raised, shown

Transform = Callable[[Any], Any]
_START = "Paths start at the folder of pfa.yaml."


def open_named_data(
    data: ImageFolder | JsonLines, model: tuple[str, nn.Module], folder: Path, sampling: Sampling
) -> Batches:
    """Open images or texts.

    Args:
        data: as pfa.yaml names it.
        model: its name and itself, whose preprocessing is taken.
        folder: of pfa.yaml.
        sampling: which samples.

    Raises:
        DataError: nothing is there, or it cannot be read.
        FactoryError: a library that is needed is not installed, or the transform does not import.
    """
    if isinstance(data, JsonLines):
        return batches_of(texts(data, folder), name_of(data), sampling)
    return batches_of(images(data, model, folder), name_of(data), sampling)


@dataclass(frozen=True)
class ImageSet(Dataset[Any]):
    """Images, each with the number of its class where there are classes.

    Attributes:
        files: sorted.
        classes: the number of each file's class; empty where there are none.
        transform: turns an image into a tensor.
        mode: of Pillow: RGB, or L for a model of one channel.
    """

    files: tuple[Path, ...]
    classes: tuple[int, ...]
    transform: Transform
    mode: str = "RGB"

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.files)

    def __getitem__(self, row: int) -> Any:
        """One image, and its class."""
        path = self.files[row]
        try:
            with library("PIL.Image", str(path)).open(path) as file:
                picture = file.convert(self.mode)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{shown(path)} cannot be read: {raised(error)}.", remedy="Repair or remove it.") from error
        tensor = self.transform(picture)
        return (tensor, self.classes[row]) if self.classes else tensor


def images(data: ImageFolder, model: tuple[str, nn.Module], folder: Path) -> ImageSet:
    """The images of a folder.

    Raises:
        DataError: there is no such folder, it holds no images, or some beside the subfolders.
        FactoryError: Pillow or the library of the transform is not installed.
    """
    root = folder / data.images
    if not root.is_dir():
        raise DataError(f"There is no folder {shown(root)}.", remedy=_START)
    library("PIL.Image", data.images)
    files = tuple(image_files(root))
    if not files:
        raise DataError(f"{shown(root)} holds no images.", remedy="Put .png or .jpg files into it or its subfolders.")
    tops = [path.relative_to(root).parts[0] if path.parent != root else "" for path in files]
    names = sorted(set(tops))
    if "" in names and len(names) > 1:
        fact = f"{shown(root)} holds images beside subfolders: {files[tops.index('')].name} has no class."
        raise DataError(fact, remedy="Put every image into the subfolder of its class, or all into one folder.")
    classes = () if names == [""] else tuple(map(names.index, tops))
    transform, mode = _transform(data.transform, model, folder)
    return ImageSet(files, classes, transform, mode)


def _transform(name: str, model: tuple[str, nn.Module], folder: Path) -> tuple[Transform, str]:
    if name == "timm":
        timm = library("timm.data", "transform: timm")
        settings = timm.resolve_model_data_config(model[1])
        return timm.create_transform(**settings, is_training=False), "L" if settings["input_size"][0] == 1 else "RGB"
    if name == "torchvision":
        kind, _, model_name = model[0].partition(":")
        if kind != "torchvision":
            remedy = "Name the transform of a callable, or the model as torchvision:NAME."
            raise FactoryError(f"transform: torchvision needs a model of torchvision, not '{model[0]}'.", remedy=remedy)
        models = library("torchvision.models", "transform: torchvision")
        return models.get_model_weights(model_name).DEFAULT.transforms(), "RGB"
    return resolve(name, folder), "RGB"


def texts(data: JsonLines, folder: Path) -> dict[str, Tensor]:
    """The tokens of all lines of a file: int64 [N, tokens] by name, and `labels` where there are any.

    Raises:
        DataError: the file or a line cannot be read, or has no text; some lines have a label and some have none.
        FactoryError: transformers is not installed, or there is no such tokenizer.
    """
    lines = _lines(data, folder / data.jsonl)
    tokens = _tokens(data, [line[data.text] for line in lines], folder)
    if data.next_tokens:
        tokens["labels"] = _next_tokens(tokens)
    elif lines[0].get(data.label) is not None:
        tokens["labels"] = torch.tensor([line[data.label] for line in lines])
    return tokens


def _lines(data: JsonLines, path: Path) -> list[dict[str, Any]]:
    try:
        rows = path.read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {shown(path)}.", remedy=_START) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(path)} cannot be read: {raised(error)}.") from error
    lines = [_line(row, f"{shown(path)}:{number}", data) for number, row in enumerate(rows, 1) if row.strip()]
    if not lines:
        raise DataError(f"{shown(path)} holds no lines.", remedy='Write {"text": …} on each line.')
    labelled = [number for number, line in enumerate(lines) if line.get(data.label) is not None]
    if labelled and len(labelled) < len(lines) and not data.next_tokens:
        fact = f"{len(labelled)} of the {len(lines)} lines of {shown(path)} have a {data.label}."
        raise DataError(fact, remedy="Give every line one, or none.")
    return lines


def _line(row: str, place: str, data: JsonLines) -> dict[str, Any]:
    try:
        line = json.loads(row)
    except ValueError as error:
        raise DataError(f"{place} is no JSON: {error}.", remedy="Write one object on each line.") from error
    if not isinstance(line, dict) or not isinstance(line.get(data.text), str):
        raise DataError(f"{place} has no text under '{data.text}'.", remedy="Name its key: text: KEY.")
    label = line.get(data.label)
    if label is not None and not data.next_tokens and (isinstance(label, bool) or not isinstance(label, int)):
        raise DataError(
            f"{place} has {label!r} under '{data.label}', which is no number of a class.",
            remedy="Number the classes from 0, as in training.",
        )
    return line


def _tokens(data: JsonLines, lines: list[str], folder: Path) -> dict[str, Tensor]:
    transformers = library("transformers", data.jsonl)
    place = str(hub_folder(data.tokenizer, folder) or data.tokenizer)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception as error:
        fact = f"The tokenizer '{data.tokenizer}' cannot be read: {raised(error)}."
        raise FactoryError(fact, remedy="Name the folder of a tokenizer, from the folder of pfa.yaml.") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    settings = {"padding": True, "truncation": True, "max_length": data.length, "return_tensors": "pt"}
    return dict(tokenizer(lines, return_attention_mask=True, **settings))


def _next_tokens(tokens: dict[str, Tensor]) -> Tensor:
    """int64 [N, tokens]: the token that follows each; -100 where none does."""
    following = torch.full_like(tokens["input_ids"], -100)
    following[:, :-1] = tokens["input_ids"][:, 1:].masked_fill(tokens["attention_mask"][:, 1:] == 0, -100)
    return following
