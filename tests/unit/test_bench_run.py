"""What `./dev bench` says and exits with when parts of it fail, or cannot run on this machine."""

import contextlib
import io
import os
import sys
import types
import unittest
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "bench"), os.path.join(ROOT, "deploy")]
import bench_placement  # noqa: E402 - the path is set above
import measure  # noqa: E402
import run  # noqa: E402


class BenchRunTest(unittest.TestCase):
    def outcome(self, *names, **parts):
        """(exit code, last words) of these parts, where `bench_placement` is itself and has no trace."""
        measure.LEFT_OUT.clear()
        modules = {name: types.SimpleNamespace(run=lambda value=value: value) for name, value in parts.items()}
        said = io.StringIO()
        with mock.patch.dict(run.BENCHES, {"some": list(parts), "auction": [*parts, "bench_placement"]}), \
                mock.patch.dict(sys.modules, {**modules, "bench_placement": bench_placement}), \
                mock.patch.dict(os.environ, {"UNDERCUT_OPENB": "/nowhere"}), contextlib.redirect_stderr(said):
            return run.main(list(names)), said.getvalue()

    def test_a_part_without_its_data_is_named_and_fails_nothing(self):
        code, said = self.outcome("auction", part=True)
        self.assertEqual(code, 0)
        self.assertRegex(said, r"placement did not run: openb_node_list_gpu_node.csv is not in /nowhere; get the trace .*")
        self.assertNotIn("failed", said)

    def test_a_part_that_ran_and_failed_fails_it(self):
        code, said = self.outcome("auction", part=True, other=False)
        self.assertEqual(code, 1)
        self.assertIn("other ran and failed", said)
        self.assertIn("placement did not run", said)

    def test_nothing_at_all_is_no_success(self):
        self.assertEqual(self.outcome("placement")[0], 1)
        self.assertEqual(self.outcome("some", part=True), (0, ""))
