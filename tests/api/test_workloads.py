"""The life of a workload as its owner sees it: posted, awarded, run, changed, stopped, and refused."""

import datetime
import json
import time
import unittest

import yaml

from harness import ApiCase, manifest, promise_holds, simulated

MS = 1000


def in_s(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class LifeTest(ApiCase):
    """Real agents with the simulated runner."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        _, cls.operator = cls.stack.account("operator")
        cls.stack.agent_add("sim", "eu-west", cls.operator.key, price="0.30", gpus=4, runner="simulated")
        _, cls.tenant = cls.stack.account("tenant", 100, mode="test")

    def post(self, query="", **more):
        return self.tenant.post(f"/v1/workloads{query}", simulated(**more))

    def test_a_workload_posted_as_json_runs_and_completes(self):
        made = self.post("?wait_for=running&timeout_s=20", env={"UNDERCUT_SIM_RUN_S": "1"})
        self.assertIn(made["state"], ("running", "stopped"))
        done = self.tenant.get(f"/v1/workloads/{made['workload_id']}?wait_for=ended&timeout_s=20&expand=leases")
        self.assertEqual((done["state"], done["status_reason"], done["terminal"]), ("stopped", "completed", True))
        (lease,) = done["leases"]
        self.assertEqual((lease["state"], lease["close_reason"], lease["exit_code"], lease["is_simulated"]),
                         ("closed", "completed", 0, True))
        self.assertTrue(900 <= lease["billed_ms"] <= 3000, lease)
        self.assertEqual(done["escrow_uusd"], 0)
        self.assertEqual(done["spent_uusd"], lease["gross_uusd"])

    def test_a_workload_posted_as_yaml_is_the_same_workload(self):
        text = "# a comment\n" + yaml.safe_dump(simulated(name="from-yaml", env={"UNDERCUT_SIM_RUN_S": "0"}))
        status, _, body = self.tenant.raw("POST", "/v1/workloads?wait_for=ended&timeout_s=20", text,
                                          {"Content-Type": "application/yaml"})
        made = json.loads(body)
        self.assertEqual((status, made["name"], made["status_reason"]), (201, "from-yaml", "completed"))
        self.assertEqual(made["manifest"]["resources"], {"device": {"count": 1, "models": ["rtx-4090"]}})
        status, _, body = self.tenant.raw("POST", "/v1/workloads", "a: &x 1\nb: *x\n", {"Content-Type": "application/yaml"})
        self.assertEqual((status, json.loads(body)["code"]), (400, "malformed_request"))

    def test_a_command_that_fails_is_told_with_its_exit_code(self):
        made = self.post("?wait_for=ended&timeout_s=20", env={"UNDERCUT_SIM_RUN_S": "0", "UNDERCUT_SIM_EXIT": "3"})
        self.assertEqual((made["state"], made["status_reason"]), ("failed", "command_failed"))
        lease = self.tenant.get(f"/v1/leases?workload_id={made['workload_id']}")["data"][0]
        self.assertEqual((lease["close_reason"], lease["exit_code"]), ("command_failed", 3))

    def test_stopping_is_idempotent_and_ends_the_lease(self):
        made = self.post("?wait_for=running&timeout_s=20", max_duration_s=600)
        path = f"/v1/workloads/{made['workload_id']}"
        self.assertEqual(self.tenant.raw("DELETE", path)[0], 202)
        self.assertIn(self.tenant.raw("DELETE", path)[0], (202, 204))
        done = self.until_state(self.tenant, made["workload_id"], "stopped")
        self.assertEqual((done["status_reason"], done["leases"][0]["close_reason"]), ("stopped_by_owner",) * 2)
        self.assertEqual(self.tenant.raw("DELETE", path)[0], 204)
        self.assertEqual(self.tenant.get(path)["state"], "stopped")  # and stays readable

    def test_a_lease_ends_at_max_duration(self):
        made = self.post("?wait_for=ended&timeout_s=30", max_duration_s=2, env={"UNDERCUT_SIM_RUN_S": "60"})
        self.assertEqual(made["status_reason"], "max_duration_reached")
        lease = self.tenant.get(f"/v1/leases?workload_id={made['workload_id']}")["data"][0]
        self.assertLessEqual(lease["billed_ms"], 2000)

    def test_award_now_leases_in_the_request(self):
        def is_awarded_at_once():
            """A round that begins in the same moment may be first, and a busy broker answers without a lease."""
            made = self.post(award="now", env={"UNDERCUT_SIM_RUN_S": "60"})
            leases = self.tenant.get(f"/v1/leases?workload_id={made['workload_id']}")["data"]
            self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
            self.tenant.get(f"/v1/workloads/{made['workload_id']}?wait_for=ended&timeout_s=20")
            return made["state"] in ("starting", "running") and \
                self.broker.http().get(f"/v1/rounds/{leases[0]['round']}")["kind"] == "now"
        self.until("an award in the request, by a clearing of its own", is_awarded_at_once)

    def test_a_failed_command_is_tried_again_when_the_owner_wants_that(self):
        made = self.post(restart="on_failure", env={"UNDERCUT_SIM_RUN_S": "0", "UNDERCUT_SIM_EXIT": "1"})
        path = f"/v1/leases?workload_id={made['workload_id']}"
        self.until("a second lease", lambda: len(self.tenant.get(path)["data"]) >= 2, 20)
        epochs = sorted(lease["epoch"] for lease in self.tenant.get(path)["data"])
        self.assertEqual(epochs, list(range(1, len(epochs) + 1)))
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
        self.until_state(self.tenant, made["workload_id"], "stopped", "failed")

    def test_environment_reaches_the_agent_and_secrets_are_never_shown_again(self):
        made = self.post(env={"UNDERCUT_SIM_RUN_S": "1"}, secrets={"TOKEN": "s3cr3t-value"},
                         registry_auth={"username": "u", "password": "p4ssw0rd"})
        path = f"/v1/workloads/{made['workload_id']}?expand=leases"
        seen = json.dumps([made, self.tenant.get(path), self.tenant.get("/v1/workloads"),
                           self.tenant.get("/v1/events?after=0")])
        dump = self.sql("select row_to_json(w) from workloads w")
        for hidden in ("s3cr3t-value", "p4ssw0rd"):
            self.assertNotIn(hidden, seen)
            self.assertNotIn(hidden, dump)


class PostTest(ApiCase):
    """Posting, reading and changing, with nobody to run it unless a test brings a node."""

    def setUp(self):
        super().setUp()
        self.tenant = self.account()

    def names(self, query=""):
        return [w["name"] for w in self.tenant.get(f"/v1/workloads{query}")["data"]]

    # ---- dry runs and refusals
    def test_a_dry_run_says_what_would_happen_and_stores_nothing(self):
        dry = self.tenant.post("/v1/workloads?dry_run=true", manifest(replicas=3))
        self.assertEqual((dry["change"], dry["replicas"], dry["min_replicas"], dry["is_affordable"]),
                         ("created", 3, 3, True))
        self.assertEqual(dry["hold_uusd"], 3 * 600000)
        self.assertEqual(dry["net_reserve_uusd_per_hour"], 3272727)  # what is left below a fee of 10 %
        self.assertTrue(dry["lots"])
        poor = self.account(0)
        self.assertFalse(poor.post("/v1/workloads?dry_run=true", manifest())["is_affordable"])
        self.assertEqual(self.names(), [])
        self.assertEqual(self.tenant.get("/v1/balance")["wallet_uusd"], 100000000)

    def test_an_empty_wallet_is_402_and_stores_nothing(self):
        poor = self.account(0)
        problem = self.refused(402, "insufficient_funds", poor.post, "/v1/workloads", manifest())
        self.assertIn("0.6", problem["detail"])
        self.assertFalse(problem["retryable"])
        self.assertEqual(poor.get("/v1/workloads")["data"], [])
        just = self.account(0.6)
        just.post("/v1/workloads", manifest())
        self.assertEqual(just.get("/v1/balance")["wallet_uusd"], 0)
        self.refused(402, "insufficient_funds", just.post, "/v1/workloads", manifest())

    def test_parts_that_are_not_built_are_refused_by_name(self):
        rows = {"/volumes": {"volumes": []}, "/exclusive": {"exclusive": True},
                "/placement/trust_min": {"placement": {"trust_min": "attested"}},
                "/ports/0/public": {"ports": [{"container_port": 80, "public": True}]}}
        for pointer, change in rows.items():
            with self.subTest(pointer=pointer):
                problem = self.refused(422, "not_supported_yet", self.tenant.post, "/v1/workloads", manifest(**change))
                self.assertEqual([e["pointer"] for e in problem["errors"]], [pointer])
        problem = self.refused(422, "tier_closed", self.tenant.post, "/v1/workloads", manifest(tier="guaranteed"))
        self.assertEqual([e["pointer"] for e in problem["errors"]], ["/tier"])
        self.tenant.post("/v1/workloads?dry_run=true", manifest(exclusive=False, ports=[{"container_port": 80}],
                                                                tier="spot"))

    def test_a_malformed_manifest_names_each_bad_field(self):
        rows = {"/image": {"image": None}, "/resources": {"resources": None}, "/replicas": {"replicas": 101},
                "/min_replicas": {"replicas": 2, "min_replicas": 3}, "/name": {"name": "Bad Name"},
                "/resources/cpu/vcpu": {"resources": {"cpu": {"vcpu": 0, "memory_mib": 64}}},
                "/env/1BAD": {"env": {"1BAD": "x"}}, "/labels/a": {"labels": {"a": 1}},
                "/deadline": {"deadline": "2020-01-01T00:00:00Z"}, "/restart": {"restart": "sometimes"},
                "/placement/regions/0": {"placement": {"regions": ["atlantis"]}},
                "/reserve_uusd_per_hour": {"reserve_uusd_per_hour": 0},
                "/reserve_usd_per_hour": {"reserve_uusd_per_hour": None, "reserve_usd_per_hour": "0"},
                "/readiness/http_get/port": {"readiness": {"http_get": {"port": 0}}},
                "/secrets/A": {"env": {"A": "x"}, "secrets": {"A": "y"}},
                "/placement/trust_min": {"placement": {"trust_min": "simulated"}}}
        for pointer, change in rows.items():
            with self.subTest(pointer=pointer):
                problem = self.refused(422, "invalid_field", self.tenant.post, "/v1/workloads", manifest(**change))
                self.assertIn(pointer, [e["pointer"] for e in problem["errors"]])
        problem = self.refused(422, "invalid_field", self.tenant.post, "/v1/workloads",
                               manifest(resources={}, reserve_usd_per_hour="1"))
        self.assertGreaterEqual(len(problem["errors"]), 2)
        self.refused(422, "unplaceable", self.tenant.post, "/v1/workloads",
                     manifest(resources={"device": {"count": 1, "vram_mib_min": 9999999}}))
        self.refused(422, "unplaceable", self.tenant.post, "/v1/workloads",
                     manifest(resources={"device": {"count": 1, "models": ["voodoo-2"]}}))
        self.assertEqual(self.names(), [])

    # ---- names and lists
    def test_a_name_is_unique_among_live_workloads_and_free_again_after_the_end(self):
        first = self.tenant.post("/v1/workloads", manifest(name="same"))
        self.refused(409, "name_taken", self.tenant.post, "/v1/workloads", manifest(name="same"))
        self.account().post("/v1/workloads", manifest(name="same"))  # names are per account
        self.tenant.delete("/v1/workloads/same")
        second = self.tenant.post("/v1/workloads", manifest(name="same"))
        self.assertEqual(self.tenant.get("/v1/workloads/same")["workload_id"], second["workload_id"])
        self.tenant.delete("/v1/workloads/same")
        self.assertEqual(self.tenant.get("/v1/workloads/same")["workload_id"], second["workload_id"])
        self.assertEqual(self.tenant.get(f"/v1/workloads/{first['workload_id']}")["state"], "stopped")
        nameless = self.tenant.post("/v1/workloads", manifest())
        self.assertRegex(nameless["name"], "^[a-z0-9][a-z0-9-]{0,62}$")

    def test_the_list_is_newest_first_and_filters_by_state_name_and_label(self):
        for i in range(5):
            self.tenant.post("/v1/workloads", manifest(name=f"w{i}", labels={"team": f"t{i % 2}", "n": str(i)}))
        self.tenant.delete("/v1/workloads/w4")
        self.assertEqual(self.names(), ["w4", "w3", "w2", "w1", "w0"])
        self.assertEqual(self.names("?label=team%3Dt0"), ["w4", "w2", "w0"])
        self.assertEqual(self.names("?label=team%3Dt0&state=auctioning"), ["w2", "w0"])
        self.assertEqual(self.names("?state=stopped"), ["w4"])
        self.assertEqual(self.names("?name=w1"), ["w1"])
        self.assertEqual(self.names("?label=team%3Dnobody"), [])
        self.refused(422, "invalid_field", self.tenant.get, "/v1/workloads?label=team")
        for state in ("happy", "paused"):  # nothing is ever paused
            self.refused(422, "invalid_field", self.tenant.get, f"/v1/workloads?state={state}")
        pages, query = [], "?limit=2"
        while query:
            page = self.tenant.get(f"/v1/workloads{query}")
            pages.append([w["name"] for w in page["data"]])
            query = f"?limit=2&cursor={page['next_cursor']}" if page["has_more"] else None
        self.assertEqual(pages, [["w4", "w3"], ["w2", "w1"], ["w0"]])

    # ---- versions
    def test_an_etag_changes_with_the_workload_and_saves_the_body(self):
        made = self.tenant.post("/v1/workloads", manifest(name="tagged"))
        path = f"/v1/workloads/{made['workload_id']}"
        _, headers, _ = self.tenant.raw("GET", path)
        tag = headers["ETag"]
        self.assertEqual(tag, f'"{made["version"]}"')
        self.assertEqual(self.tenant.raw("GET", path, headers={"If-None-Match": tag})[0], 304)
        other_key = self.key_with(self.tenant, "workloads:read")
        self.assertEqual(other_key.raw("GET", path, headers={"If-None-Match": f'"x", {tag}'})[0], 304)
        self.tenant.put("/v1/workloads/tagged", manifest(labels={"a": "b"}), {"If-Match": tag})
        self.assertEqual(self.tenant.raw("GET", path, headers={"If-None-Match": tag})[0], 200)
        self.refused(412, "precondition_failed", self.tenant.put, "/v1/workloads/tagged",
                     manifest(labels={"a": "c"}), {"If-Match": tag})
        status, _, body = self.tenant.raw("DELETE", path, headers={"If-Match": tag})
        self.assertEqual((status, json.loads(body)["code"]), (412, "precondition_failed"))
        self.assertEqual(self.tenant.get(path)["labels"], {"a": "b"})

    def test_apply_is_idempotent_changes_in_place_what_it_can_and_replaces_the_rest(self):
        base = manifest(command=["sleep", "1"])
        def apply(query="", **more):
            status, _, body = self.tenant.raw("PUT", f"/v1/workloads/app{query}", {**base, **more})
            value = json.loads(body)
            return status, value["change"], value["workload"] and value["workload"]["workload_id"]
        self.assertEqual(apply("?dry_run=true"), (200, "created", None))
        status, change, first = apply()
        self.assertEqual((status, change), (201, "created"))
        self.assertEqual(apply(), (200, "none", first))
        self.assertEqual(apply("?dry_run=true", labels={"a": "b"}), (200, "updated", first))
        self.assertEqual(apply(labels={"a": "b"}), (200, "updated", first))
        self.assertEqual(apply(labels={"a": "b"}), (200, "none", first))
        self.assertEqual(apply(labels={"a": "b"}, reserve_uusd_per_hour=7200000)[1:], ("updated", first))
        self.assertEqual(self.tenant.get("/v1/balance")["escrow_uusd"], 1200000)
        self.assertEqual(apply(labels={"a": "b"}, reserve_uusd_per_hour=7200000, budget_uusd=5000000,
                               max_duration_s=900)[1:], ("updated", first))
        self.assertEqual(apply("?dry_run=true", image="other:2")[:2], (200, "replaced"))
        status, change, second = apply(image="other:2")
        self.assertEqual((status, change), (200, "replaced"))
        self.assertNotEqual(first, second)
        old = self.until_state(self.tenant, first, "stopped")
        self.assertEqual(old["status_reason"], "replaced")
        self.assertEqual(self.tenant.get("/v1/workloads/app")["workload_id"], second)
        self.assertEqual(self.tenant.get("/v1/balance")["escrow_uusd"], 600000)
        self.refused(422, "invalid_field", self.tenant.put, "/v1/workloads/app", {**base, "name": "other"})

    def test_32_applies_of_one_new_name_make_one_workload(self):
        answers = self.at_once(32, lambda _: self.tenant.put("/v1/workloads/once", manifest()))
        changes = [a["change"] if isinstance(a, dict) else a.problem["code"] for a in answers]
        self.assertEqual(changes.count("created"), 1, changes)
        self.assertLessEqual(set(changes), {"created", "none", "conflict"})
        self.assertEqual(self.names("?name=once"), ["once"])

    # ---- the market, as one sees it from here
    def test_the_award_goes_to_the_cheapest_at_the_second_price(self):
        cheap, dear = self.node(price=1000000), self.node(price=2000000)
        made = self.tenant.post("/v1/workloads", manifest())
        lease_id = cheap.take(self)[0]
        lease = self.tenant.get(f"/v1/leases/{lease_id}")
        self.assertEqual(lease["node_id"], cheap.node_id)
        self.assertTrue(1000000 <= lease["price_uusd_per_hour"] <= 2000000, lease)
        self.assertEqual(lease["gross_uusd_per_hour"], lease["price_uusd_per_hour"] * 11 // 10)
        dear.step()
        self.assertEqual(dear.leases, {})
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")

    def test_a_price_under_every_ask_stays_in_the_auction_until_its_deadline_and_costs_nothing(self):
        node = self.node(price=5000000)
        made = self.tenant.post("/v1/workloads", manifest(reserve_uusd_per_hour=100000))
        ends = self.tenant.post("/v1/workloads", manifest(reserve_uusd_per_hour=100000, deadline=in_s(4),
                                                          max_duration_s=1, price_policy="limit"))
        done = self.until_state(self.tenant, ends["workload_id"], "failed", timeout_s=30)
        self.assertIn(done["status_reason"], ("no_capacity_at_price", "deadline_passed"))
        self.assertEqual(done["status_reason"], "no_capacity_at_price")
        self.assertEqual((done["leases"], done["spent_uusd"], done["escrow_uusd"]), ([], 0, 0))
        waiting = self.tenant.get(f"/v1/workloads/{made['workload_id']}")
        self.assertEqual((waiting["state"], waiting["spent_uusd"]), ("auctioning", 0))
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
        self.assertEqual(self.tenant.get("/v1/balance")["wallet_uusd"], 100000000)

    def test_a_gang_starts_with_min_replicas_or_not_at_all(self):
        node = self.node(slots=2)
        gang = self.tenant.post("/v1/workloads", manifest(name="gang", replicas=3))
        some = self.tenant.post("/v1/workloads", manifest(name="some", replicas=3, min_replicas=2))
        node.take(self, 2)
        self.assertEqual({d["workload_id"] for d in node.desired}, {some["workload_id"]})
        self.assertEqual(self.tenant.get(f"/v1/workloads/{gang['workload_id']}")["replicas_auctioning"], 3)
        node.run(*node.leases)
        state = self.until_state(self.tenant, some["workload_id"], "running")
        self.assertEqual((state["replicas_running"], state["replicas_auctioning"]), (2, 1))
        second = self.node(slots=4)
        second.take(self, 4)
        self.assertEqual(sorted(d["replica_index"] for d in second.desired if d["workload_id"] == gang["workload_id"]),
                         [0, 1, 2])
        for name in ("gang", "some"):
            self.tenant.delete(f"/v1/workloads/{name}")

    def test_an_ask_moves_with_the_api_and_a_node_that_disagrees_is_not_sold(self):
        node = self.node(price=3000000)
        asks = node.http.get("/v1/asks")["data"]
        self.assertEqual([(a["class"], a["region"], a["price_uusd_per_device_hour"]) for a in asks],
                         [("cpu-1c2g", "eu-west", 3000000)])
        stored = node.http.put("/v1/asks/cpu-1c2g/eu-west", {"price_uusd_per_device_hour": 1000000})
        self.assertEqual(stored["ask"]["price_uusd_per_device_hour"], 1000000)
        self.assertGreater(stored["promise"]["round"], 0)
        self.assertEqual(node.sync()["asks"][0]["status"], "mismatch")
        self.tenant.post("/v1/workloads", manifest(name="mm"))
        node.price = 1000000
        self.assertEqual(node.sync()["asks"][0]["status"], "standing")
        lease_id = node.take(self)[0]
        self.assertGreaterEqual(self.tenant.get(f"/v1/leases/{lease_id}")["price_uusd_per_hour"], 1000000)
        node.http.delete("/v1/asks/cpu-1c2g/eu-west")
        self.assertEqual(node.http.get("/v1/asks")["data"], [])
        self.tenant.delete("/v1/workloads/mm")

    def test_a_retired_nodes_leases_are_auctioned_again_elsewhere(self):
        first = self.node(price=1000000)
        made = self.tenant.post("/v1/workloads", manifest())
        lease_id = first.take(self)[0]
        first.run(lease_id)
        second = self.node(price=2000000)
        first.retire()
        moved = second.take(self)[0]
        old = self.until_closed(lease_id)
        self.assertEqual(old["close_reason"], "node_withdrawn")
        self.assertEqual(self.tenant.get(f"/v1/leases/{moved}")["epoch"], old["epoch"] + 1)
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")

    def until_closed(self, lease_id):
        self.until(f"{lease_id} to close", lambda: self.tenant.get(f"/v1/leases/{lease_id}")["state"] == "closed", 20)
        return self.tenant.get(f"/v1/leases/{lease_id}")

    def test_waiting_for_a_state_answers_when_it_is_there_or_the_time_is_over(self):
        began = time.monotonic()
        made = self.tenant.post("/v1/workloads?wait_for=running&timeout_s=1", manifest())
        self.assertEqual(made["state"], "auctioning")
        self.assertTrue(0.9 <= time.monotonic() - began < 5)
        began = time.monotonic()
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
        self.tenant.get(f"/v1/workloads/{made['workload_id']}?wait_for=ended&timeout_s=20")
        self.assertLess(time.monotonic() - began, 5)
        self.refused(422, "invalid_field", self.tenant.get, f"/v1/workloads/{made['workload_id']}?timeout_s=121")

    def test_promises_are_signed_and_kept(self):
        many = [made["promise"] for made in self.at_once(
            16, lambda i: self.tenant.post("/v1/workloads", manifest(name=f"promised-{i}")))]
        self.assertTrue(all(promise_holds(promise) for promise in many))
        self.assertEqual(len({promise["place"] for promise in many}), 16)
        for i in range(16):
            self.tenant.delete(f"/v1/workloads/promised-{i}")
        self.assertFalse(promise_holds(dict(many[0], place=many[1]["place"])))
        made = self.tenant.post("/v1/workloads", manifest())
        promise = made["promise"]
        self.until("its round", lambda: int(self.sql(
            f"select count(*) from rounds where round = {promise['round']} and state = 'committed'")), 10)
        found = self.sql(
            f"select encode(message_sha256, 'hex') from arrivals where round = {promise['round']}"
            f" and kind = 'workload'")
        self.assertIn(promise["message_sha256"], found.split())
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")


if __name__ == "__main__":
    unittest.main()
