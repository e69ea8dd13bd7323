#!/usr/bin/env python3
"""Makes the golden models of tests/golden/engine/data: small random transformers in every container and
weight format the engine reads, with logits and greedy continuations from an independent float64 reference.
A family of models is a module of tools/golden/families.

Usage: tools/make_golden.py [OUT_DIR] [--case NAME]... [--self-check]. Needs python3-torch and python3-numpy.
The same script and library versions give the same files; seeds are recorded in each golden.json."""
import argparse
import json
import pathlib
import shutil
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from golden import families, vocab, writers  # noqa: E402

TOLERANCE = 1e-3  # of the norm of the logits
MARGIN = 20 * TOLERANCE  # of their root mean square, between the best two at every greedy step
SENSITIVITY = 3e-4  # largest change of the int8 logits when all other arithmetic is float32
ROUTE_MARGIN = 5e-3  # of every choice of experts, where a prompt must come out the same
LAYER_ROUTE_MARGIN = 0.03  # of a position that is compared after one layer
N_GREEDY = 16
N_NOISY = 3  # references with noise, in families that want them
MIN_DISTINCT = 6  # different tokens in a greedy continuation
PROMPTS = [(5, 5), (18, 18), (67, 24)]  # tokens, positions whose logits are kept (the last ones)
CLEARANCE = 3e-5  # of an activation from the edge between two codes, in codes
LAYER_TOLERANCE, LAYER_EDGES = 1e-4, 2  # positions of a layer that noise may move by more than that
LAYER_NOISE = 5  # times the family's
LONG = 32  # prompts beyond it have roundings on an edge somewhere: their layers are also compared one by one


# --- prompts -------------------------------------------------------------------------------------------
def greedy(reference, text_ids, ids, int8):
    """(continuation, smallest margin in units of the logits' root mean square), or None where two
    candidates are too close to call, a router nearly chooses another expert, a special or padding token would
    win (an engine may mask those or stop there) or the text says the same thing over and over."""
    ids, out, smallest = list(ids), [], np.inf
    for _ in range(N_GREEDY):
        logits, route_margin = reference.run(ids, int8)
        last = logits[-1].numpy()
        best = np.sort(last)[-2:]
        margin = (best[1] - best[0]) / np.sqrt(np.mean(last * last))
        ordinary = text_ids[0] <= last.argmax() < text_ids[1]
        if margin < MARGIN or not ordinary or route_margin < ROUTE_MARGIN / (1 if int8 else 20):
            return None
        smallest = min(smallest, margin)
        out.append(int(last.argmax()))
        ids.append(out[-1])
    return (out, smallest) if len(set(out)) >= MIN_DISTINCT else None


def relative(a, b):
    return float((a - b).norm() / b.norm())


def sensitivity_of(roughs, ids, logits, most):
    """The largest change of the int8 logits in other arithmetic; the first one above `most` will do."""
    largest = 0.0
    for rough in roughs:
        largest = max(largest, relative(rough.logits(ids, True).double(), logits))
        if largest > most:
            break
    return largest


def same_text(noisy, ids, text):
    """Whether int8 decoding with noise says the same."""
    ids = list(ids)
    for token in text:
        if int(noisy.logits(ids, True)[-1].argmax()) != token:
            return False
        ids.append(token)
    return True


def draw_prompt(reference, roughs, text_ids, rng, length, modes, steady=()):
    """Prompts at random until one passes; (ids, {mode: (logits, continuation, margin)}, draws, change of the
    int8 logits in other arithmetic)."""
    for draws in range(1, 4000):
        ids = [int(t) for t in rng.integers(*text_ids, length)]
        results = {}
        for mode in modes:
            text = greedy(reference, text_ids, ids, mode == "int8")
            if text is None:
                break
            results[mode] = (reference.logits(ids, mode == "int8"), *text)
        if len(results) < len(modes):
            continue
        sensitivity = sensitivity_of(roughs, ids, results["int8"][0], SENSITIVITY) if "int8" in modes else 0.0
        if sensitivity > SENSITIVITY:
            continue
        if "int8" in modes and not all(same_text(noisy, ids, results["int8"][1]) for noisy in steady):
            continue
        return ids, results, draws, sensitivity
    raise SystemExit("no prompt passes; change the seed")


def layer_input(reference, ids, layer):
    """Hidden states before a layer as float16, and so before every one below it."""
    h = reference.embed(ids)
    for i in range(layer):
        h, _ = reference.layer(i, h.to(torch.float32).to(torch.float16).to(reference.dtype), True)
    return h.to(torch.float32).to(torch.float16)


def stands(reference, noisy, layer, h, positions):
    """Whether what enters keys, values or a state is clear of edges, in families that can tell; in others, whether
    the layer's results are the same in references with noise, but for few of the positions."""
    if hasattr(reference, "edge"):
        return reference.edge(layer, h) >= CLEARANCE
    true = reference.layer(layer, h, True)[0][positions]
    for other in noisy:
        error = (other.layer(layer, h, True)[0][positions] - true).norm(dim=-1) / true.norm(dim=-1)
        if int((error > LAYER_TOLERANCE).sum()) > LAYER_EDGES:
            return False
    return True


def layer_checks(reference, noisy, ids, kept, case_dir, redraw):
    """Each layer by itself in int8: hidden states before it (float16, exact for the reference too) and after it
    at the last positions, those left out where the router nearly chooses another expert. Where a rounding on an edge
    would show at more than its own position, the layer gets a prompt of its own."""
    out = []
    for i in range(reference.c.n_layers):
        prompt = ids
        while True:
            h = layer_input(reference, prompt, i)
            after, margin = reference.layer(i, h.to(reference.dtype), True)
            positions = [p for p in range(len(ids) - kept, len(ids)) if margin is None or margin[p] > LAYER_ROUTE_MARGIN]
            if stands(reference, noisy, i, h.to(reference.dtype), positions):
                break
            prompt = redraw()
        (case_dir / f"layer_{i}_in.bin").write_bytes(h.numpy().astype("<f2").tobytes())
        after = after[positions].to(torch.float32)
        (case_dir / f"layer_{i}_out.bin").write_bytes(after.numpy().astype("<f4").tobytes())
        entry = {"positions": positions, "in_file": f"layer_{i}_in.bin", "out_file": f"layer_{i}_out.bin"}
        out.append(entry if prompt is ids else {"ids": prompt} | entry)
    return out


def weight_checks(values):
    """One number for each weight that depends on every element and its place: a loader that reads a wrong
    row, scale or type is found before any logits are computed."""
    out = {}
    for name, value in values.items():
        matrix = np.atleast_2d(writers.rows_of(value))
        row, column = np.indices(matrix.shape)
        out[name] = float((matrix * ((row * 31 + column * 17) % 97 + 1)).sum())
    return out


# --- cases ---------------------------------------------------------------------------------------------
def write_model(family, case, weights, case_dir):
    """(what was written, path of the model in case_dir)."""
    if case["container"] == "gguf":
        written, model = family.write_gguf(case, case["config"], weights), "model.gguf"
    else:
        written, model = family.write_directory(case, case["config"], weights), "model"
        (case_dir / model).mkdir()
    for file, raw in written.files.items():
        (case_dir / (file if model == file else f"{model}/{file}")).write_bytes(raw)
    return written, model


def others(family, c, written):
    """References that compute with other roundings than the true one."""
    out = [family.Reference(c, written.values, written.formats, **written.extra, dtype=torch.float32)]
    if hasattr(family, "NOISE"):
        n = getattr(family, "N_NOISY", N_NOISY)
        out += [family.Reference(c, written.values, written.formats, **written.extra) for _ in range(n)]
        for seed, noisy in enumerate(out[1:]):
            noisy.noise = family.NOISE
            noisy.generator.manual_seed(seed)
    return out


def make_case(family, name, case, out_dir):
    c, seed = case["config"], case["seed"]
    vocabulary = getattr(family, "VOCABULARY", vocab)
    case_dir = out_dir / name
    shutil.rmtree(case_dir, ignore_errors=True)
    case_dir.mkdir(parents=True)
    written, model = write_model(family, case, family.random_weights(c, seed), case_dir)
    reference = family.Reference(c, written.values, written.formats, **written.extra)
    roughs = others(family, c, written)
    rng = np.random.Generator(np.random.PCG64(seed + 1000))
    redrawn = np.random.Generator(np.random.PCG64(seed + 2000))

    def redraw(length):
        return [int(t) for t in redrawn.integers(*vocabulary.TEXT_IDS, length)]

    prompts = []
    layers = None
    for i, (length, kept) in enumerate(PROMPTS):
        # One activation on an edge may send a token to other experts, so long prompts stay precise there.
        # In a deep model some activation lies on an edge even of a short prompt: case["int8_tokens"] is the limit.
        rounded = length <= case.get("int8_tokens", LONG if c.n_experts else length)
        modes = ("precise", "int8") if rounded else ("precise",)
        ids, results, draws, sensitivity = draw_prompt(reference, roughs, vocabulary.TEXT_IDS, rng, length, modes,
                                                       steady=roughs[: getattr(family, "N_STEADY", 0)])
        entry = {"ids": ids, "n_logits_positions": kept}
        for mode, (logits, text, margin) in results.items():
            file = f"{mode}_{i}.bin"
            (case_dir / file).write_bytes(logits[-kept:].to(torch.float32).numpy().astype("<f4").tobytes())
            entry[f"{mode}_logits_file"] = file
            entry[f"greedy_{mode}"] = text
        entry["min_margin"] = round(float(min(margin for _, _, margin in results.values())), 6)
        prompts.append(entry)
        if length > LONG:
            noisy = roughs[1:]
            for other in noisy:
                other.noise = LAYER_NOISE * family.NOISE
            layers = {"ids": ids, "layers": layer_checks(reference, noisy, ids, kept, case_dir, lambda: redraw(length))}
            for other in noisy:
                other.noise = family.NOISE
        precise = results["precise"][0]
        print(f"{name}: {length} tokens, {draws} draws, logits rms {precise.pow(2).mean().sqrt():.2f}, "
              f"int8 differs by {relative(reference.logits(ids, True), precise):.1e}, float32 by {sensitivity:.1e}",
              flush=True)
    golden = {"model": model, "kind": case["kind"], "container": case["container"], "arch": c.arch, "seed": seed,
              "vocab_rows": c.rows, "n_tokens": vocabulary.N_TOKENS, "tolerance": TOLERANCE, "prompts": prompts,
              "layer_checks": layers,
              "weight_checks": weight_checks(written.values | written.stored)}
    if hasattr(family, "add_checks"):
        family.add_checks(case, reference, roughs, golden, case_dir)
    (case_dir / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def main():
    modules = families.modules().values()
    names = [name for family in modules for name in [*family.CASES, *getattr(family, "EXTRAS", ())]]
    parser = argparse.ArgumentParser(description=__doc__)
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("out_dir", nargs="?", type=pathlib.Path, default=root / "tests/golden/engine/data")
    parser.add_argument("--case", choices=sorted(names), action="append")
    parser.add_argument("--self-check", action="store_true", help="only check the references against themselves")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for family in modules:
        if args.self_check:
            getattr(family, "self_check", lambda: None)()
            continue
        for name, case in family.CASES.items():
            if args.case is None or name in args.case:
                make_case(family, name, case, args.out_dir)
        for name, make in getattr(family, "EXTRAS", {}).items():
            if args.case is None or name in args.case:
                make(args.out_dir)
    if not args.self_check:
        cases = sorted(path.parent.name for path in args.out_dir.glob("*/golden.json"))
        (args.out_dir / "index.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
