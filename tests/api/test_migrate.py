"""undercut-migrate: dry by default, once each, never over a changed file, two at once."""

import concurrent.futures
import os
import shutil
import subprocess
import tempfile
import unittest

import harness  # noqa: F401, sets the paths
import stack as stacks


class MigrateTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = stacks.folder_for(f"test-migrate-{os.getpid()}")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        short = tempfile.mkdtemp(prefix="uc-")
        os.chmod(short, 0o755)
        cls.addClassCleanup(shutil.rmtree, short, ignore_errors=True)
        cls.postgres = stacks.Postgres(cls.folder, short, is_durable=False)
        cls.addClassCleanup(cls.postgres.stop)
        cls.postgres.start()

    def setUp(self):
        self.database = self._testMethodName.lower()[:60]
        self.postgres.sql(f'create database "{self.database}"')
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        self.write("0001_first.sql", "-- Why: a start.\ncreate table a (x int);\n")
        self.write("0002_second.sql", "-- Why: more.\ninsert into a values (1);\n")

    def write(self, name, text):
        with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
            f.write(text)

    def migrate(self, *words, code=0, folder=None):
        done = subprocess.run([os.path.join(os.environ["UNDERCUT_BIN"], "undercut-migrate"), "--database",
                               self.postgres.url(self.database), "--dir", folder or self.dir, *words],
                              capture_output=True, text=True, check=False, cwd=harness.ROOT)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def sql(self, text):
        return self.postgres.sql(text, self.database)

    def test_dry_by_default(self):
        self.assertIn("would apply 0002_second.sql", self.migrate())
        self.assertEqual(self.sql("select to_regclass('a') is null and to_regclass('schema_migrations') is null"), "t")

    def test_each_is_applied_once(self):
        self.assertIn("applied 0002_second.sql", self.migrate("--apply"))
        self.assertIn("nothing to do", self.migrate("--apply"))
        self.write("0003_third.sql", "-- Why: x.\ninsert into a values (3);\n")
        self.assertIn("applied 0003_third.sql", self.migrate("--apply"))
        self.assertEqual(self.sql("select count(*) from a"), "2")

    def test_a_changed_or_vanished_or_squeezed_in_file_stops_everything(self):
        self.migrate("--apply")
        self.write("0003_third.sql", "-- Why: x.\ninsert into a values (3);\n")
        for change in (lambda: self.write("0001_first.sql", "-- Why: a start!\n"),
                       lambda: os.unlink(os.path.join(self.dir, "0001_first.sql")),
                       lambda: self.write("0000_before.sql", "-- Why: x.\n")):
            change()
            self.migrate("--apply", code=1)
            self.assertEqual(self.sql("select count(*) from a"), "1")
            self.write("0001_first.sql", "-- Why: a start.\ncreate table a (x int);\n")

    def test_a_failing_file_is_rolled_back_and_the_ones_before_stay(self):
        self.write("0003_bad.sql", "-- Why: x.\ninsert into a values (3);\nselect 1/0;\n")
        self.assertIn("division by zero", self.migrate("--apply", code=1))
        self.assertEqual(self.sql("select count(*) from a"), "1")
        self.assertEqual(self.sql("select count(*) from schema_migrations"), "2")

    def test_many_at_once_apply_once(self):
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: self.migrate("--apply"), range(6)))
        self.assertEqual(self.sql("select count(*) from a"), "1")

    def test_the_real_migrations_are_healthy_and_a_wrong_balance_is_found(self):
        folder = os.path.join(harness.ROOT, "migrations")
        self.migrate("--apply", folder=folder)
        self.assertIn("every invariant holds", self.migrate("check"))
        self.sql("set session_replication_role = replica; update ledger_accounts set balance_uusd = 5 where kind = 'promo'")
        self.assertIn("violated: ", self.migrate("check", code=1))


if __name__ == "__main__":
    unittest.main()
