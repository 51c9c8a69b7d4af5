"""``data=NAME`` reads what ``fetch NAME`` brings, and says that command where it is not there."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.config.options import option
from chemscale.fetching.places import refuse_missing
from chemscale.fetching.registry import SHIPPED, load_registry, read_registry
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.preparation.sources.reading import Reading
from chemscale.points.data import (
    open_or_prepare,
    read_molecule_data,
    read_structure_data,
    structure_files,
    structure_source,
)
from chemscale.structures.blocks import SourceError
from tests.helpers.paths import real_data

SETS = load_registry()
OF_EACH_MOLECULE = {"rmd17": 10, "md17": 8, "md22": 7}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEMSCALE_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def section(*overrides: str) -> dict:
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        return OmegaConf.to_container(compose("prepare", list(overrides)).data, resolve=True)


def places_of(name: str) -> set[str]:
    """Files and folders that fetching a set leaves, below the home."""
    found = set()
    for file in SETS[name].files:
        plan = file.unpack
        found.add(f"{name}/{plan.to.rstrip('/') if plan else file.path}")
    return found


@pytest.mark.parametrize("name", SETS)
def test_each_set_has_an_option_that_names_what_fetching_leaves(name, home):
    data = section(f"data={name}")
    places = places_of(name)
    for key in ("path", "test_path"):
        if data.get(key) is not None:
            inside = data[key].removeprefix(f"{home}/")
            assert any(inside == place or inside.startswith(f"{place}/") for place in places), inside
    read = read_structure_data if SETS[name].kind == "structures" else read_molecule_data
    read(data)
    assert f"chemscale.fetch {name}" in option("data", name).about
    assert f"data={name}" in SETS[name].use


@pytest.mark.parametrize(("name", "molecules"), OF_EACH_MOLECULE.items())
def test_every_molecule_of_a_set_of_several_can_be_chosen(name, molecules, home):
    choices = option("data", name).keys["data.molecule"].kind.split(" | ")
    assert len(choices) == molecules
    for molecule in choices:
        inside = section(f"data={name}", f"data.molecule={molecule}")["path"].removeprefix(f"{home}/")
        assert inside in places_of(name)


def test_the_default_home_is_the_folder_data_of_the_working_directory(monkeypatch):
    monkeypatch.delenv("CHEMSCALE_DATA", raising=False)
    assert section("data=ani1x")["path"] == "data/ani1x/ani1x-release.h5"


MISSING = {
    ("data=rmd17", "data.molecule=uracil"): "chemscale.fetch rmd17 --only rmd17_uracil.npz",
    ("data=spice",): r"spice is not here yet \(37\.5 GB\).*chemscale.fetch spice ",
    ("data=omol25_val",): r"about|omol25_val is not here yet \(119 MB\).*chemscale.fetch omol25_val ",
    ("data=3bpa",): "chemscale.fetch 3bpa ",
}


@pytest.mark.parametrize("overrides", MISSING)
def test_what_is_not_there_is_said_by_the_command_that_fetches_it(overrides, home):
    with pytest.raises(FileNotFoundError, match=MISSING[overrides]) as missing:
        structure_files(read_structure_data(section(*overrides)))
    assert "Training never downloads" in str(missing.value)
    assert f"CHEMSCALE_DATA={home}" in str(missing.value)


def test_molecules_are_missed_by_name_too_and_a_part_is_said(home, tmp_path):
    folder = home / "moses"
    folder.mkdir(parents=True)
    (folder / "dataset_v1.csv.part").write_bytes(b"x" * 4_000_000)
    with pytest.raises(
        FileNotFoundError, match=r"moses is not here yet \(84\.5 MB\), of which 4 MB are here"
    ):
        open_or_prepare(read_molecule_data(section("data=moses")), tmp_path / "corpora")


def test_other_paths_are_left_to_those_who_read_them(home, tmp_path):
    for path in (tmp_path / "mine.csv", home / "mine.csv", home / "no_such_set" / "a.csv", "~/x.csv"):
        refuse_missing(str(path))
    own = home / "moses" / "dataset_v1.csv"
    own.parent.mkdir(parents=True)
    own.write_text("SMILES,SPLIT\nC,train\n")
    refuse_missing(str(own))
    refuse_missing(str(home / "moses" / "*.csv"))


SHAPES = {
    "zinc250k": (
        "250k_rndm_zinc_drugs_clean_3.csv",
        'smiles,logP,qed,SAS\n"CCO\n",1.0,0.5,2.0\n"c1ccccc1\n",2,0.4,1\n',
    ),
    "moses": ("dataset_v1.csv", "SMILES,SPLIT\nCCO,train\nc1ccccc1,test\n"),
    "guacamol": ("guacamol_v1_train.smiles", "CCO\nc1ccccc1\n"),
    "qm9_smiles": ("qm9.csv", "mol_id,smiles,A,B\ngdb_1,CCO,1.0,2.0\ngdb_2,c1ccccc1,3,4\n"),
    "pubchem10m": ("pubchem_10m.txt", "CCO\nc1ccccc1\n"),
    "chembl": (
        "chembl_37_chemreps.txt.gz",
        "chembl_id\tcanonical_smiles\tstandard_inchi\tstandard_inchi_key\n"
        "CHEMBL1\tCCO\tInChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3\tLFQSCWFLJHTTHZ-UHFFFAOYSA-N\n"
        "CHEMBL2\tc1ccccc1\tInChI=1S/C6H6/c1-2-4-6-5-3-1/h1-6H\tUHOVQNZJYSORNB-UHFFFAOYSA-N\n",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_molecules_in_the_shape_of_each_set_are_read(name, home):
    file, text = SHAPES[name]
    (home / name).mkdir(parents=True)
    (home / name / file).write_bytes(gzip.compress(text.encode()) if file.endswith(".gz") else text.encode())
    data = section(f"data={name}")
    reading = Reading(find_files(data["path"])[0], data["smiles_column"], data["delimiter"], data["encoding"])
    rows = [row for _, chunk in reading.chunks(10) for row in chunk]
    assert [text.strip() for _, text, _ in rows] == ["CCO", "c1ccccc1"], rows


METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\
\t0.5048\t35.3641\t0.044749\t-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.5*^-3\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""


def qm9_archive(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:bz2") as archive:
        for n, text in enumerate(texts, 1):
            info = tarfile.TarInfo(f"dsgdb9nsd_{n:06d}.xyz")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


def test_qm9_is_read_from_the_archive_of_its_authors(home, tmp_path):
    archive = home / "qm9" / "dsgdb9nsd.xyz.tar.bz2"
    qm9_archive(archive, METHANE, METHANE.replace("gdb 1", "gdb 21"))
    (home / "qm9" / "uncharacterized.txt").write_text("3054 molecules\n\n  Index\n     21 C#N  N#C\n")
    _, source = structure_source(read_structure_data(section("data=qm9")), tmp_path / "structures")
    [block] = list(source.blocks())
    assert block.name == "gdb 1"
    assert block.numbers.tolist() == [6, 1, 1, 1, 1]
    assert block.energies[0] == pytest.approx(-40.47893 * 27.211386, rel=1e-6)
    assert block.positions[0, 2, 2] == 2.5e-3
    assert np.isnan(block.forces).all()
    assert any("1 molecules that uncharacterized.txt lists were left out" in note for note in source.notes)
    _, source = structure_source(
        read_structure_data(section("data=qm9", "data.energy_key=G")), tmp_path / "structures"
    )
    assert next(iter(source.blocks())).energies[0] == pytest.approx(-40.498597 * 27.211386, rel=1e-6)
    qm9_archive(archive, METHANE.replace("-40.47893", "none"))
    with pytest.raises(SourceError, match=r"dsgdb9nsd_000001\.xyz is no molecule of QM9"):
        list(structure_source(read_structure_data(section("data=qm9")), tmp_path / "s")[1].blocks())


REAL = {
    "ani1x": ("modelforge_samples__ani1_n5.hdf5", "ani1x-release.h5"),
    "ani2x": ("modelforge_samples__ani2x_minimal.hdf5", "ANI-2x-wB97X-631Gd.h5"),
    "comp6": ("modelforge_samples__ani2x_minimal.hdf5", "COMP6v2_wB97X-631Gd.h5"),
    "spice": ("modelforge_samples__SPICE-1.1.4_n2.hdf5", "SPICE-2.0.1.hdf5"),
    "rmd17": ("rmd17_ethanol.npz", "rmd17_ethanol.npz"),
    "md17": ("nff_ethanol_ccsdt__ethanol_ccsd_t-train.npz", "md17_ethanol.npz"),
}


@pytest.mark.parametrize("name", REAL)
def test_structures_in_the_form_of_each_set_are_read(name, home, tmp_path):
    sample, file = REAL[name]
    (home / name).mkdir(parents=True)
    (home / name / file).symlink_to(real_data(f"atoms/{sample}"))
    _, source = structure_source(read_structure_data(section(f"data={name}")), tmp_path / "structures")
    block = next(iter(source.blocks()))
    assert np.isfinite(block.energies).all()
    assert np.isfinite(block.forces).all()


def test_the_registry_that_is_shipped_is_honest():
    for data in read_registry(SHIPPED).values():
        assert data.licence
        assert data.citation
        assert data.homepage.startswith("http")
        assert data.sources
        for file in data.files:
            for mirror in file.mirrors:
                assert mirror.url.startswith("http")
                assert "://figshare.com" not in mirror.url
