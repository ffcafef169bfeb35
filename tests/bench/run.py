"""`./dev bench [NAME ...] [--plot]`: exit 0 when every part that could run was measured, goals met or not.

A part that lacks something this machine has not (a trace, a solver) is named in the last lines, with what it lacks;
it fails nothing, unless nothing else was asked for. With --plot, benches that have a picture to draw put it into var/.
"""

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy"))

import measure  # noqa: E402 - the path is set above

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
    for module, outcome in zip(modules, outcomes):
        if not outcome:
            measure.progress(f"{module} ran and failed")
    for part, why in measure.LEFT_OUT:
        measure.progress(f"{part} did not run: {why}")
    ran = [outcome for outcome in outcomes if outcome != measure.NOT_RUN]
    return 0 if ran and all(ran) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
