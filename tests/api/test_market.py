"""What the market was: candles, depth, statistics, and what is cheapest now, as anybody may ask for them."""

import base64
import datetime
import unittest

from harness import ApiCase, manifest
from test_rounds import record_read

LOT = "region=eu-west&device_class=cpu-1c2g"


class MarketData(ApiCase):
    settings = {"sealed_age_ms": 300}

    @classmethod
    def prepare(cls):
        cls.sellers = [cls.node(price=20000 + 5000 * i, slots=2) for i in range(4)]
        cls.tenants = [cls.account() for _ in range(3)]
        cls.public = cls.broker.http()
        made = [(http, http.post("/v1/workloads", manifest(replicas=2))["workload_id"]) for http in cls.tenants]
        for http, workload_id in made:
            cls.until("an award", lambda h=http, w=workload_id: h.get(f"/v1/workloads/{w}")["state"] == "starting")
        for node in cls.sellers:
            node.step()
            node.run(*node.leases)
        cls.until("the rounds to be folded", lambda: cls.sql(
            "select (select max(round) from lot_rounds) = round from history_marks") == "t"
            and cls.sql("select count(*) from lot_facts") == "0")

    def test_candles_add_up_to_the_rounds(self):
        traded = int(self.sql("select sum(sold_count) from lot_rounds"))
        self.assertEqual(traded, 6)
        for step in ("1s", "1m", "1h", "1d"):
            candles = self.public.get(f"/v1/market/candles?{LOT}&step={step}")["data"]
            self.assertEqual(sum(c["awards_count"] for c in candles), traded, step)
            self.assertEqual(candles, sorted(candles, key=lambda c: c["at"], reverse=True))
        indexes = [int(i) for i in self.sql("select index_uusd_per_hour from lot_rounds where"
                                            " index_uusd_per_hour is not null order by round").split()]
        day = self.public.get(f"/v1/market/candles?{LOT}&step=1d")["data"][0]
        self.assertEqual([day[k + "_uusd_per_hour"] for k in ("open", "high", "low", "close")],
                         [indexes[0], max(indexes), min(indexes), indexes[-1]])
        self.assertEqual(day["unmet_count"], 0)
        self.assertEqual(day["fill_ratio_bp"], 10000)

    def test_candles_come_in_pages_and_ranges(self):
        seen, cursor = [], ""
        while cursor is not None:
            page = self.public.get(f"/v1/market/candles?{LOT}&step=1s&limit=1{cursor and f'&cursor={cursor}'}")
            seen += page["data"]
            cursor = page["next_cursor"]
        self.assertEqual(seen, self.public.get(f"/v1/market/candles?{LOT}&step=1s")["data"])
        last = seen[0]["at"]
        self.assertEqual(self.public.get(f"/v1/market/candles?{LOT}&step=1s&from={last}")["data"], seen[:1])
        self.assertEqual(self.public.get(f"/v1/market/candles?{LOT}&step=1s&to={last}")["data"], seen[1:])
        self.assertEqual(self.public.get(f"/v1/market/candles?{LOT}&to=2020-01-01T00:00:00Z")["data"], [])
        for what in ("candles", "depth", "stats"):  # of a lot that was never cleared
            self.refused(404, "not_found", self.public.get, f"/v1/market/{what}?region=us-east&device_class=cpu-1c2g")

    def test_depth_is_late_and_never_about_one_account(self):
        depth = self.until_depth()
        self.assertTrue(all(b["accounts_count"] >= 3 for b in depth["buckets"]), depth)
        self.assertEqual(len(depth["asks_uusd_per_hour"]), 5)
        self.refused(404, "not_found", self.public.get, "/v1/market/depth?region=us-east&device_class=cpu-1c2g")

    def until_depth(self):
        found = {}

        def probe():
            status, _, _ = self.public.raw("GET", f"/v1/market/depth?{LOT}")
            return status == 200 and (found.update(self.public.get(f"/v1/market/depth?{LOT}")) or True)
        self.until("a depth that is old enough", probe)
        return found

    def test_statistics_follow_from_leases(self):
        stats = self.public.get(f"/v1/market/stats?{LOT}")
        self.assertEqual(stats["awards_count"], 6)
        self.assertEqual(len(stats["prices_uusd_per_hour"]), 5)
        self.assertEqual(stats["interruptions_count"], 0)
        for kind in ("fill", "start"):
            self.assertLessEqual(0, stats[f"{kind}_p50_ms"])
            self.assertLessEqual(stats[f"{kind}_p50_ms"], stats[f"{kind}_p90_ms"])
        self.assertEqual(stats["index_uusd_per_hour"], int(self.sql(
            "select index_uusd_per_hour from lot_rounds where index_uusd_per_hour is not null"
            " order by round desc limit 1")))
        self.refused(404, "not_found", self.public.get, "/v1/market/stats?region=us-east&device_class=cpu-1c2g")

    def test_cheapest_is_the_index_where_something_traded(self):
        rows = self.public.get("/v1/market/cheapest?region=eu-west")["data"]
        self.assertEqual([r["price_uusd_per_device_hour"] for r in rows],
                         sorted(r["price_uusd_per_device_hour"] for r in rows))
        sources = {r["device_class"]: r["source"] for r in rows}
        self.assertEqual(sources["cpu-1c2g"], "index")
        self.assertEqual(sources["h100-80g"], "catalogue")
        large = self.public.get("/v1/market/cheapest?vram_mib_min=100000")["data"]
        self.assertEqual({r["device_class"] for r in large}, {"h200-141g", "mi300x"})

    def test_bad_questions_are_refused_by_name(self):
        for query in ("region=eu-west", f"{LOT}&step=2m", f"{LOT}&tier=gold", f"{LOT}&limit=0", f"{LOT}&from=yesterday",
                      f"{LOT}&cursor=nonsense"):
            self.refused(422, "invalid_field", self.public.get, f"/v1/market/candles?{query}")


class NeverSettled(ApiCase):
    """Orders that win and never run, or never win, move nothing that a later round clears with: every ask and adder,
    every offer, what offers begin at, and so every threshold and price are those of a market that never saw them. The
    indexes of their own rounds are as public as any."""

    @classmethod
    def prepare(cls):
        cls.sellers = [cls.node(price=4000 + 4000 * i, slots=1) for i in range(4)]
        cls.tenant, cls.public = cls.account(), cls.broker.http()

    def awarded(self, count=1, **more):
        """The leases of an order, each with its node."""
        made = self.tenant.post("/v1/workloads", manifest(replicas=count, **more))
        taken = []

        def is_taken():
            taken[:] = [(node, lease_id) for node in self.sellers for lease_id in node.step()]
            return len(taken) == count
        self.until(f"{count} awards", is_taken)
        return made, taken

    def bought(self):
        """The round, less what is drawn by lot, of an order that runs for a second and is paid for. It offers B, which
        is the catalogue's 0.02, for its deadline is so far that the offer has not risen by a millionth yet."""
        tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        made, ((node, lease_id),) = self.awarded(price_policy="market", reserve_uusd_per_hour=20500,
                                                 deadline=tomorrow.strftime("%Y-%m-%dT%H:%M:%SZ"))
        node.run(lease_id)
        self.until("a second that the broker saw", lambda: self.sql(
            "select running_at < now() - interval '1 s' from leases where state = 'running'") == "t")
        node.exit(lease_id, healthy_ms=1000)
        lease = self.until_state(self.tenant, made["workload_id"], "stopped")["leases"][0]
        self.assertEqual(lease["billed_ms"], 1000)
        self.assertEqual(self.sql(f"select price_set_by_ask from leases where round = {lease['round']}"), "t")
        record = record_read(base64.b64decode(self.stack.admin().get(f"/v1/rounds/{lease['round']}")["record_base64"]))
        lot, = record["lots"]
        self.assertEqual(len(lot["awards"]), 1)
        return {"blocks": sorted((b["node"], b["ask"], b["adder"]) for b in lot["blocks"]),
                "offers": [(d["r"], d["k"], d["kmin"]) for d in lot["demands"]], "index": lot["index"],
                "theta_and_price": lot["awards"][0][2:], "price": lease["price_uusd_per_hour"]}

    def last_index(self):
        return int(self.sql("select index_uusd_per_hour from lot_rounds where index_uusd_per_hour is not null"
                            " order by round desc limit 1"))

    def public_prices(self):
        """What was paid, as anybody sees it, and what offers begin at; both reckoned anew."""
        self.broker.stop()  # the office of settlement reckons the latter when it is taken
        began = self.sql("select clock_timestamp()")
        self.broker.restart()
        self.until("what offers begin at", lambda: self.sql(
            f"select bool_and(reckoned_at > '{began}') from benchmarks") == "t")
        self.until("the ends of leases to be folded", lambda: self.sql("select count(*) from lot_facts") == "0")
        day = self.public.get(f"/v1/market/candles?{LOT}&step=1d")["data"][0]
        return {"benchmarks": self.sql("select lot, median_uusd_per_device_hour, prices_count from benchmarks order by 1"),
                "vwap": day["vwap_uusd_per_hour"], "volume": day["volume_ms"]}

    def test_an_order_that_never_settles_moves_no_price(self):
        first = self.bought()
        self.assertEqual(first["offers"], [(20000 * 10000 // 11000, 1, 1)])
        before = self.public_prices()
        self.assertIsNotNone(before["vwap"])
        self.assertIn(str(first["price"]), before["benchmarks"])
        greedy, taken = self.awarded(3)  # wins high up the ladder
        prices = [lease["price_uusd_per_hour"] for lease in self.tenant.get("/v1/leases")["data"]]
        self.assertGreater(max(prices), first["price"])
        self.assertGreater(self.last_index(), first["index"])
        for node, lease_id in taken:
            node.exit(lease_id, "image_not_found", None)
        ended = self.until_state(self.tenant, greedy["workload_id"], "failed")
        self.assertEqual((ended["spent_uusd"], [lease["billed_ms"] for lease in ended["leases"]]), (0, [0] * 3))
        hopeless = self.tenant.post("/v1/workloads", manifest(reserve_uusd_per_hour=1000))  # never wins
        rounds = int(self.sql("select max(round) from rounds"))
        self.until("rounds over it", lambda: int(self.sql("select max(round) from rounds")) > rounds + 2)
        self.tenant.delete(f"/v1/workloads/{hopeless['workload_id']}")
        self.assertEqual(self.public_prices(), before)
        self.assertEqual(self.bought(), first)


if __name__ == "__main__":
    unittest.main()
