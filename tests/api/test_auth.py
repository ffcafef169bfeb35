"""Who may do what: keys, their scopes and ends, tokens, and tokens that a forger made."""

import base64
import hashlib
import hmac
import json
import subprocess
import tempfile
import time
import unittest

from harness import ALL_SCOPES, ApiCase, b64, unb64

IDS = "[0-9a-hjkmnp-tv-z]{26}"


def part(value):
    return b64(json.dumps(value, separators=(",", ":")).encode())


def es256(pem_path, text):
    """A raw R|S signature by openssl, which only speaks DER."""
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", pem_path], input=text.encode(),
                         capture_output=True, check=True).stdout
    at, numbers = 2, []
    for _ in range(2):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + size], "big").to_bytes(32, "big"))
        at += 2 + size
    return b64(b"".join(numbers))


class AuthTest(ApiCase):
    settings = {"roles": "api"}

    # ---- keys
    def test_an_account_is_made_with_a_key_that_has_every_scope_but_admin_and_audit(self):
        made = self.broker.http().post("/v1/accounts", {"name": "Ada", "email": "ada@example.org"})
        self.assertRegex(made["account"]["account_id"], f"^acct_{IDS}$")
        self.assertRegex(made["api_key"]["secret"], "^uc_live_")
        self.assertEqual(sorted(made["api_key"]["scopes"]), sorted(ALL_SCOPES))
        self.assertRegex(self.broker.http().post("/v1/accounts", {"name": "T", "mode": "test"})
                         ["api_key"]["secret"], "^uc_test_")
        mine = self.broker.http(made["api_key"]["secret"]).get("/v1/account")
        self.assertEqual(mine["account_id"], made["account"]["account_id"])

    def test_a_secret_is_shown_once_and_stored_only_as_a_hash(self):
        http = self.account(0)
        secret = http.post("/v1/api-keys", {"name": "ci", "scopes": ["money:read"]})["secret"]
        self.assertNotIn("secret", json.dumps(http.get("/v1/api-keys")))
        self.sql("create extension if not exists pgcrypto")
        dump = self.sql("select row_to_json(k) from api_keys k")
        self.assertNotIn(secret, dump)
        self.assertIn(hashlib.sha256(secret.encode()).hexdigest(), dump)

    def test_a_key_cannot_make_a_key_that_may_more_than_itself(self):
        narrow = self.key_with(self.account(0), "keys:write", "money:read")
        narrow.post("/v1/api-keys", {"name": "same", "scopes": ["money:read"]})
        for scope in ("workloads:write", "admin", "audit"):
            self.refused(403, "forbidden_scope", narrow.post, "/v1/api-keys", {"name": "more", "scopes": [scope]})

    def test_a_revoked_key_stops_working_and_revoking_is_safe_to_repeat(self):
        http = self.account(0)
        made = http.post("/v1/api-keys", {"name": "k", "scopes": ["money:read"]})
        revoked = self.broker.http(made["secret"])
        revoked.get("/v1/balance")
        http.delete(f"/v1/api-keys/{made['key_id']}")
        http.delete(f"/v1/api-keys/{made['key_id']}")
        self.until("the key to be dead", lambda: revoked.raw("GET", "/v1/balance")[0] == 401, 12)

    def test_a_stolen_key_leaves_no_heir_behind_its_revocation(self):
        http = self.account(0)
        made = http.post("/v1/api-keys", {"name": "stolen", "scopes": ["keys:write"]})
        stolen = self.broker.http(made["secret"])
        token = self.broker.http(stolen.post("/v1/tokens")["access_token"])
        token.post("/v1/api-keys", {"name": "while it lives", "scopes": ["keys:write"]})
        http.delete(f"/v1/api-keys/{made['key_id']}")
        for thief in (token, stolen):
            self.refused(401, "unauthenticated", thief.post, "/v1/api-keys", {"name": "heir", "scopes": ["keys:write"]})
        self.refused(401, "unauthenticated", token.post, "/v1/tokens")
        self.assertEqual(token.get("/v1/account")["account_id"], http.account_id)  # as the contract says of tokens
        self.assertNotIn("heir", [k["name"] for k in http.get("/v1/api-keys")["data"]])

    def test_an_expired_key_is_refused(self):
        http = self.account(0)
        made = http.post("/v1/api-keys", {"name": "k", "scopes": ["money:read"], "expires_in_s": 60})
        self.sql("update api_keys set expires_at = now() - interval '1 s', created_at = now()"
                                f" - interval '1 h' where name = 'k' and expires_at is not null")
        self.until("the key to expire", lambda: self.broker.http(made["secret"]).raw("GET", "/v1/balance")[0] == 401, 12)

    def test_what_is_not_a_key_is_refused_alike(self):
        good = self.account(0).key
        for header in ("Bearer", "Bearer ", f"Basic {good}", good, "Bearer uc_live_nothing", f"Bearer {good}x",
                       f"Bearer {good[:-1]}", f"Bearer  {good} {good}", "Bearer " + "x" * 5000,
                       "Bearer uc_live_" + "A" * 43, f"Bearer {good.replace('uc_live_', 'uc_test_')}"):
            with self.subTest(header=header[:40]):
                status, headers, body = self.broker.http().raw("GET", "/v1/account", headers={"Authorization": header})
                self.assertEqual((status, json.loads(body)["code"]), (401, "unauthenticated"))
                self.assertIn("Bearer", headers["WWW-Authenticate"])

    # ---- tokens
    def test_a_key_is_exchanged_for_a_token_that_may_no_more_than_asked(self):
        http = self.account(0)
        made = http.post("/v1/tokens", {"scopes": ["money:read"], "ttl_s": 60})
        self.assertEqual((made["token_type"], made["expires_in"], made["scopes"]), ("Bearer", 60, ["money:read"]))
        token = self.broker.http(made["access_token"])
        self.assertEqual(token.get("/v1/account")["account_id"], http.account_id)
        token.get("/v1/balance")
        self.refused(403, "forbidden_scope", token.get, "/v1/workloads")
        self.refused(403, "forbidden_scope", self.key_with(http, "money:read").post, "/v1/tokens",
                     {"scopes": ["workloads:read"]})
        self.refused(422, "invalid_field", http.post, "/v1/tokens", {"ttl_s": 601})

    def test_a_token_verifies_with_the_published_keys_and_says_whose_it_is(self):
        http = self.account(0)
        token = http.post("/v1/tokens")["access_token"]
        header, claims = (json.loads(unb64(p)) for p in token.split(".")[:2])
        keys = self.broker.http().get("/.well-known/jwks.json")["keys"]
        key = next(k for k in keys if k["kid"] == header["kid"])
        self.assertEqual((header["alg"], key["crv"]), ("ES256", "P-256"))
        self.assertNotIn("d", key)
        self.assertEqual(claims["exp"] - claims["iat"], 600)
        with tempfile.TemporaryDirectory() as folder:
            spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + \
                unb64(key["x"]) + unb64(key["y"])
            raw = unb64(token.split(".")[2])
            halves = [h.lstrip(b"\0") or b"\0" for h in (raw[:32], raw[32:])]
            halves = [b"\0" + h if h[0] & 0x80 else h for h in halves]
            der = b"".join(b"\x02" + bytes([len(h)]) + h for h in halves)
            for name, data in (("pub", b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki)
                                + b"-----END PUBLIC KEY-----\n"), ("sig", b"\x30" + bytes([len(der)]) + der)):
                with open(f"{folder}/{name}", "wb") as f:
                    f.write(data)
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", f"{folder}/pub", "-signature",
                                   f"{folder}/sig"], input=".".join(token.split(".")[:2]).encode(),
                                  capture_output=True, check=False)
            self.assertIn(b"Verified OK", done.stdout, done)

    def test_a_token_ends_when_it_said(self):
        token = self.broker.http(self.account(0).post("/v1/tokens", {"ttl_s": 1})["access_token"])
        token.get("/v1/account")
        self.until("the token to expire", lambda: token.raw("GET", "/v1/account")[0] == 401, 10)
        self.refused(401, "token_expired", token.get, "/v1/account")

    def test_forged_tokens_are_refused(self):
        """Every row is a genuine token with one thing wrong; the table is the threat model's."""
        account = self.account(0)
        token = account.post("/v1/tokens")["access_token"]
        head, body, signature = token.split(".")
        header, claims = json.loads(unb64(head)), json.loads(unb64(body))
        now = int(time.time())
        pem = self.broker.settings["jwt_key_file"]
        with tempfile.NamedTemporaryFile(suffix=".pem") as stranger:
            subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
                            stranger.name], check=True, capture_output=True)
            jwk = self.broker.http().get("/.well-known/jwks.json")["keys"][0]

            def signed(new_header=header, new_claims=claims, by=pem, raw_claims=None):
                text = part(new_header) + "." + (b64(raw_claims.encode()) if raw_claims else part(new_claims))
                return f"{text}.{es256(by, text)}"

            def hs256(secret):
                text = part({**header, "alg": "HS256"}) + "." + body
                return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"
            last = signature[-1]
            double = json.dumps(claims)[:-1] + f', "sub": "{account.account_id}"}}'
            rows = {
                "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
                "alg none with kid": f"{part({**header, 'alg': 'none'})}.{body}.",
                "alg NoNe, signature kept": f"{part({**header, 'alg': 'NoNe'})}.{body}.{signature}",
                "no signature": f"{head}.{body}.",
                "HS256 with the public key as secret": hs256((jwk["x"] + jwk["y"]).encode()),
                "HS256 with an empty secret": hs256(b""),
                "HS256 with the kid as secret": hs256(header["kid"].encode()),
                "ES384 in the header": f"{part({**header, 'alg': 'ES384'})}.{body}.{signature}",
                "another key": signed(by=stranger.name),
                "another key, named by its own jwk": signed({**header, "jwk": jwk}, by=stranger.name),
                "an unknown kid": signed({**header, "kid": "unknown"}),
                "no kid": signed({k: v for k, v in header.items() if k != "kid"}),
                "kid as a path": signed({**header, "kid": "../../dev/null"}),
                "jku": signed({**header, "jku": "https://example.org/jwks.json"}),
                "crit": signed({**header, "crit": ["exp"]}),
                "edited claims": f"{head}.{part({**claims, 'scope': 'admin'})}.{signature}",
                "a signature of zeros": f"{head}.{body}.{b64(bytes(64))}",
                "a signature cut short": f"{head}.{body}.{signature[:-4]}",
                "other bits behind the signature": f"{head}.{body}.{signature[:-1]}{chr(ord(last) + 1)}",
                "padding": f"{head}.{body}.{signature}==",
                "four parts": f"{token}.{signature}", "two parts": f"{head}.{body}", "one part": head,
                "no exp": signed(new_claims={k: v for k, v in claims.items() if k != "exp"}),
                "exp as text": signed(new_claims={**claims, "exp": str(claims["exp"])}),
                "exp far away": signed(new_claims={**claims, "exp": now + 86400 * 365}),
                "iat to come": signed(new_claims={**claims, "iat": now + 300, "nbf": now + 300, "exp": now + 600}),
                "another issuer": signed(new_claims={**claims, "iss": "elsewhere"}),
                "another audience": signed(new_claims={**claims, "aud": "elsewhere"}),
                "no subject": signed(new_claims={k: v for k, v in claims.items() if k != "sub"}),
                "a subject twice": signed(raw_claims=double),
                "a scope that is none": signed(new_claims={**claims, "scope": "everything"}),
                "claims that are a list": signed(raw_claims="[]"),
                "too long": signed(new_claims={**claims, "pad": "x" * 5000}),
            }
            genuine = self.broker.http(signed())
            self.assertEqual(genuine.get("/v1/account")["account_id"], account.account_id)  # the forge works
            for what, forged in rows.items():
                with self.subTest(what):
                    status, _, data = self.broker.http(forged).raw("GET", "/v1/account")
                    self.assertEqual((status, json.loads(data)["code"]), (401, "unauthenticated"))
            over = signed(new_claims={**claims, "iat": now - 900, "nbf": now - 900, "exp": now - 300})
            self.refused(401, "token_expired", self.broker.http(over).get, "/v1/account")

    def test_a_token_outlives_a_restart_of_the_broker(self):
        http = self.account(0)
        token = http.post("/v1/tokens")["access_token"]
        self.broker.stop()
        self.broker.restart()
        self.broker.http(token).get("/v1/account")

    def test_two_brokers_that_share_the_key_file_accept_one_anothers_tokens(self):
        other = self.stack.broker_add("second", roles="api")
        self.watch(other)
        token = self.account(0).post("/v1/tokens")["access_token"]
        self.assertEqual(other.http(token).raw("GET", "/v1/account")[0], 200)


if __name__ == "__main__":
    unittest.main()
