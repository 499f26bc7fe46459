"""Checks what our encoder wrote with the strict types of OpenAI's own SDK.

Usage: python3 sdk.py FOLDER, where FOLDER holds *.sse and *.json; needs the package `openai`.
"""

import json
import pathlib
import sys

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENT = TypeAdapter(ResponseStreamEvent)
checked = 0
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    text = path.read_text()
    if path.suffix == ".json":
        Response.model_validate_json(text)
        checked += 1
        continue
    for block in filter(None, text.split("\n\n")):
        data = "".join(line[6:] for line in block.splitlines() if line.startswith("data: "))
        event = EVENT.validate_python(json.loads(data))
        assert event.type == json.loads(data)["type"], block
        checked += 1
print(f"{checked} answers and events are well-formed")
