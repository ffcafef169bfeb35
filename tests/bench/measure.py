"""Measuring honestly on a shared machine: both sides in one run, interleaved, medians of pairs.

Every figure is one logfmt line on stdout. A ratio is reported only when both of its sides ran.
"""

import os
import re
import statistics
import subprocess
import sys

PAIRS = int(os.environ.get("BENCH_PAIRS", "7"))
SLICE_S = int(os.environ.get("BENCH_SLICE_S", "4"))
NOT_RUN = "not run"  # instead of True or False, what a bench returns of which nothing could run
LEFT_OUT = []


def report(figure, **values):
    load = os.getloadavg()[0]
    words = " ".join(f"{k}={v}" for k, v in values.items())
    print(f"figure={figure} {words} load1={load:.2f}", flush=True)


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def left_out(part, why):
    """Notes a part that cannot run here for want of something, which is no failure; run.py says so at the end."""
    LEFT_OUT.append((part, why))
    return NOT_RUN


def median_range(values):
    return statistics.median(values), min(values), max(values)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(figure, goal, ours, theirs, ours_name, theirs_name, higher_is_better=True, digits=0):
    """Compares pair by pair; refuses when a side is missing or ran at zero."""
    if not ours or not theirs or len(ours) != len(theirs) or min(ours) <= 0 or min(theirs) <= 0:
        report(figure, error="a_side_did_not_run", ours=len(ours), theirs=len(theirs))
        return False
    middle, low, high = median_range([a / b for a, b in zip(ours, theirs)])
    best = max(a / b for a, b in zip(ours, theirs)) if higher_is_better else \
        min(a / b for a, b in zip(ours, theirs))
    is_met = middle >= goal if higher_is_better else middle <= goal
    report(figure, ratio=f"{middle:.2f}", min=f"{low:.2f}", max=f"{high:.2f}", best=f"{best:.2f}",
           goal=f"{'>=' if higher_is_better else '<='}{goal}", met=str(is_met).lower(),
           **{ours_name: f"{statistics.median(ours):.{digits}f}",
              theirs_name: f"{statistics.median(theirs):.{digits}f}"}, pairs=len(ours))
    return is_met


def wrk(url, clients, seconds=SLICE_S, key=None, script=None, argv=()):
    """Requests per second with every answer 2xx; 0 when any was not."""
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s"]
    if key:
        words += ["-H", f"Authorization: Bearer {key}"]
    if script:
        words += ["-s", script]
    done = subprocess.run([*words, url, *(["--", *argv] if argv else [])], capture_output=True,
                          text=True, check=False)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    if done.returncode or not rate or bad:
        progress(f"wrk {url}: {bad.group(0) if bad else done.stderr.strip() or 'no result'}")
        return 0.0
    return float(rate.group(1))


def pgbench(pg, script, clients, seconds=SLICE_S, log_prefix=None, rate_per_s=0):
    """Transactions per second; with log_prefix also the latencies in ms, as a pair. With a rate they are due at
    random instants, and latencies count from these; without, each client goes on when it has its answer."""
    words = [f"{pg.bin}/pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "1",
             "-T", str(seconds), "-f", script, "-h", pg.sockets, "-U", "undercut"]
    if log_prefix:
        words += ["-l", f"--log-prefix={log_prefix}"]
    if rate_per_s:
        words += ["--rate", str(rate_per_s)]
    done = subprocess.run([*words, "undercut"], capture_output=True, text=True, check=False)
    rate = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode or not rate:
        progress(f"pgbench: {done.stderr.strip()[-300:]}")
        return (0.0, []) if log_prefix else 0.0
    if not log_prefix:
        return float(rate.group(1))
    return float(rate.group(1)), pgbench_log(log_prefix)


def pgbench_log(prefix, warm=0):
    """The latencies in ms of what ran with this --log-prefix, without the first `warm` of each client."""
    folder = os.path.dirname(prefix)
    latencies = []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if path.startswith(prefix):
            with open(path, encoding="ascii") as f:
                rows = (line.split() for line in f)
                latencies += [int(row[2]) / 1000 for row in rows if int(row[1]) >= warm]
            os.unlink(path)
    return latencies
