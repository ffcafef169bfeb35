"""Tiers: spot leases that leave with notice for a flexible winner or for the machine's owner, gangs of a
hundred devices in one call, and asks that change while leases run."""

import time
import unittest

from harness import ApiCase, manifest, seconds_of

NOTICE_MS, TENURE_MS = 3500, 400
GPU = "NVIDIA GeForce RTX 4090"


def gpus(count, **more):
    return manifest(resources={"device": {"count": count, "models": ["rtx-4090"]}}, **more)


class TiersTest(ApiCase):
    settings = {"spot_notice_ms": NOTICE_MS, "flexible_notice_ms": 4000, "spot_tenure_ms": TENURE_MS,
                "final_receipt_ms": 2000}

    def setUp(self):
        super().setUp()
        self.tenant = self.account(1000)

    def lease_of(self, workload, role=""):
        """Its newest lease."""
        return self.tenant.get(f"/v1/workloads/{workload['workload_id']}?expand=leases")["leases"][0]

    def started(self, node, count=1, **fields):
        """Posts a workload and runs it on `node`; the workload and its lease's id."""
        before = set(node.leases)
        made = self.tenant.post("/v1/workloads", manifest(**fields))
        self.until("an award", lambda: len(set(node.step(hold_ms=200)) - before) >= count)
        fresh = sorted(set(node.leases) - before)
        node.run(*fresh)
        return made, fresh[0]

    def events(self, http, kind):
        return [e for e in self.events_until_now(http) if e["kind"] == kind]

    def test_a_flexible_winner_evicts_the_lowest_reserve_with_notice(self):
        node = self.node(slots=2, price=1000000)
        rich, rich_lease = self.started(node, tier="spot", reserve_uusd_per_hour=3000000)
        poor, poor_lease = self.started(node, tier="spot", reserve_uusd_per_hour=2000000, stop_grace_s=1)
        self.assertEqual({d["lease_id"] for d in node.http.get(f"/v1/nodes/{node.node_id}")["devices"]},
                         {rich_lease, poor_lease})
        price = self.lease_of(poor)["price_uusd_per_hour"]
        time.sleep(TENURE_MS / 1000)
        winner = self.tenant.post("/v1/workloads", manifest(tier="flexible"))
        self.until("the award", lambda: len(node.step(hold_ms=200)) == 3)
        won = (set(node.leases) - {rich_lease, poor_lease}).pop()
        self.assertEqual(self.tenant.get(f"/v1/leases/{won}")["state"], "starting")  # acknowledged, and waiting

        noticed = self.lease_of(poor)
        self.assertEqual((noticed["state"], noticed["interrupt_reason"], noticed["tier"]),
                         ("running", "preempted", "spot"))
        self.assertIsNone(self.lease_of(rich)["interrupt_at"])
        for http, is_tenant in ((self.tenant, True), (node.http, False)):
            event, = self.events(http, "lease.interruption_notice")
            self.assertEqual((event["lease_id"], event["data"]["reason"]), (poor_lease, "preempted"))
            self.assertEqual("workload_id" in event and event["workload_id"] is not None, is_tenant)
            self.assertAlmostEqual(seconds_of(event["data"]["interrupt_at"]),
                                   seconds_of(noticed["interrupt_at"]), delta=0.001)
        wanted = {d["lease_id"]: d for d in node.desired}
        self.assertEqual(wanted[poor_lease]["interrupt_at_us"] // 1000, int(seconds_of(noticed["interrupt_at"]) * 1000))
        self.assertIsNone(wanted[rich_lease]["interrupt_at_us"])

        self.until("the stop", lambda: node.step(hold_ms=200)[poor_lease]["want"] == "stop")
        self.assertEqual(self.sql("select ms_between(stop_at, interrupt_at) || ' ' || (cut_at >= stop_at) from leases"
                                  " where state = 'closing'"), "1000 true")  # its grace was left
        stop = {d["lease_id"]: d for d in node.desired}[poor_lease]
        self.assertEqual((stop["stop_reason"], stop["stop_grace_s"]), ("preempted", 1))
        self.assertEqual(sorted(stop["devices"]), sorted({d["lease_id"]: d for d in node.desired}[won]["devices"]))
        self.assert_healthy()
        node.exit(poor_lease, reason="stopped", exit_code=0, healthy_ms=900)
        ended = self.tenant.get(f"/v1/leases/{poor_lease}")
        self.assertEqual((ended["state"], ended["close_reason"]), ("closed", "preempted"))
        self.assertEqual(ended["net_uusd"], price * ended["billed_ms"] // 3600000)
        self.assertGreater(ended["billed_ms"], 0)
        self.assertLessEqual(seconds_of(ended["closed_at"]), seconds_of(noticed["interrupt_at"]) + 5)
        node.run(won)
        self.assertEqual(self.tenant.get(f"/v1/leases/{won}")["state"], "running")
        self.assertEqual({d["lease_id"] for d in node.http.get(f"/v1/nodes/{node.node_id}")["devices"]},
                         {rich_lease, won})

        # The one that left is in the auction again, and goes back to a block that comes free.
        self.assertEqual(self.tenant.get(f"/v1/workloads/{poor['workload_id']}")["replicas_auctioning"], 1)
        self.tenant.delete(f"/v1/workloads/{winner['workload_id']}")
        node.step()
        node.exit(won, reason="stopped", healthy_ms=10)
        self.until("the spot replica to be back", lambda: set(node.step(hold_ms=200)) - {rich_lease, won})
        again = self.tenant.get(f"/v1/workloads/{poor['workload_id']}?expand=leases")["leases"][0]
        self.assertEqual((again["epoch"], again["state"]), (2, "starting"))
        self.assert_healthy()

    def test_on_interruption_stop_ends_the_replica(self):
        node = self.node(slots=1)
        made, lease_id = self.started(node, tier="spot", on_interruption="stop", stop_grace_s=0)
        time.sleep(TENURE_MS / 1000)
        self.tenant.post("/v1/workloads", manifest())
        self.until("the award", lambda: len(node.step(hold_ms=200)) == 2)
        noticed = self.lease_of(made)
        self.until("the stop", lambda: node.step(hold_ms=200)[lease_id]["want"] == "stop")
        self.assertGreaterEqual(time.time(), seconds_of(noticed["interrupt_at"]) - 0.05)  # no grace: at its end
        node.exit(lease_id, reason="stopped", healthy_ms=100)
        ended = self.until_state(self.tenant, made["workload_id"], "failed")
        self.assertEqual((ended["status_reason"], ended["escrow_uusd"]), ("preempted", 0))

    def test_tenure_free_blocks_and_equals_protect_spot(self):
        node = self.node(slots=2)
        made, lease_id = self.started(node, tier="spot")
        _, flexible = self.started(node)   # the free one: nobody leaves for it
        self.assertNotEqual(flexible, lease_id)
        self.assertIsNone(self.lease_of(made)["interrupt_at"])
        time.sleep(TENURE_MS / 1000)
        waiting = self.tenant.post("/v1/workloads", manifest(tier="spot"))  # spot does not evict spot
        now = self.tenant.post("/v1/workloads", manifest(award="now"))  # nothing is free at once: a round serves it
        self.until("the next round to serve it",
                   lambda: self.tenant.get(f"/v1/workloads/{now['workload_id']}")["state"] == "starting")
        self.assertEqual(self.lease_of(made)["interrupt_reason"], "preempted")
        self.assertEqual(self.sql("select kind from rounds r join leases l using (market, round) join workloads w"
                                  " using (workload_id) where w.award = 'now'"), "auction")
        self.assertEqual(self.tenant.get(f"/v1/workloads/{waiting['workload_id']}")["state"], "auctioning")

    def test_a_winner_that_leaves_early_frees_the_way(self):
        node = self.node(slots=1)
        made, lease_id = self.started(node, tier="spot", stop_grace_s=0)
        time.sleep(TENURE_MS / 1000)
        winner = self.tenant.post("/v1/workloads", manifest())
        self.until("the award", lambda: len(node.step(hold_ms=200)) == 2)
        won = (set(node.leases) - {lease_id}).pop()
        self.tenant.delete(f"/v1/workloads/{winner['workload_id']}")
        node.step()
        node.exit(won, reason="stopped", exit_code=None)
        self.until("the spot replica's way back", lambda: node.step(hold_ms=200)[lease_id]["want"] == "stop")
        node.exit(lease_id, reason="stopped", healthy_ms=100)  # a notice stands
        self.until("the same replica", lambda: set(node.step(hold_ms=200)) - {lease_id, won})
        self.assertEqual(self.lease_of(made)["state"], "starting")

    def test_a_large_block_takes_several_leases(self):
        node = self.node(slots=4, model=GPU, price=300000)
        spots = [self.tenant.post("/v1/workloads", gpus(1, tier="spot")) for _ in range(3)]
        leases = node.take(self, 3)
        node.run(*leases)
        time.sleep(TENURE_MS / 1000)
        self.tenant.post("/v1/workloads", gpus(4))
        self.until("the award", lambda: len(node.step(hold_ms=200)) == 4)
        self.assertEqual([self.lease_of(w)["interrupt_reason"] for w in spots], ["preempted"] * 3)
        won = (set(node.leases) - set(leases)).pop()
        self.assertEqual(len({d["lease_id"]: d for d in node.desired}[won]["devices"]), 4)
        for lease_id in leases:
            self.until("its stop", lambda i=lease_id: node.step(hold_ms=200)[i]["want"] == "stop")
            node.exit(lease_id, reason="stopped", healthy_ms=100)
        self.assertEqual({d["lease_id"] for d in node.http.get(f"/v1/nodes/{node.node_id}")["devices"]}, {won})

    def test_an_owner_takes_a_machine_back_with_notice_and_sells_it_again(self):
        node = self.node(slots=3)
        spot, spot_lease = self.started(node, tier="spot", stop_grace_s=1)
        flexible, flexible_lease = self.started(node, tier="flexible", on_interruption="stop", stop_grace_s=1)
        stranger = self.account(0)
        self.refused(404, "not_found", stranger.post, f"/v1/nodes/{node.node_id}/reclaim", {})
        self.refused(404, "not_found", node.http.post, f"/v1/nodes/{node.node_id}/reclaim",
                     {"lease_id": "lse_01jd3k0000000000000000000a"})
        for _ in range(2):  # safe to repeat
            self.assertEqual(node.http.post(f"/v1/nodes/{node.node_id}/reclaim", {})["leases_count"], 2)
        seen = node.http.get(f"/v1/nodes/{node.node_id}")
        self.assertIsNotNone(seen["reclaimed_at"])
        self.assertEqual([d["is_reclaimed"] for d in seen["devices"]], [True] * 3)
        self.until("the notices", lambda: self.lease_of(spot)["interrupt_at"] and self.lease_of(flexible)["interrupt_at"])
        notices = {e["lease_id"]: e for e in self.events(self.tenant, "lease.interruption_notice")}
        self.assertEqual(set(notices), {spot_lease, flexible_lease})
        for lease_id, notice_s in ((spot_lease, NOTICE_MS / 1000), (flexible_lease, 4)):
            notice = notices[lease_id]
            self.assertEqual(notice["data"]["reason"], "operator_reclaimed")
            self.assertAlmostEqual(seconds_of(notice["data"]["interrupt_at"]) - seconds_of(notice["at"]), notice_s,
                                   delta=0.01)
        shown = self.tenant.get(f"/v1/workloads/{spot['workload_id']}")
        self.assertEqual(shown["interrupt_at"], self.lease_of(spot)["interrupt_at"])
        waiting = self.tenant.post("/v1/workloads", manifest())  # the third slot is not for sale
        for lease_id in (spot_lease, flexible_lease):
            self.until("its stop", lambda i=lease_id: node.step(hold_ms=200)[i]["want"] == "stop")
            node.exit(lease_id, reason="stopped", exit_code=143, healthy_ms=700)
            ended = self.tenant.get(f"/v1/leases/{lease_id}")
            self.assertEqual(ended["close_reason"], "operator_reclaimed")
            self.assertGreater(ended["billed_ms"], 0)
        self.assertEqual(self.tenant.get(f"/v1/workloads/{flexible['workload_id']}")["status_reason"],
                         "operator_reclaimed")
        states = [self.tenant.get(f"/v1/workloads/{w['workload_id']}")["state"] for w in (spot, waiting)]
        self.assertEqual(states, ["auctioning"] * 2)
        self.assertEqual(self.sql("select count(*) from node_outcomes join nodes using (node_id)"
                                  f" where is_failure and name = '{node.name}'"), "0")
        for _ in range(2):
            self.assertEqual(node.http.delete(f"/v1/nodes/{node.node_id}/reclaim"),
                             {"node_id": node.node_id, "leases_leaving_count": 0, "leases_staying_count": 0})
        self.until("both to be served", lambda: len(node.step(hold_ms=200)) == 2)
        self.assertEqual([e["kind"] for e in self.events_until_now(node.http)
                          if e["kind"] in ("node.reclaimed", "node.resumed")], ["node.reclaimed", "node.resumed"])

    def test_one_lease_reclaimed_leaves_the_rest_of_the_node_on_sale(self):
        node = self.node(slots=2)
        kept, kept_lease = self.started(node)
        taken, taken_lease = self.started(node, stop_grace_s=3)
        at = [d["lease_id"] for d in node.http.get(f"/v1/nodes/{node.node_id}")["devices"]].index(taken_lease)
        node.http.post(f"/v1/nodes/{node.node_id}/reclaim", {"lease_id": taken_lease})
        self.until("its stop", lambda: node.step(hold_ms=200)[taken_lease]["want"] == "stop")
        self.assertIsNone(self.lease_of(kept)["interrupt_at"])
        node.exit(taken_lease, reason="stopped", healthy_ms=100)
        self.assertEqual(self.tenant.get(f"/v1/workloads/{taken['workload_id']}")["state"], "auctioning")
        self.tenant.delete(f"/v1/workloads/{kept['workload_id']}")
        node.step()
        node.exit(kept_lease, reason="stopped", healthy_ms=100)
        self.until("the other slot's sale", lambda: len(set(node.step(hold_ms=200)) - {kept_lease, taken_lease}) == 1)
        self.assertEqual([d["is_reclaimed"] for d in node.http.get(f"/v1/nodes/{node.node_id}")["devices"]],
                         [i == at for i in range(2)])

    def test_a_program_that_leaves_at_its_notice_goes_on_elsewhere(self):
        node, other = self.node(slots=1), self.node(slots=1, price=2000000)
        made, lease_id = self.started(node, tier="spot", restart="never", stop_grace_s=0)
        node.http.post(f"/v1/nodes/{node.node_id}/reclaim", {})
        self.until("the notice", lambda: self.lease_of(made)["interrupt_at"])
        node.exit(lease_id, reason="command_failed", exit_code=1, healthy_ms=100)
        self.assertEqual(self.tenant.get(f"/v1/leases/{lease_id}")["close_reason"], "operator_reclaimed")
        other.take(self)

    def test_an_ask_names_its_tiers_and_their_price(self):
        node = self.node(slots=2, price=1000000)
        path = "/v1/asks/cpu-1c2g/eu-west"
        self.assertEqual(node.http.get("/v1/asks")["data"][0]["tiers"], ["flexible", "spot"])
        self.refused(422, "invalid_field", node.http.put, path, {"price_uusd_per_device_hour": 1000000, "tiers": []})
        self.refused(422, "invalid_field", node.http.put, path, {"price_uusd_per_device_hour": 1000000,
                                                                 "tiers": ["gold"]})
        closed = self.refused(422, "tier_closed", node.http.put, path, {"price_uusd_per_device_hour": 1000000,
                                                                        "tiers": ["spot", "guaranteed"]})
        self.assertEqual([e["pointer"] for e in closed["errors"]], ["/tiers/1"])  # no tenant may order it
        stored = node.http.put(path, {"price_uusd_per_device_hour": 1000000, "spot_multiplier_bp": 5000,
                                      "tiers": ["spot"]})["ask"]
        self.assertEqual((stored["tiers"], stored["spot_multiplier_bp"]), (["spot"], 5000))
        flexible = self.tenant.post("/v1/workloads", manifest())
        spot = self.tenant.post("/v1/workloads", manifest(tier="spot", reserve_uusd_per_hour=600000))
        self.until("spot to be served", lambda: self.tenant.get(f"/v1/workloads/{spot['workload_id']}")["state"]
                   == "starting")
        lease = self.lease_of(spot)
        self.assertEqual(lease["tier"], "spot")
        self.assertLess(lease["price_uusd_per_hour"], 600000)  # its ask alone would be 1000000
        self.assertEqual(self.tenant.get(f"/v1/workloads/{flexible['workload_id']}")["state"], "auctioning")
        node.http.put(path, {"price_uusd_per_device_hour": 1000000, "tiers": ["spot", "flexible"]})
        self.until("flexible to be served", lambda: self.tenant.get(f"/v1/workloads/{flexible['workload_id']}")["state"]
                   == "starting")
        self.assertEqual(node.http.get("/v1/asks")["data"][0]["tiers"], ["flexible", "spot"])

    def test_asks_change_at_any_time_and_leases_keep_their_price(self):
        node, path = self.node(slots=3, price=None), "/v1/asks/cpu-1c2g/eu-west"
        first = node.http.put(path, {"price_uusd_per_device_hour": 1000000})
        made, lease_id = self.started(node, reserve_uusd_per_hour=1500000)
        price = self.lease_of(made)["price_uusd_per_hour"]
        raised = node.http.put(path, {"price_uusd_per_device_hour": 2000000})
        self.assertGreater(raised["promise"]["round"], first["promise"]["round"])
        self.assertEqual(raised["ask"]["version"], 2)
        waiting = self.tenant.post("/v1/workloads", manifest(reserve_uusd_per_hour=1500000))
        self.until("a round without an award", lambda: int(self.sql(
            "select max(round) from rounds where state = 'committed'")) > waiting["promise"]["round"])
        self.assertEqual(self.tenant.get(f"/v1/workloads/{waiting['workload_id']}")["state"], "auctioning")
        improved = node.http.put(path, {"price_uusd_per_device_hour": 1100000})
        self.until("the improved ask to win", lambda: len(node.step(hold_ms=200)) == 2)
        second = self.lease_of(waiting)
        self.assertGreaterEqual(second["round"], improved["promise"]["round"])  # it counts from its promise on
        self.assertGreaterEqual(second["price_uusd_per_hour"], 1100000)
        node.http.delete(path)
        third = self.tenant.post("/v1/workloads", manifest())
        self.until("a round without an award", lambda: int(self.sql(
            "select max(round) from rounds where state = 'committed'")) > third["promise"]["round"])
        self.assertEqual(self.tenant.get(f"/v1/workloads/{third['workload_id']}")["state"], "auctioning")
        node.bill(lease_id, 500)
        kept = self.lease_of(made)
        self.assertEqual((kept["state"], kept["price_uusd_per_hour"]), ("running", price))
        node.http.put(path, {"price_uusd_per_device_hour": 1200000})
        self.until("the ask that is back to win", lambda: len(node.step(hold_ms=200)) == 3)


class GangTest(ApiCase):
    """A hundred devices in one call: in one round, all or none."""

    def awarded_at_once(self, nodes, workload, replicas):
        tenant = self.account(10000)
        made = tenant.post("/v1/workloads", workload)
        path = f"/v1/workloads/{made['workload_id']}"
        self.until("a round that looked at it", lambda: int(self.sql(
            "select coalesce(max(round), 0) from rounds where state = 'committed'")) > made["promise"]["round"])
        self.assertEqual((tenant.get(path)["state"], tenant.get(path)["replicas_auctioning"]), ("auctioning", replicas))
        nodes.append(self.node(slots=8, model=GPU, price=300000))  # the one that was missing
        self.until("the award", lambda: tenant.get(path)["state"] == "starting", 30)
        leases = self.sql(f"select count(*), count(distinct round), count(distinct node_id), sum(cardinality(device_ids))"
                          f" from leases join workloads w using (workload_id) where w.name = '{made['name']}'")
        for node in nodes:
            node.step()
        tenant.delete(path)
        for node in nodes:
            node.step()
            for lease_id in list(node.leases):
                node.exit(lease_id, reason="stopped", exit_code=None)
        self.until("its end", lambda: tenant.get(path)["terminal"])
        return leases

    def test_a_hundred_times_one_device_and_thirteen_times_eight(self):
        nodes = [self.node(slots=8, model=GPU, price=300000) for _ in range(12)]
        self.assertEqual(self.awarded_at_once(nodes, gpus(1, replicas=100, name="wide"), 100), "100|1|13|100")
        nodes.pop().retire()
        self.assertEqual(self.awarded_at_once(nodes, gpus(8, replicas=13, name="deep"), 13), "13|1|13|104")


if __name__ == "__main__":
    unittest.main()
