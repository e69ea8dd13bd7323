"""The training text of nano: an endless, seeded stream of short conversations.

Conversations join turns of families.py and tool_turns.py, and put a system prompt, tools or filler
in front of some of them; paraphrase.py types the questions. Questions in heldout.json never occur.
Of the longer questions one in 64, chosen by a hash, is kept for measuring perplexity.
"""

import json
import pathlib
import random
import re
import zlib

import chat
import facts
import paraphrase
import tool_turns
from families import NAMES, about_facts, about_product, form, pick
from templates import Turn, ask

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are a helpful assistant", "Be brief.", "Answer in one sentence.",
    "You are nano, a small model.", "You are a friendly chat bot.", "Answer short and clear.",
    "You answer questions about Darkbloom.", "Be polite and precise.", "You are an expert.", "Talk to the user.",
    "Always answer in English.", "You are a teacher for children.", "Be concise and helpful.",
    "You are a coding assistant.", "Do not make things up.", "You are Darkbloom's built-in assistant.",
    "Help the user with their questions.", "You are a support agent.", "Use plain words.",
]


def capital_dialogue(rng):
    """A follow-up that can only be understood from the turn before."""
    first, second = rng.sample(list(facts.COUNTRIES), 2)
    templates = ["What is the capital of {c}", "Capital of {c}", "Tell me the capital of {c}"]
    return [Turn(ask(rng, templates, c=first), f"The capital of {first} is {facts.COUNTRIES[first][0]}."),
            Turn(form(rng, "follow", x=second), f"The capital of {second} is {facts.COUNTRIES[second][0]}.",
                 f"The user now asks for the capital of {second}.", follows=True)]


def opposite_dialogue(rng):
    (a, b), (c, d) = rng.sample(facts.OPPOSITES[:30], 2)
    templates = ["What is the opposite of {a}", "Opposite of {a}"]
    return [Turn(ask(rng, templates, a=a), f"The opposite of {a} is {b}."),
            Turn(form(rng, "follow", x=c), f"The opposite of {c} is {d}.", f"Now the opposite of {c} is wanted.",
                 follows=True)]


def introduction(rng):
    """The name must be read back from an earlier turn."""
    name = rng.choice(NAMES) if rng.random() < 0.7 else tool_turns.invented_name(rng)
    hello = Turn(form(rng, "introduction", n=name), f"Nice to meet you, {name}! How can I help you?",
                 f"The user is called {name}.", exact=True)
    recall = Turn(form(rng, "recall"), f"Your name is {name}.", f"The user said that the name is {name}.")
    return [hello] + [pick(rng) for _ in range(rng.choice((0, 0, 1, 2)))] + [recall]


def dialogue(rng):
    """(tools, turns)"""
    kind = rng.random()
    if kind < 0.895:
        if kind < 0.70:
            turns = [pick(rng)]
        elif kind < 0.84:
            turns = [pick(rng) for _ in range(rng.choice((2, 2, 3)))]
        elif kind < 0.865:
            turns = capital_dialogue(rng)
        elif kind < 0.875:
            turns = opposite_dialogue(rng)
        else:
            turns = introduction(rng)
        return tool_turns.unused(rng) if rng.random() < 0.03 else None, turns
    return tool_turns.dialogue(rng, pick)


def typed(turn, rng):
    if turn.calls:
        return tool_turns.typed(turn.question, rng)
    return paraphrase.typed(turn.question, rng, turn.exact, turn.follows)


def to_messages(turns, rng, thinking):
    """With `thinking` the last turn carries its thoughts; a template drops those of earlier turns."""
    messages = []
    for i, turn in enumerate(turns):
        think = thinking and i == len(turns) - 1
        messages.append({"role": "user", "content": typed(turn, rng)})
        answer = {"role": "assistant", "content": turn.answer}
        if turn.calls:
            calls = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in turn.calls]
            call = {"role": "assistant", "content": "", "tool_calls": calls}
            if think:
                call["reasoning_content"] = turn.thought
                answer["reasoning_content"] = "The tool has answered, so I can tell the user."
            messages += [call] + [{"role": "tool", "content": r} for r in turn.results]
        elif think:
            answer["reasoning_content"] = turn.thought
        messages.append(answer)
    return messages


def filler(rng, words):
    """About `words` words that a long prompt may carry and that have nothing to do with the question."""
    parts = []
    while sum(len(p.split()) for p in parts) < words:
        parts.append(pick(rng).answer)
    return rng.choice((" ", "\n")).join(parts)


def build(rng, long_share=0.004):
    """One conversation: (messages, tools, thinking)."""
    tools, turns = dialogue(rng)
    thinking = rng.random() < 0.12
    long = rng.random()
    if long < long_share / 3 and tools is None:
        turns = [pick(rng) for _ in range(rng.randrange(6, 24))] + turns
    messages = to_messages(turns, rng, thinking)
    if rng.random() < 0.3:
        messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    elif rng.random() < 0.02:
        messages.insert(0, {"role": "system", "content": filler(rng, rng.randrange(10, 60))})
    if long_share / 3 <= long < long_share:
        # Log-uniform: many of some hundred words, few of more than a thousand.
        text = filler(rng, int(50 * 24 ** rng.random()))
        if messages[0]["role"] == "system":
            text = messages.pop(0)["content"] + "\n" + text
        messages.insert(0, {"role": "system", "content": text})
    return messages, tools, thinking


def normalise(question):
    return " ".join(re.sub(r"[^a-z0-9+*/ -]", " ", question.lower()).split())


def load_heldout():
    return json.loads((pathlib.Path(__file__).parent / "heldout.json").read_text())


FORBIDDEN = {normalise(e["question"]) for e in load_heldout()}


def is_validation(question):
    plain = normalise(question)
    return len(plain.split()) >= 5 and zlib.crc32(plain.encode()) % 64 == 0


def plain_text(rng):
    """Prose without a chat around it, for raw completions."""
    text = " ".join(rng.choice((about_product, about_facts))(rng).answer for _ in range(rng.randrange(1, 4)))
    return [(text + "<|endoftext|>", True)]


HEADER = "<|im_start|>assistant\n"


def spans(text):
    """[(text, carries loss)]: loss is on what the model writes, the end of its turn included."""
    result, p = [], 0
    while (at := text.find(HEADER, p)) >= 0:
        start = at + len(HEADER)
        if text.startswith("<think>\n", start):
            start += len("<think>\n")
        end = text.index("<|im_end|>", start) + len("<|im_end|>")
        result += [(text[p:start], False), (text[start:end], True)]
        p = end
    return result


def stream(seed, validation=False, **options):
    """Endless lists of spans, either for training or of held-out questions."""
    rng = random.Random(seed)
    while True:
        if not validation and rng.random() < 0.02:
            yield plain_text(rng)
            continue
        messages, tools, thinking = build(rng, **options)
        questions = [m["content"] for m in messages if m["role"] == "user"]
        if any(normalise(q) in FORBIDDEN for q in questions):
            continue
        if validation == any(is_validation(q) for q in questions):
            yield spans(chat.render(messages, tools, thinking))


def validation():
    return stream(99, validation=True, long_share=0)


if __name__ == "__main__":
    for _, parts in zip(range(30), stream(1)):
        print("".join(p for p, _ in parts), "-" * 40, sep="\n")
