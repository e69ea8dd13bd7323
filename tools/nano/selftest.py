"""Checks of the tools that need no trained model: python3 tools/nano/selftest.py"""

import pathlib
import random

import numpy as np
import torch

import chat
import corpus
import export_gguf
import gguf_reader
import q8
import templates
import tokenizer as tok
from model import Config, Nano, Past

SPLITS = {
    "I'm you'RE": ["I", "'m", " you", "'RE"],
    "  \n  x": ["  \n", " ", " x"],
    "x1234567y": ["x", "1", "2", "3", "4", "5", "6", "7", "y"],
    "THE quickBrown iOS9": ["THE", " quickBrown", " iOS", "9"],
    "e\u0301te\u0301": ["e", "\u0301te", "\u0301"],
    "a/b\n//c\n": ["a", "/b", "\n", "//", "c", "\n"],
    "$3.14!!\n\n": ["$", "3", ".", "1", "4", "!!\n\n"],
    "\tif x:\n\t\ty": ["\tif", " x", ":\n", "\t", "\ty"],
    "a  1": ["a", " ", " ", "1"],
    "don't_stop": ["don", "'t", "_stop"],
    "it'\u017f": ["it", "'\u017f"],
}


def check_splits():
    for text, expected in SPLITS.items():
        assert list(tok.words(text)) == expected, (text, list(tok.words(text)))


def check_tokenizer():
    texts = ["".join(p for p, _ in parts) for _, parts in zip(range(300), corpus.stream(5))]
    trained = tok.train(texts, 600)
    assert len(trained.tokens) == 600 and len(set(trained.tokens)) == 600
    rng = random.Random(1)
    for _ in range(500):
        text = "".join(rng.choice("ab \n\t1'<|_\u00e9\u4e2d\U0001f600\u0661.") for _ in range(rng.randrange(30)))
        assert trained.decode(trained.encode(text)) == text
    for text in texts:
        assert trained.decode(trained.encode(text)) == text
    assert trained.encode("<|im_end|>") == [trained.added["<|im_end|>"]]
    assert trained.added["<|im_end|>"] not in trained.encode("<|im_end|>", special=False)
    # Encoding the parts of a conversation alone must equal encoding the whole.
    for _, parts in zip(range(300), corpus.stream(6)):
        whole = trained.encode("".join(p for p, _ in parts))
        assert sum((trained.encode(p) for p, _ in parts), []) == whole


def check_template():
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    tool_text = "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}"
    call = {"function": {"name": "f", "arguments": {"x": [1, True, None, "\u00e9"]}}}
    call_text = ("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, true, null, \"\u00e9\"]}}\n"
                 "</tool_call>")
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
                {"role": "assistant", "content": None, "reasoning_content": "R", "tool_calls": [call, call]},
                {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    assert chat.render(messages, [tool], thinking=True, generate=True) == (
        f"<|im_start|>system\nS\n\nYou can call these tools:\n<tools>\n{tool_text}\n</tools>\n"
        "To call one, answer:\n<tool_call>\n{\"name\": NAME, \"arguments\": {ARGUMENTS}}\n"
        "</tool_call><|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        f"<|im_start|>assistant\n<think>\nR\n</think>\n\n{call_text}\n{call_text}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n<think>\n")
    user = {"role": "user", "content": "U"}
    prompt = "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    assert chat.render([user], generate=True) == prompt
    # Reasoning of earlier turns is dropped.
    history = [user, {"role": "assistant", "content": "A", "reasoning_content": "R"}, user]
    assert "R" not in chat.render(history)
    assert chat.render([]) == ""


def check_quantizer():
    x = np.random.default_rng(1).standard_normal((64, 128)).astype(np.float32)
    x[0, :32] = 0
    scales, codes = q8.quantize(x)
    error = np.abs(q8.dequantize(scales, codes) - x).reshape(64, 4, 32)
    assert (error <= scales.astype(np.float32)[..., None] * 0.5 + np.abs(x).reshape(64, 4, 32) * 2.0 ** -10).all()
    assert len(q8.pack(x)) == 64 * 4 * 34


def check_file():
    """Export, read back, and compare logits with those of the quantised model."""
    texts = ["".join(p for p, _ in parts) for _, parts in zip(range(300), corpus.stream(5))]
    trained = tok.train(texts, 600)
    model = Nano(Config(vocab=600, layers=2))
    model.initialise(3)
    data = export_gguf.build(model, trained)
    metadata, _ = gguf_reader.parse(data)
    assert metadata["tokenizer.chat_template"] == chat.TEMPLATE
    path = pathlib.Path("build/nano_selftest.gguf")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    read, _ = gguf_reader.load(path)
    path.unlink()
    ids = torch.tensor([trained.encode(texts[0])])
    expected = export_gguf.quantized(model)
    assert torch.equal(read.logits(read.hidden(ids)), expected.logits(expected.hidden(ids)))
    # One token at a time through the cache gives the same as the whole.
    step = [Past() for _ in read.blocks]
    rows = torch.cat([read.hidden(ids[:, i:i + 1], step) for i in range(ids.shape[1])], 1)
    assert torch.allclose(rows, read.hidden(ids), atol=1e-4)


def check_corpus():
    first = [parts for _, parts in zip(range(200), corpus.stream(11))]
    again = [parts for _, parts in zip(range(200), corpus.stream(11))]
    assert first == again
    text = "".join(p for parts in first for p, _ in parts)
    assert not any(macro in text for macro in templates.MACROS)
    for entry in corpus.load_heldout():
        assert corpus.normalise(entry["question"]) in corpus.FORBIDDEN


if __name__ == "__main__":
    for check in (check_splits, check_tokenizer, check_template, check_quantizer, check_file, check_corpus):
        with torch.no_grad():
            check()
        print(f"{check.__name__}: ok")
