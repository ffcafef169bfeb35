"""Tenants never see one another's things: for every operation of openapi.yaml that takes an id, another
tenant's id answers 404, exactly as an id that never was. And every operation asks for its scope.
"""

import json
import unittest

from contract import Contract
from harness import ApiCase, FakeNode, manifest

NEVER = "0" * 26
# A path parameter -> an id that never was. Other names are public words: a class, a region, a round.
NEVER_WAS = {"workload": "wl_" + NEVER, "workload_id": "wl_" + NEVER,
             "lease_id": "lse_" + NEVER, "node_id": "node_" + NEVER, "key_id": "key_" + NEVER}
WORDS = {"class": "rtx-4090", "region": "eu-west", "round": "1"}


class TenancyTest(ApiCase):
    """Ada has one of everything, and eve knows every id of hers."""

    @classmethod
    def prepare(cls):
        cls.contract = Contract()
        cls.ada, cls.eve = cls.account(), cls.account()
        cls.mine, theirs = cls.node(cls.ada, region="us-east"), cls.node()  # nobody buys in a lot where they sell
        workload = cls.ada.post("/v1/workloads", manifest(name="secret-plan"))
        lease_id = theirs.take(cls)[0]
        theirs.run(lease_id)
        theirs.log(lease_id, 0, "hello\n")
        cls.things = {"workload": workload["workload_id"], "workload_id": workload["workload_id"],
                      "lease_id": lease_id, "node_id": cls.mine.node_id,
                      "key_id": cls.ada.post("/v1/api-keys", {"name": "k", "scopes": ["money:read"]})["key_id"]}

    def owning(self):
        """Operations whose path names something that an account owns, and that an account may call."""
        for operation in self.contract.operations:
            if set(operation.path_names()) & set(NEVER_WAS) and operation.scope not in ("public", "node"):
                yield operation

    def test_another_tenants_id_is_not_found_as_an_id_that_never_was_in_every_operation(self):
        count = 0
        for operation in self.owning():
            if operation.id == "workload_apply":
                continue  # puts a name into one's own namespace: see below
            with self.subTest(operation=operation.id):
                name, answers = operation.path_names()[0], []
                for things in (self.things, NEVER_WAS):
                    status, headers, body = self.eve.raw(
                        operation.method, operation.path_with({**WORDS, **things}), operation.example())
                    problem = {k: v for k, v in json.loads(body).items() if k != "request_id"}
                    answers.append((status, headers.get("Content-Type"), problem))
                self.assertEqual((answers[0][0], answers[0][2]["code"]), (404, "not_found"))
                self.assertEqual(json.dumps(answers[0]).replace(self.things[name], "<id>"),
                                 json.dumps(answers[1]).replace(NEVER_WAS[name], "<id>"))
                count += 1
        self.assertGreaterEqual(count, 7)
        self.assertEqual(self.ada.get(f"/v1/workloads/{self.things['workload']}")["desired"], "run")
        self.assertEqual(self.ada.get(f"/v1/nodes/{self.things['node_id']}")["state"], "live")
        self.assertIn(self.things["key_id"], [k["key_id"] for k in self.ada.get("/v1/api-keys")["data"]
                                              if not k.get("revoked_at")])

    def test_names_are_private_to_an_account(self):
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/logs")):
            self.assertEqual(self.eve.raw(method, f"/v1/workloads/secret-plan{path}")[0], 404)
        applied = self.eve.put("/v1/workloads/secret-plan", manifest(name="secret-plan"))
        self.assertEqual(applied["change"], "created")
        self.assertNotEqual(applied["workload"]["workload_id"], self.things["workload"])
        self.eve.delete("/v1/workloads/secret-plan")

    def test_lists_and_streams_show_only_ones_own(self):
        for path in ("/v1/workloads", "/v1/leases", "/v1/leases?role=operator", "/v1/nodes", "/v1/asks",
                     "/v1/api-keys", "/v1/events?after=0", "/v1/ledger/entries",
                     "/v1/leases?workload_id=" + self.things["workload"],
                     "/v1/events?after=0&workload_id=" + self.things["workload"]):
            with self.subTest(path=path):
                status, _, body = self.eve.raw("GET", path)
                self.assertIn(status, (200, 404))
                for thing in self.things.values():
                    self.assertNotIn(thing, body.decode())

    def test_an_operator_does_not_learn_the_workload_and_a_tenant_not_the_operator(self):
        operator, tenant = self.account(0), self.account()
        node = self.node(operator, price=500000)
        made = tenant.post("/v1/workloads", manifest(name="private", env={"A": "a-secret"}))
        lease_id = node.take(self)[0]
        for path in (f"/v1/leases/{lease_id}", "/v1/leases?role=operator", "/v1/events?after=0", "/v1/ledger/entries"):
            text = json.dumps(operator.get(path))
            for hidden in ("private", "a-secret", tenant.account_id):
                self.assertNotIn(hidden, text, path)
        text = json.dumps([tenant.get(f"/v1/leases/{lease_id}"), tenant.get("/v1/events?after=0")])
        self.assertNotIn(operator.account_id, text)
        tenant.delete(f"/v1/workloads/{made['workload_id']}")

    def test_what_a_tenant_would_pay_is_sealed_from_the_machine_that_runs_it(self):
        tenant, node = self.account(), self.node(price=500000)
        made = tenant.post("/v1/workloads", manifest(
            env={"A": "a-secret"}, reserve_uusd_per_hour=3456789, budget_uusd=2345678, labels={"team": "team-red"}))
        (lease_id,) = node.take(self)
        (desired,) = [d for d in node.desired if d["lease_id"] == lease_id]
        self.assertEqual(desired["manifest"], {"image": "example.org/x:1", "env": {"A": "a-secret"}, "max_duration_s": 600})
        for hidden in ("3456789", "2345678", "team-red"):
            self.assertNotIn(hidden, json.dumps(desired))
        tenant.delete(f"/v1/workloads/{made['workload_id']}")

    def test_a_nodes_calls_need_that_nodes_signature(self):
        mine, path = self.mine, f"/v1/nodes/{self.mine.node_id}/sync"
        body = {"known": "", "is_opted_in": True, "leases": []}
        stranger = FakeNode(self.broker.url, self.eve)
        stranger.enrol()
        mine.sync()
        used = mine.seq
        rows = {
            "another node's key": lambda: mine.signed(path, body, secret=stranger.secret),
            "a sequence number seen before": lambda: mine.signed(path, body, seq=used),
            "an unknown node": lambda: mine.signed(f"/v1/nodes/{NEVER_WAS['node_id']}/sync", body),
            "no signature": lambda: mine.plain.raw("POST", path, body),
            "an API key instead": lambda: self.ada.raw("POST", path, body),
        }
        for what, call in rows.items():
            with self.subTest(what):
                status, _, data = call()
                self.assertIn((status, json.loads(data)["code"]), ((401, "unauthenticated"), (422, "invalid_field")))
        before = mine.boot
        mine.boot, mine.seq = "00000000-0000-4000-8000-000000000001", 0
        mine.sync()  # a new start of the agent supersedes the old one, for good
        self.assertEqual(mine.signed(path, body, boot=before, seq=1000)[0], 401)

    def test_every_operation_with_a_scope_wants_credentials(self):
        count = 0
        for operation in self.contract.operations:
            if operation.scope in ("public", "node"):
                continue
            with self.subTest(operation=operation.id):
                path = operation.path_with({**WORDS, **self.things})
                for key in (None, "uc_live_wrong", "a.b.c", ""):
                    status, headers, _ = self.broker.http(key).raw(operation.method, path, operation.example())
                    self.assertEqual(status, 401)
                    self.assertIn("Bearer", headers.get("WWW-Authenticate", ""))
                count += 1
        self.assertGreater(count, 15)

    def test_every_scope_is_asked_for_and_named(self):
        """A key with every scope but the one needed is refused."""
        all_scopes = self.contract.document["components"]["schemas"]["Scope"]["enum"]
        keys = {}
        for operation in self.contract.operations:
            if operation.scope not in all_scopes:
                continue
            if operation.scope not in keys:
                keys[operation.scope] = self.key_with(
                    self.eve, *[s for s in all_scopes if s not in (operation.scope, "admin", "audit")])
            with self.subTest(operation=operation.id):
                status, _, body = keys[operation.scope].raw(
                    operation.method, operation.path_with({**WORDS, **self.things}), operation.example(),
                    {"Idempotency-Key": "k"} if operation.method == "POST" else None)
                problem = json.loads(body)
                self.assertEqual((status, problem["code"]), (403, "forbidden_scope"))
                self.assertIn(operation.scope, problem["detail"])


if __name__ == "__main__":
    unittest.main()
