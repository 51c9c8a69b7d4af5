"""Which column holds the molecules, and in which notation: by its name first, then by its content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem, rdBase

from chemscale.molecules.preparation.sources.records import Row

MIN_SHARE = 0.5
"""Share of the probed cells that must be molecules: words such as "C" or "I" parse by accident."""
PROBE_CELLS = 100
SELFIES = re.compile(r"(\[[^\[\]\s]+\]|\.)+")
SELFIES_ONLY = re.compile(r"\[[=#/\\]?(Ring|Branch|Expl)|\[[=#][A-Z]|\[(B|C|N|O|P|S|F|I|Cl|Br)\]")
SMILES_CHARACTERS = re.compile(r"[BCNOPSFIHclbrnosp\d()]*[\d()][BCNOPSFIHclbrnosp\d()]*")
PARTS = {
    "scaffold",
    "murcko",
    "fragment",
    "frag",
    "core",
    "linker",
    "warhead",
    "rgroup",
    "reactant",
    "reactants",
    "reagent",
    "product",
    "products",
}
PARTS |= {"rxn", "reaction", "solvent", "catalyst", "monomer", "random", "randomized"}
WHOLE = {"mol", "mols", "molecule", "molecules", "structure", "structures", "compound", "drug", "ligand"}
TEXTS = {"input", "inputs", "text"}
RANKS = ("is smiles", "says smiles", "says SELFIES", "says molecule", "says text", "", "says a part")
SHOWN_WAYS = 6
MAX_NAME = 200
"""Characters of a name in a header: more are a molecule, be it one that is too long to be read."""
MAX_COLUMNS = 16_384
"""Columns among which the molecules are looked for: those of a sheet of Excel."""
UNNAMED = 5
"""The rank of a name that says nothing."""


@dataclass(frozen=True)
class Choice:
    """Where the molecules of a file are.

    Args:
        column: number, or path of keys, of the column.
        name: of the column; None where there is no header.
        header: whether the first row is one.
        notation: smiles | selfies.
        why: for people: what decided.
    """

    column: int | str
    name: str | None
    header: bool
    notation: str
    why: str


class NoColumn(ValueError):
    """No column can be chosen.

    Args:
        why: for people.
        final: whether more rows would not change it.
        empty: whether there is no row.
    """

    def __init__(self, why: str, final: bool = True, empty: bool = False):
        super().__init__(why)
        self.final, self.empty = final, empty


@lru_cache(maxsize=4096)
def is_smiles(text: str) -> bool:
    """Whether RDKit reads a text as a molecule with at least one atom.

    Args:
        text: of a cell.
    """
    # RDKit takes what follows a blank for a name: "C is a letter" would be methane.
    head, *rest = text.split(maxsplit=1) or [""]
    if not head or len(text) > 5000 or (rest and not rest[0].startswith("|")):
        return False
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text)
    return molecule is not None and molecule.GetNumAtoms() > 0


def cell(row: Row, column: int | str) -> str:
    """Text of a cell without blanks around it; empty where the row has none.

    Args:
        row: of a table or a record.
        column: number or path of keys.
    """
    if isinstance(row, dict):
        return row.get(str(column), "").strip()
    return row[column].strip() if isinstance(column, int) and column < len(row) else ""


def share_of_smiles(cells: Sequence[str], strict: bool = True) -> float:
    """Share of cells that are SMILES.

    Args:
        cells: none of them empty.
        strict: one must be longer than a letter: single letters are words too.
    """
    if not cells or (strict and not any(len(text) > 1 and is_smiles(text) for text in cells)):
        return 0.0
    return sum(map(is_smiles, cells)) / len(cells)


def notation_of(cells: Sequence[str], strict: bool = True) -> str | None:
    """smiles, selfies, or None where few cells are either.

    Args:
        cells: none of them empty.
        strict: as ``share_of_smiles``.
    """
    spelled = sum(bool(SELFIES.fullmatch(text)) and bool(SELFIES_ONLY.search(text)) for text in cells)
    if cells and spelled >= MIN_SHARE * len(cells):
        return "selfies"
    return "smiles" if share_of_smiles(cells, strict) >= MIN_SHARE else None


def rank(name: str) -> int:
    """Index in ``RANKS``: how plainly a name says that its column holds molecules.

    Args:
        name: of a column; of a path of keys the last part counts.
    """
    last = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip().rsplit(".", 1)[-1]).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", last).strip("_")
    words = set(plain.split("_"))
    part = bool(words & PARTS)
    if not part and plain in ("smiles", "smile"):
        return 0
    if not part and ("smiles" in plain or "smi" in words):
        return 1
    if not part and "selfies" in plain:
        return 2
    if part:
        return 6
    if words & WHOLE:
        return 3
    return 4 if plain in TEXTS else UNNAMED


class Chooser:
    """The choice of a column from the first rows of a file.

    Args:
        probe: its first rows, comments and blank lines left aside.
        names: the header of a file whose format has one; None where the first row may be one.
        sample: gives the first cells of a column that are not empty, from the whole file.
        first_wins: of several headless columns, the first (lists: SMILES, then the name).
    """

    def __init__(
        self,
        probe: list[Row],
        names: list[str] | None,
        sample: Callable[[int | str], list[str]],
        first_wins: bool,
    ):
        self.probe, self.sample, self.first_wins = probe, sample, first_wins
        self.named = names is not None
        self.keys: list[int | str]
        if any(isinstance(row, dict) for row in probe):
            self.keys = list(dict.fromkeys(key for row in probe if isinstance(row, dict) for key in row))
            self.names, self.named = [str(key) for key in self.keys], True
        else:
            width = len(names) if names else max((len(row) for row in probe), default=0)
            self.keys = list(range(min(width, MAX_COLUMNS)))
            first = [] if names is not None else [cell(probe[0], key) for key in self.keys]
            self.names = [name.strip() for name in names[:MAX_COLUMNS]] if names is not None else first
        self.keys = self.keys[:MAX_COLUMNS]

    def choose(self, wanted: str | int | None) -> Choice:
        """Find the column.

        Args:
            wanted: name or number of the column; None to find it.

        Raises:
            NoColumn: there is none, or several between which nothing decides.
        """
        if isinstance(wanted, int):
            if wanted >= len(self.keys):
                raise NoColumn(f"there is no column {wanted}")
            key = self.keys[wanted]
            return self._given(key, self.named or self._is_name(wanted))
        if wanted is not None:
            return self._given(self._by_name(wanted), True)
        return self._found()

    def _given(self, key: int | str, header: bool) -> Choice:
        cells = self.sample(key)
        if header and not self.named:
            cells = cells[1:]
        name = self._name(key) if header else None
        if not cells:
            raise NoColumn(f"column {name or key} is empty: there is nothing in any row")
        notation = notation_of(cells, strict=False)
        if notation is None:
            raise NoColumn(f"column {name or key} has few SMILES ({cells[0][:40]!r} is the first cell)")
        return Choice(key, name, header, notation, "named by data.smiles_column")

    def _by_name(self, wanted: str) -> int | str:
        for same in (
            lambda name: name == wanted,
            lambda name: name.lower() == wanted.lower(),
            lambda name: name.endswith(f".{wanted}"),
        ):
            found = [key for key, name in zip(self.keys, self.names, strict=True) if same(name)]
            if len(found) > 1:
                raise NoColumn(
                    f"{len(found)} columns are named {wanted!r}: give the number, "
                    + " or ".join(f"data.smiles_column={self.keys.index(key)}" for key in found)
                )
            if found:
                return found[0]
        if self.named and self.keys and isinstance(self.keys[0], str) and self.sample(wanted):
            return wanted  # a key that the first records lack
        raise NoColumn(f"there is no column named {wanted!r}")

    def _name(self, key: int | str) -> str:
        return self.names[self.keys.index(key)] if key in self.keys else str(key)

    def _is_name(self, index: int) -> bool:
        """Whether the first row is a header, judged by the cell of one column."""
        text = self.names[index]
        if not text or len(text) > MAX_NAME or is_smiles(text) or SMILES_CHARACTERS.fullmatch(text):
            return False
        if rank(text) != UNNAMED:
            return True
        return not re.search(r"[=@\[\]\\+]", text) and not any(map(_is_number, self.names))

    def _first_is_header(self) -> bool:
        """Whether the first row is a header: it says what a column holds, or no cell of it can be a value."""
        filled = [name for name in self.names if name]
        if any(self._says_what_is_below(key, name) for key, name in zip(self.keys, self.names, strict=True)):
            return True
        return len(filled) == len(self.names) and all(self._is_name(i) for i in range(len(self.names)))

    def _says_what_is_below(self, key: int | str, name: str) -> bool:
        """Whether a first cell names a column of molecules: "mol 1" beside a SMILES is a molecule's name."""
        if not name or len(name) > MAX_NAME or rank(name) == UNNAMED or is_smiles(name):
            return False
        cells = [text for row in self.probe[1:] if (text := cell(row, key))][:PROBE_CELLS]
        return notation_of(cells, strict=False) is not None if cells else rank(name) <= 2

    def _found(self) -> Choice:
        header = self.named or self._first_is_header()
        rows = self.probe if self.named or not header else self.probe[1:]
        if not rows:
            raise NoColumn("there is a header and nothing below it", empty=True)
        found = self._candidates(rows, header)
        if not found:
            raise NoColumn(self._why_none(rows, header), final=False)
        best = min(found)
        keys = found[best]
        if len(keys) > 1 and self.first_wins and not header:
            keys = keys[:1]
        if len(keys) > 1:
            ways = [
                str(self.keys.index(key))
                if not header or self.names.count(self._name(key)) > 1
                else self._name(key)
                for key in keys
            ]
            raise NoColumn(
                "several columns could be the molecules and nothing decides between them: choose with "
                + " or ".join(f"data.smiles_column={way}" for way in ways[:SHOWN_WAYS])
                + (f" or {len(ways) - SHOWN_WAYS} others" if len(ways) > SHOWN_WAYS else "")
            )
        key = keys[0]
        notation = notation_of(self._cells(rows, key, best), strict=best > 1) or "smiles"
        header = header or self._is_name(self.keys.index(key))
        why = f"its name {RANKS[best]}" if best != UNNAMED else "found by its content"
        return Choice(key, self._name(key) if header else None, header, notation, why)

    def _cells(self, rows: list[Row], key: int | str, rank_of_it: int) -> list[str]:
        cells = [text for row in rows if (text := cell(row, key))][:PROBE_CELLS]
        if not cells and rank_of_it != UNNAMED:
            cells = self.sample(key)
            return cells if self.named else [text for text in cells if text != self._name(key)]
        return cells

    def _candidates(self, rows: list[Row], header: bool) -> dict[int, list[int | str]]:
        """Columns of molecules by the rank of their name."""
        found: dict[int, list[int | str]] = {}
        longest: dict[int | str, int] = {}
        for key in self.keys:
            order = rank(self._name(key)) if header else UNNAMED
            cells = self._cells(rows, key, order)
            # In a headless file the first row may still be a header that says nothing.
            tried = (
                cells if header or len(rows) == 1 else [text for text in cells if text != cell(rows[0], key)]
            )
            if notation_of(tried or cells, strict=order > 1):
                found.setdefault(order, []).append(key)
                longest[key] = max(map(len, tried or cells))
        if UNNAMED in found:
            most = max(longest[key] for key in found[UNNAMED])
            found[UNNAMED] = [key for key in found[UNNAMED] if longest[key] > 3 or most <= 3]
        return found

    def _why_none(self, rows: list[Row], header: bool) -> str:
        for key in self.keys if header else []:
            if rank(self._name(key)) <= 1:
                cells = self._cells(rows, key, 0)
                state = (
                    f"few SMILES ({cells[0][:40]!r} is the first cell)" if cells else "no cell that is filled"
                )
                return f"column {self._name(key)} has {state}"
        return "no column has mostly SMILES"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def usual_width(rows: Sequence[Row]) -> int:
    """Number of cells that most rows have.

    Args:
        rows: of a table.
    """
    return Counter(map(len, rows)).most_common(1)[0][0]
