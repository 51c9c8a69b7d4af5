"""What version 0.1.0 left on users' disks opens, and goes on as it would have done."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from ase import Atoms

from chemscale.analysis.finish import finish_sweep
from chemscale.common.versions import versions
from chemscale.launchers import hooks
from chemscale.launchers.ledger import load_ledger
from chemscale.models.chemgpt_hf import load_pretrained
from chemscale.models.kernels.products import processor_maker
from chemscale.models.potentials import load_potential
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from chemscale.points.base import DescriptionError
from chemscale.points.trained.export import export_model
from chemscale.records import RunRecord, State, find_records
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.sweeps.identity import identity
from tests.compatibility.inputs import DATA, SHORT, SMALL, put_inputs
from tests.helpers.preloaded import python
from tests.helpers.runs import finish, rows, start

REFERENCE = json.loads((DATA / "reference.json").read_text())
RECORDS = sorted(DATA.rglob("record.json"))
TOOLS = ("python", "rdkit", "selfies")
"""A corpus is named by the versions of what made it, and so is a run on it."""


def needs_the_same_tools(task):
    """Skip where the corpus of the old run would get another name."""
    made_with = RunRecord.load(next((DATA / "whole").glob(f"{task}/*"))).versions
    other = [f"{tool} {made_with[tool]}" for tool in TOOLS if versions().get(tool) != made_with[tool]]
    if task == "language" and other:
        pytest.skip(f"its corpus was made with {', '.join(other)}: another release makes another corpus")


def same_machine(record):
    """Whether floats are summed in the order of the run that is recorded: same kind of CPU, same releases."""
    here = versions() | {"chemscale": record.versions["chemscale"]}
    cpu = {"cpu": torch.backends.cpu.get_cpu_capability(), "maker": processor_maker()}
    return here == record.versions and cpu == REFERENCE["made_with"]


def again(folder, task, *more):
    """The command that the old code was given, without the pause."""
    command = [python(), "-m", "chemscale.train", *SMALL[task], *SHORT, f"sweep_name={task}", *more]
    return finish(start(folder, command))


@pytest.mark.parametrize("kernels", ["false", pytest.param("true", marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", ["language", "potential"])
def test_a_stopped_run_goes_on_to_the_numbers_that_it_would_have_had(task, kernels, tmp_path):
    """To the bit with PyTorch's operations alone, as in version 0.1.0; our kernels round otherwise."""
    needs_the_same_tools(task)
    put_inputs(tmp_path)
    shutil.copytree(DATA / "paused", tmp_path / "runs")
    assert "continues at step 6" in again(tmp_path, task, f"trainer.kernels={kernels}")
    whole = next((DATA / "whole").glob(f"{task}/*"))
    directory = tmp_path / "runs" / task / whole.name
    record, expected = RunRecord.load(directory), RunRecord.load(whole)
    assert record.state is State.DONE
    assert record.data == expected.data
    assert [r.identity for _, r in find_records(tmp_path / "runs" / task)] == [expected.identity]
    if same_machine(expected) and task == "language" and kernels == "false":
        assert rows(directory) == rows(whole)
        assert record.final == expected.final
    if task == "potential":  # since forces come by edge vectors, float32 sums are taken in another order
        for row, old in zip(rows(directory), rows(whole), strict=True):
            assert {k: v for k, v in row.items() if k != "kind"} == pytest.approx(
                {k: v for k, v in old.items() if k != "kind"}, rel=1e-4
            )
    assert [row["step"] for row in rows(directory)] == [row["step"] for row in rows(whole)]
    close = 1e-6 if same_machine(expected) and task == "language" else 1e-3
    assert record.final.values == pytest.approx(expected.final.values, rel=close)


def test_a_finished_run_is_found_again_and_nothing_is_trained(tmp_path):
    needs_the_same_tools("language")
    put_inputs(tmp_path)
    shutil.copytree(DATA / "whole", tmp_path / "runs")
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("record.json")}
    assert "is done already" in again(tmp_path, "language")
    assert {path: path.read_bytes() for path in (tmp_path / "runs").rglob("record.json")} == before


@pytest.fixture
def paused(tmp_path, monkeypatch):
    """Runs that version 0.1.0 stopped half-way, by task, beside what they were prepared from."""
    monkeypatch.chdir(tmp_path)
    put_inputs(tmp_path)
    shutil.copytree(DATA / "paused", tmp_path / "runs")
    return {folder.name: next(folder.iterdir()) for folder in (tmp_path / "runs").iterdir()}


def test_a_run_that_did_not_keep_its_vocabulary_is_exported_with_that_of_its_corpus(paused, tmp_path):
    needs_the_same_tools("language")
    export_model(paused["language"], tmp_path / "out")
    vocabulary = SelfiesTokenizer.load(next((DATA / "whole").glob("language/*/model")))
    assert SelfiesTokenizer.load(tmp_path / "out") == vocabulary
    molecules = tmp_path / "corpora" / "starter-400.smi"
    molecules.write_text("\n".join(molecules.read_text().splitlines()[1:]))
    export_model(paused["language"], tmp_path / "again")  # its corpus is found by the hash
    assert SelfiesTokenizer.load(tmp_path / "again") == vocabulary
    for corpus in (tmp_path / "corpora").glob("starter-400-*"):
        shutil.rmtree(corpus)
    with pytest.raises(DescriptionError, match="Put back the file"):
        export_model(paused["language"], tmp_path / "refused")


def test_a_potential_that_did_not_keep_its_elements_is_exported_from_its_frames_or_not(paused, tmp_path):
    export_model(paused["potential"], tmp_path / "out")
    whole = load_potential(next((DATA / "whole").glob("potential/*/model")))
    assert load_potential(tmp_path / "out").header["elements"] == whole.header["elements"]
    shutil.rmtree(tmp_path / "structures")
    (tmp_path / "structures").mkdir()
    frames = dict(np.load(DATA / "starter-60.npz"))
    frames["000_energies"] += 1.0
    np.savez(tmp_path / "structures" / "starter-60.npz", **frames)
    with pytest.raises(DescriptionError, match="Put back the file"):
        export_model(paused["potential"], tmp_path / "refused")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "-".join(path.parts[-4:-2]))
def test_a_record_opens_with_its_identity_and_loses_nothing(path):
    record = RunRecord.load(path.parent)
    assert identity(record.config, record.data_hash) == record.identity == path.parent.name
    written, now = json.loads(path.read_text()), json.loads(json.dumps(asdict(record), default=str))
    assert {key: now[key] for key in written} == written


def test_a_language_model_computes_the_same():
    folder = next((DATA / "whole").glob("language/*/model"))
    tokenizer = SelfiesTokenizer.load(folder)
    assert [tokenizer.bos_id, *tokenizer.encode(REFERENCE["selfies"])] == REFERENCE["ids"]
    with torch.no_grad():
        logits = load_pretrained(folder).dense(torch.tensor([REFERENCE["ids"]]))
    torch.testing.assert_close(logits[0], torch.tensor(REFERENCE["logits"]))


def test_a_potential_computes_the_same():
    atoms = Atoms(REFERENCE["symbols"], positions=REFERENCE["positions"])
    atoms.calc = ChemscaleCalculator(
        next((DATA / "whole").glob("potential/*/model")), device="cpu", dtype=torch.float64
    )
    assert atoms.get_potential_energy() == pytest.approx(REFERENCE["energy"], abs=1e-9)
    assert atoms.get_forces() == pytest.approx(torch.tensor(REFERENCE["forces"]).double().numpy(), abs=1e-6)


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_a_ledger_opens_and_its_hook_is_still_there(launcher, tmp_path):
    (tmp_path / "jobs").mkdir()
    shutil.copy(DATA / "ledgers" / launcher / "submission.json", tmp_path / "jobs")
    written = json.loads((tmp_path / "jobs" / "submission.json").read_text())
    ledger = load_ledger(tmp_path)
    assert hooks.resolve(ledger.finish) is finish_sweep
    assert ledger.finish == "chemscale.train.finish_sweep"
    assert [plan.identity for plan in ledger.plans()] == ledger.sweep == list(written["points"])
    assert ledger.has_slurm_jobs() == (launcher == "slurm")
    for entry in ledger.points.values():
        assert entry.attempts_left(None) > 0
    ledger.save()
    now = json.loads((tmp_path / "jobs" / "submission.json").read_text())
    assert [point.pop("task") for point in now["points"].values()] == [None] * len(written["points"])
    assert now == written | {"root": str(tmp_path)}
