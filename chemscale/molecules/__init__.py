"""Molecules as text: sources, standardisation, corpus, tokenizers, packing, generation."""
