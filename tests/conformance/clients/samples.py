"""The documents' Python programs, with the packages' requests built by hand from the standard library.

usage: HOST=http://... KEY=... MODEL=... samples.py NAME
Bodies and headers are those that the openai and anthropic packages send; answers are read the way the
packages and the programs read them, down to indexing choices[0] of every chunk. Prints what the program
would print; any surprise is an exception.
"""
import http.client
import json
import os
import sys
import urllib.parse

HOST, KEY, MODEL = os.environ["HOST"], os.environ["KEY"], os.environ["MODEL"]
QUESTION = [{"role": "user", "content": "Hello!"}]
STAINLESS = {
    "x-stainless-lang": "python", "x-stainless-package-version": "2.8.0", "x-stainless-os": "Linux",
    "x-stainless-arch": "x64", "x-stainless-runtime": "CPython", "x-stainless-runtime-version": "3.11.2",
    "x-stainless-async": "false", "x-stainless-retry-count": "0", "x-stainless-read-timeout": "600",
}


class StatusError(Exception):
    def __init__(self, status, headers, body):
        super().__init__(f"{status} {body}")
        self.status, self.headers, self.body = status, headers, body


def request(method, path, body, headers):
    where = urllib.parse.urlsplit(HOST)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=120)
    payload = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    connection.putrequest(method, path, skip_accept_encoding=True)
    sent = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive", **STAINLESS, **headers}
    if payload is not None:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(payload))}
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders(payload)
    response = connection.getresponse()
    # These packages would undo a compression; the bytes that were signed are not compressed.
    assert response.getheader("content-encoding") is None
    if response.status >= 400:
        raise StatusError(response.status, response.headers, json.loads(response.read()))
    return response


def openai(path, body=None, key=KEY):
    headers = {"User-Agent": "OpenAI/Python 2.8.0", "Authorization": f"Bearer {key}"}
    return request("GET" if body is None else "POST", "/v1" + path, body, headers)


def anthropic(path, body, prefix=""):
    headers = {"User-Agent": "Anthropic/Python 0.75.0", "X-Api-Key": KEY, "anthropic-version": "2023-06-01",
               "x-stainless-timeout": "600"}
    return request("POST", prefix + path, body, headers)


def events(response):
    """What the packages' decoders yield: (event name or None, data); a comment is passed over."""
    assert response.getheader("content-type").startswith("text/event-stream")
    name, data = None, []
    for line in response:
        line = line.decode("utf-8").rstrip("\r\n")
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = None, []
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)


def openai_models():
    for model in json.load(openai("/models"))["data"]:
        print(model["id"], model["object"], model["created"], model["owned_by"])


def openai_chat():
    response = json.load(openai("/chat/completions", {"messages": QUESTION, "model": MODEL}))
    print(response["choices"][0]["message"]["content"])
    assert response["usage"]["total_tokens"] > 0


def openai_chat_stream():
    stream = openai("/chat/completions", {"messages": QUESTION, "model": MODEL, "stream": True})
    done = False
    for _, data in events(stream):
        assert not done, "something follows [DONE]"
        if data == "[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if chunk["choices"][0]["delta"].get("content"):
            print(chunk["choices"][0]["delta"]["content"], end="", flush=True)
    assert done
    print()


def openai_responses():
    response = json.load(openai("/responses", {"input": "Hello!", "model": MODEL}))
    print("".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]))
    stream = openai("/responses", {"input": "Hello!", "model": MODEL, "stream": True})
    for name, data in events(stream):
        event = json.loads(data)
        assert name == event["type"]
        if event["type"] == "response.output_text.delta":
            print(event["delta"], end="", flush=True)
    assert event["type"] == "response.completed"


def openai_completions():
    body = {"model": MODEL, "prompt": "Darkbloom is an", "max_tokens": 20, "temperature": 0}
    print(json.load(openai("/completions", body))["choices"][0]["text"])
    for _, data in events(openai("/completions", {**body, "stream": True})):
        if data != "[DONE]":
            print(json.loads(data)["choices"][0]["text"], end="", flush=True)


def openai_errors():
    for status, code, call in [
        (401, "invalid_api_key", lambda: openai("/chat/completions", {"messages": QUESTION, "model": MODEL}, key="sk-db-no")),
        (404, "model_not_found", lambda: openai("/chat/completions", {"messages": QUESTION, "model": "nobody/knows"})),
    ]:
        try:
            call()
        except StatusError as e:
            assert e.status == status and e.body["error"]["code"] == code, e
            assert e.headers["x-request-id"]
            print(e)
        else:
            raise AssertionError(f"{status} expected")


def anthropic_message(prefix=""):
    body = {"max_tokens": 100, "messages": QUESTION, "model": MODEL}
    response = anthropic("/v1/messages", body, prefix)
    assert response.getheader("request-id")
    message = json.load(response)
    print(message["content"][0]["text"], message["stop_reason"], message["usage"]["output_tokens"])


def anthropic_message_stream():
    body = {"max_tokens": 100, "messages": QUESTION, "model": MODEL, "stream": True}
    types = []
    for name, data in events(anthropic("/v1/messages", body)):
        event = json.loads(data)
        assert name == event["type"]
        types.append(name)
        if name == "content_block_delta" and event["delta"]["type"] == "text_delta":
            print(event["delta"]["text"], end="", flush=True)
    assert types[0] == "message_start" and types[-2:] == ["message_delta", "message_stop"], types


def anthropic_doubled_prefix():
    anthropic_message("/v1")


def anthropic_count():
    print(json.load(anthropic("/v1/messages/count_tokens", {"messages": QUESTION, "model": MODEL}))["input_tokens"])


if __name__ == "__main__":
    globals()[sys.argv[1]]()
