"""Byte-level BPE with the Qwen2 pre-tokenizer: training, encoding, decoding.

Pattern (ordered alternation):
  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|
  ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+
Python's `re` has no Unicode categories, so the pattern is a hand-written scanner, one rule per branch.
"""

import collections
import heapq
import json
import sys
import unicodedata

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]

WHITE_SPACE = frozenset(
    [*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
     0x205F, 0x3000])

CONTRACTIONS = ("s", "t", "re", "ve", "m", "ll", "d")


def is_letter(c):
    return unicodedata.category(c)[0] == "L"


def is_number(c):
    return unicodedata.category(c)[0] == "N"


def is_space(c):
    return ord(c) in WHITE_SPACE


def is_other(c):
    return not (is_space(c) or is_letter(c) or is_number(c))


def run(text, start, accept):
    end = start
    while end < len(text) and accept(text[end]):
        end += 1
    return end


def contraction(text, start):
    """Length of the contraction at `start`, which is an apostrophe; U+017F folds to s."""
    for tail in CONTRACTIONS:
        if text[start + 1:start + 1 + len(tail)].lower().replace("\u017f", "s") == tail:
            return 1 + len(tail)
    return 0


def next_word(text, p):
    """End of the pre-token that starts at p."""
    c = text[p]
    if c == "'" and (length := contraction(text, p)):
        return p + length
    if c not in "\r\n" and not is_letter(c) and not is_number(c):
        if (end := run(text, p + 1, is_letter)) > p + 1:
            return end
    if is_letter(c):
        return run(text, p, is_letter)
    if is_number(c):
        return p + 1
    start = p + 1 if c == " " else p
    if (end := run(text, start, is_other)) > start:
        return run(text, end, lambda x: x in "\r\n")
    end = run(text, p, is_space)
    breaks = [i for i in range(p, end) if text[i] in "\r\n"]
    if breaks:
        return breaks[-1] + 1
    if end < len(text) and end - p > 1:
        return end - 1  # The last space belongs to the next word.
    return max(end, p + 1)


def words(text):
    p = 0
    while p < len(text):
        end = next_word(text, p)
        yield text[p:end]
        p = end


def byte_alphabet():
    """GPT-2's map from bytes to printable code points."""
    table, spare = {}, 0x100
    printable = set(range(0x21, 0x7F)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
    for b in range(256):
        if b in printable:
            table[b] = chr(b)
        else:
            table[b] = chr(spare)
            spare += 1
    return table


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {c: b for b, c in BYTE_TO_CHAR.items()}


def train_merges(word_counts, count):
    """The `count` most frequent merges, ties broken by the symbols themselves so that a run can be repeated."""
    symbols = [[BYTE_TO_CHAR[b] for b in word.encode()] for word in word_counts]
    weights = list(word_counts.values())
    pair_counts = collections.Counter()
    where = collections.defaultdict(set)
    for i, s in enumerate(symbols):
        for pair in zip(s, s[1:]):
            pair_counts[pair] += weights[i]
            where[pair].add(i)
    heap = [(-n, pair) for pair, n in pair_counts.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < count and heap:
        n, pair = heapq.heappop(heap)
        if pair_counts[pair] != -n:
            continue  # Stale: a newer entry with the right count is in the heap, or the pair is gone.
        if -n < 2:
            break
        merges.append(pair)
        touched = set()
        for i in where.pop(pair):
            old = symbols[i]
            for p in zip(old, old[1:]):
                pair_counts[p] -= weights[i]
                touched.add(p)
            new = merge(old, pair)
            symbols[i] = new
            for p in zip(new, new[1:]):
                pair_counts[p] += weights[i]
                where[p].add(i)
                touched.add(p)
        for p in touched:
            if pair_counts[p] > 0 and p != pair:
                heapq.heappush(heap, (-pair_counts[p], p))
    return merges


def merge(symbols, pair):
    result, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            result.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            result.append(symbols[i])
            i += 1
    return result


class Tokenizer:
    """Ids: 256 bytes, then one per merge, then the added tokens."""

    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.tokens = list(BYTE_TO_CHAR.values()) + [a + b for a, b in self.merges]
        self.added = {t: len(self.tokens) + i for i, t in enumerate(CONTROL + USER_DEFINED)}
        self.tokens += self.added
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        self.ranks = {pair: i for i, pair in enumerate(self.merges)}
        self.cache = {}

    @property
    def stop(self):
        return {self.added["<|im_end|>"], self.added["<|endoftext|>"]}

    def token_types(self):
        """GGUF: 1 normal, 3 control, 4 user-defined."""
        return [3 if t in CONTROL else 4 if t in USER_DEFINED else 1 for t in self.tokens]

    def encode_word(self, word):
        if (cached := self.cache.get(word)) is not None:
            return cached
        symbols = [BYTE_TO_CHAR[b] for b in word.encode()]
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda p: self.ranks.get(p, sys.maxsize))
            if best not in self.ranks:
                break
            symbols = merge(symbols, best)
        ids = [self.ids[s] for s in symbols]
        if len(self.cache) < 200_000:
            self.cache[word] = ids
        return ids

    def pieces(self, text, special):
        """Splits at added tokens, leftmost-longest; control tokens only where `special`."""
        names = [t for t in self.added if special or t not in CONTROL]
        p = start = 0
        while p < len(text):
            if text[p] == "<" and (hit := next((t for t in names if text.startswith(t, p)), None)):
                yield text[start:p], self.added[hit]
                p = start = p + len(hit)
            else:
                p += 1
        yield text[start:], None

    def encode(self, text, special=True):
        ids = []
        for plain, token in self.pieces(text, special):
            for word in words(unicodedata.normalize("NFC", plain)):
                ids += self.encode_word(word)
            if token is not None:
                ids.append(token)
        return ids

    def decode(self, ids):
        added = set(self.added.values())
        return b"".join(
            self.tokens[i].encode() if i in added else bytes(CHAR_TO_BYTE[c] for c in self.tokens[i])
            for i in ids).decode(errors="replace")

    def save(self, path):
        with open(path, "w") as f:
            json.dump({"merges": self.merges}, f, ensure_ascii=False)

    @staticmethod
    def load(path):
        with open(path) as f:
            return Tokenizer(json.load(f)["merges"])


def train(texts, vocab):
    counts = collections.Counter()
    for text in texts:
        counts.update(words(unicodedata.normalize("NFC", text)))
    return Tokenizer(train_merges(counts, vocab - 256 - len(CONTROL) - len(USER_DEFINED)))
