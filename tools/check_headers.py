#!/usr/bin/env python3
"""Compiles every public header alone: each must bring what it needs.

usage: tools/check_headers.py [--compiler clang++-19] [ROOT]
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", default=os.environ.get("CXX", "clang++-19"))
    parser.add_argument("root", nargs="?", default=pathlib.Path(__file__).resolve().parent.parent)
    args = parser.parse_args()
    root = pathlib.Path(args.root)
    headers = sorted((root / "include").rglob("*.hpp")) + sorted((root / "kernels").glob("*.hpp"))
    command = [args.compiler, "-std=c++23", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
               "-Wno-pragma-once-outside-header", f"-I{root}/include", f"-I{root}"]

    def compile_alone(header: pathlib.Path) -> tuple[pathlib.Path, str]:
        done = subprocess.run([*command, "-x", "c++", str(header)], capture_output=True, text=True)
        return header, done.stderr if done.returncode else ""

    failures = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for header, errors in pool.map(compile_alone, headers):
            if errors:
                failures += 1
                print(f"{header.relative_to(root)} does not compile alone:\n{errors}")
    print(f"{len(headers)} headers, {failures} failures")
    return 1 if failures or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
