"""`openai` for Python: Chat Completions and Responses."""

import json

import openai
from probe import *

client = openai.OpenAI(api_key="any", base_url=f"{URL}/v1", max_retries=0)
listed = lambda: holds([one.id for one in client.models.list()], model())


def chat(content=PROMPT, name=model(), **more):
    said = content if isinstance(content, list) and "role" in content[0] else [
        {"role": "user", "content": content}]
    return client.chat.completions.create(model=name, messages=said, **more)


def chat_pieces(name=model()):
    for chunk in chat(name=name, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def chat_usage():
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    spent(chunks[-1].usage, "total_tokens", 19)
    in_pieces(chat_pieces())


def chat_tools():
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    asked = chat(ASK_TOOL, tools=tools).choices[0]
    same(asked.finish_reason, "tool_calls")
    call = asked.message.tool_calls[0]
    same(json.loads(call.function.arguments), {"city": "Riga"})
    said = [{"role": "user", "content": ASK_TOOL}, asked.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    answer = chat(said, tools=tools).choices[0].message.content
    holds(answer, SAID_RESULT)
    holds(answer, RESULT)
    with client.chat.completions.stream(
            model=model(), messages=[{"role": "user", "content": ASK_TOOL}], tools=tools) as stream:
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    same(json.loads(call.function.arguments), {"city": "Riga"})


def chat_image():
    url = {"url": f"data:image/png;base64,{PICTURE_BASE64}"}
    parts = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": url}]
    holds(chat(parts).choices[0].message.content, SEEN)


def chat_error():
    fails(lambda: chat(name=model("limited")), "RateLimitError", "scripted limit")
    fails(lambda: list(chat(name=model("refused"), stream=True)), "BadRequestError", "scripted refusal")


def chat_cancel():
    name = slow("openai-python", f"chat-{PROVIDER}", "stream")
    leaves(name, lambda: closing(chat(name=model(name), stream=True)))
    name = slow("openai-python", f"chat-{PROVIDER}", "whole")
    gives_up(name, lambda: chat(name=model(name), timeout=1))


def closing(stream):
    with stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                stream.close()
                yield chunk.choices[0].delta.content


def respond(input=PROMPT, name=model(), **more):
    return client.responses.create(model=name, input=input, **more)


def deltas(stream):
    for event in stream:
        if event.type == "response.output_text.delta":
            yield event.delta


def response_stream():
    with client.responses.stream(model=model(), input=PROMPT) as stream:
        in_pieces(list(deltas(stream)))
        spent(stream.get_final_response().usage, "total_tokens", 19)


def response_tools():
    tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]
    asked = respond(ASK_TOOL, tools=tools, store=False)
    call = next(item for item in asked.output if item.type == "function_call")
    same(json.loads(call.arguments), {"city": "Riga"})
    said = [{"role": "user", "content": ASK_TOOL}, *asked.output,
            {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
    answer = respond(said, tools=tools, store=False).output_text
    holds(answer, SAID_RESULT)
    holds(answer, RESULT)


def response_image():
    parts = [{"type": "input_text", "text": "Look."},
             {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE_BASE64}"}]
    holds(respond([{"role": "user", "content": parts}]).output_text, SEEN)


def response_error():
    fails(lambda: respond(name=model("limited")), "RateLimitError", "scripted limit")
    fails(lambda: list(respond(name=model("refused"), stream=True)), "BadRequestError",
          "scripted refusal")


def response_cancel():
    def pieces():
        with respond(name=model(name), stream=True) as stream:
            for piece in deltas(stream):
                stream.close()
                yield piece

    name = slow("openai-python", f"responses-{PROVIDER}", "stream")
    leaves(name, pieces)
    name = slow("openai-python", f"responses-{PROVIDER}", "whole")
    gives_up(name, lambda: respond(name=model(name), timeout=1))


tried("chat", "models", listed)
tried("chat", "text", lambda: words(chat().choices[0].message.content))
tried("chat", "stream", chat_usage)
tried("chat", "tools", chat_tools)
tried("chat", "image", chat_image)
tried("chat", "error", chat_error)
tried("chat", "cancel", chat_cancel)
tried("responses", "models", listed)
tried("responses", "text", lambda: words(respond().output_text))
tried("responses", "stream", response_stream)
tried("responses", "tools", response_tools)
tried("responses", "image", response_image)
tried("responses", "error", response_error)
tried("responses", "cancel", response_cancel)
