"""Workloads that no lot can express: cleared by themselves over the nodes that fit, by second score, and with
direct bids."""

import json
import unittest

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
        node.takes_bids = takes_bids
        node.enrol()
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
        made = self.tenant.post("/v1/workloads", gpu(award="now", device={"driver_min": "540"}))
        self.assertEqual(made["state"], "starting")
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


if __name__ == "__main__":
    unittest.main()
