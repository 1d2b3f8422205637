"""Moments that were measured by other processes, and of what: they stand in for the pass over the probe."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import nn

from pfa_gate.config import GateConfig
from pfa_gate.errors import ArtifactError
from pfa_gate.graph import Program
from pfa_gate.model import Batch
from pfa_gate.pipeline.backend import LocalBackend, ProbePass
from pfa_gate.pipeline.spectra import Shards
from pfa_gate.record import Probe

MEASURING = ("pfa-gate", "torch")
"""The packages whose versions decide what is measured."""


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


def model_fingerprint(model: nn.Module, program: Program | None) -> str:
    """SHA-256 of a model's tensors, and of its exported operators, or of its modules where it has no program."""
    modules = "\n".join(f"{name} {type(module).__qualname__}" for name, module in model.named_modules())
    digest = hashlib.sha256((modules if program is None else program.exported.graph_module.code).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        if tensor.is_meta:  # it is fetched when it is needed
            continue
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def config_fingerprint(config: GateConfig) -> str:
    """SHA-256 of what a gate's measuring depends on; limits, recovery and the rest may change after it."""
    parts = [section.model_dump_json() for section in (config.model, config.probe, config.layers)]
    return hashlib.sha256("\n".join([*parts, config.recipe.residual]).encode()).hexdigest()


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
