"""Which frames are trained on, validated on and kept for testing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from chemscale.structures.store import PARTS


@dataclass(frozen=True)
class SplitPolicy:
    """How frames are divided where the source publishes no split.

    Args:
        by: ``frame`` for the hash of the geometry, so that a frame and its exact copy stay together;
            ``molecule`` for that of the molecule (``preparation.molecules``), so that no conformer of a
            held-out molecule is trained on.
        validation: share of the frames, or molecules, that are held out.
        test: share of those that are kept for testing.
        seed: of the division.

    Raises:
        ValueError: fractions that leave nothing to train on, or an unknown unit.
    """

    by: str = "frame"
    validation: float = 0.1
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("frame", "molecule"):
            raise ValueError(f"data.split_by={self.by!r}: choose frame or molecule.")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError("data.validation_fraction and data.test_fraction must leave a part to train on.")


def hash64(content: bytes) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def divide(
    frames: np.ndarray, geometry: np.ndarray, molecule: np.ndarray, policy: SplitPolicy
) -> dict[str, np.ndarray]:
    """Frames of each part, divided by hash, in the order of the hash of their geometry.

    Where chance leaves none to validate or to train on, one geometry or molecule goes there all the same.

    Args:
        frames: (k,) numbers of the frames to divide.
        geometry: (F,) hash of each frame's geometry.
        molecule: (F,) hash of each frame's molecule.
        policy: what never crosses, and the shares.
    """
    key = (geometry if policy.by == "frame" else molecule)[frames]
    # A second mixing, so that what decides the part is independent of the order inside it.
    salt = np.uint64(hash64(f"split {policy.seed}".encode()))
    with np.errstate(over="ignore"):
        mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xD6E8FEB86659FD93)
    share = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    held_out = policy.test + policy.validation
    remaining = np.unique(share[share >= policy.test])
    if policy.validation > 0 and len(remaining) > 1:
        held_out = float(np.clip(held_out, remaining[1], remaining[-1]))
    parts = {
        "train": share >= held_out,
        "validation": (share >= policy.test) & (share < held_out),
        "test": share < policy.test,
    }
    return {part: in_order(frames[chosen], geometry) for part, chosen in parts.items()}


def in_order(frames: np.ndarray, geometry: np.ndarray) -> np.ndarray:
    """Frames in the order of the hash of their geometry: any first few are a fair sample.

    Args:
        frames: (k,) numbers.
        geometry: (F,) hash of each frame's geometry.
    """
    return frames[np.argsort(geometry[frames], kind="stable")]


def published_parts(
    published: dict[str, np.ndarray], rows: np.ndarray, geometry: np.ndarray, policy: SplitPolicy
) -> dict[str, np.ndarray]:
    """Frames of the published parts; the last training frames by hash where none are for validation.

    Args:
        published: rows of each part.
        rows: (F,) of each frame.
        geometry: (F,) hash of each frame's geometry.
        policy: share that is held out for validation.
    """
    parts = {}
    for part in PARTS:
        wanted = np.asarray(published.get(part, []), dtype=np.int64)
        parts[part] = in_order(np.flatnonzero(np.isin(rows, wanted)), geometry)
    if not len(parts["validation"]):
        held = round(policy.validation * len(parts["train"]))
        cut = len(parts["train"]) - held
        parts["train"], parts["validation"] = parts["train"][:cut], parts["train"][cut:]
    return parts


def parts_with_files(
    part_of: np.ndarray,
    frames: np.ndarray,
    geometry: np.ndarray,
    molecule: np.ndarray,
    policy: SplitPolicy,
) -> dict[str, np.ndarray]:
    """Frames of each part, where validation or testing has files of its own; the training files are divided.

    Args:
        part_of: (F,) number in `PARTS` of the part whose files hold each frame.
        frames: (k,) numbers of the frames that go into a part.
        geometry: (F,) hash of each frame's geometry.
        molecule: (F,) hash of each frame's molecule.
        policy: of the training files; nothing of them is held out for a part with files of its own.
    """
    own = {part: frames[part_of[frames] == number] for number, part in enumerate(PARTS)}
    shares = {part: 0.0 for part in ("validation", "test") if len(own[part])}
    parts = divide(own["train"], geometry, molecule, replace(policy, **shares))  # type: ignore[arg-type]
    return parts | {part: in_order(own[part], geometry) for part in shares}
