"""Idempotency-Key: a retry is safe, a reuse is not silent, twins have one effect, crashes change nothing."""

import json
import unittest

from harness import ApiCase, manifest


class IdempotencyTest(ApiCase):
    settings = {"roles": "api"}  # nothing moves by itself, so that answers can be compared whole

    def post(self, http, path, body, key):
        """(status, is marked as a replay, the answer's bytes) of a POST with this key."""
        status, headers, data = http.raw("POST", path, body, {"Idempotency-Key": key})
        return status, headers.get("Idempotent-Replayed") == "true", data

    def code(self, answer):
        return answer[0], json.loads(answer[2])["code"]

    def rows(self):
        """Every POST of accounts: (http, path, body, another body)."""
        http = self.account()
        return http, {
            "account_create": (self.broker.http(), "/v1/accounts", {"name": "a"}, {"name": "b"}),
            "api_key_create": (http, "/v1/api-keys", {"name": "a", "scopes": ["money:read"]},
                               {"name": "b", "scopes": ["money:read"]}),
            "workload_create": (http, "/v1/workloads", manifest(name="a"), manifest(name="b")),
            "node_token_create": (http, "/v1/node-tokens", {"region": "eu-west"}, {"region": "us-east"}),
            "admin_credit": (self.stack.admin(), "/v1/admin/credits",
                             {"account_id": http.account_id, "amount_uusd": 5},
                             {"account_id": http.account_id, "amount_uusd": 6}),
        }

    def test_the_same_key_with_the_same_body_replays_the_first_answer_byte_for_byte_and_says_so(self):
        _, rows = self.rows()
        for name, (http, path, body, _) in rows.items():
            with self.subTest(operation=name):
                key = f"replay-of-{name}"
                first = self.post(http, path, body, key)
                again = self.post(http, path, body, f'"{key}"')  # quoted is the same key
                self.assertEqual((first[:2], again[:2]), ((201, False), (201, True)))
                self.assertEqual(first[2], again[2])

    def test_the_same_key_with_another_body_is_refused_and_has_no_effect(self):
        http, rows = self.rows()
        for name, (client, path, body, other) in rows.items():
            with self.subTest(operation=name):
                self.assertEqual(self.post(client, path, body, f"reuse-of-{name}")[0], 201)
                self.assertEqual(self.code(self.post(client, path, other, f"reuse-of-{name}")),
                                 (422, "idempotency_key_reused"))
        self.assertEqual([w["name"] for w in http.get("/v1/workloads")["data"]], ["a"])

    def test_a_key_belongs_to_its_account_and_its_operation(self):
        one, two = self.account(), self.account()
        answers = [self.post(http, "/v1/workloads", manifest(name="x"), "shared") for http in (one, two)]
        self.assertEqual([a[:2] for a in answers], [(201, False), (201, False)])
        self.assertNotEqual(*[json.loads(a[2])["workload_id"] for a in answers])
        self.assertEqual(self.post(one, "/v1/node-tokens", {}, "shared")[:2], (201, False))

    def test_32_twins_at_once_have_one_effect_and_one_answer(self):
        http = self.account()
        body = manifest(name="twin", max_duration_s=3600)
        answers = self.at_once(32, lambda _: self.post(http, "/v1/workloads", body, "twins"))
        self.assertEqual({a[0] for a in answers}, {201})
        self.assertEqual(len({a[2] for a in answers}), 1)
        self.assertEqual(sum(not a[1] for a in answers), 1, "exactly one answer is the first")
        balance = http.get("/v1/balance")
        self.assertEqual((balance["wallet_uusd"], balance["escrow_uusd"]), (99400000, 600000))  # held once
        self.assertEqual(len(http.get("/v1/workloads")["data"]), 1)

    def test_twins_with_different_bodies_have_one_effect_and_one_winner(self):
        http = self.account()
        answers = self.at_once(16, lambda i: self.post(http, "/v1/workloads", manifest(name=f"n{i}"), "race"))
        self.assertEqual(sum(a[0] == 201 for a in answers), 1)
        self.assertEqual({self.code(a) for a in answers if a[0] != 201}, {(422, "idempotency_key_reused")})
        self.assertEqual(len(http.get("/v1/workloads")["data"]), 1)

    def test_twin_credits_are_booked_once(self):
        http = self.account(0)
        body = {"account_id": http.account_id, "amount_uusd": 1000000}
        answers = self.at_once(16, lambda _: self.post(self.stack.admin(), "/v1/admin/credits", body, "c-1"))
        self.assertEqual({a[0] for a in answers}, {201})
        self.assertEqual(http.get("/v1/balance")["wallet_uusd"], 1000000)

    def test_a_refusal_is_not_remembered(self):
        http = self.account(0)
        self.assertEqual(self.code(self.post(http, "/v1/workloads", manifest(), "later")), (402, "insufficient_funds"))
        self.stack.admin().post("/v1/admin/credits", {"account_id": http.account_id, "amount_uusd": 9000000},
                                {"Idempotency-Key": f"for-{http.account_id}"})
        self.assertEqual(self.post(http, "/v1/workloads", manifest(), "later")[:2], (201, False))

    def test_a_replay_survives_kill_9_of_the_broker(self):
        http = self.account()
        first = self.post(http, "/v1/workloads", manifest(), "crash")
        self.broker.process.kill()
        self.broker.process.wait()
        self.broker.restart()
        self.assertEqual(self.post(http, "/v1/workloads", manifest(), "crash"), (201, True, first[2]))

    def test_a_key_must_be_short_and_printable(self):
        http = self.account()
        for key in ("x" * 201, '"' + "x" * 201 + '"', '""', "a\tb", '"unclosed'):
            with self.subTest(key=key[:20]):
                self.assertEqual(self.code(self.post(http, "/v1/node-tokens", {}, key)), (400, "malformed_request"))
        status, _, body = self.stack.admin().raw("POST", "/v1/admin/credits",
                                                 {"account_id": http.account_id, "amount_uusd": 1})
        self.assertEqual((status, json.loads(body)["code"]), (400, "malformed_request"))

    def test_the_first_answer_is_sealed_in_the_database(self):
        made = self.broker.http().post("/v1/accounts", {"name": "s"}, {"Idempotency-Key": "sealed-0123456789"})
        rows = self.sql("select encode(response_sealed, 'escape') from idempotency")
        self.assertTrue(rows)
        self.assertNotIn(made["api_key"]["secret"], rows)


if __name__ == "__main__":
    unittest.main()
