"""Tenants never see one another's things: for every operation that takes an id, generated from
openapi.yaml, another tenant's id answers 404, exactly as an id that never was.
"""

import json
import unittest

from harness import ApiTest, HandNode

# A parameter of openapi.yaml -> what of the owner's stands behind it. Names that are public words
# (a class, a region, a round) are nobody's.
OWNED = {"workload", "workload_id", "name", "lease_id", "node_id", "key_id"}
NEVER_WAS = {"workload": "wl_00000000000000000000000000", "workload_id": "wl_00000000000000000000000000",
             "lease_id": "lse_00000000000000000000000000", "node_id": "node_00000000000000000000000000",
             "key_id": "key_00000000000000000000000000"}


class TenancyTest(ApiTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, owner = cls.stack.account("owner", 10)
        _, stranger = cls.stack.account("stranger", 10)
        cls.owner_key, cls.stranger_key = owner.key, stranger.key

    def setUp(self):
        super().setUp()
        self.owner, self.stranger = self.http(self.owner_key), self.http(self.stranger_key)
        if not hasattr(type(self), "things"):
            type(self).things = self.things_make()

    def things_make(self):
        """One of everything that an account can own, with a lease that another account's node runs."""
        _, operator = self.account("operator", 0)
        node = HandNode(self, operator, name="theirs")
        node.sync("0.20")
        workload = self.owner.post("/v1/workloads", self.manifest(name="secret-plan"))
        reply = node.sync_until(lambda r: r["leases"])
        own_node = HandNode(self, self.owner, name="own", region="us-east")
        return {"workload": workload["workload_id"], "workload_id": workload["workload_id"], "name": "secret-plan",
                "lease_id": reply["leases"][0]["lease_id"], "node_id": own_node.node_id,
                "key_id": self.owner.post("/v1/api-keys", {"name": "k", "scopes": ["workloads:read"]})["key_id"]}

    def operations(self):
        """Operations whose path names something that an account owns, and that an account may call."""
        for operation in self.contract.operations:
            if OWNED & set(operation.params) and operation.scope not in ("public", "node"):
                yield operation

    def path(self, operation, things):
        path = operation.path
        for name in operation.params:
            path = path.replace("{" + name + "}", things.get(name, "eu-west"))
        return path

    def test_another_tenants_id_is_not_found_in_every_operation(self):
        count = 0
        for operation in self.operations():
            if operation.operation_id == "workload_apply":
                continue  # a name of one's own namespace: see below
            with self.subTest(operation=operation.operation_id):
                status, _, body = self.stranger.raw(operation.method, self.path(operation, self.things),
                                                    operation.example())
                self.assertEqual((status, json.loads(body)["code"]), (404, "not_found"))
                theirs = json.loads(body)
                if all(name in NEVER_WAS for name in operation.params):
                    _, _, body = self.stranger.raw(operation.method, self.path(operation, NEVER_WAS), operation.example())
                    never = json.loads(body)
                    self.assertEqual({k: theirs[k] for k in ("code", "title", "status", "suggestion")},
                                     {k: never[k] for k in ("code", "title", "status", "suggestion")})
                count += 1
        self.assertGreaterEqual(count, 7)

    def test_names_are_private_to_an_account(self):
        for method in ("GET", "DELETE"):
            self.assertEqual(self.stranger.raw(method, "/v1/workloads/secret-plan")[0], 404)
        self.assertEqual(self.stranger.raw("GET", "/v1/workloads/secret-plan/logs")[0], 404)
        applied = self.stranger.put("/v1/workloads/secret-plan", self.manifest(name="secret-plan"))
        self.assertEqual(applied["change"], "created")
        self.assertNotEqual(applied["workload"]["workload_id"], self.things["workload_id"])
        self.stranger.delete("/v1/workloads/secret-plan")

    def test_lists_show_only_ones_own(self):
        theirs = [v for v in self.things.values() if "_" in v]
        for path in ("/v1/workloads", "/v1/leases", "/v1/leases?role=operator", "/v1/nodes", "/v1/asks", "/v1/api-keys",
                     "/v1/events?after=0", "/v1/ledger/entries", "/v1/leases?workload_id=" + self.things["workload_id"],
                     "/v1/events?after=0&workload_id=" + self.things["workload_id"]):
            with self.subTest(path=path):
                status, _, body = self.stranger.raw("GET", path)
                self.assertIn(status, (200, 404))
                for thing in theirs:
                    self.assertNotIn(thing, body.decode())

    def test_the_owner_still_has_everything(self):
        self.assertEqual(self.owner.get(f"/v1/workloads/{self.things['workload_id']}")["desired"], "run")
        self.assertEqual(self.owner.get(f"/v1/nodes/{self.things['node_id']}")["state"], "live")
        self.assertIn(self.things["key_id"], [k["key_id"] for k in self.owner.get("/v1/api-keys")["data"]
                                              if not k["revoked_at"]])

    def test_every_operation_with_a_scope_wants_credentials(self):
        count = 0
        for operation in self.contract.operations:
            if operation.scope in ("public", "node"):
                continue
            with self.subTest(operation=operation.operation_id):
                path = self.path(operation, self.things)
                for key in (None, "uc_live_wrong", "a.b.c", ""):
                    status, headers, _ = self.http(key).raw(operation.method, path, operation.example())
                    self.assertEqual(status, 401)
                    self.assertIn("Bearer", headers.get("WWW-Authenticate", ""))
                count += 1
        self.assertGreater(count, 15)

    def test_every_scope_is_asked_for(self):
        """A key with every scope but the one needed is refused."""
        all_scopes = self.contract.document["components"]["schemas"]["Scope"]["enum"]
        for operation in self.contract.operations:
            if operation.scope not in all_scopes:
                continue
            others = [s for s in all_scopes if s not in (operation.scope, "admin", "audit")]
            key = self.stranger.post("/v1/api-keys", {"name": "others", "scopes": others})["secret"]
            with self.subTest(operation=operation.operation_id):
                status, _, body = self.http(key).raw(operation.method, self.path(operation, self.things), operation.example(),
                                                     {"Idempotency-Key": '"k"'} if operation.method == "POST" else None)
                self.assertEqual((status, json.loads(body)["code"]), (403, "forbidden_scope"))


if __name__ == "__main__":
    unittest.main()
