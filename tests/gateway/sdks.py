"""The vendors' own SDKs, unmodified, against a gateway: one line for each thing that was tried."""

import sys

import anthropic
import openai
from google import genai
from google.genai import types

URL, MODEL = sys.argv[1], "lab/m"
SAID = [{"role": "user", "content": "red green"}]


def tried(what, work):
    try:
        result = work()
    except Exception as error:
        result = f"{type(error).__name__} {getattr(error, 'status_code', getattr(error, 'code', ''))}"
    print(f"{what}: {result}")


def with_openai():
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0)
    chat = client.chat.completions.create

    def pieces():
        stream = chat(model=MODEL, messages=SAID, stream=True)
        return "|".join(c.choices[0].delta.content or "" for c in stream if c.choices)

    def events():
        with client.responses.stream(model=MODEL, input="red green") as stream:
            last = [event.type for event in stream][-1]
            return f"{last} {stream.get_final_response().output_text}"

    embed = client.embeddings.create
    tried("openai chat", lambda: chat(model=MODEL, messages=SAID).choices[0].message.content)
    tried("openai chat stream", pieces)
    tried("openai response", lambda: client.responses.create(model=MODEL, input="x").output_text)
    tried("openai response stream", events)
    tried("openai vectors", lambda: embed(model="lab/embed-1", input=["a", "b"]).data[0].embedding)
    tried("openai models", lambda: MODEL in [model.id for model in client.models.list()])
    tried("openai model", lambda: client.models.retrieve("lab/org/big").id)
    tried("openai unknown model", lambda: chat(model="lab-m-nothing", messages=SAID))
    tried("openai limited", lambda: chat(model="lab/limited", messages=SAID))
    tried("openai bad request", lambda: chat(model=MODEL, messages=[{"role": "x", "content": "y"}]))


def with_anthropic():
    client = anthropic.Anthropic(base_url=URL, api_key="any", max_retries=0)

    def ask(**more):
        return client.messages.create(**{"model": MODEL, "max_tokens": 9, "messages": SAID, **more})

    def pieces():
        with client.messages.stream(model=MODEL, max_tokens=9, messages=SAID) as stream:
            return "|".join(stream.text_stream)

    tried("anthropic message", lambda: ask().content[0].text)
    tried("anthropic message stream", pieces)
    tried("anthropic models", lambda: MODEL in [model.id for model in client.models.list()])
    tried("anthropic unknown model", lambda: ask(model="lab-m-nothing"))
    tried("anthropic limited", lambda: ask(model="lab/limited"))


def with_genai():
    client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=URL))
    models = client.models

    def pieces():
        chunks = models.generate_content_stream(model=MODEL, contents="red green")
        return "|".join(chunk.text for chunk in chunks if chunk.text)

    def vectors():
        return models.embed_content(model="lab/embed-1", contents=["a", "b"]).embeddings[0].values

    tried("genai answer", lambda: models.generate_content(model=MODEL, contents="x").text)
    tried("genai stream", pieces)
    tried("genai vectors", vectors)
    tried("genai models", lambda: f"models/{MODEL}" in [model.name for model in models.list()])
    tried("genai unknown model", lambda: models.generate_content(model="lab-nothing", contents="x"))


with_openai()
with_anthropic()
with_genai()
