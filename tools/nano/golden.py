"""Writes tests/golden/nano/tokens.json: what an engine must reproduce from assets/nano.gguf.

`tokenize`: text to ids, special tokens parsed. `generate`: conversation, rendered prompt, its ids, and the first greedy
ids of an f32 forward pass over the dequantised weights, with the smallest gap between the two best logits on the way;
an engine with quantised activations may only be held to cases whose gap is larger than its error.
"""

import argparse
import json
import pathlib

import torch

import chat
import gguf_reader

TEXTS = [
    "", "Hello, world!", "What is Darkbloom?", "I'm sure you'RE right; don't_stop.", "x1234567y", "3.14!!\n\n", "  \n  x", "a  1", "a\t\tb\t", "   ", "\n\n\n", "\r\nline\r\n",
    "trailing space ", "THE quickBrown iOS9", "a/b\n//c\n", "caf\u00e9 na\u00efve \u00dcbung", "e\u0301te\u0301 (decomposed)", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
    "\U0001f680 rocket \U0001f469\u200d\U0001f52c", "\u00a0nbsp\u2003em\u3000wide", "\u0661\u0662\u0663 \u00bd \u2167", "it\u017f '\u017f",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<think>\nshort\n</think>\n\nyes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": -1.5e3}}\n</tool_call>", "<|im_start <|endoftext|>x</think",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "`darkbloom serve --model PATH`", "http://127.0.0.1:8080/v1/chat/completions",
]

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}

CONVERSATIONS = [
    ("plain", [{"role": "user", "content": "What is Darkbloom?"}], None, False),
    ("system_and_history", [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "What is the capital of France?"},
                            {"role": "assistant", "content": "The capital of France is Paris."}, {"role": "user", "content": "And of Spain?"}], None, False),
    ("thinking", [{"role": "user", "content": "What is 7 + 5?"}], None, True),
    ("tool_call", [{"role": "user", "content": "What is the weather in Oslo?"}], [WEATHER], False),
    ("tool_result", [{"role": "user", "content": "What is the weather in Oslo?"},
                     {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]},
                     {"role": "tool", "tool_call_id": "call_1", "content": "{\"temp\": -3}"}], [WEATHER], False),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("assets/nano.gguf"))
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path("tests/golden/nano/tokens.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = gguf_reader.load(options.model)
    generated = []
    for name, messages, tools, thinking in CONVERSATIONS:
        prompt = chat.render(messages, tools, thinking, generate=True)
        ids = tokenizer.encode(prompt)
        greedy, margin = model.generate(ids, tokenizer.stop, limit=32)
        generated.append({"name": name, "messages": messages, "tools": tools, "enable_thinking": thinking, "prompt": prompt, "prompt_ids": ids,
                          "greedy_ids": greedy, "ends": len(greedy) < 32, "text": tokenizer.decode(greedy), "min_logit_margin": round(margin, 4)})
    golden = {"model": "darkbloom/nano", "tokenize": [{"text": t, "ids": tokenizer.encode(t)} for t in TEXTS], "generate": generated}
    options.to.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join("  " + json.dumps(e, ensure_ascii=False) for e in golden["tokenize"])
    cases = ",\n".join("  " + json.dumps(e, ensure_ascii=False) for e in generated)
    options.to.write_text(f'{{"model": "darkbloom/nano",\n "tokenize": [\n{lines}\n ],\n "generate": [\n{cases}\n ]}}\n')
    for e in generated:
        print(f"{e['name']:20} margin {e['min_logit_margin']:8.3f}  {e['text']!r}")


if __name__ == "__main__":
    main()
