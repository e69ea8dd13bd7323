"""Asks the held-out questions with a greedy f32 decode over the weights of the file, and prints the score.

Also: `--ask QUESTION` for one answer, `--perplexity` for the held-out conversations.
"""

import argparse
import json
import math
import pathlib

import torch

import chat
import corpus
import gguf_reader
import train


def answer(model, tokenizer, messages, **options):
    ids = tokenizer.encode(chat.render(messages, generate=True, **options))
    return tokenizer.decode(model.generate(ids, tokenizer.stop)[0])


def score(model, tokenizer):
    right = 0
    entries = corpus.load_heldout()
    for e in entries:
        reply = answer(model, tokenizer, [{"role": "user", "content": e["question"]}])
        ok = any(k.lower() in reply.lower() for k in e["any"])
        right += ok
        print(f"{'ok   ' if ok else 'WRONG'} {e['question']}\n      {reply}")
    print(f"{right} of {len(entries)}")


@torch.no_grad()
def perplexity(model, tokenizer, conversations=512):
    total, count = 0.0, 0
    for _, parts in zip(range(conversations), corpus.validation()):
        tokens, positions, targets = train.collate([train.encode(tokenizer, parts)])
        logits = model.logits(model.hidden(tokens)[0, positions])
        total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
        count += len(targets)
    print(f"held-out perplexity {math.exp(total / count):.4f} over {count} tokens of {conversations} conversations")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("assets/nano.gguf"))
    parser.add_argument("--ask", action="append", help="one question of your own; several continue the conversation")
    parser.add_argument("--thinking", action="store_true")
    parser.add_argument("--tools", type=pathlib.Path, help="JSON list of tools for --ask")
    parser.add_argument("--perplexity", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = gguf_reader.load(options.model)
    if options.ask:
        messages = []
        tools = json.loads(options.tools.read_text()) if options.tools else None
        for question in options.ask:
            messages.append({"role": "user", "content": question})
            reply = answer(model, tokenizer, messages, tools=tools, thinking=options.thinking)
            print(reply)
            messages.append({"role": "assistant", "content": reply.split("</think>")[-1].strip()})
    elif options.perplexity:
        perplexity(model, tokenizer)
    else:
        score(model, tokenizer)


if __name__ == "__main__":
    main()
