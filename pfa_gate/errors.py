"""Every mistake a user can make has one class here.

An error says three things: the fact, where it is, and the remedy. Inner code states the fact and the
remedy; the boundary that knows the place (`pfa.yaml:12:7`) adds it with `at`.
"""

from typing import Self


class PFAGateError(Exception):
    """Root of all errors that pfa_gate raises on purpose.

    Args:
        fact: what is the case, in one sentence.
        remedy: what the user can do about it.
        where: the place, outermost last; usually added later with `at`.

    Example:
        >>> print(PFAGateError("The probe is empty.", remedy="Point probe.data at some samples.").at("pfa.yaml:9:13"))
        The probe is empty.
          at pfa.yaml:9:13
          Point probe.data at some samples.
    """

    def __init__(self, fact: str, *, remedy: str = "", where: tuple[str, ...] = ()) -> None:
        super().__init__(fact)
        self.fact = fact
        self.remedy = remedy
        self.where = where

    def at(self, place: str) -> Self:
        """Add a place and give back the same error, for `raise error.at(...)`."""
        if place not in self.where:
            self.where = (*self.where, place)
        return self

    def __str__(self) -> str:
        """Fact, places, remedy; one line each."""
        lines = [self.fact, *(f"  at {place}" for place in self.where)]
        return "\n".join([*lines, f"  {self.remedy}"] if self.remedy else lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle whole, so that an error crosses process borders with its place and remedy."""
        return _rebuild, (type(self), self.fact, self.remedy, self.where)


def _rebuild(kind: type[PFAGateError], fact: str, remedy: str, where: tuple[str, ...]) -> PFAGateError:
    return kind(fact, remedy=remedy, where=where)


class ConfigError(PFAGateError):
    """pfa.yaml is missing, does not parse, or does not say what it must."""


class FactoryError(PFAGateError):
    """A callable named in pfa.yaml does not import, or raises."""


class CheckpointError(PFAGateError):
    """The checkpoint cannot be read safely, or does not fit the model."""


class DataError(PFAGateError):
    """Probe or evaluation data is empty, of an unknown kind, or does not fit the model."""


class LabelsError(PFAGateError):
    """An evaluation needs labels and its data has none, or they do not fit the outputs."""


class MetricError(PFAGateError):
    """A metric raised or gave something that is not one finite number."""


class TraceError(PFAGateError):
    """The model cannot be followed, so nothing of it can be cut."""


class LayerPatternError(PFAGateError):
    """A layer pattern matches no layer."""


class LayerNotCalledError(PFAGateError):
    """A layer is part of the model but its forward pass never calls it."""


class NotFiniteError(PFAGateError):
    """A response, output or score is NaN or infinite."""


class TooFewSamplesError(PFAGateError):
    """There are not more samples than filters, so the covariance cannot have full rank."""


class InactiveModelError(PFAGateError):
    """No filter of any layer responds to the probe."""


class TargetError(PFAGateError):
    """A size target is smaller than the smallest recipe."""


class SurgeryError(PFAGateError):
    """A compressed model is not what the recipe says, or cannot be proved to be."""


class ArtifactError(PFAGateError):
    """An artifact cannot be written, read, or does not belong to this model."""


class CandidateError(PFAGateError):
    """A model that another tool made cannot be read, does not run here, or does not take the data."""


class RankError(PFAGateError):
    """A process that torchrun started beside this one died, hangs, or measured something else."""


class CommentError(PFAGateError):
    """A comment cannot be posted, or there is nothing sound to post."""


class NotAllowedError(CommentError):
    """The token may not write comments: on a pull request from a fork it never may."""


class PfaWarning(UserWarning):
    """Something is wrong that changes no verdict."""
