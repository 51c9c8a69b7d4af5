"""What a reader of a report should look at first, in sentences."""

from __future__ import annotations

from typing import Any

CHANCE = 0.01
"""Probability that a page without a difference between its parts says that there is one."""
MANY_DROPPED = 0.1


def some(number: int, noun: str) -> str:
    """So many of something.

    Args:
        number: how many.
        noun: of one.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def remarks_on_molecules(content: dict[str, Any]) -> list[str]:
    """Sentences on a corpus; empty where there is nothing to warn of.

    Args:
        content: of the report.
    """
    found = []
    block, counts, vocabulary = content["block"], content["counts"], content["vocabulary"]
    if longer := sum(block["longer"].values()):
        found.append(
            f"{some(longer, 'molecule')} of more than the {block['positions']} positions of data.block: "
            f"training refuses them. The longest has {max(block['longest'].values())}: raise data.block, "
            "or lower data.max_symbols."
        )
    others = sum(each["rows"] for each in content["dropped"]) - content["duplicates"]
    if others > MANY_DROPPED * counts["rows"]:
        found.append(
            f"{others:,} of {counts['rows']:,} rows ({others / counts['rows']:.1%}) were dropped for another "
            "reason than being a duplicate: look at the examples below."
        )
    if unseen := vocabulary["only_in_validation"]["symbols"]:
        share = vocabulary["only_in_validation"]["tokens"] / max(1, vocabulary["tokens"]["validation"])
        found.append(
            f"{some(unseen, 'symbol')} of held-out molecules {'is' if unseen == 1 else 'are'} in no training "
            f"molecule and never learnt: {share:.2g} of the validation tokens."
        )
    for name, part in content["sample"].items():
        if part["unreadable"]:
            found.append(
                f"RDKit could not read {part['unreadable']:,} of {part['described']:,} molecules of the "
                f"{name} part back: they are missing below."
            )
    return found + differences(content["distributions"])


def differences(distributions: list[dict[str, Any]]) -> list[str]:
    """A sentence on quantities whose distributions differ by more than chance, Bonferroni's bound of all.

    Of 4,000 simulated pages without a difference 27 had it, at most 11 of 1,000 of one pair of sizes.

    Args:
        distributions: as ``values.distribution`` makes them.
    """
    tests = [(each["name"], test) for each in distributions for test in each["differences"] if "p" in test]
    names = [name for name, test in tests if test["p"] < CHANCE / len(tests)]
    if not names:
        return []
    return [
        f"Training and validation molecules differ by more than chance in {', '.join(names)} "
        f"(Kolmogorov and Smirnov, p below {CHANCE:g}/{len(tests)})."
    ]


def remarks_on_structures(content: dict[str, Any]) -> list[str]:
    """Sentences on a store; empty where there is nothing to warn of.

    Args:
        content: of the report.
    """
    found = []
    counts, parts = content["counts"], content["parts"]
    for severity in ("error", "warning"):
        if number := sum(f["severity"] == severity for f in content["lint"] or []):
            found.append(f"The linter has {some(number, severity)}: see below.")
    left_out = counts["in_no_part"] - counts["isolated_atoms"]
    if left_out > 0:
        found.append(
            f"{left_out:,} of {counts['frames']:,} frames are in no part, such as those that a published "
            "split leaves out: nothing below counts them."
        )
    if counts["isolated_atoms"]:
        found.append(
            f"{counts['isolated_atoms']:,} frames of isolated atoms are in no part: they serve for reference "
            "energies, and nothing else below counts them."
        )
    for name, part in parts.items():
        without = {
            "energy": part["frames"] - part["with_energy"],
            "complete forces": part["frames"] - part["with_forces"],
        }
        if content["periodic"] and part["with_stress"]:
            without["a stress"] = part["frames"] - part["with_stress"]
        found += [
            f"{number:,} of {part['frames']:,} frames of the {name} part have no {what.removeprefix('a ')}: "
            "what is missing weighs nothing in training, and is missing below, never 0."
            for what, number in without.items()
            if number
        ]
    train = {e["element"] for e in content["elements"] if e["parts"].get("train", {}).get("frames")}
    for name in parts:
        new = [e["element"] for e in content["elements"] if e["parts"][name]["frames"]]
        if unknown := [symbol for symbol in new if symbol not in train]:
            found.append(f"Elements of the {name} part that training does not have: {', '.join(unknown)}.")
    return found
