"""Every line of an awkward file is kept, dropped with its place, or the file is refused by name."""

import csv
import gzip

import pytest
from rdkit import Chem

from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.sources import SourceError
from tests.helpers.molecule_files import SMILES, put, read


def physical_lines(content: bytes) -> int:
    text = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.count(b"\n") + (not text.endswith(b"\n"))


AWKWARD = {
    "plain.smi": "\n".join(SMILES) + "\n",
    "no final newline.smi": "\n".join(SMILES),
    "crlf.csv": "smiles,id\r\n" + "".join(f"{s},{i}\r\n" for i, s in enumerate(SMILES)),
    "lone cr.csv": "smiles,id\r" + "".join(f"{s},{i}\r" for i, s in enumerate(SMILES)),
    "mixed ends.smi": "CCO\r\nCCN\rCCC\nCCCC\r\n",
    "blank.smi": "\n\nCCO\n\nCCN\n\n\nCCC\n\n",
    "blank.csv": "\nsmiles,id\nCCO,1\n\nCCN,2\n,\nCCC,3\n",
    "comments.smi": "# made by hand\nCCO\n# half way\nCCN\nCCC\n#\n",
    "comments.csv": "# made by hand\nsmiles,id\nCCO,1\n# half way\nCCN,2\nCCC,3\n",
    "nul.smi": "CCO\nC\0C\nCCN\nCCC\n\0\n",
    "nul.csv": "smiles,id\nCCO,1\nC\0C,2\nCCN,\0\nCCC,4\n",
    "mark.csv": "\ufeffsmiles,id\nCCO,1\nCCN,2\nCCC,3\n",
    "marks.smi": "\ufeffCCO\n\ufeffCCN\nCCC\nCCCC\n",
    "separator.csv": "sep=;\nsmiles;id\nCCO;1\nCCN;2\nCCC;3\n",
    "commas.smi": "CCO,one name\nCCN,b\nCCC,c\nCCCC,d\n",
    "feeds.smi": "CCO\x0b\nCCN\x0cname\nCCC\x1cname\nCCCC\u2028name\nCCCCC\x85\n\x0c\nCCCN\n",
    "feeds.csv": "smiles,note\nCCO,a\x0bb\nCCN,a\x0cb\nCCC,a\x1cb\nCCCC,a\u2028b\n",
    "quotes.tsv": 'id\tname\tsmiles\n1\t5" pipe\tCCO\n2\t"open\tCCN\n3\t""\tCCC\n4\tclosed"\tCCCC\n',
    "quotes.smi": 'CCO "open\nCCN 5"\n"CCC" x\nCCCC y\n',
    "quotes.csv": 'smiles,note\nCCO,5" pipe\n"CCN","a, b"\nCCC,"say ""no"""\n"CCCC",\n',
    "last quote.csv": 'smiles,note\nCCO,a\nCCN,b\nCCC,"open\n',
    "zinc.csv": "smiles,logP\n" + "".join(f'"{s}\n",{i}.5\n' for i, s in enumerate(SMILES)),
    "short rows.csv": "id,smiles,note\n1,CCO,x\n2\n3,CCN\n4,CCC,\n",
    "long rows.csv": "name,smiles\nethanol,CCO\nN,N-dimethyl,CN(C)C\n1,2-ethane,CCS\nx,CCC\ny,CCN\n",
    "long name.csv": "id,smiles,name\n1,CCO,a\n2,CCN,2,4-dinitro\n3,CCC,b\n",
    "huge cell.csv": "smiles,id\nCCO,1\n" + "?" * 200_000 + ",2\nCCN,3\nCCC,4\n",
    "nonsense.csv": "smiles\nCCO\nnonsense\n[Xx]\nC1CC\nCCN\nCCO\nOCC\n",
    "hash header.smi": "#smiles name\nCCO a\nCCN b\nCCC c\n",
    "pipes.csv": "smiles|id\nCCO|1\nCCN|2\nCCC|3\n",
}


@pytest.mark.parametrize("name", AWKWARD)
def test_lines_are_rows_kept_dropped_or_duplicates(tmp_path, name):
    content = AWKWARD[name].encode()
    path = put(tmp_path, name, content)
    made = build_corpus([path], tmp_path / "corpus", workers=1, validation_fraction=0.3)
    (source,) = made.manifest["sources"]
    counts = made.manifest["counts"]
    continued = {"zinc.csv": len(SMILES), "separator.csv": 1}.get(name, 0)
    assert physical_lines(content) == counts["rows"] + continued + source["header"]
    assert counts["rows"] == counts["kept"] + sum(counts["dropped"].values())
    with gzip.open(made.path / "dropped.csv.gz", "rt", newline="") as file:
        dropped = list(csv.DictReader(file))
    assert len(dropped) == sum(counts["dropped"].values())
    lines = content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for row in dropped:
        assert row["file"] == name
        assert row["reason"] == "duplicate" or row["smiles"] in lines[int(row["line"]) - 1]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("quotes.tsv", 4), ("zinc.csv", 6), ("feeds.smi", 6), ("nul.csv", 3), ("commas.smi", 4)],
)
def test_what_can_be_read_is_kept(tmp_path, name, kept):
    path = put(tmp_path, name, AWKWARD[name])
    assert (
        sum(Chem.MolFromSmiles(text) is not None for text in read(path) if text and "\0" not in text) == kept
    )


def test_a_row_whose_cells_moved_is_dropped_and_one_whose_molecule_is_sure_is_kept(tmp_path):
    made = build_corpus(
        [put(tmp_path, "m.csv", AWKWARD["long rows.csv"])], tmp_path / "c", workers=1, validation_fraction=0.3
    )
    assert made.manifest["counts"]["dropped"] == {"more cells than the header": 2}
    assert read(put(tmp_path, "n.csv", AWKWARD["long name.csv"])) == ["CCO", "CCN", "CCC"]


@pytest.mark.parametrize("closed_at", [None, 9])
def test_a_quoted_cell_that_runs_over_lines_is_refused_by_its_line(tmp_path, closed_at):
    rows = [f"{i},name,{s}" for i, s in enumerate(SMILES * 3)]
    rows[4] = rows[4].replace("name", '"name')
    if closed_at:
        rows[closed_at] = rows[closed_at].replace("name", 'name"')
    path = put(tmp_path, "m.csv", "id,name,smiles\n" + "\n".join(rows))
    with pytest.raises(SourceError, match=r"m\.csv, line 6: a quoted cell .* runs over"):
        read(path)


def test_a_note_of_two_lines_is_refused_too(tmp_path):
    path = put(tmp_path, "m.csv", 'note,smiles\na,CCO\n"b\nc",CCN\nd,CCC\n')
    with pytest.raises(SourceError, match=r"line 3"):
        read(path)


def test_an_extension_that_holds_the_delimiter_stays_with_its_smiles(tmp_path):
    path = put(tmp_path, "m.csv", "smiles,id\nC[C@H](O)F |&1:1,r|,0\nC[C@H](N)F |&1:1,r|,1\n")
    assert read(path) == ["C[C@H](O)F |&1:1,r|", "C[C@H](N)F |&1:1,r|"]
    path = put(tmp_path, "m.smi", "C[C@H](O)F |&1:1, r| first\nC[C@H](N)F second\n")
    assert read(path) == ["C[C@H](O)F |&1:1,r|", "C[C@H](N)F"]


def test_dropped_rows_name_the_atom_or_symbol(tmp_path):
    rows = [
        "CCO",
        "CCN",
        "CCC",
        "C(C)(C)(C)(C)C",
        "nonsense",
        "C1CC",
        "C[*]",
        "F[P](F)(F)(F)(F)F",
        "OCC",
        "O=I(=O)c1ccccc1",
    ]
    made = build_corpus(
        [put(tmp_path, "m.smi", "\n".join(rows))], tmp_path / "c", workers=1, validation_fraction=0.3
    )
    with gzip.open(made.path / "dropped.csv.gz", "rt") as file:
        details = {int(row["line"]): row["detail"] for row in csv.DictReader(file)}
    expected = {
        4: "atom # 0 C",
        5: "'e' at character 5",
        6: "unclosed ring",
        7: "atom 1: *",
        8: "atom # 1 P",
        9: "row 1",
        10: "I with 5 bond",
    }
    assert {line: expected[line] in detail for line, detail in details.items()} == dict.fromkeys(
        expected, True
    )


def test_symbols_outside_a_vocabulary_are_named_with_their_molecule(tmp_path):
    first = build_corpus(
        [put(tmp_path, "a.smi", "CCO\nCCN\nCCC\nCO\n")], tmp_path / "a", workers=1, validation_fraction=0.3
    )
    made = build_corpus(
        [put(tmp_path, "b.smi", "CCO\nCCN\nCCS\nFCCl\nCCC\n")],
        tmp_path / "b",
        workers=1,
        validation_fraction=0.3,
        tokenizer=first.tokenizer,
    )
    (rows,) = made.manifest["examples"].values()
    assert [(row["line"], row["smiles"], row["detail"]) for row in rows] == [
        (3, "CCS", "[S]"),
        (4, "FCCl", "[Cl] [F]"),
    ]
