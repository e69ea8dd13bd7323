#!/usr/bin/env python3
"""Compares two sets of benchmark figures written by `darkbloom bench ... --json`.

usage: tools/bench_compare.py BEFORE.json AFTER.json [--metric NAME] [--fail-below 0.97] [--json]
Either side may be several runs: A1.json,A2.json,A3.json. Take turns when running them (A B A B A B): a machine
changes while it works. Rows are matched by what they measure (op, shape, format, n, batch, depth, ...). A side's
figure is the median of its runs; its noise the spread of the runs, or of a run's own repetitions where there are
fewer than three runs. A change is marked when it is larger than twice the noise of both sides together.
Exit status: 0; 1 when --fail-below names a ratio and a row is below it; 2 for unusable files.
"""
import argparse
import json
import statistics
import sys

IDENTITY = ("op", "name", "model", "test", "shape", "format", "isa", "n", "batch", "depth", "context", "threads",
            "rate", "stream", "concurrency", "prompt_tokens", "max_tokens")
# What a row is judged by unless --metric says otherwise, and whether more is better. Ratios come first: they are
# what lasts on a machine whose speed changes.
METRICS = (("roof_ratio", True), ("tokens_per_s", True), ("overhead_us", False), ("ttft_ms.p50", False),
           ("ttft_ms.p99", False), ("gap_ms.p99", False), ("dot_gops", True), ("read_gb_per_s", True))
LESS_IS_BETTER = ("_us", "_ms", "seconds", ".p50", ".p90", ".p99", ".p999", ".max")
MAD_TO_DEVIATION = 1.4826
NOISE_MIN = 0.005
MARK_BEYOND = 2.0


class Unusable(Exception):
    pass


def value_of(row: dict, metric: str):
    at = row
    for part in metric.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return float(at) if isinstance(at, (int, float)) and not isinstance(at, bool) else None


def rows_of(path: str) -> list[dict]:
    """The rows of a file, each with what its file says about all of them."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as why:
        raise Unusable(f"{path}: {why}") from why
    if not isinstance(document, dict):
        raise Unusable(f"{path}: not the output of darkbloom bench --json")
    shared = {key: document[key] for key in ("model", "isa", "threads") if key in document}
    if "rows" in document:
        rows = document["rows"]
    elif "ceilings" in document:
        rows = document["ceilings"]
        shared["op"] = "ceiling"
    elif document.get("op") == "serve":
        rows = [document]
    else:
        raise Unusable(f"{path}: has no rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unusable(f"{path}: its rows are no objects")
    return [{**shared, **row} for row in rows]


def key_of(row: dict) -> tuple:
    return tuple((name, row[name]) for name in IDENTITY if name in row)


def default_metrics(row: dict) -> list[str]:
    if row.get("op") == "ceiling":
        return ["read_gb_per_s", "dot_gops"]
    if row.get("op") == "serve":
        return ["ttft_ms.p50", "ttft_ms.p99", "gap_ms.p99"]
    for metric, _ in METRICS:
        if value_of(row, metric) is not None:
            return [metric]
    return []


def more_is_better(metric: str) -> bool:
    return dict(METRICS).get(metric, not metric.endswith(LESS_IS_BETTER))


def own_noise(row: dict, metric: str) -> float:
    """Relative deviation within one run, where the row tells it."""
    value = value_of(row, metric)
    mad = value_of(row, metric + "_mad")
    if mad is None and metric in ("gb_per_s", "gops"):
        value, mad = value_of(row, "seconds"), value_of(row, "seconds_mad")
    return MAD_TO_DEVIATION * mad / value if value and mad else 0.0


def side_of(rows: list[dict], metric: str):
    """(figure, relative noise) of the runs of one row; None when no run has it."""
    values = [v for v in (value_of(row, metric) for row in rows) if v is not None]
    if not values:
        return None
    middle = statistics.median(values)
    if len(values) >= 3 and middle:
        noise = MAD_TO_DEVIATION * statistics.median(abs(v - middle) for v in values) / abs(middle)
    else:
        noise = max(own_noise(row, metric) for row in rows)
    return middle, noise


def collect(paths: list[str]) -> dict:
    out: dict = {}
    for path in paths:
        for row in rows_of(path):
            out.setdefault(key_of(row), []).append(row)
    return out


def compare(before: dict, after: dict, metric: str | None) -> list[dict]:
    lines = []
    for key, old_rows in before.items():
        new_rows = after.get(key)
        if new_rows is None:
            continue
        for name in [metric] if metric else default_metrics(old_rows[0]):
            old, new = side_of(old_rows, name), side_of(new_rows, name)
            if old is None or new is None or not old[0] or not new[0]:
                continue
            # Above 1 is better, whatever the figure.
            ratio = new[0] / old[0] if more_is_better(name) else old[0] / new[0]
            noise = max(NOISE_MIN, (old[1] ** 2 + new[1] ** 2) ** 0.5)
            beyond = abs(ratio - 1) > MARK_BEYOND * noise
            lines.append({"row": dict(key), "metric": name, "before": old[0], "after": new[0], "ratio": ratio,
                          "noise": noise, "mark": ("better" if ratio > 1 else "worse") if beyond else ""})
    return lines


def label_of(row: dict) -> str:
    skip = ("isa", "threads", "model")
    return " ".join(f"{k}={v}" if k not in ("op", "test", "name", "shape", "format") else str(v)
                    for k, v in row.items() if k not in skip)


def table_of(lines: list[dict]) -> str:
    width = max([len(label_of(line["row"])) for line in lines] + [3])
    out = [f"{'row':{width}}  {'metric':14} {'before':>11} {'after':>11}   ratio   noise"]
    for line in lines:
        out.append(f"{label_of(line['row']):{width}}  {line['metric']:14} {line['before']:11.4g} {line['after']:11.4g}"
                   f" {line['ratio']:7.3f} +-{line['noise']:.3f}  {line['mark']}".rstrip())
    return "\n".join(out)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--metric", help="judge every row by this figure, e.g. gb_per_s or ttft_ms.p99")
    parser.add_argument("--fail-below", type=float, help="exit 1 when a row's ratio is below this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        before, after = collect(options.before.split(",")), collect(options.after.split(","))
        lines = compare(before, after, options.metric)
        if not lines:
            raise Unusable("no row of one side is on the other")
    except Unusable as why:
        print(f"bench_compare: {why}", file=sys.stderr)
        return 2
    alone = [key for key in (*before, *after) if (key in before) != (key in after)]
    if options.json:
        print(json.dumps({"rows": lines, "unmatched": [dict(key) for key in alone]}))
    else:
        print(table_of(lines))
        for key in alone:
            print(f"only {'before' if key in before else 'after'}: {label_of(dict(key))}")
    low = [line for line in lines if options.fail_below is not None and line["ratio"] < options.fail_below]
    if low:
        print(f"bench_compare: {len(low)} of {len(lines)} below {options.fail_below}", file=sys.stderr)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
