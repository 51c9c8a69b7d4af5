"""``chemscale VERB …`` is the same as ``python -m chemscale.VERB …``."""

from __future__ import annotations

import importlib
import sys

VERBS = {
    "fetch": "published data sets: mirrors, checksums, licences; a login node fetches, training reads",
    "prepare": "molecules to a corpus, structures to a checked store",
    "overlap": "what a training set and benchmarks have in common, and which rows of them",
    "train": "one point, or a sweep of points and its law",
    "launch": "sweeps through SLURM: submit, status, logs, cancel, requeue-failed, a cluster to try",
    "fit": "a law and a report from runs or a CSV",
    "estimate": "which settings of a sweep are promising, from the first part of their training",
    "plan": "the next runs from a law (or a guess) and a budget",
    "export": "a trained model for others: Hugging Face, GPT-2, ONNX, GGUF, the Hub",
    "certify": "that every strategy trains as one float32 process does",
    "generate": "molecules from a trained model",
    "evaluate": "generated molecules beside a reference, or errors of a potential on held-out frames",
    "optimise": "molecules of a high score from a trained model, by policy gradient",
    "score": "the likelihood of given molecules under a trained model",
    "embed": "a vector for each of given molecules",
    "probe": "measured properties predicted from a trained model",
    "dashboard": "a live page of sweeps, or a prepared W&B workspace",
    "predict": "energies and forces of structures by a trained potential",
    "select": "frames of a pool that are worth a label: far, uncertain or random ones",
    "simulate": "molecular dynamics with a trained potential, and what to trust of it",
    "bench": "training, generation and forces timed beside other codes and revisions",
}


def main() -> None:
    """Hand the command line to a verb, or say the version and what a bug report needs."""
    if sys.argv[1:2] in (["--version"], ["-V"], ["version"]):
        from chemscale.cli.version import show

        show()
        return
    if sys.argv[1:2] == ["completion"]:
        _complete(sys.argv[2:])
        return
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        print("usage: chemscale VERB …   (chemscale VERB --help explains each)\n")
        print("\n".join(f"  {verb:10s}{what}" for verb, what in VERBS.items()))
        print("\n  --version the version, and all that a bug report needs")
        print('  completion bash|zsh: tab completion, eval "$(chemscale completion bash)"')
        asked = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help")
        sys.exit(0 if asked else 2)
    verb = sys.argv.pop(1)
    sys.argv[0] = f"chemscale {verb}"
    importlib.import_module(f"chemscale.{verb}").main()


def _complete(arguments: list[str]) -> None:
    """Print what a shell evaluates, or what a line that it holds may become."""
    from chemscale.cli.app import one_paragraph
    from chemscale.cli.completion import candidates, script

    with one_paragraph():
        if arguments[:1] == ["--line"]:
            print("\n".join(candidates("".join(arguments[1:2]), VERBS)))
        else:
            print(script("".join(arguments[:1])))


if __name__ == "__main__":
    main()
