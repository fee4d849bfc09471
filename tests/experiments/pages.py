"""The parts of experiments/ that compute and draw: verdicts by hand-made numbers, charts that are valid XML, pages that stand alone.

usage: pages.py
"""

import math
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments"))

from common import charts, page  # noqa: E402
from methods import results, runs  # noqa: E402
from paper import anchors, measure  # noqa: E402

STEP = """tiny on cuda:0 (NVIDIA H100 80GB HBM3), sparsity 90.0 %, 20 steps
phase           ms per step   share
--------------  -----------  ------
data                  0.021   0.0 %
pruning               0.001   0.0 %
forward              33.503  39.5 %
backward             49.196  58.0 %
optimizer             2.028   2.4 %
between phases        0.005   0.0 %
--------------  -----------  ------
step, timed          84.753
step, untimed        82.153

1.496e+05 tokens per second; waiting for data 0.250 ms per step; peak memory 3.8 GiB
device busy 81.000 of 82.153 ms per step: it waits for the host 1.4 % of the time
"""


def record(method, sparsity, seed, accuracy=None, bits=None, **more):
    return {"experiment": "e", "method": method, "sparsity": sparsity, "seed": seed, "finished": True, "accuracy": accuracy,
            "bits_per_byte": bits, **more}


class Verdicts(unittest.TestCase):
    def verdict(self, better, worse, bits=False):
        key = "bits" if bits else "accuracy"
        a, b = ([record("m", 0.9, i, **{key: v}) for i, v in enumerate(side)] for side in (better, worse))
        return results.compare(a, b, "bits_per_byte" if bits else "accuracy", bits)

    def test_difference_and_error_by_hand(self):
        verdict, difference, error = self.verdict([0.90, 0.92, 0.94], [0.80, 0.82, 0.84])
        self.assertEqual(verdict, "holds")
        self.assertAlmostEqual(difference, 0.10)
        self.assertAlmostEqual(error, math.sqrt(2 * 0.0004 / 3))  # variance 0.0004 each, three runs each
        self.assertEqual(self.verdict([0.80, 0.82], [0.90, 0.92])[0], "DEVIATES")
        self.assertEqual(self.verdict([0.90, 0.80], [0.84, 0.85])[0], "not resolved")

    def test_lower_is_better_for_bits(self):
        self.assertEqual(self.verdict([2.0, 2.001], [2.1, 2.101], bits=True)[0], "holds")
        self.assertEqual(self.verdict([2.1, 2.101], [2.0, 2.001], bits=True)[0], "DEVIATES")

    def test_one_seed_says_so(self):
        self.assertEqual(self.verdict([0.9], [0.8])[0], "holds, one seed")
        self.assertEqual(self.verdict([0.8], [0.9, 0.9])[0], "DEVIATES, one seed")
        self.assertEqual(self.verdict([], [0.9])[0], "missing")

    def test_order_is_checked_at_each_sparsity(self):
        levels = {"magnitude": 0.95, "rigl": 0.94, "set": 0.93, "static": 0.92, "dense": 0.96}
        rows = [record(m, s if m != "dense" else 0.0, seed, accuracy=a - s / 10 + seed / 1e4)
                for m, a in levels.items() for s in (0.8, 0.9) for seed in (1, 2, 3)]
        checks = results.checks_of(rows)
        self.assertEqual(len(checks), 6)
        self.assertEqual({c["verdict"] for c in checks}, {"holds"})
        for r in rows:
            if r["method"] == "rigl" and r["sparsity"] == 0.9:
                r["accuracy"] -= 0.05
        self.assertEqual([c["expected"] for c in results.checks_of(rows) if c["verdict"] == "DEVIATES"], ["rigl above set"])


class Schedules(unittest.TestCase):
    def test_every_method_ends_before_the_run_and_updates_seldom(self):
        for steps in (20, 500, 1719, 14325):
            for method in runs.METHODS:
                section = runs.pruning(method, 0.9, steps, "erk")
                self.assertLessEqual(section.get("end_step", 0), 0.75 * steps + 1)
                self.assertLess(section.get("begin_step", 0), steps)
                self.assertGreaterEqual(section.get("frequency", 5), 5)  # RigL gives up the optimizer's step at each
        self.assertEqual(runs.pruning("rigl", 0.9, 14325, "erk")["frequency"], 100)

    def test_seeds_come_one_after_another_and_runs_are_distinct(self):
        for preset, count in (("full", 21 + 4 + 16), ("budget", 21 + 4 + 16), ("cpu", 21 + 4)):
            listed = [r for e in runs.experiments(preset, "/data") for r in runs.runs_of(e, "cpu", (1, 2))]
            self.assertEqual(len(listed), 2 * count, preset)
            self.assertEqual(len({r.directory("/out") for r in listed}), 2 * count, preset)
        short, long = (runs.experiments("full", "/data", epochs=e)[0] for e in (2, 3))
        self.assertEqual((short.steps, long.steps), (382, 573))
        first = runs.runs_of(short, "cpu", (1,))[0]
        self.assertNotEqual(first.directory("/out"), runs.runs_of(long, "cpu", (1,))[0].directory("/out"))

    def test_a_run_is_a_sweep_of_one(self):
        e = runs.experiments("smoke", "/data")[0]
        text = runs.runs_of(e, "cpu", (7,))[1].sweep_text("x", "/out dir")
        self.assertIn('output_dir: "/out dir"', text)
        self.assertIn("  seed: [7]\n", text)
        self.assertIn('"method": "magnitude"', text)


    def test_wider_sparse_and_narrower_dense_hold_as_many_weights(self):
        def stored(hidden, sparsity):  # the classifier stays dense
            (a, b), keep = hidden, 1 - sparsity
            return keep * (784 * a + a * b) + 10 * b
        (e,) = (e for e in runs.experiments("cpu", "/data") if e.widths)
        counts = {(method, width): stored(settings["model.hidden"], sparsity) for method, sparsity, width, settings in e.widths}
        self.assertAlmostEqual(counts["rigl", 2], 61040)
        self.assertAlmostEqual(counts["dense", 0.25] / counts["rigl", 2], 1, delta=0.01)
        self.assertIn("61,040", e.note)
        self.assertIn("60,925", e.note)


class Charts(unittest.TestCase):
    def test_are_valid_and_bounded(self):
        series = [("a & b", [(80, 1.0, 0.1), (98, 3.0, None)]), ("c", [(90, 2.0, 0.0), (95, float("nan"), None)])]
        for svg in (charts.lines("T <x>", "x", "y", series, [("dense", 5.0)]), charts.lines("T", "x", "y", series, log_y=True),
                    charts.lines("one", "x", "y", [("a", [(1, 2, None)])], log_x=True), charts.bars("B", "unit", [("a", 3.0, 0), ("b", 1.0, 9)]),
                    charts.bars("B", "unit", [("only", 5.0, 1)], log=True)):
            root = ElementTree.fromstring(svg)
            width, height = map(float, root.get("viewBox").split()[2:])
            for node in root.iter():
                for key, most in (("x", width), ("x1", width), ("cx", width), ("y", height), ("y1", height), ("cy", height)):
                    if node.get(key):
                        self.assertTrue(-0.1 <= float(node.get(key)) <= most + 0.1, ElementTree.tostring(node))
        self.assertEqual(charts.lines("T", "x", "y", [("a", [])]), "")
        self.assertEqual(charts.bars("T", "x", [("a", None, 0)]), "")
        self.assertEqual([charts.number(v) for v in (0, 0.25, 117e3, 2.8e6, 3.13e9)], ["0", "0.25", "117 k", "2.8 M", "3.13 G"])

    def test_ticks_cover(self):
        for low, high in ((0, 1), (85.2, 87.9), (-3, 1e6), (1e-5, 2e-5)):
            marks = charts.ticks(low, high)
            self.assertLessEqual(marks[0], low + 1e-12)
            self.assertGreaterEqual(marks[-1], high * (1 - 1e-9))
            self.assertTrue(3 <= len(marks) <= 9, (low, high, marks))


class Pages(unittest.TestCase):
    def test_markdown_and_html_from_the_same_blocks(self):
        p = page.Page("A < B")
        p.text("Some `code` & **strong**.", "- one", "- two")
        p.heading("Part")
        p.table(["name", "value"], [["x", 1]])
        p.charts([charts.bars("B", "unit", [("a", 3.0, 0)])], ["a"])
        text, html = p.markdown(), p.html()
        self.assertIn("| x | 1 |", text)
        self.assertIn("- one\n- two\n", text)
        self.assertIn("<code>code</code> &amp; <strong>strong</strong>", html)
        self.assertIn("<ul>\n<li>one</li>\n<li>two</li>\n</ul>", html)
        for outside in ("<script", "http://", "https://", "<link", "<img"):
            self.assertNotIn(outside, html)
        ElementTree.fromstring(html[html.index("<svg"):html.index("</svg>") + 6])

    def test_notes_are_taken_in(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "notes.md")
            path.write_text("## What is seen\n\nA line\nand its rest.\n\n- first\n  goes on\n- second\n\n| a | b |\n|---|---:|\n| 1 | 2 |\n")
            p = page.Page("x")
            p.notes(path)
            p.notes(pathlib.Path(directory, "absent.md"))
        self.assertEqual(p.blocks, [("heading", 2, "What is seen"), ("text", "A line and its rest."), ("text", "- first goes on"),
                                    ("text", "- second"), ("table", ["a", "b"], [["1", "2"]], 1)])


class Measurements(unittest.TestCase):
    def test_bench_step_is_read(self):
        m = measure.read_step(STEP)
        self.assertEqual((m["step_ms"], m["items"], m["items_per_s"], m["data_wait_ms"]), (82.153, "tokens", 149600.0, 0.25))
        self.assertAlmostEqual(m["peak_bytes"], 3.8 * 2**30)
        self.assertAlmostEqual(m["idle_share"], 0.014)
        self.assertEqual(m["phases_ms"]["backward"], 49.196)
        self.assertEqual(m["device_name"], "NVIDIA H100 80GB HBM3")

    def test_bench_infer_is_read(self):
        mode = lambda name, ms, error=None: {"mode": name, "latency_ms": {"median": ms}, "throughput_items_per_s": ms and 1000 / ms,
                                             "peak_bytes": 5, "error": error}
        m = measure.read_infer({"items": "images", "environment": {"device_name": "x"}, "variants": [
            {"variant": "sparse", "sparsity": 0.9, "model_bytes": 7, "modes": [mode("eager", 0.6), mode("graph", 0.3), mode("y", None, "no")]}]})
        self.assertEqual((m["mode"], m["latency_ms"], m["modes_ms"]), ("graph", 0.3, {"eager": 0.6, "graph": 0.3}))

    def test_anchors_are_the_published_ones(self):
        dense, sparse = anchors.PAPER_TRANSFORMER["dense"], anchors.PAPER_TRANSFORMER["sparse attention"]
        self.assertAlmostEqual(sparse[0] / dense[0], 2.09, places=2)  # the paper's own ratios
        self.assertAlmostEqual(dense[1] / sparse[1], 12.8, places=1)
        for (m, k, n, sparsity), row in anchors.PRODUCTS_US.items():
            flops = [2 * m * k * n / us / 1e6 for us in row[:3]]  # Tflop/s of the dense products: below an H100's peaks
            self.assertTrue(flops[0] < 67 and flops[1] < 495 and flops[2] < 990 and flops[0] < flops[1] < flops[2], (m, k, n, flops))
            self.assertEqual(len(row), 8)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
