"""What a model computes on a device is what float64 on the CPU does: forces, stress, gradients, samples."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ase import Atoms
from ase.build import bulk, molecule

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Documents
from chemscale.models.potentials import build
from chemscale.molecules.generation.sampling import Sampling, sample
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.graphs import collate
from chemscale.testing import checks
from tests.helpers.devices import FAMILIES

ELEMENTS = (1, 6, 8, 14)
LENGTHS = (3, 41, 17, 90, 5, 41, 140, 1)


def potential(name, dtype=torch.float64):
    torch.manual_seed(0)
    made = build(FAMILIES[name], ELEMENTS, neighbours=6.0, dtype=dtype)
    with torch.no_grad():
        for weights in made.network.parameters():
            weights.add_(0.1 * torch.randn_like(weights))
    return made


def chemgpt(width=32, heads=4):
    torch.manual_seed(0)
    config = ChemGPTConfig(
        vocab_size=24, width=width, layers=4, heads=heads, window=32, initializer_range=0.2
    )
    return ChemGPT(config)


def packed(lengths=LENGTHS, vocabulary=24):
    generator = torch.Generator().manual_seed(1)
    total = sum(lengths)
    tokens, targets = torch.randint(3, vocabulary, (2, total), generator=generator)
    positions = torch.cat([torch.arange(n) for n in lengths])
    return tokens, targets, positions, Documents.from_lengths(lengths)


def gradients(model):
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )


def error(found, expected):
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm())


# --- language ---


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 32], ids=lambda heads: f"head width {32 // heads}")
def test_a_language_models_loss_and_gradients_are_those_of_float64(device, heads):
    tokens, targets, positions, documents = packed()
    exact = chemgpt(heads=heads).double()
    model = copy.deepcopy(exact).float().to(device)
    F.cross_entropy(exact(tokens, positions, documents), targets).backward()
    move = [x.to(device) for x in (tokens, positions)]
    F.cross_entropy(model(*move, documents.to(torch.device(device))), targets.to(device)).backward()
    assert error(gradients(model), gradients(exact)) < 1e-4


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=["bf16", "16"])
@pytest.mark.parametrize("width", [8, 64, 128], ids=lambda width: f"head width {width // 4}")
def test_attention_of_reduced_precision_is_that_of_float64_to_its_rounding(device, precision, width):
    torch.manual_seed(0)
    *_, documents = packed()
    exact = 0.5 * torch.randn(sum(LENGTHS), 3 * width, dtype=torch.float64)
    weight = torch.randn(sum(LENGTHS), width, dtype=torch.float64)
    limit = 3e-2 if precision is torch.bfloat16 else 4e-3
    for window in (None, 32):
        one = exact.clone().requires_grad_()
        two = exact.to(device, precision).requires_grad_()
        expected = document_attention(one, 4, documents, window)
        found = document_attention(two, 4, documents.to(torch.device(device)), window)
        (expected * weight).sum().backward()
        (found * weight.to(device, precision)).sum().backward()
        assert error(found, expected) < limit
        assert error(two.grad, one.grad) < limit


def test_a_molecules_logits_do_not_depend_on_what_it_is_packed_with(device):
    model = chemgpt().to(device)
    tokens, _, positions, documents = (x.to(device) if isinstance(x, torch.Tensor) else x for x in packed())
    whole = model(tokens, positions, documents.to(torch.device(device)))
    start = 0
    for n in LENGTHS:
        alone = model.dense(tokens[None, start : start + n])[0]
        assert error(alone, whole[start : start + n]) < 1e-5
        start += n


def test_molecules_of_one_seed_are_the_same_and_follow_the_likeliest_symbols(device):
    model = chemgpt().to(device)
    draw = [list(sample(model, 40, Sampling(max_length=24), seed=3, batch=16)) for _ in range(2)]
    assert draw[0] == draw[1]
    assert sum(len(batch) for batch in draw[0]) == 40
    greedy = next(iter(sample(model, 4, Sampling(top_k=1, max_length=24), seed=3, batch=4)))
    start = torch.tensor([[model.config.bos_id]], device=device)
    expected: list[int] = []
    for _ in range(24):
        read = torch.cat([start, torch.tensor([expected], dtype=torch.int64, device=device)], dim=1)
        logits = model.dense(read)[0, -1]
        logits[[model.config.pad_id, model.config.bos_id]] = -torch.inf
        expected.append(int(logits.argmax()))
        if expected[-1] == model.config.eos_id:
            break
    assert greedy == 4 * [expected]


# --- potentials ---


@pytest.mark.parametrize("name", FAMILIES)
def test_a_calculator_gives_the_energies_and_forces_of_the_cpu(device, name):
    calculators = [ChemscaleCalculator(potential(name), device=where) for where in ("cpu", device)]
    for atoms in (molecule("CH3OH"), molecule("C6H6"), Atoms("O", positions=[[0, 0, 0]])):
        energies, forces = [], []
        for calculator in calculators:
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        assert energies[1] == pytest.approx(energies[0], abs=1e-9)
        np.testing.assert_allclose(forces[1], forces[0], atol=1e-9)


@pytest.mark.parametrize("name", ["painn", "nequip", "mace"])
def test_a_calculator_gives_the_stress_of_the_cpu(device, name):
    found = []
    for where in ("cpu", device):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.05, seed=0)
        atoms.calc = ChemscaleCalculator(potential(name), device=where)
        found.append(atoms.get_stress())
    np.testing.assert_allclose(found[1], found[0], atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_force_loss_has_the_gradients_of_float64(device, name):
    batch = collate([checks.molecule(s, atoms=9).with_neighbours(FAMILIES[name].cutoff) for s in (0, 1, 2)])
    weights = torch.randn(27, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for dtype, where in ((torch.float64, "cpu"), (torch.float32, device)):
        model = potential(name).to(dtype=torch.float64)
        model.network.to(dtype)
        model = model.to(where).train()
        prediction = model(batch.clone().to(where))
        loss = prediction.energy.sum() + (prediction.forces * weights.to(where)).sum()
        loss.backward()
        found.append((gradients(model.network), prediction.forces))
    (exact, exact_forces), (single, forces) = found
    assert error(forces, exact_forces) < 1e-4
    assert error(single, exact) < 1e-4
