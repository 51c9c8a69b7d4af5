"""Architectures only: plain ``nn.Module`` classes applied to tensors, knowing nothing of files or ranks."""
