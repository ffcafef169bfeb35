"""What it costs to look back: p99 of every history query with 1 M and with 20 M lot-rounds behind it.

Lot-rounds are generated (40 lots, one round a second, ending now) and rolled up by the broker's own history
thread. Both markets then run side by side and are asked the same at random lots, over HTTP, in turns. BENCH_LOT_ROUNDS=1000000,5000000 takes other
sizes, the first being what the others are held against.
"""

import contextlib
import os
import random
import time

from measure import percentile, progress, report
from rig import Rig

SIZES = [int(n) for n in os.environ.get("BENCH_LOT_ROUNDS", "1000000,20000000").split(",")]
CALLS = int(os.environ.get("BENCH_HISTORY_CALLS", "400"))
CHUNK = 1000000
LOTS = 40
RATIO_MAX = 1.5
CLASSES = ["rtx-3090", "rtx-4090", "rtx-5090", "a100-40g", "a100-80g", "h100-80g", "h200-141g", "mi300x"]
REGIONS = ["eu-west", "eu-central", "us-east", "us-west", "ap-southeast"]

# Rounds `low` to `high` of those whose last one is now; every third trades nothing.
FILL = f"""
insert into lot_rounds (market, round, region, class, block_size, tier, trust, supply_count, demand_count,
    accounts_count, sold_count, index_uusd_per_hour, unmet_count, cleared_at)
select 'main', r.round, n.region, c.class, 1, 'flexible', 'unverified', 20, 5, 5,
    case when r.round %% 3 = 0 then 0 else 3 end,
    case when r.round %% 3 = 0 then null else 300000 + (hashint8(r.round / 60) & 65535) end, 1,
    timestamptz '%s' - (%d - r.round) * interval '1 s'
from generate_series(%d::int8, %d) r (round)
cross join unnest(array{REGIONS}) n (region) cross join unnest(array{CLASSES}) c (class);
"""
DEPTHS = """
insert into lot_depths (lot_id, at, round, index_uusd_per_hour, accounts_count, edges_bp, blocks_counts,
    accounts_counts, asks_uusd, reserves_uusd)
select lot_id, now() - i * interval '10 s', 1, 310000, 5, '{0,-1}', '{9,11}', '{3,5}', '{1,2,3,4,5}', '{1,2,3,4,5}'
from lots, generate_series(7, 60) i on conflict do nothing;
insert into lot_times select lot_id, date_trunc('hour', now()) - i * interval '1 h', k, b, 5
from lots, generate_series(0, 47) i, generate_series(10, 30) b, unnest(array['fill', 'start']) k on conflict do nothing;
insert into lot_supplies select 'main', now() - interval '61 s', 1, region, class, trust, 20, 10 from lots;
"""


def queries(rng):
    lot = f"region={rng.choice(REGIONS)}&device_class={rng.choice(CLASSES)}"
    wish = {"image": "localhost/none:1", "reserve_uusd_per_hour": 500000, "max_duration_s": 600,
            "resources": {"device": {"count": 1, "models": [rng.choice(CLASSES)]}}}
    return {
        "candles_1s": ("GET", f"/v1/market/candles?{lot}&step=1s&limit=300", None),
        "candles_1m": ("GET", f"/v1/market/candles?{lot}&step=1m&limit=300", None),
        "candles_1h": ("GET", f"/v1/market/candles?{lot}&step=1h", None),
        "candles_1d": ("GET", f"/v1/market/candles?{lot}&step=1d", None),
        "stats_24h": ("GET", f"/v1/market/stats?{lot}&hours=24", None),
        "stats_7d": ("GET", f"/v1/market/stats?{lot}&hours=168", None),
        "depth": ("GET", f"/v1/market/depth?{lot}", None),
        "cheapest": ("GET", "/v1/market/cheapest", None),
        "prices": ("GET", "/v1/prices", None),
        "dry_run": ("POST", "/v1/workloads?dry_run=true", wish),
    }


def ask(client, method, path, body):
    """Milliseconds that the answer took."""
    began = time.perf_counter()
    status, _, data = client.raw(method, path, body)
    if status != 200:
        raise RuntimeError(f"{method} {path}: {status} {data[:300]!r}")
    return (time.perf_counter() - began) * 1000


def measure(clients):
    """[{query: [ms]}] per client: the same questions, the queries and the sides taking turns."""
    rng = random.Random(1)
    taken = [{} for _ in clients]
    for i in range(CALLS + 20):
        for name, call in queries(rng).items():
            for client, side in zip(clients, taken):
                ms = ask(client, *call)
                if i >= 20:  # the first ones plan and warm
                    side.setdefault(name, []).append(ms)
    return taken


def fill(rig, size):
    """A market that has run for size / LOTS seconds until now, rolled up by the broker."""
    began, last, step = time.monotonic(), size // LOTS, CHUNK // LOTS
    now = rig.postgres.sql("select now()")
    for low in range(1, last + 1, step):
        high = min(low + step - 1, last)
        rig.postgres.sql(FILL % (now, last, low, high))
        progress(f"history: {high * LOTS} of {size} lot-rounds written")
    filled = time.monotonic()
    while int(rig.postgres.sql("select round from history_marks")) < last:
        if not rig.broker.process.is_alive():
            raise RuntimeError(rig.broker.process.tail())
        time.sleep(1)
    rig.postgres.sql("vacuum analyze lot_rounds")
    rig.postgres.sql("vacuum analyze candles")
    report("history_roll", lot_rounds=size, write_s=f"{filled - began:.0f}",
           roll_s=f"{time.monotonic() - filled:.0f}",
           candles=rig.postgres.sql("select count(*) from candles"))


def run():
    with contextlib.ExitStack() as stack:
        rigs = [stack.enter_context(Rig(f"history-{size}", threads=1)) for size in SIZES]
        clients = []
        for rig, size in zip(rigs, SIZES):
            fill(rig, size)
            clients.append(rig.account("bench", credit_usd=1000)[1])
        for rig in rigs:
            rig.postgres.sql(DEPTHS)
        p99s = []
        for size, side in zip(SIZES, measure(clients)):
            p99s.append({name: percentile(ms, 0.99) for name, ms in side.items()})
            for share, word in ((0.5, "p50"), (0.99, "p99")):
                report(f"history_{word}_ms", lot_rounds=size, calls=CALLS,
                       **{name: f"{percentile(ms, share):.2f}" for name, ms in side.items()})
    worst = max(p99s[-1][name] / p99s[0][name] for name in p99s[0])
    report("history_p99_growth", sizes="/".join(map(str, SIZES)), goal=f"<={RATIO_MAX}",
           met=str(worst <= RATIO_MAX).lower(), worst=f"{worst:.2f}",
           **{name: f"{p99s[-1][name] / value:.2f}" for name, value in p99s[0].items()})
    return True
