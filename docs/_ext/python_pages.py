"""The reference of the Python packages, from docstrings: what other code imports, not every module."""

from __future__ import annotations

import importlib

MODULES = {
    "laws": (
        "Scaling laws",
        "Forms, fits, intervals, allocation. NumPy and SciPy only: usable alone, on anyone's runs.",
        ["chemscale.laws"],
    ),
    "records": (
        "Records",
        "What a run leaves: its configuration, versions, costs and losses.",
        ["chemscale.records"],
    ),
    "models": (
        "Models",
        "Plain modules, and the dataclasses that are their shapes.",
        [
            "chemscale.models.chemgpt",
            "chemscale.models.potential",
            "chemscale.models.potentials",
            "chemscale.models.atom_graph",
            "chemscale.models.geometry",
            "chemscale.models.schnet",
            "chemscale.models.painn",
            "chemscale.models.spookynet",
            "chemscale.models.nequip",
            "chemscale.models.allegro",
            "chemscale.models.mace",
            "chemscale.models.layers.radial",
            "chemscale.models.layers.attention",
            "chemscale.models.layers.documents",
            "chemscale.models.layers.key_values",
        ],
    ),
    "molecules": (
        "Molecules as text",
        "Standardisation, corpus, tokenizer, generation.",
        [
            "chemscale.molecules.preparation.standardize",
            "chemscale.molecules.corpus",
            "chemscale.molecules.tokenizers.opening",
            "chemscale.molecules.tokenizers.interface",
            "chemscale.molecules.tokenizers.tokenizer",
            "chemscale.molecules.tokenizers.atomwise",
            "chemscale.molecules.generation.run",
            "chemscale.molecules.generation.request",
            "chemscale.molecules.generation.generator",
            "chemscale.molecules.generation.constraints",
            "chemscale.molecules.generation.sampling",
            "chemscale.molecules.conditions",
            "chemscale.molecules.representation.run",
            "chemscale.molecules.representation.states",
            "chemscale.molecules.representation.estimator",
        ],
    ),
    "probing": (
        "Probes",
        "Measured properties predicted from a trained model: splits, heads, fine-tuning, intervals.",
        [
            "chemscale.probing.run",
            "chemscale.probing.results",
            "chemscale.probing.fine_tuning",
            "chemscale.probing.splits",
            "chemscale.probing.measures",
        ],
    ),
    "structures": (
        "Molecules in space",
        "The ASE calculator, other simulation programs, the store of frames, readers, units.",
        [
            "chemscale.structures.calculator",
            "chemscale.structures.dispersion",
            "chemscale.structures.simulation.run",
            "chemscale.structures.simulation.settings",
            "chemscale.structures.engines.lammps",
            "chemscale.structures.engines.packaged",
            "chemscale.structures.engines.torchsim",
            "chemscale.structures.engines.openmm",
            "chemscale.structures.engines.ipi",
            "chemscale.structures.store",
            "chemscale.structures.blocks",
            "chemscale.structures.sources",
            "chemscale.structures.sources.base",
            "chemscale.structures.units",
            "chemscale.structures.graphs",
            "chemscale.structures.uncertainty.committee",
            "chemscale.structures.uncertainty.members",
            "chemscale.structures.uncertainty.last_layer",
            "chemscale.structures.uncertainty.calibration",
            "chemscale.structures.uncertainty.selection",
            "chemscale.structures.uncertainty.prediction",
        ],
    ),
    "testing": (
        "Suites for models of your own",
        "Made for the tests of other packages.",
        ["chemscale.testing.potential_suite", "chemscale.testing.checks"],
    ),
    "plugins": (
        "Plugins",
        "Models and readers that live outside this package, and the ranges that their fields state.",
        ["chemscale.common.plugins", "chemscale.common.sections"],
    ),
}

RESULTS = {
    "laws": [
        "allocation.design.Design",
        "allocation.design.Goal",
        "allocation.known.KnownLaw",
        "allocation.envelope.Curve",
        "allocation.optimum.Optimum",
        "axis.broken.Extrapolation",
        "axis.intervals.Scatter",
        "axis.intervals.SeedSpread",
        "axis.continuation.Continuation",
        "axis.draws.Draws",
        "axis.forms.Broken",
        "axis.law.Prediction",
        "axis.region.Region",
        "data.left_out.LeftOut",
        "axis.regimes.Limited",
        "axis.regimes.Regime",
        "axis.regimes.Slice",
        "checks.holdout.Extrapolation",
        "checks.holdout.HeldOut",
        "checks.likelihood.Likelihood",
        "checks.profiles.Profile",
        "checks.projection.CrossCheck",
        "checks.projection.Projection",
        "checks.sensitivity.Row",
        "early_stopping.estimators.Estimator",
        "early_stopping.transitions.Expectation",
        "early_stopping.transitions.Normal",
        "early_stopping.transitions.Population",
        "joint.bootstrap.Draws",
        "joint.bootstrap.Sample",
        "joint.drift.Drift",
        "joint.drift.Reading",
        "joint.shared_noise.Components",
    ],
    "models": ["layers.edge_products.Ends", "layers.segments.Segments"],
    "molecules": [
        "conditions.prefixes.Prefixes",
        "generation.counts.Counts",
        "generation.decoding.Row",
        "generation.starts.Scaffold",
        "generation.starts.Start",
        "ragged.Ragged",
        "representation.stream.Counts",
        "storage.columns.Column",
        "storage.index.Positions",
        "storage.index.RowStarts",
        "storage.index.SplitIndex",
        "storage.index.Totals",
        "storage.window_counts.WindowCounts",
        "tokenizers.conditioned.ConditionedTokenizer",
        "tokenizers.conditioned.Conditions",
        "tokenizers.conditioned.ValueCondition",
        "tokenizers.published.ChemGPTTokenizer",
    ],
    "probing": ["data.LabelledMolecules"],
    "structures": [
        "simulation.report.report.BondLength",
        "simulation.report.report.Report",
        "simulation.observables.Distances",
        "simulation.series.Estimate",
        "sources.labels.LabelKeys",
        "sources.labels.Place",
    ],
}
"""Classes that functions take or return, and that nobody needs to import: their names below the package."""


def pages() -> dict[str, str]:
    """File names below ``reference/`` and their texts."""
    listed = "\n".join(f"python/{name}" for name in MODULES)
    about = "\n".join(f"- {{doc}}`python/{name}`: {what}" for name, (_, what, _) in MODULES.items())
    index = f"# Python\n\n{about}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    found = {"python.md": index}
    for name, (title, what, modules) in MODULES.items():
        parts = [f"# {title}\n", f"{what}\n"]
        for module in modules:
            parts.append(f"## `{module}`\n" if len(modules) > 1 else "")
            parts.append(f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n{_options(module)}```\n")
        if name in RESULTS:
            listed = "\n".join(f".. autoclass:: chemscale.{name}.{c}\n   :members:\n" for c in RESULTS[name])
            parts.append(f"## What they return\n\n```{{eval-rst}}\n{listed}```\n")
        found[f"python/{name}.md"] = "\n".join(parts)
    return found


def _options(module: str) -> str:
    """A package that names its interface in ``__all__`` is shown with what it takes from its modules."""
    return "   :imported-members:\n" if hasattr(importlib.import_module(module), "__all__") else ""
