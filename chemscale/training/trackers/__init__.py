"""Where metrics go: ``metrics.jsonl`` always, and what ``logger=`` names beside it, behind one interface."""

from chemscale.training.trackers.base import RunInfo, Silent, SweepLaw, Tracker, TrackerError, Trackers
from chemscale.training.trackers.jsonl import JsonLines
from chemscale.training.trackers.opening import check_trackers, chosen, open_trackers

__all__ = [
    "JsonLines",
    "RunInfo",
    "Silent",
    "SweepLaw",
    "Tracker",
    "TrackerError",
    "Trackers",
    "check_trackers",
    "chosen",
    "open_trackers",
]
