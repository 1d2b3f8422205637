"""One shard of the probe: the model runs on every n-th batch, and the moments are kept for a merge."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pfa_gate.artifacts.moments import Part
from pfa_gate.config import Document
from pfa_gate.coupling import Program, export_model, inputs_of, trace_program
from pfa_gate.covariance import accumulate_dealt
from pfa_gate.errors import ConfigError, DataError, TraceError
from pfa_gate.gate.account import versions
from pfa_gate.gate.elsewhere import config_fingerprint, model_fingerprint
from pfa_gate.gate.examine import read_at
from pfa_gate.gate.measure import places
from pfa_gate.gate.stages import Progress, Stages
from pfa_gate.loading import Batch
from pfa_gate.loading import load as load_subject
from pfa_gate.probe import Responses, chosen_layers, hooked_layers, respond, respond_by_hooks
from pfa_gate.record import Probe

Read = Callable[[Batch], Iterable[Responses]]


@dataclass(frozen=True)
class Turn:
    """Which shard of how many; batch b of the probe, from 0, is for shard b modulo n plus 1."""

    shard: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Turn":
        """Read `i/n`.

        Raises:
            ConfigError: it is something else.

        Example:
            >>> Turn.parse("2/3")
            Turn(shard=2, of=3)
        """
        shard, _, of = text.partition("/")
        if shard.isdecimal() and of.isdecimal() and 1 <= int(shard) <= int(of):
            return cls(int(shard), int(of))
        raise ConfigError(f"'{text}' names no shard.", remedy="Write --shard i/n with i from 1 to n, such as 2/3.")

    def has(self, number: int) -> bool:
        """Whether a batch, counted from 0, is this shard's.

        Example:
            >>> [Turn(2, 3).has(number) for number in range(4)]
            [False, True, False, False]
        """
        return number % self.of == self.shard - 1


def collect(document: Document, gate: str, turn: Turn, progress: Progress | None = None) -> Part:
    """Measure one shard of a gate's probe.

    All data is read, because random transforms must draw the same numbers in every process; the model runs on this
    shard's batches alone, each as one process would run it.

    Raises:
        PFAGateError: what could not be measured, with its place in the config.
    """
    config = document.gate(gate)
    stages = Stages(document, gate, progress)
    with stages.stage("loading"):
        subject = load_subject(document, gate)
    try:
        with stages.stage("tracing", "model", "factory"):
            program = export_model(subject.model, *inputs_of(subject.example))
            coupling = trace_program(program, config.recipe.residual)
            layers = coupling.layers
    except TraceError:
        program, coupling, layers = None, None, hooked_layers(subject.model)
    with stages.stage("choosing layers", "layers"):
        chosen = chosen_layers(subject.model, layers, config.layers.include, config.layers.exclude)
    groups, taps = read_at(chosen, coupling)

    def read(batch: Batch) -> Iterable[Responses]:
        if program is None:
            return respond_by_hooks(subject.model, [batch], chosen, config.probe.pooling)
        return respond(program, [batch], taps, config.probe.pooling)

    with stages.stage("probing", "probe", "data"):
        count = _Count()
        stream = _dealt(subject.probe, turn, read, _ran(program), count)
        moments = accumulate_dealt(stream, *places(chosen, groups))
        if not moments:
            raise DataError(
                f"Shard {turn.shard}/{turn.of} has no sample to measure: the probe has {count.batches} batches.",
                remedy="Ask for fewer shards, or lower probe.batch_size.",
            )
        probe = Probe(subject.probe.samples, subject.probe.sha256)
    model = model_fingerprint(subject.model, program)
    return Part(gate, turn.shard, turn.of, count.samples, probe, config_fingerprint(config), model, versions(), moments)


@dataclass
class _Count:
    """What a pass has seen: all batches, and the samples of this shard's."""

    batches: int = 0
    samples: int = 0


def _ran(program: Program | None) -> Callable[[int], int]:
    """How many samples of a batch are run: a program with a fixed batch takes whole ones only."""
    if program is None or program.dynamic:
        return lambda samples: samples
    size = program.batch
    return lambda samples: samples // size * size


def _dealt(
    batches: Iterable[Batch], turn: Turn, read: Read, ran: Callable[[int], int], count: _Count
) -> Iterator[tuple[Responses, dict[str, int]]]:
    """This shard's responses, and for each place the row at which one process would have had them.

    A place gives the same number of rows for every sample, so the rows before follow from the samples before.
    """
    before = 0
    for batch in batches:
        mine = turn.has(count.batches)
        count.batches += 1
        samples = ran(batch.size)
        if mine:
            count.samples += batch.size
            runs = list(read(batch))
            each = samples // max(len(runs), 1)
            for number, responses in enumerate(runs):
                first = before + number * each
                yield responses, {place: first * len(rows) // each for place, rows in responses.items()}
        before += samples
