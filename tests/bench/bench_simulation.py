"""`./dev bench simulation`: by how much does each attack pay, before and after its defence?

Everything is drawn from one seed (SIMULATION_SEED) and cleared by the engine; the table and the picture of
docs/market-simulation.md are written anew. A figure is the attacker's gain in percent of what it would have
received honestly, the mean over the markets with its standard error; a negative one is a loss.
"""

import os
import random
import statistics

import sim_market as sim
import sim_picture
from measure import progress, report

SEED = int(os.environ.get("SIMULATION_SEED", "1"))
MARKETS = int(os.environ.get("SIMULATION_MARKETS", "300"))
MARKUPS = [m / 100 for m in (0, 2, 5, 10, 15, 20, 30, 40, 50, 75, 100)]
FEE = 0.10
DOC = os.path.join(sim.ROOT, "docs", "market-simulation.md")
PICTURE = os.path.join(sim.ROOT, "docs", "market-simulation.svg")
LEASE_H, MINIMUM_H = 1.0, 1 / 60
LEVELS = []  # lines of the second table


class Row:
    """One line of the table: an attack, its gain without and with a defence."""

    def __init__(self, attack, off, before, on, after):
        self.attack, self.off, self.before, self.on, self.after = attack, off, before, on, after


def gain(pairs):
    """(mean, standard error) in percent, of (with the attack, without, honest revenue) per market: the ratio of means."""
    revenue = statistics.fmean(p[2] for p in pairs)
    each = [100 * (a - b) / revenue for a, b, _ in pairs]
    return statistics.fmean(each), statistics.stdev(each) / len(each) ** 0.5


def markets_of(name, sellers_count=5, blocks=4, load=0.9):
    rng = random.Random(f"{SEED} {name}")
    return [sim.market_draw(rng, sellers_count, blocks, load) for _ in range(MARKETS)]


def best_of(candidates):
    """The candidate with the largest mean: what somebody settles on who sees averages, not tomorrow's lot."""
    return max((gain(pairs) for pairs in candidates), key=lambda g: g[0])


def marked_up(markets, names, markup):
    return [sim.asking(m, {n: round(m["sellers"][n]["cost"] * (1 + markup)) for n in names}) for m in markets]


def together(market, result, names, rule):
    return sum(sim.profit(market, result, n, rule) for n in names)


def revenue(market, result, names):
    return sum(sim.paid(market, result, n, "thresholds") for n in names)


def asks_raised(markets, names, rules):
    """{rule: gain of the best common markup of `names`}"""
    honest = sim.clear(markets)
    tried = [(lied, sim.clear(lied)) for lied in (marked_up(markets, names, m) for m in MARKUPS)]
    return {rule: best_of([[(together(l, r, names, rule), together(m, h, names, rule), revenue(m, h, names))
                            for m, h, l, r in zip(markets, honest, lied, results)] for lied, results in tried])
            for rule in rules}


# One attack after the other -------------------------------------------------------------------------

def shading():
    rows = []
    for count in (3, 10):
        gains = asks_raised(markets_of(f"shading {count}", count), ["s0"], sim.RULES)
        rows.append(Row(f"One of {count} operators asks more than it costs", "paid as asked", gains["asked"], "thresholds",
                        gains["thresholds"]))
        rows.append(Row(f"The same, one of {count}", "one price for all", gains["uniform"], "thresholds",
                        gains["thresholds"]))
    return rows


def welfare(market, result):
    """What the served workloads are worth beyond what their blocks cost."""
    return sum(count * market["workloads"][w]["reserve"] for w, count in result["accepted"].items()) - sum(
        count * market["sellers"][n]["cost"] for n, count in result["sold"].items())


def learned(rule):
    """All of three operators learn: each looks back at what every markup would have earned so far, as a back-test
    tells it, and asks the best. Over the last quarter of the rounds: how much they ask above cost, what tenants pay
    per block and what is achieved, both against everybody asking its cost under thresholds."""
    rounds, group = 60, 40
    rng = random.Random(f"{SEED} learning")
    markets = [sim.market_draw(rng, 3, 4, 0.9) for _ in range(group)]
    totals = [{name: [0] * len(MARKUPS) for name in m["sellers"]} for m in markets]
    markups, paid, worth = [], [], []
    for at in range(rounds):
        markets = [{**m, "workloads": sim.workloads_draw(rng, 0.9 * 12)} for m in markets]
        chosen = [{n: t.index(max(t)) for n, t in total.items()} for total in totals]
        asks = [{n: round(m["sellers"][n]["cost"] * (1 + MARKUPS[c])) for n, c in choice.items()}
                for m, choice in zip(markets, chosen)]
        now = [sim.asking(m, a) for m, a in zip(markets, asks)]
        if at >= rounds * 3 // 4:
            for m, t, r, h, choice in zip(now, markets, sim.clear(now), sim.clear(markets), chosen):
                markups += [(MARKUPS[c], 0, 1) for c in choice.values()]
                fair = sum(sim.paid(t, h, n, "thresholds") for n in m["sellers"]) / max(1, h["K"])
                paid.append((sum(sim.paid(m, r, n, rule) for n in m["sellers"]) / max(1, r["K"]), fair, fair))
                worth.append((welfare(m, r), welfare(t, h), welfare(t, h)))
        look_back(markets, asks, totals, rule)
    return gain(markups), gain(paid), gain(worth)


def learning():
    found = {rule: learned(rule) for rule in sim.RULES}
    names = {"asked": "paid as asked", "uniform": "one price for all", "thresholds": "thresholds"}
    for rule, (markup, paid, worth) in found.items():
        LEVELS.append(f"| {names[rule]} | {cell(markup)} | {cell(paid)} | {cell(worth)} |")
    return [Row(f"All of 3 operators learn: asks above cost{again}", names[rule], found[rule][0], "thresholds",
                found["thresholds"][0]) for rule, again in (("asked", ""), ("uniform", " (same)"))]


def look_back(markets, asks, totals, rule):
    cases = [(i, name, arm) for i, m in enumerate(markets) for name in m["sellers"] for arm in range(len(MARKUPS))]
    tried = [sim.asking(markets[i], {**asks[i], name: round(markets[i]["sellers"][name]["cost"] * (1 + MARKUPS[arm]))})
             for i, name, arm in cases]
    for (i, name, arm), market, result in zip(cases, tried, sim.clear(tried)):
        totals[i][name][arm] += sim.profit(market, result, name, rule)


def withholding():
    markets = markets_of("withholding", 3)
    honest, gains = sim.clear(markets), {}
    for rule in ("uniform", "thresholds"):
        tried = []
        for kept in range(1, 5):
            less = [{**m, "sellers": {**m["sellers"], "s0": {**m["sellers"]["s0"], "blocks": kept}}} for m in markets]
            tried.append([(sim.profit(l, r, "s0", rule), sim.profit(m, h, "s0", rule), revenue(m, h, ["s0"]))
                          for m, h, l, r in zip(markets, honest, less, sim.clear(less))])
        gains[rule] = best_of(tried)
    return [Row("One of 3 operators hides blocks", "one price for all", gains["uniform"], "thresholds",
                gains["thresholds"])]


def with_shill(market, blocks, owner):
    shill = {"reserve": 10 * sim.RESERVE, "k": blocks, "kmin": blocks, **({"owner": owner} if owner else {})}
    return {**market, "workloads": {**market["workloads"], "shill": shill}}


def shill_gain(markets, blocks, owner, shill_hours):
    """The operator s0 rents `blocks` itself at any price, to lift the price of its others. Blocks of its own cost it
    the fee, others' their price; the shill ends after `shill_hours`, and its own blocks among them stand idle for the
    rest of the hour."""
    shilled = [with_shill(m, blocks, owner) for m in markets]
    pairs = []
    for m, h, s, r in zip(markets, sim.clear(markets), shilled, sim.clear(shilled)):
        taken = r["assignment"].get("shill", [])
        prices = prices_of(r)
        own = [b for b in taken if b.startswith("s0/")]
        idle = sum(prices[b] - m["sellers"]["s0"]["cost"] for b in own) * (1 - shill_hours)
        spent = sum(prices[b] for b in taken) * (1 + FEE) * shill_hours
        pairs.append((sim.profit(s, r, "s0", "thresholds") - idle - spent, sim.profit(m, h, "s0", "thresholds"),
                      revenue(m, h, ["s0"])))
    return gain(pairs)


def best_shill(markets, owner, shill_hours):
    return max((shill_gain(markets, blocks, owner, shill_hours) for blocks in (1, 2, 4)), key=lambda g: g[0])


def prices_of(result):
    """{block: price}: the l-th of a seller's in rank order stands at its l-th threshold."""
    nth, prices = {}, {}
    for block in (b for blocks in result["assignment"].values() for b in blocks):
        name = block.split("/")[0]
        nth[name] = nth.get(name, -1) + 1
        prices[block] = result["theta"][name][nth[name]]
    return prices


def capped(market, benchmark):
    """As it stands in its first second, when nobody offers more than B."""
    return {**market, "workloads": {n: {**w, "reserve": min(w["reserve"], benchmark)}
                                    for n, w in market["workloads"].items()}}


def median_first(market):
    """The same market with the names s0 and that of the operator of median cost exchanged."""
    sellers = market["sellers"]
    middle = sorted(sellers, key=lambda n: sellers[n]["cost"])[len(sellers) // 2]
    return {**market, "sellers": {**sellers, "s0": sellers[middle], middle: sellers["s0"]}}


def shills():
    """By an operator whom a shill helps: not the cheapest, which would rent its own blocks."""
    markets = [median_first(m) for m in markets_of("shills", 5)]
    benchmark = benchmark_of(markets_of("elsewhere", 5))
    free, charged = best_shill(markets, None, 0), best_shill(markets, None, MINIMUM_H)
    return [Row("An operator rents in its lot for an hour to lift the price", "admitted", best_shill(markets, None, LEASE_H),
                "one identity, one side", best_shill(markets, "s0", LEASE_H)),
            Row("The same with an order that never runs", "admitted", free, "one identity, one side",
                best_shill(markets, "s0", 0)),
            Row("The same by a stranger nobody can link to it", "stopping is free", free, "60 s are charged", charged),
            Row("The same by a stranger, 60 s charged", "reserve at once", charged, "offers begin at B",
                best_shill([capped(m, benchmark) for m in markets], None, MINIMUM_H)),
            Row("The same by a stranger, a longer charge", "60 s are charged", charged, "10 min are charged",
                best_shill(markets, None, 10 * MINIMUM_H))]


def never_run():
    """What an operator loses to a stranger's order that holds its blocks for a minute and never runs."""
    markets = markets_of("never run", 5)
    free, charged = [], []
    for m, h in zip(markets, sim.clear(markets)):
        minute = revenue(m, h, m["sellers"]) / 60
        free.append((0, minute, minute))
        charged.append((minute, minute, minute))
    return [Row("What operators lose in a minute held by orders that never run", "stopping is free", gain(free),
                "60 s are charged", gain(charged))]


def sybils():
    """The operator s0 sells its four blocks as one account, as two, as four."""
    markets = markets_of("sybils", 5)
    honest, rows = sim.clear(markets), {}
    for rule in ("uniform", "thresholds"):
        tried = []
        for parts in (2, 4):
            split = []
            for m in markets:
                s0 = m["sellers"]["s0"]
                names = {"s0" if n == 0 else f"z{n}": {**s0, "blocks": s0["blocks"] // parts} for n in range(parts)}
                split.append(({**m, "sellers": {**m["sellers"], **names}}, list(names)))
            results = sim.clear([s for s, _ in split])
            tried.append([(together(s, r, names, rule), sim.profit(m, h, "s0", rule), revenue(m, h, ["s0"]))
                          for m, h, (s, names), r in zip(markets, honest, split, results)])
        rows[rule] = best_of(tried)
    return [Row("An operator sells under several names", "one price for all", rows["uniform"], "thresholds",
                rows["thresholds"])]


def benchmark_of(markets):
    """B: 1.25 times the median index of other lots of the class, here of markets drawn apart."""
    return round(1.25 * statistics.median(r["S_star"] for r in sim.clear(markets) if r["S_star"]))


def patient(markets, names, benchmark):
    """Gain of the best common markup of `names` when offers rise from B for a minute and sellers may wait, against
    honest asks without B."""
    def sold(market, sale):
        return sum(sale[n][0] - sale[n][1] * market["sellers"][n]["cost"] for n in names)
    base = sim.play(markets, None)
    tried = []
    for markup in MARKUPS:
        sales = sim.play(marked_up(markets, names, markup), benchmark)
        tried.append([(sold(m, s), sold(m, b), sum(b[n][0] for n in names)) for m, s, b in zip(markets, sales, base)])
    return gain(tried[0]), best_of(tried)


def cartel_hides(markets):
    """Two members keep some blocks out of the lot, so that the rest are paid more."""
    names, honest, gains = ["s0", "s1", "s2"], sim.clear(markets), {}
    tried = []
    for kept in range(5):
        less = [{**m, "sellers": {**m["sellers"], **{n: {**m["sellers"][n], "blocks": kept} for n in names[1:]}}}
                for m in markets]
        tried.append((less, sim.clear(less)))
    for rule in ("uniform", "thresholds"):
        gains[rule] = best_of([[(together(l, r, names, rule), together(m, h, names, rule), revenue(m, h, names))
                                for m, h, l, r in zip(markets, honest, less, results)] for less, results in tried])
    return gains


def cartel():
    names = ["s0", "s1", "s2"]
    markets = markets_of("cartel", 5)
    benchmark = benchmark_of(markets_of("elsewhere", 5))
    gains = asks_raised(markets, names, sim.RULES)
    _, with_b = patient(markets, names, benchmark)
    lone = markets_of("lone", 1, load=0.75)
    honest_b, patient_b = patient(lone, ["s0"], benchmark)
    _, without = patient(lone, ["s0"], None)
    hidden = cartel_hides(markets)
    return [Row("A cartel of 3 of 5 operators hides blocks", "one price for all", hidden["uniform"], "thresholds",
                hidden["thresholds"]),
            Row("A cartel of 3 of 5 operators raises its asks", "one price for all", gains["uniform"], "thresholds",
                gains["thresholds"]),
            Row("The same cartel, under thresholds", "reserve at once", gains["thresholds"], "offers rise from B", with_b),
            Row("A seller alone in its lot, asking its cost", "reserve at once", without, "offers rise from B", honest_b),
            Row("A seller alone in its lot that asks more and waits", "reserve at once", without, "offers rise from B",
                patient_b)]


def tenants():
    """A tenant that offers less than the workload is worth to it; how much of its spending it saves."""
    rows = []
    for count in (3, 10):
        markets = [m for m in markets_of(f"tenants {count}", count) if "w0" in m["workloads"]]
        for m in markets:
            m["workloads"]["w0"].update(k=1, kmin=1)
        gains = {}
        for rule in ("uniform", "thresholds"):
            gains[rule] = best_of([tenant_pairs(markets, share / 100, rule) for share in (100, 98, 95, 90, 85, 80, 70, 60)])
        rows.append(Row(f"A tenant offers less than it would pay, {count} operators", "one price for all",
                        gains["uniform"], "thresholds", gains["thresholds"]))
    return rows


def tenant_pairs(markets, share, rule):
    worth = [m["workloads"]["w0"]["reserve"] for m in markets]
    lower = [{**m, "workloads": {**m["workloads"], "w0": {**m["workloads"]["w0"], "reserve": round(w * share)}}}
             for m, w in zip(markets, worth)]
    pairs = []
    for w, h, r in zip(worth, sim.clear(markets), sim.clear(lower)):
        before, after = spent_by(h, "w0", rule), spent_by(r, "w0", rule)
        pairs.append((w - after if after else 0, w - before if before else 0, before))
    return pairs


def spent_by(result, name, rule):
    if name not in result["assignment"]:
        return 0
    if rule == "uniform":
        return result["S_star"]
    return prices_of(result)[result["assignment"][name][0]]


# Telling ---------------------------------------------------------------------------------------------

def cell(value):
    mean, error = value
    return f"{mean:+.1f} ± {error:.1f} %" if abs(mean) >= 0.05 or error >= 0.05 else "0"


def table(rows):
    lines = ["| attack | defence off | gain | defence on | gain |", "|---|---|---:|---|---:|"]
    lines += [f"| {r.attack} | {r.off} | {cell(r.before)} | {r.on} | {cell(r.after)} |" for r in rows]
    return "\n".join(lines)


def document_write(rows):
    with open(DOC, encoding="utf-8") as f:
        text = f.read()
    head, rest = text.split("<!-- figures -->\n")
    _, tail = rest.split("<!-- end of figures -->")
    levels = "\n".join(["| rule | asks above cost | tenants pay per block | achieved |", "|---|---:|---:|---:|", *LEVELS])
    with open(DOC, "w", encoding="utf-8") as f:
        f.write(f"{head}<!-- figures -->\n{table(rows)}\n\nWhat three operators learn, by rule:\n\n{levels}\n\n"
                f"Seed {SEED}, {MARKETS} markets per line.\n<!-- end of figures -->{tail}")


def run():
    rows = []
    for attack in (shading, learning, withholding, sybils, shills, never_run, cartel, tenants):
        progress(f"simulation: {attack.__name__}")
        rows += attack()
    for r in rows:
        report("simulation", attack="_".join(r.attack.lower().replace(",", "").replace(";", "").split()),
               off=r.off.replace(" ", "_"), before=f"{r.before[0]:.2f}", on=r.on.replace(" ", "_"), after=f"{r.after[0]:.2f}")
    document_write(rows)
    with open(PICTURE, "w", encoding="utf-8") as f:
        f.write(sim_picture.bars(rows))
    return True
