"""The lint catches what it claims to catch: one seeded violation per rule, and a clean tree passes."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import tidy  # noqa: E402

CLEAN = {
    "broker/base/str.h": "/* str.h - slices. */\nint str_len(int a);\n",
    "broker/base/str.c": '#include "broker/base/str.h"\n\nint str_len(int a)\n{\n    return a;\n}\n',
    "broker/base/err.def": 'ERR(A, 400, "a", "A", false, "b")\n',
    "migrations/0001_first.sql": "-- Why: because.\nselect 1;\n",
    "openapi.yaml": "components: {schemas: {Problem: {properties: {code: {enum: [a]}}}}}\n",
    "README.md": "See [the slices](broker/base/str.h).\n",
}
BODY = "int f(void)\n{\n%s    return 0;\n}\n"
DEEP = "    if (a) {\n        for (;;) {\n            if (b) {\n                while (c) {\n                    d();\n" \
       "                }\n            }\n        }\n    }\n"

# rule, file, its text: each must be reported under that rule, in that file.
SEEDED = [
    ("layers", "broker/base/up.c", '#include "api/x.h"\n'),
    ("layers", "auction/side.c", '#include "billing/meter.h"\n'),
    ("layers", "lost/file.c", '#include "broker/base/str.h"\n'),
    ("foreign", "api/x.c", "#include <libpq-fe.h>\n"),
    ("foreign", "billing/x.c", "#include <curl/curl.h>\n"),
    ("sql_headers", "broker/market/a.c", '#include "gen/broker/market/b.sql.h"\n'),
    ("own_header_first", "broker/base/str.c", '#include <stdio.h>\n#include "broker/base/str.h"\n'),
    ("lengths", "api/long.c", "/* " + "x" * 100 + " */\n"),
    ("lengths", "api/long.c", "int a;\n" * 601),
    ("functions", "api/f.c", BODY % ("    g();\n" * 70)),
    ("functions", "api/f.c", "int f(int a, int b, int c, int d, int (*e)(int, int), int g)\n{\n    return 0;\n}\n"),
    ("functions", "api/f.c", BODY % DEEP),
    ("banned", "api/b.c", BODY % "    sprintf(a, b);\n"),
    ("banned", "api/b.c", BODY % "    x = time(NULL);\n"),
    ("floats", "billing/f.c", BODY % "    double x = 1;\n"),
    ("whitespace", "api/w.c", "int a; \n"),
    ("headers_say_what", "api/h.h", "int a;\n"),
    ("long_files_tell_their_story", "api/l.c", "int a;\n" * 201),
    ("dead_headers", "api/dead.h", "/* dead.h - nobody. */\n"),
    ("sql_has_a_home", "broker/market/x.sql", "select 1\n"),
    ("links", "docs/a.md", "[x](no/such.md)\n"),
    ("paths_in_docs", "docs/a.md", "See `broker/gone.c`.\n"),
    ("migrations", "migrations/0001_twice.sql", "-- Why: x\n"),
    ("migrations", "migrations/0002_mute.sql", "select 1\n"),
    ("slugs", "openapi.yaml", "components: {schemas: {Problem: {properties: {code: {enum: [a, b]}}}}}\n"),
    ("slugs", "broker/base/err.def", 'ERR(A, 400, "a", "A", false, "b")\nERR(B, 400, "c", "A", false, "b")\n'),
    ("words", "broker/market/w.c", "int job_count;\n"),
    ("format", "api/g.c", "int  a;\n"),
    ("nothing_left_over", "api/t.c", "/* TO" "DO later */\n"),
]
# Things that look like violations and are none.
INNOCENT = [
    ("banned", "api/ok.c", '/* strcpy( is banned */ const char *a = "atoi(x)";\n'),
    ("banned", "api/ok.c", BODY % "    sprintf(a, b); /* lint: allow, a test of the lint */\n"),
    ("banned", "api/ok.c", BODY % "    mtime(x); y.time(z);\n"),
    ("floats", "api/ok.c", "double ratio;\n"),
    ("functions", "api/ok.c", BODY % "    struct a x = {.b = {.c = {.d = {.e = 1}}}};\n"),
    ("functions", "api/ok.c", BODY % "    if (a) {\n        g((struct s){.x = {1}});\n    }\n"),
    ("foreign", "broker/io/db.c", "#include <libpq-fe.h>\n"),
    ("layers", "tests/unit/t.c", '#include "api/x.h"\n'),
]


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="tidy-")
        self.addCleanup(shutil.rmtree, self.root)
        subprocess.run(["git", "init", "-q", self.root], check=True)
        for path, text in CLEAN.items():
            self.write(path, text)
        os.makedirs(os.path.join(self.root, "tests/lint"))
        shutil.copy(os.path.join(HERE, "layers.txt"), os.path.join(self.root, "tests/lint/layers.txt"))
        shutil.copy(os.path.join(HERE, "../../.clang-format"), self.root)

    def write(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)

    def violations(self):
        tree = tidy.Tree(self.root)
        return {(rule.__name__[5:], path) for rule in tidy.RULES for path, _, _ in rule(tree)}

    def test_a_clean_tree_has_no_violations(self):
        self.assertEqual(self.violations(), set())

    def test_every_rule_has_a_seeded_violation(self):
        self.assertEqual({rule for rule, _, _ in SEEDED}, {r.__name__[5:] for r in tidy.RULES})

    def test_innocent_lines_pass(self):
        for rule, path, text in INNOCENT:
            with self.subTest(rule=rule, text=text[:40]):
                self.write(path, text)
                self.assertNotIn((rule, path), self.violations())
                os.unlink(os.path.join(self.root, path))


def seeded_test(rule, path, text):
    def test(self):
        self.write(path, text)
        self.assertIn((rule, path), self.violations())
    return test


for _number, _row in enumerate(SEEDED):
    setattr(TidyTest, f"test_{_row[0]}_is_caught_{_number}", seeded_test(*_row))

if __name__ == "__main__":
    unittest.main()
