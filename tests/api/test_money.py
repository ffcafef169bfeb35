"""Money, to the micro-dollar: held, metered from signed receipts, settled, refunded, and never below zero."""

import time
import unittest

from harness import ApiCase, entries_all, manifest, seconds_of

HOUR_MS = 3600000


def bill_of(price, fee_bp, ms):
    """(net, fee): what billing/meter.h says, in Python's own integers."""
    net = price * ms // HOUR_MS
    return net, net * fee_bp // 10000


class MoneyCase(ApiCase):
    def leased(self, tenant, node, **more):
        """(workload, lease id) of a lease that is running on this node, alone."""
        made = tenant.post("/v1/workloads", manifest(**more))
        lease_id = node.take(self)[0]
        node.run(lease_id)
        return made, lease_id

    def lease(self, http, lease_id):
        return http.get(f"/v1/leases/{lease_id}")

    def settled(self, http, lease_id, billed_ms):
        self.until(f"{billed_ms} ms to be settled", lambda: self.lease(http, lease_id)["billed_ms"] == billed_ms, 15)
        return self.lease(http, lease_id)


class LedgerTest(MoneyCase):
    def test_what_the_tenant_paid_is_what_the_operator_earned_and_the_fee(self):
        tenant, node = self.account(10), self.node(price=1234567)
        fee_before = int(self.sql("select balance_uusd from ledger_accounts where kind = 'platform_fee' and currency = 'USD'"))
        made, lease_id = self.leased(tenant, node, reserve_uusd_per_hour=3600000)
        self.assertEqual(made["escrow_uusd"], 600000)  # ten minutes at the reserve
        began = time.monotonic()
        self.until("time for both receipts", lambda: time.monotonic() > began + 1.4)
        node.bill(lease_id, 1111)
        lease = self.settled(tenant, lease_id, 1111)
        self.assertEqual((lease["net_uusd"], lease["fee_uusd"]),
                         bill_of(lease["price_uusd_per_hour"], lease["fee_bp"], 1111))
        node.exit(lease_id, "completed", 0, healthy_ms=1357)
        done = self.until_state(tenant, made["workload_id"], "stopped")
        net, fee = bill_of(lease["price_uusd_per_hour"], lease["fee_bp"], 1357)
        (lease,) = done["leases"]
        self.assertEqual((lease["billed_ms"], lease["net_uusd"], lease["fee_uusd"], done["spent_uusd"]),
                         (1357, net, fee, net + fee))
        self.assertEqual(node.http.get("/v1/balance")["payable_uusd"], net)
        balance = tenant.get("/v1/balance")
        self.assertEqual((balance["wallet_uusd"], balance["escrow_uusd"], balance["burn_uusd_per_hour"]),
                         (10000000 - net - fee, 0, 0))
        fee_after = int(self.sql("select balance_uusd from ledger_accounts where kind = 'platform_fee' and currency = 'USD'"))
        self.assertEqual(fee_after - fee_before, fee)
        self.assertEqual(self.sql("select coalesce(sum(balance_uusd), 0) from ledger_accounts"), "0")

    def test_the_ledger_tells_every_movement_with_its_cause(self):
        tenant, node = self.account(10), self.node(price=1000000)
        made, lease_id = self.leased(tenant, node)
        burn = tenant.get("/v1/balance")
        self.assertEqual(burn["burn_uusd_per_hour"], self.lease(tenant, lease_id)["gross_uusd_per_hour"])
        self.assertGreater(burn["runway_s"], 3600)
        node.exit(lease_id, "completed", 0, healthy_ms=200)
        self.until_state(tenant, made["workload_id"], "stopped")
        entries = entries_all(tenant)
        kinds = [e["kind"] for e in entries][::-1]
        self.assertEqual(kinds[:3], ["credit", "hold", "hold"])
        self.assertIn("lease_close", kinds)
        sums = {}
        for entry in entries:
            sums[entry["ledger_account"]] = sums.get(entry["ledger_account"], 0) + entry["amount_uusd"]
        balance = tenant.get("/v1/balance")
        self.assertEqual(sums.get("lease_escrow", 0), balance["escrow_uusd"])
        self.assertEqual(sums["tenant_wallet"], balance["wallet_uusd"])
        self.assertEqual(len(entries), len({(e["journal_id"], e["line"]) for e in entries}))
        credit = next(e for e in entries if e["kind"] == "credit")
        self.assertEqual((credit["amount_uusd"], credit["memo"]), (10000000, "test credit"))

    def test_nothing_is_billed_that_did_not_run(self):
        """Every end before the container was ready, and an end by the operator's fault, costs nothing."""
        for reason, exit_code in (("image_not_found", None), ("readiness_failed", None)):
            with self.subTest(reason=reason):
                tenant, node = self.account(10), self.node()
                made = tenant.post("/v1/workloads", manifest())
                node.exit(node.take(self)[0], reason, exit_code)
                done = self.until_state(tenant, made["workload_id"], "failed")
                self.assertEqual((done["status_reason"], done["spent_uusd"]), (reason, 0))
                self.assertEqual(tenant.get("/v1/balance")["wallet_uusd"], 10000000)
                node.retire()

    def test_an_owners_stop_right_after_the_award_costs_the_minimum_and_no_more(self):
        tenant, node = self.account(10), self.node(price=1000000)
        made = tenant.post("/v1/workloads", manifest())
        lease_id = node.take(self)[0]
        tenant.delete(f"/v1/workloads/{made['workload_id']}")
        node.step()
        node.exit(lease_id, "stopped", None)
        done = self.until_state(tenant, made["workload_id"], "stopped", timeout_s=30)
        (lease,) = done["leases"]
        self.assertEqual(lease["billed_ms"], 60000)  # the minimum of an order: a minute
        self.assertEqual((lease["net_uusd"], lease["fee_uusd"]),
                         bill_of(lease["price_uusd_per_hour"], lease["fee_bp"], 60000))

    def test_a_node_cannot_bill_more_than_the_clock_saw(self):
        tenant, node = self.account(10), self.node()
        began = time.monotonic()
        made, lease_id = self.leased(tenant, node)
        node.exit(lease_id, "completed", 0, healthy_ms=HOUR_MS)
        lease = self.until_state(tenant, made["workload_id"], "stopped")["leases"][0]
        # By our clock around it: a settlement that the close had to wait for counts up to its own instant.
        self.assertLessEqual(lease["billed_ms"], (time.monotonic() - began) * 1000 + 2)

    def test_a_stop_ends_the_meter_when_the_request_arrives(self):
        tenant, node = self.account(10), self.node()
        made, lease_id = self.leased(tenant, node)
        time.sleep(0.7)
        tenant.delete(f"/v1/workloads/{made['workload_id']}")
        stopped = time.time()
        time.sleep(1.0)  # the container takes its grace; the tenant does not pay for that
        node.step()
        node.exit(lease_id, "stopped", None, healthy_ms=HOUR_MS)
        lease = self.until_state(tenant, made["workload_id"], "stopped")["leases"][0]
        self.assertLessEqual(lease["billed_ms"], (stopped - seconds_of(lease["running_at"])) * 1000 + 2)
        self.assertGreaterEqual(lease["billed_ms"], 700)

    def test_money_that_runs_out_ends_the_lease_at_the_computed_millisecond(self):
        """360 USD an hour is 0.1 USD a second; the budget of three seconds bounds what is held as well."""
        tenant, node = self.account(60), self.node(price=300000000)
        made, lease_id = self.leased(tenant, node, reserve_uusd_per_hour=360000000, max_duration_s=2592000,
                                     budget_uusd=300000)
        self.assertEqual(made["escrow_uusd"], 300000)
        lease = self.lease(tenant, lease_id)
        price, fee_bp = lease["price_uusd_per_hour"], lease["fee_bp"]

        def report():
            node.leases.get(lease_id, {})["healthy_ms"] = 20000
            node.step([node.receipt(lease_id)] if lease_id in node.leases else [])
            return lease_id not in node.leases or next(
                d for d in node.desired if d["lease_id"] == lease_id)["want"] == "stop"
        self.until("the broker to stop it", report, 20)
        self.assertEqual(node.desired[0]["stop_reason"], "budget_reached")
        node.exit(lease_id, "stopped", None)
        done = self.until_state(tenant, made["workload_id"], "stopped", "failed")
        self.assertEqual(done["status_reason"], "budget_reached")
        gross = done["leases"][0]["gross_uusd"]
        ms = done["leases"][0]["billed_ms"]
        self.assertLessEqual(gross, 300000)
        self.assertGreater(sum(bill_of(price, fee_bp, ms + 1)), 300000, "one more millisecond would not have been paid")
        self.assertEqual(tenant.get("/v1/balance")["wallet_uusd"], 60000000 - gross)

    def test_two_leases_drain_one_wallet_to_zero_and_never_below(self):
        """Both want ten more minutes of escrow at every tick; the wallet has three seconds."""
        tenant = self.account(0)
        self.stack.admin().post("/v1/admin/credits", {"account_id": tenant.account_id, "amount_uusd": 120300000},
                                {"Idempotency-Key": f"drain-{tenant.account_id}"})
        node = self.node(price=300000000, slots=2)
        made = tenant.post("/v1/workloads", manifest(replicas=2, reserve_uusd_per_hour=360000000, max_duration_s=2592000))
        leases = node.take(self, 2)
        node.run(*leases)
        # Escrow of 60 USD each is ten minutes; make it three seconds' worth, as if the minutes had passed.
        for lease_id in leases:
            node.leases[lease_id]["healthy_ms"] = 3000
        self.until("a settlement", lambda: (node.sync([node.receipt(*leases)]),
                                            tenant.get("/v1/balance"))[1]["wallet_uusd"] < 300000, 20)
        balance = tenant.get("/v1/balance")
        self.assertGreaterEqual(balance["wallet_uusd"], 0)
        self.assertEqual(balance["burn_uusd_per_hour"],
                         sum(self.lease(tenant, i)["gross_uusd_per_hour"] for i in leases))
        tenant.delete(f"/v1/workloads/{made['workload_id']}")
        node.step()
        for lease_id in leases:
            node.exit(lease_id, "stopped", None)
        self.until_state(tenant, made["workload_id"], "stopped")
        self.assert_healthy()


class ExhaustionTest(MoneyCase):
    """Ten seconds are held in advance, so that a wallet can run dry while one watches."""

    settings = {"hold_s": 10, "settle_interval_ms": 300}

    def test_a_wallet_that_runs_dry_ends_the_lease_at_the_computed_second(self):
        tenant, node = self.account(1), self.node(price=300000000)  # a dollar is ten seconds at 360 an hour
        made, lease_id = self.leased(tenant, node, reserve_uusd_per_hour=360000000, max_duration_s=2592000)
        began = time.monotonic()
        lease = self.lease(tenant, lease_id)
        self.assertEqual(tenant.get("/v1/balance")["wallet_uusd"], 0)
        lasts_ms = 1000000 * HOUR_MS // lease["gross_uusd_per_hour"]

        def report():
            node.leases[lease_id]["healthy_ms"] = int((time.monotonic() - began) * 1000)
            node.sync([node.receipt(lease_id)])
            self.assertGreaterEqual(tenant.get("/v1/balance")["wallet_uusd"], 0)
            return [d for d in node.desired if d["want"] == "stop"]
        self.until("the money to run out", report, 30)
        self.assertAlmostEqual(time.monotonic() - began, lasts_ms / 1000, delta=6)
        self.assertEqual(node.desired[0]["stop_reason"], "funds_exhausted")
        node.exit(lease_id, "stopped", None, healthy_ms=60000)
        done = self.until_state(tenant, made["workload_id"], "stopped", "failed")
        (lease,) = done["leases"]
        self.assertEqual((done["status_reason"], lease["close_reason"]), ("funds_exhausted", "funds_exhausted"))
        self.assertLessEqual(lease["gross_uusd"], 1000000)
        self.assertGreater(sum(bill_of(lease["price_uusd_per_hour"], lease["fee_bp"], lease["billed_ms"] + 1)), 1000000)
        balance = tenant.get("/v1/balance")
        self.assertEqual((balance["wallet_uusd"], balance["escrow_uusd"]), (1000000 - lease["gross_uusd"], 0))

    def test_a_top_up_in_time_keeps_it_running(self):
        tenant, node = self.account(1), self.node(price=300000000)
        made, lease_id = self.leased(tenant, node, reserve_uusd_per_hour=360000000, max_duration_s=2592000)
        self.stack.admin().post("/v1/admin/credits", {"account_id": tenant.account_id, "amount_uusd": 100000000},
                                {"Idempotency-Key": f"up-{tenant.account_id}"})
        began = time.monotonic()

        def report():
            node.leases[lease_id]["healthy_ms"] = int((time.monotonic() - began) * 1000)
            node.sync([node.receipt(lease_id)])
            self.assertEqual([d["want"] for d in node.desired], ["run"])
            return time.monotonic() - began > 12
        self.until("more time than the first dollar buys", report, 30)
        node.exit(lease_id, "completed", 0)
        done = self.until_state(tenant, made["workload_id"], "stopped")
        self.assertGreater(done["spent_uusd"], 1000000)
        self.assertEqual(tenant.get("/v1/balance")["wallet_uusd"], 101000000 - done["spent_uusd"])


class IntervalTest(MoneyCase):
    """However often one settles, the total is the same."""

    def run_once(self, interval_ms):
        self.broker.stop()
        self.broker.settings["settle_interval_ms"] = interval_ms
        self.broker.start()
        tenant, node = self.account(100), self.node(price=97313131)
        made, lease_id = self.leased(tenant, node, reserve_uusd_per_hour=333333333)
        began = time.monotonic()
        for healthy_ms in (301, 702, 1103, 1777):
            self.until("that much time", lambda ms=healthy_ms: (time.monotonic() - began) * 1000 > ms + 50)
            node.bill(lease_id, healthy_ms)
        self.until("the rest of it", lambda: (time.monotonic() - began) * 1000 > 2053)
        node.exit(lease_id, "completed", 0, healthy_ms=2003)
        done = self.until_state(tenant, made["workload_id"], "stopped")
        (lease,) = done["leases"]
        count = int(self.sql("select count(*) from settlements s join leases l using (lease_id) join workloads w"
                             f" using (workload_id) where w.name = '{made['name']}'"))
        node.retire()
        self.assertEqual((lease["net_uusd"], lease["fee_uusd"]), bill_of(lease["price_uusd_per_hour"], 1000, 2003))
        self.assertEqual(100000000 - tenant.get("/v1/balance")["wallet_uusd"], lease["net_uusd"] + lease["fee_uusd"])
        return count

    def test_settling_ten_times_a_second_or_once_an_hour_gives_the_total_of_the_receipts(self):
        self.assertGreaterEqual(self.run_once(100), 3)
        self.assertEqual(self.run_once(3600000), 1)


if __name__ == "__main__":
    unittest.main()
