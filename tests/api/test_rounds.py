"""Rounds, checked by somebody who trusts nothing: every record is decoded and cleared again in Python, from
the page that describes the rule, and promises, roots, seeds and hash chains must fit together.
"""

import base64
import hashlib
import struct
import unittest
import uuid

from harness import ApiCase, manifest, promise_holds, unb64

NOBODY = 10 ** 18  # a score that no other seller offers


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def merkle_root(leaves):
    """RFC 6962, section 2.1."""
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(b"\x01", merkle_root(leaves[:split]), merkle_root(leaves[split:]))


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self):
        return self.take(self.number("B")).decode()

    def several(self, read):
        return [read() for _ in range(self.number("I"))]


def record_read(data):
    """The canonical bytes of a round, as auction/record.h describes them."""
    r = Reader(data)
    assert r.take(4) == b"UCRR" and r.number("H") == 2
    record = {"kind": r.number("B"), "market": r.text(), "round": r.number("Q"), "root": r.take(32),
              "chain_index": r.number("Q"), "chain_value": r.take(32), "seed": r.take(32), "fee_bp": r.number("I")}

    def block():
        return {"id": r.text(), "owner": r.take(16), "node": r.take(16), "ask": r.number("q"), "adder": r.number("q")}

    def demand():
        return {"id": r.text(), "owner": r.take(16), "r": r.number("q"), "k": r.number("I"), "kmin": r.number("I")}

    def lot():
        return {"key": r.text(), "blocks": r.several(block), "demands": r.several(demand), "index": r.number("q"),
                "prefixes": r.several(lambda: (r.number("q"), r.number("I"), r.number("I"))),
                "awards": r.several(lambda: tuple(r.number(f) for f in "IIqq"))}

    def candidate():
        return {"id": r.text(), "owner": r.take(16), "node": r.take(16), "region": r.text(), "class": r.text(),
                "kind": r.number("B"), "price": r.number("q"), "adder": r.number("q"), "latency": r.number("q")}

    def direct():
        return {"id": r.text(), "owner": r.take(16), "tier": r.text(), "devices": r.number("B"),
                "spread": r.number("B"), "r": r.number("q"), "k": r.number("I"), "kmin": r.number("I"),
                "candidates": r.several(candidate), "index": r.number("q"),
                "awards": r.several(lambda: tuple(r.number(f) for f in "Iqq"))}
    lots_count, directs_count = r.number("I"), r.number("I")
    record["lots"] = [lot() for _ in range(lots_count)]
    record["directs"] = [direct() for _ in range(directs_count)]
    assert r.at == len(data)
    return record


def rows_of(data):
    """The record cut as auction/record.h says: (kind, lot, item, bytes), and where the head ends."""
    r, rows = Reader(data), []

    def cut(kind, lot, item, read):
        start = r.at
        value = read()
        rows.append((kind, lot, item, data[start:r.at]))
        return value

    def several(lot, kind, size):
        for i in range(cut(kind, lot, 0, lambda: r.number("I"))):
            cut(kind + 1, lot, i, size)
    r.take(7)
    r.text()
    r.take(8 + 32 + 8 + 32 + 32 + 4)
    lots, directs = r.number("I"), r.number("I")
    head = r.at
    for lot in range(lots):
        cut(2, lot, 0, r.text)
        several(lot, 3, lambda: (r.text(), r.take(48)))
        several(lot, 5, lambda: (r.text(), r.take(32)))
        cut(7, lot, 0, lambda: r.take(8))
        several(lot, 8, lambda: r.take(16))
        several(lot, 10, lambda: r.take(24))
    for direct in range(directs):
        cut(12, direct, 0, lambda: (r.text(), r.take(16), r.text(), r.take(18)))
        several(direct, 13, lambda: (r.text(), r.take(32), r.text(), r.text(), r.take(25)))
        cut(15, direct, 0, lambda: r.take(8))
        several(direct, 16, lambda: r.take(20))
    assert r.at == len(data) and b"".join(row[3] for row in rows) == data[head:]
    return rows, head


def sealed(data, secret):
    """The public half of a record, as auction/sealed.h describes it."""
    rows, head = rows_of(data)
    while len(rows) < 16 or len(rows) & (len(rows) - 1):
        rows.append((0, 0, 0, b""))
    leaves = [sha(b"\0", sha(b"undercut/salt/v1|", secret, struct.pack("<I", i))[:16],
                  struct.pack("<BII", kind, lot, item), data) for i, (kind, lot, item, data) in enumerate(rows)]
    return b"UCPR" + struct.pack("<H", 1) + merkle_root(sorted(leaves)) + data[:head]


def clear(lot, seed):
    """{(demand id, block id): (threshold, price)}: walk demand by reserve, sell prefixes of supply, price
    each block at what its owner's best losing rivals would have charged."""
    def tie(kind, name):
        return sha(b"undercut/tie/v1|", seed, kind, name.encode())
    owners = {d["owner"] for d in lot["demands"]} & {b["owner"] for b in lot["blocks"]}
    supply = sorted(lot["blocks"], key=lambda b: (b["ask"] + b["adder"], tie(b"|u|", b["id"])))
    scores = [b["ask"] + b["adder"] for b in supply]
    demands = sorted((d for d in lot["demands"] if d["owner"] not in owners), key=lambda d: (-d["r"], tie(b"|w|", d["id"])))
    sold, prefixes, buyers = 0, [], []
    for demand in demands:
        count = min(demand["k"], sum(s <= demand["r"] for s in scores) - sold)
        if count >= max(1, demand["kmin"]):
            sold += count
            buyers += [demand["id"]] * count
            prefixes.append((demand["r"], sold))
    result, ranks = {}, {}
    for place, buyer in enumerate(buyers):
        block = supply[place]
        rivals = [s for s, b in zip(scores, supply) if b["owner"] != block["owner"]]
        nth = ranks[block["owner"]] = ranks.get(block["owner"], 0) + 1
        theta = max(min(r, rivals[total - nth] if total - nth < len(rivals) else NOBODY)
                    for r, total in prefixes if total >= nth)
        result[(buyer, block["id"])] = (theta, theta - block["adder"])
    return result


def clear_direct(direct, seed):
    """{candidate id: (worth, price)}: the cheapest of each node or region (spread 2, 3) within r, k at most; an
    account is worth what its rivals would have charged instead of it."""
    def score(c):
        return c["price"] + c["adder"] + c["latency"]

    def group(c):
        return {1: c["id"], 2: c["node"], 3: c["region"]}[direct["spread"]]

    def chosen(without=None):
        taken = {}
        for c in sorted(direct["candidates"],
                        key=lambda c: (score(c), sha(b"undercut/tie/v1|", seed, b"|u|", c["id"].encode()))):
            if c["owner"] not in (without, direct["owner"]) and score(c) <= direct["r"] and len(taken) < direct["k"]:
                taken.setdefault(group(c), c)
        return taken
    won, result = chosen(), {}
    if len(won) < direct["kmin"]:
        return {}
    for owner in {c["owner"] for c in won.values()}:
        others = chosen(owner)
        new = [score(c) for g, c in others.items() if g not in won]
        alone = [c for g, c in won.items() if c["owner"] == owner and g not in others]
        worths = [direct["r"]] * (len(alone) - len(new)) + new[::-1]
        worth = {c["id"]: w for c, w in zip(alone, worths)}
        for g, c in won.items():
            if c["owner"] == owner:
                theta = worth.get(c["id"]) or score(others[g])
                result[c["id"]] = (theta, theta - c["adder"] - c["latency"])
    return result


class RoundsTest(ApiCase):
    def audited(self):
        """Every committed round as the auditor sees it, oldest first, with its record decoded."""
        admin, after, found = self.stack.admin(), 0, []
        while True:
            page = admin.get(f"/v1/rounds?after={after}&limit=200")["data"]
            if not page:
                break
            found += [r for r in page if r["state"] == "committed"]
            after = page[-1]["round"]
        for each in found:
            whole = admin.get(f"/v1/rounds/{each['round']}")
            each["bytes"] = base64.b64decode(whole["record_base64"] + "==", altchars=b"-_" if set("-_") & set(
                whole["record_base64"]) else None)
            each["record"] = record_read(each["bytes"])
        return found

    def trade(self):
        """A busy minute: sellers with several blocks, gangs, reserves below and above, awards at once, some cleared by
        themselves."""
        self.sellers = [self.node(price=900000 + 70000 * i, slots=1 + i % 3) for i in range(5)]
        tenants = [self.account() for _ in range(3)]
        by_itself = {4: {"spread": "node"}, 5: {"exclude_node_ids": [self.sellers[0].node_id]}, 8: {"spread": "node"}}
        made = []
        for i in range(10):
            made.append(tenants[i % 3].post("/v1/workloads", manifest(
                replicas=1 + i % 3, min_replicas=1 + i % 2 if 1 + i % 3 > i % 2 else 1,
                reserve_uusd_per_hour=800000 + 150000 * self.rng.randrange(4), award="now" if i == 9 else "auction",
                placement={"regions": ["eu-west"], **by_itself.get(i, {})})))
            for node in self.sellers:
                node.step()
        last = max(w["promise"]["round"] for w in made)
        self.until("their rounds", lambda: int(self.sql("select round from markets where market = 'main'")) > last + 2)
        return made

    def test_records_follow_from_their_inputs_and_hang_together(self):
        made = self.trade()
        rounds = self.audited()
        awards_count = directs_count = 0
        for before, each in zip([None, *rounds], rounds):
            record = each["record"]
            with self.subTest(round=each["round"]):
                self.assertEqual((record["round"], record["market"]), (each["round"], "main"))
                self.assertEqual(sha(sealed(each["bytes"], self.secret_of(each["round"]))).hex(),
                                 each["record_sha256"])
                if before:
                    self.assertEqual(each["previous_sha256"], before["record_sha256"])
                self.assertEqual(record["seed"], sha(b"undercut/seed/v1|", b"main", struct.pack(">Q", each["round"]),
                                                     record["root"], record["chain_value"]))
                if before and record["chain_index"] == before["record"]["chain_index"] + 1:
                    self.assertEqual(sha(record["chain_value"]), before["record"]["chain_value"])
                self.assertEqual(record["root"], self.root_of(each["round"]))
                for lot in record["lots"]:
                    expected = clear(lot, record["seed"])
                    seen = {(lot["demands"][d]["id"], lot["blocks"][b]["id"]): (theta, price)
                            for d, b, theta, price in lot["awards"]}
                    self.assertEqual(seen, expected, lot)
                    awards_count += len(seen)
                for direct in record["directs"]:
                    seen = {direct["candidates"][c]["id"]: (theta, price) for c, theta, price in direct["awards"]}
                    self.assertEqual(seen, clear_direct(direct, record["seed"]), direct)
                    awards_count += len(seen)
                    directs_count += 1
        self.assertGreater(awards_count, 3)
        self.assertGreater(directs_count, 0)
        chained = [r["record"]["chain_index"] for r in rounds]
        self.assertEqual(chained, sorted(set(chained)))
        leases = self.sql("select count(*) from leases")
        self.assertEqual(int(leases), sum(r["awards_count"] for r in rounds))
        self.promises_were_kept(made)

    def secret_of(self, number):
        return bytes.fromhex(self.sql(f"select encode(opening_secret, 'hex') from rounds where round = {number}"))

    def root_of(self, number):
        rows = self.sql(f"select place, encode(message_sha256, 'hex') from arrivals where market = 'main'"
                        f" and round = {number} order by place").splitlines()
        return merkle_root([sha(b"\x00", struct.pack(">QQ", number, int(place)), bytes.fromhex(message))
                            for place, message in (row.split("|") for row in rows)])

    def promises_were_kept(self, made):
        """A promise is signed with the key that nodes know, and its message is a leaf of its round's root."""
        for workload in made:
            p = workload["promise"]
            self.assertEqual(unb64(p["public_key"]), self.sellers[0].market_public)
            self.assertTrue(promise_holds(p))
            stored = self.sql(f"select encode(message_sha256, 'hex') from arrivals where market = 'main'"
                              f" and round = {p['round']} and place = {p['place']}")
            self.assertEqual(stored, p["message_sha256"])

    def test_prices_of_leases_are_those_of_the_record(self):
        self.trade()
        listed = {r["round"]: r["record"] for r in self.audited()}
        rows = self.sql("select l.round, d.device_id, l.price_uusd_per_hour from leases l"
                        " cross join lateral (select l.device_ids[1] as device_id) d").splitlines()
        self.assertTrue(rows)
        for number, device, price in (row.split("|") for row in rows):
            prices = {lot["blocks"][b]["id"]: p for lot in listed[int(number)]["lots"] for _, b, _, p in lot["awards"]}
            prices.update({direct["candidates"][c]["id"]: p for direct in listed[int(number)]["directs"]
                           for c, _, p in direct["awards"]})
            self.assertEqual(prices[str(uuid.UUID(device))], int(price))

    def test_the_public_sees_no_ladder_and_no_counts_of_few(self):
        self.trade()
        public = self.broker.http()
        for each in public.get("/v1/rounds?awarded=true&limit=50")["data"]:
            self.assertNotIn("record_base64", each)
            for lot in each["lots"]:
                self.assertNotIn("ladder", lot)
        few = self.sql("select round, supply_count from lot_rounds where accounts_count < 3").splitlines()
        for number in {row.split("|")[0] for row in few}:
            lots = public.get(f"/v1/rounds/{number}")["lots"]
            self.assertTrue(all(lot["supply_count"] is None and lot["demand_count"] is None for lot in lots), lots)


if __name__ == "__main__":
    unittest.main()
