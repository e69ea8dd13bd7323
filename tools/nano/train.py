"""Trains nano. Same command, same machine, same thread count: same weights.

The learning rate warms up, stays, and falls along a cosine from --decay-from to --steps. From --quantize-from on, every
forward and backward pass sees the weights as the exported file will hold them, while the update goes to the f32 master.
"""

import argparse
import csv
import math
import os
import pathlib
import random
import re
import time

import torch
import torch.nn.functional as F

import corpus
import q8
from model import Config, Nano
from tokenizer import CONTROL, USER_DEFINED, Tokenizer, train as train_tokenizer

LONGEST = 2048
ADDED = re.compile("|".join(re.escape(t) for t in CONTROL + USER_DEFINED))
POOL = 1024  # Conversations that are sorted by length together, so that batches need little padding.


def make_tokenizer(path, vocab, conversations=60_000):
    if not path.exists():
        texts = ("".join(p for p, _ in parts) for _, parts in zip(range(conversations), corpus.stream(7)))
        # Added tokens are matched before any merge, so their letters must not count.
        train_tokenizer((piece for text in texts for piece in ADDED.split(text)), vocab).save(path)
    return Tokenizer.load(path)


def encode(tokenizer, parts):
    ids, loss = [], []
    for text, carries in parts:
        part = tokenizer.encode(text)
        ids += part
        loss += [carries] * len(part)
    return ids[:LONGEST], loss[:LONGEST]


def batches(tokenizer, seed, pool, tokens):
    """The batches of one pool, in random order: lists of (ids, loss) with padded size at most `tokens`."""
    stream = corpus.stream(seed * 1_000_003 + pool)
    examples = sorted((encode(tokenizer, parts) for _, parts in zip(range(POOL), stream)), key=lambda e: len(e[0]))
    result, batch = [], []
    for example in examples:
        if batch and (len(batch) + 1) * len(example[0]) > tokens:
            result.append(batch)
            batch = []
        batch.append(example)
    result.append(batch)
    random.Random(seed + pool).shuffle(result)
    return result


def collate(batch):
    """Inputs [b, t]; flat positions that carry loss; their targets."""
    width = max(len(ids) for ids, _ in batch)
    tokens = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.bool)
    for i, (ids, loss) in enumerate(batch):
        tokens[i, :len(ids)] = torch.tensor(ids)
        mask[i, :len(ids)] = torch.tensor(loss)
    positions = mask[:, 1:].reshape(-1).nonzero()[:, 0]
    return tokens[:, :-1], positions, tokens[:, 1:].reshape(-1)[positions]


def loss_of(model, batch, reduction="mean"):
    tokens, positions, targets = collate(batch)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.hidden(tokens).reshape(-1, model.config.dim)[positions]
        logits = model.logits(hidden)
    return F.cross_entropy(logits.float(), targets, reduction=reduction), len(targets)


@torch.no_grad()
def validate(model, examples):
    total, count = 0.0, 0
    for i in range(0, len(examples), 32):
        loss, n = loss_of(model, examples[i:i + 32], "sum")
        total, count = total + float(loss), count + n
    return total / count


def learning_rate(step, options):
    rate = options.lr * min(1.0, (step + 1) / 150)
    if step >= options.decay_from:
        progress = (step - options.decay_from) / max(1, options.steps - options.decay_from)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return rate


class QuantizedWeights:
    """While active, matrices hold their Q8_0 round trip."""

    def __init__(self, model):
        self.matrices = [p for p in model.parameters() if p.dim() == 2]

    def __enter__(self):
        self.masters = [p.data for p in self.matrices]
        for p in self.matrices:
            p.data = q8.round_trip(p.data)

    def __exit__(self, *_):
        for p, master in zip(self.matrices, self.masters):
            p.data = master


def save(path, **state):
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/nano"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--decay-from", type=int, default=5000)
    parser.add_argument("--quantize-from", type=int, default=7500)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--checkpoint-every", type=int, default=250)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    config = Config()
    tokenizer = make_tokenizer(options.out / "tokenizer.json", config.vocab)
    model = Nano(config)
    model.initialise(options.seed)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=options.lr, betas=(0.9, 0.98), foreach=True)
    step = pool = tokens = 0
    seconds = 0.0
    if options.resume:
        state = torch.load(options.out / "checkpoint.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, pool, tokens, seconds = state["step"], state["pool"], state["tokens"], state["seconds"]
    held_out = sorted((encode(tokenizer, p) for _, p in zip(range(256), corpus.stream(99, validation=True, long_share=0))),
                      key=lambda e: len(e[0]))
    quantized = QuantizedWeights(model)
    log = open(options.out / "loss.csv", "a" if options.resume else "w", newline="")
    writer = csv.writer(log)
    if not options.resume:
        writer.writerow(["step", "tokens", "seconds", "lr", "train_loss", "heldout_loss", "heldout_perplexity"])
    start, recent = time.monotonic() - seconds, []
    while step < options.steps:
        # A checkpoint holds the number of the next pool: the rest of an interrupted pool is skipped.
        for batch in batches(tokenizer, options.seed, pool, options.batch_tokens):
            rate = learning_rate(step, options)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            if step >= options.quantize_from:
                with quantized:
                    loss, _ = loss_of(model, batch)
                    loss.backward()
            else:
                loss, _ = loss_of(model, batch)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            recent.append(float(loss.detach()))
            tokens += sum(len(ids) for ids, _ in batch)
            step += 1
            if step % 50 == 0:
                print(f"{step:6} {tokens / 1e6:7.2f} Mtok {time.monotonic() - start:7.1f} s  lr {rate:.2e}  loss {sum(recent[-50:]) / 50:.4f}", flush=True)
            if step % options.checkpoint_every == 0 or step == options.steps:
                if step >= options.quantize_from:
                    with quantized:
                        held = validate(model, held_out)
                else:
                    held = validate(model, held_out)
                seconds = time.monotonic() - start
                writer.writerow([step, tokens, round(seconds), f"{rate:.2e}", f"{sum(recent) / len(recent):.4f}", f"{held:.4f}", f"{math.exp(held):.4f}"])
                log.flush()
                recent = []
                print(f"{step:6} held-out loss {held:.4f} perplexity {math.exp(held):.4f}", flush=True)
                save(options.out / "checkpoint.pt", model=model.state_dict(), optimizer=optimizer.state_dict(), step=step, pool=pool + 1,
                     tokens=tokens, seconds=seconds)
            if step >= options.steps:
                break
        pool += 1


if __name__ == "__main__":
    main()
