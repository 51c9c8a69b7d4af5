"""The last layer of every family: features are derivatives, deviations those of the linear model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch import nn

from chemscale.models.allegro import AllegroConfig
from chemscale.models.mace import MACEConfig
from chemscale.models.nequip import NequIPConfig
from chemscale.models.painn import PaiNNConfig
from chemscale.models.potentials import PotentialError, build
from chemscale.models.schnet import SchNetConfig
from chemscale.models.spookynet import SpookyNetConfig
from chemscale.structures.calculator import structure_of
from chemscale.structures.graphs import collate
from chemscale.structures.uncertainty.features import last_layer_features, last_weights, readouts_of
from chemscale.structures.uncertainty.last_layer import (
    FILE,
    Factors,
    LastLayer,
    LastLayerError,
    choose_ridge,
    gram_of,
    load_factors,
    save_factors,
)

CONFIGS = {
    "schnet": SchNetConfig(width=8, layers=1, cutoff=4.0),
    "painn": PaiNNConfig(width=8, layers=1, cutoff=4.0),
    "spookynet": SpookyNetConfig(width=8, layers=1, cutoff=4.0),
    "spookynet, charges": SpookyNetConfig(width=8, layers=1, cutoff=4.0, electrostatics=True),
    "nequip": NequIPConfig(width=8, layers=2, cutoff=4.0),
    "allegro": AllegroConfig(width=8, layers=1, cutoff=4.0),
    "mace": MACEConfig(width=8, layers=2, cutoff=4.0),
}
FAMILIES = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def made(config):
    torch.manual_seed(1)
    potential = build(config, (1, 6, 8, 29), scale=2.0, dtype=torch.float64)
    for weights in potential.network.parameters():
        weights.data += 0.2 * torch.randn_like(weights)
    return potential.eval()


def batch_of(*names, cutoff=4.0):
    random = np.random.default_rng(0)
    atoms = [bulk("Cu") if name == "Cu" else molecule(name) for name in names]
    for each in atoms:
        each.positions += random.normal(0, 0.05, each.positions.shape)
    return collate([structure_of(each).with_neighbours(cutoff) for each in atoms])


def last_layer(potential, factor=1.0, ridge=1e-4):
    random = torch.Generator().manual_seed(0)
    size = last_layer_features(potential, batch_of("H2O")).of_structures.shape[1]
    root = torch.randn(size, 3 * size, generator=random, dtype=torch.float64)
    return LastLayer(potential, Factors(root @ root.T, ridge, factor, factor))


@FAMILIES
def test_features_are_the_derivative_of_the_energy_by_the_last_weights(config):
    potential = made(config)
    batch = batch_of("CH3OH", "O2", "H2O")  # O2: as many edges as atoms
    found = last_layer_features(potential, batch).of_structures
    weights = [w for readout in readouts_of(potential) for w in last_weights(readout)]
    energies = potential(batch, forces=False).energy
    for number, energy in enumerate(energies):
        by_hand = torch.autograd.grad(energy, weights, retain_graph=True)
        expected = torch.cat([g.flatten() for g in by_hand])
        assert torch.allclose(found[number], expected, atol=1e-10), number
    assert found.abs().max() > 1e-3


@FAMILIES
def test_deviations_are_those_of_a_linear_model_and_forces_its_derivatives(config):
    potential = made(config)
    model = last_layer(potential, factor=3.0)
    batch = batch_of("CH3OH", "O2")
    result = model(batch)
    features = last_layer_features(potential, batch).of_structures
    covariance = torch.linalg.inv(
        model.factors.gram + 1e-4 * model.factors.gram.diagonal().mean() * torch.eye(features.shape[1])
    )
    expected = 3.0 * torch.einsum("bp,pq,bq->b", features, covariance, features).sqrt()
    assert torch.allclose(result.energy_std, expected, rtol=1e-6)
    atom, axis, step = 2, 1, 1e-4

    def moved(by):
        other = batch.clone()
        other.pos = batch.pos.clone()
        other.pos[atom, axis] += by
        return last_layer_features(potential, other).of_structures[0]

    slope = (moved(step) - moved(-step)) / (2 * step)
    assert result.forces_std[atom, axis] == pytest.approx(
        3.0 * float(slope @ covariance @ slope) ** 0.5, rel=1e-4, abs=1e-8
    )
    plain = potential(batch)
    assert torch.equal(result.energy, plain.energy)
    assert torch.equal(result.forces, plain.forces)


def test_a_molecule_among_crystals_has_no_deviation_of_a_stress():
    potential = made(CONFIGS["painn"])
    gram = gram_of([last_layer_features(potential, batch_of("Cu", "H2O", "CH3OH")).of_structures])
    found = LastLayer(potential, Factors(gram, 1e-6))(batch_of("H2O", "Cu"), stress=True)
    assert found.stress_std[0].isnan().all()
    assert found.stress_std[1].isfinite().all()


def test_stress_of_a_crystal_has_the_deviation_of_the_strained_features():
    potential = made(CONFIGS["painn"])
    model = last_layer(potential)
    batch = batch_of("Cu")
    result = model(batch, stress=True)
    assert result.stress_std.shape == (1, 3, 3)
    covariance = model.whitening @ model.whitening.T
    step, slopes = 1e-5, []
    for sign in (1, -1):
        other = batch.clone()
        strain = torch.eye(3, dtype=torch.float64)
        strain[0, 0] += sign * step
        other.pos, other.cell = batch.pos @ strain, batch.cell @ strain
        slopes.append(sign * last_layer_features(potential, other).of_structures[0])
    slope = sum(slopes) / (2 * step) / float(torch.linalg.det(batch.cell[0]).abs())
    assert result.stress_std[0, 0, 0] == pytest.approx(float(slope @ covariance @ slope) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("config", [CONFIGS["allegro"], CONFIGS["painn"]], ids=["edges", "atoms"])
def test_a_lone_atom_has_forces_without_a_deviation(config):
    potential = made(config)
    result = last_layer(potential)(batch_of("H", "H2O"))
    assert float(result.forces_std[0].abs().max()) == 0
    assert float(result.forces_std[1:].max()) > 0
    alone = last_layer(potential)(batch_of("H"))
    assert float(alone.forces_std.abs().max()) == 0


def test_structures_unlike_the_training_frames_are_less_certain():
    potential = made(CONFIGS["painn"])
    seen = [last_layer_features(potential, batch_of("H2O", "CH3OH")).of_structures for _ in range(20)]
    model = LastLayer(potential, Factors(gram_of(seen), 1e-6))
    known, strange = model(batch_of("H2O", "C6H6"), forces=False).energy_std
    assert strange > 5 * known


def test_the_ridge_that_made_the_errors_is_found():
    """Errors drawn from the model itself: the chosen ς² gives them nearly the best likelihood."""
    random = np.random.default_rng(3)
    train = torch.tensor(random.normal(size=(6, 12)) * 10.0 ** np.linspace(0, -3, 12))
    held_out = torch.tensor(random.normal(size=(4000, 12)) * 10.0 ** np.linspace(0, -3, 12))
    gram = gram_of([train])
    true = 1e-3
    deviations = torch.linalg.vector_norm(held_out @ Factors(gram, true).whitening(), dim=1)
    errors = 0.02 * deviations * torch.tensor(random.normal(size=4000))
    assert choose_ridge(gram, held_out, errors) == pytest.approx(true)
    errors[::2] = torch.nan
    assert choose_ridge(gram, held_out, errors) == pytest.approx(true)


def test_factors_are_read_as_they_were_written_and_belong_to_their_weights(tmp_path: Path):
    potential = made(CONFIGS["painn"])
    model = last_layer(potential)
    factors = replace(model.factors, about={"frames": 7})
    assert load_factors(tmp_path, potential) is None
    save_factors(tmp_path, potential, factors)
    read = load_factors(tmp_path, potential)
    assert torch.equal(read.gram, factors.gram)
    assert (read.ridge, read.energy_factor, read.about) == (factors.ridge, 1.0, {"frames": 7})
    next(potential.network.parameters()).data.mul_(2)
    with pytest.raises(LastLayerError, match="other weights"):
        load_factors(tmp_path, potential)
    (tmp_path / FILE).write_bytes(b"no safetensors")
    with pytest.raises(LastLayerError, match="damaged"):
        load_factors(tmp_path, potential)


def test_a_network_without_a_known_readout_is_refused():
    potential = made(CONFIGS["painn"])
    potential.network.readout = nn.Sequential(nn.Linear(8, 1), nn.Identity())
    with pytest.raises(PotentialError, match="readout"):
        last_layer_features(potential, batch_of("H2O"))
