"""`./dev bench NAME`: http, market. Exit 0 when every figure was measured, met or not."""

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy"))

BENCHES = {"http": "bench_http", "market": "bench_market"}


def main(names):
    unknown = [n for n in names if n not in BENCHES]
    if unknown:
        print(f"bench: there is no bench {unknown[0]!r}; there are: {' '.join(BENCHES)}",
              file=sys.stderr)
        return 2
    outcomes = [importlib.import_module(BENCHES[n]).run() for n in names or BENCHES]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
