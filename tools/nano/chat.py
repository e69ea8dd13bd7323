"""Renders conversations by the model's own chat template, in the environment that chat servers share."""

import json
import pathlib

from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE = (pathlib.Path(__file__).parent / "chat_template.jinja").read_text().rstrip("\n")


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def compile_template():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = tojson
    return environment.from_string(TEMPLATE)


COMPILED = compile_template()


def render(messages, tools=None, thinking=False, generate=False):
    return COMPILED.render(messages=messages, tools=tools, enable_thinking=thinking, add_generation_prompt=generate)
