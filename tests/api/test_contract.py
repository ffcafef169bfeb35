"""openapi.yaml, operation by operation: each is called, each answer fits, and what holds for all of them."""

import json
import unittest
import urllib.request

from contract import Contract
from harness import ApiCase, FakeNode, manifest

class ContractTest(ApiCase):
    """Ada has one of everything."""

    settings = {"sealed_age_ms": 300}

    @classmethod
    def prepare(cls):
        cls.contract = Contract()
        cls.ada = cls.account()
        cls.bob = cls.account(0)  # nobody buys in a lot where they sell
        cls.made_node = cls.node(cls.bob)
        cls.key = cls.ada.post("/v1/api-keys", {"name": "spare", "scopes": ["money:read"]})
        cls.workload = cls.ada.post("/v1/workloads", manifest(name="mine"))
        cls.lease_id = cls.made_node.take(cls)[0]
        cls.made_node.run(cls.lease_id)
        cls.made_node.log(cls.lease_id, 0, "hello\n")

    # ---- coverage
    def drive(self, operation_id, call):
        """Calls, and fails unless an answer of 2xx of just this operation was noted."""
        before = len(self.exchanges)
        value = call()
        fits = [e for e in self.exchanges[before:] if e[2] < 300
                and (o := self.contract.find(e[0], e[1])) and o.id == operation_id]
        self.assertTrue(fits, f"{operation_id} was not called well")
        return value

    def test_every_operation_answers_as_documented(self):
        ada, node = self.ada, self.made_node
        wid, name = self.workload["workload_id"], "mine"
        account = self.account()
        noting = self.broker.http()
        node.plain.on_exchange = noting.on_exchange
        spare = FakeNode(self.broker.url, account)
        spare.plain.on_exchange = noting.on_exchange

        def by_itself():
            """A workload that takes bids, and pays too little to be won."""
            return ada.post("/v1/workloads", manifest(reserve_uusd_per_hour=2, placement={
                "regions": [spare.region], "exclude_node_ids": [node.node_id]}))["workload_id"]
        lot = "region=eu-west&device_class=cpu-1c2g&block_size=1&tier=flexible&trust=unverified"
        rows = {
            "account_create": lambda: noting.post("/v1/accounts", {"name": "x", "email": "a@b.org"}),
            "account_get": lambda: ada.get("/v1/account"),
            "api_key_create": lambda: ada.post("/v1/api-keys", {"name": "y", "scopes": ["money:read"]}),
            "api_key_list": lambda: ada.get("/v1/api-keys?limit=1"),
            "api_key_delete": lambda: ada.delete(f"/v1/api-keys/{self.key['key_id']}"),
            "token_create": lambda: ada.post("/v1/tokens", {"scopes": ["money:read"], "ttl_s": 60}),
            "workload_create": lambda: ada.post("/v1/workloads", manifest(name="other")),
            "workload_list": lambda: ada.get("/v1/workloads?limit=1"),
            "workload_get": lambda: ada.get(f"/v1/workloads/{wid}?expand=leases"),
            "workload_apply": lambda: ada.put(f"/v1/workloads/{name}", manifest(labels={"a": "b"})),
            "workload_logs": lambda: ada.get(f"/v1/workloads/{wid}/logs?format=ndjson"),
            "event_stream": lambda: ada.get("/v1/events?after=0"),
            "lease_list": lambda: self.bob.get("/v1/leases?role=operator&limit=1"),
            "lease_get": lambda: ada.get(f"/v1/leases/{self.lease_id}"),
            "workload_explain": lambda: ada.get(f"/v1/workloads/{wid}/explain"),
            "workload_delete": lambda: ada.delete(f"/v1/workloads/{wid}"),
            "node_token_create": lambda: account.post("/v1/node-tokens", {"region": "us-east"}),
            "node_enrol": spare.enrol,
            "node_sync": spare.sync,
            "node_logs": lambda: spare.answered(f"/v1/nodes/{spare.node_id}/logs", {"chunks": []}),
            "node_list": lambda: self.bob.get("/v1/nodes"),
            "node_get": lambda: self.bob.get(f"/v1/nodes/{node.node_id}"),
            "direct_list": lambda: account.get(f"/v1/nodes/{spare.node_id}/direct-workloads"),
            "bid_place": lambda: account.put(f"/v1/nodes/{spare.node_id}/bids/{by_itself()}", {"price_uusd_per_hour": 5}),
            "bid_list": lambda: account.get("/v1/bids"),
            "bid_delete": lambda: account.delete(
                f"/v1/nodes/{spare.node_id}/bids/{account.get('/v1/bids')['data'][0]['workload_id']}"),
            "node_reclaim": lambda: account.post(f"/v1/nodes/{spare.node_id}/reclaim", {}),
            "node_resume": lambda: account.delete(f"/v1/nodes/{spare.node_id}/reclaim"),
            "node_delete": lambda: account.delete(f"/v1/nodes/{spare.node_id}"),
            "ask_put": lambda: account.put("/v1/asks/rtx-4090/us-east", {"price_uusd_per_device_hour": 5}),
            "ask_list": lambda: account.get("/v1/asks"),
            "ask_explain": lambda: self.bob.get("/v1/asks/cpu-1c2g/eu-west/explain"),
            "ask_backtest": lambda: self.bob.get(
                "/v1/asks/cpu-1c2g/eu-west/backtest?price_uusd_per_device_hour=9000"),
            "ask_delete": lambda: account.delete("/v1/asks/rtx-4090/us-east"),
            "round_list": lambda: noting.get("/v1/rounds?awarded=true"),
            "round_get": lambda: self.audited_round(noting),
            "round_openings": lambda: self.openings(noting),
            "log_head": lambda: noting.get("/v1/log/head"),
            "log_leaves": lambda: noting.get("/v1/log/leaves?limit=2"),
            "log_consistency": lambda: noting.get("/v1/log/consistency?before=1&size=1"),
            "market_depth": lambda: self.until(
                "the depth", lambda: noting.raw("GET", f"/v1/market/depth?{lot}")[0] == 200),
            "market_candles": lambda: noting.get(f"/v1/market/candles?{lot}&step=1m"),
            "market_stats": lambda: noting.get(f"/v1/market/stats?{lot}"),
            "market_cheapest": lambda: noting.get("/v1/market/cheapest"),
            "price_list": lambda: noting.get("/v1/prices?region=eu-west"),
            "device_class_list": lambda: noting.get("/v1/device-classes"),
            "region_list": lambda: noting.get("/v1/regions"),
            "balance_get": lambda: ada.get("/v1/balance"),
            "ledger_list": lambda: ada.get("/v1/ledger/entries?limit=2"),
            "admin_credit": lambda: self.stack.admin().post(
                "/v1/admin/credits", {"account_id": ada.account_id, "amount_uusd": 1, "memo": "one"},
                {"Idempotency-Key": "once"}),
            "healthz": lambda: noting.get("/healthz"),
            "readyz": lambda: noting.get("/readyz"),
            "metrics": lambda: noting.get("/metrics"),
            "openapi": lambda: noting.get("/openapi.json"),
            "jwks": lambda: noting.get("/.well-known/jwks.json"),
        }
        missing = {o.id for o in self.contract.operations} - set(rows)
        self.assertEqual(missing, set(), "operations that this test never calls")
        for operation_id, call in rows.items():
            with self.subTest(operation=operation_id):
                self.drive(operation_id, call)

    def audited_round(self, noting):
        """The same round for anybody and for the auditor, who sees ladder and record."""
        number = noting.get("/v1/rounds?awarded=true")["data"][-1]["round"]
        public = noting.get(f"/v1/rounds/{number}")
        audited = self.stack.admin().get(f"/v1/rounds/{number}")
        self.assertNotIn("record_base64", public)
        self.assertTrue(all("ladder" not in lot for lot in public["lots"]))
        self.assertTrue(audited["record_base64"])
        sold = [b for lot in audited["lots"] for b in lot["ladder"]["supply"] if b["is_sold"]]
        self.assertEqual(len(sold), audited["awards_count"])
        return public

    def openings(self, noting):
        number = noting.get("/v1/rounds?awarded=true")["data"][-1]["round"]
        return noting.get(f"/v1/rounds/{number}/openings")

    def test_the_served_document_is_the_one_in_the_repository(self):
        served = self.broker.http().get("/openapi.json")
        self.assertEqual(set(served["paths"]), set(self.contract.document["paths"]))
        self.assertEqual(served["components"]["schemas"], json.loads(json.dumps(
            self.contract.document["components"]["schemas"], default=str)))

    # ---- every operation alike
    def test_unknown_fields_are_refused_with_their_pointer(self):
        for operation in self.contract.operations:
            if not operation.has_body or operation.scope in ("node", "admin"):
                continue
            path = operation.path_with({"workload": "w", "class": "rtx-4090", "region": "eu-west",
                                        "node_id": "node_" + "0" * 26, "workload_id": "wl_" + "0" * 26})
            with self.subTest(operation=operation.id):
                status, _, body = self.ada.raw(operation.method, path, {"nonsense": 1})
                problem = json.loads(body)
                self.assertEqual((status, problem["code"]), (422, "invalid_field"), problem)
                self.assertIn(("/nonsense", "unknown"), [(e["pointer"], e["code"]) for e in problem["errors"]])

    def test_head_is_get_without_a_body_and_options_lists_the_methods(self):
        for path in ("/v1/regions", "/healthz"):
            status, headers, body = self.ada.raw("HEAD", path)
            self.assertEqual((status, body), (200, b""))
            self.assertTrue(headers["Request-Id"].startswith("req_"))
        status, headers, body = self.ada.raw("OPTIONS", f"/v1/workloads/{self.workload['workload_id']}")
        self.assertEqual((status, body), (204, b""))
        self.assertEqual({m.strip() for m in headers["Allow"].split(",")}, {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
        status, headers, body = self.ada.raw("PATCH", "/v1/account")
        self.assertEqual((status, json.loads(body)["code"]), (405, "method_not_allowed"))
        self.assertIn("GET", headers["Allow"])

    def test_lists_page_through_without_gaps_or_repeats(self):
        http = self.account()
        made = [http.post("/v1/api-keys", {"name": f"k{i}", "scopes": ["money:read"]})["key_id"] for i in range(7)]
        seen, target = [], "/v1/api-keys?limit=3"
        while target:
            status, headers, body = http.raw("GET", target)
            page = json.loads(body)
            seen += [k["key_id"] for k in page["data"]]
            self.assertEqual(page["has_more"], page["next_cursor"] is not None)
            link = headers.get("Link")
            self.assertEqual(link is not None, page["has_more"])
            target = f"/v1/api-keys?limit=3&cursor={page['next_cursor']}" if page["has_more"] else None
            if target:
                self.assertIn(page["next_cursor"], link)
        self.assertEqual(seen[:7], made[::-1])
        self.assertEqual(len(seen), 8)  # and the account's first key
        self.refused(422, "invalid_field", http.get, "/v1/api-keys?cursor=nonsense")
        self.refused(422, "invalid_field", http.get, "/v1/api-keys?limit=0")
        self.refused(422, "invalid_field", http.get, "/v1/api-keys?limit=1&limit=2")
        self.refused(422, "invalid_field", http.get, "/v1/api-keys?colour=red")

    def test_bodies_must_be_small_json_of_the_right_type(self):
        http = self.account()
        rows = [("{", {}, 400, "malformed_request"), ('{"name":"a","name":"b"}', {}, 400, "malformed_request"),
                ('{"name":"a"}', {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
                ('{"name":"' + "x" * 262144 + '"}', {}, 413, "body_too_large"),
                ("[" * 100 + "]" * 100, {}, 400, "malformed_request"), ("[]", {}, 422, "invalid_field"),
                ('{"name":1}', {}, 422, "invalid_field"), ("", {}, 400, "malformed_request")]
        for body, headers, status, code in rows:
            with self.subTest(body=body[:40]):
                got, _, data = http.raw("POST", "/v1/accounts", body, headers)
                self.assertEqual((got, json.loads(data)["code"]), (status, code))

    def test_a_public_read_may_come_from_any_origin_and_a_private_one_may_not(self):
        for path, is_public in (("/v1/prices", True), ("/v1/account", False)):
            request = urllib.request.Request(self.broker.url + path, headers={
                "Origin": "https://example.org", "Authorization": f"Bearer {self.ada.key}"})
            with urllib.request.urlopen(request, timeout=10) as reply:
                self.assertEqual(reply.headers.get("Access-Control-Allow-Origin"), "*" if is_public else None)


class RateTest(ApiCase):
    settings = {"rate_per_minute": 30, "rate_public_per_minute": 20}

    def test_too_many_requests_are_429_with_the_seconds_to_wait_but_a_stop_never_is(self):
        http = self.broker.http(self.stack.admin_key)
        statuses, last = [], None
        for _ in range(40):
            status, headers, body = http.raw("GET", "/v1/account")
            statuses.append(status)
            last = (headers, body)
        self.assertEqual(statuses[0], 200)
        self.assertEqual(statuses[-1], 429)
        headers, body = last
        self.assertEqual(json.loads(body)["code"], "rate_limited")
        self.assertTrue(1 <= int(headers["Retry-After"]) <= 60)
        self.assertRegex(headers["RateLimit-Policy"], r'^"default";q=30;w=60$')
        self.assertRegex(headers["RateLimit"], r'^"default";r=0;t=\d+$')
        for _ in range(40):
            status, _, _ = http.raw("DELETE", f"/v1/workloads/{'wl_' + '0' * 26}")
            self.assertEqual(status, 404)


if __name__ == "__main__":
    unittest.main()
