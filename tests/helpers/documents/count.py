"""How many commands of documents CI runs: ``python -m tests.helpers.documents.count [--write FILE]``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from tests.helpers.documents.blocks import all_blocks, documents


def counts() -> dict[str, tuple[int, int]]:
    """Executed and all commands of every document that has some."""
    executed: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for block in all_blocks():
        if block.is_command:
            whole[block.path] += len(block.lines())
            executed[block.path] += len(block.lines()) if block.is_executed else 0
    return {name: (executed[name], whole[name]) for name in documents() if whole[name]}


def needs() -> list[tuple[str, str]]:
    """Blocks that are not executed, and what each needs."""
    return [(str(block), block.said) for block in all_blocks() if block.is_command and not block.is_executed]


def main() -> None:
    found = counts()
    executed, whole = (sum(column) for column in zip(*found.values(), strict=True))
    for name, (done, of) in found.items():
        print(f"{done:4d} of {of:4d}  {name}")
    print(
        f"{executed:4d} of {whole:4d}  commands of the documents are executed by CI ({executed / whole:.0%})"
    )
    for where, what in needs():
        print(f"not executed: {where} needs {what}")
    if "--write" in sys.argv:
        path = Path(sys.argv[sys.argv.index("--write") + 1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"executed": executed, "all": whole, "documents": found, "needs": needs()})
        )


if __name__ == "__main__":
    main()
