"""The record that every run leaves: the one contract between training and everything that reads runs."""

from chemscale.records.find import Unreadable, find_records, find_run, is_done
from chemscale.records.planned import PLANNED_NAME, PointPlan, keep_plan
from chemscale.records.record import (
    GENERATED,
    HEADLINES,
    RECORD_NAME,
    SCHEMA_VERSION,
    SEEN,
    Compute,
    DataSeen,
    Loss,
    Parameters,
    RecordError,
    RunRecord,
    State,
    now,
)

__all__ = [
    "GENERATED",
    "HEADLINES",
    "PLANNED_NAME",
    "RECORD_NAME",
    "SCHEMA_VERSION",
    "SEEN",
    "Compute",
    "DataSeen",
    "Loss",
    "Parameters",
    "PointPlan",
    "RecordError",
    "RunRecord",
    "State",
    "Unreadable",
    "find_records",
    "find_run",
    "is_done",
    "keep_plan",
    "now",
]
