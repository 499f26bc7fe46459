"""The vendors' dialects, from their side: what a request holds, what is answered, and how it is written.
Written from the vendors' documented shapes, never with Maestro's own code.

Models whose name begins with `slow`, `limited` or `refused` misbehave; any other says `red green`,
names the picture that it was sent, calls a tool if the prompt holds `USE-TOOL PATH`, and repeats
what a tool returned.
"""

import base64
import json
import re

TEXT = ["red ", "green"]
USAGE = (12, 7)
TOOLS = ["get_weather", "Read", "read_file", "exec_command", "shell_command", "shell",
         "run_shell_command", "Bash"]


class Asked:
    """A request, whatever its dialect."""

    def __init__(self):
        self.model, self.stream = "", False
        self.said, self.results, self.pictures, self.tools = [], [], [], {}

    def picture(self, mime, data):
        self.pictures.append(f"{mime} of {len(base64.b64decode(data, altchars=b'-_' if set(data) & set('-_') else None))} bytes")

    def data_url(self, url):
        if isinstance(url, dict):
            url = url.get("url", "")
        head, _, data = (url or "").partition(";base64,")
        if data:
            self.picture(head.removeprefix("data:"), data)


def each(value):
    return value if isinstance(value, list) else []


def read_chat(body, asked):
    for message in each(body.get("messages")):
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else each(content)
        for part in parts:
            if part.get("type") == "text":
                kind = asked.results if message["role"] == "tool" else asked.said
                kind.append(part["text"])
            elif part.get("type") == "image_url":
                asked.data_url(part["image_url"])
    for tool in each(body.get("tools")):
        if tool.get("type") == "function":
            asked.tools[tool["function"]["name"]] = tool["function"].get("parameters")


def read_responses(body, asked):
    items = body.get("input")
    asked.said.append(body.get("instructions") or "")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    for item in each(items):
        kind = item.get("type", "message")
        if kind == "message":
            content, into = item.get("content"), asked.said
        elif kind in ("function_call_output", "custom_tool_call_output"):
            content, into = item.get("output"), asked.results
        else:
            continue
        if isinstance(content, str):
            content = [{"type": "input_text", "text": content}]
        for part in each(content):
            if part.get("type") in ("input_text", "output_text"):
                into.append(part["text"])
            elif part.get("type") == "input_image":
                asked.data_url(part.get("image_url"))
                if into is asked.results:
                    into.append("a picture")
    for tool in each(body.get("tools")):
        for one in each(tool.get("tools")) if tool.get("type") == "namespace" else [tool]:
            if one.get("type") == "function":
                asked.tools[one["name"]] = one.get("parameters")


def read_messages(body, asked):
    def blocks(content, into):
        if isinstance(content, str):
            into.append(content)
        for block in each(content):
            if block.get("type") == "text":
                into.append(block["text"])
            elif block.get("type") == "image" and block["source"]["type"] == "base64":
                asked.picture(block["source"]["media_type"], block["source"]["data"])
                if into is asked.results:
                    into.append("a picture")
            elif block.get("type") == "tool_result":
                blocks(block.get("content"), asked.results)

    blocks(body.get("system"), asked.said)
    for message in each(body.get("messages")):
        blocks(message.get("content"), asked.said)
    for tool in each(body.get("tools")):
        if "input_schema" in tool:
            asked.tools[tool["name"]] = tool["input_schema"]


def camel(value):
    """Google reads both spellings of its fields, and its own libraries send either."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    spelled = lambda name: re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
    # Below a schema or arguments names are the client's own.
    own = ("properties", "args", "response", "parametersJsonSchema", "parameters")
    return {spelled(name): one if spelled(name) in own else camel(one) for name, one in value.items()}


def read_gemini(body, asked):
    body = camel(body)
    for content in [body.get("systemInstruction") or {}, *each(body.get("contents"))]:
        for part in each(content.get("parts")):
            if "text" in part:
                asked.said.append(part["text"])
            elif "inlineData" in part:
                asked.picture(part["inlineData"]["mimeType"], part["inlineData"]["data"])
            elif "functionResponse" in part:
                response = part["functionResponse"]
                asked.results.append(json.dumps(response.get("response")))
                read_gemini({"contents": [{"parts": response.get("parts")}]}, asked)
    for tool in each(body.get("tools")):
        for one in each(tool.get("functionDeclarations")):
            asked.tools[one["name"]] = one.get("parametersJsonSchema") or one.get("parameters")


def arguments(schema, path):
    """Fills what a tool requires: a path, a command that shows the file, or anything."""
    filled = {}
    properties = (schema or {}).get("properties") or {}
    for name in (schema or {}).get("required") or list(properties)[:1]:
        kind = str((properties.get(name) or {}).get("type", "string")).lower()
        if name in ("cmd", "command"):
            filled[name] = ["cat", path] if kind == "array" else f"cat {path}"
        elif "path" in name:
            filled[name] = path
        else:
            other = {"boolean": False, "integer": 1, "number": 1, "array": [], "object": {}}
            filled[name] = other.get(kind, "Riga" if name == "city" else "look")
    return filled


def plan(asked):
    """Decides: `("says", pieces)`, `("calls", name, arguments)` or a failure."""
    for failure in ("slow", "limited", "refused"):
        if asked.model.startswith(failure):
            return (failure,)
    seen = f" Saw {', '.join(asked.pictures)}." if asked.pictures else ""
    if asked.results:
        return ("says", ["The tool said: ", " ".join(asked.results)[-300:].strip(), seen])
    prompt = " ".join(asked.said)
    if "USE-TOOL " in prompt:
        path = prompt.rpartition("USE-TOOL ")[2].split()[0].strip("`\"'<>").rstrip(".")
        for name in TOOLS:
            if name in asked.tools:
                return ("calls", name, arguments(asked.tools[name], path))
    if seen:
        return ("says", ["Well. ", seen.strip()])
    return ("says", TEXT)


# Each writer yields (event name or None, data); the texts arrive one by one.

def write_chat(model, decided):
    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return None, {"id": "chatcmpl-1", "object": "chat.completion.chunk",
                      "created": 1790000000, "model": model, "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    if decided[0] == "calls":
        function = {"name": decided[1], "arguments": ""}
        yield chunk({"tool_calls": [
            {"index": 0, "id": "call_a1", "type": "function", "function": function}]})
        function = {"arguments": json.dumps(decided[2])}
        yield chunk({"tool_calls": [{"index": 0, "function": function}]})
        yield chunk({}, "tool_calls")
    else:
        for piece in decided[1]:
            yield chunk({"content": piece})
        yield chunk({}, "stop")
    usage = {"prompt_tokens": USAGE[0], "completion_tokens": USAGE[1], "total_tokens": sum(USAGE)}
    yield None, {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000,
                 "model": model, "choices": [], "usage": usage}
    yield None, "[DONE]"


def whole_chat(model, decided):
    message, finish = {"role": "assistant", "content": None, "refusal": None}, "stop"
    if decided[0] == "calls":
        function = {"name": decided[1], "arguments": json.dumps(decided[2])}
        message["tool_calls"] = [{"id": "call_a1", "type": "function", "function": function}]
        finish = "tool_calls"
    else:
        message["content"] = "".join(decided[1])
    usage = {"prompt_tokens": USAGE[0], "completion_tokens": USAGE[1], "total_tokens": sum(USAGE)}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1790000000, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


def response(model, status, output):
    usage = {"input_tokens": USAGE[0], "input_tokens_details": {"cached_tokens": 0},
             "output_tokens": USAGE[1], "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": sum(USAGE)}
    return {"id": "resp_1", "object": "response", "created_at": 1790000000, "status": status,
            "model": model, "output": output, "usage": usage if output else None, "error": None,
            "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": []}


def output_item(decided):
    if decided[0] == "calls":
        return {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_a1",
                "name": decided[1], "arguments": json.dumps(decided[2])}
    part = {"type": "output_text", "text": "".join(decided[1]), "annotations": []}
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
            "content": [part]}


def write_responses(model, decided):
    number = 0

    def event(kind, **more):
        nonlocal number
        number += 1
        return kind, {"type": kind, "sequence_number": number - 1, **more}

    item, at = output_item(decided), {"item_id": "msg_1", "output_index": 0}
    yield event("response.created", response=response(model, "in_progress", []))
    if decided[0] == "calls":
        at["item_id"] = "fc_1"
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield event("response.output_item.added", output_index=0, item=begun)
        yield event("response.function_call_arguments.delta", **at, delta=item["arguments"])
        yield event("response.function_call_arguments.done", **at, arguments=item["arguments"])
    else:
        begun, part = {**item, "status": "in_progress", "content": []}, item["content"][0]
        at["content_index"] = 0
        yield event("response.output_item.added", output_index=0, item=begun)
        yield event("response.content_part.added", **at, part={**part, "text": ""})
        for piece in decided[1]:
            yield event("response.output_text.delta", **at, delta=piece, logprobs=[])
        yield event("response.output_text.done", **at, text=part["text"], logprobs=[])
        yield event("response.content_part.done", **at, part=part)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.completed", response=response(model, "completed", [item]))


def whole_responses(model, decided):
    return response(model, "completed", [output_item(decided)])


def message(model, content, stop, used):
    return {"id": "msg_01", "type": "message", "role": "assistant", "model": model,
            "content": content, "stop_reason": stop, "stop_sequence": None,
            "usage": {"input_tokens": USAGE[0], "cache_creation_input_tokens": 0,
                      "cache_read_input_tokens": 0, "output_tokens": used}}


def write_messages(model, decided):
    def event(kind, **more):
        return kind, {"type": kind, **more}

    yield event("message_start", message=message(model, [], None, 1))
    if decided[0] == "calls":
        block = {"type": "tool_use", "id": "toolu_01", "name": decided[1], "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(decided[2])}]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in decided[1]]
    yield event("content_block_start", index=0, content_block=block)
    yield event("ping")
    for delta in deltas:
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    stop = {"stop_reason": "tool_use" if decided[0] == "calls" else "end_turn",
            "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={"output_tokens": USAGE[1]})
    yield event("message_stop")


def whole_messages(model, decided):
    if decided[0] == "calls":
        block = {"type": "tool_use", "id": "toolu_01", "name": decided[1], "input": decided[2]}
        return message(model, [block], "tool_use", USAGE[1])
    block = {"type": "text", "text": "".join(decided[1])}
    return message(model, [block], "end_turn", USAGE[1])


def gemini_piece(model, parts, finish=None):
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": USAGE[0], "candidatesTokenCount": USAGE[1],
             "totalTokenCount": sum(USAGE)}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model,
            "responseId": "r-1"}


def gemini_call(decided):
    return {"functionCall": {"name": decided[1], "args": decided[2]}, "thoughtSignature": "Q2ZrZQ=="}


def write_gemini(model, decided):
    if decided[0] == "calls":
        yield None, gemini_piece(model, [gemini_call(decided)], "STOP")
        return
    for piece in decided[1]:
        yield None, gemini_piece(model, [{"text": piece}])
    yield None, gemini_piece(model, [{"text": ""}], "STOP")


def whole_gemini(model, decided):
    if decided[0] == "calls":
        return gemini_piece(model, [gemini_call(decided)], "STOP")
    return gemini_piece(model, [{"text": "".join(decided[1])}], "STOP")


FAILURES = {
    "openai": {
        "limited": (429, {"error": {"message": "scripted limit", "type": "requests", "param": None,
                                    "code": "rate_limit_exceeded"}}),
        "refused": (400, {"error": {"message": "scripted refusal", "type": "invalid_request_error",
                                    "param": "messages", "code": "invalid_value"}}),
    },
    "anthropic": {
        "limited": (429, {"type": "error", "request_id": "req_01",
                          "error": {"type": "rate_limit_error", "message": "scripted limit"}}),
        "refused": (400, {"type": "error", "request_id": "req_01", "error": {
            "type": "invalid_request_error", "message": "scripted refusal"}}),
    },
    "gemini": {
        "limited": (429, {"error": {"code": 429, "message": "scripted limit",
                                    "status": "RESOURCE_EXHAUSTED"}}),
        "refused": (400, {"error": {"code": 400, "message": "scripted refusal",
                                    "status": "INVALID_ARGUMENT"}}),
    },
}

# Of each dialect: reader, writer of streams, writer of whole answers, form of failures.
DIALECTS = {
    "chat": (read_chat, write_chat, whole_chat, "openai"),
    "responses": (read_responses, write_responses, whole_responses, "openai"),
    "messages": (read_messages, write_messages, whole_messages, "anthropic"),
    "gemini": (read_gemini, write_gemini, whole_gemini, "gemini"),
}
