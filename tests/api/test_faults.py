"""Processes die at random moments: nothing is doubled, nothing is lost, the sum stays zero.

Runners are simulated, so that fifty leases fit on one machine. The seed of the random moments is
printed; SEED=n repeats it.
"""

import os
import random
import signal
import time
import unittest

import stack as stacks
from harness import ApiTest, FAST, wait_until

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))


class Fleet(ApiTest):
    """Ten machines of five devices, five operators in two regions."""

    settings = {**FAST, "round_ms": 250, "node_unknown_ms": 2000, "node_lost_ms": 5000}

    def fleet(self, machines=10, gpus=5, run_s=6):
        self.agents, self.operators = [], [self.account(f"operator {i}", 0)[1] for i in range(5)]
        for number in range(machines):
            http = self.operators[number % 5]
            # One ask per account and region: machines of one operator in one region carry the same floor.
            region = ("eu-west", "us-east")[number % 2]
            price = f"0.{20 + 2 * (number % 5)}"
            self.agents.append(self.stack.agent_add(f"m{number}", region, http.key, price=price, gpus=gpus, runner="simulated"))
        for number, agent in enumerate(self.agents):
            wait_until(agent.name, 60, lambda n=number, a=agent: self.is_selling(self.operators[n % 5], a.name), agent.process)
        self.run_s = run_s

    def post_many(self, tenant, count, replicas=1):
        return [tenant.post("/v1/workloads", self.manifest(
            replicas=replicas, min_replicas=1, price_policy="limit", restart="on_failure",
            placement={"regions": ["eu-west", "us-east"], "trust_min": "simulated"},
            env={"UNDERCUT_SIM_RUN_S": str(self.run_s)}), {"Idempotency-Key": f'"w{i}"'}) for i in range(count)]

    def wait_all_ended(self, tenant, count, timeout_s):
        def probe():
            try:
                done = [w for w in tenant.get("/v1/workloads?limit=200")["data"] if w["terminal"]]
            except (OSError, stacks.HttpError):
                return None
            return len(done) == count and done
        return wait_until(f"{count} workloads to end", timeout_s, probe)

    def assert_books_are_right(self, tenant_id):
        """The ledger is healthy, no replica ran twice at once, nothing is held for what has ended."""
        self.assert_healthy()
        overlap = self.sql("""select count(*) from leases a join leases b using (replica_id)
            where a.lease_id < b.lease_id and a.awarded_at < coalesce(b.closed_at, 'infinity')
              and b.awarded_at < coalesce(a.closed_at, 'infinity')""")
        self.assertEqual(overlap, "0")
        self.assertEqual(self.sql("select count(*) from leases where state <> 'closed'"), "0")
        self.assertEqual(self.sql("select count(*) from devices where lease_id is not null"), "0")
        self.assertEqual(self.sql("select sum(escrow_uusd) from replicas"), "0")
        wallet = int(self.sql(f"""select balance_uusd from ledger_accounts a join accounts using (account_id)
            where kind = 'tenant_wallet' and a.account_id = (select account_id from workloads limit 1)"""))
        paid = int(self.sql("select coalesce(sum(net_uusd + fee_uusd), 0) from leases"))
        self.assertEqual(wallet + paid, int(self.sql("select sum(-balance_uusd) from ledger_accounts where kind in ('promo', 'stripe_clearing')")))


class CacheTest(Fleet):
    def test_emptying_and_killing_redis_loses_nothing(self):
        self.fleet(machines=4, gpus=3, run_s=4)
        tenant_id, tenant = self.account(credit_usd=20)
        self.post_many(tenant, 10)
        self.stack.redis.command("FLUSHALL")
        wait_until("leases", 30, lambda: tenant.get("/v1/leases?state=running")["data"])
        self.stack.redis.process.kill()
        self.stack.redis.process.wait()
        self.assertEqual(tenant.get("/v1/account")["name"], "tenant")
        done = self.wait_all_ended(tenant, 10, 60)
        self.assertEqual({w["status_reason"] for w in done}, {"completed"})
        self.stack.redis.launch()
        self.stack.redis.command("FLUSHALL")
        more = self.post_many(self.account(credit_usd=20)[1], 1)
        self.assertEqual(len(more), 1)
        self.assert_healthy()


class ChaosTest(Fleet):
    def test_kill_minus_9_of_everything_at_random_moments_during_fifty_leases(self):
        rng = random.Random(SEED)
        print(f"SEED={SEED}", flush=True)
        self.fleet()
        tenant_id, tenant = self.account(credit_usd=100)
        self.post_many(tenant, 25, replicas=2)
        for _ in range(6):
            time.sleep(rng.uniform(0.2, 2.0))  # the random moment itself is the test
            victim = rng.choice(("postgres", "broker", "agent", "agent"))
            if victim == "postgres":
                self.stack.postgres.kill()
                time.sleep(rng.uniform(0, 0.5))
                self.stack.postgres.revive()
            elif victim == "broker":
                self.broker.process.kill()
                self.broker.process.wait()
                time.sleep(rng.uniform(0, 0.5))
                self.broker.restart()
            else:
                agent = rng.choice(self.agents)
                agent.kill()
                time.sleep(rng.uniform(0, 1.0))
                agent.launch()
        wait_until("the broker", 30, self.broker.is_ready, self.broker.process)
        done = self.wait_all_ended(tenant, 25, 120)
        self.assertEqual({w["status_reason"] for w in done}, {"completed"})
        self.assert_books_are_right(tenant_id)
        ran = int(self.sql("select count(distinct replica_id) from leases where close_reason = 'completed'"))
        self.assertEqual(ran, 50)

    def test_the_total_does_not_depend_on_how_often_one_settles(self):
        """The same leases' figures recomputed from scratch: net, fee, to the micro-dollar."""
        wrong = self.sql("""select count(*) from leases where
            net_uusd <> floor(price_uusd_per_hour::numeric * billed_ms / 3600000)
            or fee_uusd <> floor(net_uusd::numeric * fee_bp / 10000)""")
        self.assertEqual(wrong, "0")


class SettleIntervalTest(ApiTest):
    """One broker that settles twice a second, one that never does before the close: the same bill."""

    settings = {**FAST, "settle_interval_ms": 500, "round_ms": 250}

    def test_settling_often_or_once_gives_the_bill_that_the_receipts_say(self):
        for interval in (500, 3600000):
            self.broker.stop()
            self.broker.settings["settle_interval_ms"] = interval
            self.broker.start()
            agent, operator = self.simulated_agent(f"m{interval}", price="97.31", http=None)
            _, tenant = self.account(credit_usd=100)
            workload = tenant.post("/v1/workloads", self.manifest(
                reserve_usd_per_hour="333.33", price_policy="limit", env={"UNDERCUT_SIM_RUN_S": "5"}))
            ended = self.wait_state(tenant, workload, "stopped")
            lease = ended["leases"][0]
            count = int(self.sql(f"""select count(*) from settlements s join leases l using (lease_id)
                join workloads w using (workload_id) where w.name = '{workload["name"]}'"""))
            self.assertTrue(count > 3 if interval == 500 else count == 1, f"{count} settlements at {interval} ms")
            self.assertEqual(lease["net_uusd"], lease["price_uusd_per_hour"] * lease["billed_ms"] // 3600000)
            self.assertEqual(lease["fee_uusd"], lease["net_uusd"] * lease["fee_bp"] // 10000)
            self.assertEqual(tenant.get("/v1/balance")["wallet_uusd"], 100000000 - lease["gross_uusd"])
            agent.stop()
            for node in operator.get("/v1/nodes")["data"]:
                operator.delete(f"/v1/nodes/{node['node_id']}")
        self.assert_healthy()


class TwoBrokersTest(ApiTest):
    settings = {**FAST, "round_ms": 250}

    def leader(self):
        epoch, holder = self.sql("select epoch, holder from leadership where market = 'main'").split("|")
        return int(epoch), holder

    def rounds(self, epoch):
        return int(self.sql(f"select count(*) from rounds where epoch = {epoch} and state = 'committed'"))

    def test_one_clears_and_a_paused_old_leader_cannot_commit(self):
        first_epoch, first_holder = self.leader()
        second = self.stack.broker_add("second", **self.settings)
        wait_until("rounds", 10, lambda: self.rounds(first_epoch) > 3)
        self.assertEqual(self.leader(), (first_epoch, first_holder))
        self.assertEqual(self.sql("select count(distinct epoch) from rounds"), "1")
        agent, _ = self.simulated_agent("m")
        _, tenant = self.account(credit_usd=20)
        self.broker.process.kill(signal.SIGSTOP)
        epoch = wait_until("the second to take over", 30, lambda: self.leader()[0] > first_epoch and self.leader()[0])
        before = self.rounds(epoch)
        wait_until("the second to clear", 20, lambda: self.rounds(epoch) > before + 2)
        frozen = int(self.sql("select max(round) from rounds"))
        self.broker.process.kill(signal.SIGCONT)
        by_second = self.http(tenant.key, broker=second)
        workload = by_second.post("/v1/workloads", self.manifest(env={"UNDERCUT_SIM_RUN_S": "2"}))
        ended = self.wait_state(by_second, workload, "stopped")
        self.assertEqual((ended["status_reason"], len(ended["leases"])), ("completed", 1))
        self.assertEqual(self.sql(f"select count(*) from rounds where epoch = {first_epoch} and round > {frozen}"), "0")
        self.assertEqual(self.leader()[0], epoch)
        # Both still serve, and a request to the one that does not lead is as good.
        wait_until("the first to serve again", 20, self.broker.is_ready)
        now = tenant.post("/v1/workloads", self.manifest(award="now", env={"UNDERCUT_SIM_RUN_S": "1"}))
        self.wait_state(tenant, now, "stopped")
        self.assert_healthy()

    def test_killing_the_leader_hands_over_within_seconds(self):
        brokers = [c for c in self.stack.children if isinstance(c, stacks.Broker)]
        if len(brokers) < 2:
            brokers.append(self.stack.broker_add("standby", **self.settings))
        epoch, holder = self.leader()
        pids = {str(b.process.pid): b for b in brokers}
        leader = next((b for pid, b in pids.items() if pid in holder), None)
        if leader is None:  # the holder's name does not say: kill one after the other
            leader = brokers[-1]
        leader.process.kill()
        leader.process.wait()
        other = next(b for b in brokers if b is not leader)
        wait_until("rounds go on", 20, lambda: self.sql(
            "select count(*) from rounds where committed_at > now() - interval '1 second' and state = 'committed'") != "0")
        self.assertTrue(other.is_ready())
        leader.restart()


if __name__ == "__main__":
    unittest.main()
