"""The market's log as outsiders meet it: heads, leaves, proofs and openings, checked by definitions written
here again; and the command that checks them all.
"""

import base64
import struct
import unittest

from harness import ApiCase, ed25519_verifies, manifest, unb64
from test_rounds import merkle_root, sealed, sha

LOT, BLOCK, DEMAND, INDEX, PREFIX, SOLD, AWARD = 2, 4, 6, 7, 9, 10, 11


def climb(leaf, index, size, path):
    """The root that an RFC 6962 path leads to, by the recursion of its definition."""
    if size == 1:
        assert not path
        return leaf
    split = 1
    while split * 2 < size:
        split *= 2
    *below, last = path
    if index < split:
        return sha(b"\x01", climb(leaf, index, split, below), last)
    return sha(b"\x01", last, climb(leaf, index - split, size - split, below))


def consistency(leaves, before):
    """The proof that RFC 6962 defines, from all leaves."""
    def subproof(m, d, is_whole):
        if m == len(d):
            return [] if is_whole else [merkle_root(d)]
        split = 1
        while split * 2 < len(d):
            split *= 2
        if m <= split:
            return subproof(m, d[:split], is_whole) + [merkle_root(d[split:])]
        return subproof(m - split, d[split:], False) + [merkle_root(d[:split])]
    return subproof(before, leaves, True)


def of_hex(items):
    return [bytes.fromhex(item) for item in items]


class TranscriptTest(ApiCase):
    all_sellers = []

    def trade(self):
        """Sellers with several blocks, tenants with one and several wishes, an award at once."""
        self.sellers = [self.node(price=900000 + 70000 * i, slots=1 + i % 2) for i in range(3)]
        self.all_sellers += self.sellers
        self.tenants = [self.account() for _ in range(2)]
        made = [self.tenants[i % 2].post("/v1/workloads", manifest(
            replicas=1 + i % 2, reserve_uusd_per_hour=1000000 + 200000 * i, award="now" if i == 3 else "auction"))
            for i in range(4)]
        last = max(w["promise"]["round"] for w in made)
        self.until("their rounds in the log", lambda: self.sql(
            f"select max(round) from log_leaves l join log_heads h using (market, size)") >= str(last) and
            int(self.sql("select round from markets where market = 'main'")) > last)
        self.until("their leases", lambda: int(self.sql("select count(*) from leases")) >= 3)
        return made

    def head(self, size=None):
        head = self.broker.http().get("/v1/log/head" + (f"?size={size}" if size else ""))
        text = f"undercut/head/v1|main|{head['size']}|{head['root_sha256']}|{head['signed_at_us']}"
        self.assertEqual(unb64(head["public_key"]), self.sellers[0].market_public)
        self.assertTrue(ed25519_verifies(unb64(head["public_key"]), text.encode(), unb64(head["signature"])))
        return head

    def leaves(self, size, limit=7):
        found, cursor = [], ""
        while True:
            page = self.broker.http().get(f"/v1/log/leaves?size={size}&limit={limit}{cursor}")
            found += page["data"]
            if not page["has_more"]:
                return found
            cursor = "&cursor=" + page["next_cursor"]

    def test_heads_leaves_and_proofs_fit_together(self):
        self.trade()
        head = self.head()
        listed = [leaf for leaf in self.leaves(head["size"]) if leaf["path"] is not None]
        self.assertEqual([leaf["index"] for leaf in listed], list(range(head["size"])))
        hashes = [sha(b"\0", base64.b64decode(leaf["body_base64"])) for leaf in listed]
        self.assertEqual(hashes, of_hex(leaf["leaf_sha256"] for leaf in listed))
        self.assertEqual(merkle_root(hashes).hex(), head["root_sha256"])
        for leaf, digest in zip(listed, hashes):
            self.assertEqual(climb(digest, leaf["index"], head["size"], of_hex(leaf["path"])).hex(),
                             head["root_sha256"])
        for before in range(1, head["size"] + 1):
            proof = self.broker.http().get(f"/v1/log/consistency?before={before}&size={head['size']}")
            self.assertEqual(of_hex(proof["path"]), consistency(hashes, before))
        older = self.head(size=head["size"] - 1)
        self.assertLess(older["size"], head["size"])
        self.assertEqual(merkle_root(hashes[:older["size"]]).hex(), older["root_sha256"])
        self.assertEqual(listed[0]["kind"], "anchor")
        rounds = [leaf["round"] for leaf in listed if leaf["kind"] == "round"]
        self.assertEqual(sorted(rounds), sorted(set(rounds)))
        one = self.broker.http().get(f"/v1/log/leaves?round={rounds[-1]}&limit=1")["data"][0]
        self.assertEqual(one["round"], rounds[-1])

    def test_sizes_that_the_log_has_not_reached_are_refused(self):
        self.trade()
        public = self.broker.http()
        for path in ("/v1/log/consistency?before=1&size=99999", "/v1/log/consistency?before=9&size=2",
                     "/v1/log/leaves?size=99999"):
            self.refused(422, "invalid_field", public.get, path)
        self.refused(404, "not_found", public.get, "/v1/log/head?market=other")
        self.refused(404, "not_found", public.get, "/v1/rounds/99999/openings")
        self.assertEqual(public.get("/v1/log/leaves?from=99999")["data"], [])

    def opened(self, http, number):
        """A caller's openings of a round, each row proven in the public leaf; {(kind, lot, item): bytes}."""
        whole = http.get(f"/v1/rounds/{number}/openings")
        body, rows = base64.b64decode(whole["body_base64"]), {}
        for row in whole["rows"]:
            data = base64.b64decode(row["bytes_base64"])
            leaf = sha(b"\0", bytes.fromhex(row["salt"]), struct.pack("<BII", row["kind"], row["lot"], row["item"]), data)
            self.assertEqual(climb(leaf, row["place"], whole["rows_size"], of_hex(row["path"])), body[6:38])
            rows[row["kind"], row["lot"], row["item"]] = data
        root = body[38 + 7 + 1 + len("main") + 8:][:32]
        for arrival in whole["arrivals"]:
            leaf = sha(b"\0", struct.pack(">QQ", number, arrival["place"]), bytes.fromhex(arrival["message_sha256"]))
            self.assertEqual(climb(leaf, arrival["index"], whole["arrivals_count"], of_hex(arrival["path"])), root)
        return whole, rows

    def test_everybody_sees_his_own_rows_and_nobody_elses(self):
        made = self.trade()
        number = int(self.sql("select max(round) from rounds where awards_count > 0"))
        whole, _ = self.opened(self.stack.admin(), number)
        record = base64.b64decode(whole["record_base64"])
        self.assertEqual(base64.b64decode(whole["body_base64"]), sealed(record, bytes.fromhex(whole["secret"])))
        self.assertEqual(len(whole["arrivals"]), whole["arrivals_count"])
        _, public = self.opened(self.broker.http(), number)
        self.assertEqual({kind for kind, _, _ in public}, {LOT, INDEX, SOLD})
        for http in [*self.tenants, *(s.http for s in self.all_sellers)]:
            mine, rows = self.opened(http, number)
            self.assertIsNone(mine["record_base64"])
            self.assertIsNone(mine["secret"])
            account = uuid_of(http.get("/v1/account")["account_id"])
            for (kind, _, _), data in rows.items():
                self.assertIn(kind, (LOT, INDEX, SOLD, BLOCK, DEMAND, AWARD, PREFIX))
                if kind in (BLOCK, DEMAND):
                    self.assertEqual(data[1 + data[0]:][:16], account)
        sellers = [rows for _, rows in (self.opened(s.http, number) for s in self.all_sellers)]
        self.assertTrue(any(kind == BLOCK for rows in sellers for kind, _, _ in rows))
        for workload in made:
            promise = workload["promise"]
            tenant = next(t for t in self.tenants if any(w["workload_id"] == workload["workload_id"]
                                                         for w in t.get("/v1/workloads")["data"]))
            arrivals = tenant.get(f"/v1/rounds/{promise['round']}/openings")["arrivals"]
            self.assertIn((promise["place"], promise["message_sha256"]),
                          [(a["place"], a["message_sha256"]) for a in arrivals])

    def test_asks_open_to_everybody_thirty_days_after_they_ended(self):
        self.trade()
        number = int(self.sql("select max(round) from rounds where awards_count > 0"))
        public = self.broker.http()

        def blocks():
            return [1 for kind, _, _ in self.opened(public, number)[1] if kind == BLOCK]
        self.assertFalse(blocks())
        seller = next(s for s in self.all_sellers
                      if any(kind == BLOCK for kind, _, _ in self.opened(s.http, number)[1]))
        seller.http.put("/v1/asks/cpu-1c2g/eu-west", {"price_uusd_per_device_hour": 950000})
        self.assertFalse(blocks())
        self.addCleanup(self.sql, "update ask_ends set ended_at = now()")
        self.sql("update ask_ends set ended_at = ended_at - interval '29 days'")
        self.assertFalse(blocks())
        self.sql("update ask_ends set ended_at = ended_at - interval '1 day'")
        self.assertTrue(blocks())
        # The other asks still stand, so the rest of the lot stays sealed.
        self.assertFalse([1 for kind, _, _ in self.opened(public, number)[1] if kind in (AWARD, PREFIX)])


def uuid_of(text):
    """The bytes of a prefixed id: 26 characters of Crockford's base32."""
    number = 0
    for c in text.split("_")[1]:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(c)
    return number.to_bytes(16, "big")


if __name__ == "__main__":
    unittest.main()
