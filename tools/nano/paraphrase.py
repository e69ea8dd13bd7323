"""Rewords questions and types them with the noise of real users.

A model of this size has no notion of meaning beyond what it has seen, so what it must learn is which
few words of a question decide. Hence general rewording on top of the templates: other frames around
the same question, synonyms, filler words, and questions shrunk to their keywords.
"""

import re

# (pattern, replacements): the pattern must match the whole question; {0}, {1} are its groups, {l0} is
# the first with a small letter.
FRAMES = [
    (r"(?:What is|What's) (.+)",
     ["Do you know what {0} is", "Do you happen to know what {0} is", "Can you tell me what {0} is",
      "I wonder what {0} is", "I want to know what {0} is", "Please tell me what {0} is",
      "Could you say what {0} is", "Would you tell me what {0} is", "{0}, what is it",
      "What exactly is {0}", "What would be {0}", "I'd like to know what {0} is", "Say what {0} is",
      "What might {0} be"]),
    (r"(?:What are) (.+)",
     ["Do you know what {0} are", "Can you tell me what {0} are", "I wonder what {0} are",
      "Please tell me {0}", "Could you name {0}", "What exactly are {0}", "Say what {0} are"]),
    (r"What does (.+) (do|mean|return|cost|stand for)",
     ["Do you know what {0} {1}s", "Can you tell me what {0} {1}s", "What would {0} {1}",
      "Please explain what {0} {1}s", "I wonder what {0} {1}s", "What will {0} {1}"]),
    (r"(?:How do I|How can I|How to|How would I|How do you|How does one) (.+)",
     ["Could you tell me how I {0}", "Is there a way to {0}", "Is it possible to {0}",
      "I have to {0}", "How should I {0}", "What is the best way to {0}", "Please help me to {0}",
      "Do you know how to {0}", "What do I do to {0}", "How might I {0}", "I am trying to {0}",
      "How could one {0}", "Could you explain how to {0}", "What steps do I need to {0}",
      "Can I somehow {0}", "I'd like to know how to {0}", "How can you {0}",
      "How are we able to {0}", "Which command do I need to {0}",
      "Which command should I run to {0}", "What must I type to {0}", "What do I run to {0}"]),
    (r"(What|Which) (\w+) (is|are|has|have|does|do|can|comes|shows|lists|starts|sets) (.+)",
     ["Do you know which {1} {2} {3}", "Tell me which {1} {2} {3}",
      "Can you tell me which {1} {2} {3}", "I wonder what {1} {2} {3}", "So which {1} {2} {3}",
      "Could you tell me which {1} {2} {3}", "Would you know what {1} {2} {3}",
      "I need to know which {1} {2} {3}"]),
    (r"How many (.+)",
     ["Do you know how many {0}", "Can you tell me how many {0}", "What number of {0}",
      "I wonder how many {0}", "Tell me how many {0}", "And how many {0}"]),
    (r"(?:Where is|Where's) (.+)",
     ["Do you know where {0} is", "Can you tell me where {0} is", "Where would I find {0}",
      "Where can I find {0}", "Tell me where {0} is", "I wonder where {0} is",
      "Where exactly is {0}", "Where should I look for {0}"]),
    (r"Who (is|was) (.+)",
     ["Do you know who {1} {0}", "Can you tell me who {1} {0}", "Tell me who {1} {0}",
      "Please say who {1} {0}"]),
    (r"(Does|Can|Is|Are|Do|Will) (.+)",
     ["Tell me, {l0} {1}", "I wonder: {l0} {1}", "{0} {1} or not", "Say, {l0} {1}",
      "Please tell me: {l0} {1}", "So {l0} {1}"]),
    (r"Where (.+)",
     ["Do you know where {0}", "Tell me: where {0}", "From where {0}"]),
    (r"(What|Which|Who|When|Why|How) (.+)",
     ["Say, {l0} {1}", "Tell me {l0} {1}", "So {l0} {1}", "I wonder {l0} {1}",
      "I ask myself {l0} {1}", "{0} on earth {1}"]),
]

SYNONYMS = {
    "start": ["launch", "run", "begin", "fire up", "boot"],
    "run": ["start", "execute", "launch", "use"], "show": ["display", "tell", "print", "give"],
    "create": ["make", "generate", "add", "get", "produce"],
    "larger": ["bigger", "greater", "stronger"], "largest": ["biggest", "greatest"],
    "biggest": ["largest"], "machine": ["computer", "PC", "system", "box", "laptop", "hardware"],
    "computer": ["machine", "PC", "system"],
    "use": ["utilise", "work with", "employ", "make use of", "take"],
    "download": ["fetch", "get", "pull down", "obtain"],
    "list": ["show", "enumerate", "see", "name"], "load": ["open", "use", "run", "bring in"],
    "stop": ["end", "halt", "quit", "kill"],
    "change": ["set", "modify", "switch", "alter", "adjust"],
    "check": ["verify", "test", "control", "examine"], "address": ["URL", "host", "location"],
    "support": ["handle", "allow", "know", "offer"],
    "supported": ["available", "possible", "allowed", "handled"],
    "need": ["require", "want", "have to have"], "needed": ["required", "necessary"],
    "called": ["named", "known as"], "colour": ["color"], "make": ["create", "produce"],
    "program": ["software", "app", "application", "tool"], "server": ["node", "service", "program"],
    "written": ["programmed", "coded", "developed", "implemented"],
    "language": ["programming language"], "see": ["view", "find", "look at", "know"],
    "find": ["get", "see", "locate", "look up"], "models": ["language models", "LLMs"],
    "answer": ["reply", "response"], "answers": ["replies", "responses"],
    "measure": ["test", "find out", "determine"], "key": ["API key", "token"],
    "prompts": ["messages", "questions", "inputs", "texts"],
    "private": ["secret", "confidential", "safe"],
    "stored": ["saved", "kept", "written down", "recorded"],
    "logged": ["stored", "recorded", "saved"],
    "option": ["flag", "switch", "parameter", "argument", "setting"],
    "command": ["subcommand", "tool"], "endpoint": ["path", "route", "URL"],
    "wrong": ["broken", "not right"], "fast": ["quick", "speedy"], "comes": ["follows", "is"],
    "city": ["town"], "country": ["nation", "state"], "sound": ["noise"], "signature": ["signing"],
    "response": ["answer", "reply"], "billed": ["charged", "paid", "counted"],
    "default": ["standard", "usual", "normal"], "port": ["TCP port", "network port"],
    "new": ["fresh", "another", "additional"], "fits": ["fits into memory on", "works on", "suits"],
    "memory": ["RAM"], "GPU": ["graphics card", "video card", "graphics processor"],
    "GPUs": ["graphics cards", "video cards"], "licence": ["license"],
    "mean": ["tell me", "say", "signify"], "missing": ["absent", "lacking", "not there"],
    "enable": ["turn on", "activate", "switch on"], "help": ["assist"], "speed": ["performance"],
    "free": ["gratis"], "bye": ["goodbye"], "friend": ["pal"], "joke": ["funny story"],
    "tallest": ["highest"], "freeze": ["turn to ice"], "boil": ["cook", "start boiling"],
}

FILLERS = [
    "actually", "exactly", "really", "just", "please", "maybe", "now", "then", "again", "also",
    "quickly", "briefly", "currently", "usually", "normally", "simply", "kindly",
]

TAILS = [
    "please", "exactly", "now", "today", "for me", "in short", "in one sentence", "again",
    "right now", "here", "then", "actually", "if you know", "by the way", "thanks", "nano",
    "my friend", "briefly", "on this machine", "in your opinion", "or something else", "at all",
    "really", "altogether", "in total", "in general",
]

OPENERS = [
    "Please tell me: ", "Tell me: ", "Quick question: ", "Question: ", "I have a question: ",
    "Hi, ", "Hello, ", "Hey, ", "OK, ", "So, ", "And ", "Well, ", "Hello! ", "Hi! ",
    "Can you help me? ", "Please: ", "Now ", "Nano, ", "Excuse me, ", "Just curious: ",
    "One more thing: ", "Hey nano, ", "Hello nano, ", "Sorry, ", "Hmm, ", "Oh, ", "By the way, ",
    "I am new here. ", "I am a beginner. ", "Thanks. ", "Good. ", "Please, ",
    "Could you answer this: ",
]

# Words that carry no meaning here.
DROPPABLE = frozenset((
    "what is the a an do i does how can to of are which in on for it me my you tell did was "
    "there be that this have has with by at would could please").split())

# Beginnings of what is not a question.
STATEMENTS = (
    "Tell", "Explain", "Name", "List", "Show", "I ", "I'd", "I'm", "Run", "Describe", "Give", "Add",
    "Subtract", "Multiply", "Divide", "Count", "Write", "Say", "My ", "You ", "Please", "Good",
    "Help", "Set", "Double", "Summ", "Thank", "Hello", "Hi", "Hey", "Bye", "Take", "Let",
)


def lower_first(text):
    return text if text.startswith(("I ", "I'")) or text[1:2].isupper() else text[:1].lower() + text[1:]


def framed(text, rng):
    fitting = [(re.fullmatch(pattern, text), forms) for pattern, forms in FRAMES]
    fitting = [(m, forms) for m, forms in fitting if m]
    if not fitting:
        return text
    m, forms = fitting[0] if rng.random() < 0.7 else rng.choice(fitting)
    text = rng.choice(forms)
    for i, group in enumerate(m.groups()):
        text = text.replace("{%d}" % i, group).replace("{l%d}" % i, lower_first(group))
    return text[:1].upper() + text[1:]


def synonyms(text, rng):
    def other(m):
        return rng.choice(SYNONYMS[m[0]]) if m[0] in SYNONYMS and rng.random() < 0.6 else m[0]
    return re.sub(r"[A-Za-z]+", other, text)


def keywords(text):
    kept = [w for w in text.split() if w.lower().strip("?.,") not in DROPPABLE]
    return " ".join(kept) if len(kept) >= 2 else text


def drop_word(text, rng):
    words = text.split()
    if len(words) < 5:
        return text
    spots = [i for i, w in enumerate(words) if w.lower() in DROPPABLE]
    if spots:
        del words[rng.choice(spots)]
    return " ".join(words)


def insert_filler(text, rng):
    words = text.split()
    if len(words) < 3:
        return text
    words.insert(rng.randrange(1, len(words)), rng.choice(FILLERS))
    return " ".join(words)


def typo(text, rng):
    spots = list(re.finditer(r"[A-Za-z]{4,}", text))
    if not spots:
        return text
    m = rng.choice(spots)
    i = rng.randrange(m.start() + 1, m.end() - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1:]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    return text[:i] + text[i + 1] + text[i] + text[i + 2:]


def reword(text, rng):
    if rng.random() < 0.25:
        text = synonyms(text, rng)
    if rng.random() < 0.25:
        text = framed(text, rng)
    if rng.random() < 0.04:
        return keywords(text)
    if rng.random() < 0.06:
        text = drop_word(text, rng)
    if rng.random() < 0.08:
        text = insert_filler(text, rng)
    return text


def typed(question, rng, exact=False, follows=False):
    """The question as somebody would type it. `exact`: its words are data; `follows`: it leans on the turn before."""
    text = question.strip()
    plain = exact or follows
    if not plain and len(text.split()) > 2:
        text = reword(text, rng)
    if not follows and len(text) > 8:
        if rng.random() < 0.1:
            text += rng.choice((" ", ", ")) + rng.choice(TAILS)
        if rng.random() < 0.14:
            opener = rng.choice(OPENERS)
            text = opener + (text if opener.endswith(("! ", "? ", ". ")) else lower_first(text))
    if text[-1:] not in ".?!=" and rng.random() < 0.72:
        text += rng.choice((".", ".", "!", "")) if text.startswith(STATEMENTS) else "?"
    if not plain and len(text) > 12 and rng.random() < 0.06:
        text = typo(text, rng)
    case = rng.random()
    if case < 0.2:
        text = text.lower()
    elif case < 0.212 and not exact:
        text = text.upper()
    elif case > 0.9:
        text = text[:1].upper() + text[1:]
    return text
