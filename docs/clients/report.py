"""Writes what the clients showed as a page. No dates and no figures: the same run, the same page."""

import re

import install
from agent import OPS

HEAD = """\
# Clients

What `docs/clients/run` showed: the clients below, unmodified, at these versions, against `maestro serve` (the
agents behind `maestro launch`), with every vendor's server scripted on this machine. `docs/clients/run --check`
runs it again and fails if this page would change. No client could reach any other machine.
`docs/clients/run --real URL` asks a real model instead, in all texts and streams of the clients whose prompts a
small one can hold, and compares what the client shows with what the model said.

A row is what the client speaks and who answers: `openai` (Responses), `anthropic`, `gemini`, and `lab`, an
OpenAI-compatible server (Chat Completions).

| try | what was shown |
|---|---|
| models | the gateway's list, read by the client, holds the provider's model |
| text | a whole answer, every word of it |
| stream | the answer in the pieces in which the vendor sent it, and the usage where the client shows it |
| tools | a call with its arguments, the result sent back, and an answer that repeats the result |
| image | a picture arrives at the vendor with its type and size |
| error | the vendor's 429 and 400 become the client's own exceptions, or its message; agents: the 400 |
| cancel | the client goes away in the midst of a stream, and libraries also while they wait for a whole answer; the vendor's connection is closed within a second (programs, which end first: three) |

✓ shown. – not applicable. **refused**: the gateway says why. **failed**: it should work and does not.

What leaves a gateway no way in is not in the tables: `llm-gemini` and Continue's `gemini` provider ask Google's
own address whatever they are told; both speak OpenAI's and Anthropic's form as well.
"""
SIGNS = {"ok": "✓", "n/a": "–", "refused": "**refused**", "failed": "**failed**"}


def page(rows):
    return "\n".join([HEAD, summary(rows), *sections(rows)])


def summary(rows):
    def count(status):
        return sum(row["status"] == status for row in rows)

    parts = [f"{count('ok')} shown", f"{count('refused')} refused", f"{count('failed')} failed",
             f"{count('n/a')} not applicable"]
    return f"In all {len(rows)} tries: {', '.join(parts)}.\n"


def sections(rows):
    for client in dict.fromkeys(row["client"] for row in rows):
        own = [row for row in rows if row["client"] == client]
        notes = []
        yield f"## {client}\n"
        yield f"{versions(client, own[0]['folder'])}\n"
        yield "| speaks | answers | " + " | ".join(OPS) + " |"
        yield "|---" * (len(OPS) + 2) + "|"
        for dialect, provider in sorted({(row["dialect"], row["provider"]) for row in own}, key=order(own)):
            cells = []
            for op in OPS:
                found = [row for row in own
                         if (row["dialect"], row["provider"], row["op"]) == (dialect, provider, op)]
                cells.append(cell(found[0], notes) if found else "")
            yield f"| {dialect} | {provider} | " + " | ".join(cells) + " |"
        yield ""
        for at, note in enumerate(notes, 1):
            yield f"{at}. {note}"
        if notes:
            yield ""


def order(own):
    seen = list(dict.fromkeys((row["dialect"], row["provider"]) for row in own))
    dialects = list(dict.fromkeys(row["dialect"] for row in own))
    return lambda pair: (dialects.index(pair[0]), seen.index(pair))


def cell(row, notes):
    sign = SIGNS[row["status"]]
    if not row["note"]:
        return sign
    note = cleaned(row["note"])
    if note not in notes:
        notes.append(note)
    return f"{sign} ({notes.index(note) + 1})"


def cleaned(note):
    """Takes out what differs from run to run: ports, ids, paths."""
    note = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", note)
    note = re.sub(r"(/[\w.@-]+){3,}", "PATH", note)
    note = re.sub(r"\b[0-9a-f]{8,}[0-9a-f-]*", "ID", note)
    note = re.sub(r"\d+\.\d+ s\b", "N s", note)
    note = " ".join(note.split()).replace("|", "\\|")
    return note if len(note) <= 240 else note[:239] + "…"


def versions(client, folder):
    """Names the packages that a client is made of."""
    parts = {"openai (Python)": ["openai"], "anthropic (Python)": ["anthropic"],
             "google-genai (Python)": ["google-genai"], "openai (Node)": ["openai"],
             "@anthropic-ai/sdk": ["@anthropic-ai/sdk"], "@google/genai": ["@google/genai"],
             "AI SDK": ["ai", "@ai-sdk/openai", "@ai-sdk/anthropic", "@ai-sdk/google"],
             "llm": ["llm", "llm-anthropic"]}
    wanted = parts.get(client)
    found = []
    for package in install.versions(folder):
        name, _, version = package.replace("==", "@").rpartition("@")
        if wanted is None or name in wanted:
            found.append(f"`{name}` {version}")
    return ", ".join(found)
