"""What is judged, loaded from pfa.yaml: the model with its weights, the probe, the evaluation."""

from pfa_gate.model.batch import Batch, batch_of
from pfa_gate.model.batches import Batches, Fingerprint
from pfa_gate.model.data import Sampling, batches_of
from pfa_gate.model.metric import Metric
from pfa_gate.model.subject import Subject, load
from pfa_gate.model.torch_module import forward

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
