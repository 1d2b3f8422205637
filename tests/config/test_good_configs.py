"""Configs that hold, and what they say."""

import json
from pathlib import Path

import jsonschema
import pytest
from shipped_schema import validator

import pfa_gate.config
from pfa_gate.config import Document, Limit, load
from pfa_gate.config.document import parsed, resolved
from pfa_gate.config.reader import read
from pfa_gate.config.schema import schema
from pfa_gate.config.schema import text as schema_text
from pfa_gate.errors import ConfigError

FULL = """\
version: 1
gates:
  digits:
    model:
      factory: example_project.model:build
      arguments: {width: 32, dropout: 1e-3, name: on, nothing: null}
      checkpoint: weights/digits.safetensors
    probe: {data: probe.npy, samples: 1024, batch_size: 128, seed: 0, pooling: mean}
    layers: {include: ["*"], exclude: [head]}
    recipe: {strategy: parameters, parameters: 50%, residual: project, round_to: 8, minimum: 4}
    selection: correlation
    recovery: []
    evaluation: {data: "src/data.py:test", metric: my.metrics:f1, direction: higher}
    budgets:
      layers:
        - {match: "*", kl: 0.7, peak_correlation: 0.99}
        - {match: "stem", kl: {max: 0.9}, inactive: 0}
      model: {macs: 40 M, bytes: 1.2 MB, score: {min: -0.5}}
      compressed: {latency: 100%, parameters: 60%, score_drop: {max: 0.01, ratchet: true}}
"""
SMALL = """\
version: 1
gates:
  a b-c_d.9: {model: {factory: f:f}, probe: {data: f:f}, budgets: {model: {parameters: 300000}}}
  größe: {model: {factory: a/b.py:f}, probe: {data: d.safetensors}, budgets: {layers: [{match: x, kl: 1}]}}
"""
ANCHORS = """\
version: 1
gates:
  one: &one {model: {factory: f:f}, probe: {data: f:f}, budgets: {model: {parameters: 300 k}}}
  two: *one
"""


def document(folder: Path, text: str) -> Document:
    path = folder / "pfa.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    gate = document(tmp_path, FULL).gate("digits")
    assert gate.name == "digits"
    assert gate.model.arguments == {"width": 32, "dropout": 0.001, "name": "on", "nothing": None}
    assert (gate.probe.pooling, gate.probe.samples) == ("mean", 1024)
    assert gate.layers.exclude == ("head",)
    assert gate.recipe.parameters == Limit(50.0, "percent", "50%")
    assert gate.evaluation is not None
    assert gate.evaluation.metric == "my.metrics:f1"
    assert gate.evaluation.direction == "higher"
    assert gate.budgets.layers[1].kl == Limit(0.9, "absolute", "0.9")
    assert gate.budgets.model.score == Limit(-0.5, "absolute", "-0.5", side="min")
    assert gate.budgets.compressed.score_drop == Limit(0.01, "absolute", "0.01", ratchet=True)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    gate = document(tmp_path, SMALL).gate("größe")
    assert gate.recipe.strategy == "kl"
    assert gate.selection == "reconstruction"
    assert gate.recovery == ("compensate",)
    assert gate.evaluation is None
    assert gate.layers.include == ("*",)
    assert gate.probe.samples is None


def test_energy_counts_in_picojoules(tmp_path: Path) -> None:
    budgets = "{model: {memory: 64 KiB, energy: 0.04 mJ}, compressed: {memory: 50%, energy: {max_increase: 1 nJ}}}"
    table = "{mac: 4.6 pJ, byte: 6.4e-1 nJ}"
    gates = f"{{a: {{model: {{factory: f:f}}, probe: {{data: f:f}}, energy: {table}, budgets: {budgets}}}}}"
    text = f"version: 1\ngates: {gates}\n"
    gate = document(tmp_path, text).gate("a")
    assert gate.energy is not None
    assert (gate.energy.mac.value, gate.energy.byte.value) == (4.6, 640.0)
    model, compressed = gate.budgets.model, gate.budgets.compressed
    assert model.memory == Limit(65_536.0, "absolute", "64 KiB")
    assert model.energy == Limit(4e7, "absolute", "0.04 mJ")
    assert compressed.memory == Limit(50.0, "percent", "50%")
    assert compressed.energy is not None
    assert compressed.energy.increase == Limit(1000.0, "absolute", "1 nJ")
    assert [budget.name for budget in gate.budgets_declared()] == [
        "exact",
        "model.memory",
        "model.energy",
        "compressed.memory",
        "compressed.energy",
    ]


def test_budgets_are_declared_in_the_order_of_their_tests(tmp_path: Path) -> None:
    found = document(tmp_path, FULL)
    declared = found.gate("digits").budgets_declared()
    assert [(budget.name, found.line(*budget.keys)) for budget in declared] == [
        ("exact", 3),
        ("layers.kl", 16),
        ("layers.peak_correlation", 16),
        ("layers.inactive", 17),
        ("model.bytes", 18),
        ("model.macs", 18),
        ("model.score", 18),
        ("compressed.parameters", 19),
        ("compressed.score_drop", 19),
        ("compressed.latency", 19),
    ]


def test_places_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = document(tmp_path, FULL)
    gate = ("gates", "digits")
    assert str(found.place(*gate, "model", "checkpoint")) == "pfa.yaml:7:19"
    assert str(found.place(*gate, "model", "absent")) == "pfa.yaml:4:5"
    assert str(found.place(*gate, "budgets", "layers", 1, "kl")) == "pfa.yaml:17:27"
    assert str(found.place()) == "pfa.yaml:1:1"
    monkeypatch.chdir("/")
    assert str(found.place()) == f"{tmp_path.as_posix().removeprefix('/')}/pfa.yaml:1:1"


def test_an_unknown_gate_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        document(tmp_path, FULL).gate("digit")
    assert str(error.value).startswith("There is no gate 'digit'.")
    assert str(error.value).endswith("Did you mean digits?")


def test_configs_are_frozen(tmp_path: Path) -> None:
    gate = document(tmp_path, SMALL).gate("größe")
    with pytest.raises(ValueError, match="frozen"):
        gate.probe.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "pfa.yaml").write_bytes(SMALL.replace("\n", "\r\n").encode(encoding))
    assert "größe" in load(tmp_path / "pfa.yaml").gates


POINTS = FULL.replace("version: 1", "version: 1.0").replace("samples: 1024", "samples: 1.024e3")


def test_whole_numbers_may_be_written_with_a_point(tmp_path: Path) -> None:
    assert document(tmp_path, POINTS).gates == document(tmp_path, FULL).gates


@pytest.mark.parametrize("text", [FULL, SMALL, ANCHORS, POINTS])
def test_the_schema_agrees_on_configs_that_hold(tmp_path: Path, text: str) -> None:
    assert document(tmp_path, text).gates
    validator().validate(read(text).data)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("samples: 1024", "sample: 1024"),
        ("samples: 1024", "samples: 1"),
        ("samples: 1024", "samples: null"),
        ("samples: 1024", "positions: 8"),
        ("macs: 40 M", "macs: 40 MB"),
        ("macs: 40 M", "macs: 40%"),
        ("latency: 100%", "latency: 3 ms"),
        ("max: 0.01", "max: 0.5%"),
        (", direction: higher", ""),
        (", direction: higher", ", direction: up"),
        (", direction: higher", ", direction: higher, allow_chance: true"),
        ("{min: -0.5}", "-0.5"),
        ("{min: -0.5}", "{min: -0.5, max: 1}"),
        ("{min: -0.5}", "{min: -0.5, ratchet: true}"),
        ("{min: -0.5}", "{}"),
        ("score_drop:", "accuracy_drop: 0.5 pp, score_drop:"),
        ("score_drop:", "accuracy_drop:"),
        ("metric: my.metrics:f1, direction: higher", "direction: lower"),
        ("kl: 0.7", "kl: 7"),
        ("residual: project", "residual: padding"),
        ("recovery: []", "recovery: [compensation]"),
        ("[head]", "head"),
        ("factory: example_project.model:build", "checkpoint: x"),
    ],
)
def test_the_schema_agrees_on_configs_that_do_not_hold(tmp_path: Path, old: str, new: str) -> None:
    text = FULL.replace(old, new)
    with pytest.raises(ConfigError):
        document(tmp_path, text)
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(read(text).data)


def test_the_schema_that_ships_is_current() -> None:
    shipped = Path(pfa_gate.config.__file__).with_name("pfa.schema.json")
    renew = "python -c 'from pfa_gate.config.schema import text; print(text(), end=\"\")'"
    assert json.loads(shipped.read_text("utf-8")) == schema(), f"renew it with {renew}"
    assert shipped.read_text("utf-8") == schema_text()


@pytest.mark.parametrize(
    "recipe", ["", "recipe: {strategy: energy, energy: 0.9}", "recipe: {strategy: score, score: 0.5 pp, of: macs}"]
)
def test_a_config_with_all_its_defaults_means_the_same(recipe: str) -> None:
    text = (
        "version: 1\ngates:\n  a:\n    model: {factory: net:build}\n    probe: {data: net:probe}\n"
        f"    evaluation: {{data: net:test}}\n    budgets: {{model: {{parameters: 9 k}}}}\n    {recipe}\n"
    )
    given = parsed(text, Path("pfa.yaml").absolute())
    again = parsed(resolved(given), Path("pfa.yaml").absolute())
    assert again.gate("a") == given.gate("a")
