"""Asks a server through a vendor's own SDK and prints what the SDK understood, a line of JSON each.

    parse.py DIALECT BASE_URL MODEL:stream MODEL:whole ...

The SDK validates what it reads with its own types; a field of the wrong shape is an exception here.
"""

import json
import sys


def call(call_id, name, arguments):
    return {"id": call_id, "name": name, "arguments": arguments}


def openai_chat(base_url, model, stream):
    from openai import OpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    client = OpenAI(base_url=base_url + "/v1", api_key="sk-test", max_retries=0)
    asked = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    seen = {"text": "", "reasoning": "", "refusal": "", "calls": {}, "finish": None, "usage": None}

    def usage(u):
        if u is None:
            return None
        details, more = u.prompt_tokens_details, u.completion_tokens_details
        return {
            "input": u.prompt_tokens,
            "output": u.completion_tokens,
            "cached": details.cached_tokens if details else None,
            "reasoning": more.reasoning_tokens if more else None,
        }

    if not stream:
        answer = client.chat.completions.create(**asked)
        ChatCompletion.model_validate(answer.model_dump(), strict=True)
        choice = answer.choices[0]
        message = choice.message
        return {
            "text": message.content or "",
            "reasoning": getattr(message, "reasoning_content", None) or "",
            "refusal": message.refusal or "",
            "calls": [
                call(c.id, c.function.name, json.loads(c.function.arguments))
                for c in message.tool_calls or []
            ],
            "finish": choice.finish_reason,
            "usage": usage(answer.usage),
        }
    chunks = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.model_dump(), strict=True)
        if chunk.usage:
            seen["usage"] = usage(chunk.usage)
        for choice in chunk.choices:
            delta = choice.delta
            seen["text"] += delta.content or ""
            seen["refusal"] += delta.refusal or ""
            seen["reasoning"] += getattr(delta, "reasoning_content", None) or ""
            for c in delta.tool_calls or []:
                known = seen["calls"].setdefault(c.index, {"id": "", "name": "", "arguments": ""})
                known["id"] += c.id or ""
                known["name"] += c.function.name or ""
                known["arguments"] += c.function.arguments or ""
            seen["finish"] = choice.finish_reason or seen["finish"]
    seen["calls"] = [
        call(c["id"], c["name"], json.loads(c["arguments"])) for c in seen["calls"].values()
    ]
    return seen


def openai_responses(base_url, model, stream):
    from openai import OpenAI
    from openai.types.responses import Response

    client = OpenAI(base_url=base_url + "/v1", api_key="sk-test", max_retries=0)
    asked = {"model": model, "input": "hello"}
    deltas = ""
    if stream:
        last = -1
        answer = None
        for event in client.responses.create(**asked, stream=True):
            assert event.sequence_number > last, "sequence numbers rise"
            last = event.sequence_number
            if event.type == "response.output_text.delta":
                deltas += event.delta
            if event.type in ("response.completed", "response.incomplete", "response.failed"):
                answer = event.response
            if event.type == "error":
                raise RuntimeError(event.message)
        assert answer is not None, "no terminal event"
        assert deltas == answer.output_text, (deltas, answer.output_text)
    else:
        answer = client.responses.create(**asked)
    Response.model_validate(answer.model_dump(), strict=False)
    seen = {"text": answer.output_text, "reasoning": "", "refusal": "", "calls": []}
    for item in answer.output:
        if item.type == "reasoning":
            seen["reasoning"] += "".join(s.text for s in item.summary)
            seen["reasoning"] += "".join(c.text for c in item.content or [])
        if item.type == "function_call":
            seen["calls"].append(call(item.call_id, item.name, json.loads(item.arguments)))
        if item.type == "message":
            seen["refusal"] += "".join(p.refusal for p in item.content if p.type == "refusal")
    details = answer.incomplete_details
    seen["finish"] = details.reason if details else answer.status
    usage = answer.usage
    seen["usage"] = usage and {
        "input": usage.input_tokens,
        "output": usage.output_tokens,
        "cached": usage.input_tokens_details.cached_tokens,
        "reasoning": usage.output_tokens_details.reasoning_tokens,
    }
    return seen


def anthropic_messages(base_url, model, stream):
    from anthropic import Anthropic
    from anthropic.types import Message

    client = Anthropic(base_url=base_url, api_key="sk-ant-test", max_retries=0)
    asked = {
        "model": model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hello"}],
    }
    if stream:
        deltas = ""
        with client.messages.stream(**asked) as events:
            for event in events:
                if event.type == "text":
                    deltas += event.text
            answer = events.get_final_message()
        whole = "".join(b.text for b in answer.content if b.type == "text")
        assert deltas == whole, (deltas, whole)
    else:
        answer = client.messages.create(**asked)
    Message.model_validate(answer.model_dump(), strict=False)
    usage = answer.usage
    return {
        "text": "".join(b.text for b in answer.content if b.type == "text"),
        "reasoning": "".join(b.thinking for b in answer.content if b.type == "thinking"),
        "refusal": "",
        "calls": [call(b.id, b.name, b.input) for b in answer.content if b.type == "tool_use"],
        "finish": answer.stop_reason,
        "usage": {
            "input": usage.input_tokens + (usage.cache_read_input_tokens or 0),
            "output": usage.output_tokens,
            "cached": usage.cache_read_input_tokens,
            "reasoning": usage.output_tokens_details.thinking_tokens
            if getattr(usage, "output_tokens_details", None)
            else None,
        },
    }


def gemini(base_url, model, stream):
    from google import genai
    from google.genai import types

    client = genai.Client(
        api_key="AIza-test",
        http_options=types.HttpOptions(base_url=base_url, api_version="v1beta"),
    )
    asked = {"model": model, "contents": "hello"}
    if stream:
        chunks = list(client.models.generate_content_stream(**asked))
    else:
        chunks = [client.models.generate_content(**asked)]
    seen = {"text": "", "reasoning": "", "refusal": "", "calls": [], "finish": None, "usage": None}
    counts = {}
    for chunk in chunks:
        for candidate in chunk.candidates or []:
            for part in (candidate.content and candidate.content.parts) or []:
                if part.function_call:
                    c = part.function_call
                    seen["calls"].append(call(c.id or c.name, c.name, c.args))
                elif part.text is not None:
                    seen["reasoning" if part.thought else "text"] += part.text
            if candidate.finish_reason:
                seen["finish"] = candidate.finish_reason.value
        u = chunk.usage_metadata
        if u:
            for name, value in u.model_dump().items():
                if isinstance(value, int):
                    counts[name] = value
    if counts:
        thoughts = counts.get("thoughts_token_count", 0)
        seen["usage"] = {
            "input": counts.get("prompt_token_count"),
            "output": counts.get("candidates_token_count", 0) + thoughts,
            "cached": counts.get("cached_content_token_count"),
            "reasoning": thoughts,
        }
    return seen


DIALECTS = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic-messages": anthropic_messages,
    "gemini": gemini,
}


def main():
    dialect, base_url, *asks = sys.argv[1:]
    for ask in asks:
        model, mode = ask.rsplit(":", 1)
        try:
            seen = DIALECTS[dialect](base_url, model, mode == "stream")
        except Exception as error:  # what the user of the SDK would have to catch
            status = getattr(error, "status_code", None) or getattr(error, "code", None)
            seen = {"error": type(error).__name__, "status": status, "message": str(error)}
        print(json.dumps({"ask": ask, "seen": seen}))


main()
