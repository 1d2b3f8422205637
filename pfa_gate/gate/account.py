"""The account of a run: what was measured, as plain data for budgets, record and reports."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from pfa_gate.budget import Exactness, Measurements
from pfa_gate.config import GateConfig
from pfa_gate.cost import Cost
from pfa_gate.coupling import Coupling, Layer
from pfa_gate.evaluation import Score, drop_interval
from pfa_gate.gate.measure import Spectra
from pfa_gate.recipe import Recipe
from pfa_gate.record import Compressed as CompressedRecord
from pfa_gate.record import Exact, LayerRecord, RecipeRecord, Scores, Size, Unmeasured, finite
from pfa_gate.selection import Selection
from pfa_gate.spectrum import Spectrum
from pfa_gate.surgery import Compressed

_PACKAGES = ("pfa-gate", "torch", "numpy", "scipy", "pytest")


@dataclass(frozen=True)
class Findings:
    """Everything a run found, before it is judged."""

    config: GateConfig
    coupling: Coupling
    chosen: Sequence[Layer]
    spectra: Spectra
    recipe: Recipe
    selection: Selection
    full: Cost
    compressed: Compressed
    cost: Cost
    scores: tuple[Score, Score] | None
    latency: float | None

    def measurements(self) -> Measurements:
        """What the budgets are judged on."""
        drop = self.scores[0].value - self.scores[1].value if self.scores else None
        proof = self.compressed.proof
        return Measurements(
            layers=tuple(layer.measure() for layer in self.layers()),
            full=_size(self.full),
            compressed=_size(self.cost),
            accuracy_drop=drop,
            accuracy_reason="" if self.scores else "pfa.yaml has no evaluation",
            latency=self.latency,
            exact=Exactness(proof.max_error, proof.passed, tuple(sorted(self.compressed.put_back)), proof.tolerance),
        )

    def layers(self) -> tuple[LayerRecord, ...]:
        """One record for each layer of the model, in the order of the forward pass."""
        chosen = {layer.name for layer in self.chosen}
        return tuple(self._layer(layer, layer.name in chosen) for layer in self.coupling.layers)

    def _layer(self, layer: Layer, chosen: bool) -> LayerRecord:
        spectrum = self.spectra.layers.get(layer.name)
        kept = self.compressed.kept.get(layer.weight, {}).get(layer.axis)
        indices = None if kept is None else tuple(np.asarray(kept).tolist())
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
        return layer.frozen

    def recipe_record(self) -> RecipeRecord:
        """The recipe as plain data; a group that was put back is whole."""
        reasons = {**self.recipe.reasons, **self.spectra.whole, **self.compressed.put_back}
        keep = {name: count for name, count in self.recipe.keep.items() if name not in self.compressed.put_back}
        return RecipeRecord(self.recipe.strategy, finite(self.recipe.energy), keep, reasons)

    def compressed_record(self) -> CompressedRecord:
        """The smaller model as plain data."""
        proof = self.compressed.proof
        return CompressedRecord(
            parameters=self.cost.parameters,
            bytes=self.cost.bytes,
            macs=self.cost.macs,
            latency=finite(self.latency),
            exact=Exact(finite(proof.max_error), proof.passed),
            put_back=tuple(sorted(self.compressed.put_back)),
        )

    def scores_record(self) -> Scores | None:
        """Scores of both models, or None without an evaluation."""
        if self.scores is None or self.config.evaluation is None:
            return None
        full, smaller = self.scores
        drop = full.value - smaller.value
        interval = drop_interval(full, smaller)
        return Scores(self.config.evaluation.metric, full.value, smaller.value, drop, interval)

    def unmeasured(self) -> Iterator[Unmeasured]:
        """What was not measured, and why."""
        for name, reason in sorted(self.spectra.unmeasured.items()):
            yield Unmeasured(f"layer {name}", reason)
        for name in self.coupling.unknown:
            yield Unmeasured("coupling", f"{name}; what it touches stays whole")
        for name, reason in sorted(self.compressed.put_back.items()):
            yield Unmeasured(f"group {name}", f"put back whole: {reason}")


def _with_spectrum(layer: LayerRecord, spectrum: Spectrum) -> LayerRecord:
    measured: Mapping[str, object] = {
        "samples": spectrum.samples,
        "kl": float(spectrum.kl),
        "kl_ratio": float(spectrum.kl_ratio),
        "kl_ratio_standardised": float(spectrum.kl_ratio_standardised),
        "kl_stderr": finite(spectrum.kl_stderr),
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
