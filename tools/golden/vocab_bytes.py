"""The byte-level vocabulary of golden.vocab with the special tokens and pre-tokenizers of other families."""
import json

from golden import vocab

UPPER, LOWER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
BEFORE, ENDINGS = "[^\\r\\n\\p{L}\\p{N}]?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = f"{BEFORE}{UPPER}*{LOWER}+{ENDINGS}|{BEFORE}{UPPER}+{LOWER}*{ENDINGS}"
O200K += "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
AFMOE = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
         "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


class Vocabulary:
    """pre: the name in GGUF; regex: of the words in tokenizer.json; special tokens lie at the first or the last
    ids. `roles` maps bos, eos and pad to special tokens."""

    def __init__(self, pre, regex, specials, specials_first, roles, add_bos, template):
        tokens, self.merges = vocab.train()
        plain = tokens[: -len(vocab.SPECIALS)]
        self.pre, self.regex, self.specials, self.add_bos, self.template = pre, regex, specials, add_bos, template
        self.first_special = 0 if specials_first else len(plain)
        self.tokens = specials + plain if specials_first else plain + specials
        self.plain = plain
        self.N_TOKENS = len(self.tokens)
        self.TEXT_IDS = (len(specials), self.N_TOKENS) if specials_first else (0, len(plain))
        self.roles = roles
        self.id = {t: i for i, t in enumerate(self.tokens)}
        assert len(self.id) == self.N_TOKENS

    def role_id(self, role):
        return self.id[self.roles[role]]

    def put_gguf(self, g, n_rows):
        special = set(self.specials)
        types = [3 if t in special else 1 for t in self.tokens]
        g.put("tokenizer.ggml.model", "gpt2")
        g.put("tokenizer.ggml.pre", self.pre)
        g.put("tokenizer.ggml.tokens", self.tokens + [f"[PAD{i}]" for i in range(self.N_TOKENS, n_rows)])
        g.put_i32_array("tokenizer.ggml.token_type", types + [5] * (n_rows - self.N_TOKENS))
        g.put("tokenizer.ggml.merges", self.merges)
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
            g.put(f"tokenizer.ggml.{key}_token_id", self.role_id(role))
        g.put("tokenizer.ggml.add_bos_token", self.add_bos)
        g.put("tokenizer.chat_template", self.template)

    def hf_files(self):
        added = [{"id": self.id[s], "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": False, "special": True} for s in self.specials]
        post = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
        if self.add_bos:
            name = self.roles["bos"]
            bos, text = {"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
            post = {"type": "TemplateProcessing", "single": [bos, text],
                    "pair": [bos, text, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {name: {"id": name, "ids": [self.id[name]], "tokens": [name]}}}
        tokenizer = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": self.regex}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
            "post_processor": post,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {t: self.id[t] for t in self.plain}, "merges": self.merges},
        }
        config = {f"{role}_token": token for role, token in self.roles.items()}
        config |= {"add_bos_token": self.add_bos, "clean_up_tokenization_spaces": False,
                   "chat_template": self.template}
        return {
            "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")),
            "tokenizer_config.json": json.dumps(config, indent=1),
            "generation_config.json": json.dumps({"eos_token_id": [self.role_id("eos")]}),
        }


def afmoe():
    template = (
        "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + "
        "'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
    return Vocabulary("afmoe", AFMOE, ["<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<|pad|>"], True,
                      {"bos": "<|begin_of_text|>", "eos": "<|im_end|>", "pad": "<|pad|>"}, True, template)


def minimax_m2():
    template = (
        "{{ ']~!b[' }}{% for message in messages %}{{ ']~b]' + ('ai' if message.role == 'assistant' else "
        "message.role) + '\\n' + message.content + '[e~[\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ ']~b]ai\\n' }}{% endif %}")
    return Vocabulary("minimax-m2", O200K, ["]~!b[", "]~b]", "[e~[", "]!p~["], False,
                      {"bos": "]~!b[", "eos": "[e~[", "pad": "]!p~["}, False, template)
