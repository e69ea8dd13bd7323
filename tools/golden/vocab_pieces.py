"""A vocabulary in the manner of SentencePiece for the golden models of Gemma 4: special tokens at small ids, the 256
byte tokens, characters, and merges trained here on a few sentences. A space is U+2581; there is no pre-tokenizer.

The scores of the GGUF file contradict the merges on purpose: the rank of a merge decides, not the score."""
import collections
import functools
import json
import re

from golden.vocab import SENTENCES

SPACE = "\u2581"
SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>",
            "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>", "<|think|>", "<|channel>", "<channel|>",
            "<|image|>"]
PAD, EOS, BOS, UNK = 0, 1, 2, 3
TURN_END, TOOL_RESPONSE = SPECIALS.index("<turn|>"), SPECIALS.index("<|tool_response>")
SHOWN = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>"]
CHARACTERS = (SPACE + "\n" + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "0123456789" + ".,:;!?'\"-()"
              + "\u00e9\u00fc\u4e16")
PIECES = re.compile(f"\n+|{SPACE}+[^{SPACE}\n]*|[^{SPACE}\n]+")
N_MERGES = 44
FIRST_BYTE = len(SPECIALS)
FIRST_CHARACTER = FIRST_BYTE + 256
N_TOKENS = FIRST_CHARACTER + len(CHARACTERS) + N_MERGES
TEXT_IDS = (FIRST_BYTE, N_TOKENS)  # those that are neither special nor padding

CHAT_TEMPLATE = (
    "{{ '<bos>' }}{% for message in messages %}{{ '<|turn>' + ('model' if message.role == 'assistant' else "
    "message.role) + '\\n' + message.content | trim + '<turn|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn>model\\n' }}{% endif %}"
)

TEXTS = [
    "the node answers", " the node", "the  node   answers    a question", "the\nnode\n\nanswers\n\n\na", "thethe",
    "\ttab", "caf\u00e9 na\u00efve \u4e16\u754c \U0001f30d", "3.14 # 50% <x>", "", " ", "\u2581the", "cafe\u0301",
    "<|turn>user\nthe ring<turn|>\n<|turn>model\n", "then there is the head,then the rest", "\x00\x7f\u00ff",
]


def merges_of(words, n):
    """The n best merges [(left, right)] over words {text with a leading space mark: count}."""
    split = {word: list(word) for word in words}
    counts, places = collections.Counter(), collections.defaultdict(set)

    def count(word, sign):
        for pair in zip(split[word], split[word][1:]):
            counts[pair] += sign * words[word]
            places[pair].add(word)

    for word in words:
        count(word, 1)
    merges = []
    while len(merges) < n:
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for word in places.pop(best):
            symbols = split[word]
            count(word, -1)
            i = 0
            while i + 1 < len(symbols):
                if symbols[i] == best[0] and symbols[i + 1] == best[1]:
                    symbols[i : i + 2] = [best[0] + best[1]]
                i += 1
            count(word, 1)
        del counts[best]
    return merges


def train(sentences=SENTENCES, characters=CHARACTERS, n_merges=N_MERGES):
    """Tokens by id, and merges [(left, right)] by rank; the last two are for runs of spaces and newlines."""
    words = collections.Counter(SPACE + w for w in sentences.split())
    merges = merges_of(words, n_merges - 2) + [(SPACE, SPACE), ("\n", "\n")]
    tokens = SPECIALS + [f"<0x{b:02X}>" for b in range(256)] + list(characters) + [a + b for a, b in merges]
    assert len(tokens) == FIRST_CHARACTER + len(characters) + n_merges and len(set(tokens)) == len(tokens)
    return tokens, merges


class Encoder:
    """Text to ids in the plainest way: look at all pairs, merge the best, again."""

    def __init__(self, tokens=None, merges=None, specials=SPECIALS):
        if tokens is None:
            tokens, merges = train()
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
        self.specials = sorted(specials, key=len, reverse=True)

    def encode(self, text):
        out, start, at = [], 0, 0
        while at < len(text):
            special = next((s for s in self.specials if text.startswith(s, at)), None)
            if special is None:
                at += 1
                continue
            out += self.segment(text[start:at]) + [self.ids[special]]
            at += len(special)
            start = at
        return out + self.segment(text[start:])

    def segment(self, text):
        """No merge crosses into a run of space marks or over the edge of a run of newlines, so that the pieces
        between can be encoded apart."""
        return [i for piece in PIECES.findall(text.replace(" ", SPACE)) for i in self.piece(piece)]

    @functools.lru_cache(maxsize=100_000)
    def piece(self, text):
        symbols = []
        for c in text:
            symbols += [c] if c in self.ids else [f"<0x{b:02X}>" for b in c.encode()]
        while True:
            ranked = [(self.ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:])) if pair in self.ranks]
            if not ranked:
                return [self.ids[s] for s in symbols]
            _, i = min(ranked)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


def put_gguf(g, n_rows, tokens=None, merges=None, template=CHAT_TEMPLATE):
    """The vocabulary as GGUF metadata, padded to the rows of the embedding."""
    if tokens is None:
        tokens, merges = train()
    kinds = {"<unk>": 2} | {s: 4 for s in SHOWN}
    types = [kinds.get(t, 3) for t in SPECIALS] + [6] * 256 + [1] * (len(tokens) - FIRST_CHARACTER)
    n_padding = n_rows - len(tokens)
    g.put("tokenizer.ggml.model", "gemma4")
    g.put("tokenizer.ggml.pre", "gemma4")
    g.put("tokenizer.ggml.tokens", tokens + [f"[PAD{i}]" for i in range(len(tokens), n_rows)])
    g.put_i32_array("tokenizer.ggml.token_type", types + [5] * n_padding)
    g.put_f32_array("tokenizer.ggml.scores", [i - 1000.0 for i in range(len(tokens))] + [-10000.0] * n_padding)
    g.put("tokenizer.ggml.merges", [f"{a} {b}" for a, b in merges])
    g.put("tokenizer.ggml.bos_token_id", BOS)
    g.put("tokenizer.ggml.eos_token_id", EOS)
    g.put("tokenizer.ggml.eot_token_id", TURN_END)
    g.put("tokenizer.ggml.unknown_token_id", UNK)
    g.put("tokenizer.ggml.padding_token_id", PAD)
    g.put("tokenizer.ggml.add_bos_token", True)
    g.put("tokenizer.ggml.add_space_prefix", False)
    g.put("tokenizer.chat_template", template)


def hf_files():
    """The same as the files of a Hugging Face directory: {name: text}."""
    tokens, merges = train()
    added = [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, s in enumerate(SPECIALS)]
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
                          "invert": False},
        "post_processor": {"type": "TemplateProcessing", "single": [sequence],
                           "pair": [sequence, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(pair) for pair in merges]},
    }
    config = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
              "add_bos_token": False, "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE}
    generation = {"bos_token_id": BOS, "eos_token_id": [EOS, TURN_END, TOOL_RESPONSE], "pad_token_id": PAD}
    return {
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")),
        "tokenizer_config.json": json.dumps(config, indent=1),
        "generation_config.json": json.dumps(generation),
    }


class CorpusVocabulary:
    """Pieces of the text that the built-in model learns from, for a trained model: `texts` answers an iterable. Turns
    and thoughts are written as Gemma writes them. It stands for its own tokenizer."""

    MARKERS = {"<|im_start|>user": "<|turn>user", "<|im_start|>system": "<|turn>system",
               "<|im_start|>assistant": "<|turn>model", "<|im_end|>": "<turn|>", "<|endoftext|>": "<eos>",
               "<think>\n": "<|channel>thought\n", "</think>\n\n": "<channel|>"}
    stop = (EOS, TURN_END)

    def __init__(self, n_tokens, texts):
        self.N_TOKENS, self.texts, self.tokenizer = n_tokens, texts, self

    @functools.cached_property
    def encoder(self):
        text = "\n".join(self.translated(t) for t in self.texts())
        for marker in SPECIALS:
            text = text.replace(marker, " ")
        plain = sorted(c for c in set(text) if c.isascii() and c.isprintable() and c != " ")
        self.characters = SPACE + "\n" + "".join(plain)
        n_merges = self.N_TOKENS - FIRST_CHARACTER - len(self.characters)
        self.tokens, self.merges = train(text, self.characters, n_merges)
        return Encoder(self.tokens, self.merges)

    def translated(self, text):
        for marker, own in self.MARKERS.items():
            text = text.replace(marker, own)
        return text

    def text(self, parts):
        """A text of the corpus [(text, carries loss)]."""
        return self.translated("".join(part for part, _ in parts))

    def prompt(self, question):
        return f"<|turn>user\n{question}<turn|>\n<|turn>model\n"

    def encode(self, text):
        return [BOS] + self.encoder.encode(text)

    def decode(self, ids):
        assert all(i >= FIRST_BYTE for i in ids), "a special token in an answer"
        raw = (bytes([i - FIRST_BYTE]) if i < FIRST_CHARACTER else self.tokens[i].encode() for i in ids)
        return b"".join(raw).decode(errors="replace").replace(SPACE, " ")

    def put_gguf(self, g, n_rows):
        assert self.encoder and n_rows == self.N_TOKENS
        put_gguf(g, n_rows, self.tokens, self.merges)
