"""Placement on the Alibaba trace: how much of a cluster can be given away, and at which price.

A replay (bench_placement.c) of openb, the trace of "Beware of Fragmentation" (ATC 2023): 1,213 nodes with
6,212 GPUs, requests re-sampled to 130 % of their capacity, shuffled, placed one by one, no departures, 10
seeds. The market's side goes through the engine: each request is a lot of one workload, score = ask + phi.
Requests for a share of a GPU are placed in thousandths, as the trace has them; in service such a share is
a MIG slice, a device of its own class, and never two tenants on one undivided GPU.

The trace is not in the repository: UNDERCUT_OPENB names its folder (default ../shared/data/openb).
"""

import os
import re
import statistics
import subprocess

import stack as st
from measure import left_out, progress, report
from svg import bars

SEEDS = 10
US_GOAL = 25
HELD = ("market_0.5", "market_0.1")  # against the goals; 0.1 is what rounds use
NODES = "openb_node_list_gpu_node.csv"
# Means of ten seeds at 130 % of arrivals, from the published simulator's expected results.
TRACES = {
    "default": {"goal": 95.4, "fgd": 95.39, "best_fit": 93.08},
    "gpuspec33": {"goal": 94.5, "fgd": 94.55, "best_fit": 93.09},
}
SHOWN = {"market_0.5": "ask + 0.5 dF", "market_0.1": "ask + 0.1 dF", "market_0": "cheapest ask",
         "own_fgd": "FGD, replayed", "own_best_fit": "best fit, replayed"}


def folder():
    return os.environ.get("UNDERCUT_OPENB", os.path.join(st.ROOT, "..", "shared", "data", "openb"))


def replay(trace):
    """{policy: {figure: [one per seed]}}, or None when the program failed."""
    program = os.path.join(os.environ.get("UNDERCUT_BIN", os.path.join(st.ROOT, "build", "release", "bin")),
                           "bench_placement")
    done = subprocess.run([program, os.path.join(folder(), NODES),
                           os.path.join(folder(), f"openb_pod_list_{trace}.csv"), str(SEEDS)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        progress(f"placement: {done.stderr.strip()}")
        return None
    policies = {}
    for line in done.stdout.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S+)", line))
        policy = policies.setdefault(fields.pop("policy"), {})
        for name, value in fields.items():
            policy.setdefault(name, []).append(float(value))
    return policies


def is_met(trace, figures):
    return statistics.mean(figures["alloc130"]) >= TRACES[trace]["goal"] and \
        statistics.median(figures["us"]) <= US_GOAL


def trace_report(trace, policies):
    """One line per policy; the market's are held against the goals, beside what others publish."""
    facts = TRACES[trace]
    for policy, figures in policies.items():
        goal = {"goal": f">={facts['goal']}", "us_goal": f"<={US_GOAL}",
                "met": str(is_met(trace, figures)).lower(), "published_fgd": facts["fgd"],
                "published_best_fit": facts["best_fit"]} if policy in HELD else {}
        report(f"placement_{trace}_{policy}", seeds=SEEDS,
               alloc130_pct=f"{statistics.mean(figures['alloc130']):.2f}",
               alloc130_sd=f"{statistics.stdev(figures['alloc130']):.2f}",
               alloc100_pct=f"{statistics.mean(figures['alloc100']):.2f}",
               us_per_placement=f"{statistics.median(figures['us']):.1f}",
               evaluations_per_placement=f"{sum(figures['evaluations']) / sum(figures['arrivals']):.0f}",
               ask_paid_at_half_load=f"{statistics.mean(figures['ask_at_50']):.3f}", **goal)


def plot(results):
    groups = []
    for trace, policies in results.items():
        facts = TRACES[trace]
        rows = [(SHOWN[p], statistics.mean(f["alloc130"]), statistics.stdev(f["alloc130"]), p.startswith("market"))
                for p, f in policies.items()]
        rows += [("FGD, published", facts["fgd"], None, False),
                 ("best fit, published", facts["best_fit"], None, False)]
        groups.append((f"{trace}: goal {facts['goal']} %", facts["goal"],
                       sorted(rows, key=lambda row: -row[1])))
    return bars("GPU capacity given away, % at 130 % of arrivals, mean of 10 seeds", groups, 92, 96)


def run():
    missing = [n for n in [NODES, *(f"openb_pod_list_{t}.csv" for t in TRACES)]
               if not os.path.isfile(os.path.join(folder(), n))]
    if missing:
        return left_out("placement", f"{missing[0]} is not in {folder()}; get the trace (alibaba/clusterdata, "
                        "cluster-trace-gpu-v2023) and set UNDERCUT_OPENB to its folder")
    results = {trace: replay(trace) for trace in TRACES}
    if not all(results.values()):
        return False
    for trace, policies in results.items():
        trace_report(trace, policies)
    if os.environ.get("BENCH_PLOT"):
        path = os.path.join(st.ROOT, "var", "placement.svg")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(plot(results))
        progress(f"placement: {path}")
    return True
