"""A real model behind the gateway: whole and streamed answers, with each vendor's library."""

import sys

import anthropic
import openai
from google import genai
from google.genai import types

URL, MODEL = sys.argv[1:3]
SAID = [{"role": "user", "content": "Count to five."}]
CHAT = openai.OpenAI(api_key="any", base_url=f"{URL}/v1")
MESSAGES = anthropic.Anthropic(api_key="any", base_url=URL)
GEMINI = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=URL))
SHORT = types.GenerateContentConfig(max_output_tokens=24, temperature=0)


def show(what, pieces):
    pieces = [piece for piece in pieces if piece]
    print(f"{what:20} {len(pieces):3} pieces: {''.join(pieces)[:60]!r}")
    assert "".join(pieces).strip(), "no word came"


def chat(**more):
    return CHAT.chat.completions.create(
        model=MODEL, messages=SAID, max_tokens=24, temperature=0, **more)


def responses(**more):
    return CHAT.responses.create(model=MODEL, input="Count to five.", max_output_tokens=24, **more)


def messages(**more):
    return MESSAGES.messages.create(model=MODEL, max_tokens=24, messages=SAID, **more)


ASK = {"model": MODEL, "contents": "Count to five.", "config": SHORT}
show("chat", [chat().choices[0].message.content])
show("chat stream", (c.choices[0].delta.content for c in chat(stream=True) if c.choices))
show("responses", [responses().output_text])
show("responses stream", (e.delta for e in responses(stream=True) if e.type == "response.output_text.delta"))
show("messages", [messages().content[0].text])
show("messages stream", (e.delta.text for e in messages(stream=True) if e.type == "content_block_delta"))
show("gemini", [GEMINI.models.generate_content(**ASK).text])
show("gemini stream", (chunk.text for chunk in GEMINI.models.generate_content_stream(**ASK)))
