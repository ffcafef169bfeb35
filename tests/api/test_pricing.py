"""Prices that move: an agent that prices by itself takes its account's ask along."""

import json
import os
import subprocess
import tempfile
import unittest

from harness import ApiCase


class PricingTest(ApiCase):
    def moving(self, node, price):
        return node.sync(asks=[{"class": "*", "price_uusd_per_device_hour": price, "moves_ask": True}])["asks"][0]

    def ask_of(self, node):
        return next((a for a in node.http.get("/v1/asks")["data"] if a["region"] == node.region), None)

    def test_a_node_that_prices_by_itself_moves_the_ask(self):
        node = self.node(price=20000)
        node.sync()
        version = self.ask_of(node)["version"]
        row = self.moving(node, 17000)
        self.assertEqual((row["status"], row["price_uusd_per_device_hour"]), ("standing", 17000))
        ask = self.ask_of(node)
        self.assertEqual((ask["price_uusd_per_device_hour"], ask["version"]), (17000, version + 1))
        self.moving(node, 17000)
        self.assertEqual(self.ask_of(node)["version"], version + 1, "the same price again is no change")

    def test_a_floor_that_stands_still_moves_nothing(self):
        node = self.node(price=20000)
        node.sync()
        node.price = 17000
        self.assertEqual(node.sync()["asks"][0]["status"], "mismatch")
        self.assertEqual(self.ask_of(node)["price_uusd_per_device_hour"], 20000)

    def test_of_two_nodes_one_prices_until_it_is_gone(self):
        first = self.node(price=20000)
        second = self.node(http=first.http, price=None)
        for node in (first, second):
            node.sync()
        self.moving(first, 18000)
        self.assertEqual(self.moving(second, 15000)["status"], "mismatch")
        self.assertEqual(self.ask_of(first)["price_uusd_per_device_hour"], 18000)
        first.retire()
        self.assertEqual(self.moving(second, 15000)["status"], "standing")
        self.assertEqual(self.ask_of(second)["price_uusd_per_device_hour"], 15000)

    def test_a_withdrawn_ask_stays_withdrawn(self):
        node = self.node(price=20000)
        node.sync()
        node.http.delete(f"/v1/asks/cpu-1c2g/{node.region}")
        self.assertEqual(self.moving(node, 17000)["status"], "none")
        self.assertIsNone(self.ask_of(node))

    def test_the_agent_takes_its_price_from_rules_and_program(self):
        folder = tempfile.mkdtemp(dir=self.stack.folder)
        program, rules = os.path.join(folder, "price"), os.path.join(folder, "rules.json")
        with open(program, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\necho '{\"prices\":[{\"class\":\"*\",\"price_uusd_per_device_hour\":123456}]}'\n")
        os.chmod(program, 0o755)
        with open(rules, "w", encoding="ascii") as f:
            json.dump({"every_s": 1, "energy": {"watts": 100, "uusd_per_kwh": 300000},
                       "program": {"path": program, "timeout_ms": 5000}}, f)
        _, owner = self.stack.account("operator-by-rules")
        agent = self.stack.agent_add("by-rules", "us-west", owner.key, price="0.50", gpus=1, runner="simulated",
                                     options=["--pricing", rules])
        self.until("the program's price", lambda: any(
            a["price_uusd_per_device_hour"] == 123456 for a in owner.get("/v1/asks")["data"]), 30)
        os.unlink(program)
        self.until("the rules' price, without the program", lambda: any(
            a["price_uusd_per_device_hour"] == 500000 for a in owner.get("/v1/asks")["data"]), 30)
        agent.stop()

    def test_rules_that_make_no_sense_are_refused_at_the_start(self):
        with tempfile.NamedTemporaryFile("w", dir=self.stack.folder, suffix=".json") as rules:
            rules.write('{"schedule":[{"from":"22:00","to":"06:00","percent":0}]}')
            rules.flush()
            done = subprocess.run([self.stack.program("undercut-agent"), "run", "--state-dir",
                                   tempfile.mkdtemp(dir=self.stack.folder), "--runner", "simulated", "--pricing",
                                   rules.name], capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/schedule/0 needs `percent`, a whole number from 1 to 1000", done.stderr)


if __name__ == "__main__":
    unittest.main()
