"""Read damaged files of every format: each is read with its rows accounted for, or refused by its name.

    python benchmarks/fuzz_readers.py --cases 200 [--only molecules] [--salt 1] [--keep FOLDER]

Cases are the same for the same salt. Faults (any other error, a hang, a crash, memory) are listed, and
their files kept; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.fuzzing.running import damaged, run
from tests.helpers.fuzzing.seeds import seeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100, help="of each file")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", default="", help="files whose kind/name contains this")
    parser.add_argument("--salt", default="0", help="another one makes other cases")
    parser.add_argument("--keep", type=Path, help="folder for files with faults")
    parser.add_argument("--messages", action="store_true", help="list one refusal of each kind")
    options = parser.parse_args()
    faults = cases = read = refused = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in seeds(folder):
            if options.only not in f"{seed.reader}/{seed.name}":
                continue
            started = time.monotonic()
            numbers = range(options.first, options.first + options.cases)
            tally = run(seed, numbers, options.salt, folder / "case")
            print(
                f"{seed.reader:10} {seed.name:22} {tally.cases:6} cases {tally.read:6} read {tally.refused:6}"
                f" refused {len(tally.faults):4} faults {time.monotonic() - started:7.1f} s",
                flush=True,
            )
            told = set()
            for seed_, case, how, what in tally.faults:
                kind = what.split(": ")[0]
                if kind not in told:
                    print(f"    case {case} ({how}): {what}")
                told.add(kind)
                if options.keep is not None:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    content = damaged(seed_, case, options.salt)[0]
                    (options.keep / f"{seed_.reader}-{case}-{seed_.name}").write_bytes(content)
            if options.messages:
                for message, count in tally.messages.most_common():
                    print(f"    {count:4} × {message}")
            cases, read, refused = cases + tally.cases, read + tally.read, refused + tally.refused
            faults += len(tally.faults)
        shutil.rmtree(folder / "case", ignore_errors=True)
    print(f"{cases} cases: {read} read, {refused} refused, {faults} faults.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
