"""Processes die at random moments: nothing is doubled, nothing is lost, the sum stays zero.

Runners are simulated, so that fifty leases fit on one machine. The seed of the random moments is printed;
UNDERCUT_SEED=n repeats it.
"""

import json
import os
import signal
import threading
import time
import unittest

import stack as st
from harness import ApiCase, manifest, simulated

QUICK_LOSS = {"node_unknown_ms": 2000, "node_lost_ms": 5000, "sync_hold_ms": 500, "ack_timeout_ms": 3000}
REGIONS = {"regions": ["eu-west", "us-east"], "trust_min": "simulated"}


class FaultCase(ApiCase):
    statuses_5xx_expected = (503, 504)

    def workloads_post(self, tenant, count, run_s, **more):
        return [self.through(lambda i=i: tenant.post("/v1/workloads", simulated(
            restart="on_failure", price_policy="limit", placement=REGIONS, max_duration_s=3600,
            env={"UNDERCUT_SIM_RUN_S": str(run_s)}, **more), {"Idempotency-Key": f"w{i}"})) for i in range(count)]

    def through(self, call, timeout_s=30):
        """A client that retries, as one should: with the same key it happens once."""
        last = []

        def attempt():
            try:
                return (call(),)
            except (OSError, st.HttpError) as e:
                if isinstance(e, st.HttpError) and e.status < 500:
                    raise
                last[:] = [e]
                return None
        try:
            return st.wait_until("an answer", timeout_s, attempt)[0]
        except st.StackError as e:
            raise AssertionError(f"{e}: {last}") from e

    def all_ended(self, tenant, count, timeout_s):
        def probe():
            listed = self.through(lambda: tenant.get("/v1/workloads?limit=200"))["data"]
            return len(listed) == count and all(w["terminal"] for w in listed) and listed
        try:
            return st.wait_until(f"{count} workloads to end", timeout_s, probe)
        except st.StackError as e:
            raise AssertionError(f"{e}\n" + self.sql(
                "select w.state, r.state, r.epoch, l.state, l.close_reason, n.state, n.name from workloads w"
                " join replicas r using (workload_id) left join leases l using (replica_id)"
                " left join nodes n using (node_id) where w.ended_at is null order by r.replica_id, l.lease_id limit 60")) from e

    def assert_books_are_right(self, tenant, credited_uusd):
        """No replica ran twice at once, nothing is held for what has ended, and every cent is somewhere."""
        self.assert_healthy()
        self.assertEqual(self.sql("""select count(*) from leases a join leases b using (replica_id)
            where a.lease_id < b.lease_id and a.awarded_at < coalesce(b.closed_at, 'infinity')
              and b.awarded_at < coalesce(a.closed_at, 'infinity')"""), "0", "two leases of one replica overlap")
        self.assertEqual(self.sql("select count(*) from leases where state <> 'closed'"), "0")
        self.assertEqual(self.sql("select count(*) from devices where lease_id is not null"), "0")
        paid = int(self.sql("select coalesce(sum(net_uusd + fee_uusd), 0) from leases"))
        balance = self.through(lambda: tenant.get("/v1/balance"))
        self.assertEqual((balance["escrow_uusd"], balance["wallet_uusd"]), (0, credited_uusd - paid))
        earned = self.sql("select coalesce(sum(balance_uusd), 0) from ledger_accounts"
                          " where kind in ('operator_payable', 'platform_fee')")
        self.assertEqual(int(earned), paid)


class HangTest(FaultCase):
    """A database that neither answers nor dies."""

    def test_requests_fail_in_time_while_the_database_hangs_and_nothing_is_lost_afterwards(self):
        http = self.account(10)
        pids = [self.stack.postgres.process.pid, *map(int, st.run(
            ["ps", "-o", "pid=", "--ppid", str(self.stack.postgres.process.pid)]).split())]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            self.assertEqual(http.raw("GET", "/healthz")[0], 200)  # the process itself is well
            answers = self.at_once(8, lambda i: http.raw(
                "POST", "/v1/workloads", manifest(name=f"n{i}"), {"Idempotency-Key": f"hang-{i}"}))
            self.assertLess(time.monotonic() - began, 20)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for status, headers, body in answers:
            self.assertIn(status, (503, 504))
            problem = json.loads(body)
            self.assertIn(problem["code"], ("database_busy", "deadline_exceeded", "overloaded"))
            self.assertTrue(problem["retryable"])
        made = [self.through(lambda i=i: http.post("/v1/workloads", manifest(name=f"n{i}"), {
            "Idempotency-Key": f"hang-{i}"})) for i in range(8)]  # it happened once or not at all
        self.assertEqual(len({w["workload_id"] for w in made}), 8)
        self.assertEqual(len(http.get("/v1/workloads")["data"]), 8)
        balance = http.get("/v1/balance")
        self.assertEqual((balance["wallet_uusd"], balance["escrow_uusd"]), (10000000 - 8 * 600000, 8 * 600000))


class RedisTest(FaultCase):
    def test_emptying_and_killing_redis_loses_nothing(self):
        for number in range(2):
            self.agent(f"r{number}", gpus=4)
        tenant = self.trial_account(20)
        self.workloads_post(tenant, 8, run_s=3)
        self.stack.redis.command("FLUSHALL")
        self.until("leases", lambda: tenant.get("/v1/leases?state=running")["data"], 30)
        self.stack.redis.process.kill()
        self.stack.redis.process.wait()
        self.assertEqual(tenant.get("/v1/account")["account_id"], tenant.account_id)
        self.assertEqual(self.account(1).get("/v1/balance")["wallet_uusd"], 1000000)
        done = self.all_ended(tenant, 8, 60)
        self.assertEqual({w["status_reason"] for w in done}, {"completed"})
        self.stack.redis.launch()
        self.stack.redis.command("FLUSHALL")
        self.post_for(tenant, simulated(), env={"UNDERCUT_SIM_RUN_S": "0"})
        self.assert_books_are_right(tenant, 20000000)


class ChaosTest(FaultCase):
    settings = QUICK_LOSS

    def kill_postgres(self):
        self.stack.postgres.kill()
        time.sleep(self.rng.uniform(0, 0.5))
        self.stack.postgres.revive()

    def kill_broker(self):
        self.broker.process.kill()
        self.broker.process.wait()
        time.sleep(self.rng.uniform(0, 0.5))
        self.broker.restart()

    def kill_agent(self):
        agent = self.rng.choice(self.agents)
        agent.kill()
        time.sleep(self.rng.uniform(0, 1.0))
        agent.launch()

    def test_kill_9_of_everything_at_random_moments_during_fifty_leases(self):
        operators = [self.account(0) for _ in range(4)]
        self.agents = [self.agent(f"m{i}", price=f"0.{20 + 2 * (i % 4)}", http=operators[i % 4], gpus=7,
                                  region=("eu-west", "us-east")[i % 2]) for i in range(8)]
        tenant = self.trial_account(100)
        victims = [self.kill_postgres, self.kill_broker, self.kill_agent, self.kill_agent] * 2
        self.rng.shuffle(victims)
        self.workloads_post(tenant, 25, run_s=4, replicas=2, min_replicas=1)
        for victim in victims:
            time.sleep(self.rng.uniform(0.1, 1.2))  # the random moment itself is the test
            victim()
        done = self.all_ended(tenant, 25, 150)
        self.assertEqual({w["status_reason"] for w in done}, {"completed"})
        ran = self.sql("select count(distinct replica_id) from leases where close_reason = 'completed'")
        self.assertEqual(ran, "50")
        self.assert_books_are_right(tenant, 100000000)


class NodeFaultTest(FaultCase):
    settings = QUICK_LOSS

    def until_both(self, what, probe, *nodes):
        """Waits while these nodes keep syncing."""
        def turn():
            for node in nodes:
                node.step()
            return probe()
        return self.until(what, turn, 30)

    def test_a_lost_nodes_replica_re_enters_and_its_epoch_is_fenced(self):
        tenant, first = self.account(), self.node(price=1000000)
        made = tenant.post("/v1/workloads", manifest(max_duration_s=3600))
        lease_id = first.take(self)[0]
        first.run(lease_id)
        first.bill(lease_id, 500)
        spare = self.node(price=2000000)
        self.until_both("the lease to move", lambda: spare.leases, spare)
        (moved,) = spare.leases
        spare.run(moved)
        old, new = (tenant.get(f"/v1/leases/{i}") for i in (lease_id, moved))
        self.assertEqual((old["state"], old["close_reason"], new["epoch"]), ("closed", "node_lost", old["epoch"] + 1))
        # Back from the dead, still reporting the old lease and a receipt for it.
        first.leases[lease_id]["healthy_ms"] = 60000
        first.sync([first.receipt(lease_id)])
        self.assertEqual([d for d in first.desired if d["want"] == "run"], [])
        late = tenant.get(f"/v1/leases/{lease_id}")
        self.assertEqual((late["state"], late["billed_ms"]), ("closed", old["billed_ms"]))
        self.assertLessEqual(late["billed_ms"], 500)
        self.assertIn(first.node_id[5:], " ".join(self.excluded(made)))
        # The old node stays out even when the new one goes as well.
        spare.retire()
        for _ in range(10):
            first.sync(hold_ms=100)
            self.assertEqual(first.desired, [])
        tenant.delete(f"/v1/workloads/{made['workload_id']}")
        self.assert_healthy()

    def excluded(self, workload):
        """Node ids, in the API's spelling, that the workload's replicas avoid."""
        names = self.sql("select n.name from replicas r join nodes n on n.node_id = any (r.excluded_node_ids)").split()
        listed = self.sql("select name from nodes").split()
        self.assertTrue(set(names) <= set(listed))
        return [n.node_id[5:] for n in self.nodes if n.name in names]

    def test_an_award_that_is_not_acknowledged_in_3_s_goes_into_the_next_round(self):
        tenant, deaf, spare = self.account(), self.node(price=1000000), None
        began = time.monotonic()  # before the award, however late the node hears of it
        made = tenant.post("/v1/workloads", manifest(max_duration_s=3600))
        self.until("the award", lambda: deaf.sync(hold_ms=100)["leases"])
        lease_id = deaf.desired[0]["lease_id"]
        spare = self.node(price=2000000)

        def moved():
            deaf.sync()  # it lives, but never says that it has the lease
            return spare.step(hold_ms=100)
        self.until("the lease to move", moved, 20)
        self.assertTrue(2.5 <= time.monotonic() - began <= 15, time.monotonic() - began)
        old = tenant.get(f"/v1/leases/{lease_id}")
        self.assertEqual((old["state"], old["close_reason"], old["gross_uusd"]), ("closed", "not_acknowledged", 0))
        self.assertEqual([d for d in deaf.sync()["leases"] if d["want"] == "run"], [])
        tenant.delete(f"/v1/workloads/{made['workload_id']}")

    def test_a_node_that_is_silent_for_a_while_keeps_its_lease_and_is_not_paid_for_the_silence(self):
        tenant, node = self.account(), self.node(price=1000000)
        made = tenant.post("/v1/workloads", manifest(max_duration_s=3600))
        lease_id = node.take(self)[0]
        node.run(lease_id)
        began = time.monotonic()
        self.until("the node to be unknown", lambda: node.http.get(f"/v1/nodes/{node.node_id}")["state"] == "unknown", 15)
        silent = time.monotonic() - began
        node.leases[lease_id]["healthy_ms"] = 3600000  # it claims an hour
        node.sync([node.receipt(lease_id)])
        self.assertEqual(node.http.get(f"/v1/nodes/{node.node_id}")["state"], "live")
        self.assertEqual(len(tenant.get(f"/v1/leases?workload_id={made['workload_id']}")["data"]), 1)
        self.until("a settlement", lambda: tenant.get(f"/v1/leases/{lease_id}")["billed_ms"] > 0)
        lease = tenant.get(f"/v1/leases/{lease_id}")
        elapsed_ms = 1000 * (time.monotonic() - began)
        self.assertLess(lease["billed_ms"], elapsed_ms + 200, "no more than the broker's own clock saw")
        self.assertLess(silent, 14)
        tenant.delete(f"/v1/workloads/{made['workload_id']}")
        node.step()
        node.exit(lease_id, "stopped", None)
        self.until_state(tenant, made["workload_id"], "stopped")

    def test_money_is_right_when_the_agent_repeats_and_reorders_its_receipts(self):
        tenant, node = self.account(), self.node(price=3600000 // 2)
        made = tenant.post("/v1/workloads", manifest(max_duration_s=3600))
        lease_id = node.take(self)[0]
        node.run(lease_id)
        time.sleep(1.2)
        receipts = []
        for healthy_ms in (300, 600, 900):
            node.leases[lease_id]["healthy_ms"] = healthy_ms
            receipts.append(node.receipt(lease_id))
        node.sync(receipts)
        node.sync(receipts[::-1])  # all seen before
        node.sync([receipts[0]])
        self.until("a settlement", lambda: tenant.get(f"/v1/leases/{lease_id}")["billed_ms"] == 900, 10)
        forged = node.receipt(lease_id)
        forged["body"] = forged["body"].replace('"healthy_ms":900', '"healthy_ms":1100')
        status, _, _ = node.signed(f"/v1/nodes/{node.node_id}/sync", {
            "known": "", "is_opted_in": True, "leases": [], "receipts": [forged]})
        self.assertIn(status, (200, 401, 422))
        node.exit(lease_id, "completed", 0)
        done = self.until_state(tenant, made["workload_id"], "stopped")
        self.assertEqual(done["leases"][0]["billed_ms"], 900)


class AwardNowTest(FaultCase):
    """A posting that wants an award now is stored by the round that awards it, in one transaction."""

    def test_postings_outlive_the_sessions_that_store_and_award_them(self):
        operator, tenant = self.account(0), self.trial_account()
        for i in range(4):
            self.agent(f"wide-{i}", gpus=8, http=operator)
        made, threads = [], []

        def post(share):
            for i in range(6):
                made.append(self.through(lambda i=i: tenant.post("/v1/workloads", simulated(
                    award="now", restart="on_failure", env={"UNDERCUT_SIM_RUN_S": "1"}),
                    {"Idempotency-Key": f"now-{share}-{i}"})))
        for share in range(4):
            threads.append(threading.Thread(target=post, args=(share,)))
            threads[-1].start()
        kills = 0
        while any(thread.is_alive() for thread in threads) or kills < 3:
            kills += int(self.sql("select count(pg_terminate_backend(pid)) from pg_stat_activity"
                                  " where application_name = 'undercutd'")) > 0
            time.sleep(self.rng.uniform(0.02, 0.3))  # anywhere in a round
        for thread in threads:
            thread.join()
        self.assertEqual(len({w["workload_id"] for w in made}), 24)
        done = self.all_ended(tenant, 24, 90)
        self.assertEqual({w["status_reason"] for w in done}, {"completed"})
        self.assertEqual(self.sql("select count(*) from workloads"), "24")
        self.assertEqual(self.sql("select count(*) from rounds where state = 'frozen'"), "0")
        self.assert_books_are_right(tenant, 100000000)


class TwoBrokersTest(FaultCase):
    """Both see one database; whoever leads is fenced by its epoch."""

    @classmethod
    def prepare(cls):
        cls.brokers = [cls.broker, cls.stack.broker_add("second", **{**cls.stack.settings})]
        cls.watch(cls.brokers[1])
        cls.tenant = cls.trial_account()
        cls.machines = [cls.agent(f"of-{b.name}", gpus=4, broker=b) for b in cls.brokers]
        # Waits for ever, so that there is something to clear in every round.
        cls.tenant.post("/v1/workloads", simulated(name="waits", reserve_uusd_per_hour=1000))

    def leader(self):
        """(epoch, the broker that leads, the other one)."""
        epoch, holder = self.sql("select epoch, holder from leadership where market = 'main'").split("|")
        mine = [b for b in self.brokers if b.process.is_alive() and str(b.process.pid) in holder.split("/")]
        self.assertEqual(len(mine), 1, f"the holder {holder!r} should name a process")
        return int(epoch), mine[0], next(b for b in self.brokers if b is not mine[0])

    def rounds_of(self, epoch):
        return int(self.sql(f"select count(*) from rounds where epoch = {epoch} and state = 'committed'"))

    def test_one_of_two_clears_and_both_serve(self):
        epoch, _, _ = self.leader()
        before = self.rounds_of(epoch)
        ends = [self.brokers[i % 2].http(self.tenant.key).post(
            "/v1/workloads?wait_for=ended&timeout_s=30", simulated(env={"UNDERCUT_SIM_RUN_S": "0"})) for i in range(4)]
        self.assertEqual({w["status_reason"] for w in ends}, {"completed"})
        self.assertGreater(self.rounds_of(epoch), before)
        self.assertEqual(self.leader()[0], epoch)

    def test_a_paused_leader_is_replaced_and_commits_nothing_more(self):
        for _ in range(3):
            epoch, leader, standby = self.leader()
            time.sleep(self.rng.uniform(0, 0.3))  # anywhere in a round
            leader.process.kill(signal.SIGSTOP)
            self.until_on(standby, "the standby to take over", lambda e=epoch: self.leader_epoch() > e, 30)
            fresh = self.leader_epoch()
            before = self.rounds_of(fresh)
            self.until_on(standby, "its rounds", lambda: self.rounds_of(fresh) > before + 2, 20)
            last = int(self.sql("select max(round) from rounds"))
            leader.process.kill(signal.SIGCONT)
            done = standby.http(self.tenant.key).post("/v1/workloads?wait_for=ended&timeout_s=30",
                                                      simulated(env={"UNDERCUT_SIM_RUN_S": "0"}))
            self.assertEqual(done["status_reason"], "completed")
            self.assertEqual(self.sql(f"select count(*) from rounds where epoch = {epoch} and round > {last}"), "0")
            self.assertEqual(self.leader_epoch(), fresh)
            self.until_on(leader, "the old leader to serve again", leader.is_ready, 20)
            now = leader.http(self.tenant.key).post("/v1/workloads?wait_for=ended&timeout_s=30", simulated(
                award="now", env={"UNDERCUT_SIM_RUN_S": "0"}))
            self.assertEqual(now["status_reason"], "completed")
        self.assertEqual(self.sql("select count(*) from (select round from rounds group by round having count(*) > 1) t"), "0")
        self.assert_healthy()

    def leader_epoch(self):
        return int(self.sql("select epoch from leadership where market = 'main'"))

    @staticmethod
    def until_on(broker, what, probe, timeout_s):
        return st.wait_until(what, timeout_s, probe, broker.process)

    def test_killing_the_leader_hands_over_within_seconds(self):
        epoch, leader, standby = self.leader()
        leader.process.kill()
        leader.process.wait()
        began = time.monotonic()
        self.until_on(standby, "the standby to take over", lambda: self.leader_epoch() > epoch, 30)
        self.assertLess(time.monotonic() - began, 15)
        done = standby.http(self.tenant.key).post("/v1/workloads?wait_for=ended&timeout_s=30",
                                                  simulated(env={"UNDERCUT_SIM_RUN_S": "0"}))
        self.assertEqual(done["status_reason"], "completed")
        leader.restart()


if __name__ == "__main__":
    unittest.main()
