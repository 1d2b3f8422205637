"""The shards of a probe put together, and the gate judged on them as one process would have judged it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.analysis.covariance import merge_parts
from pfa_gate.artifacts.moments import ShardMoments, read_moments
from pfa_gate.config import load
from pfa_gate.distributed.collect_shard import MEASURING, config_fingerprint
from pfa_gate.errors import ArtifactError
from pfa_gate.graph.fingerprint import model_fingerprint
from pfa_gate.model import Batch
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import LocalBackend, ProbePass, Stages
from pfa_gate.pipeline.run import Run, run_with_backend
from pfa_gate.pipeline.spectra import Shards
from pfa_gate.record import Probe
from pfa_gate.record.baseline_source import absolute, context_of, find_with_history

_AGAIN = "Collect all shards again, with one config and one checkout."


@dataclass(frozen=True)
class PrecomputedBackend(LocalBackend):
    """What other processes have measured; it stands in for the pass over the probe.

    Attributes:
        model: fingerprint of the model.
        probe: the samples.
        collected: node -> moments of its shards.
    """

    model: str
    probe: Probe
    collected: Mapping[str, Shards]

    def moments(self, probe_pass: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """The moments, if they are those of this model on this probe.

        Raises:
            ArtifactError: they are not.
        """
        if model_fingerprint(probe_pass.subject.model, probe_pass.program) != self.model:
            raise ArtifactError(
                "The shards were measured on another model: its weights or its operators differ from this one's.",
                remedy="Collect and merge with the same checkpoint and the same code.",
            )
        here = Probe(probe_pass.subject.probe.samples, probe_pass.subject.probe.sha256)
        if here != self.probe:
            raise ArtifactError(
                f"The shards were measured on another probe: {self.probe.samples:,} samples, sha256 "
                f"{self.probe.sha256[:12]}; here it has {here.samples:,}, sha256 {here.sha256[:12]}.",
                remedy="Collect and merge with the same data.",
            )
        return self.collected


def merge(config: Path, files: Sequence[Path], *, output: Path | None = None, baseline: str = "") -> Run:
    """Judge a gate on the shards that `collect` wrote; all but the pass over the probe is done here.

    Args:
        config: the pfa.yaml they were collected with.
        files: one for each shard, in any order.
        output: folder for the results; `.pfa` beside the config unless given.
        baseline: what to compare with; the file beside the config, if there is one, unless given.

    Raises:
        ArtifactError: a file is no shard, a shard is missing or there twice, or they do not belong together or here.
        PFAGateError: what could not be judged.
    """
    document = load(config)
    parts = joinable([(str(path), read_moments(path)) for path in files])
    first = parts[0]
    gate = document.gate(first.gate)
    if config_fingerprint(gate) != first.config:
        raise ArtifactError(
            f"The shards were collected with another config than {config}: model, probe, layers or recipe.residual "
            "differ.",
            remedy=_AGAIN,
        )
    _require_versions(first.versions)
    precomputed = PrecomputedBackend(first.model, first.probe, merge_parts([part.moments for part in parts]))
    found = find_with_history(document.path.absolute(), absolute(baseline, Path.cwd()), gate)
    context = context_of(document, gate.name, found, updating=False)
    return run_with_backend(document, context, Stages(document, gate.name), output, precomputed)


def joinable(parts: Sequence[tuple[str, ShardMoments]]) -> list[ShardMoments]:
    """Give the parts in the order of their shards, if they are all shards of one probe, each there once.

    Args:
        parts: each with the name of its file.

    Raises:
        ArtifactError: they are not.

    Example:
        >>> from pfa_gate.record import Probe
        >>> joinable([("one", ShardMoments("a", 1, 2, 4, Probe(8, "ab"), "c", "m", {}, {}))])
        Traceback (most recent call last):
        pfa_gate.errors.ArtifactError: Of 2 shards, 2/2 is missing.
          Name one file for each shard.
    """
    for fact, remedy in _misfits(parts):
        raise ArtifactError(fact, remedy=remedy)
    return sorted((part for _, part in parts), key=lambda part: part.shard)


def _misfits(parts: Sequence[tuple[str, ShardMoments]]) -> Iterator[tuple[str, str]]:
    """Why these cannot be joined, each with its remedy."""
    if not parts:
        yield "There are no shards to merge.", "Name the files that pfa-gate collect wrote."
    (name, first), *others = parts
    for other, part in others:
        for word, value in _identity(part).items():
            if value != _identity(first)[word]:
                yield f"{name} and {other} differ in their {word}.", _AGAIN
    found: dict[int, str] = {}
    for other, part in parts:
        if part.shard in found:
            both = f"{found[part.shard]} and {other}"
            yield f"Shard {part.shard}/{part.of} is there twice: {both}.", "Name one file for each shard."
        found[part.shard] = other
    missing = [f"{shard}/{first.of}" for shard in range(1, first.of + 1) if shard not in found]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        yield f"Of {first.of} shards, {', '.join(missing)} {verb} missing.", "Name one file for each shard."
    counted = sum(part.samples for _, part in parts)
    if counted != first.probe.samples:
        yield f"The shards hold {counted:,} samples, and the probe has {first.probe.samples:,}.", _AGAIN


def _identity(part: ShardMoments) -> dict[str, object]:
    return {
        "gate": part.gate,
        "config": part.config,
        "number of shards": part.of,
        "model": part.model,
        "probe": part.probe,
        "versions": {name: part.versions.get(name) for name in MEASURING},
    }


def _require_versions(theirs: Mapping[str, str]) -> None:
    ours = versions()
    for name in MEASURING:
        if theirs.get(name) != ours[name]:
            fact = f"The shards were collected with {name} {theirs.get(name)}; here it is {ours[name]}."
            raise ArtifactError(fact, remedy="Collect and merge with the same versions.")
