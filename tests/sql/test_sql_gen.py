"""What the statement generator refuses, each with the line where it stands, and what it makes."""

import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GENERATOR = os.path.join(ROOT, "broker", "io", "sql_gen.py")
FINE = "-- name: a\n-- in: x int8\n-- out: y int8\nselect $1 as y;\n"
BATCH = "-- name: a\n-- batch: true\n-- in: x int8\n"


def read(path):
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def generate(text):
    """(exit code, what it said, header, code) for one file's text; the file is called in.sql."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("in.sql", "out.h", "out.c")]
        with open(paths[0], "w", encoding="utf-8") as file:
            file.write(text)
        child = subprocess.run([sys.executable, GENERATOR, *paths], capture_output=True, text=True,
                               check=False)
        said = child.stderr.replace(folder + "/", "").strip()
        return child.returncode, said, read(paths[1]), read(paths[2])


class Refusals(unittest.TestCase):
    def refused(self, text, where, what):
        code, said, header, _ = generate(text)
        self.assertEqual(code, 1, said)
        self.assertTrue(said.startswith(f"in.sql:{where}: "), said)
        self.assertIn(what, said)
        self.assertEqual(header, "")

    def test_nothing_there(self):
        self.refused("select 1;\n", 1, "before the first")
        self.refused("-- only a comment\n", 1, "no '-- name:'")

    def test_names(self):
        self.refused(FINE.replace("name: a", "name: Foo"), 1, "lower_case")
        self.refused(FINE + FINE, 5, "stands twice")

    def test_keys(self):
        self.refused("-- name: a\n-- scpe: account\nselect 1;\n", 2, "'scpe:'")
        self.refused("-- name: a\n-- in: x int8\n-- in: y int8\nselect 1;\n", 3, "stands twice")
        self.refused("-- name: a\n-- what it is\nselect 1;\n", 2, "'-- doc:'")
        self.refused("-- name: a\n-- batch: yes\nselect 1;\n", 2, "'yes'")

    def test_fields(self):
        self.refused(FINE.replace("x int8", "x bigint"), 2, "'bigint'")
        self.refused(FINE.replace("x int8", "x"), 2, "'x'")
        self.refused(FINE.replace("x int8", "default int8"), 2, "word of C")
        self.refused(FINE.replace("x int8", "x int8, x int4"), 2, "stands twice")
        self.refused(FINE.replace("y int8", "y int8[]"), 3, "scalars")
        many = ", ".join(f"x{i} int8" for i in range(41))
        self.refused(FINE.replace("x int8", many), 2, "at most 40")

    def test_text(self):
        self.refused("-- name: a\n-- doc: b\n", 1, "no text")
        self.refused(FINE.replace(";", ""), 4, "end with ';'")
        self.refused(FINE.replace(";", "; select 2;"), 4, "more than one")
        self.refused(FINE.replace("$1", "$2"), 4, "$2")
        self.refused(FINE.replace("$1", "1"), 4, "'x' is declared")

    def test_batches(self):
        self.refused(BATCH + "select unnest($1::int8[]);\n", 2, "'ord int4'")
        self.refused(BATCH + "-- out: ord int8\nselect unnest($1::int8[]);\n", 2, "'ord int4'")
        self.refused("-- name: a\n-- batch: true\n-- out: ord int4\nselect 1;\n", 2, "needs 'in:'")
        self.refused(BATCH.replace("x int8", "x int8[]") + "-- out: ord int4\nselect $1;\n", 2,
                     "scalars")

    def test_account_scope(self):
        scoped = "-- name: a\n-- scope: account\n-- in: account_id uuid, x int8\n"
        self.refused(scoped + "select 1 from t where x = $2 and id = $1;\n", 2, "account_id = $1")
        self.refused(scoped + "select 1 from t where x = $2 and account_id = $12;\n", 4, "$12")
        self.refused(scoped + "select 1 from t where x = $2 and note = 'account_id = $1'"
                     " and id = $1;\n", 2, "account_id = $1")
        swapped = scoped.replace("account_id uuid, x int8", "x int8, account_id uuid")
        self.refused(swapped + "select 1 from t where account_id = $1 and x = $2;\n", 2,
                     "first parameter")
        nullable = scoped.replace("account_id uuid", "account_id uuid?")
        self.refused(nullable + "select 1 from t where account_id = $1 and x = $2;\n", 2,
                     "first parameter")


class Output(unittest.TestCase):
    def test_a_read_and_a_write_take_their_lanes(self):
        for text, lane in ((FINE, "db_read("), (FINE.replace("select $1", "update t set z = $1"),
                                                "db_write("),
                           (FINE.replace("-- out", "-- lane: write\n-- out"), "db_write("),
                           (FINE.replace("$1 as y", "$1 as y, 'update'"), "db_read(")):
            code, said, _, made = generate(text)
            self.assertEqual(code, 0, said)
            self.assertIn(lane, made)

    def test_fields_become_members(self):
        _, _, header, made = generate(
            "-- name: a\n-- in: at timestamptz?, ids uuid[],\n--     note text?\n"
            "-- out: ended_at timestamptz?\nselect $1 as ended_at from t where $2 = $3; -- why\n")
        for member in ("int64_t at_us;", "bool has_at;", "const struct uuid *ids;",
                       "size_t ids_count;", "struct str note;", "int64_t ended_at_us;",
                       "bool has_ended_at;"):
            self.assertIn(member, header)
        self.assertNotIn("why", made)

    def test_text_survives_as_a_c_string(self):
        _, _, _, made = generate("-- name: a\n-- out: y text\nselect 'a\"b\\c??/' as y;\n")
        self.assertIn(r"select 'a\"b\\c", made)
        self.assertNotIn("??/", made)

    def test_the_registry_refuses_a_name_in_two_files(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("one.sql", "two.sql")]
            for path in paths:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(FINE)
            out = os.path.join(folder, "all.c")
            child = subprocess.run([sys.executable, GENERATOR, "--registry", out, *paths],
                                   capture_output=True, text=True, check=False)
            self.assertEqual(child.returncode, 1)
            self.assertIn("two.sql:1: name 'a' also stands in", child.stderr)


if __name__ == "__main__":
    unittest.main()
