#!/usr/bin/env python3
"""Writes the golden files of the template interpreter with Jinja2 as the reference.

  tests/golden/text/jinja_expressions.json   small templates and what they print
  tests/golden/text/chat_templates.json      chat templates over a matrix of conversations, and over lists of parts

usage: make_template_golden.py --templates FOLDER

Reference environment: python3-jinja2 3.1, ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks,
loop controls, the generation tag and json.dumps as tojson, as chat template users expect them.
The folder holds *.jinja files as models ship them; only hashes of its renders are kept here. Templates that could not
be had are written by their description, in tests/golden/text/templates.
"""
import argparse
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from template_cases import CONTEXT, CONVERSATIONS, EXPRESSIONS, FULL_TEXTS, PART_LISTS, TOOL_SETS  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "text"
END_OF_CONTINUED = "\ue0db\uf8ff\ue0db"  # behind a last assistant message, to find where it ends in the text


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}: renders its body in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class Raised(Exception):
    pass


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise Raised(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    # 2024-02-05 13:07:09, a Monday
    import datetime
    moment = datetime.datetime(2024, 2, 5, 13, 7, 9)
    env.globals["strftime_now"] = moment.strftime
    return env


def outcome(env, source, variables):
    """{"out": text}, {"raised": message} or {"error": class name}."""
    try:
        return {"out": env.from_string(source).render(**variables)}
    except Raised as e:
        return {"raised": str(e)}
    except Exception as e:  # noqa: BLE001 - every failure is an expected outcome here
        return {"error": type(e).__name__}


def text_of(content):
    """Message content as one string: parts are joined, null is empty."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def prepared(messages):
    """What the server hands to a template for OpenAI messages."""
    out = []
    for m in messages:
        p = {"role": m["role"], "content": text_of(m.get("content"))}
        if m.get("name"):
            p["name"] = m["name"]
        if m.get("reasoning_content"):
            p["reasoning_content"] = m["reasoning_content"]
        if m.get("tool_calls"):
            p["tool_calls"] = [
                {"id": c["id"], "type": "function",
                 "function": {"name": c["function"]["name"],
                              "arguments": json.loads(c["function"]["arguments"])}}
                for c in m["tool_calls"]]
        if m.get("tool_call_id"):
            p["tool_call_id"] = m["tool_call_id"]
        out.append(p)
    return out


def with_tool_responses(messages):
    """For templates that know no tool role: results move into the assistant message."""
    out = []
    for m in messages:
        last = out[-1] if out else None
        if m["role"] == "tool" and last and last["role"] == "assistant":
            name = m.get("name")
            for call in last.get("tool_calls", []):
                if call["id"] == m.get("tool_call_id"):
                    name = call["function"]["name"]
            response = {"response": m["content"]}
            if name:
                response = {"name": name, "response": m["content"]}
            last.setdefault("tool_responses", []).append(response)
        elif (m["role"] == "assistant" and last and last.get("tool_responses")
              and not m.get("tool_calls")):
            last["content"] = last["content"] + ("\n" if last["content"] else "") + m["content"]
        else:
            out.append(dict(m))
    return out


def is_continued(conversation):
    """Whether the last message is an assistant's without calls: the model writes on where it ends."""
    last = conversation["messages"][-1] if conversation["messages"] else {"role": "user"}
    return last["role"] == "assistant" and not last.get("tool_calls")


def variables_for(source, conversation):
    messages = prepared(conversation["messages"])
    if "tool_responses" in source and "tool_call_id" not in source:
        messages = with_tool_responses(messages)
    if is_continued(conversation):
        messages[-1] = messages[-1] | {"content": messages[-1]["content"] + END_OF_CONTINUED}
    variables = {
        "messages": messages,
        "tools": TOOL_SETS[conversation["tools"]] if conversation.get("tools") else None,
        "documents": None,
        "add_generation_prompt": not is_continued(conversation),
        "bos_token": "<BOS>",
        "eos_token": "<EOS>",
    }
    if "enable_thinking" in conversation:
        variables["enable_thinking"] = conversation["enable_thinking"]
    return variables


def cut(result, conversation):
    """What of a render is the prompt: nothing behind a message that is to be continued."""
    if "out" not in result or not is_continued(conversation):
        return result
    text, mark, _ = result["out"].rpartition(END_OF_CONTINUED)
    return {"out": text} if mark else {"error": "cannot be continued"}


def part_list_variables(conversation):
    """For messages as they come."""
    return {"messages": conversation["messages"], "tools": None, "documents": None, "add_generation_prompt": True,
            "bos_token": "<BOS>", "eos_token": "<EOS>"}


def fnv1a(data):
    """64-bit FNV-1a: enough to notice a difference, and a few lines in the test."""
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def write(name, data, limit):
    text = json.dumps(data, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n"
    if len(text.encode()) > limit:
        sys.exit(f"{name} would have {len(text.encode())} bytes, more than {limit}")
    (GOLDEN / name).write_text(text)
    print(f"{name}: {len(text.encode())} bytes")


def main():
    args = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--templates", required=True, type=pathlib.Path)
    folder = args.parse_args().templates
    env = environment()
    GOLDEN.mkdir(parents=True, exist_ok=True)

    cases = [{"template": source, **outcome(env, source, CONTEXT)} for source in EXPRESSIONS]
    write("jinja_expressions.json", {"context": CONTEXT, "cases": cases}, 200_000)

    def record(path, conversation, result):
        case = {"template": path.name, "conversation": conversation["name"]}
        if path.parent == own:
            case["own"] = True
        if "out" in result:
            text = result["out"].encode()
            case["fnv1a"] = f"{fnv1a(text):016x}"
            case["bytes"] = len(text)
            if (path.name, conversation["name"]) in FULL_TEXTS:
                case["out"] = result["out"]
        else:
            case.update(result)
        return case

    own = GOLDEN / "templates"
    renders, part_renders = [], []
    for path in sorted(folder.glob("*.jinja")) + sorted(own.glob("*.jinja")):
        source = path.read_text()
        for conversation in CONVERSATIONS:
            result = outcome(env, source, variables_for(source, conversation))
            renders.append(record(path, conversation, cut(result, conversation)))
        for conversation in PART_LISTS:
            result = outcome(env, source, part_list_variables(conversation))
            part_renders.append(record(path, conversation, result))
    write("chat_templates.json",
          {"conversations": CONVERSATIONS, "tool_sets": TOOL_SETS, "renders": renders,
           "part_lists": PART_LISTS, "part_list_renders": part_renders}, 400_000)


if __name__ == "__main__":
    main()
