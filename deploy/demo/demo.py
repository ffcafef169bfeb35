#!/usr/bin/env python3
"""The whole main job on one machine, for real: an auction over nine machines, containers, a meter, a
machine lost half-way, a picture, and a ledger that adds up.

    demo.py          once, about a minute; the last line is `demo: ok`
    demo.py --up     the same system, left running until Ctrl-C

PostgreSQL, Redis, the container engine, the broker and nine agents of nine accounts are private to
./var. The GPUs are a stand-in library and every table says `simulated`; all else is the real thing.
"""

import base64
import binascii
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import stack as stacks  # noqa: E402

IMAGE = "localhost/undercut-fractal:1"
WIDTH, HEIGHT, TILES, TILE_SECONDS = 960, 540, 6, 14
CREDIT_USD = 5
OPERATORS = [  # region, USD per device-hour
    ("eu-west", "0.19"), ("eu-west", "0.22"), ("eu-west", "0.26"),
    ("us-east", "0.20"), ("us-east", "0.23"), ("us-east", "0.27"),
    ("ap-southeast", "0.21"), ("ap-southeast", "0.25"), ("ap-southeast", "0.29")]
# A real market waits 10 s before it calls a node unknown and 60 s before it calls it lost, and settles
# each minute. The demo is shorter, and says so.
QUICK = {"node_unknown_ms": 2000, "node_lost_ms": 6000, "sync_hold_ms": 500, "settle_interval_ms": 1000,
         "receipt_interval_ms": 1000}


class DemoError(RuntimeError):
    """What went wrong, in one sentence."""


class Stages:
    def __init__(self):
        self.rows, self.began, self.name = [], time.monotonic(), None

    def next(self, name):
        now = time.monotonic()
        if self.name:
            self.rows.append((self.name, now - self.began))
        self.name, self.began = name, now
        if name:
            print(f"\n== {name}", flush=True)


def usd(uusd):
    text = f"{abs(uusd) / 1e6:.6f}".rstrip("0")
    whole, fraction = text.split(".")
    return f"{'-' if uusd < 0 else ''}${whole}.{fraction.ljust(2, '0')}"


def table(titles, rows):
    widths = [max(len(str(row[i])) for row in [titles, *rows]) for i in range(len(titles))]
    for row in [titles, *rows]:
        print("  " + "  ".join(str(cell).rjust(w) if i else str(cell).ljust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))).rstrip())


def image_build(stack):
    """A renderer of our own and busybox: compiled and packed on the spot."""
    context = os.path.join(stack.folder, "image")
    os.makedirs(context, exist_ok=True)
    stacks.run(["cc", "-O2", "-static", "-o", f"{context}/render", f"{HERE}/render.c"])
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, f"{context}/sh")
    with open(f"{context}/Containerfile", "w", encoding="ascii") as f:
        f.write("FROM scratch\nCOPY sh /bin/sh\nCOPY render /bin/render\n")
    stack.podman.run("build", "-q", "--isolation", "chroot", "--network", "host", "-t", IMAGE, context)
    size = sum(os.path.getsize(f"{context}/{name}") for name in ("sh", "render"))
    print(f"image {IMAGE}: {size // 1024} KiB, from scratch")
    return f"{context}/render"


def operators_start(stack):
    """Nine accounts, one machine each. Returns [(agent, account id, its client, price)]."""
    operators = []
    for number, (region, price) in enumerate(OPERATORS, 1):
        account_id, http = stack.account(f"operator {number}")
        agent = stack.agent_add(f"node-{number}", region, http.key, price=price)
        operators.append((agent, account_id, http, price))
    for agent, _, http, _ in operators:
        stacks.wait_until(f"{agent.name} to enrol and ask", 30,
                          lambda http=http: http.get("/v1/nodes")["data"] and http.get("/v1/asks")["data"],
                          agent.process)
    return operators


def batch_post(tenant):
    return tenant.post("/v1/workloads", {
        "name": "fractal", "image": IMAGE,
        "command": ["/bin/render", str(WIDTH), str(HEIGHT), str(TILE_SECONDS)],
        "resources": {"device": {"count": 1, "models": ["rtx-4090"]}},
        "replicas": TILES, "min_replicas": 1, "reserve_usd_per_hour": "0.60", "max_duration_s": 600,
        "placement": {"regions": ["eu-west", "us-east", "ap-southeast"], "trust_min": "simulated"}})


class Batch:
    """What is known of the workload: its leases by number, and the rows of the picture that came."""

    def __init__(self, tenant, workload):
        self.tenant, self.workload_id = tenant, workload["workload_id"]
        self.rows, self.partial, self.cursor = {}, {}, None
        self.state, self.leases = workload, []

    def refresh(self):
        self.state = self.tenant.get(f"/v1/workloads/{self.workload_id}?expand=leases")
        self.leases = sorted(self.state["leases"], key=lambda lease: (lease["replica_index"], lease["epoch"]))
        query = f"&after={self.cursor}" if self.cursor else ""
        status, _, data = self.tenant.raw("GET", f"/v1/workloads/{self.workload_id}/logs?format=ndjson{query}")
        if status != 200:
            raise DemoError(f"logs answered {status}: {data[:200]}")
        for line in data.splitlines():
            if line.strip():
                self.chunk_take(stacks.json.loads(line))

    def chunk_take(self, chunk):
        self.cursor = chunk["cursor"]
        if chunk["stream"] != "out":
            return
        text = self.partial.get(chunk["lease_id"], "") + chunk.get("data", "")
        *lines, self.partial[chunk["lease_id"]] = text.split("\n")
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0] == "row":
                try:
                    pixels = base64.b64decode(words[2], validate=True)
                except binascii.Error:
                    continue
                if len(pixels) == 3 * WIDTH:
                    self.rows[int(words[1])] = pixels

    def tile_percent(self, index):
        first, last = index * HEIGHT // TILES, (index + 1) * HEIGHT // TILES
        return 100 * sum(y in self.rows for y in range(first, last)) // (last - first)

    def live(self):
        return [lease for lease in self.leases if lease["state"] != "closed"]

    def metered_uusd(self):
        return sum(lease["gross_uusd"] for lease in self.leases)


def price_reason(ladder):
    """Why what was sold costs what it costs: a threshold is the score of an ask that lost, or a buyer's own offer."""
    lost = {step["score_uusd_per_hour"] for step in ladder["supply"] if step.get("threshold_uusd_per_hour") is None}
    thresholds = [t for t in (step.get("threshold_uusd_per_hour") for step in ladder["supply"]) if t is not None]
    offers = sum(t not in lost for t in thresholds)
    if not offers:
        return "an ask that lost set each price; what a place adds is taken off"
    who = "each tile pays what it" if offers == len(thresholds) else f"{offers} of {len(thresholds)} tiles pay what they"
    return f"too few asks lost to set a price: {who} offered in this round, net of the fee; one more seller would change that"


def ladders_show(auditor, batch, shown):
    """The rounds that awarded leases of this batch, as only an auditor may see them."""
    for number in sorted({lease["round"] for lease in batch.leases} - shown):
        shown.add(number)
        record = auditor.get(f"/v1/rounds/{number}")
        print(f"\nround {number}: record {record['record_sha256'][:16]}...")
        for lot in record["lots"]:
            if not lot["sold_count"]:
                continue
            index = lot["index_uusd_per_hour"]
            print(f"  lot {lot['region']} {lot['device_class']} x{lot['block_size']} ({lot['trust']}): "
                  f"sold {lot['sold_count']}, index {usd(index) if index is not None else 'none'}/hr")
            rows = []
            for step in lot["ladder"]["supply"]:
                theta, price = step.get("threshold_uusd_per_hour"), step.get("price_uusd_per_hour")
                rows.append((step["rank"], step["node_id"][-8:], usd(step["ask_uusd_per_hour"]),
                             usd(step["adder_uusd_per_hour"]), usd(step["score_uusd_per_hour"]),
                             usd(theta) if theta is not None else "-", usd(price) if price is not None else "not sold"))
            table(("rank", "node", "ask", "adder", "score", "threshold", "paid"), rows)
            for wish in lot["ladder"]["demand"]:
                print(f"  wanted {wish['wanted']} at up to {usd(wish['net_reserve_uusd_per_hour'])} net: "
                      f"got {wish['awarded']}")
            print(f"  {price_reason(lot['ladder'])}")


def progress_show(batch, began):
    bars = []
    for index in range(TILES):
        mine = [lease for lease in batch.leases if lease["replica_index"] == index]
        where = mine[-1]["region"].split("-")[0] if mine and mine[-1]["state"] != "closed" else "--"
        bars.append(f"{where} {batch.tile_percent(index):3}%")
    print(f"  {time.monotonic() - began:5.1f} s  {'  '.join(bars)}  meter {usd(batch.metered_uusd())}", flush=True)


def machine_lose(stack, operators, batch):
    """kill -9 of an agent and of its containers: what the loss of a machine looks like from outside."""
    victim_lease = next(lease for lease in batch.live() if lease["state"] == "running")
    for agent, _, http, _ in operators:
        if http.get("/v1/nodes")["data"][0]["node_id"] == victim_lease["node_id"]:
            break
    lost = [lease["replica_index"] for lease in batch.live() if lease["node_id"] == victim_lease["node_id"]]
    agent.kill()
    ids = stack.podman.run("ps", "-q", "--filter", f"label=undercut.node={victim_lease['node_id']}").split()
    for container in ids:
        stack.podman.run("kill", "-s", "KILL", container)
    print(f"\n  !! {agent.name} ({victim_lease['region']}) is gone: kill -9 of its agent and {len(ids)} container(s); "
          f"tile {', '.join(str(i + 1) for i in lost)} must move", flush=True)
    return victim_lease


def batch_follow(stack, operators, batch, auditor, stages):
    began, shown, victim, told = time.monotonic(), set(), None, set()
    deadline = began + 80
    while True:
        batch.refresh()
        for lease in batch.leases:
            key = (lease["lease_id"], lease["state"])
            if key in told or lease["state"] in ("starting", "closing"):
                continue
            told.add(key)
            more = f"at {usd(lease['price_uusd_per_hour'])}/hr + fee" if lease["state"] == "awarded" else \
                f"{lease['close_reason']}, {lease['billed_ms'] / 1000:.1f} s, {usd(lease['gross_uusd'])}" \
                if lease["state"] == "closed" else ""
            print(f"  {time.monotonic() - began:5.1f} s  tile {lease['replica_index'] + 1} {lease['state']:8} "
                  f"on {lease['node_name']} in {lease['region']} {more}", flush=True)
        ladders_show(auditor, batch, shown)
        progress_show(batch, began)
        if batch.state["terminal"]:
            break
        if stages.name == "auction and start" and batch.state["replicas_running"] == TILES:
            stages.next("rendering")
        if victim is None and stages.name == "rendering" and min(map(batch.tile_percent, range(TILES))) >= 25:
            victim = machine_lose(stack, operators, batch)
            stages.next("moving the lost tile and finishing")
        if time.monotonic() > deadline:
            raise DemoError(f"the batch is still {batch.state['state']} after 80 s")
        time.sleep(1)
    batch.refresh()
    if victim is None:
        raise DemoError("the batch ended before a machine could be lost")
    closed = next(lease for lease in batch.leases if lease["lease_id"] == victim["lease_id"])
    heirs = [lease for lease in batch.leases if lease["replica_index"] == victim["replica_index"]
             and lease["epoch"] > victim["epoch"]]
    if closed["close_reason"] != "node_lost" or not heirs or heirs[-1]["node_id"] == victim["node_id"]:
        raise DemoError(f"the lost tile did not move: {closed['close_reason']}, {len(heirs)} later lease(s)")
    print(f"  tile {victim['replica_index'] + 1} moved from {victim['node_name']} to {heirs[-1]['node_name']} "
          f"in {heirs[-1]['region']}")
    if batch.state["state"] != "stopped" or batch.state["status_reason"] != "completed":
        raise DemoError(f"the batch ended {batch.state['state']}: {batch.state['status_reason']}")


def picture_write(batch, render, path):
    """PNG by hand, after comparing it with a rendering on this machine."""
    missing = [y for y in range(HEIGHT) if y not in batch.rows]
    if missing:
        raise DemoError(f"{len(missing)} rows of the picture are missing")
    local = stacks.run([render, str(WIDTH), str(HEIGHT)])
    rows = {int(w[1]): base64.b64decode(w[2]) for w in map(str.split, local.splitlines()) if w[0] == "row"}
    if rows != batch.rows:
        raise DemoError("the picture differs from the one rendered here")

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    raw = b"".join(b"\0" + batch.rows[y] for y in range(HEIGHT))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))
    print(f"{path}: {WIDTH} x {HEIGHT}, equal to the bit to a rendering on this machine")


def ledger_show(stack, tenant, operators, batch):
    balance = tenant.get("/v1/balance")
    earned = [(agent, http.get("/v1/balance")["payable_uusd"]) for agent, _, http, _ in operators]
    fee = int(stack.postgres.sql("select sum(balance_uusd) from ledger_accounts where kind = 'platform_fee'"))
    entries = tenant.get("/v1/ledger/entries?limit=200")["data"]
    wallet = [entry for entry in entries if entry["ledger_account"] == "tenant_wallet"]
    held = -sum(e["amount_uusd"] for e in wallet if e["kind"] in ("hold", "top_up"))
    back = sum(e["amount_uusd"] for e in wallet if e["kind"] in ("release", "lease_close"))
    paid = CREDIT_USD * 1000000 - balance["wallet_uusd"] - balance["escrow_uusd"]
    rows = [("credited", usd(CREDIT_USD * 1000000)), ("held in escrow", usd(held)), ("refunded", usd(back)),
            ("tenant paid", usd(paid))]
    rows += [(f"  {agent.name} ({agent.region}) earned", usd(amount)) for agent, amount in earned if amount]
    rows += [("  platform fee", usd(fee)), ("tenant's wallet now", usd(balance["wallet_uusd"]))]
    table(("ledger", "USD"), rows)
    total = sum(amount for _, amount in earned) + fee
    sigma = stack.postgres.sql("select sum(balance_uusd) from ledger_accounts where currency = 'USD'")
    print(f"  tenant paid {usd(paid)} = operators + fee {usd(total)}; sum over all accounts = {sigma}")
    violations = stack.invariant_violations()
    if paid != total or paid <= 0 or sigma != "0" or balance["escrow_uusd"] != 0 or violations:
        raise DemoError("the ledger does not add up: " + "; ".join(violations[:3]))
    if paid != batch.metered_uusd() or held - back != paid:
        raise DemoError(f"leases say {usd(batch.metered_uusd())}, escrow moved {usd(held - back)}, paid {usd(paid)}")


def verify(stack, key, *words):
    """`undercut verify`: (did it hold, what it said)."""
    env = {**os.environ, "UNDERCUT_URL": stack.broker.url, "UNDERCUT_API_KEY": key, "NO_COLOR": "1"}
    done = subprocess.run([stack.program("undercut"), "verify", *words], capture_output=True, text=True, env=env,
                          stdin=subprocess.DEVNULL, timeout=60, check=False)
    if done.returncode not in (0, 11):
        raise DemoError(f"undercut verify: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.returncode == 0, done.stdout


def transcript_verify(stack, tenant, workload, batch):
    """An auditor holds the market to its word, the tenant too; then one byte of a copy is changed."""
    folder = os.path.join(stack.folder, "transcript")
    os.makedirs(os.path.join(folder, "promises"))
    with open(os.path.join(folder, "promises", "fractal.json"), "w", encoding="ascii") as f:
        stacks.json.dump(workload["promise"], f)
    for who, key, words in (("an auditor, from files", stack.admin_key, ["--download", "--dir", folder]),
                            ("the tenant, over the API", tenant.key, [])):
        holds, said = verify(stack, key, *words, "--from", "1")
        print(f"$ undercut verify    # {who}\n  " + said.rstrip().replace("\n", "\n  "))
        if not holds:
            raise DemoError("the market's own transcript does not hold")
    name = os.path.join(folder, "rounds", f"{batch.leases[0]['round']}.json")
    with open(name, encoding="ascii") as f:
        opened = stacks.json.load(f)
    record = bytearray(base64.b64decode(opened["record_base64"]))
    record[-8] ^= 1
    opened["record_base64"] = base64.b64encode(record).decode()
    with open(name, "w", encoding="ascii") as f:
        stacks.json.dump(opened, f)
    holds, said = verify(stack, "", "--dir", folder)
    print(f"one bit of round {batch.leases[0]['round']} changed in the copy:\n  "
          + "\n  ".join(line.strip() for line in said.splitlines()[-2:]))
    if holds:
        raise DemoError("a changed transcript was taken for true")


def demo(stages):
    stages.next("starting PostgreSQL, Redis, container engine, broker")
    print("demo settings: " + ", ".join(f"{k}={v}" for k, v in QUICK.items()))
    with stacks.Stack("demo", has_podman=True, **QUICK) as stack:
        print(f"broker at {stack.broker.url}; logs under {stack.folder}")
        stages.next("building the image")
        render = image_build(stack)
        stages.next("nine operators enrol")
        operators = operators_start(stack)
        table(("node", "region", "GPU", "ask/hr"),
              [(a.name, a.region, "RTX 4090 (simulated)", f"${price}") for a, _, _, price in operators])
        _, tenant = stack.account("tenant", CREDIT_USD, "test")
        stages.next("auction and start")
        workload = batch_post(tenant)
        print(f"posted {workload['name']}: {TILES} tiles, any of 3 regions, at most $0.60 per tile-hour; "
              f"{usd(workload['escrow_uusd'])} held; promise for round {workload['promise']['round']}")
        batch = Batch(tenant, workload)
        batch_follow(stack, operators, batch, stack.admin(), stages)
        stages.next("stitching the picture")
        picture_write(batch, render, os.path.join(stacks.ROOT, "var", "demo.png"))
        stages.next("the ledger")
        ledger_show(stack, tenant, operators, batch)
        stages.next("holding the market to its word")
        transcript_verify(stack, tenant, workload, batch)
        stages.next(None)
        print("\n== seconds per stage")
        table(("stage", "s"), [(name, f"{s:.1f}") for name, s in stages.rows]
              + [("in all", f"{sum(s for _, s in stages.rows):.1f}")])


def up():
    with stacks.Stack("up", has_podman=True) as stack:
        image_build(stack)
        operator = operators_start(stack)[0]
        account_id, tenant = stack.account("tenant", CREDIT_USD, "test")
        print(f"""
Running: broker {stack.broker.url}, nine simulated nodes, logs under {stack.folder}.
A tenant ({account_id}) with ${CREDIT_USD}; the key of {operator[0].name}'s owner, who sells; and the key of the one
who runs the market, with every scope:

  export UNDERCUT_URL={stack.broker.url}
  export UNDERCUT_API_KEY={tenant.key}
  SELLER_KEY={operator[2].key}
  ADMIN_KEY={stack.admin_key}

Try:

  build/bin/undercut run --gpu rtx-4090 --trust simulated --max 0.60/hr {IMAGE} -- /bin/render 64 36 5
  build/bin/undercut price
  build/bin/undercut balance
  UNDERCUT_API_KEY=$SELLER_KEY build/bin/undercut node ls
  UNDERCUT_API_KEY=$ADMIN_KEY build/bin/undercut round show
  psql '{stack.postgres.url()}'

Ctrl-C stops everything.""", flush=True)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(1):
            for child in [stack.broker, *stack.agents]:
                if not child.process.is_alive():
                    raise DemoError(f"{child.name} ended:\n{child.process.tail()}")
        print("stopping")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stages = Stages()
    try:
        if "--up" in sys.argv[1:]:
            up()
            return 0
        demo(stages)
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    except (DemoError, stacks.StackError, stacks.HttpError, OSError, subprocess.SubprocessError) as e:
        where = f" while {stages.name}" if stages.name else ""
        print(f"\ndemo: failed{where}: {e}", file=sys.stderr)
        return 1
    print("demo: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
