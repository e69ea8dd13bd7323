"""Conversations with tools.

Names of tools, parameters and values vary widely: the point is to copy them from the prompt.
"""

import dataclasses
import json

from templates import Turn, load_forms

FORMS = load_forms("tool_forms.txt")

CITIES = [
    "Paris", "Berlin", "Rome", "Madrid", "Lisbon", "Athens", "Vienna", "Bern", "Brussels",
    "Amsterdam", "Copenhagen", "Oslo", "Stockholm", "Helsinki", "Reykjavik", "Dublin", "London",
    "London", "Edinburgh", "Warsaw", "Prague", "Budapest", "Bucharest", "Sofia", "Zagreb",
    "Belgrade", "Kyiv", "Moscow", "Tallinn", "Riga", "Vilnius", "Bratislava", "Ljubljana", "Ankara",
    "Tokyo", "Beijing", "New Delhi", "Seoul", "Bangkok", "Hanoi", "Jakarta", "Manila", "Tehran",
    "Baghdad", "Riyadh", "Kathmandu", "Ulaanbaatar", "Islamabad", "Cairo", "Nairobi", "Abuja",
    "Rabat", "Accra", "Addis Ababa", "Dakar", "Tunis", "Washington, D.C.", "Ottawa", "Mexico City",
    "Havana", "Brasilia", "Buenos Aires", "Santiago", "Lima", "Bogota", "Montevideo", "Caracas",
    "Quito", "Canberra", "Wellington", "Munich", "Hamburg", "Milan", "Naples", "Barcelona", "Porto",
    "Lyon", "Nice", "Geneva", "Zurich", "Bergen", "Gothenburg", "Krakow", "Glasgow", "Manchester",
    "Boston", "Chicago", "Seattle", "Denver", "Miami", "Toronto", "Montreal", "Sydney", "Melbourne",
    "Osaka", "Kyoto", "Shanghai", "Mumbai", "Dubai", "Istanbul", "Paris", "London", "Tokyo", "Oslo",
    "Berlin", "Rome", "Madrid", "New York", "San Francisco", "Los Angeles", "Cape Town",
    "Hong Kong", "Rio de Janeiro",
]
SKIES = ["sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear", "stormy"]
SYLLABLES = [
    "ba", "ber", "bo", "cal", "dar", "del", "don", "el", "fa", "gor", "ha", "hel", "il", "jor",
    "ka", "kel", "lin", "lo", "mar", "mi", "mon", "nor", "no", "or", "pel", "ra", "ren", "ri",
    "sal", "sto", "ta", "tor", "ul", "va", "ver", "wi", "zan", "zo",
]
ROOMS = ["kitchen", "bedroom", "living room", "office", "garage", "bathroom", "hall", "garden"]
LANGUAGES = ["French", "German", "Spanish", "Italian", "Dutch", "Polish", "Japanese", "Swedish"]
TOPICS = [
    "cats", "space travel", "cheap flights", "bread recipes", "the best laptops", "solar power",
    "running shoes", "garden plants", "old castles", "jazz music", "electric cars", "local news",
    "history of tea",
]
PHRASES = [
    "good morning", "thank you", "where is the station", "I am hungry", "see you tomorrow",
    "the cat sleeps", "my house", "how are you", "one coffee please", "nice weather",
]
CURRENCIES = ["USD", "EUR", "GBP", "JPY", "CHF", "SEK"]
VERBS = [
    "run", "fetch", "check", "open", "read", "count", "start", "update", "show", "scan", "load",
    "sync",
]
NOUNS = [
    "report", "file", "user", "page", "job", "task", "folder", "record", "device", "sensor",
    "invoice", "ticket", "server", "image",
]


@dataclasses.dataclass
class Use:
    """One tool and one occasion to call it."""
    schema: dict
    question: str
    arguments: dict
    result: str
    answer: str

    @property
    def name(self):
        return self.schema["function"]["name"]

    @property
    def purpose(self):
        return self.schema["function"].get("description", "").rstrip(".")


def fill(rng, form, **slots):
    text = rng.choice(FORMS[form])
    for name, value in slots.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def invented_name(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()


def place(rng):
    return rng.choice(CITIES) if rng.random() < 0.6 else invented_name(rng)


def schema(rng, tool, purpose, /, **parameters):
    """An OpenAI tool object; parameter values are JSON types."""
    properties = {}
    for key, kind in parameters.items():
        properties[key] = {"type": kind}
        if rng.random() < 0.25:
            properties[key]["description"] = rng.choice((f"The {key}", key.capitalize(), f"{key} to use"))
    function = {"name": tool}
    if rng.random() < 0.8:
        function["description"] = purpose + rng.choice(("", "."))
    function["parameters"] = {"type": "object", "properties": properties}
    if parameters and rng.random() < 0.8:
        function["parameters"]["required"] = list(parameters)
    return {"type": "function", "function": function}


def result(rng, /, **fields):
    """What a tool sends back: JSON, or the bare value of a single field."""
    if len(fields) == 1 and rng.random() < 0.3:
        return str(next(iter(fields.values())))
    return json.dumps(fields)


def weather(rng):
    tool = rng.choice(("get_weather", "get_weather", "get_current_weather", "weather", "fetch_weather", "weather_lookup"))
    key = rng.choice(("city", "city", "location", "place", "town"))
    where = place(rng)
    question = fill(rng, "weather", v=where)
    temp, sky = rng.randrange(-15, 40), rng.choice(SKIES)
    form = rng.randrange(4)
    temperature = rng.choice(("temp", "temperature", "temp_c", "degrees"))
    answer = f"The weather in {where} is {sky} with {temp} degrees."
    if form == 0:
        text, answer = result(rng, **{temperature: temp}), f"It is {temp} degrees in {where}."
    elif form == 1:
        text = f"{sky}, {temp} degrees"
    else:
        fields = {temperature: temp, rng.choice(("condition", "sky", "weather", "conditions")): sky}
        text = json.dumps({key: where, **fields} if form == 2 else fields)
    purpose = rng.choice(
        ("Get the weather", "Get the current weather for a city", "Weather of a place", "Returns the weather"))
    return Use(schema(rng, tool, purpose, **{key: "string"}), question, {key: where}, text, answer)


def calculator(rng):
    tool = rng.choice(("calculator", "calculate", "compute", "evaluate"))
    key = rng.choice(("expression", "expression", "formula", "input"))
    op, word = rng.choice((("+", "plus"), ("-", "minus"), ("*", "times"), ("/", "divided by")))
    a, b = rng.randrange(1, 10 ** rng.choice((1, 2, 3, 4))), rng.randrange(1, 10 ** rng.choice((1, 2, 3)))
    value = {"+": a + b, "-": a - b, "*": a * b, "/": round(a / b, 3)}[op]
    question = fill(rng, "calculator", a=a, b=b, op=op, word=word)
    expression = f"{a} {op} {b}"
    purpose = rng.choice(("Evaluate an expression", "Calculator", "Do arithmetic"))
    return Use(schema(rng, tool, purpose, **{key: "string"}), question, {key: expression},
               result(rng, result=value), f"{expression} = {value}.")


def clock(rng):
    tool = rng.choice(("get_time", "get_time", "get_current_time", "current_time", "clock"))
    key = rng.choice(("city", "location", "place", "timezone"))
    where = place(rng)
    now = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    question = fill(rng, "clock", v=where)
    purpose = rng.choice(("Get the current time", "Time in a city", "Returns the local time"))
    return Use(schema(rng, tool, purpose, **{key: "string"}), question, {key: where}, result(rng, time=now),
               f"It is {now} in {where}.")


def search(rng):
    tool = rng.choice(("search", "web_search", "search_web", "find"))
    key = rng.choice(("query", "query", "q", "text"))
    topic = rng.choice(TOPICS)
    found = f"{invented_name(rng)} {rng.choice(('guide', 'page', 'shop', 'news'))}"
    question = fill(rng, "search", v=topic)
    purpose = rng.choice(("Search the web", "Find pages"))
    return Use(schema(rng, tool, purpose, **{key: "string"}), question, {key: topic}, result(rng, result=found),
               f"I found this: {found}.")


def timer(rng):
    tool = rng.choice(("set_timer", "start_timer", "timer"))
    unit = rng.choice(("minutes", "seconds"))
    n = rng.randrange(1, 91)
    question = fill(rng, "timer", v=f"{n} {unit}")
    return Use(schema(rng, tool, "Start a timer", **{unit: "integer"}), question, {unit: n},
               rng.choice(("ok", "done", '{"ok": true}')), f"The timer is set for {n} {unit}.")


def translate(rng):
    text_key, language_key = rng.choice((("text", "language"), ("text", "target"), ("sentence", "language")))
    phrase, language = rng.choice(PHRASES), rng.choice(LANGUAGES)
    out = " ".join(invented_name(rng).lower() for _ in range(2))
    question = fill(rng, "translate", v=phrase, w=language)
    tool = rng.choice(("translate", "translate_text"))
    return Use(schema(rng, tool, "Translate a text", **{text_key: "string", language_key: "string"}), question,
               {text_key: phrase, language_key: language}, result(rng, translation=out),
               f'In {language} it is "{out}".')


def stock(rng):
    key = rng.choice(("symbol", "ticker"))
    symbol = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randrange(3, 5)))
    price = rng.randrange(100, 50000) / 100
    question = fill(rng, "stock", v=symbol)
    tool = rng.choice(("get_stock_price", "stock_price", "get_price"))
    return Use(schema(rng, tool, "Get a stock price", **{key: "string"}), question, {key: symbol},
               result(rng, price=price), f"The price of {symbol} is {price}.")


def convert(rng):
    a, b = rng.sample(CURRENCIES, 2)
    n = rng.randrange(1, 1000)
    value = rng.randrange(100, 99999) / 100
    question = fill(rng, "convert", n=n, a=a, b=b)
    tool = rng.choice(("convert_currency", "convert"))
    spec = schema(rng, tool, "Convert money", amount="number", **{"from": "string", "to": "string"})
    return Use(spec, question, {"amount": n, "from": a, "to": b}, result(rng, result=value), f"{n} {a} is {value} {b}.")


def light(rng):
    room, state = rng.choice(ROOMS), rng.choice(("on", "off"))
    question = fill(rng, "light", s=state, r=room)
    tool = rng.choice(("set_light", "switch_light", "light"))
    return Use(schema(rng, tool, "Switch a light", room="string", state="string"), question,
               {"room": room, "state": state}, rng.choice(("ok", "done", '{"ok": true}')),
               f"The light in the {room} is {state}.")


def order(rng):
    key = rng.choice(("order_id", "id", "number"))
    n, status = rng.randrange(10, 99999), rng.choice(("shipped", "paid", "delayed", "delivered", "packed"))
    question = fill(rng, "order", v=n)
    tool = rng.choice(("get_order", "order_status", "lookup_order"))
    return Use(schema(rng, tool, "Look up an order", **{key: "integer"}), question, {key: n},
               result(rng, status=status), f"Order {n} is {status}.")


def date(rng):
    today = f"{rng.randrange(2024, 2031)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    question = fill(rng, "date")
    tool = rng.choice(("get_date", "today", "current_date"))
    return Use(schema(rng, tool, "Get the date"), question, {}, result(rng, date=today), f"Today is {today}.")


def generic(rng):
    """A tool nobody has heard of, called by its name or by what it does."""
    verb, noun = rng.choice(VERBS), rng.choice(NOUNS)
    tool = f"{verb}_{noun}"
    key = rng.choice(("name", "id", "path", "value", f"{noun}_name", "target"))
    value = rng.choice((invented_name(rng), invented_name(rng).lower(), f"{invented_name(rng).lower()}.txt",
                        f"{rng.choice(NOUNS)}{rng.randrange(100)}"))
    question = fill(rng, "generic", V=verb.capitalize(), w=verb, n=noun, v=value, t=tool)
    status = rng.choice(("ok", "done", "ready", "empty", "failed", "42", "3 items"))
    return Use(schema(rng, tool, f"{verb.capitalize()} a {noun}", **{key: "string"}), question, {key: value},
               result(rng, result=status), f"The result is: {status}.")


TOOLS = [
    weather, weather, weather, calculator, calculator, clock, clock, search, timer, translate, stock, convert,
    light, order, date, generic, generic, generic,
]


def use(rng):
    return rng.choice(TOOLS)(rng)


def unused(rng):
    return [use(rng).schema for _ in range(rng.choice((1, 1, 2, 3)))]


def typed(question, rng):
    """Light noise only: the values must stay as they are."""
    case = rng.random()
    if case < 0.1 and question[-1] in ".?":
        return question[:-1]
    if case < 0.2:
        return rng.choice(("Please tell me: ", "Hi! ", "Hello, ", "Hey, ")) + question
    return question


def two_calls(rng, wanted):
    """The same tool for two places in one answer."""
    key, first = next(iter(wanted.arguments.items()))
    places = [first, place(rng)]
    what = "weather" if "weather" in wanted.name else "time"
    question = rng.choice((f"What is the {what} in {places[0]} and {places[1]}?",
                           f"Compare the {what} in {places[0]} and {places[1]}."))
    if what == "weather":
        values = [rng.randrange(-15, 40) for _ in places]
        results = [json.dumps({"temp": v}) for v in values]
        unit = " degrees"
    else:
        values = [f"{rng.randrange(24):02}:{rng.randrange(60):02}" for _ in places]
        results = [json.dumps({"time": v}) for v in values]
        unit = ""
    answer = f"It is {values[0]}{unit} in {places[0]} and {values[1]}{unit} in {places[1]}."
    return Turn(question, answer, f"I call {wanted.name} twice.", [(wanted.name, {key: p}) for p in places], results)


def dialogue(rng, other):
    """(tools, turns); `other` makes a turn that needs no tool."""
    wanted = use(rng)
    tools = [wanted.schema]
    for extra in [use(rng) for _ in range(rng.choice((0, 0, 1, 2)))]:
        # Two tools that share a name or a purpose would make the right call a matter of taste.
        if extra.purpose != wanted.purpose and extra.name != wanted.name:
            tools.append(extra.schema)
    rng.shuffle(tools)
    turn = Turn(wanted.question, wanted.answer, f"I need the tool {wanted.name}.",
                [(wanted.name, wanted.arguments)], [wanted.result])
    if wanted.name in ("get_weather", "get_time") and rng.random() < 0.08:
        turn = two_calls(rng, wanted)
    turns = [turn]
    if rng.random() < 0.15:
        turns.insert(0, other(rng))
    elif rng.random() < 0.1:
        turns.append(other(rng))
    return tools, turns
