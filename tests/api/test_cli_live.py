"""The command line against a real broker: every command works, as a table and as JSON, and refusals exit as
documented. (What it sends and prints in detail is tests/cli's theme.)"""

import json
import os
import subprocess
import unittest

from harness import ApiCase, simulated


class CliLiveTest(ApiCase):
    @classmethod
    def prepare(cls):
        cls.home = os.path.join(cls.stack.folder, "home")
        os.makedirs(cls.home)
        cls.machine = cls.agent("cli-node", gpus=4)
        cls.cli("login", "--new", "Ada's lab", "--test", "--url", cls.broker.url)
        # From here on every command without a key of its own finds both in the config file.
        cls.account_id = cls.broker.http(cls.cli("token").split()[-1]).get("/v1/account")["account_id"]
        cls.cli("admin", "credit", cls.account_id, "25.00", "--memo", "welcome", key=cls.stack.admin_key)

    @classmethod
    def cli(cls, *words, code=0, key=None):
        """Runs a command; without `key` the config file's is used."""
        env = {**cls.stack.env(), "XDG_CONFIG_HOME": cls.home, "NO_COLOR": "1"}
        if key:
            env.update(UNDERCUT_API_KEY=key, UNDERCUT_URL=cls.broker.url)
        done = subprocess.run([cls.stack.program("undercut"), *words], capture_output=True, text=True, env=env,
                              stdin=subprocess.DEVNULL, timeout=60, check=False)
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @classmethod
    def cli_json(cls, *words, **kwargs):
        return json.loads(cls.cli(*words, "--json", **kwargs))

    def manifest_file(self, **more):
        path = os.path.join(self.home, "workload.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(simulated(**more), f)
        return path

    def test_a_workload_from_post_to_bill(self):
        out = self.cli("run", "--gpu", "rtx-4090", "--max", "0.60", "--trust", "simulated", "--region", "eu-west",
                       "--name", "hello", "-e", "UNDERCUT_SIM_RUN_S=1", "example.org/x:1")
        self.assertIn("simulated", out)
        got = self.cli_json("get", "hello")
        self.assertEqual((got["state"], got["status_reason"]), ("stopped", "completed"))
        self.assertIn("hello", self.cli("ps", "--all"))
        self.assertIn("completed", self.cli("get", "hello"))
        self.assertIn("simulated", self.cli("logs", "hello"))
        self.assertIn(got["leases"][0]["lease_id"], [x["lease_id"] for x in self.cli_json("leases")])
        balance = self.cli_json("balance")
        self.assertLess(balance["wallet_uusd"], 25000000)
        self.assertIn("credit", self.cli("ledger"))
        lot = ("rtx-4090", "eu-west", "--trust", "simulated")
        self.until("candles", lambda: self.sql("select count(*) from candles where step_s = 86400") != "0")
        self.assertTrue(self.cli_json("market", "candles", *lot, "--step", "1d")["data"])
        self.assertIn("awards", self.cli("market", "stats", *lot))
        self.assertIn("rtx-4090", self.cli("market", "cheapest", "--class", "rtx-4090"))
        self.assertIn("hello", self.cli("explain", "hello"))

    def test_a_command_that_fails_ends_with_its_own_code(self):
        self.cli("run", "--gpu", "rtx-4090", "--max", "0.60", "--trust", "simulated", "-e", "UNDERCUT_SIM_RUN_S=0",
                 "-e", "UNDERCUT_SIM_EXIT=3", "example.org/x:1", code=3)

    def test_apply_plan_stop_and_wait(self):
        path = self.manifest_file(env={"UNDERCUT_SIM_RUN_S": "60"})
        self.cli("plan", "-f", path, "--name", "app", code=10)
        self.assertIn("created", self.cli("apply", "-f", path, "--name", "app", "--wait"))
        self.cli("plan", "-f", path, "--name", "app")
        self.assertIn("app", self.cli("ps"))
        self.assertEqual(self.cli_json("apply", "-f", path, "--name", "app")["change"], "none")
        self.cli("stop", "app", "-y")
        self.until("it to end", lambda: self.cli_json("get", "app")["terminal"], 30)
        self.cli("stop", "app", "-y")

    def test_every_reading_command_prints_a_table_and_json(self):
        for words in (["ps"], ["leases"], ["node", "ls"], ["ask", "ls"], ["round", "ls"], ["price"], ["class", "ls"],
                      ["region", "ls"], ["balance"], ["ledger"], ["key", "ls"], ["events", "--after", "0"], ["doctor"]):
            with self.subTest(words=words):
                self.assertTrue(self.cli(*words).strip())
                if words[0] not in ("events", "doctor"):
                    value = self.cli_json(*words)
                    self.assertIsInstance(value, dict if words == ["balance"] else list)

    def test_the_auditor_sees_the_ladder_of_the_last_round_that_sold(self):
        self.cli("run", "-d", "--gpu", "rtx-4090", "--max", "0.60", "--trust", "simulated", "--name", "sold",
                 "-e", "UNDERCUT_SIM_RUN_S=0", "example.org/x:1")
        self.cli("wait", "sold")
        text = self.cli("round", "show", key=self.stack.admin_key)
        self.assertIn("rtx-4090", text)
        number = self.cli_json("round", "show", key=self.stack.admin_key)["round"]
        self.assertNotIn("record_base64", self.cli_json("round", "show", str(number)))

    def test_operators_sell_over_the_command_line(self):
        key = self.account(0).key
        self.cli("ask", "set", "rtx-3090", "us-east", "0.20", key=key)
        self.assertIn("rtx-3090", self.cli("ask", "ls", key=key))
        self.cli("ask", "rm", "rtx-3090", "us-east", "-y", key=key)
        self.assertNotIn("rtx-3090", self.cli("ask", "ls", key=key))
        self.assertIn("uct_", self.cli("node", "token", "--region", "eu-west", key=key))
        node_id = self.machine.http.get("/v1/nodes")["data"][0]["node_id"]
        self.assertIn("cli-node", self.cli("node", "ls", key=self.machine.http.key))
        self.cli("node", "rm", node_id, "-y", code=3, key=key)

    def test_operators_bid_on_workloads_over_the_command_line(self):
        tenant, key = self.trial_account(), self.machine.http.key
        node_id = self.machine.http.get("/v1/nodes")["data"][0]["node_id"]
        made = tenant.post("/v1/workloads", {  # worth too little to be won while this test looks
            "image": "example.org/x:1", "reserve_uusd_per_hour": 1000, "price_policy": "limit",
            "resources": {"device": {"count": 1, "models": ["rtx-4090"], "driver_min": "500"}},
            "placement": {"regions": ["eu-west"], "trust_min": "simulated"}})
        self.assertIn(made["workload_id"], self.cli("bid", "open", node_id, key=key))
        self.cli("bid", "place", made["workload_id"], "--node", node_id, "--price", "0.29/hr", key=key)
        self.assertIn("0.29", self.cli("bid", "ls", key=key))
        self.cli("bid", "place", made["workload_id"], "--node", node_id, key=key, code=2)
        self.cli("bid", "place", made["workload_id"], "--price", "0.29", key=key, code=2)
        self.cli("bid", "rm", made["workload_id"], "--node", node_id, "-y", key=key)
        self.assertEqual(self.cli_json("bid", "ls", key=key)[0]["state"], "withdrawn")
        self.cli("bid", "place", self.accounts[0].account_id.replace("acct_", "wl_"), "--node", node_id, "--price", "1",
                 key=key, code=5)

    def test_keys_and_tokens(self):
        made = self.cli_json("key", "create", "ci", "--scopes", "workloads:read")
        self.assertIn("ci", self.cli("key", "ls"))
        self.cli("ps", key=made["secret"])
        self.cli("balance", key=made["secret"], code=4)
        self.cli("key", "rm", made["key_id"], "-y")
        token = self.cli("token").strip().split()[-1]
        self.cli("ps", key=token)

    def test_refusals_exit_as_documented(self):
        path = self.manifest_file()
        rows = [(3, ["get", "nothing-of-this-name"], None), (4, ["ps"], "uc_live_wrong"),
                (2, ["run", "--cpu", "1", "--max", "0.05", "--replicas", "0", "img"], None),
                (7, ["run", "-d", "--cpu", "1", "--max", "900", "img"], None),
                (8, ["run", "--gpu", "rtx-4090", "--trust", "simulated", "--max", "0.01", "--timeout", "1s", "img"], None),
                (4, ["admin", "credit", self.account_id, "1"], None)]
        for code, words, key in rows:
            with self.subTest(words=words):
                self.cli(*words, code=code, key=key)
        self.cli("apply", "-f", path, "--name", "twice")
        self.cli("run", "-d", "--gpu", "rtx-4090", "--trust", "simulated", "--max", "0.60", "--name", "twice", "img", code=5)
        self.cli("stop", "twice", "-y")


if __name__ == "__main__":
    unittest.main()
