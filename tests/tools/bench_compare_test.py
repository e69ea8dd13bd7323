#!/usr/bin/env python3
"""Tests of tools/bench_compare.py."""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import bench_compare  # noqa: E402


def kernels(ratio: float, mad: float = 0.001, n: int = 1, **more) -> dict:
    row = {"op": "dense", "shape": "64,64", "format": "q8_0", "n": n, "threads": 2, "gb_per_s": 40 * ratio,
           "gops": 1, "roof_ratio": ratio, "roof_ratio_mad": mad, "seconds": 1 / ratio, "seconds_mad": mad / ratio}
    return {"isa": "avx2", "rows": [{**row, **more}]}


class BenchCompare(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.n = 0

    def file(self, document) -> str:
        self.n += 1
        path = pathlib.Path(self.folder.name, f"{self.n}.json")
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    def run_tool(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = bench_compare.main(list(arguments))
        return code, out.getvalue(), err.getvalue()

    def compared(self, *arguments) -> list[dict]:
        code, out, err = self.run_tool(*arguments, "--json")
        self.assertEqual(code, 0, err)
        return json.loads(out)["rows"]

    def test_marks_only_what_is_beyond_the_noise(self):
        a = self.file(kernels(0.80))
        self.assertEqual(self.compared(a, self.file(kernels(0.81)))[0]["mark"], "better")
        self.assertEqual(self.compared(a, self.file(kernels(0.79)))[0]["mark"], "worse")
        self.assertEqual(self.compared(a, self.file(kernels(0.804)))[0]["mark"], "", "half a percent is the least")
        self.assertEqual(self.compared(a, self.file(kernels(0.70, mad=0.06)))[0]["mark"], "", "noisy")

    def test_several_runs_are_one_median_with_their_spread(self):
        a = ",".join(self.file(kernels(r, mad=0.5)) for r in (0.80, 0.81, 0.79))
        b = ",".join(self.file(kernels(r, mad=0.5)) for r in (0.90, 0.91, 0.20))
        row = self.compared(a, b)[0]
        self.assertAlmostEqual(row["before"], 0.80)
        self.assertAlmostEqual(row["after"], 0.90)
        self.assertLess(row["noise"], 0.05, "of the runs, not of one run's repetitions")
        self.assertEqual(row["mark"], "better")

    def test_matches_by_what_was_measured(self):
        a = {"rows": kernels(0.5, n=1)["rows"] + kernels(0.7, n=8)["rows"]}
        b = {"rows": kernels(0.7, n=8)["rows"] + kernels(0.9, n=16)["rows"]}
        code, out, _ = self.run_tool(self.file(a), self.file(b))
        self.assertEqual(code, 0)
        self.assertIn("n=8", out)
        self.assertIn("only before: dense 64,64 q8_0 n=1", out)
        self.assertIn("only after: dense 64,64 q8_0 n=16", out)

    def test_less_can_be_better(self):
        step = lambda us: {"model": "m", "rows": [{"op": "step", "n": 1, "threads": 2, "overhead_us": us}]}
        row = self.compared(self.file(step(10)), self.file(step(5)))[0]
        self.assertEqual((row["metric"], row["ratio"], row["mark"]), ("overhead_us", 2, "better"))
        serve = lambda ms: {"op": "serve", "rate": 1, "ttft_ms": {"p50": ms, "p99": 2 * ms}, "gap_ms": {"p99": 1}}
        rows = self.compared(self.file(serve(10)), self.file(serve(20)))
        self.assertEqual([r["mark"] for r in rows], ["worse", "worse", ""])

    def test_metric_and_failing(self):
        a, b = self.file(kernels(0.8)), self.file(kernels(0.6))
        self.assertEqual(self.compared(a, b, "--metric", "gb_per_s")[0]["before"], 32)
        self.assertEqual(self.run_tool(a, b, "--fail-below", "0.7")[0], 0)
        code, _, err = self.run_tool(a, b, "--fail-below", "0.8")
        self.assertEqual(code, 1)
        self.assertIn("1 of 1 below 0.8", err)

    def test_unusable_files(self):
        good = self.file(kernels(1))
        for bad in (self.file("{"), self.file("[]"), self.file({"x": 1}), good + "x",
                    self.file({"rows": 1}), self.file({"rows": [1]}), self.file({"ceilings": [None]}),
                    self.file(kernels(1, n=5))):
            code, _, err = self.run_tool(good, bad)
            self.assertEqual(code, 2, bad)
            self.assertIn("bench_compare: ", err)

    def test_ceilings(self):
        lines = {"ceilings": [{"threads": 1, "read_gb_per_s": 40, "dot_gops": 1000}]}
        self.assertEqual(len(self.compared(self.file(lines), self.file(lines))), 2)


if __name__ == "__main__":
    unittest.main()
