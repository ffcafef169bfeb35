"""Random markets for the simulation, cleared by the real engine through `undercut clear`.

A market is {"sellers": {name: {"cost", "ask", "blocks"}}, "workloads": {name: {"reserve", "k", "kmin"}}}; prices
are micro-USD per block-hour. Costs and reserves are lognormal. What a seller gets under another rule than ours is
reckoned from the same clearing: what it asked, or the one price for all.
"""

import json
import math
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = ("asked", "uniform", "thresholds")
CHUNK = 4000
COST, RESERVE, SPREAD = 300000, 450000, 0.35
SIZES = ((1, 1), (1, 1), (1, 1), (2, 1), (2, 2), (4, 4))
POLICY_RISE_S = 60


def program():
    for folder in (os.environ.get("UNDERCUT_BIN", ""), "build/release/bin", "build/bin"):
        path = os.path.join(ROOT, folder, "undercut")
        if os.path.exists(path):
            return path
    raise SystemExit("undercut is not built: ./dev build release")


def price(rng, middle):
    return max(100, round(middle * math.exp(rng.gauss(0, SPREAD)) / 100) * 100)


def workloads_draw(rng, blocks_wanted, prefix="w"):
    found, total = {}, 0
    while total < blocks_wanted:
        k, kmin = rng.choice(SIZES)
        found[f"{prefix}{len(found)}"] = {"reserve": price(rng, RESERVE), "k": k, "kmin": kmin}
        total += k
    return found


def market_draw(rng, sellers_count, blocks, load):
    sellers = {}
    for n in range(sellers_count):
        cost = price(rng, COST)
        sellers[f"s{n}"] = {"cost": cost, "ask": cost, "blocks": blocks}
    return {"seed": rng.randbytes(32).hex(), "sellers": sellers,
            "workloads": workloads_draw(rng, load * sellers_count * blocks)}


def asking(market, asks):
    """The same market with other asks."""
    return {**market, "sellers": {name: {**s, "ask": asks.get(name, s["ask"])} for name, s in market["sellers"].items()}}


def clear(markets):
    """Their outcomes, in the form that `undercut clear` writes."""
    results = []
    for at in range(0, len(markets), CHUNK):
        lots = [{"seed": m["seed"], "workloads": m["workloads"],
                 "sellers": {n: {"ask": s["ask"], "blocks": s["blocks"]} for n, s in m["sellers"].items() if s["blocks"]}}
                for m in markets[at:at + CHUNK]]
        done = subprocess.run([program(), "clear"], input=json.dumps(lots), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        results += json.loads(done.stdout)
    return results


def paid(market, result, name, rule):
    """What a seller receives per hour."""
    count = result["sold"].get(name, 0)
    if rule == "asked":
        return count * market["sellers"][name]["ask"]
    return result["pay_uniform" if rule == "uniform" else "pay_vickrey"].get(name, 0)


def profit(market, result, name, rule):
    return paid(market, result, name, rule) - result["sold"].get(name, 0) * market["sellers"][name]["cost"]


def offered(reserve, benchmark, age_s):
    """r^ under the price policy `market` (auction/policy.h), without a deadline; no benchmark: the reserve."""
    if benchmark is None or benchmark >= reserve or age_s >= POLICY_RISE_S:
        return reserve
    return benchmark + (reserve - benchmark) * age_s // POLICY_RISE_S


def play(markets, benchmark, step_s=5):
    """Clears each market every `step_s` seconds for as long as offers rise; what is sold stays sold. Returns, per
    market, {seller: [(price, blocks)]} under thresholds."""
    left = [{**m, "sellers": dict(m["sellers"]), "workloads": dict(m["workloads"])} for m in markets]
    sales = [{name: [0, 0] for name in m["sellers"]} for m in markets]
    for age_s in range(0, POLICY_RISE_S + 1, step_s) if benchmark else [POLICY_RISE_S]:
        now = [{**m, "workloads": {n: {**w, "reserve": offered(w["reserve"], benchmark, age_s)}
                                   for n, w in m["workloads"].items()}} for m in left]
        for market, sale, result in zip(left, sales, clear(now)):
            for name, count in result["sold"].items():
                seller = market["sellers"][name]
                sale[name][0] += result["pay_vickrey"][name]
                sale[name][1] += count
                market["sellers"][name] = {**seller, "blocks": seller["blocks"] - count}
            for name in result["accepted"]:
                del market["workloads"][name]
    return sales
