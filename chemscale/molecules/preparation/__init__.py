"""From files of SMILES to a corpus: reading, standardising, splitting, encoding."""
