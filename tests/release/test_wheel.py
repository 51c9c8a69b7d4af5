"""The wheel and the sdist: complete, clean, the same; and everything runs from the wheel in any folder."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from chemscale import __version__
from chemscale.records import find_records
from tests.helpers.paths import ROOT

UV = shutil.which("uv") or os.environ.get("UV")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(UV is None, reason="uv is not installed: it builds the wheel"),
]


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([str(UV), "build", "--quiet", "--out-dir", folder, ROOT], check=True)
    return folder


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, str]:
    """Hash of every file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def source_files(*folders: str) -> set[str]:
    """Names of what belongs into a wheel, from the folders of the checkout."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    kept = (path for path in found if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in kept}


def test_the_sdist_builds_the_wheel_that_the_checkout_builds(built, tmp_path):
    subprocess.run([str(UV), "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT], check=True)
    assert contents(wheel_of(built)) == contents(wheel_of(tmp_path))


def test_the_wheel_holds_code_configuration_and_profiles_and_nothing_else(built):
    names = set(contents(wheel_of(built)))
    information = f"chemscale-{__version__}.dist-info"
    assert f"{information}/licenses/LICENSE" in names
    assert "chemscale/py.typed" in names
    inside = {name for name in names if not name.startswith(information)}
    expected = source_files("chemscale", "hydra_plugins")
    expected |= {f"chemscale/{name}" for name in source_files("conf")}
    expected |= {name.replace("launch/site", "chemscale/sites/site") for name in source_files("launch/site")}
    assert inside == expected


def test_the_sdist_holds_what_a_packager_needs_and_nothing_else(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "constraints.txt"):
        assert name in names
    tops = {name.partition("/")[0] for name in names} - {"PKG-INFO", "pyproject.toml", ".gitignore"}
    folders = {"benchmarks", "chemscale", "conf", "docker", "docs", "hydra_plugins", "launch", "tests"}
    assert {top for top in tops if "." not in top} - {"LICENSE"} == folders
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".lock"))]


def test_the_metadata_are_whole(built):
    with zipfile.ZipFile(wheel_of(built)) as archive:
        told = Parser().parsestr(archive.read(f"chemscale-{__version__}.dist-info/METADATA").decode())
    assert (told["Version"], told["License-Expression"]) == (__version__, "Apache-2.0")
    assert told.get_all("License-File") == ["LICENSE"]
    assert {"docs", "hf", "test"} <= set(told.get_all("Provides-Extra"))
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in told.get_all("Classifier")
    assert "# chemscale" in told.get_payload()


class Elsewhere:
    """An environment with the wheel, and a folder far from the checkout.

    The packages that chemscale needs are those of this environment; the checkout itself is not to be found:
    what a .pth file inside another one's folder says is not followed.
    """

    def __init__(self, folder: Path, wheel: Path):
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        venv.create(folder / "env", with_pip=False)
        self.bin = folder / "env" / "bin"
        (packages,) = (folder / "env" / "lib").glob("python3.*/site-packages")
        parents = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (packages / "of_the_tests.pth").write_text("\n".join(parents) + "\n")
        subprocess.run(
            [
                str(UV),
                "pip",
                "install",
                "--quiet",
                "--offline",
                "--no-deps",
                "--python",
                self.bin / "python",
                wheel,
            ],
            check=True,
        )

    def run(self, *command: str, status: int = 0, **more: str) -> str:
        """What a command of the environment prints."""
        bare = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.folder,
            env=bare | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"} | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == status, done.stdout
        return done.stdout


SMALL = ("trainer.accelerator=cpu", "trainer.threads=1", "data.prepare_workers=1", "logger=jsonl")


@pytest.fixture(scope="session")
def elsewhere(built, tmp_path_factory) -> Elsewhere:
    return Elsewhere(tmp_path_factory.mktemp("installed"), wheel_of(built))


@pytest.fixture(scope="session")
def sweep(elsewhere) -> Path:
    """The main job of the README, small."""
    said = elsewhere.run(
        *("python", "-m", "chemscale.train", "+sweep=chemgpt_sizes", "model.width=8,16,24", "model.layers=2"),
        *("model.heads=2", "budget.steps=6", "batch.tokens=1024", "data.block=128", "data.count=400", *SMALL),
        *("data.validation_fraction=0.1",),
    )
    assert "Report: runs/chemgpt_sizes/law/report.html" in said
    return elsewhere.folder / "runs" / "chemgpt_sizes"


def test_the_code_is_the_wheel_s(elsewhere):
    where = elsewhere.run("python", "-c", "import chemscale, hydra_plugins; print(chemscale.__file__)")
    assert Path(where.strip()).is_relative_to(elsewhere.bin.parent)
    assert elsewhere.run("chemscale", "--version").splitlines()[0] == f"chemscale {__version__}"


def test_the_main_job_fits_a_law_and_its_models_generate(elsewhere, sweep):
    records = [record for _, record in find_records(sweep)]
    assert [record.state for record in records] == ["done"] * 3
    assert {record.versions["chemscale"] for record in records} == {__version__}
    report = (sweep / "law" / "report.html").read_text()
    assert "data:image/" in report
    assert "chemgpt-w24-l2" in report
    elsewhere.run("chemscale", "fit", "runs/chemgpt_sizes", "--out", "again")
    assert (elsewhere.folder / "again" / "report.html").is_file()
    said = elsewhere.run("chemscale", "generate", "runs/chemgpt_sizes/chemgpt-w24-l2", "--n", "10")
    assert "valid" in said
    elsewhere.run("chemscale", "export", "runs/chemgpt_sizes/chemgpt-w8-l2", "--to", "exported")
    assert (elsewhere.folder / "exported" / "model.safetensors").is_file()


def test_the_dashboard_s_page_is_written(elsewhere, sweep):
    elsewhere.run("chemscale", "dashboard", "local", "runs", "--out", "page.html")
    assert "chemgpt-w24-l2" in (elsewhere.folder / "page.html").read_text()


def test_a_potential_trains_and_calculates(elsewhere):
    elsewhere.run(
        *("chemscale", "train", "task=potential", "model=painn", "model.width=8", "model.layers=1"),
        *(
            "data=starter_structures",
            "data.count=60",
            "budget.steps=6",
            "data.validation_fraction=0.2",
            *SMALL,
        ),
    )
    ((_, record),) = find_records(elsewhere.folder / "runs" / "single")
    run = f"runs/single/{record.name}"
    assert "meV" in elsewhere.run("chemscale", "evaluate", run, "--part", "validation")
    (elsewhere.folder / "relax.py").write_text(
        "from ase.build import molecule\n"
        "from ase.io import write\n"
        "from ase.optimize import BFGS\n"
        "from chemscale.structures.calculator import ChemscaleCalculator\n"
        "atoms = molecule('CH3CH2OH')\n"
        f"atoms.calc = ChemscaleCalculator({run!r})\n"
        "BFGS(atoms).run(fmax=0.1, steps=2)\n"
        "assert abs(atoms.get_potential_energy()) > 1\n"
        "write('ethanol.xyz', atoms)\n"
    )
    elsewhere.run("python", "relax.py")
    elsewhere.run("chemscale", "predict", run, "ethanol.xyz", "--out", "predicted.xyz")


def test_profiles_of_the_wheel_and_of_one_s_own_are_found(elsewhere):
    assert "requeue-failed" in elsewhere.run("chemscale", "launch", "--help")
    composed = elsewhere.run("chemscale", "train", "site=example", "--cfg", "job")
    assert "cuda/12.6" in composed
    own = elsewhere.folder / "own" / "site"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [none]\npartition: my-partition\n")
    composed = elsewhere.run(
        "chemscale", "train", "site=mine", "--cfg", "job", CHEMSCALE_CONFIG=str(own.parent)
    )
    assert "my-partition" in composed
    refused = elsewhere.run("chemscale", "train", "site=absent", "--cfg", "job", status=2)
    assert "mine" not in json.dumps(refused)
