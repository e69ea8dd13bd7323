#!/usr/bin/env python3
"""Checks the direction of every include: a module may only use what lies below it.

usage: tools/check_layers.py [ROOT]      exit status 1 and one line for each breach
"""
import pathlib
import re
import sys

# module -> the modules it may include besides itself. Kept as the full set, not the direct ones,
# so that a new edge is a visible decision.
LOW = {"base", "hw", "json", "crypto"}
SHARED = LOW | {"gen", "text", "dialect"}
ALLOWED = {
    "base": set(),
    "hw": {"base"},
    "json": {"base"},
    "crypto": {"base"},
    "gen": {"base"},
    "text": LOW | {"gen"},
    "dialect": LOW | {"gen", "text"},
    "attest": LOW | {"gen"},
    "rt": SHARED,
    "net": SHARED | {"rt"},
    "http": SHARED | {"rt", "net"},
    "sse": SHARED | {"rt", "net", "http"},
    "kernels": set(),
    "compute": LOW | {"kernels"},
    "engine": SHARED | {"kernels", "compute"},
}
NET = SHARED | {"rt", "net", "http", "sse"}
ALLOWED["store"] = NET
ALLOWED["fit"] = LOW
ALLOWED["auth"] = NET | {"store"}
ALLOWED["registry"] = NET | {"store"}
ALLOWED["scheduler"] = NET | {"store", "auth", "registry"}
ALLOWED["provider"] = ALLOWED["scheduler"] | {"kernels", "compute", "engine"}
ALLOWED["api"] = ALLOWED["scheduler"] | {"scheduler", "provider", "attest", "fit"}
# What measures: kernels and engine on one side, a client of a running node on the other.
ALLOWED["measure"] = NET | {"kernels", "compute", "engine"}
EVERYTHING = set(ALLOWED)
ALLOWED["node"] = EVERYTHING
ALLOWED["cli"] = EVERYTHING | {"node"}
ALLOWED["main"] = EVERYTHING | {"node", "cli"}

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')


def module_of(path: pathlib.PurePath) -> str | None:
    parts = path.parts
    if parts[0] == "kernels":
        return "kernels"
    if parts[:2] == ("include", "bloom"):
        return parts[2]
    if parts == ("src", "node", "main.cpp"):
        return "main"
    if parts[0] == "src":
        return parts[1]
    return None


def target_of(include: str) -> str | None:
    parts = pathlib.PurePosixPath(include).parts
    if len(parts) > 2 and parts[0] == "bloom":
        return parts[1]
    if len(parts) > 1 and parts[0] == "kernels":
        return "kernels"
    if len(parts) > 1 and parts[0] in ALLOWED:
        return parts[0]
    return None


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    breaches = files = 0
    for folder in ("include", "src", "kernels"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in {".hpp", ".cpp", ".h", ".inc"}:
                continue
            files += 1
            relative = path.relative_to(root)
            module = module_of(relative)
            if module not in ALLOWED:
                print(f"{relative}: module {module!r} is not in the layer table")
                breaches += 1
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                match = INCLUDE.match(line)
                target = match and target_of(match.group(1))
                if target and target != module and target not in ALLOWED[module]:
                    print(f"{relative}:{number}: {module} may not include {target}")
                    breaches += 1
    print(f"{files} files, {breaches} breaches")
    return 1 if breaches or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
