"""Writes tests/golden/nano/tokens.json: what an engine must reproduce from assets/nano.gguf.

`tokenize`: text to ids, special tokens parsed. `generate`: conversation, rendered prompt, its ids,
and the first greedy ids of an f32 forward pass over the dequantised weights. `min_logit_margin` is
the smallest gap between the two best logits on the way, the stop token included: an engine with
quantised activations can only be held to cases whose gap is larger than its error.
"""

import argparse
import json
import pathlib

import torch

import chat
import gguf_reader

TEXTS = [
    "", "Hello, world!", "What is Darkbloom?", "I'm sure you'RE right; don't_stop.", "x1234567y", "3.14!!\n\n",
    "  \n  x", "a  1", "a\t\tb\t", "   ", "\n\n\n", "\r\nline\r\n", "trailing space ", "THE quickBrown iOS9",
    "a/b\n//c\n", "caf\u00e9 na\u00efve \u00dcbung", "e\u0301te\u0301 (decomposed)",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
    "\U0001f680 rocket \U0001f469\u200d\U0001f52c", "\u00a0nbsp\u2003em\u3000wide", "\u0661\u0662\u0663 \u00bd \u2167",
    "it'\u017f '\u017f", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<think>\nshort\n</think>\n\nyes",
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": -1.5e3}}\n</tool_call>",
    "<tool_response>\n{\"temp\": -3}\n</tool_response>", "<|im_start <|endoftext|>x</think", "a" * 40,
    "`darkbloom serve --model PATH`", "http://127.0.0.1:8080/v1/chat/completions",
]

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}

IN_OSLO = [{"role": "user", "content": "What is the weather in Oslo?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
CALLED = IN_OSLO + [{"role": "assistant", "content": "", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "{\"temp\": -3}"}]

# (name, messages, tools, thinking)
CONVERSATIONS = [
    ("plain", [{"role": "user", "content": "What is Darkbloom?"}], None, False),
    ("history", [{"role": "system", "content": "You are a helpful assistant."},
                 {"role": "user", "content": "What is the capital of France?"},
                 {"role": "assistant", "content": "The capital of France is Paris."},
                 {"role": "user", "content": "And of Spain?"}], None, False),
    ("thinking", [{"role": "user", "content": "What is the capital of Italy?"}], None, True),
    ("tool_call", IN_OSLO, [WEATHER], False),
    ("tool_result", CALLED, [WEATHER], False),
]

LIMIT = 32


def generate(model, tokenizer, name, messages, tools, thinking):
    prompt = chat.render(messages, tools, thinking, generate=True)
    ids = tokenizer.encode(prompt)
    greedy, margin = model.generate(ids, tokenizer.stop, LIMIT)
    return {
        "name": name, "messages": messages, "tools": tools, "enable_thinking": thinking, "prompt": prompt,
        "prompt_ids": ids, "greedy_ids": greedy, "stopped": len(greedy) < LIMIT,
        "text": tokenizer.decode(greedy), "min_logit_margin": round(margin, 4),
    }


def rows(entries):
    """One entry a line, so that a change shows as one line."""
    return "[\n" + ",\n".join(json.dumps(e, ensure_ascii=False) for e in entries) + "\n]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("assets/nano.gguf"))
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path("tests/golden/nano/tokens.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = gguf_reader.load(options.model)
    tokenized = [{"text": t, "ids": tokenizer.encode(t)} for t in TEXTS]
    generated = [generate(model, tokenizer, *c) for c in CONVERSATIONS]
    options.to.parent.mkdir(parents=True, exist_ok=True)
    options.to.write_text(f'{{"model": "darkbloom/nano",\n"tokenize": {rows(tokenized)},\n'
                          f'"generate": {rows(generated)}}}\n')
    for e in generated:
        print(f"{e['name']:12} margin {e['min_logit_margin']:8.3f}  {e['text']!r}")


if __name__ == "__main__":
    main()
