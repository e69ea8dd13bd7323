"""Question templates: choices, macros, slots, and the files under text/ that hold them.

`(a|b)` chooses and nests, `$NAME` is a macro, `{x}` a slot that is filled in before the choice.
"""

import dataclasses
import pathlib
import re

TEXT = pathlib.Path(__file__).parent / "text"

MACROS = {
    "$WHAT": "(What is|What's|What is|Explain|Tell me about|Can you explain|What do you know about|"
             "Please explain|Could you tell me about)",
    "$HOWDO": "(How do I|How can I|How do I|How can I|How to|How would I|How do you|How does one|"
              "What must I do to|Can you tell me how to|Show me how to|I want to|I would like to|"
              "Tell me how to|What is the way to|I need to|Explain how to)",
    "$WHICH": "(What|Which)",
    "$SUM": "(What is|What's|How much is|Calculate|Compute|What do you get for|"
            "Can you tell me what is|Tell me|Work out|Solve)",
}


@dataclasses.dataclass
class Turn:
    question: str
    answer: str
    thought: str = "This is a simple question, so I answer it in short."
    calls: list | None = None  # (name, arguments) of tool calls that come before the answer.
    results: list | None = None  # What the tools sent back.
    exact: bool = False  # The words of the question are data: no rewording.
    follows: bool = False  # The question leans on the turn before it.


def expand(template, rng):
    for name, text in MACROS.items():
        template = template.replace(name, text)
    for british, american in (("colour", "color"), ("favourite", "favorite")):
        both = british.replace("ur", "u?r")
        template = template.replace(both, rng.choice((british, american)))
    while "(" in template:
        # Innermost group first, so that nesting needs no parser.
        template = re.sub(r"\(([^()]*)\)", lambda m: rng.choice(m[1].split("|")), template, count=1)
    return template


def ask(rng, templates, **slots):
    text = rng.choice(templates)
    for name, value in slots.items():
        text = text.replace("{" + name + "}", str(value))
    return expand(text, rng)


def lines(name):
    return [x for x in (TEXT / name).read_text().splitlines() if x and not x.startswith("#")]


def load_answers(name):
    """[(templates, answer)]: lines of templates, closed by `= answer`."""
    table, templates = [], []
    for line in lines(name):
        if line.startswith("= "):
            table.append((templates, line[2:]))
            templates = []
        else:
            templates.append(line)
    return table


def load_forms(name):
    """Templates by section."""
    forms = {}
    for line in lines(name):
        if line.startswith("["):
            section = forms.setdefault(line.strip("[]"), [])
        else:
            section.append(line)
    return forms
