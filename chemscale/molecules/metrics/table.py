"""The metrics by name: what each means, and which way is better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.metrics.features import PROPERTIES
from chemscale.molecules.metrics.filters import CATALOGUES, RULES
from chemscale.molecules.metrics.intervals import Value


@dataclass(frozen=True)
class Metric:
    """A metric.

    Args:
        name: key in ``metrics.json``.
        title: for people.
        meaning: in one sentence.
        better: "more", "less", or empty where neither is.
        percent: whether it is a share, shown in percent.
    """

    name: str
    title: str
    meaning: str
    better: str = ""
    percent: bool = False

    def show(self, value: Value | None) -> str:
        """A value for people; a dash where there is none."""
        return "–" if value is None or value.value != value.value else self._number(value.value)

    def show_interval(self, value: Value | None) -> str:
        """Its interval; empty where there is none."""
        if value is None or value.low != value.low:
            return ""
        return f"{self._number(value.low)} – {self._number(value.high)}"

    def _number(self, number: float) -> str:
        if self.percent:
            return f"{100 * number:.2f} %"
        return f"{number:.2f}" if abs(number) >= 10 else f"{number:.4f}"


def _shares() -> Iterator[Metric]:
    for name, title, meaning, better in (
        ("valid", "valid", "sequences that RDKit reads once decoded, as MOSES counts", "more"),
        ("truncated", "truncated", "sequences that reached the greatest length without an end", "less"),
        (
            "rewritten",
            "rewritten by the decoder",
            "finished molecules that read differently when encoded again: symbols were ignored or changed",
            "less",
        ),
        ("exact", "valid as written", "sequences that end, are valid and decode to what was written", "more"),
        ("unique_1000", "unique @ 1,000", "distinct among the first 1,000 valid", "more"),
        ("unique_10000", "unique @ 10,000", "distinct among the first 10,000 valid", "more"),
        ("unique", "unique", "distinct among all valid", "more"),
        ("novel", "novel", "those of the distinct that were not trained on", ""),
    ):
        yield Metric(name, title, meaning, better, percent=True)


def _numbers() -> Iterator[Metric]:
    for name, title, meaning, better in (
        ("internal_diversity", "internal diversity", "1 less the mean Tanimoto similarity of pairs", "more"),
        (
            "internal_diversity_2",
            "internal diversity 2",
            "likewise, of root mean squares as in MOSES's code",
            "more",
        ),
        (
            "snn",
            "nearest neighbour",
            "mean Tanimoto similarity to the nearest of the reference (SNN)",
            "more",
        ),
        ("scaffolds", "scaffold similarity", "cosine of counts of scaffolds of two rings or more", "more"),
        ("fragments", "fragment similarity", "cosine of counts of BRICS fragments", "more"),
        *(
            (
                f"wasserstein_{name}",
                f"distance of {name}",
                f"Wasserstein: {DESCRIPTORS[name].meaning}",
                "less",
            )
            for name in PROPERTIES
        ),
        ("fcd", "FCD", "Fréchet ChemNet Distance; larger where fewer molecules are compared", "less"),
        ("guacamol_fcd", "GuacaMol FCD score", "exp(−0.2 FCD)", "more"),
        (
            "guacamol_kl",
            "GuacaMol KL score",
            "mean of exp(−divergence) of nine descriptors and the similarity of neighbours",
            "more",
        ),
    ):
        yield Metric(name, title, meaning, better)


def _filters() -> Iterator[Metric]:
    for name, (title, what) in CATALOGUES.items():
        yield Metric(name, f"pass {title}", f"those without {what} (RDKit's catalogue)", "more", percent=True)
    rules = "no charge, no ring of 8 atoms or more, no element but C N S O F Cl Br"
    yield Metric(RULES, "pass MOSES's rules", f"{rules}; its Filters asks for more", "more", percent=True)


METRICS = {metric.name: metric for metric in (*_shares(), *_numbers(), *_filters())}
"""By name, in the order of tables."""
