"""Why a workload waits, what would have won, and what a dry run says: from figures that are old enough."""

import os
import re
import unittest

import yaml
from harness import ROOT, ApiCase, FakeNode, manifest

class Codes(unittest.TestCase):
    def test_codes_exist_once_and_the_contract_and_the_page_know_them(self):
        with open(os.path.join(ROOT, "auction", "constraints.def"), encoding="utf-8") as f:
            slugs = re.findall(r'^CONSTRAINT\(\w+, +"(\w+)"', f.read(), flags=re.M)
        with open(os.path.join(ROOT, "openapi.yaml"), encoding="utf-8") as f:
            self.assertEqual(yaml.safe_load(f)["components"]["schemas"]["Constraint"]["enum"], slugs)
        with open(os.path.join(ROOT, "docs", "market-data.md"), encoding="utf-8") as f:
            page = f.read()
        self.assertEqual([s for s in slugs if f"`{s}`" not in page], [])


class Explain(ApiCase):
    settings = {"sealed_age_ms": 200, "history_sample_ms": 100}

    @classmethod
    def prepare(cls):
        cls.sellers = [cls.node(price=100000 + 10000 * i, slots=2) for i in range(4)]
        cls.far = [cls.node(price=90000 + 10000 * i, slots=1, region="us-east") for i in range(3)]
        cls.tenant = cls.account()
        # Somebody trades in both places, so that both lots have an index, and is done again.
        for node, region in ((cls.sellers[0], "eu-west"), (cls.far[0], "us-east")):
            cls.tenant.post("/v1/workloads", manifest(placement={"regions": [region]}, restart="never"))
            lease_id = node.take(cls)[0]
            node.run(lease_id)
            node.exit(lease_id)
        cls.until("blocks and prices that are old enough", cls.is_told)

    @classmethod
    def is_told(cls):
        """Both lots have an index, and nothing is leased any more."""
        told = [cls.dry([region]) for region in ("eu-west", "us-east")]
        return all(e["lot"] and e["lot"]["source"] == "index" for e in told) and \
            [e["blocks_left"] for e in told] == [8, 3]

    @classmethod
    def dry(cls, regions, http=None, **more):
        asked = manifest(placement={"regions": regions}, **more)
        return (http or cls.tenant).post("/v1/workloads?dry_run=true", asked)["explain"]

    def lost(self, explain):
        return {r["constraint"]: r["blocks_lost"] for r in explain["rejections"]}

    def assert_adds_up(self, explain):
        self.assertEqual(explain["blocks_left"] + sum(self.lost(explain).values()), explain["blocks_count"])

    def test_what_would_win_says_so(self):
        explain = self.dry(["eu-west"])
        self.assertTrue(explain["would_win"], explain)
        self.assertEqual(self.lost(explain)["region"], 3)
        self.assertEqual((explain["smallest_change"], explain["changes"]), (None, []))
        self.assertEqual(explain["lot"]["region"], "eu-west")
        self.assert_adds_up(explain)

    def test_a_low_price_is_named_with_the_one_that_would_have_won(self):
        explain = self.dry(["eu-west", "us-east"], reserve_uusd_per_hour=50000)
        self.assertFalse(explain["would_win"])
        change = explain["smallest_change"]
        self.assertEqual(change["constraint"], "price")
        self.assert_adds_up(explain)
        again = self.dry(["eu-west", "us-east"], reserve_uusd_per_hour=change["reserve_uusd_per_hour"])
        self.assertTrue(again["would_win"], (change, again))
        less = self.dry(["eu-west", "us-east"], reserve_uusd_per_hour=change["reserve_uusd_per_hour"] - 1)
        self.assertFalse(less["would_win"])

    def test_too_many_at_once_may_be_fewer_or_elsewhere(self):
        explain = self.dry(["us-east"], replicas=5)
        self.assertEqual(self.lost(explain)["count"], 3)
        by = {c["constraint"]: c for c in explain["changes"]}
        self.assertEqual(by["count"]["min_replicas"], 3)
        self.assertEqual(by["region"]["region"], "eu-west")
        self.assertEqual(explain["smallest_change"]["constraint"], "count")
        self.assertTrue(self.dry(["us-east"], replicas=5, min_replicas=3)["would_win"])
        self.assertTrue(self.dry(["eu-west"], replicas=5)["would_win"])

    def test_an_offer_that_rises_needs_only_time(self):
        catalogue = 20000  # the catalogue's price of this class, far below what is asked here
        explain = self.dry(["eu-west"], price_policy="market", reserve_uusd_per_hour=400000)
        change = explain["smallest_change"]
        self.assertEqual(change["constraint"], "time", explain)
        share = (change["price_uusd_per_hour"] * 1.1 - catalogue) / (400000 - catalogue)
        self.assertAlmostEqual(change["wait_ms"], 60000 * share, delta=1500)

    def test_prices_are_raised_and_old(self):
        index = int(self.sql("select d.index_uusd_per_hour from lot_depths d join lots using (lot_id)"
                             " where region = 'us-east' order by at desc limit 1"))
        lot = self.dry(["us-east"])["lot"]
        self.assertEqual(lot["price_uusd_per_hour"], -(-index * 102 // 100))
        self.assertEqual(lot["recent_rounds"][0]["price_uusd_per_hour"], lot["price_uusd_per_hour"])
        self.until("a candle that is old enough",
                   lambda: self.dry(["us-east"])["lot"]["price_p50_uusd_per_hour"] is not None)
        lot = self.dry(["us-east"])["lot"]
        self.assertLessEqual(lot["price_p50_uusd_per_hour"], lot["price_p90_uusd_per_hour"])

    def test_a_workload_that_waits_is_explained_to_its_owner_alone(self):
        made = self.tenant.post("/v1/workloads", manifest(reserve_uusd_per_hour=50000))
        told = self.tenant.get(f"/v1/workloads/{made['workload_id']}/explain")
        self.assertEqual((told["name"], told["state"], told["replicas_auctioning"]), (made["name"], "auctioning", 1))
        self.assertEqual(told["explain"]["smallest_change"]["constraint"], "price")
        self.assertEqual(told["explain"]["wanted"], 1)
        self.assertEqual(told["explain"]["rejections"],
                         self.dry(["eu-west"], reserve_uusd_per_hour=50000)["rejections"])
        self.assertEqual(self.tenant.get(f"/v1/workloads/{made['name']}/explain")["name"], made["name"])
        self.refused(404, "not_found", self.account(0).get, f"/v1/workloads/{made['workload_id']}/explain")
        self.refused(404, "not_found", self.tenant.get, "/v1/workloads/nobody/explain")

    def test_an_operator_is_kept_out_of_its_own_lots(self):
        seller = self.far[0].http
        explain = self.dry(["us-east"], http=seller)
        self.assertEqual(self.lost(explain)["own_account"], 3)
        self.assertFalse(explain["would_win"])

    def test_devices_are_told_apart_by_what_they_lack(self):
        gpu = self.dry(["eu-west"], resources={"device": {"count": 1, "vram_mib_min": 40000}})
        self.assertEqual(self.lost(gpu), {"region": 3, "vendor": 8})
        big = self.dry(["eu-west"], resources={"cpu": {"vcpu": 2, "memory_mib": 512}})
        self.assertEqual(self.lost(big), {"region": 3, "vcpu": 8})
        self.assertEqual(big["smallest_change"]["constraint"], "vcpu")

    def test_what_no_lot_can_say_is_counted_node_by_node(self):
        nodes = []
        for driver, isolation in (("535.104", "none"), ("550.54", "none"), ("550.54", "runtime")):
            node = FakeNode(self.broker.url, self.account(0), model="NVIDIA GeForce RTX 4090", slots=1)
            node.inventory["isolation"] = isolation
            for device in node.inventory["devices"]:
                device["driver"] = driver
            node.enrol()
            node.sync()
            self.nodes.append(node)
            nodes.append(node)

        def dry(device=(), **placement):
            return self.tenant.post("/v1/workloads?dry_run=true", manifest(
                resources={"device": {"count": 1, "models": ["rtx-4090"], **dict(device)}},
                placement={"regions": ["eu-west"], **placement}))["explain"]
        self.until("the nodes to be counted", lambda: dry()["blocks_count"] == 14)
        others = {"region": 3, "vendor": 8}
        self.assertEqual(self.lost(dry({"driver_min": "550"})), {**others, "driver": 1})
        self.assertEqual(self.lost(dry({"driver_min": "550"}, isolation="runtime")),
                         {**others, "driver": 1, "isolation": 1})
        newer = dry({"driver_min": "560"})
        self.assertEqual(self.lost(newer), {**others, "driver": 3})
        self.assertEqual(newer["smallest_change"]["constraint"], "driver")
        away = [n.node_id for n in nodes]
        self.assertEqual(self.lost(dry(exclude_node_ids=away[:2])), {**others, "excluded_node": 2})
        self.assertTrue(dry(exclude_node_ids=away[:2])["would_win"])
        made = self.tenant.post("/v1/workloads", manifest(
            resources={"device": {"count": 1, "models": ["rtx-4090"], "driver_min": "560"}},
            placement={"regions": ["eu-west"], "exclude_node_ids": away[:1]}))
        told = self.tenant.get(f"/v1/workloads/{made['workload_id']}/explain")["explain"]
        self.assertEqual(self.lost(told), {**others, "excluded_node": 1, "driver": 2})


if __name__ == "__main__":
    unittest.main()
