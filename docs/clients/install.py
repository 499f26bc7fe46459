"""What is installed, at which versions, and where: one folder a client below the cache."""

import json
import subprocess
import sys
from pathlib import Path

PYTHON = {
    "sdks": ["openai==3.54.0", "anthropic==2.12.0", "google-genai==3.4.0"],
    # Newer ones cannot be installed beside each other.
    "langchain": ["langchain-openai==1.7.3", "langchain-anthropic==1.7.7",
                  "langchain-google-genai==4.4.2"],
    "llm": ["llm==0.36", "llm-anthropic==0.30", "llm-gemini==0.35"],
    "aider": ["aider-chat==0.86.2"],
    "openwebui": ["open-webui==0.12.4"],
}
NODE = {
    # The clients below want a newer Node than many systems have.
    "node22": ["node@22.23.3"],
    "sdks-node": ["openai@7.57.0", "@anthropic-ai/sdk@1.12.0", "@google/genai@3.1.0", "ai@7.0.173",
                  "@ai-sdk/openai@4.0.118", "@ai-sdk/anthropic@4.0.105", "@ai-sdk/google@4.0.121"],
    "codex": ["@openai/codex@0.169.0"],
    "claude": ["@anthropic-ai/claude-code@2.1.330"],
    "gemini": ["@google/gemini-cli@0.61.0"],
    "continue": ["@continuedev/cli@1.5.47"],
}


def install(cache, names):
    """Installs what is not there yet at just these versions."""
    for name in names:
        wanted = PYTHON.get(name) or NODE[name]
        folder = cache / name
        mark = folder / "installed.json"
        if mark.exists() and json.loads(mark.read_text()) == wanted:
            continue
        print(f"installing {' '.join(wanted)}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        if name in PYTHON:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([folder / "bin/pip", "install", "-q", *wanted], check=True)
        else:
            manifest = folder / "package.json"
            manifest.exists() or manifest.write_text('{"private": true}\n')
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *wanted],
                           cwd=folder, check=True)
        mark.write_text(json.dumps(wanted))


def python(cache, name):
    return cache / name / "bin/python"


def program(cache, name, binary):
    folder = cache / name
    return folder / ("bin" if name in PYTHON else "node_modules/.bin") / binary


def node_path(cache):
    return cache / "node22/node_modules/node/bin"


def versions(name):
    return (PYTHON.get(name) or NODE[name])
