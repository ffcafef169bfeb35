"""What every black-box test stands on: a private stack per class, clients whose every exchange is held
against openapi.yaml, and a node that a test plays by hand.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "deploy")]
os.environ.setdefault("UNDERCUT_BIN", os.path.join(ROOT, "build", "bin"))

import stack as stacks  # noqa: E402
from contract import Contract  # noqa: E402

EXCHANGES_CHECKED_MAX = 40
HttpError, wait_until = stacks.HttpError, stacks.wait_until
GPU = {"device": {"count": 1, "models": ["rtx-4090"]}}
# Time passes faster here than in production; proportions are the same.
FAST = {"node_unknown_ms": 1500, "node_lost_ms": 4000, "settle_interval_ms": 500, "receipt_interval_ms": 500}


class ApiTest(unittest.TestCase):
    """One stack per class. `settings` are the broker's; exchanges are kept in `exchanges`."""

    settings = FAST
    has_podman = False
    has_redis = True
    is_durable = False
    must_call_everything = False

    @classmethod
    def setUpClass(cls):
        cls.contract = Contract()
        cls.called, cls.complaints = set(), []
        cls.stack = stacks.Stack(f"test-{cls.__name__}-{os.getpid()}", is_durable=cls.is_durable,
                                 has_redis=cls.has_redis, has_podman=cls.has_podman, **cls.settings)
        cls.addClassCleanup(cls.stack_stop)
        cls.stack.start()
        cls.broker, cls.sql = cls.stack.broker, cls.stack.postgres.sql

    @classmethod
    def stack_stop(cls):
        cls.stack.stop()
        if not cls.complaints and not getattr(cls, "has_failed", False):
            stacks.shutil.rmtree(cls.stack.folder, ignore_errors=True)

    def setUp(self):
        self.complaints_before = len(self.complaints)

    def tearDown(self):
        fresh = self.complaints[self.complaints_before:]
        if fresh:
            type(self).has_failed = True
            self.fail("answers that break the contract:\n" + "\n".join(sorted(set(fresh))[:20]))
        outcome = getattr(self, "_outcome", None)
        if outcome is not None and not getattr(outcome, "success", True):
            type(self).has_failed = True

    @classmethod
    def listen(cls, method, path, status, headers, body):
        operation = cls.contract.operation(method, path)
        if operation:
            cls.called.add(operation.operation_id)
        cls.complaints += cls.contract.complaints(method, path, status, headers, body)

    def http(self, key=None, broker=None, **kwargs):
        return (broker or self.broker).http(key, on_exchange=self.listen, **kwargs)

    def account(self, name="tenant", credit_usd=10, mode="live"):
        """(account_id, client)"""
        account_id, http = self.stack.account(name, credit_usd, mode)
        return account_id, self.http(http.key)

    def admin(self):
        return self.http(self.stack.admin_key)

    def refused(self, status, code, call, *args, **kwargs):
        """The call must fail with exactly this problem; returns it."""
        with self.assertRaises(HttpError) as caught:
            call(*args, **kwargs)
        problem = caught.exception.problem
        self.assertEqual((caught.exception.status, problem.get("code")), (status, code), problem)
        return problem

    def manifest(self, **fields):
        return {"image": "localhost/undercut-test:1", "resources": GPU, "reserve_usd_per_hour": "0.60",
                "max_duration_s": 600, "placement": {"regions": ["eu-west"], "trust_min": "simulated"}, **fields}

    def simulated_agent(self, name, price="0.20", gpus=1, region="eu-west", http=None, **env):
        """An agent that pretends to run; returns it with its operator's client."""
        if http is None:
            _, http = self.account(f"operator of {name}", credit_usd=0)
        agent = self.stack.agent_add(name, region, http.key, price=price, gpus=gpus, runner="simulated", **env)
        wait_until(f"{name} to enrol", 30, lambda: self.is_selling(http, name), agent.process)
        return agent, http

    @staticmethod
    def is_selling(http, name):
        nodes = [n for n in http.get("/v1/nodes")["data"] if n["name"] == name and n["devices"]]
        return nodes and http.get("/v1/asks")["data"]

    def wait_state(self, http, workload, *states, timeout_s=40):
        """Polls through the API's own waiting until the workload is in one of these states."""
        def probe():
            self.last = http.get(f"/v1/workloads/{workload['workload_id']}?expand=leases")
            return self.last["state"] in states and self.last
        try:
            return wait_until(f"{workload['name']} in {states}", timeout_s, probe)
        except stacks.StackError as e:
            self.fail(f"{e}\nlast: {json.dumps(self.last)[:1500]}\nbroker:\n{self.broker.process.tail(10)}")

    def assert_healthy(self):
        self.assertEqual(self.stack.invariant_violations(), [])


class HandNode:
    """A node whose agent is the test: it says what it likes, correctly signed."""

    def __init__(self, test, http, region="eu-west", name="hand", gpus=1):
        self.test, self.http, self.boot, self.seq = test, test.http(), str(uuid.uuid4()), 0
        self.folder = tempfile.mkdtemp(prefix="hand-")
        test.addCleanup(stacks.shutil.rmtree, self.folder)
        self.key = os.path.join(self.folder, "key.pem")
        stacks.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key])
        der = subprocess.run(["openssl", "pkey", "-in", self.key, "-pubout", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        self.public_key = self.b64(der[-32:])
        self.inventory = {
            "hostname": name, "vcpu": 64, "memory_mib": 262144, "disk_mib": 1048576, "isolation": "none",
            "engine": {"name": "simulated", "version": "1"}, "is_simulated": True,
            "devices": [{"hardware_id": f"GPU-{name}-{i}", "index": i, "vendor": "nvidia", "vram_mib": 24564,
                         "model": "NVIDIA GeForce RTX 4090", "driver": "1", "compute": "8.9", "is_simulated": True}
                        for i in range(gpus)]}
        token = http.post("/v1/node-tokens", {"region": region})["token"]
        self.enrolment = {"token": token, "public_key": self.public_key, "name": name, "region": region,
                          "inventory": self.inventory}
        self.node_id = self.http.post("/v1/nodes", self.enrolment)["node_id"]
        self.known = ""

    @staticmethod
    def b64(data):
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def sign(self, text):
        path = os.path.join(self.folder, "text")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return self.b64(subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.key, "-in", path],
                                       check=True, capture_output=True).stdout)

    def headers(self, path, body):
        self.seq += 1
        digest = hashlib.sha256(body.encode()).hexdigest()
        text = f"undercut/sync/v1|POST|{path}|{self.node_id}|{self.boot}|{self.seq}|{digest}"
        return {"Undercut-Boot": self.boot, "Undercut-Seq": str(self.seq), "Undercut-Signature": self.sign(text),
                "Content-Type": "application/json"}

    def call(self, what, body):
        path, text = f"/v1/nodes/{self.node_id}/{what}", json.dumps(body)
        return self.http.call("POST", path, text, self.headers(path, text))

    def sync(self, price_usd="0.20", leases=(), receipts=(), hold_ms=0, **more):
        body = {"known": self.known, "hold_ms": hold_ms, "is_opted_in": True, "leases": list(leases),
                "receipts": list(receipts), "inventory_sha256": hashlib.sha256(
                    json.dumps(self.inventory).encode()).hexdigest(),
                "asks": [{"class": "rtx-4090", "price_uusd_per_device_hour": int(float(price_usd) * 1000000)}], **more}
        if self.seq == 0:
            body["inventory"] = self.inventory
        reply = self.call("sync", body)
        self.known = reply["desired_version"]
        return reply

    def sync_until(self, probe, timeout_s=15, **kwargs):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            reply = self.sync(hold_ms=500, **kwargs)
            if probe(reply):
                return reply
        self.test.fail("the desired state never became what was expected")


def main():
    unittest.main()
