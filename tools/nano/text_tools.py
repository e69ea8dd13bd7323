"""Conversations with tools. Names of tools, parameters and values vary widely: the point is to copy them from the prompt."""

import json

import text_facts as facts

CITIES = [c for c, _ in facts.COUNTRIES.values()] + (
    "Munich Hamburg Milan Naples Barcelona Porto Lyon Nice Geneva Zurich Bergen Gothenburg Krakow Glasgow Manchester Boston Chicago Seattle Denver Miami Toronto Montreal "
    "Sydney Melbourne Osaka Kyoto Shanghai Mumbai Dubai Istanbul Paris London Tokyo Oslo Berlin Rome Madrid").split() + ["New York", "San Francisco", "Los Angeles", "Cape Town", "Hong Kong", "Rio de Janeiro"]

SKIES = ["sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear", "stormy"]
SYLLABLES = "ba ber bo cal dar del don el fa gor ha hel il jor ka kel lin lo mar mi mon nor no or pel ra ren ri sal sto ta tor ul va ver wi zan zo".split()
ROOMS = ["kitchen", "bedroom", "living room", "office", "garage", "bathroom", "hall", "garden"]
LANGUAGES = ["French", "German", "Spanish", "Italian", "Dutch", "Polish", "Japanese", "Swedish"]
TOPICS = ["cats", "space travel", "cheap flights", "bread recipes", "the best laptops", "solar power", "running shoes", "garden plants", "old castles", "jazz music", "electric cars", "local news", "history of tea"]
PHRASES = ["good morning", "thank you", "where is the station", "I am hungry", "see you tomorrow", "the cat sleeps", "my house", "how are you", "one coffee please", "nice weather"]
CURRENCIES = ["USD", "EUR", "GBP", "JPY", "CHF", "SEK"]
VERBS = ["run", "fetch", "check", "open", "read", "count", "start", "update", "show", "scan", "load", "sync"]
NOUNS = ["report", "file", "user", "page", "job", "task", "folder", "record", "device", "sensor", "invoice", "ticket", "server", "image"]


def invented_name(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()


def place(rng):
    return rng.choice(CITIES) if rng.random() < 0.6 else invented_name(rng)


def schema(name, description, rng, /, **parameters):
    """An OpenAI tool object; parameter values are JSON types."""
    properties = {}
    for key, kind in parameters.items():
        properties[key] = {"type": kind}
        if rng.random() < 0.25:
            properties[key]["description"] = rng.choice((f"The {key}", key.capitalize(), f"{key} to use"))
    function = {"name": name}
    if rng.random() < 0.8:
        function["description"] = description + rng.choice(("", "."))
    function["parameters"] = {"type": "object", "properties": properties}
    if parameters and rng.random() < 0.8:
        function["parameters"]["required"] = list(parameters)
    return {"type": "function", "function": function}


def result(rng, /, **fields):
    """What a tool sends back: JSON, or the bare value of a single field."""
    if len(fields) == 1 and rng.random() < 0.3:
        return str(next(iter(fields.values())))
    return json.dumps(fields)


# Every tool: rng -> (schema, question, arguments, result text, answer)


def weather(rng):
    name = rng.choice(("get_weather", "get_weather", "get_current_weather", "weather", "fetch_weather", "weather_lookup"))
    key = rng.choice(("city", "city", "location", "place", "town"))
    where = place(rng)
    question = rng.choice(("What is the weather in {v}?", "What's the weather in {v}?", "How is the weather in {v} today?", "Weather in {v}?", "Tell me the weather in {v}.", "Is it raining in {v}?", "How warm is it in {v}?",
                           "What is the weather like in {v}?", "What's the weather like in {v} right now?", "I am going to {v}, how is the weather there?", "Do I need an umbrella in {v}?", "Please check the weather in {v}.",
                           "Can you tell me the temperature in {v}?", "How cold is it in {v} now?", "weather {v}")).replace("{v}", where)
    temp, sky = rng.randrange(-15, 40), rng.choice(SKIES)
    form = rng.randrange(4)
    temperature = rng.choice(("temp", "temperature", "temp_c", "degrees"))
    if form == 0:
        text, answer = result(rng, **{temperature: temp}), f"It is {temp} degrees in {where}."
    elif form == 1:
        text, answer = f"{sky}, {temp} degrees", f"The weather in {where} is {sky} with {temp} degrees."
    else:
        fields = {temperature: temp, rng.choice(("condition", "sky", "weather", "conditions")): sky}
        if form == 2:
            fields = {key: where, **fields}
        text, answer = json.dumps(fields), f"The weather in {where} is {sky} with {temp} degrees."
    return schema(name, rng.choice(("Get the weather", "Get the current weather for a city", "Weather of a place", "Returns the weather")), rng, **{key: "string"}), question, {key: where}, text, answer


def calculator(rng):
    name = rng.choice(("calculator", "calculate", "compute", "evaluate"))
    key = rng.choice(("expression", "expression", "formula", "input"))
    op, word = rng.choice((("+", "plus"), ("-", "minus"), ("*", "times"), ("/", "divided by")))
    a, b = rng.randrange(1, 10 ** rng.choice((1, 2, 3, 4))), rng.randrange(1, 10 ** rng.choice((1, 2, 3)))
    value = {"+": a + b, "-": a - b, "*": a * b, "/": round(a / b, 3)}[op]
    question = rng.choice((f"What is {a} {word} {b}?", f"What is {a} {op} {b}?", f"Calculate {a} {op} {b}.", f"Compute {a} {word} {b}.", f"{a} {op} {b}", f"How much is {a} {word} {b}?", f"Please calculate {a} {word} {b}.", f"What's {a} {op} {b}?"))
    expression = f"{a} {op} {b}"
    return schema(name, rng.choice(("Evaluate an expression", "Calculator", "Do arithmetic")), rng, **{key: "string"}), question, {key: expression}, result(rng, result=value), f"{expression} = {value}."


def clock(rng):
    name = rng.choice(("get_time", "get_time", "get_current_time", "current_time", "clock"))
    key = rng.choice(("city", "location", "place", "timezone"))
    where = place(rng)
    now = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    question = rng.choice(("What time is it in {v}?", "What is the time in {v}?", "What's the time in {v}?", "Time in {v}?", "Tell me the time in {v}.", "How late is it in {v}?", "What time is it now in {v}?", "Can you tell me what time it is in {v}?")).replace("{v}", where)
    return schema(name, rng.choice(("Get the current time", "Time in a city", "Returns the local time")), rng, **{key: "string"}), question, {key: where}, result(rng, time=now), f"It is {now} in {where}."


def search(rng):
    name = rng.choice(("search", "web_search", "search_web", "find"))
    key = rng.choice(("query", "query", "q", "text"))
    topic = rng.choice(TOPICS)
    found = f"{invented_name(rng)} {rng.choice(('guide', 'page', 'shop', 'news'))}"
    question = rng.choice(("Search for {v}.", "Search the web for {v}.", "Find {v}.", "Look up {v}.", "Please search for {v}.", "Can you search for {v}?", "Find pages about {v}.")).replace("{v}", topic)
    return schema(name, rng.choice(("Search the web", "Find pages")), rng, **{key: "string"}), question, {key: topic}, result(rng, result=found), f"I found this: {found}."


def timer(rng):
    name = rng.choice(("set_timer", "start_timer", "timer"))
    unit = rng.choice(("minutes", "seconds"))
    n = rng.randrange(1, 91)
    question = rng.choice(("Set a timer for {v}.", "Start a timer of {v}.", "Timer for {v}.", "Please set a timer for {v}.", "Can you set a timer for {v}?")).replace("{v}", f"{n} {unit}")
    return schema(name, "Start a timer", rng, **{unit: "integer"}), question, {unit: n}, rng.choice(("ok", "done", '{"ok": true}')), f"The timer is set for {n} {unit}."


def translate(rng):
    text_key, language_key = rng.choice((("text", "language"), ("text", "target"), ("sentence", "language")))
    phrase, language = rng.choice(PHRASES), rng.choice(LANGUAGES)
    out = " ".join(invented_name(rng).lower() for _ in range(2))
    question = rng.choice(('Translate "{v}" to {w}.', 'Translate "{v}" into {w}.', 'What is "{v}" in {w}?', 'How do you say "{v}" in {w}?')).replace("{v}", phrase).replace("{w}", language)
    return schema(rng.choice(("translate", "translate_text")), "Translate a text", rng, **{text_key: "string", language_key: "string"}), question, {text_key: phrase, language_key: language}, result(rng, translation=out), f'In {language} it is "{out}".'


def stock(rng):
    key = rng.choice(("symbol", "ticker"))
    symbol = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randrange(3, 5)))
    price = rng.randrange(100, 50000) / 100
    question = rng.choice(("What is the price of {v}?", "What is {v} worth?", "Stock price of {v}?", "How much is a share of {v}?", "Get the price of {v}.")).replace("{v}", symbol)
    return schema(rng.choice(("get_stock_price", "stock_price", "get_price")), "Get a stock price", rng, **{key: "string"}), question, {key: symbol}, result(rng, price=price), f"The price of {symbol} is {price}."


def convert(rng):
    a, b = rng.sample(CURRENCIES, 2)
    n = rng.randrange(1, 1000)
    value = rng.randrange(100, 99999) / 100
    question = rng.choice(("Convert {n} {a} to {b}.", "How much is {n} {a} in {b}?", "What is {n} {a} in {b}?", "{n} {a} to {b}")).replace("{n}", str(n)).replace("{a}", a).replace("{b}", b)
    return schema(rng.choice(("convert_currency", "convert")), "Convert money", rng, amount="number", **{"from": "string", "to": "string"}), question, {"amount": n, "from": a, "to": b}, result(rng, result=value), f"{n} {a} is {value} {b}."


def light(rng):
    room, state = rng.choice(ROOMS), rng.choice(("on", "off"))
    question = rng.choice(("Turn {s} the light in the {r}.", "Switch {s} the {r} light.", "Please turn the {r} light {s}.", "Turn the light in the {r} {s}.")).replace("{s}", state).replace("{r}", room)
    return schema(rng.choice(("set_light", "switch_light", "light")), "Switch a light", rng, room="string", state="string"), question, {"room": room, "state": state}, rng.choice(("ok", "done", '{"ok": true}')), f"The light in the {room} is {state}."


def order(rng):
    key = rng.choice(("order_id", "id", "number"))
    n, status = rng.randrange(10, 99999), rng.choice(("shipped", "paid", "delayed", "delivered", "packed"))
    question = rng.choice(("Where is my order {v}?", "What is the status of order {v}?", "Status of order {v}?", "Check order {v}.", "Please look up order number {v}.")).replace("{v}", str(n))
    return schema(rng.choice(("get_order", "order_status", "lookup_order")), "Look up an order", rng, **{key: "integer"}), question, {key: n}, result(rng, status=status), f"Order {n} is {status}."


def date(rng):
    today = f"{rng.randrange(2024, 2031)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    question = rng.choice(("What is the date today?", "What day is it?", "What's today's date?", "Tell me the date.", "Which date is it?"))
    return schema(rng.choice(("get_date", "today", "current_date")), "Get the date", rng), question, {}, result(rng, date=today), f"Today is {today}."


def generic(rng):
    """A tool nobody has heard of, called by its name or by what it does."""
    verb, noun = rng.choice(VERBS), rng.choice(NOUNS)
    name = f"{verb}_{noun}"
    key = rng.choice(("name", "id", "path", "value", f"{noun}_name", "target"))
    value = rng.choice((invented_name(rng), invented_name(rng).lower(), f"{invented_name(rng).lower()}.txt", f"{rng.choice(NOUNS)}{rng.randrange(100)}"))
    question = rng.choice(("{V} the {n} {v}.", "Please {w} the {n} {v}.", "Can you {w} {n} {v}?", "{V} {n} {v}.", "Use {t} with {v}.", "Call {t} for {v}.", "Use the tool {t} on {v}.")
                          ).replace("{V}", verb.capitalize()).replace("{w}", verb).replace("{n}", noun).replace("{v}", value).replace("{t}", name)
    status = rng.choice(("ok", "done", "ready", "empty", "failed", "42", "3 items"))
    return schema(name, f"{verb.capitalize()} a {noun}", rng, **{key: "string"}), question, {key: value}, result(rng, result=status), f"The result is: {status}."


TOOLS = [weather, weather, weather, calculator, calculator, clock, clock, search, timer, translate, stock, convert, light, order, date, generic, generic, generic]


def unused(rng):
    return [rng.choice(TOOLS)(rng)[0] for _ in range(rng.choice((1, 1, 2, 3)))]


def typed(question, rng):
    """Light noise only: the values must stay as they are."""
    case = rng.random()
    if case < 0.1 and question[-1] in ".?":
        return question[:-1]
    if case < 0.2:
        return rng.choice(("Please tell me: ", "Hi! ", "Hello, ", "Hey, ")) + question
    return question


def conversation(rng, other):
    """(tools, turns); `other` makes a turn that needs no tool."""
    from corpus import Turn
    spec, question, arguments, text, answer = rng.choice(TOOLS)(rng)
    name = spec["function"]["name"]
    tools = [spec]
    for extra in (rng.choice(TOOLS)(rng)[0] for _ in range(rng.choice((0, 0, 1, 2)))):
        # Two tools that share a name or a purpose would make the right call a matter of taste.
        if extra["function"].get("description", "").rstrip(".") != spec["function"].get("description", "").rstrip(".") and extra["function"]["name"] != name:
            tools.append(extra)
    rng.shuffle(tools)
    turn = Turn(question, answer, f"I need the tool {name}.", [(name, arguments)], [text])
    if spec["function"]["name"] in ("get_weather", "get_time") and rng.random() < 0.08:
        key = next(iter(arguments))
        places = [arguments[key], place(rng)]
        what = "weather" if "weather" in name else "time"
        question = rng.choice((f"What is the {what} in {places[0]} and {places[1]}?", f"Compare the {what} in {places[0]} and {places[1]}."))
        if what == "weather":
            values = [rng.randrange(-15, 40) for _ in places]
            texts = [json.dumps({"temp": v}) for v in values]
            answer = f"It is {values[0]} degrees in {places[0]} and {values[1]} degrees in {places[1]}."
        else:
            values = [f"{rng.randrange(24):02}:{rng.randrange(60):02}" for _ in places]
            texts = [json.dumps({"time": v}) for v in values]
            answer = f"It is {values[0]} in {places[0]} and {values[1]} in {places[1]}."
        turn = Turn(question, answer, f"I call {name} twice.", [(name, {key: p}) for p in places], texts)
    turns = [turn]
    if rng.random() < 0.15:
        turns.insert(0, other(rng))
    elif rng.random() < 0.1:
        turns.append(other(rng))
    return tools, turns
