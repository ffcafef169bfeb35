"""award: now against one durable insert: from the post to the commit of its lease, eight clients on both sides.

Once on nodes that stand in the tables and have no agents, so that both sides have the load of eight clients
and nothing else; once there at a fixed rate on both sides, where nobody waits for his own posts; and once on a hundred live stand-in agents of the same machine, which acknowledge, start and
report every lease meanwhile: what they and the broker's answers to them use is taken from the posts. Times of commit are PostgreSQL's own (track_commit_timestamp), read on the machine that posts, so both ends
are one clock.
"""

import concurrent.futures
import json
import os
import time

import stack as st
from bench_market import MANY_SELLERS, manifest, operators
from measure import PAIRS, median_range, percentile, pgbench, progress, report
from now_floor import floor_run, floor_script
from rig import Rig

CLIENTS = 8
SLICES, SLICE_POSTS = 3, 400
RATE_PER_S = 100
WARM_POSTS = 40  # of each slice, not counted: in a second of pgbench such beginnings are one in thousands
TABLE = """
create table bench_insert (id bigserial primary key, account int8, body text,
    created_at timestamptz not null default now())
"""
INSERT = "insert into bench_insert (account, body) values (1, 'one row') returning id;\n"


def posts(client, count, body, clients, rate_per_s=0):
    """`count` posts of clients that each wait for the answer before they post again, or, with a rate, at random
    instants from which the time then counts; by a program without an interpreter between the clock and the socket: [(name, sent at, seconds to its answer)] of those whose
    answer told an award."""
    port = client.base_url.rsplit(":", 1)[1]
    data = json.dumps(body)
    request = (f"POST /v1/workloads HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {client.key}\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n{data}")
    program = os.path.join(os.environ["UNDERCUT_BIN"], "bench_post")
    lines = st.run([program, port, str(clients), str(count), str(rate_per_s)], input=request).splitlines()
    answers = [line.split() for line in lines]
    return [(name, int(at_us) / 1e6, int(took_us) / 1e6) for name, at_us, took_us, status, waiting in answers
            if status == "201" and waiting == "0"]


def leases_stop(rig, client):
    """Stops whatever stands, and waits until every device is free again."""
    for state in ("starting", "running"):
        while page := client.get(f"/v1/workloads?state={state}&limit=200")["data"]:
            paths = [f"/v1/workloads/{workload['workload_id']}" for workload in page]
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(client.delete, paths))
    st.wait_until("free devices", 60, lambda: rig.postgres.sql(
        "select count(*) from devices where lease_id is not null") == "0")


def now_slice(rig, client, count, rate_per_s=0):
    """Milliseconds from each post to the commit of its lease, and to its answer."""
    posted = posts(client, WARM_POSTS + count, manifest(award="now"), CLIENTS, rate_per_s)
    posted = sorted(posted, key=lambda post: post[1])[WARM_POSTS:]
    committed = dict(line.split("|") for line in rig.postgres.sql(
        "select w.name, extract(epoch from pg_xact_commit_timestamp(r.xmin)) from leases l join workloads w "
        "using (workload_id) join rounds r on r.market = l.market and r.round = l.round "
        "where w.ended_at is null and l.epoch = 1").splitlines())
    leases_stop(rig, client)
    took_s = max(at + took for _, at, took in posted) - min(at for _, at, _ in posted) if posted else 0
    return ([(float(committed[name]) - at) * 1000 for name, at, _ in posted if name in committed],
            [took * 1000 for _, _, took in posted], took_s)


def floor_sides(rig, client):
    """What runs as the floor: {name: (script, clients)}."""
    scripts = {}
    for takes in (CLIENTS, 1):
        scripts[takes] = st.wait_until(f"a round of {takes}", 60, lambda count=takes: (
            posts(client, 3 * count, manifest(award="now"), count), floor_script(rig, count))[1])
        leases_stop(rig, client)
    return {f"round_of_{CLIENTS}": (scripts[CLIENTS], 1), "round_of_1": (scripts[1], 1),
            f"{CLIENTS}_rounds_of_1": (scripts[1], CLIENTS)}


class Floor:
    """The latencies of each side, by pair."""

    def __init__(self, rig, client):
        self.rig = rig
        self.sides = floor_sides(rig, client)
        self.pairs = {name: [] for name in self.sides}

    def pair_begin(self):
        for latencies in self.pairs.values():
            latencies.append([])

    def slice(self):
        for name, (script, clients) in self.sides.items():
            self.pairs[name][-1] += floor_run(self.rig, script, clients, SLICE_POSTS // CLIENTS, WARM_POSTS // CLIENTS)

    def report(self, insert_p99s):
        """No goal: it says what a goal can be."""
        values = {}
        for name, pairs in self.pairs.items():
            p99s = [percentile(latencies, 0.99) for latencies in pairs]
            values[f"{name}_ratio"] = median_range([ours / theirs for ours, theirs in zip(p99s, insert_p99s)])[0]
            values[f"{name}_p50_ms"] = median_range([percentile(latencies, 0.5) for latencies in pairs])[0]
            values[f"{name}_p99_ms"] = median_range(p99s)[0]
        report("now_floor_vs_pgbench_insert", **{name: f"{value:.2f}" for name, value in values.items()},
               insert_p99_ms=f"{median_range(insert_p99s)[0]:.2f}", rounds_a_pair=SLICES * SLICE_POSTS // CLIENTS,
               pairs=PAIRS)


def bench_pairs(rig, client, figure, floor=None, rate_per_s=0):
    """The same number of clients and the same rate, if any, on both sides: pgbench for a durable row, ours for a
    committed lease. In turns, since the load of the machine changes; slices of a pair count together. A slice of
    ours ends before the devices do."""
    insert = rig.sql_script("insert", INSERT)
    names = ("now_p50_ms", "now_p99_ms", "answer_p99_ms", "now_per_s", "insert_p50_ms", "insert_p99_ms",
             "insert_per_s", "ratio")
    pairs = {name: [] for name in names}
    slices, slice_s = (1, SLICE_POSTS // rate_per_s) if rate_per_s else (SLICES, 1)
    for pair in range(PAIRS):
        progress(f"{figure}: pair {pair + 1} of {PAIRS}")
        delays, answers, inserts, rates, seconds = [], [], [], [], 0
        if floor:
            floor.pair_begin()
        for _ in range(slices):
            rate, latencies = pgbench(rig.postgres, insert, CLIENTS, slice_s, f"{rig.folder}/pgb/log", rate_per_s)
            slice_delays, slice_answers, took_s = now_slice(rig, client, SLICE_POSTS, rate_per_s)
            delays, answers, seconds = delays + slice_delays, answers + slice_answers, seconds + took_s
            inserts, rates = inserts + latencies, rates + [rate]
            if floor:
                floor.slice()
        if not inserts or len(delays) < slices * SLICE_POSTS:
            report(figure, error="a_side_did_not_run", ours=len(delays), theirs=len(inserts))
            return False
        figures = (percentile(delays, 0.5), percentile(delays, 0.99), percentile(answers, 0.99),
                   len(delays) / seconds, percentile(inserts, 0.5), percentile(inserts, 0.99),
                   sum(rates) / len(rates), percentile(delays, 0.99) / percentile(inserts, 0.99))
        for name, value in zip(names, figures):
            pairs[name].append(value)
        progress(" ".join(f"{name}={value:.2f}" for name, value in zip(names, figures)))
    middle, low, high = median_range(pairs.pop("ratio"))
    report(figure, ratio=f"{middle:.2f}", min=f"{low:.2f}", max=f"{high:.2f}",
           goal="<=2", met=str(middle <= 2).lower(),
           **{name: f"{median_range(values)[0]:.2f}" for name, values in pairs.items()},
           clients=CLIENTS, rate_per_s=rate_per_s or "closed_loop", posts_a_pair=slices * SLICE_POSTS, pairs=PAIRS)
    if floor:
        floor.report(pairs["insert_p99_ms"])
    return True


def bench_now(nodes, bench, **settings):
    with Rig("now", **settings) as rig:
        rig.postgres.sql(TABLE)
        os.makedirs(f"{rig.folder}/pgb", exist_ok=True)
        _, client = rig.account("bench", credit_usd=1000000, mode="test")
        nodes(rig)
        now_slice(rig, client, SLICE_POSTS)
        return bench(rig, client)


def bench_alone(rig, client):
    return all([
        bench_pairs(rig, client, "award_now_vs_pgbench_insert", floor=Floor(rig, client)),
        bench_pairs(rig, client, "award_now_vs_pgbench_insert_at_a_rate", rate_per_s=RATE_PER_S)])


def bench_with_agents(rig, client):
    return bench_pairs(rig, client, "award_now_with_agents")


def run():
    return all([
        bench_now(lambda rig: rig.postgres.sql(MANY_SELLERS.replace("1300", "100")), bench_alone,
                  node_unknown_ms=600000, node_lost_ms=600000, ack_timeout_ms=60000, final_receipt_ms=100),
        bench_now(lambda rig: operators(rig, nodes_each=20, count=5, devices=8), bench_with_agents,
                  node_lost_ms=60000)])
