"""The tools that judge the tests: faults are put where they belong, a good test notices them, a bad one does not."""

import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "mutation"))
import coverage  # noqa: E402 - the path is set above
from mutate import mutants_of  # noqa: E402

CLAMP = """/* low < high && 1 */
#include <assert.h>
#define LIMIT 9

int clamp(int x, int low, int high)
{
    must(low <= high && high < 10);
    if (x < low)
        return low;
    if (x > high)
        x = high;
    return x;
}
"""
GOOD = """#define must(c) ((void)0)
#include "clamp.c"
int main(void)
{
    return clamp(1, 2, 5) != 2 || clamp(9, 2, 5) != 5 || clamp(3, 2, 5) != 3;
}
"""
EQUIVALENT = {"if (x <= low)", "if (x >= high)", "#define LIMIT 10", "#define LIMIT 8"}


def is_noticed(mutant, test):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("clamp.c", mutant.text), ("test.c", test)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        subprocess.run(["gcc", "-w", "test.c", "-o", "test"], cwd=folder, check=True)
        return subprocess.run([os.path.join(folder, "test")], check=False).returncode != 0


class MutationTest(unittest.TestCase):
    def test_faults_change_one_line_of_code_and_nothing_else(self):
        lines = CLAMP.splitlines()
        for mutant in mutants_of("clamp.c", CLAMP):
            changed = mutant.text.splitlines()
            self.assertEqual([i for i, (a, b) in enumerate(zip(lines, changed, strict=True), 1) if a != b], [mutant.line])
            self.assertNotIn(mutant.line, (1, 2, 7), "comments, includes and must() are left alone")
        kinds = {m.kind for m in mutants_of("clamp.c", CLAMP)}
        self.assertEqual(kinds, {"operator", "constant", "condition", "statement"})

    def test_a_test_of_each_side_notices_all_but_equivalent_faults(self):
        survivors = {m.after for m in mutants_of("clamp.c", CLAMP) if not is_noticed(m, GOOD)}
        self.assertEqual(survivors, EQUIVALENT)

    def test_a_test_that_asks_for_nothing_notices_nothing(self):
        nothing = GOOD.replace("return clamp", "return 0; return clamp")
        self.assertFalse(any(is_noticed(m, nothing) for m in mutants_of("clamp.c", CLAMP)))

    def test_branches_of_must_are_left_out_and_others_are_not(self):
        def line(number, *counts):
            return {"line_number": number, "branches": [{"count": c} for c in counts]}
        found = coverage.count([line(7, 1, 0, 0, 1), line(8, 3, 1), line(10, 2, 0)], [], CLAMP)
        self.assertEqual((found.taken, found.untaken, found.excused), (3, 1, 4))
        self.assertEqual(found.missed, [(10, "1 of 2 branches never taken: if (x > high)")])


if __name__ == "__main__":
    unittest.main()
