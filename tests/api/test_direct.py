"""Workloads that no lot can express: cleared by themselves over the nodes that fit, by second score, and with
direct bids."""

import hashlib
import json
import time
import unittest
import uuid

from harness import ApiCase, FakeNode, manifest

GPU = "NVIDIA GeForce RTX 4090"


def gpu(**more):
    """A GPU workload at 1.10 an hour, so that 1.00 is left for the operator; `device` and `placement` add."""
    device, placement = more.pop("device", {}), more.pop("placement", {})
    resources = {"device": {"count": 1, "models": ["rtx-4090"], **device}, **more.pop("machine", {})}
    return manifest(**{"resources": resources, "placement": {"regions": ["eu-west"], **placement},
                       "reserve_uusd_per_hour": 1100000, **more})


class DirectCase(ApiCase):
    def gpu_node(self, price, driver="550.54.14", compute="8.9", isolation="crun", takes_bids=False, **kwargs):
        node = FakeNode(self.broker.url, kwargs.pop("http", None) or self.account(0), price=price, model=GPU,
                        slots=kwargs.pop("slots", 1), **kwargs)
        node.inventory["isolation"] = isolation
        for device in node.inventory["devices"]:
            device.update(driver=driver, compute=compute)
        node.enrol()
        node.takes_bids = takes_bids
        node.sync()
        self.nodes.append(node)
        return node

    def setUp(self):
        super().setUp()
        self.tenant = self.account()

    def awarded(self, *nodes, **more):
        """The one lease of a workload, as its tenant sees it, once a node has it."""
        made = self.tenant.post("/v1/workloads", gpu(**more))
        return self.lease_of(made, *nodes)

    def lease_of(self, made, *nodes):
        def leases():
            for node in nodes:
                node.step()
            return self.tenant.get(f"/v1/workloads/{made['workload_id']}?expand=leases")["leases"]
        self.until("an award", leases)
        return leases()[0]

    def never_awarded(self, rounds=3, **more):
        made = self.tenant.post("/v1/workloads", gpu(**more))
        self.rounds_pass(rounds)
        seen = self.tenant.get(f"/v1/workloads/{made['workload_id']}?expand=leases")
        self.assertEqual((seen["state"], seen["leases"]), ("auctioning", []))
        return made

    def rounds_pass(self, count):
        now = int(self.sql("select round from markets where market = 'main'"))
        self.until("rounds", lambda: int(self.sql("select round from markets where market = 'main'")) > now + count)

    def direct_of(self, workload_id, round_number):
        directs = self.stack.admin().get(f"/v1/rounds/{round_number}")["directs"]
        return next(d for d in directs if d["workload_id"] == workload_id)


class ConstraintTest(DirectCase):
    def test_a_driver_wins_on_the_node_that_has_it_at_second_score(self):
        old = self.gpu_node(300000, driver="535.10")
        cheap, dear = self.gpu_node(400000, driver="550.54"), self.gpu_node(500000, driver="550.54.14")
        lease = self.awarded(old, cheap, dear, device={"driver_min": "550.54"})
        self.assertEqual(lease["node_id"], cheap.node_id)
        self.assertEqual(lease["price_uusd_per_hour"], 500000)  # equal failure histories: what the next one asks
        record = self.direct_of(lease["workload_id"], lease["round"])
        self.assertEqual({c["node_id"] for c in record["candidates"]}, {cheap.node_id, dear.node_id})
        self.assertEqual((record["spread"], record["wanted"], len(record["candidates"])), ("none", 1, 2))
        self.never_awarded(device={"driver_min": "551"})

    def test_compute_and_isolation_narrow_likewise(self):
        ada, ampere = self.gpu_node(500000, compute="8.9"), self.gpu_node(300000, compute="8.6")
        boxed = self.gpu_node(700000, compute="8.9", isolation="runsc")
        nodes = (ada, ampere, boxed)
        self.assertEqual(self.awarded(*nodes, device={"compute_min": "8.9"})["node_id"], ada.node_id)
        lease = self.awarded(*nodes, placement={"isolation": "runsc"})
        (only,) = self.direct_of(lease["workload_id"], lease["round"])["candidates"]
        self.assertEqual(lease["node_id"], boxed.node_id)  # alone: up to the reserve
        self.assertEqual(lease["price_uusd_per_hour"], 1000000 - only["adder_uusd_per_hour"])

    def test_excluded_nodes_are_avoided(self):
        cheap, dear = self.gpu_node(300000), self.gpu_node(500000)
        lease = self.awarded(cheap, dear, placement={"exclude_node_ids": [cheap.node_id]})
        self.assertEqual(lease["node_id"], dear.node_id)
        self.never_awarded(placement={"exclude_node_ids": [cheap.node_id, dear.node_id]})

    def test_more_memory_than_the_class_gives_needs_a_machine_that_has_it_left(self):
        small, large = self.gpu_node(300000), self.gpu_node(500000)
        small.inventory["memory_mib"] = 24576
        small.wants_inventory = True
        small.sync()
        lease = self.awarded(small, large, machine={"memory_mib": 65536})
        self.assertEqual(lease["node_id"], large.node_id)
        self.never_awarded(machine={"memory_mib": 1048576})

    def test_spread_puts_each_replica_elsewhere(self):
        two, one = self.gpu_node(300000, slots=2), self.gpu_node(500000)
        made = self.tenant.post("/v1/workloads", gpu(replicas=2, placement={"spread": "node"}))
        seen = self.until_leases(made, 2, two, one)
        self.assertEqual({lease["node_id"] for lease in seen}, {two.node_id, one.node_id})
        third = self.never_awarded(replicas=2, placement={"spread": "node"})  # one node is left: all or none
        self.tenant.delete(f"/v1/workloads/{third['workload_id']}")
        far = self.gpu_node(600000, region="us-east", slots=2)
        made = self.tenant.post("/v1/workloads", gpu(
            replicas=2, placement={"regions": ["eu-west", "us-east"], "spread": "region"}))
        seen = self.until_leases(made, 2, two, far)
        self.assertEqual({lease["region"] for lease in seen}, {"eu-west", "us-east"})

    def test_a_lost_replica_keeps_away_from_its_siblings(self):
        two, one, dear = self.gpu_node(300000, slots=2), self.gpu_node(500000), self.gpu_node(700000)
        made = self.tenant.post("/v1/workloads", gpu(replicas=2, min_replicas=1, placement={"spread": "node"}))
        first = self.until_leases(made, 2, two, one, dear)
        self.assertEqual({lease["node_id"] for lease in first}, {two.node_id, one.node_id})
        (lease_id,) = one.take(self)
        one.exit(lease_id, "container_create_failed", exit_code=None)
        seen = self.until_leases(made, 3, two, one, dear)  # not beside its sibling, though that is cheapest
        self.assertEqual({lease["node_id"] for lease in seen if lease["state"] != "closed"}, {two.node_id, dear.node_id})

    def until_leases(self, made, count, *nodes):
        def leases():
            for node in nodes:
                node.step()
            found = self.tenant.get(f"/v1/workloads/{made['workload_id']}?expand=leases")["leases"]
            return found if len(found) >= count else None
        return self.until(f"{count} leases", leases) or leases()

    def test_countries_and_distance_leave_regions_out_and_stay_in_lots(self):
        near_amsterdam = {"lat": 52.4, "lon": 4.9, "uusd_per_ms": 1000}
        here, there = self.gpu_node(600000), self.gpu_node(500000, region="us-east")
        anywhere = {"regions": ["eu-west", "us-east"]}
        for placement in ({**anywhere, "countries": ["NL"]}, {**anywhere, "near": near_amsterdam, "max_rtt_ms": 60}):
            dry = self.tenant.post("/v1/workloads?dry_run=true", gpu(placement=placement))
            self.assertEqual((dry["regions"], dry["is_direct"]), (["eu-west"], False))
        dry = self.tenant.post("/v1/workloads?dry_run=true", gpu(placement={**anywhere, "near": near_amsterdam}))
        by_region = {d["region"]: d for d in dry["distances"]}
        self.assertEqual(by_region["eu-west"], {"region": "eu-west", "estimated_rtt_ms": 38, "latency_uusd_per_hour": 0})
        self.assertTrue(130 <= by_region["us-east"]["estimated_rtt_ms"] <= 145, by_region)
        self.assertEqual(self.awarded(here, there, placement={**anywhere, "countries": ["NL"]})["node_id"], here.node_id)

    def test_distance_is_part_of_the_score(self):
        here, there = self.gpu_node(600000, driver="550.1"), self.gpu_node(500000, region="us-east", driver="550.1")
        lease = self.awarded(here, there, device={"driver_min": "550"}, placement={
            "regions": ["eu-west", "us-east"], "near": {"lat": 52.4, "lon": 4.9, "uusd_per_ms": 2000}})
        self.assertEqual(lease["node_id"], here.node_id)  # 100 ms farther costs more than the 0.10 it is cheaper
        record = self.direct_of(lease["workload_id"], lease["round"])
        far = next(c for c in record["candidates"] if c["node_id"] == there.node_id)
        own = next(c for c in record["candidates"] if c["node_id"] == here.node_id)
        self.assertTrue(100000 < far["latency_uusd_per_hour"] < 250000, far)
        self.assertEqual(lease["price_uusd_per_hour"], 500000 + far["latency_uusd_per_hour"]
                         + far["adder_uusd_per_hour"] - own["adder_uusd_per_hour"])

    def test_any_of_regions_is_one_clearing(self):
        here, there = self.gpu_node(600000), self.gpu_node(500000, region="us-east")
        lease = self.awarded(here, there, device={"driver_min": "1"}, placement={"regions": ["eu-west", "us-east"]})
        self.assertEqual((lease["node_id"], lease["price_uusd_per_hour"]), (there.node_id, 600000))

    def test_award_now_clears_by_itself_at_once(self):
        self.gpu_node(300000, driver="535")
        fits = self.gpu_node(350000)
        began = time.monotonic()
        made = self.tenant.post("/v1/workloads", gpu(award="now", device={"driver_min": "540"}))
        if made["state"] != "starting":  # only a broker that was too busy answers without
            self.assertGreaterEqual(time.monotonic() - began, 0.3)
        self.assertEqual(self.lease_of(made, fits)["node_id"], fits.node_id)

    def test_what_makes_no_sense_is_refused_by_its_field(self):
        rows = [("invalid_field", "/placement/max_rtt_ms", {"placement": {"max_rtt_ms": 50}}),
                ("unplaceable", "/placement/max_rtt_ms", {"placement": {"near": {"lat": -33, "lon": 151}, "max_rtt_ms": 50}}),
                ("unplaceable", "/placement/countries/0", {"placement": {"countries": ["FR"]}}),
                ("unplaceable", "/placement/countries", {"placement": {"countries": ["JP"]}}),
                ("invalid_field", "/placement/countries/0", {"placement": {"countries": ["nl"]}}),
                ("invalid_field", "/placement/near/lat", {"placement": {"near": {"lat": 91, "lon": 0}}}),
                ("invalid_field", "/placement/near/lon", {"placement": {"near": {"lat": 1}}}),
                ("invalid_field", "/placement/near/lat", {"placement": {"near": {"lat": "52", "lon": 1}}}),
                ("invalid_field", "/placement/exclude_node_ids/0", {"placement": {"exclude_node_ids": ["node_1"]}}),
                ("invalid_field", "/placement/spread", {"placement": {"spread": "rack"}}),
                ("invalid_field", "/resources/device/driver_min", {"device": {"driver_min": "550..1"}}),
                ("invalid_field", "/resources/device/compute_min", {"device": {"compute_min": "sm_89"}})]
        for code, pointer, change in rows:
            with self.subTest(pointer=pointer, change=change):
                problem = self.refused(422, code, self.tenant.post, "/v1/workloads", gpu(**change))
                self.assertIn(pointer, [e["pointer"] for e in problem["errors"]])


class BidTest(DirectCase):
    settings = {"direct_window_rounds": 25, "round_ms": 50}

    def post(self, **more):
        return self.tenant.post("/v1/workloads", gpu(**{"device": {"driver_min": "500"}, **more}))

    def is_offered(self, node, workload_id):
        def look():
            node.sync(hold_ms=500)
            return any(w["workload_id"] == workload_id for w in node.open)
        self.until(f"{node.name} to see the workload", look)

    def place(self, node, workload_id, price):
        return node.http.put(f"/v1/nodes/{node.node_id}/bids/{workload_id}", {"price_uusd_per_hour": price})

    def test_an_agent_that_bids_below_its_ask_wins_and_is_paid_the_next_ask(self):
        plain, bidder = self.gpu_node(500000), self.gpu_node(600000, takes_bids=True)
        made = self.post()
        self.is_offered(bidder, made["workload_id"])
        (seen,) = bidder.open
        self.assertEqual((seen["block_size"], seen["wanted"], seen["bid_uusd_per_hour"]), (1, 1, None))
        bidder.bids[made["workload_id"]] = 300000
        bidder.sync()
        self.assertEqual([w["bid_uusd_per_hour"] for w in bidder.open], [300000])
        lease = self.lease_of(made, plain, bidder)
        self.assertEqual((lease["node_id"], lease["price_uusd_per_hour"]), (bidder.node_id, 500000))
        kinds = {c["node_id"]: c["kind"] for c in self.direct_of(lease["workload_id"], lease["round"])["candidates"]}
        self.assertEqual(kinds, {plain.node_id: "ask", bidder.node_id: "bid"})
        self.until("the bid to be won", lambda: bidder.http.get("/v1/bids")["data"][0]["state"] == "won")
        self.assertEqual(bidder.http.get("/v1/bids")["data"][0]["price_uusd_per_hour"], 300000)

    def test_a_real_agent_that_bids_its_floor_wins_what_it_fits(self):
        tenant = self.trial_account()
        agent = self.agent("bidder", price="0.31", options=["--direct-bids", "floor"])
        self.until("it to take bids", lambda: self.sql("select count(*) from nodes where takes_bids and name = 'bidder'") == "1")
        made = tenant.post("/v1/workloads", gpu(device={"driver_min": "535.183"}, env={"UNDERCUT_SIM_RUN_S": "1"},
                                                placement={"trust_min": "simulated"}))
        done = self.until_state(tenant, made["workload_id"], "stopped", "failed")
        self.assertEqual(done["status_reason"], "completed")
        (bid,) = agent.http.get("/v1/bids")["data"]
        self.assertEqual((bid["price_uusd_per_hour"], bid["workload_id"]), (310000, made["workload_id"]))
        (candidate,) = self.direct_of(made["workload_id"], done["leases"][0]["round"])["candidates"]
        self.assertEqual((candidate["kind"], candidate["price_uusd_per_hour"]), ("bid", 310000))

    def test_standing_asks_do_not_wait_for_nodes_that_never_bid(self):
        self.gpu_node(500000)
        made = self.post()
        self.lease_of(made, self.gpu_node(400000))
        waited = int(self.sql(f"select l.round - w.arrived_round from leases l join workloads w using (workload_id)"
                              f" where w.name = '{made['name']}'"))
        self.assertLess(waited, 5)

    def test_an_operator_bids_improves_and_withdraws(self):
        node, other = self.gpu_node(600000, takes_bids=True), self.gpu_node(500000)
        made = self.post()
        (seen,) = node.http.get(f"/v1/nodes/{node.node_id}/direct-workloads")["data"]
        self.assertEqual(seen["workload_id"], made["workload_id"])
        first = self.place(node, made["workload_id"], 450000)
        promise = first["promise"]
        message = f"undercut/bid/v2|{self.uuid_of(node.http.account_id)}|{self.uuid_of(made['workload_id'])}" \
                  f"|{self.uuid_of(node.node_id)}|450000|{first['salt']}"
        self.assertEqual(hashlib.sha256(message.encode()).hexdigest(), promise["message_sha256"])
        self.assertEqual(promise["round"], first["arrived_round"])
        second = self.place(node, made["workload_id"], 440000)
        self.assertEqual((first["version"], second["version"]), (1, 2))
        self.assertEqual(node.http.raw("DELETE", f"/v1/nodes/{node.node_id}/bids/{made['workload_id']}")[0], 204)
        self.assertEqual(node.http.raw("DELETE", f"/v1/nodes/{node.node_id}/bids/{made['workload_id']}")[0], 204)
        lease = self.lease_of(made, node, other)
        self.assertEqual((lease["node_id"], lease["price_uusd_per_hour"]), (other.node_id, 600000))  # its ask is back
        self.until("its devices to be free", lambda: self.sql("select count(*) from devices where bid_id is not null") == "0")
        self.assertEqual(node.http.get("/v1/bids")["data"][0]["state"], "withdrawn")

    def uuid_of(self, prefixed):
        """The uuid behind an id: 26 characters of Crockford's base 32."""
        number = 0
        for c in prefixed.split("_")[1]:
            number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(c)
        return str(uuid.UUID(int=number))

    def test_a_committed_block_leaves_its_lots(self):
        node = self.gpu_node(300000, takes_bids=True)
        first = self.tenant.post("/v1/workloads", gpu(award="now", device={"count": 2}))  # reads supply, takes nothing
        self.tenant.delete(f"/v1/workloads/{first['workload_id']}")
        made = self.post(reserve_uusd_per_hour=220000)
        self.place(node, made["workload_id"], 290000)  # above what is left of the reserve: it never wins
        at_once = self.tenant.post("/v1/workloads", gpu(award="now"))
        self.assertEqual(at_once["state"], "auctioning")
        self.tenant.delete(f"/v1/workloads/{at_once['workload_id']}")
        lot = self.never_awarded(rounds=28)
        node.http.delete(f"/v1/nodes/{node.node_id}/bids/{made['workload_id']}")
        self.assertEqual(self.lease_of(lot, node)["node_id"], node.node_id)

    def test_losers_and_bids_on_what_ends_get_their_blocks_back(self):
        low, high = self.gpu_node(600000, takes_bids=True), self.gpu_node(600000, takes_bids=True)
        made = self.post()
        self.place(low, made["workload_id"], 300000)
        self.place(high, made["workload_id"], 400000)
        lease = self.lease_of(made, low, high)
        self.assertEqual((lease["node_id"], lease["price_uusd_per_hour"]), (low.node_id, 400000))
        path = f"/v1/nodes/{low.node_id}/bids/{made['workload_id']}"
        for _ in range(2):  # what has won is a lease, and not withdrawn
            self.assertIn(lease["lease_id"], self.refused(409, "bid_won", low.http.delete, path)["detail"])
        self.assertEqual(low.http.get("/v1/bids")["data"][0]["state"], "won")
        ended = self.post()
        self.place(high, ended["workload_id"], 400000) if self.loser_is_free(high) else None
        self.tenant.delete(f"/v1/workloads/{ended['workload_id']}")
        self.until("both to be lost", lambda: [b["state"] for b in high.http.get("/v1/bids")["data"]] == ["lost", "lost"])
        self.assertEqual(high.http.raw("DELETE", f"/v1/nodes/{high.node_id}/bids/{made['workload_id']}")[0], 204)
        low.run(lease["lease_id"])
        low.exit(lease["lease_id"], healthy_ms=1)
        self.assertIn("its lease is over", self.refused(409, "bid_won", low.http.delete, path)["detail"])

    def loser_is_free(self, node):
        self.until("the loser's block", lambda: node.http.get("/v1/bids")["data"][0]["state"] == "lost")
        return True

    def test_bids_are_sealed_and_so_is_the_tenant(self):
        one, two = self.gpu_node(600000, takes_bids=True), self.gpu_node(610000, takes_bids=True)
        made = self.post(labels={"team": "hidden-label"}, env={"X": "hidden-env"}, budget_uusd=7654321)
        before = self.tenant.get(f"/v1/workloads/{made['workload_id']}")
        self.place(one, made["workload_id"], 345678)
        two.sync()
        told = json.dumps([two.reply, two.http.get(f"/v1/nodes/{two.node_id}/direct-workloads"), two.http.get("/v1/bids"),
                           two.http.get("/v1/asks"), self.tenant.get(f"/v1/workloads/{made['workload_id']}?expand=leases"),
                           self.tenant.get("/v1/events?after=0"), self.broker.http().get("/v1/rounds"),
                           self.broker.http().get("/v1/prices")])
        self.assertNotIn("345678", told)
        self.assertEqual(before["version"], self.tenant.get(f"/v1/workloads/{made['workload_id']}")["version"])
        shown = json.dumps([one.reply, one.http.get(f"/v1/nodes/{one.node_id}/direct-workloads")])
        for hidden in ("hidden-label", "hidden-env", "7654321", "1100000", "example.org", self.tenant.account_id, made["name"]):
            self.assertNotIn(hidden, shown)

    def test_bids_that_make_no_sense_are_refused_each_by_its_code(self):
        node, other = self.gpu_node(600000, takes_bids=True), self.gpu_node(600000)
        old = self.gpu_node(600000, driver="470")
        made, twin = self.post(), self.post()
        lot = self.tenant.post("/v1/workloads", gpu(reserve_uusd_per_hour=1000))
        self.refused(404, "not_found", node.http.put, f"/v1/nodes/{other.node_id}/bids/{made['workload_id']}",
                     {"price_uusd_per_hour": 5})  # not the owner
        unknown = made["workload_id"].replace("wl_", "node_")
        self.refused(404, "not_found", node.http.put, f"/v1/nodes/{unknown}/bids/{made['workload_id']}",
                     {"price_uusd_per_hour": 5})
        for price in (0, -1, 1000000000001, "5", None):
            problem = self.refused(422, "invalid_field", self.place, node, made["workload_id"], price)
            self.assertEqual([e["pointer"] for e in problem["errors"]], ["/price_uusd_per_hour"])
        self.refused(422, "bid_unfit", self.place, old, made["workload_id"], 5)
        other.http.delete("/v1/asks/rtx-4090/eu-west")
        self.refused(422, "bid_unfit", self.place, other, made["workload_id"], 5)  # not for sale
        self.refused(409, "bid_closed", self.place, node, lot["workload_id"], 5)  # stands in a lot
        self.place(node, made["workload_id"], 550000)
        self.refused(409, "block_committed", self.place, node, twin["workload_id"], 5)  # the same block
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")
        self.refused(409, "bid_closed", self.place, node, made["workload_id"], 5)
        self.refused(404, "not_found", other.http.delete, f"/v1/nodes/{other.node_id}/bids/{made['workload_id']}")
        reader = self.key_with(node.http, "nodes:read")
        self.refused(403, "forbidden_scope", reader.put, f"/v1/nodes/{node.node_id}/bids/{twin['workload_id']}",
                     {"price_uusd_per_hour": 5})


class ExpiryTest(DirectCase):
    settings = {"direct_bid_s": 5}

    def test_a_bid_that_is_not_renewed_expires(self):
        node = self.gpu_node(300000, takes_bids=True)
        made = self.tenant.post("/v1/workloads", gpu(device={"driver_min": "500"}, reserve_uusd_per_hour=220000))
        node.bids[made["workload_id"]] = 290000
        node.sync()
        self.assertEqual(node.http.get("/v1/bids")["data"][0]["state"], "standing")
        node.bids.clear()
        self.until("it to expire", lambda: node.http.get("/v1/bids")["data"][0]["state"] == "expired")
        self.assertEqual(self.sql("select count(*) from devices where bid_id is not null"), "0")


if __name__ == "__main__":
    unittest.main()
