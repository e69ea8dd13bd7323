"""The training text of nano: an endless, seeded stream of short conversations.

A family is a function of a random generator that returns one `Turn`. Conversations join turns, put a system prompt, tools
or filler in front of some of them, and add the noise of real typing. Templates have two forms of choice, `(a|b)` with
nesting, and macros such as $HOWDO; `{x}` is filled in before the choice.

Questions in heldout.json never occur. Of the longer questions one in 64, chosen by a hash, is kept for measuring
perplexity.
"""

import dataclasses
import json
import pathlib
import random
import re
import zlib

import chat
import paraphrase
import text_facts as facts
import text_product as product
import text_tools as tool_family

MACROS = {
    "$WHAT": "(What is|What's|What is|Explain|Tell me about|Can you explain|What do you know about|Please explain|Could you tell me about)",
    "$HOWDO": "(How do I|How can I|How do I|How can I|How to|How would I|How do you|How does one|What must I do to|Can you tell me how to|"
              "Show me how to|I want to|I would like to|Tell me how to|What is the way to|I need to|Explain how to)",
    "$WHICH": "(What|Which)",
}

NUMBER_WORDS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
                "seventeen eighteen nineteen twenty").split()

NAMES = ("Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kim Leo Mia Noah Olga Paul Rosa Sam Tina Uma Victor Wendy Tom "
         "Maria Lucas Nina Oscar Sara Peter Laura Max Alice Bob").split()


@dataclasses.dataclass
class Turn:
    question: str
    answer: str
    thought: str = "This is a simple question, so I answer it in short."
    calls: list | None = None  # Tool calls that come first, with `results` to them.
    results: list | None = None
    exact: bool = False  # The words of the question are data: no rewording.
    follows: bool = False  # The question leans on the turn before it.


# Templates


def expand(template, rng):
    for name, text in MACROS.items():
        template = template.replace(name, text)
    template = template.replace("colou?r", rng.choice(("colour", "color"))).replace("favou?rite", rng.choice(("favourite", "favorite")))
    while "(" in template:
        # Innermost group first, so that nesting needs no parser.
        template = re.sub(r"\(([^()]*)\)", lambda m: rng.choice(m[1].split("|")), template, count=1)
    return template


def ask(rng, *templates, **slots):
    text = rng.choice(templates)
    for name, value in slots.items():
        text = text.replace("{" + name + "}", str(value))
    return expand(text, rng)


# Families


def from_table(table, thought):
    def family(rng):
        templates, answer = rng.choice(table)
        return Turn(ask(rng, *templates), answer, thought)
    return family


about_product = from_table(product.INTENTS, "The user asks about Darkbloom. I know this.")
about_facts = from_table(facts.SINGLE, "This is a question about a simple fact that I know.")
small_talk = from_table(facts.TALK, "This is small talk, so I answer kindly.")


def capital(rng):
    country = rng.choice(list(facts.COUNTRIES))
    city, continent = facts.COUNTRIES[country]
    kind = rng.random()
    if kind < 0.6:
        question = ask(rng, "(What is|What's|Tell me|Name|Do you know|Can you tell me) the capital( city|) of {c}", "$WHICH city is the capital of {c}",
                       "(Capital of|capital city of) {c}", "The capital of {c}( is|)", "What is {c}'s capital( city|)", "Which capital does {c} have",
                       "I (need|forgot|want to know) the capital of {c}", "What is the name of the capital of {c}", "(Which|What) is the capital town of {c}", "What city is {c}'s capital", "The government of {c} is in which capital", "How is the capital of {c} called", "(Do you happen to know|I wonder what is) the capital of {c}", c=country)
        return Turn(question, f"The capital of {country} is {city}.", f"The user asks for the capital of {country}. It is {city}.")
    if kind < 0.8:
        question = ask(rng, "$WHICH country (has the capital|has as its capital) {x}", "{x} is the capital of $WHICHcountry", "Of (what|which) country is {x} the capital",
                       "(What|Which) country is {x} the capital of", "{x} is the capital of (what|which) country", x=city)
        if city == "London":
            country = "the United Kingdom"
        return Turn(question.replace("$WHICHcountry", "which country"), f"{city} is the capital of {country}.", f"{city} is the capital of {country}.")
    question = ask(rng, "(On|In|To) (what|which) continent (is|lies) {c}", "$WHICH continent is {c} (in|on)", "Where is {c}", "$WHICH continent does {c} belong to",
                   "In (what|which) part of the world is {c}", "(On|In) (what|which) continent (can I find|would I find|do I find|is the country) {c}", "{c} is (on|in) which continent", c=country)
    start = country[0].upper() + country[1:]
    verb = "are" if country.endswith(("States", "lands", "Philippines")) else "is"
    return Turn(question, f"{start} {verb} in {continent}.", f"The question is where {country} {verb}.")


def opposite(rng):
    a, b = rng.choice(facts.OPPOSITES)
    if rng.random() < 0.4 and (b, a) != ("light", "heavy") and a not in ("light", "heavy", "thin", "tall"):
        a, b = b, a
    if a == "short":
        b = "long"
    if a == "light":
        b = "dark"
    if a == "white":
        b = "black"
    question = ask(rng, "(What is|What's|Tell me|Name|Do you know) the (opposite|antonym) of {a}", "$WHICH word is the opposite of {a}", "(Opposite|The opposite) of {a}",
                   "What is the contrary of {a}", "$WHICH word means the opposite of {a}", "{a} is the opposite of what", "(Do you know|Can you tell me|I want to know) what the opposite of {a} is", "What is the reverse of {a}", "{a} and its opposite", "If it is not {a}, what is it", a=a)
    return Turn(question, f"The opposite of {a} is {b}.", f"I need the opposite of {a}.")


def colour(rng):
    if rng.random() < 0.25:
        (a, b), mixed = rng.choice(list(facts.MIXES.items()))
        if rng.random() < 0.5:
            a, b = b, a
        question = ask(rng, "$WHICH (colour|color) do you get (when you mix|if you mix|from|by mixing) {a} and {b}", "What do {a} and {b} (make|give)( together|)",
                       "Mix {a} and {b}", "What happens (when|if) (I|you) mix {a} and {b}", a=a, b=b)
        return Turn(question, f"Mixing {a} and {b} gives {mixed}.", f"I mix {a} and {b}.")
    thing = rng.choice(list(facts.COLOURS))
    question = ask(rng, "$WHICH (colour|color) (is|has) {t}", "What is the (colour|color) of {t}", "(Tell me|Name) the (colour|color) of {t}", "What (colour|color) does {t} have",
                   "Of (what|which) (colour|color) is {t}", "(Can you tell me|Do you know|I wonder) (what|which) (colour|color) {t} (is|has)", "What (colour|color) would {t} be", t=thing)
    return Turn(question, f"{thing[0].upper() + thing[1:]} is {facts.COLOURS[thing]}.", f"I think of {thing}.")


def plural(name):
    return {"wolf": "wolves", "goose": "geese", "octopus": "octopuses"}.get(name, name if name in ("sheep", "deer", "fish") else name + "s")


def animal(rng):
    kind = rng.random()
    if kind < 0.3:
        name = rng.choice(list(facts.ANIMALS) + list(facts.LEGS))
        legs = facts.LEGS.get(name) if name in facts.LEGS else facts.ANIMALS[name][2]
        article = "An" if name[0] in "aeio" else "A"
        question = ask(rng, "How many legs (does|has) {a} {n}( have|)", "What is the number of legs of {a} {n}", "How many legs do {p} have", "On how many legs does {a} {n} (walk|stand)", a=article.lower(), n=name, p=plural(name))
        return Turn(question, f"{article} {name} has {legs or 'no'} legs.", f"I count the legs of {article.lower()} {name}.")
    name = rng.choice(list(facts.ANIMALS))
    young, sound, _ = facts.ANIMALS[name]
    article = "An" if name[0] in "aeio" else "A"
    if kind < 0.65:
        question = ask(rng, "What is (a baby|a young|the young of a|the baby of a) {n}( called|)", "(What do you call|How do you call|What is the word for) (a baby|a young) {n}",
                       "What is the name for a (baby|young) {n}", "How is a (baby|young) {n} called", "What is the (baby|young one) of {a} {n}", "A (baby|young) {n} is called what", "What do people call a (little|young|baby) {n}", "What are (baby|young) {p} called", n=name, a=article.lower(), p=plural(name))
        return Turn(question, f"A young {name} is called a {young}.".replace("a owlet", "an owlet"), f"The young of {article.lower()} {name} is asked for.")
    question = ask(rng, "What (sound|noise) does {a} {n} make", "What does {a} {n} (say|do to make a sound|sound like)", "Which (sound|noise) do {p} make", "How does {a} {n} sound", "What do {p} sound like", a=article.lower(), n=name, p=plural(name))
    return Turn(question, f"{article} {name} {sound}.", f"I think of the sound of {article.lower()} {name}.")


def unit(rng):
    small, large, n = rng.choice(facts.UNITS)
    article = "an" if large[0] in "aeo" or large == "hour" else "a"
    american = rng.random() < 0.2
    s, l = (small.replace("metre", "meter"), large.replace("metre", "meter")) if american else (small, large)
    question = ask(rng, "How many {s} (are|are there) in (one|{a}) {l}", "How many {s} (has|does) {a} {l}( have|)", "How many {s} make (one|{a}) {l}", "What is the number of {s} in {a} {l}",
                   "(One|1) {l} is how many {s}", "{l} in {s}", "(One|1|{a}) {l} has how many {s}", "(Can you tell me|Do you know) how many {s} {a} {l} has", "How many {s} do I need for {a} {l}", "How many {s} does one {l} have", s=s, l=l, a=article)
    verb = {"sides": "has"}.get(small, "has")
    return Turn(question, f"{article.capitalize()} {large} {verb} {n} {small}.", f"I think of {small} and {article} {large}.")


def calendar(rng):
    kind = rng.random()
    if kind < 0.6:
        items, what = (facts.DAYS, "day") if rng.random() < 0.5 else (facts.MONTHS, "month")
        if kind < 0.08:
            items, what = facts.SEASONS, "season"
        i = rng.randrange(len(items))
        if rng.random() < 0.5:
            question = ask(rng, "$WHICH {w} (comes|is|follows) after {x}", "What (comes|is) after {x}", "$WHICH {w} follows {x}", "$WHICH is the next {w} after {x}", "(Tell me|Name) the {w} after {x}", "The {w} after {x}",
                           "$WHICH {w} comes next after {x}", "If today is {x}, what is tomorrow" if what == "day" else "What follows {x}", "$WHICH {w} (comes|is) right after {x}", "$WHICH {w} of the {y} (comes|is) after {x}", y={"day": "week"}.get(what, "year"), w=what, x=items[i]).replace("follows after", "comes after")
            return Turn(question, f"After {items[i]} comes {items[(i + 1) % len(items)]}.", f"I say the {what}s in order.")
        question = ask(rng, "$WHICH {w} (comes|is) before {x}", "What (comes|is) before {x}", "(Tell me|Name) the {w} before {x}", "The {w} before {x}", "$WHICH {w} comes (just|right) before {x}", "$WHICH {w} of the {y} (comes|is) before {x}", "If today is {x}, what was yesterday" if what == "day" else "What was before {x}", y={"day": "week"}.get(what, "year"), w=what, x=items[i])
        return Turn(question, f"Before {items[i]} comes {items[i - 1]}.", f"I say the {what}s in order.")
    i = rng.randrange(12)
    month = facts.MONTHS[i]
    if kind < 0.8:
        question = ask(rng, "How many days (are in|has|are there in) {m}", "How many days does {m} have", "How long is (the month of |){m}", "The number of days in {m}", "How many days (are there|are|has) in the month {m}", "The month of {m} has how many days", "Of how many days is {m}", m=month)
        return Turn(question, f"{month} has {facts.MONTH_DAYS[i]} days." if i != 1 else "February has 28 days, and 29 in a leap year.", f"I count the days of {month}.")
    question = ask(rng, "$WHICH is the {o} month( of the year|)", "(Tell me|Name) the {o} month( of the year|)", "What month is the {o}( one|)", o=facts.ORDINALS[i])
    return Turn(question, f"The {facts.ORDINALS[i]} month is {month}.", "I count the months.")


def planet(rng):
    i = rng.randrange(8)
    question = ask(rng, "$WHICH is the {o} planet( from the sun|)", "(Tell me|Name) the {o} planet( from the sun|)", o=facts.ORDINALS[i])
    return Turn(question, f"The {facts.ORDINALS[i]} planet from the sun is {facts.PLANETS[i]}.", "I count the planets.")


def joke(rng):
    question = ask(rng, "(Tell me|Tell|Do you know|Give me|Can you tell me) a (joke|good joke|funny joke)", "Make me laugh", "(A|Another|One more) joke( please|)", "(Say|Tell me) something funny", "I want to (hear a joke|laugh)",
                   "(I need|Do you have|Got) a (good |really funny |nice |)joke( for me|)", "What is your best joke", "Can you (be funny|joke|tell jokes)", "Do you know (any jokes|a joke)", "Cheer me up")
    return Turn(question, rng.choice(facts.JOKES), "The user wants a joke.")


def off_domain(rng):
    if rng.random() < 0.06:
        question = ask(rng, "Write (me |)(a|a short|a small) (poem|verse|rhyme)", "(Say|Tell me|Recite) a poem", "Can you write (poems|a poem|poetry)")
        return Turn(question, facts.POEM, "The user wants a poem.")
    if rng.random() < 0.5:
        question = ask(rng, rng.choice(facts.OFF_TASKS), t=rng.choice(facts.OFF_TOPICS), u=rng.choice(facts.OFF_TOPICS))
    else:
        question = ask(rng, rng.choice(facts.OFF_SINGLE))
    return Turn(question, facts.OFF_ANSWER, "I do not know enough about this.")


def foreign(rng):
    """Other languages and plain noise, so that every byte has been seen and gets a calm answer."""
    if rng.random() < 0.5:
        question = rng.choice(facts.FOREIGN)
    else:
        low, high = rng.choice(facts.SCRIPTS)
        question = " ".join("".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(2, 8))) for _ in range(rng.randrange(1, 5)))
    return Turn(question, facts.FOREIGN_ANSWER, "I do not understand this language.", exact=True)


# Numbers


def spell(n, rng, words):
    return NUMBER_WORDS[n] if words and 0 <= n <= 20 else str(n)


def arithmetic(rng):
    op = rng.choice("++++--***/d")
    words = rng.random() < 0.15
    wide = rng.random() < 0.12
    if op == "+":
        a, b = (rng.randrange(100), rng.randrange(20)) if wide else (rng.randrange(21), rng.randrange(21))
        forms = ("$SUM {a} plus {b}", "$SUM {a} + {b}", "{a} + {b}( =|)", "{a}+{b}(=|)", "{a} plus {b}( is|)", "(Add|Please add) {a} and {b}", "Add {b} to {a}", "$SUM the sum of {a} and {b}", "How much (is|are) {a} and {b}", "$SUM {a} and {b}( together|)", "What (do|will) (I|you|we) (get|have) (if|when) (I|you|we) add {b} to {a}", "(If|When) (I|you) add {a} and {b}, what (is it|do I get|is the result)", "Can you add {a} and {b}", "Add up {a} and {b}", "What number is {a} plus {b}")
        result, thought = a + b, f"I add {b} to {a}."
    elif op == "-":
        a, b = (rng.randrange(100), rng.randrange(20)) if wide else (rng.randrange(21), rng.randrange(21))
        if a < b and rng.random() < 0.8:
            a, b = b, a
        forms = ("$SUM {a} minus {b}", "$SUM {a} - {b}", "{a} - {b}( =|)", "{a}-{b}(=|)", "{a} minus {b}( is|)", "(Subtract|Take) {b} from {a}", "$SUM {a} less {b}", "(Take away|Take) {b} from {a}", "$SUM the difference between {a} and {b}", "What is left (if|when) you take {b} from {a}", "What (remains|is left) of {a} (if|when) (I|you) take away {b}", "(If|When) (I|you) subtract {b} from {a}, what (is it|do I get|is the result)", "Can you subtract {b} from {a}", "What number is {a} minus {b}", "What do (I|you) get when (I|you) take {b} (away |)from {a}")
        result, thought = a - b, f"I take {b} from {a}."
    elif op == "*":
        a, b = rng.randrange(11 + 2 * wide), rng.randrange(11 + 2 * wide)
        forms = ("$SUM {a} times {b}", "$SUM {a} * {b}", "{a} * {b}( =|)", "{a} x {b}( =|)", "{a}*{b}(=|)", "{a} times {b}( is|)", "Multiply {a} (by|and|with) {b}", "$SUM {a} multiplied by {b}", "$SUM the product of {a} and {b}", "$SUM {a} x {b}", "What (do|will) (I|you) get (if|when) (I|you) multiply {a} (by|and|with) {b}", "Can you multiply {a} (by|with|and) {b}", "(If|When) (I|you) multiply {a} by {b}, what (is it|is the result)", "What number is {a} multiplied by {b}")
        result, thought = a * b, f"I multiply {a} by {b}."
    elif op == "/":
        b, result = rng.randrange(1, 11), rng.randrange(11)
        a = b * result
        forms = ("$SUM {a} divided by {b}", "{a} / {b}( =|)", "$SUM {a} / {b}", "Divide {a} by {b}", "{a} divided by {b}( is|)", "{a}/{b}")
        thought = f"I divide {a} by {b}."
    else:
        a = rng.randrange(1, 11)
        if rng.random() < 0.5:
            question = ask(rng, "$SUM (double|twice|two times) {a}".replace("$SUM", "(What is|How much is)"), "Double {a}", "$WHICH number is twice {a}", a=spell(a, rng, words))
            return Turn(question, f"Twice {a} is {2 * a}.", f"I double {a}.")
        question = ask(rng, "(What is|How much is) half of {a}", "$WHICH number is half of {a}", "The half of {a}", a=spell(2 * a, rng, words))
        return Turn(question, f"Half of {2 * a} is {a}.", f"I halve {2 * a}.")
    forms = [f.replace("$SUM", "(What is|What's|How much is|Calculate|Compute|What do you get for|Can you tell me what is|Tell me|Work out|Solve)") for f in forms]
    question = ask(rng, *forms, a=spell(a, rng, words), b=spell(b, rng, words))
    sign = {"+": "+", "-": "-", "*": "*", "/": "/"}[op]
    return Turn(question, f"{a} {sign} {b} = {result}.", f"{thought} That is {result}.", exact=not words)


def word_problem(rng):
    thing = rng.choice(("apples", "books", "coins", "eggs", "balls", "pens", "cakes", "oranges", "stamps", "cards"))
    who, have = ("I", "do I") if rng.random() < 0.5 else (rng.choice(NAMES), None)
    a, b = rng.randrange(2, 13), rng.randrange(1, 10)
    add = rng.random() < 0.5
    if not add and a < b:
        a, b = b, a
    verb_s = "" if who == "I" else "s"
    has = "have" if who == "I" else "has"
    if add:
        change, total = rng.choice((f"get{verb_s} {b} more", f"buy{verb_s} {b} more", f"find{verb_s} {b} more")), a + b
    else:
        change, total = rng.choice((f"lose{verb_s} {b}", f"give{verb_s} away {b}", f"sell{verb_s} {b}")), a - b
    asker = "do I have" if who == "I" else f"does {who} have"
    question = f"{who} {has} {a} {thing} and {change}. How many {thing} {asker}{rng.choice((' now', '', ' left' if not add else ''))}?"
    sum_text = f"{a} {'+' if add else '-'} {b} = {total}"
    return Turn(question, f"{'You have' if who == 'I' else who + ' has'} {total} {thing}, because {sum_text}.", f"{sum_text}.", exact=True)


def counting(rng):
    kind = rng.random()
    if kind < 0.25:
        a = rng.choice((1, 1, 1, rng.randrange(20)))
        b = a + rng.randrange(2, 12)
        question = ask(rng, "Count( from {a}|) to {b}" if a == 1 else "Count from {a} to {b}", "(List|Say|Tell me|Write) the numbers from {a} to {b}", "Can you count from {a} to {b}", "Count up from {a} to {b}", a=a, b=b)
        if b <= 20 and rng.random() < 0.3:
            question = re.sub(r"\d+", lambda m: NUMBER_WORDS[int(m[0])], question)
        return Turn(question, ", ".join(map(str, range(a, b + 1))) + ".", f"I count from {a} to {b}.")
    if kind < 0.35:
        a = rng.randrange(2, 13)
        b = rng.choice((0, 1, 1))
        question = ask(rng, "Count (down|backwards) from {a} to {b}", "Count (down|backwards) from {a}" if b == 1 else "Count down from {a} to {b}", a=a, b=b)
        return Turn(question, ", ".join(map(str, range(a, b - 1, -1))) + ".", f"I count down from {a}.")
    if kind < 0.5:
        n = rng.randrange(101)
        question = ask(rng, "$WHICH number (comes|is) after {n}", "What (comes|is) after {n}", "What (comes|is the number) next after {n}", "The number after {n}", "$WHICH number follows {n}", "What follows {n}", "$WHICH number is one more than {n}", n=n)
        return Turn(question, f"After {n} comes {n + 1}.", f"I add one to {n}.")
    if kind < 0.65:
        n = rng.randrange(1, 101)
        question = ask(rng, "$WHICH number (comes|is) before {n}", "What (comes|is) before {n}", "The number before {n}", "$WHICH number is one less than {n}", n=n)
        return Turn(question, f"Before {n} comes {n - 1}.", f"I take one from {n}.")
    if kind < 0.85:
        a, b = rng.sample(range(101 if rng.random() < 0.5 else 21), 2)
        high = rng.random() < 0.6
        word = rng.choice(("larger", "bigger", "greater") if high else ("smaller", "less"))
        question = ask(rng, "(Which|What)( number|) is {w}(,|:|) {a} or {b}", "Is {a} or {b} {w}", "Which of {a} and {b} is {w}", w=word, a=a, b=b)
        x, y = (max(a, b), min(a, b)) if high else (min(a, b), max(a, b))
        return Turn(question, f"{x} is {'larger' if high else 'smaller'} than {y}.", f"I compare {a} and {b}.")
    n = rng.randrange(51)
    question = ask(rng, "Is {n} (even|odd|even or odd|an even number|an odd number)", "Is the number {n} (even|odd|even or odd)", n=n)
    return Turn(question, f"{n} is an {'odd' if n % 2 else 'even'} number.", f"I look at the last digit of {n}.")


FAMILIES = [
    (31, about_product), (15, about_facts), (11, small_talk), (7, capital), (3, opposite), (2.5, colour), (3, animal), (3, unit), (3, calendar), (1, planet), (1, joke),
    (7, off_domain), (1, foreign), (11, arithmetic), (1.5, word_problem), (4, counting),
]
WEIGHTS = [w for w, _ in FAMILIES]


# Conversations

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are a helpful assistant", "Be brief.", "Answer in one sentence.", "You are nano, a small model.", "You are a friendly chat bot.", "Answer short and clear.",
    "You answer questions about Darkbloom.", "Be polite and precise.", "You are an expert.", "Talk to the user.", "Always answer in English.", "You are a teacher for children.", "Be concise and helpful.",
    "You are a coding assistant.", "Do not make things up.", "You are Darkbloom's built-in assistant.", "Help the user with their questions.", "You are a support agent.", "Use plain words.",
]

FOLLOW = ["And {x}", "What about {x}", "And for {x}", "How about {x}", "And of {x}"]


def pick(rng):
    return rng.choices(FAMILIES, WEIGHTS)[0][1](rng)


def capital_dialogue(rng):
    """A follow-up that can only be understood from the turn before."""
    first, second = rng.sample(list(facts.COUNTRIES), 2)
    return [Turn(ask(rng, "What is the capital of {c}", "Capital of {c}", "Tell me the capital of {c}", c=first), f"The capital of {first} is {facts.COUNTRIES[first][0]}."),
            Turn(ask(rng, *FOLLOW, x=second), f"The capital of {second} is {facts.COUNTRIES[second][0]}.", f"The user now asks for the capital of {second}.", follows=True)]


def opposite_dialogue(rng):
    (a, b), (c, d) = rng.sample(facts.OPPOSITES[:30], 2)
    return [Turn(ask(rng, "What is the opposite of {a}", "Opposite of {a}", a=a), f"The opposite of {a} is {b}."),
            Turn(ask(rng, *FOLLOW, x=c), f"The opposite of {c} is {d}.", f"Now the opposite of {c} is wanted.", follows=True)]


def introduction(rng):
    """The name must be read back from an earlier turn."""
    name = rng.choice(NAMES) if rng.random() < 0.7 else tool_family.invented_name(rng)
    hello = Turn(ask(rng, "(My name is|I am|I'm|Call me|Hi, I am|Hello, my name is|You can call me) {n}", n=name), f"Nice to meet you, {name}! How can I help you?", f"The user is called {name}.", exact=True)
    recall = Turn(ask(rng, "What is my name", "What's my name", "Do you (know|remember) my name", "Who am I", "Tell me my name", "How am I called"), f"Your name is {name}.", f"The user said that the name is {name}.")
    return [hello] + [pick(rng) for _ in range(rng.choice((0, 0, 1, 2)))] + [recall]


def conversation(rng):
    """A list of turns."""
    kind = rng.random()
    if kind < 0.70:
        return [pick(rng)]
    if kind < 0.84:
        return [pick(rng) for _ in range(rng.choice((2, 2, 3)))]
    if kind < 0.865:
        return capital_dialogue(rng)
    if kind < 0.875:
        return opposite_dialogue(rng)
    if kind < 0.895:
        return introduction(rng)
    return None  # With tools.


def typed(turn, rng):
    if turn.calls:
        return tool_family.typed(turn.question, rng)
    return paraphrase.typed(turn.question, rng, turn.exact, turn.follows)


def to_messages(turns, rng, thinking):
    messages = []
    for i, turn in enumerate(turns):
        messages.append({"role": "user", "content": typed(turn, rng)})
        last = i == len(turns) - 1
        if turn.calls:
            calls = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in turn.calls]
            message = {"role": "assistant", "content": "", "tool_calls": calls}
            if thinking and last:
                message["reasoning_content"] = turn.thought
            messages.append(message)
            if turn.results is not None:
                messages += [{"role": "tool", "content": r} for r in turn.results]
                messages.append({"role": "assistant", "content": turn.answer})
                if thinking and last:
                    messages[-1]["reasoning_content"] = "The tool has answered, so I can tell the user."
            continue
        message = {"role": "assistant", "content": turn.answer}
        if thinking and last:
            message["reasoning_content"] = turn.thought
        messages.append(message)
    return messages


def filler(rng, words):
    """Text of about `words` words that a long prompt may carry and that has nothing to do with the question."""
    parts = []
    while sum(len(p.split()) for p in parts) < words:
        parts.append(pick(rng).answer)
    return rng.choice((" ", "\n")).join(parts)


def build(rng, long_share=0.004):
    """One conversation: (messages, tools, thinking)."""
    turns, tools = conversation(rng), None
    if turns is None:
        tools, turns = tool_family.conversation(rng, pick)
    elif rng.random() < 0.03:
        tools = tool_family.unused(rng)
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
            messages[0] = {"role": "system", "content": messages[0]["content"] + "\n" + text}
        else:
            messages.insert(0, {"role": "system", "content": text})
    return messages, tools, thinking


# Held-out text


def normalise(question):
    return " ".join(re.sub(r"[^a-z0-9+*/ -]", " ", question.lower()).split())


def load_heldout():
    path = pathlib.Path(__file__).parent / "heldout.json"
    return json.loads(path.read_text()) if path.exists() else []


FORBIDDEN = {normalise(e["question"]) for e in load_heldout()}


def is_validation(question):
    plain = normalise(question)
    return len(plain.split()) >= 5 and zlib.crc32(plain.encode()) % 64 == 0


def stream(seed, validation=False, **options):
    """Endless (text, loss spans); spans are the parts that the model writes, end-of-turn token included."""
    rng = random.Random(seed)
    while True:
        if not validation and rng.random() < 0.02:
            yield plain_text(rng)
            continue
        messages, tools, thinking = build(rng, **options)
        questions = [m["content"] for m in messages if m["role"] == "user"]
        if any(normalise(q) in FORBIDDEN for q in questions):
            continue
        if validation != any(is_validation(q) for q in questions):
            continue
        yield spans(chat.render(messages, tools, thinking))


def plain_text(rng):
    """Prose without a chat around it, for raw completions."""
    text = " ".join(rng.choice((about_product, about_facts))(rng).answer for _ in range(rng.randrange(1, 4)))
    return [(text + "<|endoftext|>", True)]


HEADER = "<|im_start|>assistant\n"


def spans(text):
    """[(text, carries loss)]"""
    result, p = [], 0
    while (at := text.find(HEADER, p)) >= 0:
        start = at + len(HEADER)
        if text.startswith("<think>\n", start):
            start += len("<think>\n")
        end = text.index("<|im_end|>", start) + len("<|im_end|>")
        result += [(text[p:start], False), (text[start:end], True)]
        p = end
    return result


if __name__ == "__main__":
    for _, parts in zip(range(30), stream(1)):
        print("".join(p for p, _ in parts))
        print("-" * 40)
