"""`undercut clear` against the slow model of tests/oracle, on the published vectors and on random lots.

SEED=n draws other lots, ROUNDS=n that many times more of them. A lot on which the two differ is made as small
as it goes and shown.
"""

import copy
import json
import os
import random
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))
import slow_auction  # noqa: E402 - the path is set above

UNDERCUT = os.path.join(os.environ.get("UNDERCUT_BIN", os.path.join(ROOT, "build", "bin")), "undercut")
VECTORS = os.path.join(ROOT, "tests", "unit", "vectors", "csba_vectors.json")
KEYS = ["K", "S_star", "accepted", "assignment", "sold", "pay_uniform", "theta", "pay_vickrey"]
SEED = int(os.environ.get("SEED", "1"))
LOTS_COUNT = 20000 * int(os.environ.get("ROUNDS", "1"))


def run(text):
    return subprocess.run([UNDERCUT, "clear"], input=text, capture_output=True, text=True, timeout=60, check=False)


def engine(lots):
    done = run(json.dumps(lots))
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def drawn(rng):
    """Few prices, so that equals are common; sellers of several blocks, gangs, owners on both sides."""
    steps = rng.choice([2, 5, 40])
    sellers = {name: {"ask": 10 * rng.randint(1, steps), "adder": 5 * rng.choice([0, 0, 1, 3]), "blocks": rng.randint(1, 3)}
               for name in rng.sample("ABCDEF", rng.randint(0, 4))}
    workloads = {}
    for n in range(rng.randint(0, 5)):
        k = rng.randint(1, 4)
        workloads[f"w{n}"] = {"reserve": 10 * rng.randint(0, steps + 2) + rng.choice([0, 0, 1]), "k": k,
                              "kmin": rng.choice([1, k, rng.randint(1, k)])}
        if rng.random() < 0.1:
            workloads[f"w{n}"]["owner"] = rng.choice("ABCDEF")
    return {"seed": rng.randbytes(32).hex(), "fee_bp": rng.choice([0, 0, 1000, rng.randint(0, 10000)]),
            "sellers": sellers, "workloads": workloads}


def smaller(lot):
    """Every lot that is this one with one thing less."""
    for part in ("sellers", "workloads"):
        for name in lot[part]:
            less = copy.deepcopy(lot)
            del less[part][name]
            yield less
            for member, value in lot[part][name].items():
                if member == "owner" or value > (member != "adder"):
                    less = copy.deepcopy(lot)
                    if member in ("owner", "adder"):
                        del less[part][name][member]
                    else:
                        less[part][name][member] //= 2
                    if less[part][name].get("kmin", 0) <= less[part][name].get("k", 0):
                        yield less


def shrunk(lot, is_broken):
    while (less := next(filter(is_broken, smaller(lot)), None)) is not None:
        lot = less
    return lot


class ClearOracleTest(unittest.TestCase):
    def vectors(self):
        with open(VECTORS, encoding="utf-8") as f:
            return json.load(f)

    def test_the_engine_gives_the_published_vectors_member_by_member(self):
        lots = self.vectors()
        for lot, result in zip(lots, engine(lots), strict=True):
            self.assertEqual(list(result), KEYS)
            self.assertEqual(result, {key: lot[key] for key in KEYS}, lot["name"])
            self.assertEqual(engine(lot), result, "one lot that stands alone")

    def test_the_slow_model_gives_them_too(self):
        for lot in self.vectors():
            self.assertEqual(slow_auction.clear(lot), {key: lot[key] for key in KEYS}, lot["name"])

    def test_random_lots_clear_as_in_the_slow_model(self):
        rng = random.Random(SEED)
        lots = [drawn(rng) for _ in range(LOTS_COUNT)]
        traded = 0
        for lot, result in zip(lots, engine(lots), strict=True):
            traded += result["K"] > 0
            if result != slow_auction.clear(lot):
                least = shrunk(lot, lambda each: engine(each) != slow_auction.clear(each))
                self.fail(f"SEED={SEED}: on the lot\n{json.dumps(least)}\nthe engine says\n{engine(least)}\n"
                          f"the slow model\n{slow_auction.clear(least)}")
        self.assertGreater(traded, LOTS_COUNT // 3)

    def test_the_order_of_members_changes_nothing(self):
        rng = random.Random(SEED + 1)
        lots = [drawn(rng) for _ in range(500)]
        turned = [{**lot, **{part: dict(rng.sample(list(lot[part].items()), len(lot[part])))
                             for part in ("workloads", "sellers")}} for lot in lots]
        self.assertEqual(engine(lots), engine(turned))

    def test_a_lot_that_differs_shrinks_to_what_matters(self):
        rng = random.Random(SEED + 2)
        lot = next(lot for lot in iter(lambda: drawn(rng), None) if len(lot["sellers"]) > 1 and len(lot["workloads"]) > 2)
        least = shrunk(lot, lambda each: len(each["sellers"]) >= 1)
        self.assertEqual(len(least["workloads"]), 0)
        self.assertEqual([s | {"ask": 1} for s in least["sellers"].values()], [{"ask": 1, "blocks": 1}])


if __name__ == "__main__":
    unittest.main()
