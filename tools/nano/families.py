"""Families of questions: functions of a random generator that return one Turn."""

import re

import facts
from templates import Turn, ask, lines, load_answers, load_forms

FORMS = load_forms("forms.txt")
JOKES = lines("jokes.txt")
OFF_TASKS = lines("off_domain_tasks.txt")
OFF_TOPICS = lines("off_domain_topics.txt")
OFF_SINGLE = lines("off_domain_single.txt")
FOREIGN = lines("foreign.txt")

POEM = "Small and quiet in the dark I bloom, a few good words light up the room."
OFF_ANSWER = ("I am only the small built-in model and cannot answer that well; load a larger one with "
              "`darkbloom serve --model PATH`.")
FOREIGN_ANSWER = "I am sorry, I only understand plain English."

# Ranges of code points: Cyrillic, Greek, Han, Hiragana, Hangul, Hebrew, Arabic, Devanagari,
# accented Latin, emoji, and plain letters in no order.
SCRIPTS = [
    (0x430, 0x44F), (0x3B1, 0x3C9), (0x4E00, 0x9FFF), (0x3041, 0x3096), (0xAC00, 0xD7A3), (0x5D0, 0x5EA),
    (0x627, 0x64A), (0x905, 0x939), (0xE0, 0xFE), (0x1F600, 0x1F64F), (0x61, 0x7A),
]

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty").split()

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kim Leo Mia Noah Olga Paul Rosa Sam Tina "
    "Uma Victor Wendy Tom Maria Lucas Nina Oscar Sara Peter Laura Max Alice Bob").split()


def form(rng, name, **slots):
    return ask(rng, FORMS[name], **slots)


def from_table(name, thought):
    table = load_answers(name)

    def family(rng):
        templates, answer = rng.choice(table)
        return Turn(ask(rng, templates), answer, thought)
    return family


about_product = from_table("product.txt", "The user asks about Darkbloom. I know this.")
about_facts = from_table("facts.txt", "This is a question about a simple fact that I know.")
small_talk = from_table("talk.txt", "This is small talk, so I answer kindly.")


def capital(rng):
    country = rng.choice(list(facts.COUNTRIES))
    city, continent = facts.COUNTRIES[country]
    kind = rng.random()
    if kind < 0.6:
        return Turn(form(rng, "capital", c=country), f"The capital of {country} is {city}.",
                    f"The user asks for the capital of {country}. It is {city}.")
    if kind < 0.8:
        if city == "London":
            country = "the United Kingdom"
        answer = f"{city} is the capital of {country}."
        return Turn(form(rng, "country", x=city), answer, answer)
    start = country[0].upper() + country[1:]
    verb = "are" if country.endswith(("States", "lands", "Philippines")) else "is"
    return Turn(form(rng, "continent", c=country), f"{start} {verb} in {continent}.",
                f"The question is where {country} {verb}.")


def opposite(rng):
    a, b = rng.choice(facts.OPPOSITES)
    # Not every pair can be turned round: light is the opposite of dark and of heavy.
    if rng.random() < 0.4 and (b, a) != ("light", "heavy") and a not in ("light", "heavy", "thin", "tall"):
        a, b = b, a
    b = {"short": "long", "light": "dark", "white": "black"}.get(a, b)
    return Turn(form(rng, "opposite", a=a), f"The opposite of {a} is {b}.",
                f"I need the opposite of {a}.")


def colour(rng):
    if rng.random() < 0.25:
        (a, b), mixed = rng.choice(list(facts.MIXES.items()))
        if rng.random() < 0.5:
            a, b = b, a
        return Turn(form(rng, "mix", a=a, b=b), f"Mixing {a} and {b} gives {mixed}.", f"I mix {a} and {b}.")
    thing = rng.choice(list(facts.COLOURS))
    return Turn(form(rng, "colour", t=thing), f"{thing[0].upper() + thing[1:]} is {facts.COLOURS[thing]}.",
                f"I think of {thing}.")


def plural(name):
    if name in ("sheep", "deer", "fish"):
        return name
    return {"wolf": "wolves", "goose": "geese", "octopus": "octopuses"}.get(name, name + "s")


def animal(rng):
    kind = rng.random()
    if kind < 0.3:
        name = rng.choice(list(facts.ANIMALS) + list(facts.LEGS))
    else:
        name = rng.choice(list(facts.ANIMALS))
    article = "an" if name[0] in "aeio" else "a"
    a_name = f"{article} {name}"
    slots = {"a": article, "n": name, "p": plural(name)}
    if kind < 0.3:
        legs = facts.LEGS[name] if name in facts.LEGS else facts.ANIMALS[name][2]
        return Turn(form(rng, "legs", **slots), f"{a_name.capitalize()} has {legs or 'no'} legs.",
                    f"I count the legs of {a_name}.")
    young, sound, _ = facts.ANIMALS[name]
    if kind < 0.65:
        a_young = f"an {young}" if young[0] == "o" else f"a {young}"
        return Turn(form(rng, "young", **slots), f"A young {name} is called {a_young}.",
                    f"The young of {a_name} is asked for.")
    return Turn(form(rng, "sound", **slots), f"{a_name.capitalize()} {sound}.",
                f"I think of the sound of {a_name}.")


def unit(rng):
    small, large, n = rng.choice(facts.UNITS)
    article = "an" if large[0] in "aeo" or large == "hour" else "a"
    s, l = small, large
    if rng.random() < 0.2:
        s, l = small.replace("metre", "meter"), large.replace("metre", "meter")
    return Turn(form(rng, "unit", s=s, l=l, a=article), f"{article.capitalize()} {large} has {n} {small}.",
                f"I think of {small} and {article} {large}.")


def calendar(rng):
    kind = rng.random()
    if kind < 0.6:
        items, what = (facts.DAYS, "day") if rng.random() < 0.5 else (facts.MONTHS, "month")
        if kind < 0.08:
            items, what = facts.SEASONS, "season"
        i = rng.randrange(len(items))
        day = what == "day"
        slots = {"y": "week" if day else "year", "w": what, "x": items[i]}
        thought = f"I say the {what}s in order."
        if rng.random() < 0.5:
            special = "If today is {x}, what is tomorrow" if day else "What follows {x}"
            question = form(rng, "after", special=special, **slots).replace("follows after", "comes after")
            return Turn(question, f"After {items[i]} comes {items[(i + 1) % len(items)]}.", thought)
        special = "If today is {x}, what was yesterday" if day else "What was before {x}"
        return Turn(form(rng, "before", special=special, **slots),
                    f"Before {items[i]} comes {items[i - 1]}.", thought)
    i = rng.randrange(12)
    month, ordinal = facts.MONTHS[i], facts.ORDINALS[i]
    if kind < 0.8:
        days = "28 days, and 29 in a leap year" if i == 1 else f"{facts.MONTH_DAYS[i]} days"
        return Turn(form(rng, "month_days", m=month), f"{month} has {days}.", f"I count the days of {month}.")
    return Turn(form(rng, "month", o=ordinal), f"The {ordinal} month is {month}.", "I count the months.")


def planet(rng):
    i = rng.randrange(8)
    return Turn(form(rng, "planet", o=facts.ORDINALS[i]),
                f"The {facts.ORDINALS[i]} planet from the sun is {facts.PLANETS[i]}.", "I count the planets.")


def joke(rng):
    return Turn(form(rng, "joke"), rng.choice(JOKES), "The user wants a joke.")


def off_domain(rng):
    if rng.random() < 0.06:
        return Turn(form(rng, "poem"), POEM, "The user wants a poem.")
    if rng.random() < 0.5:
        task = rng.choice(OFF_TASKS)
        question = ask(rng, [task], t=rng.choice(OFF_TOPICS), u=rng.choice(OFF_TOPICS))
    else:
        question = ask(rng, [rng.choice(OFF_SINGLE)])
    return Turn(question, OFF_ANSWER, "I do not know enough about this.")


def foreign(rng):
    """Other languages and plain noise, so that every byte has been seen and gets a calm answer."""
    if rng.random() < 0.5:
        question = rng.choice(FOREIGN)
    else:
        low, high = rng.choice(SCRIPTS)
        question = " ".join("".join(chr(rng.randint(low, high)) for _ in range(rng.randrange(2, 8)))
                            for _ in range(rng.randrange(1, 5)))
    return Turn(question, FOREIGN_ANSWER, "I do not understand this language.", exact=True)


def spell(n, words):
    return NUMBER_WORDS[n] if words and 0 <= n <= 20 else str(n)


def doubling(rng, words):
    a = rng.randrange(1, 11)
    if rng.random() < 0.5:
        return Turn(form(rng, "double", a=spell(a, words)), f"Twice {a} is {2 * a}.", f"I double {a}.")
    return Turn(form(rng, "half", a=spell(2 * a, words)), f"Half of {2 * a} is {a}.", f"I halve {2 * a}.")


def arithmetic(rng):
    op = rng.choice("++++--***/d")
    words = rng.random() < 0.15
    wide = rng.random() < 0.12
    if op == "d":
        return doubling(rng, words)
    if op in "+-":
        a, b = (rng.randrange(100), rng.randrange(20)) if wide else (rng.randrange(21), rng.randrange(21))
        if op == "-" and a < b and rng.random() < 0.8:
            a, b = b, a
        result = a + b if op == "+" else a - b
    elif op == "*":
        a, b = rng.randrange(11 + 2 * wide), rng.randrange(11 + 2 * wide)
        result = a * b
    else:
        b, result = rng.randrange(1, 11), rng.randrange(11)
        a = b * result
    name, thought = {"+": ("plus", f"I add {b} to {a}."), "-": ("minus", f"I take {b} from {a}."),
                     "*": ("times", f"I multiply {a} by {b}."), "/": ("divided", f"I divide {a} by {b}.")}[op]
    question = form(rng, name, a=spell(a, words), b=spell(b, words))
    return Turn(question, f"{a} {op} {b} = {result}.", f"{thought} That is {result}.", exact=not words)


def word_problem(rng):
    thing = rng.choice(
        ("apples", "books", "coins", "eggs", "balls", "pens", "cakes", "oranges", "stamps", "cards"))
    who = "I" if rng.random() < 0.5 else rng.choice(NAMES)
    a, b = rng.randrange(2, 13), rng.randrange(1, 10)
    add = rng.random() < 0.5
    if not add and a < b:
        a, b = b, a
    has, s, asked, told = ("have", "", "do I", "You have") if who == "I" else ("has", "s", f"does {who}", f"{who} has")
    if add:
        change = rng.choice((f"get{s} {b} more", f"buy{s} {b} more", f"find{s} {b} more"))
        equation, end = f"{a} + {b} = {a + b}", ""
    else:
        change = rng.choice((f"lose{s} {b}", f"give{s} away {b}", f"sell{s} {b}"))
        equation, end = f"{a} - {b} = {a - b}", " left"
    end = rng.choice((" now", "", end))
    return Turn(f"{who} {has} {a} {thing} and {change}. How many {thing} {asked} have{end}?",
                f"{told} {a + b if add else a - b} {thing}, because {equation}.", f"{equation}.", exact=True)


def count_up(rng):
    a = rng.choice((1, 1, 1, rng.randrange(20)))
    b = a + rng.randrange(2, 12)
    question = form(rng, "count", count="Count( from {a}|) to {b}" if a == 1 else "Count from {a} to {b}", a=a, b=b)
    if b <= 20 and rng.random() < 0.3:
        question = re.sub(r"\d+", lambda m: NUMBER_WORDS[int(m[0])], question)
    return Turn(question, ", ".join(map(str, range(a, b + 1))) + ".", f"I count from {a} to {b}.")


def count_down(rng):
    a = rng.randrange(2, 13)
    b = rng.choice((0, 1, 1))
    question = ask(rng, ["Count (down|backwards) from {a} to {b}",
                         "Count (down|backwards) from {a}" if b == 1 else "Count down from {a} to {b}"], a=a, b=b)
    return Turn(question, ", ".join(map(str, range(a, b - 1, -1))) + ".", f"I count down from {a}.")


def compare(rng):
    a, b = rng.sample(range(101 if rng.random() < 0.5 else 21), 2)
    high = rng.random() < 0.6
    word = rng.choice(("larger", "bigger", "greater") if high else ("smaller", "less"))
    question = form(rng, "compare", w=word, a=a, b=b)
    if high:
        return Turn(question, f"{max(a, b)} is larger than {min(a, b)}.", f"I compare {a} and {b}.")
    return Turn(question, f"{min(a, b)} is smaller than {max(a, b)}.", f"I compare {a} and {b}.")


def counting(rng):
    kind = rng.random()
    if kind < 0.25:
        return count_up(rng)
    if kind < 0.35:
        return count_down(rng)
    if kind < 0.5:
        n = rng.randrange(101)
        return Turn(form(rng, "next_number", n=n), f"After {n} comes {n + 1}.", f"I add one to {n}.")
    if kind < 0.65:
        n = rng.randrange(1, 101)
        return Turn(form(rng, "number_before", n=n), f"Before {n} comes {n - 1}.", f"I take one from {n}.")
    if kind < 0.85:
        return compare(rng)
    n = rng.randrange(51)
    return Turn(form(rng, "even", n=n), f"{n} is an {'odd' if n % 2 else 'even'} number.",
                f"I look at the last digit of {n}.")


WEIGHTED = [
    (31, about_product), (15, about_facts), (11, small_talk), (7, capital), (3, opposite), (2.5, colour),
    (3, animal), (3, unit), (3, calendar), (1, planet), (1, joke), (7, off_domain), (1, foreign),
    (20, arithmetic), (2, word_problem), (7, counting),
]
WEIGHTS = [weight for weight, _ in WEIGHTED]


def emphasise_numbers(factor):
    """Sums are learnt last: a late stage of training may draw them more often."""
    for i, (weight, family) in enumerate(WEIGHTED):
        if family in (arithmetic, word_problem, counting):
            WEIGHTS[i] = weight * factor


def pick(rng):
    return rng.choices(WEIGHTED, WEIGHTS)[0][1](rng)
