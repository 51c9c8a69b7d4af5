"""How good generated molecules are: validity by cause, novelty, diversity, and distance from a reference."""
