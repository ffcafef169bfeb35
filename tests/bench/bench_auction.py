"""The clearing engine alone: how long a round takes, what an ask weighs, how much welfare is missed.

Times are the processor time of one core (the machine may be shared), the median of runs and their range;
what is measured stands in bench_auction.c. The headline market is one block per ask; `several` is the same
number of blocks with up to eight behind one ask, which win as equals and must be hashed. The peer is a
queue in PostgreSQL: one transaction per workload takes the cheapest free ask of its lot with FOR UPDATE
SKIP LOCKED, the usual way to match in a database. It commits what it matched (without waiting for the
disk), the engine does not: the ratio says what matching in memory, in one go, saves, and no more.
"""

import json
import os
import random
import re
import statistics
import subprocess
import tempfile

import stack as st
from measure import PAIRS, left_out, median_range, percentile, pgbench, progress, ratio, report
from svg import curves

ASKS, WORKLOADS, LOTS = 1000000, 100000, 2000
RUNS = 5
GANG_LOTS, UNIT_LOTS = 400, 100
PLOT_ASKS = (10000, 30000, 100000, 300000, 1000000, 3000000, 10000000)
PEER_TABLE = """
create table bench_asks (ask_id int primary key, lot int not null, ask int8 not null,
                         is_sold bool not null default false) with (fillfactor = 80);
insert into bench_asks select i, random() * {lots_last}, 50000 + (random() * 100000)::int8
from generate_series(1, {asks}) i;
create index on bench_asks (lot, ask) where not is_sold;
analyze bench_asks;
"""
PEER_MATCH = """\\set lot random(0, {lots_last})
\\set reserve random(60000, 160000)
with pick as (select ask_id from bench_asks where lot = :lot and not is_sold and ask <= :reserve
              order by ask limit 1 for update skip locked)
update bench_asks set is_sold = true from pick where bench_asks.ask_id = pick.ask_id;
"""


def program(name):
    return os.path.join(os.environ.get("UNDERCUT_BIN", os.path.join(st.ROOT, "build", "release", "bin")), name)


def engine(kind, asks, workloads, lots, runs):
    """[{figure: number}] per measurement, `what` among them."""
    done = subprocess.run([program("bench_auction"), kind, *map(str, (asks, workloads, lots, runs))],
                          capture_output=True, text=True, check=True)
    return [{k: v if k == "what" else float(v) for k, v in re.findall(r"(\w+)=(\S+)", line)}
            for line in done.stdout.splitlines()]


def figures(rows, what, name="ms"):
    return [row[name] for row in rows if row["what"] == what]


def time_report(figure, rows, what, goal_ms=None):
    middle, low, high = median_range(figures(rows, what))
    goal = {"goal": f"<={goal_ms}", "met": str(middle <= goal_ms).lower()} if goal_ms else {}
    report(figure, ms=f"{middle:.1f}", min=f"{low:.1f}", max=f"{high:.1f}", **goal,
           put_ms=f"{statistics.median(figures(rows, what, 'put_ms')):.1f}",
           clear_ms=f"{statistics.median(figures(rows, what, 'clear_ms')):.1f}",
           blocks_sold=f"{statistics.median(figures(rows, what, 'sold')):.0f}",
           runs=len(figures(rows, what)))


def bytes_report(figure, rows):
    """The most that was held at any time; `heap` is what the C library says, workloads included."""
    most = {name: max(row[name] for row in rows) / ASKS for name in ("ask_bytes", "all_bytes", "heap_bytes")}
    report(figure, bytes_per_ask=f"{most['ask_bytes']:.1f}", goal="<=64",
           met=str(most["ask_bytes"] <= 64).lower(), with_workloads=f"{most['all_bytes']:.1f}",
           heap_with_workloads=f"{most['heap_bytes']:.1f}")


def scale_report():
    """Ten times everything, with runs of the headline size before and after it; medians of each three."""
    pairs = []
    for pair in range(3):
        before = engine("single", ASKS, WORKLOADS, LOTS, 2)
        large = engine("single", 10 * ASKS, 10 * WORKLOADS, 10 * LOTS, 1)
        pairs.append((before + engine("single", ASKS, WORKLOADS, LOTS, 2), large))
        progress(f"auction: ten times everything, {pair + 1} of 3")
    for what in ("scratch", "change"):
        small, large = ([statistics.median(figures(pair[i], what)) for pair in pairs] for i in (0, 1))
        ratio(f"auction_10m_{what}", 12, large, small, "ms", "ms_1m", higher_is_better=False)


def peer_report():
    """Blocks matched per second, ours from scratch each time, pair by pair."""
    folder = st.folder_for("bench-auction")
    with tempfile.TemporaryDirectory(prefix="uc-", dir="/tmp") as short:
        os.chmod(short, 0o755)
        postgres = st.Postgres(folder, short)
        postgres.options = ["-c", "synchronous_commit=off"]
        try:
            postgres.start()
            postgres.sql(PEER_TABLE.format(asks=ASKS, lots_last=LOTS - 1))
            script = f"{folder}/match.sql"
            with open(script, "w", encoding="ascii") as f:
                f.write(PEER_MATCH.format(lots_last=LOTS - 1))
            ours, theirs, sold = [], [], 0
            for pair in range(PAIRS):
                rows = engine("single", ASKS, WORKLOADS, LOTS, 1)
                ours.append(figures(rows, "scratch", "sold")[0] / figures(rows, "scratch")[0] * 1000)
                rate = pgbench(postgres, script, 2)
                now = int(postgres.sql("select count(*) from bench_asks where is_sold"))
                theirs.append(rate if now > sold else 0.0)
                sold = now
                progress(f"auction: {ours[-1]:.0f} a second against {theirs[-1]:.0f}, pair {pair + 1}")
        finally:
            postgres.stop()
    ratio("auction_matches_per_s_vs_skip_locked", 1, ours, theirs, "engine_per_s", "skip_locked_per_s")


# Welfare -----------------------------------------------------------------------------------------

def lot_draw(dice, is_unit):
    """Few sellers with one to four blocks, workloads of one to four, three in four of them all or none."""
    sellers = {f"s{i}": {"ask": dice.randint(10, 45), "blocks": 1 if is_unit else dice.choice((1, 1, 2, 4))}
               for i in range(dice.randint(3, 20 if is_unit else 6))}
    workloads = {}
    for i in range(dice.randint(2, 20 if is_unit else 9)):
        k = 1 if is_unit else dice.choice((1, 2, 3, 4))
        workloads[f"w{i}"] = {"reserve": dice.randint(15, 60), "k": k,
                              "kmin": k if dice.random() < 0.75 else 1}
    return {"name": "drawn", "seed": f"{dice.getrandbits(256):064x}", "sellers": sellers,
            "workloads": workloads}


def linear_program(lot):
    """CPLEX LP text: g blocks for each workload, none or kmin to k of them; y of each seller's."""
    g = {w: f"g{i}" for i, w in enumerate(lot["workloads"])}
    y = {s: f"y{i}" for i, s in enumerate(lot["sellers"])}
    gain = [f"+ {v['reserve']} {g[w]}" for w, v in lot["workloads"].items()]
    cost = [f"- {v['ask']} {y[s]}" for s, v in lot["sellers"].items()]
    rows = [f"balance: {' + '.join(y.values())} - {' - '.join(g.values())} = 0"]
    for w, v in lot["workloads"].items():
        rows += [f"k{g[w]}: {g[w]} - {v['k']} z{g[w]} <= 0", f"m{g[w]}: {g[w]} - {v['kmin']} z{g[w]} >= 0"]
    bounds = [f"0 <= {y[s]} <= {v['blocks']}" for s, v in lot["sellers"].items()]
    return "\n".join(["Maximize", f"o: {' '.join(gain + cost)}", "Subject To", *rows, "Bounds", *bounds,
                      "Generals", " ".join(g.values()), "Binaries", " ".join(f"z{n}" for n in g.values()),
                      "End\n"])


def optimum(lot, folder):
    """The best welfare there is, by GLPK's branch and bound."""
    with open(f"{folder}/lot.lp", "w", encoding="ascii") as f:
        f.write(linear_program(lot))
    subprocess.run(["glpsol", "--cpxlp", f"{folder}/lot.lp", "-w", f"{folder}/lot.out"],
                   capture_output=True, check=True)
    with open(f"{folder}/lot.out", encoding="ascii") as f:
        status, value = re.search(r"^s mip \d+ \d+ (\w) (\S+)$", f.read(), re.M).groups()
    if status != "o":
        raise RuntimeError(f"glpsol found no optimum: {status}")
    return float(value)


def welfare(lot, result):
    gained = sum(lot["workloads"][w]["reserve"] * len(blocks) for w, blocks in result["assignment"].items())
    return gained - sum(lot["sellers"][s]["ask"] * count for s, count in result["sold"].items())


def welfare_report(figure, lots, goal):
    done = subprocess.run([program("undercut"), "clear"], input=json.dumps(lots), capture_output=True,
                          text=True, check=True)
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        for lot, result in zip(lots, json.loads(done.stdout)):
            best = optimum(lot, folder)
            if best > 0:
                shares.append(welfare(lot, result) / best)
    mean = statistics.mean(shares)
    report(figure, mean=f"{mean:.4f}", p5=f"{percentile(shares, 0.05):.3f}", worst=f"{min(shares):.3f}",
           exact=f"{sum(s > 1 - 1e-9 for s in shares) / len(shares):.2f}", goal=f">={goal}",
           met=str(mean >= goal - 1e-9).lower(), lots=len(shares))


def welfare_reports():
    if subprocess.run(["which", "glpsol"], capture_output=True, check=False).returncode:
        left_out("the welfare of auction", "glpsol is not here; install the package glpk-utils")
        return
    dice = random.Random(7)
    welfare_report("auction_welfare_unit", [lot_draw(dice, True) for _ in range(UNIT_LOTS)], 1)
    welfare_report("auction_welfare_gangs", [lot_draw(dice, False) for _ in range(GANG_LOTS)], 0.97)


def plot():
    scratch, change = [], []
    for asks in PLOT_ASKS:
        progress(f"auction: {asks} asks for the plot")
        rows = engine("single", asks, asks // 10, asks // 500, 2 if asks <= ASKS else 1)
        scratch.append((asks, statistics.median(figures(rows, "scratch"))))
        change.append((asks, statistics.median(figures(rows, "change"))))
    path = os.path.join(st.ROOT, "var", "auction.svg")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(curves("A round on one core: asks in lots of 500, one workload to ten asks",
                       ("asks", "milliseconds"), [("from scratch", scratch),
                                                  ("1 % of asks and all workloads changed", change)]))
    progress(f"auction: {path}")


def run():
    single = engine("single", ASKS, WORKLOADS, LOTS, RUNS)
    time_report("auction_scratch", single, "scratch", 150)
    time_report("auction_change", single, "change", 30)
    bytes_report("auction_bytes", single)
    several = engine("several", ASKS, WORKLOADS, LOTS, RUNS)
    time_report("auction_scratch_several", several, "scratch")
    time_report("auction_change_several", several, "change")
    bytes_report("auction_bytes_several", several)
    scale_report()
    welfare_reports()
    peer_report()
    if os.environ.get("BENCH_PLOT"):
        plot()
    return True
