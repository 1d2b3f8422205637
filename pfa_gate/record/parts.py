"""The record of one gate's run: plain data, each dataclass an object of record.json, each field a key.

Sizes are counts, bytes of the stored weights and MACs of one sample; times are seconds; KL values are nats
unless the name says ratio. A number that could not be measured is None, and `unmeasured` says why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.budget import Finding, LayerMeasure, Size
from pfa_gate.record.recovery import RecoveryStep
from pfa_gate.record.scores import Scores

SCHEMA = "pfa_gate.record/1"
# Of a key that records of this schema have not always had: reading one without it is no fault.
LATER = {"later": True}
COMPRESSED_MODEL = "compressed model"


@dataclass(frozen=True)
class Probe:
    """The data the model was measured on.

    Attributes:
        samples: number of samples.
        sha256: digest of the input bytes.
        positions: how many of each map are samples of their own, if it has so many; None where maps are pooled.
    """

    samples: int
    sha256: str
    positions: int | None = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class Correlations:
    """|Pearson| between the filters of a layer, coarse: a picture for people, no numbers to judge by.

    Attributes:
        side: rows and columns of the picture.
        order: the filters in clustered order, one for each row; empty where a row is the mean of several filters.
        cells: the upper triangle row by row, diagonal included: one of sixteen signs a cell, `0` is 0 and `f` is 1.
    """

    side: int
    order: tuple[int, ...]
    cells: str


@dataclass(frozen=True)
class LayerRecord:
    """One layer: what was measured, and how many of its filters stay.

    Attributes:
        name: the module's dotted name.
        kind: the module's class.
        filters: number of filters C.
        group: the coupled group its filters live or die with; None where it has none.
        calls: how often one forward pass calls the layer.
        samples: responses it was measured on.
        kl: KL divergence of its spectrum from the uniform one, nats.
        kl_ratio: the same over ln C, in [0, 1].
        kl_ratio_standardised: kl_ratio with all filters at unit variance, to tell scale from correlation.
        kl_stderr: jackknife standard error of kl_ratio, on the same scale.
        peak_stderr: jackknife standard error of peak_correlation.
        mean_stderr: jackknife standard error of mean_correlation.
        correlations: a coarse picture of them; None where there is none.
        kl_bias: expected upward bias of kl from few samples, nats.
        peak_correlation: largest |Pearson| between two active filters.
        mean_correlation: mean |Pearson| between active filters.
        inactive: number of filters that never change.
        eigenvalues: of the covariance, descending, their sum 1 (all 0 where nothing moves).
        keep: filters the recipe keeps; None where the layer is not cut.
        kept: which filters stay, sorted; None where the layer is not cut.
        skipped: why no verdict is due on the layer; None for all others.
    """

    name: str
    kind: str
    filters: int
    group: str | None = None
    calls: int = 1
    samples: int = 0
    kl: float | None = None
    kl_ratio: float | None = None
    kl_ratio_standardised: float | None = None
    kl_stderr: float | None = None
    kl_bias: float | None = None
    peak_correlation: float | None = None
    mean_correlation: float | None = None
    inactive: int | None = None
    eigenvalues: tuple[float, ...] = ()
    keep: int | None = None
    kept: tuple[int, ...] | None = None
    skipped: str | None = None
    peak_stderr: float | None = None
    mean_stderr: float | None = None
    correlations: Correlations | None = field(default=None, metadata=LATER)

    def measure(self) -> LayerMeasure:
        """What budgets are judged on.

        Example:
            >>> LayerRecord("stem", "Conv2d", 16, kl_ratio=0.2, inactive=0).measure().kl_ratio
            0.2
        """
        return LayerMeasure(
            name=self.name,
            filters=self.filters,
            kl_ratio=self.kl_ratio,
            kl_stderr=self.kl_stderr,
            kl_bias=self.kl_bias,
            peak_correlation=self.peak_correlation,
            mean_correlation=self.mean_correlation,
            inactive=self.inactive,
            skipped=self.skipped,
            peak_stderr=self.peak_stderr,
            mean_stderr=self.mean_stderr,
        )


@dataclass(frozen=True)
class RecipeRecord:
    """How many filters each group keeps, and why.

    Attributes:
        strategy: kl, energy, parameters, bytes or macs.
        energy: the share of energy kept; None for the strategy kl.
        keep: filters kept per group.
        reasons: why a group is kept whole.
        rounds: filters kept per group after each round, where there were several.
    """

    strategy: str
    energy: float | None
    keep: Mapping[str, int]
    reasons: Mapping[str, str] = field(default_factory=dict)
    rounds: tuple[Mapping[str, int], ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True)
class Exact:
    """The surgery's proof: largest error relative to the output's scale, and whether it passed."""

    max_error: float | None
    passed: bool


@dataclass(frozen=True)
class CompressedRecord:
    """The compressed model.

    Attributes:
        parameters: number of parameters.
        bytes: bytes of the stored weights.
        macs: MACs of one sample.
        latency: its time over that of the full model; None where it was not measured.
        exact: the surgery's proof.
        put_back: groups left whole because their own proof failed.
        recovery: the cut and each recovery step after it; empty without recovery.
        form: module where the model's own class runs at the new widths; else graph, its exported program.
    """

    parameters: int
    bytes: int
    macs: int
    latency: float | None
    exact: Exact
    put_back: tuple[str, ...] = ()
    recovery: tuple[RecoveryStep, ...] = ()
    form: Literal["module", "graph"] = "module"


@dataclass(frozen=True)
class Compared:
    """The baseline that limits refer to.

    Attributes:
        source: the file, or the git revision and file.
        written: the day it was written, as YYYY-MM-DD.
        commit: the revision it was written at; empty if unknown.
        refusal: why it was not compared; empty if it was.
        changed: what has changed since: the probe's bytes, the weights.
        new: layers that it does not have.
        gone: layers that are there no more.
        renamed: name of a layer today -> its name in the baseline.
        layers: name of a layer today -> the baseline's values by budget key (`kl`, `inactive`, ...).
        values: the baseline's value of each other budget, `model.parameters` say, in its plain unit.
    """

    source: str
    written: str
    commit: str
    refusal: str = ""
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict, metadata=LATER)
    values: Mapping[str, float] = field(default_factory=dict, metadata=LATER)


@dataclass(frozen=True)
class Unmeasured:
    """Something that was not measured, and why.

    Attributes:
        what: its name; `COMPRESSED_MODEL` where no model was compressed.
        reason: why it was not.
    """

    what: str
    reason: str


@dataclass(frozen=True)
class Record:
    """Everything one run of a gate found; reports are made from this alone.

    Attributes:
        gate: the gate's name.
        config: path of its pfa.yaml, with forward slashes, relative where possible.
        versions: version of each package that took part.
        seconds: time of each stage, in the order they ran; together all that was waited for, imports and writing too.
        model: size of the full model.
        probe: the data it was measured on.
        layers: every layer in model order, skipped ones included.
        recipe: filters kept per group.
        compressed: the compressed model; None where none was built or proved.
        scores: of both models; None without an evaluation.
        budgets: one finding per declared budget.
        unmeasured: what was not measured, and why.
        baseline: what limits refer to; None where there is none.
        files: path of each file written, by what it holds (record, recipe, weights, program, onnx, html, markdown,
            badge).
        written: when it was, in UTC, as 2026-11-20T08:30:00Z; empty if unknown.
        device: where probe and scoring ran, as `cpu` or `cuda:0 (NVIDIA H100)`.
        weights: which of several sets of weights in the checkpoint were taken; empty where there was one.
        run: token of the run of pytest that judged it last, as in the run's manifest; empty outside of pytest.
        schema: name and version of this layout.
    """

    gate: str
    config: str
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    model: Size
    probe: Probe
    layers: tuple[LayerRecord, ...] = ()
    recipe: RecipeRecord | None = None
    compressed: CompressedRecord | None = None
    scores: Scores | None = None
    budgets: tuple[Finding, ...] = ()
    unmeasured: tuple[Unmeasured, ...] = ()
    baseline: Compared | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    schema: str = SCHEMA
    written: str = field(default="", metadata=LATER)
    device: str = field(default="cpu", metadata=LATER)
    weights: str = field(default="", metadata=LATER)
    run: str = field(default="", metadata=LATER)
