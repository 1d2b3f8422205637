"""A table of mistakes: where each is reported and what is said."""

from pathlib import Path
from textwrap import dedent

import pytest
from shipped_schema import validator

from pfa_gate.config import load
from pfa_gate.config.reader import read
from pfa_gate.errors import ConfigError

GOOD = """\
version: 1
gates:
  digits:
    model:
      factory: net:build
    probe:
      data: net:probe
      samples: 64
    layers: {include: ["*"], exclude: [head]}
    recipe: {strategy: energy, energy: 0.95}
    evaluation:
      data: net:test
    budgets:
      layers:
        - {match: "*", kl: 0.7, inactive: 0}
      model: {parameters: 300 k}
      compressed: {parameters: 60%, accuracy_drop: 0.5 pp}
"""
RECIPE = "    recipe: {strategy: energy, energy: 0.95}\n"


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complaint(text: str) -> str:
    Path("pfa.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load("pfa.yaml")
    return str(error.value)


def first_line(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, "the table must change the config in one place"
    text = complaint(GOOD.replace(old, new))
    assert "\n\n" not in text, text
    return text.splitlines()[0]


CASES = [
    ("version: 1", "version: 2", "1:10: version must be 1, not 2"),
    ("version: 1", 'version: "1"', "1:10: version must be 1, not the text '1'"),
    ("version: 1", "version: true", "1:10: version must be 1, not true"),
    ("version: 1\n", "", "1:1: version is missing"),
    ("version: 1\n", "version: 1\nwatch: []\n", "2:1: unknown key 'watch'"),
    ("  digits:", "  a/b:", "3:3: the gate name 'a/b' contains '/'"),
    ("  digits:", '  "a::b":', "3:3: the gate name 'a::b' contains ':'"),
    ("  digits:", '  "a\\\\b":', "3:3: the gate name 'a\\\\b' contains '\\\\'"),
    ("  digits:", '  "a\\tb":', "3:3: the gate name 'a\\tb' contains '\\t'"),
    ("  digits:", "  a[b]:", "3:3: the gate name 'a[b]' contains '['"),
    ("  digits:", "  ..:", "3:3: the gate name '..' begins or ends with white space or a dot"),
    ("  digits:", "  .:", "3:3: the gate name '.' begins or ends with white space or a dot"),
    ("  digits:", '  "":', "3:3: the gate name '' is empty"),
    ("  digits:", '  " d":', "3:3: the gate name ' d' begins or ends with white space or a dot"),
    ("  digits:", f"  {'d' * 81}:", f"3:3: the gate name {'d' * 81!r} is longer than 80 characters"),
    ("factory: net:build", "factory: net", "5:16: model.factory must name a callable, not be the text 'net'"),
    ("factory: net:build", "factory: 3", "5:16: model.factory must be text, not 3"),
    ("factory: net:build", "factory:", "5:15: model.factory has no value"),
    ("factory: net:build", "arguments: {}", "4:5: model.factory is missing"),
    (
        "factory: net:build",
        "factory: net:build\n      arguments: 3",
        "6:18: model.arguments must be a mapping, not 3",
    ),
    (
        "data: net:probe",
        "data: probe.csv",
        "7:13: probe.data must name a callable or a data file, not be the text 'probe.csv'",
    ),
    ("samples: 64", "samples: 1", "8:16: probe.samples must be at least 2, not 1"),
    ("samples: 64", "samples: 64.5", "8:16: probe.samples must be a whole number, not 64.5"),
    ("samples: 64", "samples: on", "8:16: probe.samples must be a whole number, not the text 'on'"),
    ("samples: 64", "sample: 64", "8:7: unknown key 'sample' in probe"),
    ("samples: 64", "batch_size: 0", "8:19: probe.batch_size must be at least 1, not 0"),
    ("samples: 64", "seed: -1", "8:13: probe.seed must be at least 0, not -1"),
    ("samples: 64", "pooling: avg", "8:16: probe.pooling must be one of max, mean, not the text 'avg'"),
    ("samples: 64", "positions: 0", "8:18: probe.positions must be at least 1, not 0"),
    ("samples: 64", "positions: all", "8:18: probe.positions must be a whole number, not the text 'all'"),
    ("samples: 64", "positions: 8\n      pooling: max", "9:16: probe.pooling and probe.positions exclude each other"),
    ('{include: ["*"], exclude: [head]}', "head", "9:13: layers must be a mapping, not the text 'head'"),
    ('["*"]', "head", "9:23: layers.include must be a list of patterns, not the text 'head'"),
    ('["*"]', "[]", "9:14: layers.include must not be empty"),
    ('["*"]', "[3]", "9:24: layers.include[0] must be text, not 3"),
    (
        "factory: net:build",
        "{factory: net:build, device: gpu}",
        "5:36: model.device must name a device, not be the text 'gpu'",
    ),
    ("factory: net:build", "{factory: net:build, loader: mmap}", "5:36: the loader mmap needs model.checkpoint"),
    (
        "factory: net:build",
        "{factory: net:build, checkpoint_key: ema}",
        "5:44: model.checkpoint_key needs model.checkpoint",
    ),
    (", energy: 0.95", "", "10:24: the strategy energy needs recipe.energy"),
    ("energy: 0.95", "energy: 0", "10:40: recipe.energy must be more than 0, not 0"),
    ("energy: 0.95", "energy: 1.5", "10:40: recipe.energy must be at most 1, not 1.5"),
    ("energy: 0.95", "energy: .nan", "10:40: recipe.energy must be a finite number, not nan"),
    ("strategy: energy, energy: 0.95", "energy: 0.95", "10:22: recipe.energy is not read by the strategy kl"),
    ("strategy: energy, energy: 0.95", "strategy: macs", "10:24: the strategy macs needs recipe.macs"),
    ("strategy: energy, energy: 0.95", "strategy: bytes, bytes: 0%", None),
    ("strategy: energy, energy: 0.95", "strategy: score", "10:24: the strategy score needs recipe.score"),
    (
        "strategy: energy, energy: 0.95",
        "strategy: score, score: 1%",
        "10:38: recipe.score has the unit '%', which is not taken here",
    ),
    (
        "strategy: energy, energy: 0.95",
        "strategy: score, score: {max: 1 pp, ratchet: true}",
        "10:59: recipe.score has the unknown key 'ratchet'",
    ),
    ("strategy: energy, energy: 0.95", "strategy: score, score: 3", "10:38: recipe.score must be at most 1, not 3"),
    (
        "strategy: energy, energy: 0.95",
        "strategy: score, score: 1 pp, of: size",
        "10:48: recipe.of must be one of parameters, bytes, macs, latency, not the text 'size'",
    ),
    (
        "strategy: energy, energy: 0.95",
        "strategy: score, score: 1 pp, data: val.csv",
        "10:50: recipe.data must name a callable or a data file, not be the text 'val.csv'",
    ),
    ("energy: 0.95", "energy: 0.95, of: macs", "10:50: recipe.of is not read by the strategy energy"),
    ("energy: 0.95", "energy: 0.95, score: 1 pp", "10:53: recipe.score is not read by the strategy energy"),
    ("energy: 0.95", "energy: 0.95, confident: true", "10:57: recipe.confident is not read by the strategy energy"),
    ("energy: 0.95", "energy: 0.95, data: net:val", "10:52: recipe.data is not read by the strategy energy"),
    (
        "strategy: energy, energy: 0.95",
        "strategy: bytes, bytes: 9 M",
        "10:38: recipe.bytes has the unit 'M', which is not taken here",
    ),
    (
        "strategy: energy",
        "strategy: enregy",
        "10:24: recipe.strategy must be one of kl, energy, parameters, bytes, macs, score, not the text 'enregy'",
    ),
    (
        "energy: 0.95",
        "energy: 0.95, residual: padd",
        "10:56: recipe.residual must be one of project, pad, not the text 'padd'",
    ),
    ("energy: 0.95", "energy: 0.95, round_to: 0", "10:56: recipe.round_to must be at least 1, not 0"),
    (
        "energy: 0.95",
        "energy: 0.95, round_to: atuo",
        "10:56: recipe.round_to must be a whole number or auto, not the text 'atuo'",
    ),
    ("energy: 0.95", "energy: 0.95, round_to: 8.5", "10:56: recipe.round_to must be a whole number or auto, not 8.5"),
    ("energy: 0.95", "energy: 0.95, round_to: true", "10:56: recipe.round_to must be a whole number or auto, not true"),
    (
        "    evaluation:\n      data: net:test\n",
        "",
        "15:52: budgets.compressed.accuracy_drop needs an evaluation",
    ),
    (
        "data: net:test",
        "data: net:test\n      metric: acuracy",
        "13:15: evaluation.metric must name a metric, not be the text 'acuracy'",
    ),
    (
        "    evaluation:",
        "    selection: reconstructoin\n    evaluation:",
        "11:16: selection must name a selection, not be the text 'reconstructoin'",
    ),
    (
        "    evaluation:",
        "    recovery: [compensate, finetune]\n    evaluation:",
        "11:28: recovery[1] is finetune without its callable",
    ),
    (
        "    evaluation:",
        "    recovery: none\n    evaluation:",
        "11:15: recovery must be a list of steps, not the text 'none'",
    ),
    (
        "    evaluation:",
        "    recovery: [magic]\n    evaluation:",
        "11:16: recovery[0] is the text 'magic', which is not a recovery step",
    ),
    (
        "    evaluation:",
        "    candidate: {onnx: net.onnx}\n    evaluation:",
        "10:5: recipe stands beside candidate, which was made elsewhere",
    ),
    (
        RECIPE,
        "    candidate: {onnx: net.pt2}\n",
        "10:23: candidate.onnx must be a file ending in .onnx, not the text 'net.pt2'",
    ),
    (RECIPE, "    candidate: {onnx: a.onnx, pt2: a.pt2}\n", "10:5: candidate holds onnx and pt2"),
    (RECIPE, "    candidate: {arguments: {width: 3}}\n", "10:5: candidate names no model"),
    (
        RECIPE,
        "    candidate: {onnx: a.onnx, checkpoint: a.pt}\n",
        "10:43: candidate.checkpoint is not read for candidate.onnx",
    ),
    (
        RECIPE,
        '    candidate: {factory: "net:small", checkpoint_key: ema}\n',
        "10:55: candidate.checkpoint_key needs candidate.checkpoint",
    ),
    (
        RECIPE,
        "    candidate: {onnx: ../../a.onnx}\n",
        "10:23: candidate.onnx leaves the project: '../../a.onnx' is not below its own folder",
    ),
    (RECIPE, "    candidate: {onnx:}\n", "10:22: candidate.onnx has no value"),
    (RECIPE, '    candidate: {factory: "net:small"}\n', None),
    (
        RECIPE,
        '    candidate: {factory: "net:small"}\n    quantize: {bits: 8}\n',
        "11:5: quantize stands beside candidate, which was made elsewhere",
    ),
    (RECIPE, f"{RECIPE}    sparsify: {{}}\n", "11:5: sparsify.pattern is missing"),
    (
        RECIPE,
        f"{RECIPE}    sparsify: {{pattern: 4:4}}\n",
        "11:25: sparsify.pattern must be a pattern N:M with N below M, and M at most 32, not the text '4:4'",
    ),
    (
        RECIPE,
        f"{RECIPE}    sparsify: {{pattern: half}}\n",
        "11:25: sparsify.pattern must be a pattern N:M with N below M, and M at most 32, not the text 'half'",
    ),
    (
        RECIPE,
        f"{RECIPE}    sparsify: {{pattern: 2:4, layers: {{include: [head]}}}}\n",
        "11:39: unknown key 'include' in sparsify.layers",
    ),
    (
        RECIPE,
        f"{RECIPE}    sparsify: {{pattern: 2:4}}\n    quantize: {{bits: binary}}\n",
        "12:22: quantize.bits is binary, which has no zero, and sparsify makes zeros",
    ),
    (
        RECIPE,
        f"{RECIPE}    factorize: {{layers: [fc]}}\n",
        "11:5: factorize has none of energy, parameters, macs and ranks",
    ),
    (
        RECIPE,
        f"{RECIPE}    factorize: {{energy: 0.9, macs: 50%}}\n",
        "11:36: factorize.energy and factorize.macs exclude each other",
    ),
    (
        RECIPE,
        f"{RECIPE}    factorize: {{ranks: {{fc: 2}}, layers: [fc]}}\n",
        "11:33: factorize.layers stands beside factorize.ranks, which names the layers itself",
    ),
    (RECIPE, f"{RECIPE}    factorize: {{energy: 1.5}}\n", "11:25: factorize.energy must be at most 1, not 1.5"),
    (
        RECIPE,
        f"{RECIPE}    factorize: {{ranks: {{fc: 0}}}}\n",
        "11:29: factorize.ranks.fc must be at least 1, not 0",
    ),
    (
        RECIPE,
        '    candidate: {factory: "net:small"}\n    factorize: {energy: 0.9}\n',
        "11:5: factorize stands beside candidate, which was made elsewhere",
    ),
    (RECIPE, f"{RECIPE}    quantize: {{}}\n", "11:5: quantize.bits is missing"),
    (RECIPE, f"{RECIPE}    latency: {{batch: 0}}\n", "11:22: latency.batch must be at least 1, not 0"),
    (RECIPE, f"{RECIPE}    latency: {{seconds: 0}}\n", "11:24: latency.seconds must be more than 0, not 0"),
    (RECIPE, f"{RECIPE}    latency: {{batches: 8}}\n", "11:15: unknown key 'batches' in latency"),
    (
        "0.5 pp}",
        "0.5 pp, latency: 3 ms}",
        "17:69: budgets.compressed.latency has the unit 'ms', which is not taken here",
    ),
    (RECIPE, f"{RECIPE}    quantize: {{bits: 4}}\n", None),
    (RECIPE, f"{RECIPE}    quantize: {{bits: auto, bytes: 12%}}\n", None),
    (
        RECIPE,
        f"{RECIPE}    quantize: {{bits: 7}}\n",
        "11:22: quantize.bits must be one of 8, 6, 5, 4, 3, 2, ternary, binary, auto, not 7",
    ),
    (RECIPE, f"{RECIPE}    quantize: {{bits: auto}}\n", "11:22: bits: auto needs quantize.bytes"),
    (
        RECIPE,
        f"{RECIPE}    quantize: {{bits: ternary, bytes: 9%}}\n",
        "11:38: quantize.bytes is not read with bits: ternary",
    ),
    (RECIPE, f"{RECIPE}    quantize: {{bits: 4, samples: 8}}\n", "11:34: quantize.samples is not read with bits: 4"),
    (
        RECIPE,
        f"{RECIPE}    quantize: {{bits: 2, reduce_range: true}}\n",
        "11:39: quantize.reduce_range is not read with bits: 2",
    ),
    (
        "0.5 pp}",
        "0.5 pp}\n      quantized: {latency: 90%}\n    quantize: {bits: 3}",
        "18:28: budgets.quantized.latency is of a file that a runtime runs, and none runs bits: 3",
    ),
    (
        RECIPE,
        f"{RECIPE}    quantize: {{bits: 3}}\n    artifacts: [weights, onnx-int8]\n",
        "12:26: artifacts names onnx-int8, and quantize asks for bits: 3",
    ),
    (
        RECIPE,
        f"{RECIPE}    quantize: {{bits: 8, samples: 0}}\n",
        "11:34: quantize.samples must be at least 1, not 0",
    ),
    (
        RECIPE,
        f"{RECIPE}    quantize: {{bits: 8, layers: {{include: [head]}}}}\n",
        "11:34: unknown key 'include' in quantize.layers",
    ),
    (
        "0.5 pp}",
        "0.5 pp, parity: 0}\n    artifacts: [weights]",
        "17:68: budgets.compressed.parity is of model.onnx, which artifacts does not name",
    ),
    ("0.5 pp}", "0.5 pp, parity: 0}\n    artifacts: [weights, onnx]", None),
    ("0.5 pp}", "0.5 pp, parity: {max: 0, max_increase: 2, ratchet: true}}", None),
    (
        "0.5 pp}",
        "0.5 pp, parity: 1%}",
        "17:68: budgets.compressed.parity has the unit '%', which is not taken here",
    ),
    ("0.5 pp}", "0.5 pp}\n      quantized: {bytes: 20%}", "18:7: budgets.quantized needs the section quantize"),
    (
        RECIPE,
        f"{RECIPE}    artifacts: [onnx-int8]\n",
        "11:17: artifacts names onnx-int8, and there is no quantize",
    ),
    ('match: "*", ', "", "15:11: budgets.layers[0].match is missing"),
    (", kl: 0.7, inactive: 0", "", "15:11: budgets.layers[0] limits nothing"),
    ("kl: 0.7", "kl: 1.7", "15:28: budgets.layers[0].kl must be from 0 to 1, not 1.7"),
    ("kl: 0.7", "kl:", "15:27: budgets.layers[0].kl has no value"),
    ("kl: 0.7", "kl: 0.7, klm: 1", "15:33: unknown key 'klm' in budgets.layers[0]"),
    ("300 k", "60%", "16:27: budgets.model.parameters has the unit '%', which is not taken here"),
    ("0.5 pp", "0.5%", "17:52: budgets.compressed.accuracy_drop has the unit '%', which is not taken here"),
    ("0.5 pp", "5", "17:52: budgets.compressed.accuracy_drop must be at most 1, not 5"),
    (
        "accuracy_drop: 0.5 pp",
        "accuracy_drop: 0.5 pp, score_drop: 0.5 pp",
        "17:72: budgets.compressed has both accuracy_drop and score_drop, which are one budget",
    ),
    (
        "300 k",
        "300 k, score: 99%",
        "16:41: budgets.model.score must be {min: ...} or {max: ...}, not the text '99%'",
    ),
    ("300 k", "300 k, score: {least: 9}", "16:49: budgets.model.score has the unknown key 'least'"),
    ("300 k", "300 k, score: {}", "16:34: budgets.model.score holds neither min nor max; one of the two is wanted"),
    (
        "300 k",
        "300 k, score: {min: 5%, max: 9%}",
        "16:34: budgets.model.score holds min and max; one of the two is wanted",
    ),
    (
        "300 k",
        "300 k, score: {min: 5%, max_increase: 9%}",
        "16:65: budgets.model.score has max_increase, and a score is not compared with a baseline",
    ),
    ("300 k", "300 k, score: {min: 5 pp}", "16:47: budgets.model.score has the unit 'pp', which is not taken here"),
    ("300 k", "300 k, score: {min: 200%}", "16:47: budgets.model.score must be from 0% to 100%, not 200%"),
    ("300 k", "300 k, score: {min: 99}", "16:47: budgets.model.score must be at most 1, not 99"),
    ("300 k", "300 k, score: {min: -0.1}", "16:47: budgets.model.score must be at least 0, not -0.1"),
    (
        "300 k",
        "300 k, score: {max: 0.9}",
        "16:47: budgets.model.score is held from above, and a higher score is better",
    ),
    (
        "data: net:test",
        "{data: net:test, direction: lower}",
        "12:35: evaluation.direction is lower, and of accuracy more is better",
    ),
    (
        "data: net:test",
        "{data: net:test, metric: top5, direction: lower}",
        "12:49: evaluation.direction is lower, and of top5 more is better",
    ),
    (
        "data: net:test",
        "{data: net:test, arguments: {k: 5}}",
        "12:24: evaluation.arguments is not read for accuracy",
    ),
    (
        "data: net:test",
        "{data: net:test, metric: torchmetrics:R2Score}",
        "17:52: budgets.compressed.accuracy_drop is of accuracy and top5, and the metric is 'torchmetrics:R2Score'",
    ),
    (
        "data: net:test",
        "{data: net:test, arguments: 3}",
        "12:35: evaluation.arguments must be a mapping, not 3",
    ),
    (
        "data: net:test",
        "{data: net:test, direction: up}",
        "12:35: evaluation.direction must be one of higher, lower, not the text 'up'",
    ),
    ("data: net:test", "{data: net:test, direction:}", "12:34: evaluation.direction has no value"),
    (
        "0.5 pp",
        "0.5 pp, latency: 3 ms",
        "17:69: budgets.compressed.latency has the unit 'ms', which is not taken here",
    ),
    (
        "parameters: 300 k",
        "memory: 60%",
        "16:23: budgets.model.memory has the unit '%', which is not taken here",
    ),
    ("parameters: 300 k", "memory: 4 kJ", "16:23: budgets.model.memory has the unit 'kJ', which is not taken here"),
    ("parameters: 300 k", "energy: 40 uJ", "16:23: budgets.model.energy needs the table energy"),
    ("0.5 pp", "0.5 pp, energy: 60%", "17:68: budgets.compressed.energy needs the table energy"),
    (RECIPE, f"{RECIPE}    energy: {{mac: 4.6 pJ}}\n", "11:5: energy.byte is missing"),
    (
        RECIPE,
        f"{RECIPE}    energy: {{mac: 4.6 pF, byte: 1 nJ}}\n",
        "11:19: energy.mac has the unit 'pF', which is not taken here",
    ),
    (
        RECIPE,
        f"{RECIPE}    energy: {{mac: 0 pJ, byte: 1 nJ}}\n",
        "11:19: energy.mac must be more than nothing, not 0 pJ",
    ),
    (RECIPE, f"{RECIPE}    energy: {{mac: -1 pJ, byte: 1 nJ}}\n", "11:19: energy.mac must be at least 0, not -1 pJ"),
    (
        RECIPE,
        f"{RECIPE}    energy: {{mac: 1 pJ, byte: {{max: 1 nJ}}}}\n",
        "11:25: energy.byte must be a number such as 4.6 pJ, not a mapping",
    ),
    (RECIPE, f"{RECIPE}    energy: {{mac: 1 pJ, byte: 2}}\n", "11:31: energy.byte needs a unit"),
    (
        "0.5 pp",
        "0.5 pp, agreement: 97%",
        "17:71: budgets.compressed.agreement must be {min: ...}, not the text '97%'",
    ),
    (
        "0.5 pp",
        "0.5 pp, agreement: {max: 97%}",
        "17:77: budgets.compressed.agreement has the unknown key 'max'",
    ),
    (
        "0.5 pp",
        "0.5 pp, agreement: {min: 97%, max_increase: 1 pp}",
        "17:96: budgets.compressed.agreement has the unknown key 'max_increase'",
    ),
    ("0.5 pp", "0.5 pp, agreement: {min: 97}", "17:77: budgets.compressed.agreement must be from 0 to 1, not 97"),
    (
        "0.5 pp",
        "0.5 pp, agreement: {min: 1 pp}",
        "17:77: budgets.compressed.agreement has the unit 'pp', which is not taken here",
    ),
    ("0.5 pp", "0.5 pp, agreement: {}", "17:60: budgets.compressed.agreement must be one limit, not an empty mapping"),
    (
        "0.5 pp",
        "0.5 pp, divergence: 5%",
        "17:72: budgets.compressed.divergence has the unit '%', which is not taken here",
    ),
    ("0.5 pp", "0.5 pp, divergence: -1", "17:72: budgets.compressed.divergence must be at least 0, not -1"),
    (
        "0.5 pp",
        "0.5 pp, output_error: 2 pp",
        "17:74: budgets.compressed.output_error has the unit 'pp', which is not taken here",
    ),
    (
        "0.5 pp",
        "0.5 pp, class_drop: 5%",
        "17:72: budgets.compressed.class_drop has the unit '%', which is not taken here",
    ),
    ("0.5 pp", "0.5 pp, class_drop: 5", "17:72: budgets.compressed.class_drop must be from 0 to 1, not 5"),
]


OWN = GOOD.replace("data: net:test", "data: net:test\n      metric: net:METRIC")
OWN = OWN.replace("accuracy_drop: 0.5 pp", "LIMIT")


def own(metric: str, limit: str = "score_drop: 0.01", more: str = "") -> str:
    """A gate that is scored by a callable, from line 13 on."""
    return OWN.replace("METRIC", metric + more).replace("LIMIT", limit)


SUGGESTED = "Add direction: lower, as its name suggests; or direction: higher if a higher value is better."
OTHERWISE = "Add direction: higher, as its name suggests; or direction: lower if a lower value is better."
UNKNOWN = "Add direction: higher, or direction: lower if a lower value is better."


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ("loss mean_nll RMSE mse MAE perplexity error word_error_rate CrossEntropyLoss crossentropy ppl", SUGGESTED),
        ("accuracy f1_macro MeanIoU dice psnr neg_log_loss", OTHERWISE),
        ("margin own", UNKNOWN),
    ],
)
def test_a_metric_of_ones_own_must_say_which_way_is_better(metrics: str, remedy: str) -> None:
    for metric in metrics.split():
        line = f"      metric: net:{metric}"
        assert complaint(own(metric)) == dedent(f"""\
            pfa.yaml:13:15: evaluation.metric 'net:{metric}' needs a direction: which way is better
                {line}
                {" " * 14}^
              {remedy}""")
        for direction in ("higher", "lower"):
            Path("pfa.yaml").write_text(own(metric, more=f"\n      direction: {direction}"))
            gate = load("pfa.yaml").gate("digits")
            assert gate.evaluation is not None
            assert gate.evaluation.direction == direction


LOSS = "\n      direction: lower"


@pytest.mark.parametrize(
    ("limit", "said", "remedy"),
    [
        (
            "accuracy_drop: 0.02",
            "19:52: budgets.compressed.accuracy_drop is of accuracy and top5, and the metric is 'net:loss'",
            "Write score_drop: 0.02, in the metric's own unit.",
        ),
        (
            "accuracy_drop: 2 pp",
            "19:52: budgets.compressed.accuracy_drop is of accuracy and top5, and the metric is 'net:loss'",
            "Write score_drop: 0.01, in the metric's own unit.",
        ),
        (
            "score_drop: 2 pp",
            "19:49: budgets.compressed.score_drop is in percentage points, and 'net:loss' gives plain numbers",
            "Write a number in the metric's own unit, say 0.01.",
        ),
        (
            "score_drop: {max: 2, max_increase: 1 pp}",
            "19:37: budgets.compressed.score_drop is in percentage points, and 'net:loss' gives plain numbers",
            "Write a number in the metric's own unit, say 0.01.",
        ),
        (
            "score: {max: 40%}",
            "19:50: budgets.compressed.score is in percent, and 'net:loss' gives plain numbers",
            "Write a number in the metric's own unit, say 0.01.",
        ),
        (
            "score: {min: 0.4}",
            "19:50: budgets.compressed.score is held from below, and a lower score is better",
            "Write {max: 0.4}.",
        ),
    ],
)
def test_a_limit_on_a_score_is_in_the_metrics_unit_and_on_its_side(limit: str, said: str, remedy: str) -> None:
    text = complaint(own("loss", limit, LOSS)).splitlines()
    assert (text[0], text[-1]) == (f"pfa.yaml:{said}", f"  {remedy}")


def test_a_limit_on_a_score_needs_an_evaluation() -> None:
    bare = GOOD.replace("    evaluation:\n      data: net:test\n", "")
    for area, key, limit in (
        ("model", "score", "{min: 9%}"),
        ("compressed", "score", "{min: 9%}"),
        ("compressed", "score_drop", "1 pp"),
    ):
        text = bare[: bare.index("      model: {para")] + f"      {area}: {{{key}: {limit}}}\n"
        assert f"budgets.{area}.{key} needs an evaluation" in complaint(text).splitlines()[0]
        assert not validator().is_valid(read(text).data)


def test_chance_is_asked_of_what_has_one() -> None:
    said = complaint(own("loss", more=f"{LOSS}\n      allow_chance: true")).splitlines()
    assert said[0] == "pfa.yaml:15:21: evaluation.allow_chance is not read for 'net:loss', of which chance is not known"
    assert said[-1] == "  Remove it; it belongs to accuracy and top5."


@pytest.mark.parametrize(("old", "new", "said"), CASES)
def test_one_mistake_has_one_complaint_at_its_place(old: str, new: str, said: str | None) -> None:
    if said is None:
        Path("pfa.yaml").write_text(GOOD.replace(old, new))
        assert load("pfa.yaml").gates
    else:
        assert first_line(old, new) == f"pfa.yaml:{said}"


def test_budgets_without_a_limit() -> None:
    text = GOOD[: GOOD.index("    budgets:")]
    assert "pfa.yaml:3:3: budgets is missing\n" in complaint(text)
    for empty in ("{}", "{layers: []}", "{model: {}, compressed: {}}"):
        assert complaint(f"{text}    budgets: {empty}\n") == dedent(f"""\
            pfa.yaml:13:5: budgets must hold at least one limit
                    budgets: {empty}
                    ^
              Add one, such as layers: [{{match: "*", kl: 0.7}}].""")


@pytest.mark.parametrize("gates", ["gates: {}", "gates:", ""])
def test_a_config_without_gates(gates: str) -> None:
    assert complaint(f"version: 1\n{gates}\n").startswith(
        {
            "gates: {}": "pfa.yaml:2:1: gates must not be empty",
            "gates:": "pfa.yaml:2:7: gates has no value",
            "": "pfa.yaml:1:1: gates is missing",
        }[gates]
    )


def test_gate_names_that_differ_only_in_case() -> None:
    gate = GOOD[GOOD.index("    model:") :]
    said = complaint(f"{GOOD}  Digits:\n{gate}")
    assert said.startswith("pfa.yaml:18:3: the gate names 'digits' and 'Digits' differ only in case")


def test_the_root_must_be_a_mapping() -> None:
    assert complaint("- 1\n") == dedent("""\
        pfa.yaml:1:1: the config must be a mapping, not a list
            - 1
            ^
          It holds: version, gates.""")


def test_all_complaints_come_at_once_by_line() -> None:
    text = GOOD.replace("samples: 64", "sample: 64").replace("version: 1", "version: 7")
    text = text.replace("0.5 pp", "0.5%").replace("kl: 0.7", "kl: 0.7, kl: 0.8")
    assert complaint(text) == dedent("""\
        pfa.yaml:1:10: version must be 1, not 7
            version: 7
                     ^
          This pfa_gate reads version 1.

        pfa.yaml:8:7: unknown key 'sample' in probe
                  sample: 64
                  ^
          Did you mean samples?

        pfa.yaml:15:33: the key 'kl' is given twice; first in line 15
                    - {match: "*", kl: 0.7, kl: 0.8, inactive: 0}
                                            ^
          Remove one of the two.

        pfa.yaml:17:52: budgets.compressed.accuracy_drop has the unit '%', which is not taken here
                  compressed: {parameters: 60%, accuracy_drop: 0.5%}
                                                               ^
          Write percentage points, such as 0.5 pp: a percentage could be of the score or in its points.""")


def test_a_value_that_the_reader_refuses_is_complained_about_once() -> None:
    said = complaint(GOOD.replace("net:build", "!!python/name:os.system x"))
    assert said == dedent("""\
        pfa.yaml:5:16: the tag !!python/name:os.system is not known
                  factory: !!python/name:os.system x
                           ^
          Write the value without a tag.""")


def test_a_quote_left_open() -> None:
    assert complaint('version: 1\ngates: "digits\n') == dedent("""\
        pfa.yaml:3:1: not valid YAML: found unexpected end of stream
          It happened while scanning a quoted scalar, which begins in line 2, column 8.""")


def test_a_caret_stands_under_tabs_and_wide_letters() -> None:
    said = complaint("version: 1\ngates: {'数字': {'\t': 1, modl: 1}}\n")
    line, caret = said.split("unknown key 'modl'")[1].splitlines()[1:3]
    assert line == "    gates: {'数字': {'\t': 1, modl: 1}}"
    assert caret == "    " + " " * len("gates: {'") + "    " + " " * len("': {'") + "\t" + " " * len("': 1, ") + "^"


def test_a_long_line_is_cut_around_its_mistake() -> None:
    said = complaint(f"version: 1\ngates: {{a: [{'1, ' * 200}], b: {{modl: 1}}}}")
    line, caret = said.split("unknown key 'modl'")[1].splitlines()[1:3]
    assert len(line) <= 104
    assert line[caret.index("^") :].startswith("modl")


def test_very_many_mistakes_are_counted() -> None:
    keys = "".join(f"k{n}: 1\n" for n in range(100))
    assert complaint(keys).endswith("… and 62 more.")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as error:
        load("missing/pfa.yaml")
    assert str(error.value) == dedent("""\
        There is no file missing/pfa.yaml.
          Write one, or name another with --pfa-config.""")


def test_a_folder_is_no_config() -> None:
    with pytest.raises(ConfigError, match=r"The file \. cannot be read: Is a directory"):
        load(".")


def test_a_file_that_is_not_text() -> None:
    Path("pfa.yaml").write_bytes(b"version: 1\nname: caf\xe9\n")
    with pytest.raises(ConfigError) as error:
        load("pfa.yaml")
    assert str(error.value) == dedent("""\
        pfa.yaml:2:10: not UTF-8
            name: caf
                     ^
          Save the file as UTF-8.""")


def test_a_file_that_is_too_long() -> None:
    Path("pfa.yaml").write_text("#" * 300_000)
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        load("pfa.yaml")


# What spans sections, or is no value of JSON, a JSON schema does not say.
BEYOND_A_SCHEMA = (
    "must be a finite number, not nan",
    "must name a selection",
    "accuracy_drop must be at most 1",
    "score must be at most 1",
    "score must be at least 0",
    "is held from above",
    "leaves the project",
    "not the text '4:4'",
)


@pytest.mark.parametrize(("old", "new", "said"), CASES)
def test_the_schema_refuses_what_is_refused(old: str, new: str, said: str | None) -> None:
    reading = read(GOOD.replace(old, new))
    valid = validator().is_valid(reading.data) and not reading.complaints
    if said is None or any(words in said for words in BEYOND_A_SCHEMA):
        assert valid
    else:
        assert not valid
