"""Models of timm, torchvision and transformers by name, images in folders, texts in lines of JSON."""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from model_libraries import importable
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from pfa_gate.cache.fingerprint import fingerprint
from pfa_gate.cli import main
from pfa_gate.config import ModelConfig, load
from pfa_gate.config.init_request import InitRequest, trial_config
from pfa_gate.config.named_sources import ImageFolder, JsonLines, image_files
from pfa_gate.errors import ConfigError, DataError, FactoryError, PFAGateError
from pfa_gate.model.data import Sampling
from pfa_gate.model.named_data import open_named_data, texts
from pfa_gate.model.subject import build
from pfa_gate.model.subject import load as load_subject
from pfa_gate.pipeline.run import run
from pfa_gate.record import loads

WORDS = ["[PAD]", "[UNK]", "a", "good", "bad", "film", "one", "of", "the", "best", "worst"]


@pytest.fixture(scope="module")
def libraries() -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"), importable():
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes, texts of two, a classifier and a language model with their tokenizer."""
    folder = tmp_path_factory.mktemp("by_name")
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(16):
            shade = np.full((40, 50, 3), 60 if name == "cat" else 190) + draw.integers(-50, 50, (40, 50, 3))
            Image.fromarray(shade.astype(np.uint8)).save(folder / "images" / name / f"{number}.png")
    lines = [{"text": " ".join(draw.choice(WORDS[2:], 5)), "label": int(number % 2)} for number in range(100)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    bert = BertForSequenceClassification(BertConfig(vocab_size=len(WORDS), **sizes))
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=16))
    for name, model in (("bert", bert), ("gpt", gpt)):
        model.save_pretrained(folder / name)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(
            folder / name
        )
    return folder


def gate(model: str, data: str, *, more: str = "", evaluation: str = "") -> str:
    return f"""
version: 1
gates:
  named:
    model: {{{model}}}
    probe: {{data: {data}{more}}}
    recipe: {{strategy: energy, energy: 0.7}}
    selection: l1
    recovery: []
    {evaluation}
    artifacts: [weights]
    budgets: {{model: {{parameters: 1 G}}}}
"""


IMAGES = "{images: images, transform: timm}"
TEXTS = "{jsonl: texts.jsonl, tokenizer: bert}"


def written(folder: Path, text: str) -> Path:
    (folder / "pfa.yaml").write_text(text)
    return folder / "pfa.yaml"


def pictures(folder: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted((folder / "images").glob("*/*.png"))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("libraries")
def test_a_gate_of_a_model_of_timm_on_a_folder_of_images(project: Path) -> None:
    import timm  # noqa: PLC0415  is not installed but for these tests

    torch.manual_seed(5)
    model = timm.create_model("test_resnet", num_classes=2).eval()
    save_file(model.state_dict(), project / "net.safetensors")
    evaluation = f"evaluation: {{data: {IMAGES}, allow_chance: true}}"
    text = gate("factory: timm:test_resnet, num_classes: 2, checkpoint: net.safetensors", IMAGES, evaluation=evaluation)
    record = run(written(project, text.replace("probe: {", "probe: {positions: 8, "))).record
    inputs = torch.stack([*map(_own_transform(model), pictures(project))])
    with torch.no_grad():
        hits = model(inputs).argmax(1) == torch.arange(2).repeat_interleave(16)
    assert record.scores is not None
    assert record.scores.full == hits.double().mean()
    assert record.probe.samples == 32
    assert record.compressed is not None
    assert record.compressed.exact.passed
    assert record.compressed.parameters < record.model.parameters == sum(each.numel() for each in model.parameters())
    (probe,) = load_subject(load(project / "pfa.yaml"), "named").probe
    assert torch.equal(probe.args[0], inputs)


def _own_transform(model: torch.nn.Module) -> Callable[[Image.Image], torch.Tensor]:
    from timm.data import create_transform, resolve_model_data_config  # noqa: PLC0415

    transform: Callable[[Image.Image], torch.Tensor] = create_transform(**resolve_model_data_config(model))
    return transform


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("libraries")
def test_a_model_of_torchvision_with_the_preprocessing_of_its_weights(project: Path) -> None:
    import torchvision  # noqa: PLC0415

    config = ModelConfig(factory="torchvision:squeezenet1_1", num_classes=4, arguments={"dropout": 0.1})
    model = build(config, project, 3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        by_hand = torchvision.models.squeezenet1_1(num_classes=4, dropout=0.1)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), by_hand.parameters(), strict=True))
    data = ImageFolder(images="images", transform="torchvision")
    (batch,) = open_named_data(data, (config.factory, model), project, Sampling(samples=4))
    assert batch.args[0].shape == (4, 3, 224, 224)
    assert abs(float(batch.args[0].mean())) < 3  # normalised, as 8-bit pixels are not


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("libraries")
def test_a_callable_of_a_library_is_no_model_by_name(project: Path) -> None:
    config = ModelConfig(factory="timm:create_model", arguments={"model_name": "test_resnet", "num_classes": 2})
    assert build(config, project, 0).num_classes == 2
    with pytest.raises(FactoryError) as found:
        build(ModelConfig(factory="timm:test_resnett"), project, 0)
    assert found.value.fact == "timm knows no model 'test_resnett'."
    assert found.value.remedy.startswith("Did you mean 'timm:test_res")
    with pytest.raises(FactoryError) as found:
        build(ModelConfig(factory="torchvision:resnet81"), project, 0)
    assert (found.value.fact, found.value.remedy) == (
        "torchvision knows no model 'resnet81'.",
        "Did you mean 'torchvision:resnet18'?",
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("libraries")
def test_init_writes_a_config_of_a_model_by_name_that_holds(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    # For the time that the programs take.
    monkeypatch.setattr("pfa_gate.artifacts.model_files._FORMS", {"weights": "weights.safetensors"})
    (project / "first.yaml").unlink(missing_ok=True)
    small = "channels: [8, 8, 8, 8], stem_width: 8"
    assert main(["init", "timm:test_resnet", "images/cat/", "--config", "first.yaml", "--arguments", small]) == 0
    text = (project / "first.yaml").read_text()
    assert "factory: timm:test_resnet\n" in text
    assert "data: {images: images/cat/, transform: timm}\n" in text
    assert main(["check", "first.yaml"]) == 0
    assert 'images: "images/cat/"' in capsys.readouterr().out
    record = loads((project / ".pfa" / "model" / "record.json").read_text())
    # It feeds the output, so it is neither cut nor judged.
    assert [each.what for each in record.unmeasured] == ["layer fc"]
    assert all(layer.kl_ratio is not None for layer in record.layers if layer.skipped is None)


def test_init_says_what_a_model_of_ones_own_has_not(mistaken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mistaken / "first.yaml").unlink(missing_ok=True)
    assert main(["init", "net.py:build", "images", "--config", "first.yaml"]) == 2
    assert capsys.readouterr().err == (
        "'net.py:build' has no preprocessing of its own for the images in images.\n"
        "  Name a callable that gives the data, or a model as timm:NAME.\n"
    )
    assert main(["init", "net.py:build", "texts.jsonl", "--config", "first.yaml"]) == 2
    assert capsys.readouterr().err == (
        "'net.py:build' has no tokenizer of its own for the texts in texts.jsonl.\n"
        "  Name a callable that gives the data, or a model as hf:FOLDER.\n"
    )


def test_init_writes_a_config_of_a_model_of_transformers(mistaken: Path) -> None:
    (mistaken / "first.yaml").unlink(missing_ok=True)
    request = InitRequest("hf:bert", "texts.jsonl", evaluation="texts.jsonl", folder=mistaken)
    document = trial_config(request, mistaken / "first.yaml")
    wanted = JsonLines(jsonl="texts.jsonl", tokenizer="bert")
    found = document.gate("model")
    assert found.evaluation is not None
    assert (found.model.factory, found.probe.data, found.evaluation.data) == ("hf:bert", wanted, wanted)
    assert isinstance(load_subject(document, "model").model, BertForSequenceClassification)


def test_a_gate_of_a_model_of_transformers_on_lines_of_json(project: Path) -> None:
    evaluation = f"evaluation: {{data: {TEXTS}, allow_chance: true}}"
    text = gate("factory: hf:bert", TEXTS, more=", samples: 80", evaluation=evaluation)
    found = run(written(project, text))
    model = BertForSequenceClassification.from_pretrained(project / "bert").eval()
    lines = [json.loads(line) for line in (project / "texts.jsonl").read_text().splitlines()]
    ids = torch.tensor([[WORDS.index(word) for word in line["text"].split()] for line in lines])
    with torch.no_grad():
        answers = model(input_ids=ids).logits.argmax(1)
    labels = torch.tensor([line["label"] for line in lines])
    assert found.record.scores is not None
    assert found.record.scores.full == (answers == labels).double().mean()
    assert found.record.compressed is not None
    assert found.record.compressed.parameters < found.record.model.parameters


def test_a_model_of_transformers_takes_its_weights_from_a_checkpoint(project: Path) -> None:
    config = ModelConfig(factory="hf:bert", num_classes=5, checkpoint="other.safetensors")
    assert build(config, project, 0).num_labels == 5
    (project / "bare").mkdir(exist_ok=True)
    (project / "bare" / "config.json").write_text((project / "bert" / "config.json").read_text())
    base = BertForSequenceClassification.from_pretrained(project / "bert").bert
    save_file(
        {f"bert.{name}": each.contiguous() for name, each in base.state_dict().items()},
        project / "bare" / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(FactoryError) as found:
        build(ModelConfig(factory="hf:bare"), project, 0)
    assert found.value.fact == "2 weights of 'hf:bare' are not in its folder, such as 'classifier.bias'."


def test_next_tokens_are_the_labels_of_a_language_model(project: Path) -> None:
    (project / "uneven.jsonl").write_text('{"text": "a good film"}\n\n{"text": "bad"}\n')
    found = texts(JsonLines(jsonl="uneven.jsonl", tokenizer="gpt", next_tokens=True), project)
    assert found["input_ids"].tolist() == [[2, 3, 5], [4, 0, 0]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert found["labels"].tolist() == [[3, 5, -100], [-100, -100, -100]]
    assert texts(JsonLines(jsonl="uneven.jsonl", tokenizer="gpt", length=2), project)["input_ids"].shape == (2, 2)
    assert "labels" not in texts(JsonLines(jsonl="uneven.jsonl", tokenizer="gpt"), project)


def _first_image(folder: Path) -> Path:
    return folder / "images" / "cat" / "0.png"


def test_a_verdict_depends_on_every_image_line_and_file_of_a_model(project: Path) -> None:
    texts_of = load(written(project, gate("factory: hf:bert", TEXTS)))
    before = fingerprint(texts_of, "named", {})
    assert before.not_reusable == ""
    for path in (project / "texts.jsonl", project / "bert" / "config.json", project / "bert" / "model.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert fingerprint(texts_of, "named", {}).digest != before.digest
        path.write_bytes(content)
    assert fingerprint(texts_of, "named", {}).digest == before.digest
    (project / "net.safetensors").touch()
    of_images = load(written(project, gate("factory: timm:test_resnet, checkpoint: net.safetensors", IMAGES)))
    one = fingerprint(of_images, "named", {})
    content = _first_image(project).read_bytes()
    _first_image(project).write_bytes(content + b" ")
    other = fingerprint(of_images, "named", {})
    (project / "images" / "cat" / "new.png").write_bytes(content)
    third = fingerprint(of_images, "named", {})
    (project / "images" / "cat" / "new.png").unlink()
    _first_image(project).write_bytes(content)
    assert len({one.digest, other.digest, third.digest}) == 3
    by_code = gate("factory: net.py:build, checkpoint: net.safetensors", IMAGES.replace("timm}", "net.py:pixels}"))
    (project / "net.py").touch()
    own = load(written(project, f"{by_code}    watch: [net.py]\n"))
    watched = fingerprint(own, "named", {})
    assert watched.not_reusable == ""
    _first_image(project).write_bytes(content + b" ")
    assert fingerprint(own, "named", {}).digest != watched.digest
    _first_image(project).write_bytes(content)
    reason = "probe.data comes from code; name the files it reads under watch"
    assert fingerprint(load(written(project, by_code)), "named", {}).not_reusable == reason
    cached = load(written(project, gate("factory: hf:org/net", TEXTS)))
    assert fingerprint(cached, "named", {}).not_reusable == "hf:org/net is in the cache of this machine"


OWN = "{images: images, transform: net.py:pixels}"
MISTAKES: dict[str, tuple[str, type[PFAGateError], str, str]] = {
    "no such folder of images": (
        gate("factory: net.py:build", OWN.replace("images,", "pictures,")),
        DataError,
        "There is no folder pictures.",
        "Paths start at the folder of pfa.yaml.",
    ),
    "an image beside the subfolders": (
        gate("factory: net.py:build", OWN.replace("images,", "mixed,")),
        DataError,
        "mixed holds images beside subfolders: lone.png has no class.",
        "Put every image into the subfolder of its class, or all into one folder.",
    ),
    "no images": (
        gate("factory: net.py:build", OWN.replace("images,", "bert,")),
        DataError,
        "bert holds no images.",
        "Put .png or .jpg files into it or its subfolders.",
    ),
    "an image that is none": (
        gate("factory: net.py:build", OWN.replace("images,", "broken,")),
        DataError,
        "broken/no.png cannot be read: UnidentifiedImageError: ",
        "Repair or remove it.",
    ),
    "a transform of another library": (
        gate("factory: net.py:build", OWN.replace("net.py:pixels", "torchvision")),
        FactoryError,
        "transform: torchvision needs a model of torchvision, not 'net.py:build'.",
        "Name the transform of a callable, or the model as torchvision:NAME.",
    ),
    "no such folder of a model": (
        gate("factory: hf:weights/bert/large", TEXTS),
        FactoryError,
        "There is no folder weights/bert/large.",
        "Paths start at the folder of pfa.yaml.",
    ),
    "no tokenizer": (
        gate("factory: hf:bert", TEXTS.replace("tokenizer: bert", "tokenizer: images")),
        FactoryError,
        "The tokenizer 'images' cannot be read: ",
        "Name the folder of a tokenizer, from the folder of pfa.yaml.",
    ),
    "no JSON": (
        gate("factory: hf:bert", TEXTS.replace("texts.jsonl", "no.jsonl")),
        DataError,
        "no.jsonl:2 is no JSON: ",
        "Write one object on each line.",
    ),
    "a label that is a name": (
        gate("factory: hf:bert", TEXTS.replace("texts.jsonl", "names.jsonl")),
        DataError,
        "names.jsonl:1 has 'good' under 'label', which is no number of a class.",
        "Number the classes from 0, as in training.",
    ),
    "labels on some lines": (
        gate("factory: hf:bert", TEXTS.replace("texts.jsonl", "some.jsonl")),
        DataError,
        "1 of the 2 lines of some.jsonl have a label.",
        "Give every line one, or none.",
    ),
    "another key": (
        gate("factory: hf:bert", TEXTS.replace("bert}", "bert, text: body}")),
        DataError,
        "texts.jsonl:1 has no text under 'body'.",
        "Name its key: text: KEY.",
    ),
}


@pytest.fixture
def mistaken(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = (
        "import torch\ndef build(): return torch.nn.Conv2d(3, 4, 3)\ndef pixels(image): return torch.zeros(3, 8, 8)\n"
    )
    (project / "net.py").write_text(code)
    for folder, name in (("mixed", "cat/0.png"), ("mixed", "lone.png"), ("broken", "no.png")):
        (project / folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project / folder / name).write_bytes(b"none" if folder == "broken" else _first_image(project).read_bytes())
    (project / "no.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (project / "names.jsonl").write_text('{"text": "a", "label": "good"}\n')
    (project / "some.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "bad"}\n')
    monkeypatch.chdir(project)
    return project


@pytest.mark.parametrize(("text", "kind", "fact", "remedy"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_not_there_or_cannot_be_read_is_said(
    mistaken: Path, text: str, kind: type[PFAGateError], fact: str, remedy: str
) -> None:
    with pytest.raises(kind) as found:
        load_subject(load(written(mistaken, text)), "named")
    assert found.value.fact.startswith(fact)
    assert found.value.remedy.startswith(remedy)
    assert any("pfa.yaml:" in place for place in found.value.where)


BAD = {
    gate("factory: hf:../elsewhere", TEXTS): "model.factory leaves the project: '../elsewhere'",
    gate(
        "factory: hf:bert", TEXTS.replace("texts", "../texts")
    ): "probe.data.jsonl leaves the project: '../texts.jsonl'",
    gate("factory: net:build, num_classes: 3", TEXTS): "model.num_classes is not read for 'net:build', which is no",
    gate("factory: hf:bert", "{images: a}"): "probe.data.transform is missing",
    gate("factory: hf:bert", "{image: a}"): "probe.data is a mapping with neither images nor jsonl",
    gate("factory: hf:bert", "{images: a, transform: tim}"): "probe.data.transform must name a transform, not be the",
    gate("factory: hf:bert", "{jsonl: a, tokenizer: b, lengt: 3}"): "unknown key 'lengt' in probe.data",
    gate("factory: hf:bert", "3"): "probe.data must be text, not 3",
}


@pytest.mark.parametrize("text", BAD, ids=BAD.values())
def test_a_config_that_names_a_model_or_data_wrongly(mistaken: Path, text: str) -> None:
    (mistaken / "pyproject.toml").touch()
    with pytest.raises(ConfigError) as found:
        load(written(mistaken, text))
    assert BAD[text] in found.value.fact


def test_links_among_the_images_are_followed_once(project: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat").symlink_to(project / "images" / "cat", target_is_directory=True)
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images", target_is_directory=True)
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path / "images")]
    assert len(names) == 16
    assert all(name.startswith("images/cat/") for name in names)


def test_a_folder_without_subfolders_has_no_labels(mistaken: Path) -> None:
    data = ImageFolder(images="images/cat", transform="net.py:pixels")
    (batch,) = open_named_data(data, ("", torch.nn.Identity()), mistaken, Sampling())
    assert (batch.size, batch.labels) == (16, None)


@pytest.mark.parametrize(
    ("text", "module", "package"),
    [
        (gate("factory: timm:resnet18", IMAGES), "timm", "timm"),
        (gate("factory: torchvision:resnet18", IMAGES), "torchvision", "torchvision"),
        (gate("factory: hf:bert", TEXTS), "transformers", "transformers"),
        (gate("factory: net.py:build", OWN), "PIL", "pillow"),
    ],
)
def test_what_is_not_installed_is_named(
    mistaken: Path, monkeypatch: pytest.MonkeyPatch, text: str, module: str, package: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FactoryError) as found:
        load_subject(load(written(mistaken, text)), "named")
    assert found.value.fact.endswith(f" needs {package}, which is not installed.")
    assert found.value.remedy == f"Run pip install {package}."
