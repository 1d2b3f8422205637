"""The findings of a run: what was measured, as plain data for budgets, record and reports."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.budget import Exactness, Measurements, Scored
from pfa_gate.config import GateConfig
from pfa_gate.config.budgets import DROPS
from pfa_gate.graph import Layer
from pfa_gate.graph.cost import Cost
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.correlation_picture import heat_map, side
from pfa_gate.pipeline.cut import Cut, FileLatencies
from pfa_gate.pipeline.demands import Demands
from pfa_gate.pipeline.measure_and_cut import Measured, scores_record, unmeasured_interval
from pfa_gate.record import (
    COMPRESSED_MODEL,
    CompressedRecord,
    Exact,
    LayerRecord,
    RecipeRecord,
    Scores,
    Size,
    SparsityRecord,
    Unmeasured,
    finite,
)
from pfa_gate.report.ownership import FEW_BITS, INT8

if TYPE_CHECKING:
    from pfa_gate.pipeline.deployed import Deployed
    from pfa_gate.pipeline.judged_candidate import JudgedCandidate
    from pfa_gate.pipeline.quantized import QuantizedFindings

_PACKAGES = ("pfa-gate", "torch", "numpy", "scipy", "pytest")


@dataclass(frozen=True)
class Findings:
    """Everything a run found, before it is judged.

    Attributes:
        config: the gate.
        measured: the full model.
        cut: the compressed model, or None where none could be made.
        reason: why there is none.
        full_score: of the full model, where there is none; None without an evaluation.
        candidate: a model made elsewhere, which is judged in place of one that is cut.
        deployed: the files of the compressed model; None before they are made.
        demands: memory and energy of one sample.
        sparsity: zeros among the weights of both models.
    """

    config: GateConfig
    measured: Measured
    cut: Cut | None
    reason: str = ""
    full_score: Score | None = None
    candidate: "JudgedCandidate | None" = None
    deployed: "Deployed | None" = None
    demands: Demands = field(default_factory=Demands)
    sparsity: SparsityRecord | None = None

    @property
    def quantized(self) -> "QuantizedFindings | None":
        """The int8 file; None where there is no compressed model, or pfa.yaml asks for none."""
        return self.deployed.quantized if self.deployed is not None else None

    def measurements(self) -> Measurements:
        """What the budgets are judged on."""
        file, parity = self.quantized, self.deployed.parity if self.deployed else None
        found = replace(
            self.demands.measurements(self._of_models()),
            quantized=file.measure() if file is not None else None,
            quantized_reason=file.reason if file is not None else self.reason,
        )
        return found if parity is None else replace(found, parity=parity.found, parity_reasons=parity.reasons)

    def _of_models(self) -> Measurements:
        layers = tuple(layer.measure() for layer in self._layers())
        if self.candidate is not None:
            return self.candidate.measurements(Measurements(layers, _size(self.measured.cost), scores=self._scored()))
        if self.cut is None:
            return Measurements(
                layers,
                _size(self.measured.cost),
                compressed_reason=self.reason,
                scores=self._scored(),
                scores_reason=self.reason,
                latency_reason=self.reason,
                answers_reason=self.reason,
            )
        proof, timing = self.cut.compressed.proof, self._latencies.compressed
        return Measurements(
            layers=layers,
            full=_size(self.measured.cost),
            compressed=_size(self.cut.cost),
            scores=self._scored(),
            scores_reason="" if self.cut.scores else "pfa.yaml has no evaluation",
            latency=timing.ratio if timing else None,
            timed=timing.measure() if timing else None,
            answers=self.cut.answers,
            exact=Exactness(
                proof.max_error, proof.passed, tuple(sorted(self.cut.compressed.put_back)), proof.tolerance
            ),
        )

    @cached_property
    def layer_records(self) -> tuple[LayerRecord, ...]:
        """One record for each layer of the model, in the order of the forward pass, with its correlations' picture."""
        most = side(len(self.measured.spectra.layers))
        return tuple(_pictured(layer, self.measured.spectra.layers.get(layer.name), most) for layer in self._layers())

    def _layers(self) -> tuple[LayerRecord, ...]:
        chosen = {layer.name for layer in self.measured.chosen}
        return tuple(self._layer(layer, layer.name in chosen) for layer in self.measured.layers)

    def _layer(self, layer: Layer, chosen: bool) -> LayerRecord:
        spectrum = self.measured.spectra.layers.get(layer.name)
        left = self.cut.compressed.axis_indices.get(layer.weight, {}).get(layer.axis) if self.cut else None
        indices = None if left is None else tuple(layer.kept(left).tolist())
        blank = LayerRecord(
            name=layer.name,
            kind=layer.kind,
            filters=layer.filters,
            group=layer.groups[0] if layer.groups else None,
            calls=len(layer.taps),
            keep=None if indices is None else len(indices),
            kept=indices,
            skipped=self._skipped(layer, chosen),
        )
        return blank if spectrum is None else _with_spectrum(blank, spectrum)

    def _skipped(self, layer: Layer, chosen: bool) -> str | None:
        if not chosen:
            return "embeddings are not judged" if layer.kind == "embedding" else "it is left out by layers"
        if not layer.taps:
            return layer.frozen
        return layer.frozen if self.cut else None

    def recipe_record(self) -> RecipeRecord | None:
        """The recipe as plain data; a group that was put back is whole."""
        if self.cut is None:
            return None
        recipe, back = self.cut.plan.recipe, self.cut.compressed.put_back
        reasons = {**recipe.reasons, **self.measured.spectra.whole, **back}
        keep = {name: count for name, count in recipe.counts.items() if name not in back}
        rounds = self.cut.plan.rounds if len(self.cut.plan.rounds) > 1 else ()
        search, choice, full = self.cut.plan.search, self.cut.plan.choice, self._both[0]
        if search is not None and full is not None:
            search = replace(search, reported=full.samples)
        return RecipeRecord(self.config.recipe.strategy, finite(recipe.energy), keep, reasons, rounds, search, choice)

    def compressed_record(self) -> CompressedRecord | None:
        """The smaller model as plain data."""
        if self.candidate is not None:
            return self.demands.compressed_record(self.candidate.compressed_record())
        if self.cut is None:
            return None
        proof, latencies = self.cut.compressed.proof, self._latencies
        timing = latencies.compressed
        part = CompressedRecord(
            parameters=self.cut.cost.parameters,
            bytes=self.cut.cost.bytes,
            macs=self.cut.cost.macs,
            latency=timing.ratio if timing else None,
            exact=Exact(finite(proof.max_error), proof.passed),
            put_back=tuple(sorted(self.cut.compressed.put_back)),
            form=self.cut.compressed.form,
            recovery=self.cut.recovery,
            timing=timing,
            rounded=latencies.rounded,
        )
        return self.demands.compressed_record(part)

    @property
    def _latencies(self) -> FileLatencies:
        found = self.deployed.latencies if self.deployed else None
        return found or FileLatencies()

    def scores_record(self) -> Scores | None:
        """Scores of both models, or None without an evaluation."""
        return self._scores

    @cached_property
    def _scores(self) -> Scores | None:
        return scores_record(self.config, *self._both)

    @property
    def _both(self) -> tuple[Score | None, Score | None]:
        """The scores of the full and the compressed model."""
        smaller = self.candidate or self.cut
        if smaller is None:
            return self.full_score, None
        return smaller.scores or (None, None)

    def _scored(self) -> Scored | None:
        (full, _), scores = self._both, self._scores
        if scores is None or full is None:
            return None
        return replace(scores.measure(), samples=full.samples, interval=scores.interval)

    def unmeasured(self) -> Iterator[Unmeasured]:
        """What was not measured, and why."""
        for name, reason in sorted(self.measured.spectra.unmeasured.items()):
            yield Unmeasured(f"layer {name}", reason)
        yield from self.deployed.parity.gaps if self.deployed and self.deployed.parity else ()
        budgets = (self.config.budgets.compressed, self.config.budgets.quantized)
        drops = [getattr(section, key) for section in budgets for key in DROPS]
        if self._scores is not None and self._scores.chance and not any(drops):
            yield Unmeasured("drop of the score", self._scores.chance)
        if self._scores is not None and (self.cut or self.candidate):
            yield from unmeasured_interval(self._scores, self._both)
        yield from self.demands.unmeasured("candidate" if self.candidate else "compressed model")
        if self.candidate is not None:
            yield from self.candidate.unmeasured()
            return
        if self.cut is None:
            yield Unmeasured(COMPRESSED_MODEL, self.reason)
            return
        if self.quantized is not None and self.quantized.record is None:
            yield Unmeasured(INT8 if self.config.int8 else FEW_BITS, f"not written: {self.quantized.reason}")
        yield from _unmeasured_of_cut(self.cut)


def _unmeasured_of_cut(cut: Cut) -> Iterator[Unmeasured]:
    """What of the model could not be cut or proved in the usual way."""
    for name in cut.coupling.unknown:
        yield Unmeasured("coupling", f"{name}; what it touches stays whole")
    for name, reason in sorted(cut.compressed.put_back.items()):
        yield Unmeasured(f"group {name}", f"restored to full width: {reason}")
    for name, reason in sorted(cut.plan.by_norm.items()):
        yield Unmeasured(f"selection of {name}", f"the L1 norm of its weights chose its filters: {reason}")
    for name in cut.coupling.normalised:
        yield Unmeasured(
            f"equality at {name}",
            "it normalises across channels, so it was proved against its own definition on the channels left",
        )


def _pictured(layer: LayerRecord, spectrum: Spectrum | None, most: int) -> LayerRecord:
    if spectrum is None or spectrum.filters < 2:
        return layer
    return replace(layer, correlations=heat_map(spectrum.correlation, spectrum.inactive, most))


def _with_spectrum(layer: LayerRecord, spectrum: Spectrum) -> LayerRecord:
    measured: Mapping[str, object] = {
        "samples": spectrum.samples,
        "kl": float(spectrum.kl),
        "kl_ratio": float(spectrum.kl_ratio),
        "kl_ratio_standardised": float(spectrum.kl_ratio_standardised),
        "kl_stderr": finite(spectrum.kl_stderr),
        "peak_stderr": finite(spectrum.peak_stderr),
        "mean_stderr": finite(spectrum.mean_stderr),
        "kl_bias": float(spectrum.kl_bias),
        "peak_correlation": float(spectrum.peak_correlation),
        "mean_correlation": float(spectrum.mean_correlation),
        "inactive": spectrum.filters - spectrum.active,
        "eigenvalues": tuple(spectrum.eigenvalues.tolist()),
    }
    return LayerRecord(**{**vars(layer), **measured})


def _size(cost: Cost) -> Size:
    return Size(cost.parameters, cost.bytes, cost.macs)


def versions() -> dict[str, str]:
    """Versions of what took part."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
