"""The market's log as outsiders meet it: heads, leaves, proofs and openings, checked by definitions written
here again; and the command that checks them all.
"""

import base64
import copy
import json
import os
import shutil
import struct
import subprocess
import unittest

from harness import ApiCase, b64, ed25519_sign, ed25519_verifies, manifest, unb64
from test_direct import DirectCase
from test_rounds import merkle_root, sealed, sha

LOT, BLOCK, DEMAND, INDEX, PREFIX, SOLD, AWARD, CANDIDATE = 2, 4, 6, 7, 9, 10, 11, 14


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


class LogCase(ApiCase):
    settings = {"round_ms": 250}  # what `verify` looks at without a range is then the last 25 s

    @classmethod
    def prepare(cls):
        cls.all_sellers = []

    def trade(self):
        """Sellers with several blocks, tenants with one and several wishes, an award at once. The first wish comes first
        and may pay more than the second, so that both tenants win something in whichever rounds these fall."""
        self.sweep()  # what an earlier trade of this test left would take these blocks
        before = int(self.sql("select count(*) from leases"))
        self.sellers = [self.node(price=900000 + 70000 * i, slots=1 + i % 2) for i in range(3)]
        self.all_sellers += self.sellers
        self.tenants = [self.account() for _ in range(2)]
        made = [self.tenants[i % 2].post("/v1/workloads", manifest(
            replicas=1 + i % 2, reserve_uusd_per_hour=reserve, award="now" if i == 3 else "auction"))
            for i, reserve in enumerate((1300000, 1200000, 1400000, 1600000))]
        last = max(w["promise"]["round"] for w in made)
        self.until("their rounds in the log", lambda: int(self.sql(
            "select coalesce(max(round), 0) from log_leaves l join log_heads h using (market, size)")) >= last and
            int(self.sql("select round from markets where market = 'main'")) > last)
        self.until("their leases", lambda: int(self.sql("select count(*) from leases")) >= before + 3)
        return made

    def head(self, size=None):
        head = self.broker.http().get("/v1/log/head" + (f"?size={size}" if size else ""))
        text = f"undercut/head/v1|main|{head['size']}|{head['root_sha256']}|{head['signed_at_us']}"
        self.assertEqual(unb64(head["public_key"]), self.sellers[0].market_public)
        self.assertTrue(ed25519_verifies(unb64(head["public_key"]), text.encode(), unb64(head["signature"])))
        return head


class TranscriptTest(LogCase):
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


class Verifies:
    """`undercut verify` as somebody runs it."""

    def verify(self, *words, http=None, code=0, errors=False):
        env = {**self.stack.env(), "UNDERCUT_URL": self.broker.url, "UNDERCUT_API_KEY": http.key if http else "",
               "XDG_CONFIG_HOME": os.path.join(self.stack.folder, "no-home")}
        done = subprocess.run([self.stack.program("undercut"), "verify", *words], capture_output=True, text=True,
                              env=env, stdin=subprocess.DEVNULL, timeout=60, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr if errors else done.stdout

    def counts(self, *words, http=None):
        report = json.loads(self.verify("--json", *words, http=http))
        self.assertTrue(report["ok"])
        return report["checked"]


class VerifyTest(Verifies, LogCase):
    """Against this broker and on copies of what it said."""

    def bought(self):
        """Everything settled down: promises known, leases made, all under a head."""
        made = self.trade()
        last = int(self.sql("select max(size) from log_leaves"))
        self.until("a head over it all", lambda: self.head()["size"] >= last)
        return made

    def transcript(self, http, made=()):
        folder = os.path.join(self.stack.folder, f"transcript-{self.id().rsplit('.', 1)[-1]}")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "promises"))
        for i, workload in enumerate(made):
            self.store(folder, f"promises/{i}.json", workload)
        self.assertTrue(self.verify("--download", "--dir", folder, http=http).endswith("verify: ok\n"))
        return folder

    @staticmethod
    def load(folder, name):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            return json.load(f)

    @staticmethod
    def store(folder, name, value):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f)

    def test_everybody_can_verify_what_he_may_see(self):
        made = self.bought()
        auditor = self.counts(http=self.stack.admin())
        for what in ("heads", "consistency", "leaves", "seeds", "chain", "records", "clearings", "arrivals"):
            self.assertGreater(auditor[what], 0, what)
        tenant = self.counts(http=self.tenants[0])
        for what in ("rows", "leases", "arrivals"):
            self.assertGreater(tenant[what], 0, what)
        self.assertEqual(tenant["clearings"], 0)
        seller = next(s for s in self.all_sellers if s.http.get("/v1/leases?role=operator")["data"])
        self.assertGreater(self.counts(http=seller.http)["leases"], 0)
        public = self.counts()
        self.assertEqual(public["leases"], 0)
        self.assertGreater(public["rows"], 0)
        folder = self.transcript(self.tenants[0], [w for i, w in enumerate(made) if i % 2 == 0])
        self.assertGreater(self.counts("--dir", folder)["promises"], 0)
        key = self.head()["public_key"]
        self.verify("--dir", folder, "--key", key)
        self.assertIn("FAULT in heads", self.verify("--dir", folder, "--key", "A" * 43, code=11))
        # Later, more: the heads of before are kept, and the log must have grown from them.
        tenant = self.tenants[0]
        self.bought()
        self.assertGreater(self.counts("--download", "--dir", folder, http=tenant)["consistency"], 1)
        self.assertIn("not among the arrivals shown to this key",
                      self.verify("--download", "--dir", folder, http=self.tenants[0], code=11))

    def test_what_was_not_checked_is_said_and_not_counted(self):
        self.bought()
        tenant = self.tenants[0]
        newest = self.head()["size"] + 1000000
        self.assertTrue(self.verify("--from", str(newest), http=tenant, code=3)
                        .endswith("verify: no round was there to check\n"))
        report = json.loads(self.verify("--json", "--from", str(newest), http=tenant, code=3))
        leases = tenant.get("/v1/leases?limit=200")["data"]
        self.assertEqual((report["ok"], report["faults_count"], report["last_round"], report["checked"]["leases"],
                          report["leases_not_compared"]), (False, 0, 0, 0, len(leases)))
        one = leases[0]["round"]
        report = json.loads(self.verify("--json", "--from", str(one), "--to", str(one), http=tenant))
        there = sum(lease["round"] == one for lease in leases)
        self.assertEqual((report["ok"], report["first_round"], report["last_round"], report["checked"]["leases"],
                          report["leases_not_compared"]), (True, one, one, there, len(leases) - there))
        said = self.verify("--from", str(one), "--to", str(newest), http=tenant, errors=True)
        self.assertIn(f" to {newest} are not under the head yet", said)
        folder = self.transcript(tenant)
        self.verify("--dir", folder, "--from", str(one), code=2)  # would check all of it, and say so of one

    def test_a_changed_transcript_is_refused_and_says_where(self):
        self.bought()  # all of a trade may fall into one round, and a leaf between two others is wanted
        made = self.bought()
        folder = self.transcript(self.stack.admin(), made)
        number = max((self.load(folder, f"rounds/{name}") for name in os.listdir(f"{folder}/rounds")),
                     key=lambda doc: len(doc["record_base64"]))["round"]
        there = f"rounds/{number}.json"
        arrived = f"rounds/{made[0]['promise']['round']}.json"
        lease = {**self.tenants[0].get("/v1/leases")["data"][0]}

        def flip(text):
            return ("A" if text[len(text) // 2] != "A" else "B").join((text[:len(text) // 2],
                                                                       text[len(text) // 2 + 1:]))

        def hex_flip(text):
            return text[:-1] + ("0" if text[-1] != "0" else "1")

        def change(name, what, how):
            def run(doc):
                at = doc[-1] if isinstance(doc, list) else doc
                *path, last = what
                for step in path:
                    at = at[step]
                at[last] = how(at[last])
            return name, run
        cases = [
            (*change("heads.json", ["root_sha256"], hex_flip), "head of size .*signature"),
            (*change("heads.json", ["signed_at_us"], lambda us: us + 1), "head of size .*signature"),
            (*change("consistency.json", ["path", 0], hex_flip), "no proof that the log"),
            ("consistency.json", lambda doc: doc.clear(), "no proof that the log"),
            (*change("leaves.json", ["body_base64"], flip), r"leaf \d+: "),
            (*change("leaves.json", ["path", 0], hex_flip), "does not stand in the log"),
            ("leaves.json", lambda doc: doc.pop(1), "comes after"),
            ("anchors.json", lambda doc: doc.clear(), "hashes to no anchor"),
            (*change(there, ["record_base64"], flip), f"round {number}: the record is not the one"),
            (*change(there, ["secret"], hex_flip), f"round {number}: the record is not the one"),
            (*change(arrived, ["arrivals", 0, "message_sha256"], hex_flip), r"round \d+: the message at place"),
            (arrived, lambda doc: doc["arrivals"].clear(), "BROKEN PROMISE"),
            (arrived, lambda doc: doc["arrivals"].pop(), "not all of its arrivals"),
            ("promises/0.json", lambda doc: doc["promise"].update(place=doc["promise"]["place"] + 1), "signature"),
            ("leases.json", lambda doc: doc.append({**lease, "price_uusd_per_hour": 1}), "no award of round"),
        ]
        for name, tamper, fault in cases:
            with self.subTest(name=name, fault=fault):
                before = self.load(folder, name)
                doc = copy.deepcopy(before)
                tamper(doc)
                self.store(folder, name, doc)
                self.assertRegex(self.verify("--dir", folder, code=11), f"FAULT in .*(?:{fault})")
                self.store(folder, name, before)
        os.rename(f"{folder}/{there}", f"{folder}/kept")
        self.assertIn("its openings are not in the transcript", self.verify("--dir", folder, code=11))
        os.rename(f"{folder}/kept", f"{folder}/{there}")
        self.verify("--dir", folder)

    def test_a_party_notices_a_changed_row(self):
        self.bought()
        for http in (self.tenants[0], next(s for s in self.all_sellers
                                           if s.http.get("/v1/leases?role=operator")["data"]).http):
            folder = self.transcript(http)
            number = http.get("/v1/leases?role=" + ("tenant" if http is self.tenants[0] else "operator"))["data"][-1]["round"]
            name = f"rounds/{number}.json"
            before = self.load(folder, name)
            one_each = {row["kind"]: (at, row) for at, row in enumerate(before["rows"])}
            for at, row in one_each.values():
                doc = copy.deepcopy(before)
                data = bytearray(base64.b64decode(row["bytes_base64"]))
                data[-1] ^= 1
                doc["rows"][at]["bytes_base64"] = base64.b64encode(bytes(data)).decode()
                self.store(folder, name, doc)
                self.assertIn(f"round {number}: row {row['place']} is not the one",
                              self.verify("--dir", folder, code=11))

    def test_two_heads_of_one_size_are_proof(self):
        """The market's own key signs another past: whoever kept the first head holds the proof."""
        self.bought()
        folder = self.transcript(self.tenants[0])
        heads = self.load(folder, "heads.json")
        other = self.signed({**heads[-1], "root_sha256": sha(b"another past").hex()})
        self.store(folder, "theirs.json", other)
        theirs = os.path.join(folder, "theirs.json")
        self.assertIn("EQUIVOCATION", self.verify("--dir", folder, "--head", theirs, code=11))
        self.store(folder, "theirs.json", self.head(size=heads[-1]["size"] - 1))
        self.assertGreater(self.counts("--head", theirs)["consistency"], 0)
        # A log that somebody saw longer than it is now was cut.
        self.store(folder, "theirs.json", self.signed({**other, "size": heads[-1]["size"] + 1000}))
        self.assertIn("heads do not grow", self.verify("--head", theirs, code=11))

    def signed(self, head):
        text = f"undercut/head/v1|main|{head['size']}|{head['root_sha256']}|{head['signed_at_us']}"
        return {**head, "signature": b64(ed25519_sign(self.market_secret(), text.encode()))}

    def market_secret(self):
        """libsodium's form: the seed with the public key behind it."""
        with open(self.broker.settings["market_key_file"], encoding="ascii") as f:
            return bytes.fromhex(f.read().strip()) + self.sellers[0].market_public

    def test_a_published_index_must_be_that_of_the_record(self):
        self.bought()
        for http in (self.stack.admin(), self.tenants[0]):
            folder = self.transcript(http)
            published = self.load(folder, "published.json")
            lot = next(lot for each in published for lot in each["lots"] if lot["index_uusd_per_hour"])
            lot["index_uusd_per_hour"] += 1
            self.store(folder, "published.json", published)
            self.assertIn("FAULT in indexes", self.verify("--dir", folder, code=11))

    def test_a_restart_continues_the_log(self):
        self.bought()
        folder = self.transcript(self.tenants[0])
        before = self.head()
        self.broker.stop()
        self.broker.restart()
        self.bought()
        after = self.head()
        self.assertGreater(after["size"], before["size"])
        self.assertGreater(self.counts("--download", "--dir", folder)["consistency"], 1)
        sizes = [head["size"] for head in self.load(folder, "heads.json")]
        self.assertEqual(sizes, sorted(set(sizes)))
        self.assertGreater(len(sizes), 2)

    def test_a_lost_folder_or_file_is_an_error_and_no_verdict(self):
        self.bought()
        folder = self.transcript(self.tenants[0])
        with open(f"{folder}/leaves.json", "w", encoding="utf-8") as f:
            f.write("[{")
        self.verify("--dir", folder, code=1)
        self.verify("--download", code=2)
        self.verify("--from", "x", code=2)
        self.verify("--from", "3", "--to", "2", code=2)
        self.verify("--dir", f"{folder}/none", code=1)
        os.mkdir(f"{folder}/none")
        self.assertIn("there is no signed head", self.verify("--dir", f"{folder}/none", code=11))


class VerifyDirectTest(Verifies, DirectCase):
    def test_what_no_lot_can_say_is_verified_too(self):
        nodes = [self.gpu_node(price, driver="570.1") for price in (400000, 500000, 700000)]
        lease = self.awarded(*nodes, device={"driver_min": "560.0"})
        self.until("a head over it", lambda: self.sql("select count(*) from log_heads h join log_leaves l using"
                                                      f" (market, size) where l.round >= {lease['round']}") != "0")
        self.assertGreater(self.counts(http=self.stack.admin())["clearings"], 0)
        self.assertGreater(self.counts(http=self.tenant)["leases"], 0)
        winner = next(node for node in nodes if node.node_id == lease["node_id"])
        self.assertGreater(self.counts(http=winner.http)["leases"], 0)
        loser = next(node for node in nodes if node is not winner)
        self.assertGreater(self.counts(http=loser.http)["rows"], 0)
        rows = loser.http.get(f"/v1/rounds/{lease['round']}/openings")["rows"]
        self.assertEqual({row["kind"] for row in rows}, {CANDIDATE})
        self.assertEqual(self.broker.http().get(f"/v1/rounds/{lease['round']}/openings")["rows"], [])


def uuid_of(text):
    """The bytes of a prefixed id: 26 characters of Crockford's base32."""
    number = 0
    for c in text.split("_")[1]:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(c)
    return number.to_bytes(16, "big")


if __name__ == "__main__":
    unittest.main()
