"""What the demo says of a price is what set it."""

import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "deploy", "demo"), os.path.join(ROOT, "deploy")]
import demo  # noqa: E402 - the path is set above


class DemoWordsTest(unittest.TestCase):
    def test_a_price_is_explained_by_what_set_it(self):
        rows = [([(190, 260), (220, 260), (260, None)], "an ask that lost set each price"),
                ([(190, 545), (220, 545)], "each tile pays what it offered"),
                ([(190, 220), (200, 545), (220, None)], "1 of 2 tiles pay what they offered")]
        for supply, said in rows:
            with self.subTest(said=said):
                ladder = {"supply": [{"score_uusd_per_hour": score} | ({} if theta is None else
                                                                       {"threshold_uusd_per_hour": theta})
                                     for score, theta in supply]}
                self.assertIn(said, demo.price_reason(ladder))
