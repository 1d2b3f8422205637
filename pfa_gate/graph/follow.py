"""From a model to its program: the model is run and recorded, at two batch sizes."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.errors import TraceError
from pfa_gate.graph.build_program import build_program
from pfa_gate.graph.computed_weights import computed_weights, store_weights, unpacked_weights
from pfa_gate.graph.depends import doubtful, read_inputs, single
from pfa_gate.graph.program import Program
from pfa_gate.graph.record import Read, Recording, record
from pfa_gate.graph.refusals import data_dependent, named, opaque, refused
from pfa_gate.graph.repeat import PartingError, merged, require
from pfa_gate.model.batch import Inputs
from pfa_gate.model.device import devices_of, is_spread
from pfa_gate.model.eval_mode import Kept, in_eval_mode
from pfa_gate.model.global_state import Randomness, chance, without_garbage_collection
from pfa_gate.model.structure import CallStructure, OpaqueObjectError, leaves_of

_READS = "Python reads a value that is computed from them"


def record_model(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
    """Record `model` on an example, and follow the batch where the model allows another.

    Where the model computes a weight in its forward pass, the program is that of a model that stores it instead.

    Args:
        model: any module; it runs in eval mode and is left as it was.
        args: positional inputs of one call; of a single sample two copies are taken.
        kwargs: its keyword inputs.

    Raises:
        TraceError: the model raises, or which operators it runs depends on the values of its inputs.

    Example:
        >>> program = record_model(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (torch.zeros(2, 2),), {})
        >>> [node.name for node in program.nodes], program.dynamic
        (['linear', 'relu', 'output'], True)
    """
    if is_spread(model):
        raise TraceError(
            f"The model's weights lie on several devices or are fetched when needed ({', '.join(devices_of(model))}).",
            remedy="Build the model on one device to have it followed and compressed.",
        )
    program = _program(model, args, kwargs)
    weights = computed_weights(program)
    if not weights:
        return program
    stored = store_weights(program, weights)
    unpacked = unpacked_weights(program, weights)
    return replace(_program(stored, args, kwargs), stored=stored, unpacked=unpacked)


def _program(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
    example = _Example((args, dict(kwargs)))
    with in_eval_mode(model) as kept, Randomness(0).borrowed(), without_garbage_collection():
        try:
            recording = _Passes(model, example, kept).program()
        except TraceError:
            raise
        except OpaqueObjectError as error:
            raise opaque(error.kind) from error
        except Exception as error:  # a user's forward may raise anything
            raise refused(error) from error
        call = CallStructure(_names(model, args, kwargs), example.structure, recording.structure)
        return build_program(model, recording, call, example.samples, tuple(_lasting_reads(recording)))


def _lasting_reads(recording: Recording) -> Iterator[Read]:
    """Where Python looks at masks or token ids: it is held to the same answer ever after.

    Raises:
        TraceError: it reads floating or complex numbers, which vary without end, or many at once.
    """
    for read, leaves in read_inputs(recording):
        forms = (recording.inputs[leaf] for leaf in leaves)
        numbers = any(form is not None and not _countable(form.dtype) for form in forms)
        if numbers or not single(recording, read):
            raise data_dependent(_READS, read.line)
        yield read


def _countable(dtype: torch.dtype) -> bool:
    """Whether it is that of masks and token ids: neither floating nor complex."""
    return not (dtype.is_floating_point or dtype.is_complex)


def _names(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """What the model's forward calls its inputs."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    names = [name for name in plain if name not in kwargs][: len(args)]
    names += [f"input_{place}" for place in range(len(names), len(args))]
    return (*names, *kwargs)


class _Example:
    """The example's inputs, and the same with another number of samples, in another order."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        leaves, self.structure = leaves_of(inputs)
        sizes = [leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
        self._given = sizes[0] if sizes else 1
        self.samples = max(self._given, 2)

    def at(self, samples: int) -> Inputs:
        """So many of its samples, from the start again where there are fewer, as copies."""
        return self._chosen(torch.arange(samples) % self._given)

    def backwards(self, samples: int) -> Inputs:
        """The same in the opposite order."""
        return self._chosen((torch.arange(samples) % self._given).flip(0))

    def repeated(self, sample: int, samples: int) -> Inputs:
        """One sample so many times; -1 is the last."""
        return self._chosen(torch.full((samples,), sample % self._given))

    def _chosen(self, order: Tensor) -> Inputs:
        def chosen(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            per_sample = leaf.ndim and leaf.shape[0] == self._given
            return leaf.index_select(0, order.to(leaf.device)) if per_sample else leaf.clone()

        inputs: Inputs = pytree.tree_map(chosen, self._inputs)
        return inputs


class _Passes:
    """The passes that are recorded, until two of them are one program."""

    def __init__(self, model: nn.Module, example: _Example, kept: Kept) -> None:
        self._model, self._example, self._kept = model, example, kept
        self._by_chance = False  # whether Python draws numbers, by which it may choose what it runs

    def program(self) -> Recording:
        """One recording for every batch; else for the example's batch alone.

        Raises:
            TraceError: it depends on the values of the inputs.
        """
        samples = self._example.samples
        first = self._record(self._example.at(samples), again=False)
        for other in (samples + 1, 2 * samples):
            found = self._at_any_batch(first, other)
            if found is not None:
                return found
        # Once more from the start: some models fill a cache in their first pass.
        first = self._record(self._example.at(samples), again=False)
        found = self._at_any_batch(first, samples + 1)
        if found is not None:
            return found
        self._record(self._example.at(samples), again=False)  # a cache of one entry held that of another batch
        return self._at_one_batch(self._record(self._example.at(samples), again=False))

    def _at_one_batch(self, first: Recording) -> Recording:
        samples = self._example.samples
        try:
            found = merged(first, self._record(self._example.backwards(samples)), (samples, samples))
            self._hold_to_single_samples(found)
        except PartingError as parting:
            raise data_dependent(*_told(parting)) from parting
        return found

    def _at_any_batch(self, first: Recording, other: int) -> Recording | None:
        """Merged with a recording of another batch; None where there is no such program."""
        samples = self._example.samples
        try:
            second = self._record(self._example.backwards(other))
        except Exception:  # a forward that takes its own batch alone
            return None
        try:
            found = merged(first, second, (samples, other))
            if doubtful(found) or self._by_chance:
                further = samples + 2 * (other - samples)
                require(found, self._record(self._example.at(further)), further)
                self._hold_to_single_samples(found)
        except PartingError:
            return None
        return found

    def _hold_to_single_samples(self, found: Recording) -> None:
        """Batches of the first sample alone and of the last alone must run the same operators.

        Raises:
            PartingError: they do not.
        """
        for sample in (0, -1):
            samples = self._example.samples
            require(found, self._record(self._example.repeated(sample, samples)), samples)

    def _record(self, inputs: Inputs, again: bool = True) -> Recording:
        before = chance()
        try:
            return record(self._model, inputs, again)
        finally:
            self._by_chance |= chance() != before
            self._kept.restore()


def _told(parting: PartingError) -> tuple[str, str]:
    """How two recordings differ, and at which line, if Python read a value there."""
    if parting.operation is not None and parting.operation.line:
        return _READS, parting.operation.line
    return f"{named(parting.operation)} {parting.how}", ""
