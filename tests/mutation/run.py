#!/usr/bin/env python3
"""Would the tests notice? python3 tests/mutation/run.py [--list] [--every N] [FILE ...]

Puts one fault at a time into the clearing core, builds it, and runs the pure unit tests until one of
them fails: killed. What no short run kills gets a longer one of the tests that lie near. Survivors
stand, each with a judgement, in tests/mutation/SURVIVORS.md: equivalent, so that no test can notice, or
accepted. One that does not stand there is a failure, and so are fewer than 95 % killed of those that
are not equivalent. Faults that do not compile are not counted. `--every N` takes each
N-th fault only, `--only TEXT` those in lines that hold the text.
"""

import argparse
import concurrent.futures
import os
import re
import resource
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from mutate import mutants_of
from rig import PARALLEL, ROOT, Rig, read

# What decides who gets what, and at what price. What only keeps it (keys, slots, book) is held against this by
# tests/unit/test_book.c on every change, and can be named here by hand.
CORE = ["auction/rule.c", "auction/clear.c", "auction/even.c", "auction/tie.c", "auction/policy.c", "auction/adder.c",
        "auction/carve.c", "auction/rfq.c", "auction/tier.c"]
SURVIVORS = "tests/mutation/SURVIVORS.md"
SHARE_MIN = 0.95
SHORT_CASES, LONG_CASES = 150, 5000
SLOW_S = 0.8  # a short run that takes longer waits for the second round
MEMORY_MB = 2048
# A step behind an array or a shift too far is noticed as well, as it is by ./dev test.
FLAGS = ["-O1", "-fPIC", "-fsanitize=address", "-fsanitize=bounds,shift,signed-integer-overflow,integer-divide-by-zero,enum,bool,alignment",
         "-fsanitize-undefined-trap-on-error"]


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def cpu_s():
    """Of the programs run so far; another session's load does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def text_of(test):
    """The test with the headers that lend it the engine."""
    return read(test) + read("tests/lib/lot_draw.h") if "tests/lib/lot_" in read(test) else read(test)


class Bench:
    """The tests of one file, linked against whatever `libmutant.so` their folder holds."""

    def __init__(self, rig, path):
        self.rig, self.path = rig, path
        self.local = threading.local()
        names = [path[:-2] + ".h"]
        names += [p[:-2] + ".h" for p in rig.engine if f'"{names[0]}"' in read(p) and p != path]
        self.near = [t for name in names for t in rig.tests if f'"{name}"' in text_of(t)]
        self.near = list(dict.fromkeys(self.near)) or rig.tests
        self.tests = self.near + [t for t in rig.tests if t not in self.near]
        self.build(read(path), rig.dir)
        for test in self.tests:
            if not rig.link(test, self.program_of(test), without=path, extra=[f"-L{rig.dir}", "-lmutant"]):
                raise SystemExit(f"{test} does not link without {path}")

    def program_of(self, test):
        return self.rig.program_of(test) + "." + os.path.basename(self.path)

    def folder(self):
        if not hasattr(self.local, "dir"):
            self.local.dir = os.path.join(self.rig.dir, f"worker-{threading.get_ident()}")
            os.makedirs(self.local.dir, exist_ok=True)
        return self.local.dir

    def build(self, text, folder):
        source = os.path.join(folder, "mutant.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write(text)
        argv = ["gcc", *self.rig.flags, "-shared", source, "-o", os.path.join(folder, "libmutant.so")]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def is_good(self, test, folder, cases, seconds):
        env = {**os.environ, "LD_LIBRARY_PATH": folder, "CASES_MAX": str(cases),
               "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=0:hard_rss_limit_mb={MEMORY_MB}"}
        try:
            done = subprocess.run([self.program_of(test)], cwd=ROOT, env=env, timeout=seconds, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  preexec_fn=limits)
            return done.returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def measure(self):
        """Without any fault: every test passes, and how long each run takes; the quick ones come first."""
        self.seconds, self.cpu = {}, {}
        for cases in (SHORT_CASES, LONG_CASES):
            for test in self.tests if cases == SHORT_CASES else self.near:
                began, cpu = time.monotonic(), cpu_s()
                if not self.is_good(test, self.rig.dir, cases, 600):
                    raise SystemExit(f"{test} fails without any fault in {self.path}")
                self.seconds[test, cases], self.cpu[test, cases] = time.monotonic() - began, cpu_s() - cpu
        quick = [t for t in self.tests if self.cpu[t, SHORT_CASES] < SLOW_S]
        self.plan = [(t, SHORT_CASES) for t in sorted(quick, key=lambda t: self.cpu[t, SHORT_CASES])]
        own = f'"{self.path[:-2]}.h"'
        near = [t for t in self.near if t in quick or own in text_of(t)]
        self.plan += [(t, LONG_CASES) for t in sorted(near, key=lambda t: self.cpu[t, LONG_CASES])]

    def killer_of(self, folder):
        """The test that notices, or None. One that takes ten times as long as it should never ends."""
        for test, cases in self.plan:
            if not self.is_good(test, folder, cases, 2 + 10 * self.seconds[test, cases]):
                return test
        return None

    def judge(self, mutant):
        """(mutant, "unbuilt" | "killed" | "survived")"""
        folder = self.folder()
        if not self.build(mutant.text, folder):
            return mutant, "unbuilt"
        if self.killer_of(folder):
            return mutant, "killed"
        print(f"  survived: {mutant.path}:{mutant.line}: {mutant.before}  =>  {mutant.after}", flush=True)
        return mutant, "survived"


def judged():
    """{(file, before, after): "equivalent" or "accepted"} of every survivor that a person has looked at."""
    if not os.path.exists(os.path.join(ROOT, SURVIVORS)):
        return {}
    rows = re.findall(r"^\| (\S+) \| `` (.*?) `` \| `` (.*?) `` \| (equivalent|accepted) \|", read(SURVIVORS), flags=re.M)
    return {(path, before.replace("\\|", "|"), after.replace("\\|", "|")): word for path, before, after, word in rows}


def run_file(rig, path, every, only):
    bench, began = Bench(rig, path), time.monotonic()
    bench.measure()
    mutants = [m for m in mutants_of(path, read(path)) if only in m.before][::every]
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = list(pool.map(bench.judge, mutants))
    built = [o for o in outcomes if o[1] != "unbuilt"]
    survivors = [m for m, outcome in built if outcome == "survived"]
    print(f"{path}: {len(built) - len(survivors)} of {len(built)} killed, {len(outcomes) - len(built)} did not compile,"
          f" {time.monotonic() - began:.0f} s", flush=True)
    return len(built), survivors


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="only print the faults")
    parser.add_argument("--every", type=int, default=1, help="take each N-th fault")
    parser.add_argument("--only", default="", help="only faults in lines that hold this text")
    parser.add_argument("files", nargs="*", help="default: the clearing core")
    options = parser.parse_args(argv)
    files = options.files or [p for p in CORE if os.path.exists(os.path.join(ROOT, p))]
    if options.list:
        for path in files:
            for m in mutants_of(path, read(path)):
                print(f"{path}:{m.line}: {m.kind}: {m.before}  =>  {m.after}")
        return 0
    total, survivors, known = 0, [], judged()
    with Rig(FLAGS) as rig:
        rig.build()
        for path in files:
            built, alive = run_file(rig, path, options.every, options.only)
            total, survivors = total + built, survivors + alive
    strangers = [m for m in survivors if m.key() not in known]
    for m in strangers:
        print(f"  not judged: {m.path}:{m.line}: {m.before}  =>  {m.after}")
    equivalent = sum(known.get(m.key()) == "equivalent" for m in survivors)
    killed, faults = total - len(survivors), total - equivalent
    share = killed / max(1, faults)
    print(f"{killed} of {total} noticed, {100 * killed / max(1, total):.1f} %; {equivalent} change nothing, of the other"
          f" {faults} that is {100 * share:.1f} %; {len(strangers)} survivors without a judgement")
    return 1 if not total or strangers or share < SHARE_MIN else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
