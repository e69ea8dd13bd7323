"""A byte-level BPE vocabulary of 300 tokens, trained here on a few sentences, for the golden models."""
import json

SENTENCES = (
    "the node answers a question and the answer streams back to the client token by token. "
    "a small model on a small machine is still a model, and the test is that it is the same model. "
    "there are seven layers in the cake and two in this network, then there is the head. "
    "when the ring is full the reader waits, and when it is empty the writer rests. "
)
N_MERGES = 40
SPECIALS = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
BOS, IM_START, IM_END, EOT = 296, 297, 298, 299
N_TOKENS = 256 + N_MERGES + len(SPECIALS)
TEXT_IDS = (0, N_TOKENS - len(SPECIALS))  # those that are neither special nor padding

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

REGEX = {
    "qwen35": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "llama-bpe": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "qwen2": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
}


def byte_alphabet():
    """The printable character that stands for each byte, and the bytes in the order of their ids."""
    printable = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    others = [b for b in range(256) if b not in printable]
    chars = {b: chr(b) for b in printable}
    chars.update({b: chr(0x100 + i) for i, b in enumerate(others)})
    return chars, printable + others


def train():
    """Tokens by id and merges in rank order."""
    chars, order = byte_alphabet()
    words = [[chars[b] for b in (" " + w).encode()] for w in SENTENCES.split()]
    merges = []
    while len(merges) < N_MERGES:
        counts = {}
        for word in words:
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [best[0] + best[1]]
                i += 1
    tokens = [chars[b] for b in order] + [a + b for a, b in merges] + SPECIALS
    assert len(tokens) == N_TOKENS and len(set(tokens)) == N_TOKENS
    return tokens, [f"{a} {b}" for a, b in merges]


def put_gguf(writer, pre, n_rows):
    """The vocabulary as GGUF metadata, padded to the rows of the embedding."""
    tokens, merges = train()
    types = [1] * (N_TOKENS - len(SPECIALS)) + [3] * len(SPECIALS)
    tokens += [f"[PAD{i}]" for i in range(N_TOKENS, n_rows)]
    types += [5] * (n_rows - N_TOKENS)
    writer.put("tokenizer.ggml.model", "gpt2")
    writer.put("tokenizer.ggml.pre", pre)
    writer.put("tokenizer.ggml.tokens", tokens)
    writer.put_i32_array("tokenizer.ggml.token_type", types)
    writer.put("tokenizer.ggml.merges", merges)
    writer.put("tokenizer.ggml.bos_token_id", BOS)
    writer.put("tokenizer.ggml.eos_token_id", IM_END)
    writer.put("tokenizer.ggml.padding_token_id", EOT)
    writer.put("tokenizer.ggml.add_bos_token", pre == "llama-bpe")
    writer.put("tokenizer.chat_template", CHAT_TEMPLATE)


def hf_files(pre):
    """The same as the files of a Hugging Face directory: {name: text}."""
    tokens, merges = train()
    llama = pre == "llama-bpe"
    added = [
        {"id": N_TOKENS - len(SPECIALS) + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i, s in enumerate(SPECIALS)
    ]
    split = {"type": "Split", "pattern": {"Regex": REGEX[pre]}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    post = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if llama:
        bos = {"SpecialToken": {"id": SPECIALS[0], "type_id": 0}}
        post = {"type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {SPECIALS[0]: {"id": SPECIALS[0], "ids": [BOS], "tokens": [SPECIALS[0]]}}}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None if llama else {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": post,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": llama,
                  "vocab": {t: i for i, t in enumerate(tokens[: N_TOKENS - len(SPECIALS)])}, "merges": merges},
    }
    config = {"bos_token": SPECIALS[0] if llama else None, "eos_token": SPECIALS[2], "pad_token": SPECIALS[3],
              "add_bos_token": llama, "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE}
    generation = {"eos_token_id": [IM_END, EOT]}
    return {
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")),
        "tokenizer_config.json": json.dumps(config, indent=1),
        "generation_config.json": json.dumps(generation),
    }
