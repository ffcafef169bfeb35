"""Asks and orders that nobody can mean: each is refused by kind, with the place and what would be right; and what
comes after a freeze says that it belongs to the next round.
"""

import unittest

from harness import ApiCase, manifest


class BadOrdersTest(ApiCase):
    @classmethod
    def prepare(cls):
        cls.operator, cls.tenant = cls.account(0), cls.account()

    def ask(self, where="rtx-4090/us-east", **body):
        return self.operator.put(f"/v1/asks/{where}", body)

    def test_asks_that_are_no_price_are_refused_by_field(self):
        self.ask(price_uusd_per_device_hour=10 ** 12)
        rows = {"zero": {"price_uusd_per_device_hour": 0}, "negative": {"price_uusd_per_device_hour": -1},
                "too large": {"price_uusd_per_device_hour": 10 ** 12 + 1}, "no whole number": {"price_uusd_per_device_hour": 0.5},
                "a text": {"price_uusd_per_device_hour": "5"}, "nothing": {},
                "null": {"price_uusd_per_device_hour": None}}
        for name, body in rows.items():
            with self.subTest(name):
                problem = self.refused(422, "invalid_field", self.ask, **body)
                self.assertEqual([e["pointer"] for e in problem["errors"]], ["/price_uusd_per_device_hour"])
                self.assertTrue(problem["errors"][0]["detail"])
        for name, value in {"beyond 64 bits": "9" * 30, "twice": '5, "price_uusd_per_device_hour": 6'}.items():
            with self.subTest(name):
                status, _, data = self.operator.raw("PUT", "/v1/asks/rtx-4090/us-east",
                                                    f'{{"price_uusd_per_device_hour": {value}}}'.encode())
                self.assertEqual((status, b"malformed_request" in data), (400, True), data)
        self.assertEqual([a["price_uusd_per_device_hour"] for a in self.operator.get("/v1/asks")["data"]], [10 ** 12])

    def test_an_ask_for_a_class_or_region_that_is_not_is_not_found(self):
        for where in ("voodoo-2/us-east", "rtx-4090/atlantis"):
            problem = self.refused(404, "not_found", self.ask, where, price_uusd_per_device_hour=5)
            self.assertTrue(problem["suggestion"])

    def test_a_second_floor_of_one_account_is_shown_beside_the_first_and_sells_nothing(self):
        first = self.node(price=700000)
        second = self.node(http=first.http, price=800000)
        shown = second.sync()["asks"][0]
        self.assertEqual((shown["status"], shown["price_uusd_per_device_hour"]), ("mismatch", 700000), shown)
        self.assertEqual(first.sync()["asks"][0]["status"], "standing")
        self.assertEqual([{d["ask_status"] for d in first.http.get(f"/v1/nodes/{n.node_id}")["devices"]}
                          for n in (first, second)], [{"standing"}, {"mismatch"}])
        made = self.tenant.post("/v1/workloads", manifest(replicas=2))
        first.take(self, 2)
        self.assertEqual(second.step(), {})
        self.tenant.delete(f"/v1/workloads/{made['workload_id']}")

    def test_what_comes_after_a_freeze_belongs_to_the_next_round_and_says_so(self):
        """Each message is a leaf of the round and the place that its promise names."""
        self.node(price=700000)
        promises = []
        for price in (5, 6, 7):
            promises.append(self.ask(price_uusd_per_device_hour=price)["promise"])
            order = self.tenant.post("/v1/workloads", manifest(reserve_uusd_per_hour=900000))
            promises.append(order["promise"])
            last = max(p["round"] for p in promises)
            self.until("the freeze", lambda: int(self.sql("select round from markets where market = 'main'")) > last)
        rounds = [p["round"] for p in promises]
        self.assertEqual(rounds, sorted(rounds))
        self.assertEqual([rounds[i] < rounds[i + 2] for i in range(4)], [True] * 4, "a freeze lies between")
        for p in promises:
            leaf = self.sql(f"select encode(message_sha256, 'hex') from arrivals where market = 'main'"
                            f" and round = {p['round']} and place = {p['place']}")
            self.assertEqual(leaf, p["message_sha256"])
        self.assertEqual(len({(p["round"], p["place"]) for p in promises}), len(promises))


if __name__ == "__main__":
    unittest.main()
