"""One rank of a potential that begins from a trained one: FOLDER PARENT STRATEGY KEY…."""

import json
import os
import sys
from pathlib import Path

from chemscale.points.run import fit, open_record
from chemscale.training.distributed.ranks import this_rank
from tests.helpers.points import potential_in


def main(folder: str, parent: str, strategy: str, *keys: str) -> None:
    """Train to the end; rank 0 prints the steps and where the run lies."""
    first = this_rank().is_first
    own = Path(folder) / f"rank{this_rank().rank}"  # where the helper writes its frames
    own.mkdir()
    ranks = (f"strategy={strategy}", "launcher.gpus_per_node=2", f"model.from={parent}")
    point = potential_in(own, *keys, *ranks, f"runs={folder}/runs", f"structures={folder}/structures")
    record = open_record(point, [], keep=first)
    fit(point, record)
    if first:
        print(json.dumps([record.data.steps, str(point.directory)]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
