#!/usr/bin/env python3
"""Runs the test executables and scripts of one or more build folders and counts the cases.

usage: tools/run_tests.py [--kinds unit,golden,...] [--append FILE] BUILD_DIR...
Prints the output of what failed and closes with one line of counts. Never passes with no test.
"""
import argparse
import fcntl
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time


class Counts:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def add(self, passed: int, failed: int, skipped: int) -> None:
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def run_gtest(executable: pathlib.Path, counts: Counts, timeout_s: int, runner: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        started = time.monotonic()
        try:
            done = subprocess.run([*runner, executable, f"--gtest_output=json:{report}", "--gtest_brief=1"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s)
            output, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            output, code = (late.stdout or b"") + b"\ntimed out\n", -1
        seconds = time.monotonic() - started
        passed = failed = skipped = 0
        if report.exists():
            for suite in json.loads(report.read_text())["testsuites"]:
                for case in suite["testsuite"]:
                    if case.get("failures"):
                        failed += 1
                    elif case.get("result") == "SKIPPED":
                        skipped += 1
                    elif case.get("result") == "COMPLETED":
                        passed += 1
        if code != 0 and failed == 0:
            failed = 1  # it died before it could say which case failed
        if code == 0 and passed + skipped == 0:
            failed = 1  # an executable without cases tests nothing
    counts.add(passed, failed, skipped)
    print(f"{executable.name:34} {passed:5} passed {failed:3} failed {skipped:3} skipped {seconds:7.1f} s", flush=True)
    if failed or skipped:
        text = output.decode(errors="replace")
        print(text if failed else "\n".join(re.findall(r".*Skipped.*|.*test data missing.*", text)), flush=True)


def run_script(name: str, command: list[str], counts: Counts) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ok = done.returncode == 0
    counts.add(int(ok), int(not ok), 0)
    print(f"{name:34} {'passed' if ok else 'FAILED'}", flush=True)
    if not ok:
        print(done.stdout, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default="unit,property,golden,conformance,sim,kernels,death,fuzz")
    parser.add_argument("--except", dest="without", default="", help="modules to leave out, by name")
    parser.add_argument("--timeout-s", type=int, default=600)
    parser.add_argument("--runner", default="", help="command that runs the executables, e.g. an emulator")
    parser.add_argument("--scripts", action="store_true", help="also run the source checks")
    parser.add_argument("--counts", help="file that sums the counts over several calls")
    parser.add_argument("build", nargs="+")
    args = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    counts = Counts()
    without = set(filter(None, args.without.split(",")))
    for build in args.build:
        print(f"== {build}" + (f", {args.runner}" if args.runner else ""))
        for kind in args.kinds.split(","):
            for executable in sorted(pathlib.Path(build, "tests").glob(f"bloom_{kind}_*")):
                name = executable.name.split("_", 2)[2]
                if name in without or not os.access(executable, os.X_OK) or executable.is_dir():
                    continue
                if kind == "fuzz":
                    corpus = root / "tests" / "fuzz" / "corpus" / name
                    run_script(executable.name, [str(executable), str(corpus)], counts)
                else:
                    run_gtest(executable, counts, args.timeout_s, shlex.split(args.runner))
        if args.scripts:
            run_script("layers", [sys.executable, str(root / "tools/check_layers.py")], counts)
            run_script("headers", [sys.executable, str(root / "tools/check_headers.py")], counts)
            run_script("bench_compare", [sys.executable, str(root / "tests/tools/bench_compare_test.py")], counts)
            run_script("format", [str(root / "tools/check_format")], counts)
            run_script("isa objects", [str(root / "tools/check_isa_objects.sh"), build], counts)
    if args.counts:
        with open(args.counts, "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # calls may run side by side
            file.seek(0)
            before = json.loads(file.read() or "[0, 0, 0]")
            file.truncate(0)
            file.write(json.dumps([before[0] + counts.passed, before[1] + counts.failed, before[2] + counts.skipped]))
    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped")
    return 1 if counts.failed or counts.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
