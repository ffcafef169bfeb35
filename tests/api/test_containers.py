"""What goes wrong for a tenant ends with its own typed reason in API, command line and events, and
nothing is billed that did not run. Real containers on a private engine.
"""

import json
import os
import shutil
import subprocess
import time
import unittest

from harness import ApiCase, simulated, wait_until

IMAGE = "localhost/undercut-test:1"


class ContainersTest(ApiCase):
    stack_options = {"has_podman": True}
    settings = {"spot_notice_ms": 9000, "spot_tenure_ms": 500}

    @classmethod
    def prepare(cls):
        context = os.path.join(cls.stack.folder, "image")
        os.makedirs(context)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", f"{context}/busybox")
        with open(f"{context}/Containerfile", "w", encoding="ascii") as f:
            f.write("FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n")
        cls.stack.podman.run("build", "-q", "--isolation", "chroot", "--network", "host", "-t", IMAGE, context)
        cls.agents = [cls.agent(f"machine-{number}", price, runner="engine")
                      for number, price in enumerate(("0.20", "0.24"), 1)]

    def setUp(self):
        super().setUp()
        self.tenant = self.trial_account(1)

    def cli(self, *words):
        env = {**self.stack.env(), "UNDERCUT_URL": self.broker.url, "UNDERCUT_API_KEY": self.tenant.key,
               "XDG_CONFIG_HOME": self.stack.folder}
        return subprocess.run([self.stack.program("undercut"), *words], capture_output=True, text=True, env=env,
                              timeout=90, check=False)

    def sh(self, script, **fields):
        return simulated(image=IMAGE, command=["/bin/sh", "-c", script], max_duration_s=60, **fields)

    def events(self, workload):
        return self.events_until_now(self.tenant, f"&workload_id={workload['workload_id']}")

    def ends(self, manifest, state, reason, lease_reason=None):
        """Posts it, waits for its end; the reason must be the same in the workload, its events and its lease."""
        workload = self.tenant.post("/v1/workloads", manifest)
        ended = self.until_state(self.tenant, workload["workload_id"], "stopped", "failed", timeout_s=60)
        self.assertEqual((ended["state"], ended["status_reason"]), (state, reason))
        last = [e for e in self.events(workload) if e["kind"].startswith("workload.")][-1]
        self.assertEqual((last["kind"], last["data"]["status_reason"]), (f"workload.{state}", reason))
        if lease_reason:
            self.assertEqual(ended["leases"][-1]["close_reason"], lease_reason)
            closed = [e for e in self.events(workload) if e["kind"] == "lease.closed"][-1]
            self.assertEqual(closed["data"]["reason"], lease_reason)
        self.assertEqual(self.tenant.get("/v1/balance")["escrow_uusd"], 0)
        self.assert_healthy()
        return ended

    def assert_free(self, ended):
        self.assertEqual(ended["spent_uusd"], 0)
        self.assertEqual([lease["gross_uusd"] for lease in ended["leases"]], [0] * len(ended["leases"]))
        self.assertEqual(self.tenant.get("/v1/balance")["wallet_uusd"], 1000000)

    def test_a_command_that_succeeds_is_billed_by_the_millisecond_and_its_output_kept(self):
        ended = self.ends(self.sh("echo out; echo err >&2; sleep 2"), "stopped", "completed", "completed")
        lease = ended["leases"][0]
        self.assertEqual(lease["exit_code"], 0)
        self.assertGreaterEqual(lease["billed_ms"], 1500)
        self.assertLess(lease["billed_ms"], 8000)
        self.assertEqual(lease["net_uusd"], lease["price_uusd_per_hour"] * lease["billed_ms"] // 3600000)
        self.assertEqual(self.tenant.get("/v1/balance")["wallet_uusd"], 1000000 - lease["gross_uusd"])
        text = self.tenant.call("GET", f"/v1/workloads/{ended['workload_id']}/logs")
        self.assertEqual(sorted(text.split()), ["err", "out"])

    def test_a_malformed_manifest(self):
        self.refused(422, "invalid_field", self.tenant.post, "/v1/workloads", {**simulated(), "replicas": -1})
        done = self.cli("run", "--gpu", "rtx-4090", "--max", "0.60", "--replicas", "-1", IMAGE)
        self.assertEqual(done.returncode, 2)
        self.assertIn("invalid_field", done.stderr)
        self.assertIn("/replicas", done.stderr)
        self.assertEqual(self.tenant.get("/v1/workloads")["data"], [])
        self.assertEqual(self.tenant.get("/v1/balance")["wallet_uusd"], 1000000)

    def test_an_image_that_does_not_exist(self):
        ended = self.ends(simulated(image="localhost/no-such-image:1"), "failed", "image_not_found", "image_not_found")
        self.assert_free(ended)
        done = self.cli("run", "--gpu", "rtx-4090", "--trust", "simulated", "--max", "0.60", "localhost/no-such-image:1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("image_not_found", done.stderr)

    def test_a_command_that_exits_1(self):
        ended = self.ends(self.sh("echo gone wrong >&2; exit 1"), "failed", "command_failed", "command_failed")
        self.assertEqual(ended["leases"][0]["exit_code"], 1)
        self.assertLess(ended["leases"][0]["billed_ms"], 5000)
        done = self.cli("run", "--gpu", "rtx-4090", "--trust", "simulated", "--max", "0.60", IMAGE, "--", "/bin/sh", "-c",
                        "echo hello; exit 3")
        self.assertEqual((done.returncode, done.stdout), (3, "hello\n"))
        self.assertIn("command_failed", done.stderr)

    def test_a_container_over_its_memory_limit(self):
        script = "x=$(/bin/busybox head -c 400000000 /dev/zero | /bin/busybox tr '\\0' 'x'); echo ${#x}"
        fields = {"resources": {"device": {"count": 1, "models": ["rtx-4090"]}, "memory_mib": 64}}
        ended = self.ends(self.sh(script, **fields), "failed", "out_of_memory", "out_of_memory")
        self.assertEqual(ended["leases"][0]["exit_code"], 137)
        done = self.cli("run", "--gpu", "rtx-4090", "--memory", "64", "--trust", "simulated", "--max", "0.60", IMAGE, "--",
                        "/bin/sh", "-c", script)
        self.assertEqual(done.returncode, 137)
        self.assertIn("out_of_memory", done.stderr)

    def test_a_price_under_every_ask(self):
        deadline = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
        manifest = self.sh("true", reserve_uusd_per_hour=50000, deadline=deadline)
        ended = self.ends(manifest, "failed", "no_capacity_at_price")
        self.assertEqual(ended["leases"], [])
        self.assert_free(ended)
        done = self.cli("run", "--gpu", "rtx-4090", "--trust", "simulated", "--max", "0.05", "--timeout", "2s", IMAGE)
        self.assertEqual(done.returncode, 8)

    def test_an_empty_wallet_at_the_door(self):
        poor = self.trial_account(0)
        problem = self.refused(402, "insufficient_funds", poor.post, "/v1/workloads", simulated())
        self.assertIn("0.10", problem["detail"])
        self.assertEqual(poor.get("/v1/workloads")["data"], [])
        self.tenant = poor
        self.assertEqual(self.cli("run", "--gpu", "rtx-4090", "--trust", "simulated", "--max", "0.60", IMAGE).returncode, 7)

    def test_readiness_decides_when_the_meter_starts(self):
        fields = {"readiness": {"exec": {"command": ["/bin/busybox", "test", "-e", "/tmp/ready"]}, "period_s": 1}}
        ended = self.ends(self.sh("sleep 3; /bin/busybox touch /tmp/ready; sleep 2", **fields), "stopped", "completed")
        self.assertLess(ended["leases"][0]["billed_ms"], 3500)
        fields["readiness"].update(failures=2)
        ended = self.ends(self.sh("sleep 60", **fields), "failed", "readiness_failed", "readiness_failed")
        self.assert_free_of_running(ended)

    def assert_free_of_running(self, ended):
        self.assertEqual(ended["leases"][-1]["billed_ms"], 0)

    def test_an_owners_stop_gives_time_to_end_well(self):
        workload = self.tenant.post("/v1/workloads", self.sh(
            "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done", stop_grace_s=5))
        self.tenant.get(f"/v1/workloads/{workload['workload_id']}?wait_for=running&timeout_s=30")
        logs = f"/v1/workloads/{workload['workload_id']}/logs"
        wait_until("its output", 20, lambda: "up" in self.tenant.call("GET", logs))
        self.tenant.delete(f"/v1/workloads/{workload['workload_id']}")
        ended = self.until_state(self.tenant, workload["workload_id"], "stopped")
        self.assertEqual(ended["status_reason"], "stopped_by_owner")
        wait_until("the last words", 10, lambda: "bye" in self.tenant.call("GET", logs))
        self.assertEqual(self.tenant.get("/v1/balance")["escrow_uusd"], 0)

    def test_spot_hears_of_its_end_and_the_winner_has_its_device(self):
        for agent in self.agents[1:]:  # one machine sells
            node = [n for n in agent.http.get("/v1/nodes")["data"] if n["name"] == agent.name][0]
            agent.http.post(f"/v1/nodes/{node['node_id']}/reclaim", {})
            self.addCleanup(agent.http.delete, f"/v1/nodes/{node['node_id']}/reclaim")
        spot = self.tenant.post("/v1/workloads", self.sh(
            "trap 'echo noticed' USR1; trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done",
            tier="spot", notice_signal="SIGUSR1", stop_grace_s=3))  # so SIGTERM comes 6 s after the notice
        path = f"/v1/workloads/{spot['workload_id']}"
        self.tenant.get(f"{path}?wait_for=running&timeout_s=30")
        wait_until("its output", 20, lambda: "up" in self.tenant.call("GET", f"{path}/logs"))
        winner = self.tenant.post("/v1/workloads", self.sh("echo mine; sleep 2"))
        wait_until("the notice", 20, lambda: self.tenant.get(path)["interrupt_at"])
        wait_until("the signal", 5, lambda: "noticed" in self.tenant.call("GET", f"{path}/logs"))
        self.assertNotIn("bye", self.tenant.call("GET", f"{path}/logs"))  # it may go on until its grace
        self.assertRegex(self.cli("ps").stdout, "running, out in [0-9]+s")
        self.assertRegex(self.cli("leases").stdout, "running, out in [0-9]+s")
        waiting = self.tenant.get(f"/v1/workloads/{winner['workload_id']}?expand=leases")
        self.assertEqual((waiting["state"], waiting["leases"][0]["state"]), ("starting", "starting"))
        wait_until("SIGTERM", 20, lambda: "bye" in self.tenant.call("GET", f"{path}/logs"))
        done = self.until_state(self.tenant, winner["workload_id"], "stopped")
        self.assertEqual(done["status_reason"], "completed")
        first = self.tenant.get(f"{path}?expand=leases")["leases"][-1]
        self.assertEqual((first["close_reason"], first["exit_code"]), ("preempted", 0))
        # By its own clean exit it left before SIGKILL, and the winner began after it.
        self.assertLess(first["closed_at"], first["interrupt_at"])
        self.assertLess(first["closed_at"], done["leases"][0]["running_at"])
        self.until_state(self.tenant, spot["workload_id"], "running")  # and the replica is back
        self.assertEqual(self.tenant.get(f"{path}?expand=leases")["leases"][0]["epoch"], 2)
        self.assert_healthy()

    def test_the_container_sees_walls(self):
        """No network but loopback, a read-only root, no capabilities, and its own index."""
        script = ("echo index=$UNDERCUT_REPLICA_INDEX/$UNDERCUT_REPLICA_COUNT; /bin/busybox ls /sys/class/net; "
                  "/bin/busybox touch /x 2>&1; /bin/busybox grep CapEff /proc/self/status; "
                  "/bin/busybox grep NoNewPrivs /proc/self/status; /bin/busybox id -u")
        ended = self.ends(self.sh(script), "stopped", "completed")
        text = self.tenant.call("GET", f"/v1/workloads/{ended['workload_id']}/logs")
        for expected in ("index=0/1", "lo", "Read-only", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"):
            self.assertIn(expected, text)
        self.assertNotIn("eth0", text)

    def test_restarting_the_agent_keeps_the_container(self):
        workload = self.tenant.post("/v1/workloads", self.sh("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 1; done"))
        running = self.tenant.get(f"/v1/workloads/{workload['workload_id']}?wait_for=running&timeout_s=30&expand=leases")
        lease = running["leases"][0]
        agent = next(a for a in self.agents if a.name == lease["node_name"])
        agent.kill()
        agent.launch()
        ended = self.until_state(self.tenant, workload["workload_id"], "stopped", "failed", timeout_s=60)
        self.assertEqual((ended["status_reason"], len(ended["leases"])), ("completed", 1))
        self.assertEqual(ended["leases"][0]["lease_id"], lease["lease_id"])
        self.assertGreater(ended["leases"][0]["billed_ms"], 4000)
        self.assert_healthy()

    def test_kill_9_of_agents_and_broker_leaves_no_container_and_loses_no_lease(self):
        made = [self.tenant.post("/v1/workloads", self.sh("echo begin; sleep 4; echo end")) for _ in range(2)]
        for workload in made:
            self.tenant.get(f"/v1/workloads/{workload['workload_id']}?wait_for=running&timeout_s=30")
        for agent in self.agents:
            agent.kill()
        self.broker.process.kill()
        self.broker.process.wait()
        self.broker.restart()
        for agent in self.agents:
            agent.launch()
        for workload in made:
            ended = self.until_state(self.tenant, workload["workload_id"], "stopped", "failed", timeout_s=60)
            self.assertEqual((ended["status_reason"], len(ended["leases"])), ("completed", 1))
            lines = self.tenant.raw("GET", f"/v1/workloads/{workload['workload_id']}/logs?format=ndjson")[2].splitlines()
            said = [json.loads(line) for line in lines]
            text = "".join(line["data"] for line in said if line["stream"] == "out")
            if "end" not in text:  # it came while nobody was attached: then the log must say so
                self.assertIn("gap", [line["stream"] for line in said])
        self.assert_healthy()

    def test_zz_every_container_is_accounted_for(self):
        wait_until("containers to be removed", 20, lambda: not self.stack.podman.containers())


if __name__ == "__main__":
    unittest.main()
