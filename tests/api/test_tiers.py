"""Tiers: spot leases that leave with notice for a flexible winner or for the machine's owner, gangs of a
hundred devices in one call, and asks that change while leases run."""

import time
import unittest

from harness import ApiCase, manifest, seconds_of

NOTICE_MS, TENURE_MS = 2500, 400
GPU = "NVIDIA GeForce RTX 4090"


def gpus(count, **more):
    return manifest(resources={"device": {"count": count, "models": ["rtx-4090"]}}, **more)


class TiersTest(ApiCase):
    settings = {"spot_notice_ms": NOTICE_MS, "flexible_notice_ms": 3000, "spot_tenure_ms": TENURE_MS,
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
        return [e for e in http.get("/v1/events?after=0&limit=200")["data"] if e["kind"] == kind]

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
        self.assertAlmostEqual(seconds_of(noticed["interrupt_at"]) - time.time(), 1, delta=0.6)  # its grace is left
        stop = {d["lease_id"]: d for d in node.desired}[poor_lease]
        self.assertEqual((stop["stop_reason"], stop["stop_grace_s"]), ("preempted", 1))
        self.assertEqual(sorted(stop["devices"]), sorted({d["lease_id"]: d for d in node.desired}[won]["devices"]))
        self.assert_healthy()
        node.exit(poor_lease, reason="stopped", exit_code=0, healthy_ms=900)
        ended = self.tenant.get(f"/v1/leases/{poor_lease}")
        self.assertEqual((ended["state"], ended["close_reason"]), ("closed", "preempted"))
        self.assertEqual(ended["net_uusd"], price * ended["billed_ms"] // 3600000)
        self.assertGreater(ended["billed_ms"], 0)
        self.assertLessEqual(seconds_of(ended["closed_at"]), seconds_of(noticed["interrupt_at"]) + 2)
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


if __name__ == "__main__":
    unittest.main()
