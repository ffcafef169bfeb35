"""The folder of a private stack: new and empty each time, also in a checkout that the database cannot reach,
and never taken from another process that uses it."""

import multiprocessing
import os
import tempfile
import unittest
from unittest import mock

import stack


def folder_for_elsewhere(answers, name):
    try:
        answers.put(stack.folder_for(name))
    except stack.StackError as e:
        answers.put(e)


class StackFolderTest(unittest.TestCase):
    def setUp(self):
        root = tempfile.TemporaryDirectory(prefix="uc-root-")  # mode 0700, as /root is
        self.addCleanup(root.cleanup)
        patch = mock.patch.object(stack, "ROOT", root.name)
        patch.start()
        self.addCleanup(patch.stop)

    def folder_used(self):
        path = stack.folder_for("demo")
        self.addCleanup(stack.shutil.rmtree, path, ignore_errors=True)
        self.assertEqual(os.listdir(path), [])
        with open(os.path.join(path, "left"), "w", encoding="ascii"):
            pass
        return path

    def test_it_is_empty_again_where_the_database_does_not_reach_the_checkout(self):
        first = self.folder_used()
        second = self.folder_used()
        self.assertTrue(stack.is_traversable(second, "postgres"))
        self.assertFalse(os.path.exists(first))
        self.assertEqual(os.path.realpath(os.path.join(stack.ROOT, "var", "demo")), second)

    def test_it_is_empty_again_where_the_database_reaches_the_checkout(self):
        os.chmod(stack.ROOT, 0o755)
        self.assertEqual(self.folder_used(), self.folder_used())

    def test_what_another_process_uses_stays_with_it(self):
        path = self.folder_used()
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        with mock.patch.object(stack, "folders_held", {}):
            child = context.Process(target=folder_for_elsewhere, args=(answers, "demo"))
            child.start()
            refused = answers.get(timeout=20)
            child.join()
        self.assertIsInstance(refused, stack.StackError)
        self.assertIn("in use", str(refused))
        self.assertEqual(os.listdir(path), ["left"])


if __name__ == "__main__":
    unittest.main()
