"""One shard of the probe: the model runs on every n-th batch; fingerprints say what was measured, for a merge."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from pfa_gate.analysis.covariance import Moments, accumulate_parts, folds_for
from pfa_gate.analysis.responses import Responses, Stretch
from pfa_gate.artifacts.moments import ShardMoments
from pfa_gate.config import Document, GateConfig
from pfa_gate.errors import ConfigError, DataError
from pfa_gate.graph import Program
from pfa_gate.graph.fingerprint import model_fingerprint
from pfa_gate.model import Batch
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.model.subject import holds_out
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import GateJob, ProbePass, Stages
from pfa_gate.pipeline.measure_and_cut import choose_layers, trace
from pfa_gate.record import Probe
from pfa_gate.record.manifest import Progress

MEASURING = ("pfa-gate", "torch")
"""The packages whose versions decide what is measured."""


@dataclass(frozen=True)
class ShardSpec:
    """Which shard of how many; batch b of the probe, from 0, is for shard b modulo n plus 1."""

    shard: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "ShardSpec":
        """Read `i/n`.

        Raises:
            ConfigError: it is something else.

        Example:
            >>> ShardSpec.parse("2/3")
            ShardSpec(shard=2, of=3)
        """
        shard, _, of = text.partition("/")
        if shard.isdecimal() and of.isdecimal() and 1 <= int(shard) <= int(of):
            return cls(int(shard), int(of))
        raise ConfigError(f"'{text}' names no shard.", remedy="Write --shard i/n with i from 1 to n, such as 2/3.")

    def has(self, number: int) -> bool:
        """Whether a batch, counted from 0, is this shard's.

        Example:
            >>> [ShardSpec(2, 3).has(number) for number in range(4)]
            [False, True, False, False]
        """
        return number % self.of == self.shard - 1


@defaults_restored()
@freed_memory_kept()
def collect(document: Document, gate: str, spec: ShardSpec, progress: Progress | None = None) -> ShardMoments:
    """Measure one shard of a gate's probe.

    All data is read, because random transforms must draw the same numbers in every process; the model runs on this
    shard's batches alone, each as one process would run it.

    Raises:
        PFAGateError: what could not be measured, with its place in the config.
    """
    stages = Stages(document, gate, progress)
    probe_pass = load_and_trace(document, gate, stages)
    with stages.stage("probing", "probe", "data"):
        shard = measure_part(probe_pass, probe_pass.subject.probe, spec.has)
        if not shard.moments:
            raise DataError(
                f"Shard {spec.shard}/{spec.of} has no sample to measure: the probe has {shard.batches} batches.",
                remedy="Ask for fewer shards, or lower probe.batch_size.",
            )
        probe = Probe(probe_pass.subject.probe.samples, probe_pass.subject.probe.sha256)
    config, model = (
        config_fingerprint(probe_pass.config),
        model_fingerprint(probe_pass.subject.model, probe_pass.program),
    )
    return ShardMoments(gate, spec.shard, spec.of, shard.samples, probe, config, model, versions(), shard.moments)


def load_and_trace(document: Document, gate: str, stages: Stages) -> ProbePass:
    """Load and trace a gate's model, and choose its layers."""
    with stages.stage("loading"):
        subject = load_subject(document, gate)
    job = GateJob(document.gate(gate), subject, stages)
    traced = trace(job)
    return ProbePass(job.config, subject, choose_layers(job, traced), traced.graph)


@dataclass(frozen=True)
class ProbeShard:
    """What a part of the probe's batches gave.

    Attributes:
        batches: of the whole probe.
        samples: of this part.
        moments: node -> moments of its jackknife folds; empty where no batch was this part's.
    """

    batches: int
    samples: int
    moments: Mapping[str, tuple[Moments, ...]]


def measure_part(probe_pass: ProbePass, batches: Iterable[Batch], mine: Callable[[int], bool]) -> ProbeShard:
    """Read all batches, counted from 0, and run the model on those that are mine."""
    count = _Count()
    with exact_arithmetic(probe_pass.subject.device):
        moments = accumulate_parts(_responses(probe_pass, batches, mine, count), *probe_pass.places)
    return ProbeShard(count.batches, count.samples, _not_called(probe_pass) | moments if moments else moments)


def _not_called(probe_pass: ProbePass) -> dict[str, tuple[Moments, ...]]:
    """Moments of no sample at the nodes that are read by hooks: a batch need not call every layer."""
    filters = {
        tap.node: layer.filters for layer in probe_pass.layers for tap in layer.taps if probe_pass.program is None
    }
    return {place: (Moments.empty(number),) * folds_for(number) for place, number in filters.items()}


@dataclass
class _Count:
    """What a pass has seen: all batches, and the samples of this shard's."""

    batches: int = 0
    samples: int = 0


def _ran(program: Program | None, samples: int) -> int:
    """How many samples of a batch are run: a program with a fixed batch takes whole ones only."""
    if program is None or program.dynamic:
        return samples
    return samples // program.batch * program.batch


def _responses(
    probe_pass: ProbePass, batches: Iterable[Batch], mine: Callable[[int], bool], count: _Count
) -> Iterator[tuple[Responses, dict[str, int]]]:
    """This shard's responses, and for each node the number that their first sample has in one process.

    Where maps stand for samples, their number follows from the samples before.
    """
    before = 0
    for batch in batches:
        here = mine(count.batches)
        count.batches += 1
        samples = _ran(probe_pass.program, batch.size)
        if here:
            count.samples += batch.size
            runs = list(probe_pass.read([batch], Stretch(before)))
            each = samples // max(len(runs), 1)
            for number, responses in enumerate(runs):
                first = before + number * each
                yield responses, {place: first * len(rows) // each for place, rows in responses.items()}
        before += samples


def config_fingerprint(config: GateConfig) -> str:
    """SHA-256 of what a gate's measuring depends on, which samples are held out too; the rest may change after it."""
    parts = [section.model_dump_json() for section in (config.model, config.probe, config.layers)]
    apart = [*(["held out"] if holds_out(config) else []), *(["auto"] if config.selection == "auto" else [])]
    return hashlib.sha256("\n".join([*parts, config.recipe.residual, *apart]).encode()).hexdigest()


def identity(probe_pass: ProbePass) -> dict[str, object]:
    """All in which processes must agree that measure one thing together, as plain data."""
    probe = probe_pass.subject.probe
    return {
        "config": config_fingerprint(probe_pass.config),
        "model": model_fingerprint(probe_pass.subject.model, probe_pass.program),
        "probe": [probe.samples, probe.sha256],
        "device": probe_pass.subject.device.type,
        "versions": [version(name) for name in MEASURING],
    }
