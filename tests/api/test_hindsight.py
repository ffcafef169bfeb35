"""An operator's own ask in the rounds of the past: what became of it, and what another would have come to."""

import unittest

from harness import ApiCase, manifest

PATH = "/v1/asks/cpu-1c2g/eu-west"


class Hindsight(ApiCase):
    settings = {"sealed_age_ms": 100, "openings_age_s": 1}

    def setUp(self):
        super().setUp()
        self.sellers = [self.node(price=100000 * (i + 1), slots=1) for i in range(3)]
        self.tenant = self.account()
        for seller in self.sellers:  # an ask that stands keeps the rounds of the next test closed
            self.addCleanup(seller.http.raw, "DELETE", PATH)

    def trade(self, replicas=1, reserve=3600000):
        """One workload at the cheapest, and the round that awarded it, once that is old enough."""
        made = self.tenant.post("/v1/workloads", manifest(replicas=replicas, reserve_uusd_per_hour=reserve))
        self.until_state(self.tenant, made["workload_id"], "starting")
        number = int(self.sql("select max(round) from rounds where awards_count > 0"))
        self.until("the round to be old enough", lambda: any(
            r["round"] == number for r in self.sellers[0].http.get(f"{PATH}/explain?rounds=200")["rounds"]))
        return number

    def lot_of(self, seller, number):
        rounds = seller.http.get(f"{PATH}/explain?rounds=200")["rounds"]
        return next(r for r in rounds if r["round"] == number)["lots"][0]

    def test_a_winner_and_losers_learn_their_own_fate(self):
        number = self.trade()
        index = int(self.sql(f"select index_uusd_per_hour from lot_rounds where round = {number}"))
        won, tied, lost = (self.lot_of(s, number) for s in self.sellers)
        self.assertEqual((won["fate"], won["sold_count"], won["index_uusd_per_hour"]), ("sold", 1, index))
        self.assertEqual((tied["fate"], tied["gap_uusd_per_hour"], tied["score_uusd_per_hour"]), ("tied", 0, index))
        self.assertEqual((lost["fate"], lost["gap_uusd_per_hour"]), ("above_index", lost["score_uusd_per_hour"] - index))
        self.assertEqual(lost["gap_uusd_per_hour"], 100000)

    def test_what_is_not_offered_is_told_with_its_reason(self):
        self.trade()
        self.assertEqual(self.sellers[0].http.get(f"{PATH}/explain")["devices"],
                         {"devices_count": 1, "silent": 0, "opted_out": 0, "reclaimed": 0, "floor_differs": 0, "suspect": 0,
                          "leased": 1, "offered": 0})
        self.sellers[1].sync(is_opted_in=False)
        self.sellers[2].http.put(PATH, {"price_uusd_per_device_hour": 900000})
        self.assertEqual(self.sellers[1].http.get(f"{PATH}/explain")["devices"]["opted_out"], 1)
        self.assertEqual(self.sellers[2].http.get(f"{PATH}/explain")["devices"]["floor_differs"], 1)
        self.sellers[2].http.delete(PATH)
        told = self.sellers[2].http.get(f"{PATH}/explain")
        self.assertEqual((told["is_standing"], told["devices"]["offered"]), (False, 0))

    def backtest(self, seller, price):
        return seller.http.get(f"{PATH}/backtest?price_uusd_per_device_hour={price}&rounds=1000")

    def test_live_asks_of_rivals_are_never_replayed(self):
        self.trade()
        loser = self.sellers[2]
        first = self.backtest(loser, 150000)
        self.assertEqual(first["replayed"]["rounds_count"], 0)
        self.assertEqual((first["estimated"]["sold_count"], first["estimated"]["would_count"]), (0, 1))
        # At every price the estimate knows the index alone: it falls at the index and nowhere else.
        index = int(self.sql("select max(index_uusd_per_hour) from lot_rounds"))
        adder = int(self.sql("select max(adder_uusd_per_hour) from leases"))
        self.assertEqual([self.backtest(loser, index - adder + i)["estimated"]["would_count"] for i in (-1, 0)], [1, 0])

    def test_rounds_that_are_open_are_replayed_exactly(self):
        number = self.trade()
        loser = self.sellers[2]
        for rival in self.sellers[:2]:
            rival.http.put(PATH, {"price_uusd_per_device_hour": 777777})
        self.until("the rivals' old asks to be open",
                   lambda: self.backtest(loser, 150000)["replayed"]["lots_count"] > 0)
        asked = {price: self.backtest(loser, price)["replayed"] for price in (50000, 99999, 150000, 300000)}
        self.assertEqual([(p, s["would_count"]) for p, s in asked.items()],
                         [(50000, 1), (99999, 1), (150000, 0), (300000, 0)], number)
        # Truthful whatever it asks below: it is paid what the cheapest rival asked.
        self.assertEqual({asked[p]["would_revenue_uusd_per_hour"] for p in (50000, 99999)}, {100000})
        self.assertEqual(asked[150000]["revenue_uusd_per_hour"], 0)

    def test_nobody_sees_anothers_and_nothing_is_guessed(self):
        self.refused(404, "not_found", self.tenant.get, f"{PATH}/explain")
        self.refused(404, "not_found", self.tenant.get, f"{PATH}/backtest?price_uusd_per_device_hour=1")
        self.refused(422, "invalid_field", self.sellers[0].http.get, f"{PATH}/backtest")
        self.refused(422, "invalid_field", self.sellers[0].http.get, f"{PATH}/backtest?price_uusd_per_device_hour=0")
        self.refused(422, "invalid_field", self.sellers[0].http.get, f"{PATH}/explain?rounds=0")


if __name__ == "__main__":
    unittest.main()
