"""`./dev bench [NAME ...] [--plot]`: exit 0 when every figure was measured, met or not.

With --plot, benches that have a picture to draw put it into var/.
"""

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy"))

BENCHES = {
    "http": ["bench_http"],
    "market": ["bench_market", "bench_now"],
    "now": ["bench_now"],
    "auction": ["bench_auction", "bench_placement"],
    "placement": ["bench_placement"],
    "simulation": ["bench_simulation"],
    "history": ["bench_history"],
}


def main(argv):
    names = [word for word in argv if word != "--plot"]
    if len(names) < len(argv):
        os.environ["BENCH_PLOT"] = "1"
    unknown = [n for n in names if n not in BENCHES]
    if unknown:
        print(f"bench: there is no bench {unknown[0]!r}; there are: {' '.join(BENCHES)}",
              file=sys.stderr)
        return 2
    modules = dict.fromkeys(module for n in names or BENCHES for module in BENCHES[n])
    outcomes = [importlib.import_module(module).run() for module in modules]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
