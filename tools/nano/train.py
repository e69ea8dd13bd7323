"""Trains nano. Same command, same machine, same thread count: same weights.

The learning rate warms up, stays, and falls along a cosine from --decay-from to --steps. From
--quantize-from on, every forward and backward pass sees the weights as the exported file will hold
them, while the update goes to the f32 master.
"""

import argparse
import contextlib
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
import families
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


class Trainer:
    """Model, optimizer and position in the stream: all that a checkpoint holds."""

    def __init__(self, options):
        self.options = options
        config = Config()
        self.tokenizer = make_tokenizer(options.out / "tokenizer.json", config.vocab)
        self.model = Nano(config)
        self.model.initialise(options.seed)
        parameters = list(self.model.parameters())
        groups = [{"params": [p for p in parameters if p.dim() == 2], "weight_decay": 0.05},
                  {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), foreach=True)
        self.quantized = QuantizedWeights(self.model)
        self.step = self.pool = self.tokens = 0
        self.seconds = 0.0

    def path(self):
        return self.options.out / "checkpoint.pt"

    def save(self):
        # The next pool follows a resumed run: the rest of an interrupted one is skipped.
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
                 "pool": self.pool + 1, "tokens": self.tokens, "seconds": self.seconds}
        temporary = self.path().with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path())

    def resume(self):
        state = torch.load(self.path())
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.pool, self.tokens = state["step"], state["pool"], state["tokens"]
        self.seconds = state["seconds"]

    def weights(self):
        """The weights that the network runs on at this step."""
        quantize = self.step >= self.options.quantize_from
        return self.quantized if quantize else contextlib.nullcontext()

    def train(self, batch):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.options)
        self.optimizer.zero_grad(set_to_none=True)
        with self.weights():
            loss, _ = loss_of(self.model, batch)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.tokens += sum(len(ids) for ids, _ in batch)
        self.step += 1
        return float(loss.detach())


def run(trainer, writer, log):
    options = trainer.options
    held_out = sorted((encode(trainer.tokenizer, parts) for _, parts in zip(range(256), corpus.validation())),
                      key=lambda e: len(e[0]))
    start, losses = time.monotonic() - trainer.seconds, []
    end = min(options.steps, options.stop_at)
    while trainer.step < end:
        for batch in batches(trainer.tokenizer, options.seed, trainer.pool, options.batch_tokens):
            losses.append(trainer.train(batch))
            trainer.seconds = time.monotonic() - start
            if trainer.step % 50 == 0:
                print(f"{trainer.step:6} {trainer.tokens / 1e6:7.2f} Mtok {trainer.seconds:7.1f} s"
                      f"  loss {sum(losses[-50:]) / 50:.4f}", flush=True)
            if trainer.step % options.checkpoint_every == 0 or trainer.step == end:
                with trainer.weights():
                    held = validate(trainer.model, held_out)
                rate = learning_rate(trainer.step - 1, options)
                writer.writerow([trainer.step, trainer.tokens, round(trainer.seconds), f"{rate:.2e}",
                                 f"{sum(losses) / len(losses):.4f}", f"{held:.4f}", f"{math.exp(held):.4f}"])
                log.flush()
                print(f"{trainer.step:6} held-out loss {held:.4f} perplexity {math.exp(held):.4f}", flush=True)
                losses = []
                trainer.save()
            if trainer.step == end:
                return
        trainer.pool += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/nano"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4200, help="length of the schedule")
    parser.add_argument("--stop-at", type=int, default=1 << 30, help="leave the schedule at this step")
    parser.add_argument("--decay-from", type=int, default=2500)
    parser.add_argument("--quantize-from", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--numbers", type=float, default=1.0, help="draw sums and counting this much more often")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--checkpoint-every", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    families.emphasise_numbers(options.numbers)
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options)
    if options.resume:
        trainer.resume()
    with open(options.out / "loss.csv", "a" if options.resume else "w", newline="") as log:
        writer = csv.writer(log, lineterminator="\n")
        if not options.resume:
            writer.writerow(["step", "tokens", "seconds", "lr", "train_loss", "heldout_loss", "heldout_perplexity"])
        run(trainer, writer, log)


if __name__ == "__main__":
    main()
