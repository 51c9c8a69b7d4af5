"""Metrics of chemscale beside those of moses and guacamol themselves, on two fixed lists of molecules.

python benchmarks/moses_guacamol.py SITE_PACKAGES [--write]

SITE_PACKAGES has molsets 0.3.1 and guacamol 0.5.5, installed with ``--no-deps``, and pandas. Their code runs
as it is; what their dependencies dropped since is put back from outside: ``DataFrame.append``, ``rdkit.six``,
``numpy.NaN``, ``scipy.histogram``, and a stand-in for fcd_torch, which is not called. ``--write`` keeps their
values for ``tests/molecules/metrics/test_equal.py``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from chemscale.molecules.metrics.run import evaluate_molecules
from chemscale.molecules.starter.drugs import drugs
from chemscale.molecules.starter.recombine import starter_smiles

KEPT = Path(__file__).resolve().parents[1] / "tests" / "molecules" / "metrics" / "moses_guacamol.json"
REFERENCE, SAMPLE, TWICE = 120, 90, 12


def lists() -> tuple[list[str], list[str]]:
    """A sample with drugs, duplicates, known molecules and two that are none; and a reference."""
    made = starter_smiles(REFERENCE + SAMPLE, workers=1)
    reference, sample = made[:REFERENCE], made[REFERENCE:]
    more = sorted(drugs().values())[:30]
    return [*sample, *sample[:TWICE], *reference[:6], *more, "C1CC", "c1ccc"], reference


def put_back() -> None:
    """What the two packages still import."""
    pandas = importlib.import_module("pandas")
    pandas.DataFrame.append = lambda self, other, sort=False: pandas.concat([self, other], sort=sort)
    six: Any = types.ModuleType("rdkit.six")
    six.iteritems = lambda mapping: iter(mapping.items())
    fcd: Any = types.ModuleType("fcd_torch")
    fcd.FCD = object
    sys.modules |= {"rdkit.six": six, "fcd_torch": fcd}
    np.NaN = np.nan  # noqa: NPY201
    scipy.histogram = np.histogram


def theirs(sample: list[str], reference: list[str]) -> dict[str, float]:
    """Values of moses, guacamol and fcd."""
    moses, utils = (importlib.import_module(f"moses.metrics.{name}") for name in ("metrics", "utils"))
    valid = moses.remove_invalid(sample)
    molecules = [utils.get_mol(text) for text in valid]
    compared = {"gen": molecules, "ref": [utils.get_mol(text) for text in reference]}
    found = {
        "valid": moses.fraction_valid(sample),
        "unique": moses.fraction_unique(valid),
        "novel": moses.novelty(molecules, [utils.canonic_smiles(text) for text in reference]),
        "internal_diversity": moses.internal_diversity(molecules),
        "internal_diversity_2": moses.internal_diversity(molecules, p=2),
        "snn": moses.SNNMetric()(**compared),
        "fragments": moses.FragMetric()(**compared),
        "scaffolds": moses.ScafMetric()(**compared),
    }
    for name in ("logP", "SA", "QED", "weight"):
        found[f"wasserstein_{name}"] = moses.WassersteinMetric(getattr(utils, name))(**compared)
    guacamol = importlib.import_module("guacamol.distribution_learning_benchmark")
    chemistry = importlib.import_module("guacamol.utils.chemistry")
    flat = chemistry.canonicalize_list(valid, include_stereocenters=False)
    guacamol.get_random_subset = lambda data, size, seed: data  # all of the reference, as here
    benchmark = guacamol.KLDivBenchmark(number_samples=len(flat), training_set=reference)
    generator = types.SimpleNamespace(generate=lambda number_samples: flat[:number_samples])
    found["guacamol_kl"] = benchmark.assess_model(generator).score
    found["fcd"] = importlib.import_module("fcd").get_fcd(valid, reference, device="cpu")
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("packages", help="site-packages with moses and guacamol")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    sys.path.append(options.packages)
    put_back()
    sample, reference = lists()
    values = theirs(sample, reference)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sample.smi").write_text("\n".join(sample) + "\n")
        (folder / "reference.smi").write_text("\n".join(reference) + "\n")
        ours = evaluate_molecules(
            folder / "sample.smi", reference=folder / "reference.smi", bootstrap=2, workers=1, progress=False
        ).values
    for key, value in values.items():
        print(f"{key:22s} {value:12.8f} {ours[key].value:12.8f} {abs(value - ours[key].value):9.1e}")
    if options.write:
        content = {"sample": sample, "reference": reference, "values": values}
        KEPT.write_text(json.dumps(content, indent=0) + "\n")


if __name__ == "__main__":
    main()
