"""The file of `pfa-gate compare`: where the first model comes from, and the record of the second one against it."""

from pfa_gate.record.gate_record import Record, to_dict
from pfa_gate.record.plain_data import plain, text_of
from pfa_gate.record.smaller_model import CandidateRecord

COMPARISON_SCHEMA = "pfa_gate.comparison/1"


def dumps_comparison(full: CandidateRecord, record: Record) -> str:
    """Both as JSON text; `record` is laid out as that of a gate.

    Raises:
        ArtifactError: a number is NaN or infinite.
    """
    return text_of({"schema": COMPARISON_SCHEMA, "full": plain(full), "record": to_dict(record)})
