"""`google-genai` for Python."""

from google import genai
from google.genai import types
from probe import *

client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=URL))


def ask(contents=PROMPT, name=model(), on=client, **config):
    config = types.GenerateContentConfig(**config) if config else None
    return on.models.generate_content(model=name, contents=contents, config=config)


def pieces(name=model()):
    for chunk in client.models.generate_content_stream(model=name, contents=PROMPT):
        if chunk.text:
            yield chunk.text


def declared():
    weather = types.FunctionDeclaration(name="get_weather", parameters_json_schema=WEATHER)
    return {"tools": [types.Tool(function_declarations=[weather])]}


def tools():
    asked = ask(ASK_TOOL, **declared())
    call = asked.function_calls[0]
    same((call.name, call.args), ("get_weather", {"city": "Riga"}))
    result = types.Part.from_function_response(name="get_weather", response={"result": RESULT})
    result.function_response.id = call.id
    said = [types.Content(role="user", parts=[types.Part(text=ASK_TOOL)]),
            asked.candidates[0].content, types.Content(role="user", parts=[result])]
    answer = ask(said, **declared()).text
    holds(answer, SAID_RESULT)
    holds(answer, RESULT)


def image():
    parts = [types.Part(text="Look."), types.Part.from_bytes(data=PICTURE, mime_type="image/png")]
    holds(ask(parts).text, SEEN)


def error():
    fails(lambda: ask(name=model("limited")), "ClientError", "scripted limit")
    fails(lambda: list(pieces(model("refused"))), "ClientError", "scripted refusal")


def cancel():
    name = slow("genai-python", PROVIDER, "stream")
    leaves(name, lambda: pieces(model(name)))
    name = slow("genai-python", PROVIDER, "whole")
    short = genai.Client(api_key="any", http_options=types.HttpOptions(
        base_url=URL, timeout=1000, retry_options=types.HttpRetryOptions(attempts=1)))
    gives_up(name, lambda: ask(name=model(name), on=short))


tried("gemini", "models", lambda: holds([one.name for one in client.models.list()], model()))
tried("gemini", "text", lambda: words(ask().text))
tried("gemini", "stream", lambda: in_pieces(pieces()))
tried("gemini", "tools", tools)
tried("gemini", "image", image)
tried("gemini", "error", error)
tried("gemini", "cancel", cancel)
