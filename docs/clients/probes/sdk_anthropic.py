"""`anthropic` for Python."""

import anthropic
from probe import *

client = anthropic.Anthropic(api_key="any", base_url=URL, max_retries=0)


def ask(content=PROMPT, name=model(), **more):
    said = content if isinstance(content, list) and "role" in content[0] else [
        {"role": "user", "content": content}]
    return client.messages.create(model=name, max_tokens=99, messages=said, **more)


def text(answer):
    return "".join(block.text for block in answer.content if block.type == "text")


def listed():
    holds([one.id for one in client.models.list(limit=1000)], model())


def stream():
    with client.messages.stream(
            model=model(), max_tokens=99, messages=[{"role": "user", "content": PROMPT}]) as stream:
        in_pieces(list(stream.text_stream))
        spent(stream.get_final_message().usage, "output_tokens", 7)


def tools():
    tools = [{"name": "get_weather", "input_schema": WEATHER}]
    asked = ask(ASK_TOOL, tools=tools)
    same(asked.stop_reason, "tool_use")
    call = next(block for block in asked.content if block.type == "tool_use")
    same(call.input, {"city": "Riga"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    said = [{"role": "user", "content": ASK_TOOL}, {"role": "assistant", "content": asked.content},
            {"role": "user", "content": [result]}]
    answer = text(ask(said, tools=tools))
    holds(answer, SAID_RESULT)
    holds(answer, RESULT)
    with client.messages.stream(model=model(), max_tokens=99, tools=tools,
                                messages=[{"role": "user", "content": ASK_TOOL}]) as stream:
        same(stream.get_final_message().content[-1].input, {"city": "Riga"})


def image():
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE_BASE64}
    parts = [{"type": "text", "text": "Look."}, {"type": "image", "source": source}]
    holds(text(ask(parts)), SEEN)


def error():
    fails(lambda: ask(name=model("limited")), "RateLimitError", "scripted limit")
    fails(lambda: list(ask(name=model("refused"), stream=True)), "BadRequestError",
          "scripted refusal")


def cancel():
    def pieces():
        with ask(name=model(name), stream=True) as stream:
            for event in stream:
                if event.type == "content_block_delta":
                    stream.close()
                    yield event.delta.text

    name = slow("anthropic-python", PROVIDER, "stream")
    leaves(name, pieces)
    name = slow("anthropic-python", PROVIDER, "whole")
    gives_up(name, lambda: ask(name=model(name), timeout=1))


tried("messages", "models", listed)
tried("messages", "text", lambda: words(text(ask())))
tried("messages", "stream", stream)
tried("messages", "tools", tools)
tried("messages", "image", image)
tried("messages", "error", error)
tried("messages", "cancel", cancel)
