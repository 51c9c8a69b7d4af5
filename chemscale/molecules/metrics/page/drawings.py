"""Drawings of molecules for a page that stands alone."""

from __future__ import annotations

import base64
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D


def molecule_image(smiles: str, width: int = 210, height: int = 150) -> str:
    """Data address of a drawing of a molecule, as SVG.

    Args:
        smiles: that RDKit reads.
        width: pixels.
        height: pixels.
    """
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        rdDepictor.Compute2DCoords(molecule)
        drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
        options: Any = drawer.drawOptions()
        options.padding, options.maxFontSize, options.fixedBondLength = 0.06, 14, 22
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
        drawer.FinishDrawing()
    return "data:image/svg+xml;base64," + base64.b64encode(drawer.GetDrawingText().encode()).decode()
