"""SELFIES symbols as tokens: notation, our tokenizer, published ones."""
