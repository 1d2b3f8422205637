"""From pfa.yaml to what a gate judges: the model with its weights, the probe, the evaluation."""

from pfa_gate.loading.batch import Batch, batch_of
from pfa_gate.loading.batches import Batches, Fingerprint
from pfa_gate.loading.data import Sampling, batches_of
from pfa_gate.loading.forward import forward
from pfa_gate.loading.subject import Metric, Subject, load

__all__ = [
    "Batch",
    "Batches",
    "Fingerprint",
    "Metric",
    "Sampling",
    "Subject",
    "batch_of",
    "batches_of",
    "forward",
    "load",
]
