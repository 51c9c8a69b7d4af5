"""A score is what was asked for, from 0 to 1, and whatever cannot be one is named before it is used."""

import math

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdMolDescriptors

from chemscale.reinforcement.scoring.errors import ScoringError
from chemscale.reinforcement.scoring.score import Component, Score, as_score
from chemscale.reinforcement.scoring.transforms import Transform

CELECOXIB = "Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F"
MOLECULES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", CELECOXIB]


def scores(wanted, smiles=MOLECULES, **more):
    return [outcome.score for outcome in as_score(wanted, **more).outcomes(smiles)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("linear:0,0.75", {-1: 0, 0.375: 0.5, 0.75: 1, 2: 1}),
        ("linear:5,1", {6: 0, 5: 0, 3: 0.5, 0: 1}),
        ("sigmoid:1,3", {1: 0.05, 2: 0.5, 3: 0.95}),
        ("sigmoid:-6,-10", {-6: 0.05, -8: 0.5, -10: 0.95, 1e6: 0, -1e6: 1}),
        ("window:1,5", {1: 1, 3: 1, 5: 1, 6: math.exp(-0.5), 0: math.exp(-0.5)}),
        ("window:1,5,0", {1: 1, 5: 1, 5.01: 0}),
        ("gauss:2,0.5", {2: 1, 2.5: math.exp(-0.5)}),
        ("step:3", {2.9: 0, 3: 1}),
    ],
)
def test_transforms_are_the_curves_that_they_say(text, values):
    for value, expected in values.items():
        assert Transform(text)(value) == pytest.approx(expected, abs=1e-12)


def test_similarity_is_that_of_guacamol_and_pmo():
    """They count unfolded Morgan and atom pair fingerprints; here RDKit's older functions do the same."""
    older = {
        "ECFP4": lambda m: rdMolDescriptors.GetMorganFingerprint(m, 2),
        "ECFP6": lambda m: rdMolDescriptors.GetMorganFingerprint(m, 3),
        "FCFP4": lambda m: rdMolDescriptors.GetMorganFingerprint(m, 2, useFeatures=True),
        "AP": lambda m: rdMolDescriptors.GetAtomPairFingerprint(m, maxLength=10),
    }
    for name, of in older.items():
        found = scores(f"similarity smiles={CELECOXIB} fingerprint={name}")
        target = of(Chem.MolFromSmiles(CELECOXIB))
        expected = [DataStructs.TanimotoSimilarity(target, of(Chem.MolFromSmiles(s))) for s in MOLECULES]
        assert found == pytest.approx(expected, abs=1e-12)
        assert found[-1] == 1 > max(found[:-1])


def test_shipped_functions_score_molecules():
    assert scores("substructure smarts=[OX2H]") == [1, 1, 1, 0]
    assert scores("substructure smarts=c at_least=12") == [0, 0.5, 0.5, 1]
    assert scores("substructure smarts=F at_least=0") == [1, 1, 1, 0]
    assert scores("alerts catalog=PAINS", ["CCO", "O=C1C=CC(=O)C=C1"]) == [1, 0]
    assert scores("heavy_atoms transform=step:10") == [0, 0, 1, 1]
    assert 0 < min(scores("QED")) < max(scores("QED")) < 1


def test_components_are_aggregated_by_their_weights():
    parts = ["QED weight=3", "logP transform=linear:0,5"]
    qed, logp = np.array(scores(parts[0])), np.array(scores(parts[1]))
    assert scores(parts) == pytest.approx(qed**0.75 * logp**0.25)
    assert scores(parts, aggregate="mean") == pytest.approx(0.75 * qed + 0.25 * logp)
    assert scores(parts, aggregate="least") == pytest.approx(np.minimum(qed, logp))
    assert scores(["QED", "substructure smarts=F"])[:3] == [0, 0, 0]


def test_a_function_of_a_list_is_known_by_its_annotation_or_told(tmp_path):
    sizes = []

    def together(smiles: list[str]) -> np.ndarray:
        sizes.append(len(smiles))
        return np.full(len(smiles), 0.25)

    def bare(smiles):
        return [0.5] * len(smiles)

    assert scores(together) == [0.25] * 4
    assert sizes == [4]
    assert scores(Component(bare, takes="list")) == [0.5] * 4
    assert "takes=list" in as_score(bare).outcomes(["C"])[0].problem


def test_functions_of_files_modules_and_classes_are_found_with_their_options(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import beside\n"
        "def share(smiles, symbol='C'):\n    return beside.count(smiles, symbol)\n"
        "class Model:\n"
        "    def __init__(self, bias): self.bias = bias\n"
        "    def __call__(self, smiles: 'list[str]'): return [self.bias for _ in smiles]\n"
    )
    (tmp_path / "beside.py").write_text("def count(s, c):\n    return s.count(c) / len(s)\n")
    path = tmp_path / "mine.py"
    assert scores(f"{path}:share symbol=O", ["CO", "CCCO"]) == [0.5, 0.25]
    assert scores(f"{path}:Model bias=0.125", ["CO"]) == [0.125]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert scores("mine:share", ["CO"]) == [0.5]


def test_a_file_holds_components(tmp_path):
    path = tmp_path / "wanted.yaml"
    path.write_text(
        "aggregate: mean\ncomponents:\n- QED\n- function: similarity\n  name: like\n  weight: 2\n"
        "  options: {smiles: 'CCO', fingerprint: AP}\n  transform: linear:0,0.5\n"
    )
    score = as_score(path)
    assert (score.labels, score.aggregate) == (["QED", "like"], "mean")
    assert score.to_dict()["components"][1]["options"] == {"smiles": "CCO", "fingerprint": "AP"}
    assert score.outcomes(["CCO"])[0].score > 0.6


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("nonsense", "nonsense: no such scoring function. Give module:function"),
        ("", "no scoring function|at least one|FUNCTION"),
        ("logP", "logP has a unit of its own"),
        ("logP transform=window:4,1", "LOW lies below HIGH"),
        ("logP transform=sigmoid:4", "write sigmoid:LOW,HIGH"),
        ("logP transform=wavy:4", "no such transform"),
        ("QED bonus=1", "QED: .*unexpected keyword.*bonus"),
        ("QED weight=-1", "weight=-1 of QED"),
        ("QED 3", "'3' in 'QED 3'"),
        ("similarity", "similarity: missing.*smiles"),
        ("similarity smiles=xyz", "smiles=xyz: RDKit cannot read"),
        ("similarity smiles=C fingerprint=MACCS", "fingerprint=MACCS: choose ECFP4"),
        ("substructure smarts=((", "RDKit cannot read the pattern"),
        ("alerts catalog=MINE", "catalog=MINE"),
        ("absent.py:f", "there is no file .*absent.py"),
        ("absent_module_x:f", "cannot be imported .*absent_module_x"),
        ("math:nothing", "math has no nothing"),
        ("math:pi", "pi is no function but float"),
        (["QED", "QED"], "Two components are called QED"),
        ([], "at least one component"),
        ("absent.yaml", "absent.yaml: cannot be read"),
    ],
)
def test_what_cannot_work_is_named_before_anything_is_computed(wanted, why):
    with pytest.raises(ScoringError, match=why):
        as_score(wanted).check()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("components: 3", "a list of function"),
        ("- QED", "it holds components"),
        ("components: [QED]\nagregate: mean", "nothing reads agregate"),
        ("components: [{function: similarity, options: {smiles: NO}}]", "component 1: smiles is no text"),
        ("components: [{fun: QED}]", "component 1: a component has a function"),
        ("components: [QED]\naggregate: sum", "aggregate=sum: choose"),
        ("components: [", "cannot be read"),
    ],
)
def test_a_file_that_is_no_score_is_refused_by_its_place(tmp_path, text, why):
    (tmp_path / "wanted.yaml").write_text(text)
    with pytest.raises(ScoringError, match=why):
        as_score(str(tmp_path / "wanted.yaml"))


def test_what_a_function_does_to_one_molecule_stays_with_it():
    def picky(smiles):
        if smiles == "CCO":
            raise RuntimeError("no licence\nfor ethanol")
        return {"C": 0.5, "N": math.nan, "O": None, "F": "0.5", "S": np.float32(0.25)}[smiles]

    found = as_score(picky).outcomes(["C", "CCO", "N", "O", "F", "S"])
    assert [round(o.score, 3) for o in found if not o.problem] == [0.5, 0.25]
    told = [
        o.problem.replace("test_what_a_function_does_to_one_molecule_stays_with_it.<locals>.", "")
        for o in found
    ]
    assert told[1:5] == [
        "picky raised RuntimeError: no licence for ethanol",
        "picky returned nan",
        "picky returned None, which is no number",
        "picky returned '0.5', which is no number",
    ]
    assert all(math.isnan(o.score) for o in found if o.problem)


def test_a_wrong_number_of_values_and_values_that_are_no_score_end_it():
    with pytest.raises(ScoringError, match="gave 1 values for 2 SMILES"):
        Score((Component(lambda smiles: [0.5], takes="list"),)).outcomes(["C", "N"])
    with pytest.raises(ScoringError, match=r"gave 7\.5 for CCO: a score lies from 0 .* transform"):
        as_score(lambda smiles: 7.5).outcomes(["CCO"])
