#!/usr/bin/env python3
"""Branch coverage of the pure engine by its unit tests: python3 tests/mutation/coverage.py [FILE ...]

Prints one line per file of auction/ and every branch that no test takes; exits 1 unless all are taken.
A branch is one of gcov's on an unoptimised build, so each side of each && and || counts. Left out are what
a must() would do when it fails and where a switch goes that must_not_reach() closes, both bugs in the
program, which no test can bring about; one branch of each of jansson's macros, which look for NULL where
there is none; and of a line that says `no test can: why`, the one that none takes. How many those are is
printed too.
"""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import ROOT, Rig, read

FOREIGN = re.compile(r"\bjson_(?:object_foreach|array_foreach|is_[a-z]+)\b|/\* no test can: ")
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
        self.taken, self.untaken, self.excused, self.missed = 0, 0, 0, []


def count(lines, uncalled, text):
    musts, switches = must_lines(text)
    rows, found = text.splitlines(), Found()
    for name, start, _ in uncalled:
        found.missed.append((start, f"{name}() is never called"))
    for line in lines:
        number, counts = line["line_number"], [b["count"] for b in line["branches"]]
        excused = len(counts) if number in musts else 0
        if not excused and counts.count(0):
            excused = (number in switches) + len(FOREIGN.findall(rows[number - 1]))
        excused = min(excused, counts.count(0)) if number not in musts else excused
        untaken = max(0, counts.count(0) - excused)
        found.excused += excused
        found.untaken += untaken
        found.taken += len(counts) - excused - untaken
        if untaken and not any(start <= number <= end for _, start, end in uncalled):
            found.missed.append((number, f"{untaken} of {len(counts)} branches never taken: {rows[number - 1].strip()}"))
    return found


def gcov(rig, path):
    """(lines, functions that nothing called) as gcov saw them."""
    done = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", rig.object_of(path)],
                          cwd=rig.dir, check=True, capture_output=True, text=True)
    merged, uncalled = {}, []
    for text in done.stdout.splitlines():
        for each in json.loads(text)["files"]:
            if each["file"].endswith(path):
                merged.update({(line["line_number"], line.get("function_name")): line for line in each["lines"]})
                uncalled += [(f["name"], f["start_line"], f["end_line"]) for f in each["functions"]
                             if f["execution_count"] == 0]
    return [line for _, line in sorted(merged.items(), key=lambda item: item[0][0])], uncalled


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
            found = count(*gcov(rig, path), read(path))
            branches = found.taken + found.untaken
            share = 100.0 if not found.missed else 100.0 * found.taken / max(1, branches)
            print(f"{path}: {found.taken} of {branches} branches, {share:.1f} %, {found.excused} left out")
            for number, what in found.missed:
                print(f"  {path}:{number}: {what}")
            whole = whole and not found.missed
    print("every branch is taken" if whole else "some branches are never taken")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
