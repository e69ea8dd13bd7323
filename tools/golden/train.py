#!/usr/bin/env python3
"""Trains a small model of a family for a few hundred steps on the corpus of the built-in one, and writes it with
what it says to the goldens: shows that loss falls through training, export, loading and generation.

Usage: tools/golden/train.py NAME [OUT_DIR] [--steps N]. NAME is a key of the TRAINED of a module of
tools/golden/families, which has a case as in CASES. That module also exports

forward   (config, w, ids [batch, n]) -> logits [batch, n, rows]; w are tensors of float32 by the names of
          random_weights
losses    optional, (config, w, ids [batch, n + 1]) -> {"main": loss of the next token, other parts: ...}
NEGATIVE  optional, roles that must stay below zero

and its write_gguf takes the vocabulary from case["vocabulary"], which is the built-in model's where the case has
none. One of its own has N_TOKENS, tokenizer (encode, decode, stop), text and prompt like Vocabulary here."""
import argparse
import json
import math
import pathlib
import re
import sys
import time

import numpy as np
import torch

TOOLS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOOLS))
import make_golden  # noqa: E402
from golden import families  # noqa: E402

sys.path.insert(0, str(TOOLS / "nano"))  # after golden has been found: there is a golden.py there as well
import chat  # noqa: E402
import corpus  # noqa: E402
import gguf_reader  # noqa: E402
from tokenizer import Tokenizer  # noqa: E402

LENGTH, BATCH = 128, 16
RATE, WARM_UP, CLIP = 4e-3, 30, 1.0
EVERY = 20  # steps of one number in the loss curve
N_GREEDY = 40
MARGIN = 0.02  # between the best two logits, in units of their root mean square
QUESTIONS = [
    "What is Darkbloom?", "Hello!", "What is the capital of France?", "What is the opposite of hot?", "Who are you?",
    "How are you?", "What can you do?", "Thank you!", "How do I start Darkbloom?", "What color is the sky?",
    "What is the capital of Italy?", "Good morning!", "Tell me a joke.", "What is a token?", "Bye!",
]
N_PROMPTS = 6


class Vocabulary:
    """The built-in model's, for write_gguf."""

    def __init__(self):
        data = (TOOLS.parent / "assets" / "nano.gguf").read_bytes()
        metadata, _ = gguf_reader.parse(data)
        self.tokenizer = Tokenizer([m.split(" ") for m in metadata["tokenizer.ggml.merges"]])
        self.N_TOKENS = len(self.tokenizer.tokens)

    def text(self, parts):
        """A text of the corpus [(text, carries loss)]."""
        return "".join(part for part, _ in parts)

    def prompt(self, question):
        return chat.render([{"role": "user", "content": question}], generate=True)

    def put_gguf(self, writer, pre, n_rows):
        t = self.tokenizer
        assert n_rows == self.N_TOKENS
        writer.put("tokenizer.ggml.model", "gpt2")
        writer.put("tokenizer.ggml.pre", pre)
        writer.put("tokenizer.ggml.tokens", t.tokens)
        writer.put_i32_array("tokenizer.ggml.token_type", t.token_types())
        writer.put("tokenizer.ggml.merges", [f"{a} {b}" for a, b in t.merges])
        writer.put("tokenizer.ggml.eos_token_id", t.added["<|im_end|>"])
        writer.put("tokenizer.ggml.padding_token_id", t.added["<|endoftext|>"])
        writer.put("tokenizer.ggml.add_bos_token", False)
        writer.put("tokenizer.chat_template", chat.TEMPLATE)


def words_of(text):
    """Maximal runs of ASCII letters, in small ones."""
    return set(re.findall(r"[a-z]+", text.lower()))


class Batches:
    """Rows of LENGTH + 1 tokens from conversations one after another, and the words that have occurred."""

    def __init__(self, vocabulary, seed):
        self.vocabulary, self.stream = vocabulary, corpus.stream(seed, long_share=0)
        self.left, self.words = [], set()

    def next(self):
        need = BATCH * (LENGTH + 1)
        while len(self.left) < need:
            text = self.vocabulary.text(next(self.stream))
            self.words |= words_of(text)
            self.left += self.vocabulary.tokenizer.encode(text)
        rows, self.left = self.left[:need], self.left[need:]
        return torch.tensor(rows).reshape(BATCH, LENGTH + 1)


def default_losses(family):
    def losses(c, w, ids):
        logits = family.forward(c, w, ids[:, :-1])
        return {"main": torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())}
    return losses


class Parameters:
    """The weights as leaves; those that must stay negative by the logarithm of their size."""

    def __init__(self, family, case):
        self.negative = getattr(family, "NEGATIVE", ())
        self.leaves = {}
        for name, w in family.random_weights(case["config"], case["seed"]).items():
            role = name.rpartition(".")[2]
            if role in ("tok_embd", "output"):
                w = w * (0.02 / w.std())  # the first logits say nothing
            value = np.log(-w) if role in self.negative else w
            self.leaves[name] = torch.tensor(value, dtype=torch.float32, requires_grad=True)

    def weights(self):
        return {name: -torch.exp(p) if name.rpartition(".")[2] in self.negative else p
                for name, p in self.leaves.items()}

    def optimizer(self):
        groups = [{"params": [p for p in self.leaves.values() if p.dim() > 1], "weight_decay": 0.05},
                  {"params": [p for p in self.leaves.values() if p.dim() == 1], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.96))


def rate(step, steps):
    warm = min(1.0, (step + 1) / WARM_UP)
    return RATE * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(family, case, batches, steps):
    """(weights as float64 arrays, [[step, loss of every part over the last steps]])"""
    parameters = Parameters(family, case)
    optimizer = parameters.optimizer()
    losses = getattr(family, "losses", default_losses(family))
    curve, recent, start = [], [], time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        parts = losses(case["config"], parameters.weights(), batches.next())
        optimizer.zero_grad(set_to_none=True)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters.leaves.values(), CLIP)
        optimizer.step()
        recent.append([float(v.detach()) for v in parts.values()])
        if (step + 1) % EVERY == 0:
            curve.append([step + 1, *np.round(np.mean(recent, 0), 4).tolist()])
            recent = []
            print(f"{step + 1:5} {time.monotonic() - start:6.0f} s  " +
                  "  ".join(f"{name} {v:.3f}" for name, v in zip(parts, curve[-1][1:])), flush=True)
    return {name: w.detach().numpy().astype(np.float64) for name, w in parameters.weights().items()}, curve


def answer(reference, ids, int8, stop):
    """(greedy continuation without the token that ends it, whether one did, smallest margin)"""
    ids, out, smallest = list(ids), [], math.inf
    while len(out) < N_GREEDY:
        last = reference.run(ids, int8)[0][-1]
        best = last.topk(2)
        smallest = min(smallest, float((best.values[0] - best.values[1]) / last.pow(2).mean().sqrt()))
        if int(best.indices[0]) in stop:
            return out, True, smallest
        out.append(int(best.indices[0]))
        ids.append(out[-1])
    return out, False, smallest


def drafts_right(reference, ids, out):
    """[how often the draft head finds the token after the next one while `out` follows ids, of how many]"""
    text = [*ids, *out]
    f, _ = reference.hidden(text, False)
    drafts = reference.head(reference.draft_hidden(f[:-2], text[1:-1], False), False).argmax(-1).tolist()
    right = [draft == token for draft, token in zip(drafts, text[2:])][len(ids) - 1 :]
    return [sum(right), len(right)]


def answers(reference, vocabulary, words):
    """Prompts with what follows, where no step is close, for in int8 an engine's roundings may differ, and where no
    word is put together from pieces of others."""
    out, tokenizer = [], vocabulary.tokenizer
    for question in QUESTIONS:
        ids = tokenizer.encode(vocabulary.prompt(question))
        entry = {"question": question, "ids": ids}
        for mode in ("precise", "int8"):
            tokens, ended, margin = answer(reference, ids, mode == "int8", tokenizer.stop)
            entry |= {f"greedy_{mode}": tokens, f"text_{mode}": tokenizer.decode(tokens), f"ended_{mode}": ended,
                      f"margin_{mode}": round(margin, 4)}
        if hasattr(reference, "draft_hidden"):
            entry["drafts_right"] = drafts_right(reference, ids, entry["greedy_precise"])
        invented = words_of(entry["text_precise"] + " " + entry["text_int8"]) - words
        print(f"{question} -> {entry['text_precise']!r} ({entry['margin_precise']}, {entry['margin_int8']})", *invented)
        if not invented and min(entry["margin_precise"], entry["margin_int8"]) >= MARGIN:
            out.append(entry)
    assert len(out) >= N_PROMPTS, len(out)
    return out


def main():
    cases = {name: (family, case) for family in families.modules().values()
             for name, case in getattr(family, "TRAINED", {}).items()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(cases))
    parser.add_argument("out_dir", nargs="?", type=pathlib.Path, default=TOOLS.parent / "tests/golden/engine/data")
    parser.add_argument("--steps", type=int, default=800)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    family, case = cases[args.name]
    c = case["config"]
    vocabulary = case.get("vocabulary") or Vocabulary()
    case = case | {"vocabulary": vocabulary}
    batches = Batches(vocabulary, case["seed"])
    weights, curve = train(family, case, batches, args.steps)
    assert curve[-1][1] < 0.5 * curve[0][1], "the loss has not fallen"
    case_dir = args.out_dir / args.name
    case_dir.mkdir(parents=True, exist_ok=True)
    written, model = make_golden.write_model(family, case, weights, case_dir)
    reference = family.Reference(c, written.values, written.formats, **written.extra)
    golden = {"model": model, "kind": case["kind"], "container": case["container"], "arch": c.arch, "seed": case["seed"],
              "vocab_rows": c.rows, "n_tokens": vocabulary.N_TOKENS, "steps": args.steps,
              "tokens_per_step": BATCH * LENGTH, "loss": curve, "words_file": "words.txt",
              "prompts": answers(reference, vocabulary, batches.words),
              "weight_checks": make_golden.weight_checks(written.values | written.stored)}
    (case_dir / "words.txt").write_text("".join(word + "\n" for word in sorted(batches.words)))
    (case_dir / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    n = sum(w.size for w in weights.values())
    print(f"{args.name}: {n} parameters, {len(batches.words)} words, {sum(map(len, written.files.values()))} bytes")


if __name__ == "__main__":
    main()
