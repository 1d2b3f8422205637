"""The record of one gate's run: plain data, each dataclass an object of record.json, each field a key.

Sizes are counts, bytes of the stored weights and MACs of one sample; times are seconds; KL values are nats
unless the name says ratio. A number that could not be measured is None, and `unmeasured` says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pfa_gate.budget import Answers, Finding, Parity, Size
from pfa_gate.errors import ArtifactError
from pfa_gate.record.choice import SelectionChoice
from pfa_gate.record.factorized import FactorizedRecord
from pfa_gate.record.measured import LayerRecord, Scores
from pfa_gate.record.memory import DemandsRecord
from pfa_gate.record.plain_data import LATER, RepeatedKeyError, plain, read_as, text_of, unique_keys
from pfa_gate.record.quantized import QuantizedRecord
from pfa_gate.record.search import SearchRecord
from pfa_gate.record.smaller_model import CandidateRecord, CompressedRecord
from pfa_gate.record.sparsity import SparsityRecord

SCHEMA = "pfa_gate.record/1"
_REMEDY = "Run `pytest --pfa` again to write a fresh record."
COMPRESSED_MODEL = "compressed model"


@dataclass(frozen=True)
class Probe:
    """The data the model was measured on.

    Attributes:
        samples: number of samples.
        sha256: digest of the input bytes.
        positions: how many of each map are samples of their own, if it has so many; None where maps are pooled.
        held_out: further samples of its data, on which answers were judged and nothing else was done.
    """

    samples: int
    sha256: str
    positions: int | None = field(default=None, metadata=LATER)
    held_out: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class RecipeRecord:
    """How many filters each group keeps, and why.

    Attributes:
        strategy: kl, energy, parameters, bytes, macs or score.
        energy: the share of energy kept; None for the strategy kl.
        keep: filters kept per group.
        reasons: why a group is kept whole.
        rounds: filters kept per group after each round, where there were several.
        search: the trials of the strategy score; None for any other.
        choice: what `selection: auto` tried; None where pfa.yaml names a selection.
    """

    strategy: str
    energy: float | None
    keep: Mapping[str, int]
    reasons: Mapping[str, str] = field(default_factory=dict)
    rounds: tuple[Mapping[str, int], ...] = field(default=(), metadata=LATER)
    search: SearchRecord | None = field(default=None, metadata=LATER)
    choice: SelectionChoice | None = field(default=None, metadata=LATER)


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
    """Everything that one run of a gate measured; reports are made from this alone.

    Attributes:
        gate: the gate's name.
        config: path of its pfa.yaml, with forward slashes, relative where possible.
        versions: version of each package that took part.
        seconds: time of each stage, in the order they ran; together the whole wait, imports and writing too.
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
        candidate: where the compressed model comes from, if another tool made it; None where it was cut here.
        answers: of the compressed model against the full one; None where they were not compared.
        inputs: input of the files that run without the user's code -> its shape, with a name such as `batch` or
            `height` in the place of each size that may change.
        parity: section of the budgets -> its file in the runtime against its reference.
        command: that made it, where it was not pytest.
        quantized: the int8 file of the compressed model; None where there is none.
        factorized: the layers of low rank; None where pfa.yaml asks for none, or no model was compressed.
        demands: memory along the operators of both models, and the table of energy; None where nothing was followed.
        sparsity: zeros among the weights of both models; None in records of older versions.
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
    answers: Answers | None = field(default=None, metadata=LATER)
    run: str = field(default="", metadata=LATER)
    inputs: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict, metadata=LATER)
    candidate: CandidateRecord | None = field(default=None, metadata=LATER)
    command: str = field(default="", metadata=LATER)
    quantized: QuantizedRecord | None = field(default=None, metadata=LATER)
    parity: Mapping[str, Parity] = field(default_factory=dict, metadata=LATER)
    demands: DemandsRecord | None = field(default=None, metadata=LATER)
    sparsity: SparsityRecord | None = field(default=None, metadata=LATER)
    factorized: FactorizedRecord | None = field(default=None, metadata=LATER)

    def of(self, area: str) -> "Record":
        """The same with the int8 file in the place of the compressed model, for the budgets of `quantized`.

        Example:
            >>> file = QuantizedRecord("ab", 99, "ONNX Runtime", 8, "static", "", 64, 9, 18)
            >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), quantized=file)
            >>> record.of("quantized").compressed.bytes, record.of("compressed").compressed
            (18, None)
        """
        if area != "quantized":
            return self
        file = self.quantized
        latency = file.timing.ratio if file and file.timing else None
        part = CompressedRecord(file.parameters, file.bytes, None, latency, None) if file else None
        scores, answers = (file.scores, file.answers) if file else (None, None)
        return replace(self, compressed=part, scores=scores, answers=answers)


def to_dict(record: Record) -> dict[str, Any]:
    """The record as dicts, lists, strings and numbers, keys in the order of the dataclasses, schema first.

    Raises:
        ArtifactError: a number is NaN or infinite; it should be None, with its reason in `unmeasured`.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> to_dict(record)["model"]
        {'parameters': 9, 'bytes': 36, 'macs': 81, 'memory': None, 'energy': None}
    """
    return {"schema": SCHEMA, **plain(record)}


def dumps(record: Record) -> str:
    r"""The record as JSON text: two spaces, lists of plain values on one line, a line break at the end.

    Raises:
        ArtifactError: a number is NaN or infinite.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> dumps(record)[:35]
        '{\n  "schema": "pfa_gate.record/1",\n'
    """
    return text_of(to_dict(record))


def loads(text: str) -> Record:
    """Read a record from JSON text.

    Raises:
        ArtifactError: it is not JSON, or not a record of this schema.

    Example:
        >>> loads("{}")
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: This is not a pfa_gate record: it has no schema.
          Run `pytest --pfa` again to write a fresh record.
    """
    try:
        data = json.loads(text, object_pairs_hook=unique_keys)
    except RepeatedKeyError as error:
        raise ArtifactError(f"The record {error}.", remedy=_REMEDY) from error
    # A number of thousands of digits is a ValueError as well.
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"The record is not JSON: {error}.", remedy=_REMEDY) from error
    return from_dict(data)


def from_dict(data: object) -> Record:
    """Read a record from plain data, as `to_dict` gives it.

    Raises:
        ArtifactError: unknown schema, a key missing or unknown, or a value of the wrong type.

    Example:
        >>> from_dict({"schema": "a"})
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: The record has the schema 'a'; this version reads 'pfa_gate.record/1'.
          Read it with the version of pfa_gate that wrote it, or run `pytest --pfa` again.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema is None:
        raise ArtifactError("This is not a pfa_gate record: it has no schema.", remedy=_REMEDY)
    if schema != SCHEMA:
        raise ArtifactError(
            f"The record has the schema {schema!r:.80}; this version reads '{SCHEMA}'.",
            remedy="Read it with the version of pfa_gate that wrote it, or run `pytest --pfa` again.",
        )
    record: Record = read_as(Record, data, "The record", _REMEDY)
    return record
