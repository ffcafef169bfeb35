"""An Idempotency-Key and its effect are one: twins, other bodies, restarts."""

import concurrent.futures
import json
import unittest

from harness import ApiTest


class IdempotencyTest(ApiTest):
    def setUp(self):
        super().setUp()
        self.account_id, self.tenant = self.account()

    def post(self, key, body, path="/v1/workloads", http=None):
        return (http or self.tenant).raw("POST", path, body, {"Idempotency-Key": key})

    def test_a_repeat_replays_the_first_answer_byte_for_byte(self):
        body = self.manifest(name="once", reserve_usd_per_hour="0.01")
        first = self.post('"k1"', body)
        again = self.post('"k1"', body)
        self.assertEqual((first[0], again[0]), (201, 201))
        self.assertEqual(first[2], again[2])
        self.assertNotIn("Idempotent-Replayed", first[1])
        self.assertEqual(again[1]["Idempotent-Replayed"], "true")
        bare = self.post("k1", body)  # Stripe-style clients send it without quotes
        self.assertEqual(bare[2], first[2])
        self.assertEqual(len(self.tenant.get("/v1/workloads")["data"]), 1)
        escrow = json.loads(first[2])["escrow_uusd"]
        self.assertEqual(self.tenant.get("/v1/balance")["escrow_uusd"], escrow)

    def test_the_same_key_with_another_body_is_refused(self):
        self.post('"k2"', self.manifest(name="a", reserve_usd_per_hour="0.01"))
        status, _, body = self.post('"k2"', self.manifest(name="b", reserve_usd_per_hour="0.01"))
        self.assertEqual((status, json.loads(body)["code"]), (422, "idempotency_key_reused"))

    def test_the_same_key_of_another_account_is_another_key(self):
        _, other = self.account()
        one = self.post('"k3"', self.manifest(name="a", reserve_usd_per_hour="0.01"))
        two = self.post('"k3"', self.manifest(name="a", reserve_usd_per_hour="0.01"), http=other)
        self.assertEqual((one[0], two[0]), (201, 201))
        self.assertNotEqual(json.loads(one[2])["workload_id"], json.loads(two[2])["workload_id"])

    def test_concurrent_twins_have_one_effect_and_one_answer(self):
        body = self.manifest(name="twin", reserve_usd_per_hour="0.01")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: self.post('"twin"', body), range(32)))
        self.assertEqual({a[0] for a in answers}, {201})
        self.assertEqual(len({json.loads(a[2])["workload_id"] for a in answers}), 1)
        self.assertEqual(sum("Idempotent-Replayed" not in a[1] for a in answers), 1)
        self.assertEqual(len(self.tenant.get("/v1/workloads")["data"]), 1)
        self.assert_healthy()

    def test_a_refusal_is_not_remembered(self):
        body = self.manifest(name="rich", reserve_usd_per_hour="900.00")
        status, _, _ = self.post('"k4"', body)
        self.assertEqual(status, 402)
        self.admin().post("/v1/admin/credits", {"account_id": self.account_id, "amount_uusd": 400000000},
                          {"Idempotency-Key": '"top-up"'})
        self.assertEqual(self.post('"k4"', body)[0], 201)

    def test_credits_and_accounts_and_keys_happen_once(self):
        credit = {"account_id": self.account_id, "amount_uusd": 7}
        admin = self.admin()
        answers = [self.post('"c"', credit, "/v1/admin/credits", admin) for _ in range(3)]
        self.assertEqual(len({a[2] for a in answers}), 1)
        self.assertEqual(self.tenant.get("/v1/balance")["wallet_uusd"], 10000007)
        keys = [self.post('"k"', {"name": "n", "scopes": ["workloads:read"]}, "/v1/api-keys") for _ in range(3)]
        self.assertEqual(len({json.loads(a[2])["secret"] for a in keys}), 1)
        public = self.http()
        accounts = [self.post('"new-account-0001"', {"name": "n"}, "/v1/accounts", public) for _ in range(2)]
        self.assertEqual(accounts[0][2], accounts[1][2])

    def test_a_replay_survives_a_restart_of_the_broker(self):
        body = self.manifest(name="restart", reserve_usd_per_hour="0.01")
        first = self.post('"k5"', body)
        self.broker.process.kill()
        self.broker.process.wait()
        self.broker.restart()
        again = self.post('"k5"', body)
        self.assertEqual((again[0], again[2]), (201, first[2]))

    def test_credits_want_a_key_and_keys_are_short_and_printable(self):
        credit = {"account_id": self.account_id, "amount_uusd": 7}
        self.assertEqual(self.admin().raw("POST", "/v1/admin/credits", credit)[0] // 100, 4)
        for bad in ('""', "x" * 201, '"caf\xe9"'):
            with self.subTest(key=bad[:10]):
                status, _, _ = self.post(bad, self.manifest(reserve_usd_per_hour="0.01"))
                self.assertIn(status, (400, 422))


if __name__ == "__main__":
    unittest.main()
