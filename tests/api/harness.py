"""What the black-box tests stand on: one private system per test class, and nodes in a few lines.

A class that derives from ApiCase gets PostgreSQL, Redis, migrations, a broker and an operator's key of its
own. When it ends, the ledger's invariants must hold, no server may have said anything that sounds like a
sanitizer, no answer may have been a 5xx that the class did not announce, and every answer must have been
one that openapi.yaml describes.
"""

import base64
import concurrent.futures
import ctypes
import datetime
import glob
import hashlib
import json
import os
import random
import re
import shutil
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy"))
import stack as st  # noqa: E402  (deploy/stack.py)
from contract import Contract  # noqa: E402

SANITIZER = re.compile(r"(?:ERROR|WARNING): (?:Address|Leak|Thread)Sanitizer|runtime error:|must\(|: Assertion ")
ALL_SCOPES = ["workloads:read", "workloads:write", "nodes:read", "nodes:write", "money:read", "keys:write"]
EXCHANGES_CHECKED_MAX = 40
ROOT = st.ROOT
# Rounds and settlements come faster than in production, so that tests wait less; what counts as silence comes
# later, so that a machine under load is not mistaken for a dead one. Tests of faults set their own.
FAST = {"threads": 2, "round_ms": 100, "settle_interval_ms": 500, "receipt_interval_ms": 300, "ack_timeout_ms": 20000,
        "node_unknown_ms": 30000, "node_lost_ms": 120000}
HttpError, wait_until = st.HttpError, st.wait_until

_sodium = ctypes.CDLL("libsodium.so.23")
if _sodium.sodium_init() < 0:
    raise RuntimeError("libsodium does not start")


def ed25519_keypair():
    public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
    _sodium.crypto_sign_keypair(public, secret)
    return public.raw, secret.raw


def ed25519_sign(secret, text):
    out = ctypes.create_string_buffer(64)
    _sodium.crypto_sign_detached(out, None, text, ctypes.c_ulonglong(len(text)), secret)
    return out.raw


def promise_holds(promise):
    """The leaf and its path lead to a root that the market's key has signed (openapi.yaml, Promise)."""
    batch = promise["batch"]
    place, last = batch["index"], batch["count"] - 1
    root = hashlib.sha256(b"\0" + promise["place"].to_bytes(8, "big") + bytes.fromhex(promise["message_sha256"])).digest()
    path = [bytes.fromhex(h) for h in batch["path"]]
    while last > 0:
        if place % 2:
            root = hashlib.sha256(b"\1" + path.pop(0) + root).digest()
        elif place < last:
            root = hashlib.sha256(b"\1" + root + path.pop(0)).digest()
        place, last = place // 2, last // 2
    text = f"undercut/promise/v2|{promise['market']}|{promise['round']}|{batch['count']}|{root.hex()}"
    return not path and ed25519_verifies(unb64(promise["public_key"]), text.encode(), unb64(promise["signature"]))


def ed25519_verifies(public, text, signature):
    return len(signature) == 64 and _sodium.crypto_sign_verify_detached(
        signature, text, ctypes.c_ulonglong(len(text)), public) == 0


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def seed():
    """Of this process's random choices; UNDERCUT_SEED repeats a run."""
    value = int(os.environ.get("UNDERCUT_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"UNDERCUT_SEED={value}", flush=True)
    return random.Random(value)


def manifest(**more):
    """A CPU workload that any FakeNode can run; its reserve is its own, far above the catalogue's price."""
    made = {"image": "example.org/x:1", "resources": {"cpu": {"vcpu": 1, "memory_mib": 512}},
            "reserve_uusd_per_hour": 3600000, "price_policy": "limit", "max_duration_s": 600,
            "placement": {"regions": ["eu-west"]}, **more}
    return {k: v for k, v in made.items() if v is not None}


def simulated(**more):
    """A GPU workload at 0.60 an hour that accepts simulated hardware, as only test accounts may."""
    return manifest(**{"resources": {"device": {"count": 1, "models": ["rtx-4090"]}},
                       "reserve_uusd_per_hour": 600000,
                       "placement": {"regions": ["eu-west"], "trust_min": "simulated"}, **more})


class ApiCase(unittest.TestCase):
    settings = {}                  # the broker's, by name of config.def
    stack_options = {}             # Stack's own: has_redis, has_podman ...
    has_failed = False
    statuses_5xx_expected = ()     # e.g. (503,) for a class that stops the database

    @classmethod
    def setUpClass(cls):
        cls.rng = seed()
        cls.exchanges, cls.accounts, cls.nodes = [], [], []
        cls.stack = st.Stack(f"test-{cls.__name__}-{os.getpid()}",
                             **{"is_durable": False, **cls.stack_options}, **{**FAST, **cls.settings})
        try:
            cls.stack.start()
            cls.broker, cls.sql = cls.stack.broker, cls.stack.postgres.sql
            cls.watch(cls.broker)
            cls.prepare()
        except BaseException:
            cls.stack.stop()
            raise

    @classmethod
    def prepare(cls):
        """What a class wants to stand before its first test."""

    def setUp(self):
        self.accounts_before, self.nodes_before = len(self.accounts), len(self.nodes)
        self.addCleanup(self.sweep)

    def tearDown(self):
        result = getattr(getattr(self, "_outcome", None), "result", None)
        if result is not None and (result.failures or result.errors):
            type(self).has_failed = True  # then the class's folder stays, to be looked at

    def sweep(self):
        """What a test made does not meet the next one: its workloads stop and its nodes retire."""
        for http in self.accounts[self.accounts_before:]:
            for workload in http.get("/v1/workloads?limit=200")["data"]:
                if workload["desired"] == "run" and not workload["terminal"]:
                    http.raw("DELETE", f"/v1/workloads/{workload['workload_id']}")
        for node in self.nodes[self.nodes_before:]:
            node.http.raw("DELETE", f"/v1/nodes/{node.node_id}")

    @classmethod
    def watch(cls, broker):
        """Every exchange with this broker is noted."""
        plain = broker.http

        def http(key=None, **kwargs):
            return plain(key, on_exchange=lambda *e: cls.exchanges.append(e), **kwargs)
        broker.http = http

    @classmethod
    def tearDownClass(cls):
        problems = []
        try:
            problems += [f"invariant: {row}" for row in cls.stack.invariant_violations()]
        except st.StackError as e:
            problems.append(str(e))
        cls.stack.stop()
        problems += cls.sanitizer_reports()
        problems += [f"{e[0]} {e[1]} answered {e[2]}: {e[4][:300]!r}" for e in cls.exchanges
                     if e[2] >= 500 and e[2] not in cls.statuses_5xx_expected]
        problems += cls.contract_violations()
        if problems:
            raise AssertionError(f"{cls.stack.folder}:\n" + "\n".join(problems))
        if cls.has_failed:
            return
        shutil.rmtree(cls.stack.folder, ignore_errors=True)
        if os.path.islink(os.path.join(st.ROOT, "var", os.path.basename(cls.stack.folder))):
            os.unlink(os.path.join(st.ROOT, "var", os.path.basename(cls.stack.folder)))

    @classmethod
    def contract_violations(cls):
        """Of the first answers of each kind: polls would only repeat themselves."""
        contract, seen, found = Contract(), {}, []
        for method, path, status, headers, body in cls.exchanges:
            operation = contract.find(method, path)
            kind = (operation and operation.id, status)
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= EXCHANGES_CHECKED_MAX:
                found += contract.violations(method, path, status, headers, body)
        return list(dict.fromkeys(found))[:40]

    @classmethod
    def sanitizer_reports(cls):
        found = []
        for path in glob.glob(os.path.join(cls.stack.folder, "**", "log"), recursive=True):
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
            match = SANITIZER.search(text)
            if match:
                found.append(f"{path}:\n{text[max(0, match.start() - 500):match.start() + 6000]}")
        return found

    # ---- shorthands
    @classmethod
    def account(cls, credit_usd=100, mode="live"):
        """Http of a fresh account with money; its id is .account_id."""
        account_id, http = cls.stack.account(f"a-{uuid.uuid4().hex[:8]}", credit_usd, mode)
        http.account_id = account_id
        cls.accounts.append(http)
        return http

    @classmethod
    def trial_account(cls, credit_usd=100):
        """A test account: the only kind that may take simulated hardware."""
        return cls.account(credit_usd, "test")

    def key_with(self, http, *scopes):
        """Http of the same account with only these scopes."""
        return self.broker.http(http.post("/v1/api-keys", {"name": "k", "scopes": list(scopes)})["secret"])

    @classmethod
    def until(cls, what, probe, timeout_s=20):
        return wait_until(what, timeout_s, probe, cls.broker.process)

    def until_state(self, http, workload_id, *states, timeout_s=20):
        """The workload, once it is in one of these states."""
        seen = {}

        def probe():
            seen.update(http.get(f"/v1/workloads/{workload_id}?expand=leases"))
            return seen["state"] in states
        try:
            self.until(f"{workload_id} to be {'/'.join(states)}", probe, timeout_s)
        except st.StackError as e:
            raise AssertionError(f"{e}\nlast seen: {json.dumps(seen, indent=1)}") from e
        return seen

    def until_told(self):
        """Until every event up to now can be read: they are held back behind transactions that still run."""
        edge = self.sql("select pg_snapshot_xmax(pg_current_snapshot())")
        self.until("the transactions under way to end", lambda: self.sql(
            f"select pg_snapshot_xmin(pg_current_snapshot()) >= '{edge}'::xid8") == "t")

    def events_until_now(self, http, query=""):
        """What has happened to an account."""
        self.until_told()
        return http.get(f"/v1/events?after=0&limit=200{query}")["data"]

    def refused(self, status, code, call, *args, **kwargs):
        """The problem document of a call that must be refused just so."""
        with self.assertRaises(HttpError) as caught:
            call(*args, **kwargs)
        problem = caught.exception.problem
        self.assertEqual((caught.exception.status, problem.get("code")), (status, code), problem)
        return problem

    def at_once(self, count, call):
        """call(i) from `count` threads at the same moment; the results in order, HttpErrors as values."""
        def guarded(i):
            try:
                return call(i)
            except HttpError as e:
                return e
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            return list(pool.map(guarded, range(count)))

    @classmethod
    def node(cls, http=None, **kwargs):
        """An enrolled, standing FakeNode of this (or a fresh) operator."""
        node = FakeNode(cls.broker.url, http or cls.account(0), **kwargs)
        node.enrol()
        node.sync()
        cls.nodes.append(node)
        return node

    @classmethod
    def agent(cls, name, price="0.30", region="eu-west", http=None, broker=None, **kwargs):
        """A real agent, enrolled and selling, of this or a fresh operator (`.http`)."""
        http = http or cls.account(0)
        agent = st.Agent(cls.stack, name, region, http.key, price=price, **{"runner": "simulated", **kwargs})
        agent.http, agent.broker_url = http, (broker or cls.broker).url
        cls.stack.agents.append(agent)
        cls.stack.children.append(agent)
        agent.start()

        def is_selling():
            mine = [n for n in http.get("/v1/nodes")["data"] if n["name"] == name and n["devices"]]
            return mine and http.get("/v1/asks")["data"]
        wait_until(f"{name} to sell", 60, is_selling, agent.process)
        return agent

    def assert_healthy(self):
        self.assertEqual(self.stack.invariant_violations(), [])

    def post_for(self, http, workload, timeout_s=30, **more):
        """Posts, waits for the end, and returns the workload with its leases."""
        made = http.post("/v1/workloads", {**workload, **more})
        return self.until_state(http, made["workload_id"], "stopped", "failed", timeout_s=timeout_s)


class FakeNode:
    """A node that does exactly what a test says: it signs, reports and sends receipts, and runs nothing.

    `leases` is what it reports, by lease id; step() acknowledges what is new and drops what is gone.
    """

    def __init__(self, url, http, region="eu-west", price=1000000, slots=2, model="cpu-1c2g", name=None):
        self.http, self.region, self.price = http, region, price
        self.plain = st.Http(url)
        self.public, self.secret = ed25519_keypair()
        self.name = name or f"fake-{uuid.uuid4().hex[:8]}"
        gpu = not model.startswith("cpu-")
        self.inventory = {
            "hostname": self.name, "vcpu": 64, "memory_mib": 262144, "disk_mib": 1048576,
            "engine": {"name": "none", "version": "1"}, "isolation": "none", "is_simulated": False,
            "devices": [{"hardware_id": f"{self.name}/{i}", "index": i, "vendor": "nvidia" if gpu else "cpu",
                         "model": model, "vram_mib": 24564 if gpu else 0, "driver": "", "compute": "",
                         "is_simulated": False} for i in range(slots)]}
        self.boot, self.seq, self.receipt_seq = str(uuid.uuid4()), 0, 0
        self.known, self.wants_inventory = "", True
        self.takes_bids, self.bids, self.open = False, {}, []  # its prices by workload; what it may bid on
        self.leases, self.desired, self.reply = {}, [], None
        self.node_id = self.market_public = None

    def enrol(self):
        token = self.http.post("/v1/node-tokens", {"region": self.region})["token"]
        made = self.plain.post("/v1/nodes", {"token": token, "public_key": b64(self.public), "name": self.name,
                                             "region": self.region, "inventory": self.inventory})
        self.node_id, self.market_public = made["node_id"], unb64(made["market_public_key"])
        return made

    def retire(self):
        self.http.delete(f"/v1/nodes/{self.node_id}")

    def signed(self, path, body, boot=None, seq=None, secret=None):
        """(status, headers, bytes) of a signed call; the arguments forge it."""
        data = json.dumps(body).encode()
        if seq is None:
            self.seq += 1
            seq = self.seq
        boot = boot or self.boot
        text = f"undercut/sync/v1|POST|{path}|{self.node_id}|{boot}|{seq}|{hashlib.sha256(data).hexdigest()}"
        return self.plain.raw("POST", path, data, {
            "Undercut-Boot": boot, "Undercut-Seq": str(seq),
            "Undercut-Signature": b64(ed25519_sign(secret or self.secret, text.encode()))})

    def answered(self, path, body):
        status, headers, data = self.signed(path, body)
        value = json.loads(data)
        if status != 200:
            raise HttpError(status, value, headers)
        text = (f"undercut/reply/v1|{self.node_id}|{self.boot}|{self.seq}|{status}"
                f"|{hashlib.sha256(data).hexdigest()}")
        assert ed25519_verifies(self.market_public, text.encode(), unb64(headers["Undercut-Signature"])), \
            "the broker's signature does not verify"
        return value

    def receipt(self, *leases, is_final=False):
        """A signed receipt for what these leases (ids) report now."""
        self.receipt_seq += 1
        body = json.dumps({"v": 1, "node_id": self.node_id, "seq": self.receipt_seq, "leases": [
            {"lease_id": i, "epoch": self.leases[i]["epoch"], "healthy_ms": self.leases[i].get("healthy_ms", 0),
             "image_digest": "sha256:" + "0" * 64, "is_final": is_final} for i in leases]},
            separators=(",", ":"))
        return {"seq": self.receipt_seq, "body": body,
                "signature": b64(ed25519_sign(self.secret, b"undercut/receipt/v1|" + body.encode()))}

    def sync(self, receipts=(), hold_ms=0, **more):
        text = json.dumps(self.inventory)
        body = {"known": self.known, "hold_ms": hold_ms, "is_opted_in": True,
                "inventory_sha256": hashlib.sha256(text.encode()).hexdigest(),
                "asks": [{"class": "*", "price_uusd_per_device_hour": self.price}] if self.price else [],
                "leases": [{"lease_id": i, **report} for i, report in self.leases.items()],
                "receipts": list(receipts), **more}
        if self.takes_bids:
            body.update(takes_bids=True, bids=[{"workload_id": w, "price_uusd_per_hour": p} for w, p in self.bids.items()])
        if self.wants_inventory:
            body["inventory"] = self.inventory
        self.reply = self.answered(f"/v1/nodes/{self.node_id}/sync", body)
        self.known, self.desired = self.reply["desired_version"], self.reply["leases"]
        self.open = self.reply["direct_workloads"]
        self.wants_inventory = self.reply["want_inventory"]
        return self.reply

    def step(self, receipts=(), hold_ms=0):
        """One sync; then the desired state is taken over and acknowledged."""
        self.sync(receipts, hold_ms)
        wanted = {d["lease_id"]: d for d in self.desired}
        is_changed = False
        for gone in [i for i in self.leases if i not in wanted]:
            del self.leases[gone]
        for lease_id, desired in wanted.items():
            if desired["want"] == "run" and lease_id not in self.leases:
                self.leases[lease_id] = {"epoch": desired["epoch"], "state": "starting"}
                is_changed = True
        if is_changed:
            self.sync()
        return wanted

    def take(self, case, count=1, timeout_s=20):
        """Waits until this many leases are here and acknowledged; their ids, oldest first."""
        case.until(f"{count} leases on {self.name}", lambda: len(self.step(hold_ms=200)) >= count, timeout_s)
        return sorted(self.leases)

    def run(self, *lease_ids):
        """These are ready: their meters start."""
        for lease_id in lease_ids:
            self.leases[lease_id].update(state="running", healthy_ms=0)
        self.sync()

    def bill(self, lease_id, healthy_ms):
        self.leases[lease_id]["healthy_ms"] = healthy_ms
        return self.sync([self.receipt(lease_id)])

    def exit(self, lease_id, reason="completed", exit_code=0, healthy_ms=None, detail=None):
        report = self.leases[lease_id]
        if healthy_ms is not None:
            report["healthy_ms"] = healthy_ms
        report.update(state="exited", reason=reason)
        if exit_code is not None:
            report["exit_code"] = exit_code
        if detail:
            report["detail"] = detail
        self.sync([self.receipt(lease_id, is_final=True)])
        return self.step()

    def log(self, lease_id, offset, text, stream="out"):
        return self.answered(f"/v1/nodes/{self.node_id}/logs", {"chunks": [
            {"lease_id": lease_id, "epoch": self.leases[lease_id]["epoch"], "offset": offset, "stream": stream,
             "at_us": int(time.time() * 1000000), "data": base64.b64encode(text.encode()).decode()}]})


def seconds_of(text):
    """An instant of the API, as time.time() has it."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def entries_all(http):
    """Every ledger entry of an account, newest first, through the pages."""
    found, cursor = [], None
    while True:
        page = http.get("/v1/ledger/entries?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        found += page["data"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return found
