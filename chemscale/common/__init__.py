"""Files, locks, paths, logs, plugins, samplers: what every package may use. Imports nothing of chemscale."""
