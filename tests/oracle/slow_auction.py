"""The rule of the auction, slowly: a lot in, its outcome out, both as `undercut clear` reads and writes them.

Nothing here is a formula for a price. A threshold is what its definition says, the highest score at which
the seller would still have sold so many blocks, and it is found by holding the auction again with the seller
at every score at which anything can change. It shares no code with the engine.
"""

import hashlib

FEE_ONE = 10000


def tie(seed, kind, name):
    return hashlib.sha256(b"undercut/tie/v1|" + bytes.fromhex(seed) + kind + name.encode()).digest()


class Lot:
    def __init__(self, lot):
        self.seed, fee_bp = lot["seed"], lot.get("fee_bp", 0)
        self.sellers = lot["sellers"]
        self.seller_of = {f"{name}/{n}": name for name, s in lot["sellers"].items() for n in range(s.get("blocks", 1))}
        selling = set(self.seller_of.values())
        self.wishes = [(w["reserve"] * FEE_ONE // (FEE_ONE + fee_bp), w["k"], w.get("kmin", w["k"]), name)
                       for name, w in lot["workloads"].items() if w.get("owner") not in selling]
        self.wishes.sort(key=lambda wish: (-wish[0], tie(self.seed, b"|w|", wish[3])))
        self.score = {b: 2 * (self.sellers[s]["ask"] + self.sellers[s].get("adder", 0)) for b, s in self.seller_of.items()}
        self.hashes = {b: tie(self.seed, b"|u|", b) for b in self.seller_of}

    def hold(self, moved=(), to=0):
        """{workload: its blocks} when the blocks `moved` stand at half the score `to`. Scores are doubled inside, so
        that there is a whole number between any two of them."""
        score = {b: to if b in moved else s for b, s in self.score.items()}
        left = sorted(score, key=lambda b: (score[b], self.hashes[b]))
        sold = {}
        for r, k, kmin, name in self.wishes:
            affordable = [b for b in left if score[b] <= 2 * r][:k]
            if len(affordable) >= kmin:
                sold[name] = affordable
                left = [b for b in left if b not in affordable]
        return sold

    def critical(self, moved, count):
        """The highest score below which at least `count` of the blocks `moved` are sold."""
        points = sorted({s for b, s in self.score.items() if b not in moved} | {2 * r for r, *_ in self.wishes})
        found = None
        for point in points:
            below = sum(b in moved for blocks in self.hold(moved, point - 1).values() for b in blocks)
            above = sum(b in moved for blocks in self.hold(moved, point + 1).values() for b in blocks)
            assert below >= above, "a dearer ask sold more"
            if below >= count:
                found = point // 2
        return found

    def outcome(self):
        sold = self.hold()
        flat = [b for blocks in sold.values() for b in blocks]
        indexes = {self.critical({b}, 1) for b in flat}
        assert len(indexes) <= 1, "the index depends on the block"
        index = min(indexes, default=None)
        result = {"K": len(flat), "S_star": index, "accepted": {w: len(b) for w, b in sold.items()}, "assignment": sold,
                  "sold": {}, "pay_uniform": {}, "theta": {}, "pay_vickrey": {}}
        for name, seller in self.sellers.items():
            mine, adder = {b for b, s in self.seller_of.items() if s == name}, seller.get("adder", 0)
            count = sum(b in mine for b in flat)
            thetas = [self.critical(mine, n) for n in range(1, count + 1)]
            result["sold"][name] = count
            result["pay_uniform"][name] = count * (index - adder) if count else 0
            result["pay_vickrey"][name] = sum(thetas) - count * adder
            if thetas:
                result["theta"][name] = thetas
        return result


def clear(lot):
    return Lot(lot).outcome()
