#!/usr/bin/env python3
"""Branch coverage of the pure engine by its unit tests: python3 tests/mutation/coverage.py [FILE ...]

Prints one line per file of auction/ and every branch that no test takes; exits 1 unless all are taken.
A branch is one of gcov's on an unoptimised build, so each side of each && and || counts. Not counted:
what a must() would do when it fails, and where a switch goes that must_not_reach() closes: both are
bugs in the program, which no test can bring about. How many those are is printed too.
"""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import ROOT, Rig, read

CASES_MAX = os.environ.get("CASES_MAX", "3000")


def must_lines(text):
    """Numbers of the lines that lie in a must(...), and of the switches that must_not_reach() closes."""
    musts, switches = set(), set()
    for match in re.finditer(r"\bmust\(", text):
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        musts |= set(range(text.count("\n", 0, match.start()) + 1, text.count("\n", 0, at) + 2))
    for match in re.finditer(r"^( *)switch \(.*?^\1\}\n(\s*)must_not_reach\(\)", text, flags=re.M | re.S):
        switches.add(text.count("\n", 0, match.start()) + 1)
    return musts, switches


class Found:
    def __init__(self):
        self.taken, self.excused, self.missed = 0, 0, []


def count(lines, text):
    musts, switches = must_lines(text)
    found = Found()
    for line in lines:
        number, counts = line["line_number"], [b["count"] for b in line["branches"]]
        untaken = counts.count(0)
        if number in musts:
            found.excused += len(counts)
            continue
        if number in switches and untaken:
            found.excused += 1
            untaken, counts = untaken - 1, counts[1:]
        if untaken:
            found.missed.append((number, untaken, len(counts)))
        elif line["count"] == 0 and not line["branches"]:
            found.missed.append((number, 0, 0))
        found.taken += len(counts) - untaken
    return found


def gcov_lines(rig, path):
    done = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", rig.object_of(path)],
                          cwd=rig.dir, check=True, capture_output=True, text=True)
    merged = {}
    for text in done.stdout.splitlines():
        for each in json.loads(text)["files"]:
            if each["file"].endswith(path):
                for line in each["lines"]:
                    merged.setdefault((line["line_number"], line.get("function_name")), line)
    lines = [line for _, line in sorted(merged.items(), key=lambda item: item[0][0])]
    return [line for line in lines if not is_unreached_bug(line, read(path))]


def is_unreached_bug(line, text):
    return "must_not_reach()" in text.splitlines()[line["line_number"] - 1]


def main(wanted):
    with Rig(["-O0", "-g"], ["--coverage"]) as rig:
        rig.build()
        for test in rig.tests:
            done = subprocess.run([rig.program_of(test)], cwd=ROOT, capture_output=True, text=True, check=False,
                                  env={**os.environ, "CASES_MAX": CASES_MAX})
            if done.returncode:
                print(done.stderr[-3000:])
                return 1
        whole = True
        for path in wanted or rig.engine:
            found = count(gcov_lines(rig, path), read(path))
            branches = found.taken + sum(untaken for _, untaken, _ in found.missed)
            share = 100.0 if not found.missed else 100.0 * found.taken / max(1, branches)
            print(f"{path}: {found.taken} of {branches} branches, {share:.1f} %, {found.excused} of must() left out")
            for number, untaken, of in found.missed:
                what = f"{untaken} of {of} branches never taken" if of else "never run"
                print(f"  {path}:{number}: {what}: {read(path).splitlines()[number - 1].strip()}")
            whole = whole and not found.missed
    print("every branch is taken" if whole else "some branches are never taken")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
