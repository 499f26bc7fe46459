"""Clients that are programs: how each is told where the gateway is, and what its six tries are."""

import json

from agent import MARK, PROMPT, WORDS, Agent, Na
from openwebui import OpenWebUi


class Launched(Agent):
    """A coding agent behind `maestro launch`."""

    tool = ""
    without = {"models": "never asks for the list when it runs without a screen"}

    def launch(self, model, *args):
        return [self.stage.maestro, "launch", self.tool, "-m", model, "--", *args]


class Claude(Launched):
    name, folder, tool, dialects = "Claude Code", "claude", "claude", ["messages"]
    env = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
           "DISABLE_TELEMETRY": "1", "CLAUDE_CODE_MAX_RETRIES": "0"}

    def text(self, model, _):
        self.says(self.launch(model, "-p", PROMPT), WORDS)

    def stream(self, model, _):
        said = self.says(self.launch(model, "-p", PROMPT, "--output-format", "stream-json", "--verbose",
                                     "--include-partial-messages"))
        assert '"text":"red "' in said and '"text":"green"' in said, said[-800:]

    def tools(self, model, _):
        self.says(self.launch(model, "-p", f"USE-TOOL {self.work}/note.txt", "--allowed-tools", "Read"),
                  "The tool said", MARK)

    def image(self, model, _):
        self.says(self.launch(model, "-p", f"USE-TOOL {self.work}/picture.png", "--allowed-tools", "Read"),
                  "Saw image/png")

    def error(self, model, _):
        self.says(self.launch(self.refused(model), "-p", PROMPT), "API Error: 400", "scripted refusal", status=1)

    def cancel(self, model, _):
        self.leaves(self.launch(model, "-p", PROMPT), model)


class Codex(Launched):
    name, folder, tool, dialects = "Codex CLI", "codex", "codex", ["responses"]
    without = Launched.without | {"stream": "streams on the wire and shows an answer whole"}

    def exec(self, model, *args):
        return self.launch(model, "exec", "--skip-git-repo-check", "--json", *args)

    def text(self, model, _):
        self.says(self.exec(model, PROMPT), f'"text":"{WORDS}"', "turn.completed")

    def tools(self, model, _):
        # Its sandbox needs rights that a container may not have; the command is `cat`.
        self.says(self.exec(model, "--dangerously-bypass-approvals-and-sandbox",
                            f"USE-TOOL {self.work}/note.txt"), "The tool said", MARK)

    def image(self, model, _):
        self.says(self.exec(model, PROMPT, "-i", "picture.png"), "Saw image/png of 70 bytes.")

    def error(self, model, _):
        self.says(self.exec(self.refused(model), PROMPT), "turn.failed", "scripted refusal", status=1)

    def cancel(self, model, _):
        self.leaves(self.exec(model, PROMPT), model)


class CodexAlone(Codex):
    """Codex with settings of the user's own, and all tools that it offers by itself."""

    name = "Codex CLI, without launch"
    env = {"OPENAI_API_KEY": "any"}

    def slow(self, provider, dialect):
        return f"slow-codex-alone-{provider}"

    def launch(self, model, *args):
        provider = (f'model_providers.maestro={{ name = "maestro", base_url = "{self.stage.url}/v1", '
                    'env_key = "OPENAI_API_KEY", wire_api = "responses" }')
        return [self.program("codex"), "-c", 'model_provider="maestro"', "-c", provider,
                "--model", model, *args]


class Gemini(Launched):
    name, folder, tool, dialects = "Gemini CLI", "gemini", "gemini", ["gemini"]
    env = {"GEMINI_TELEMETRY_ENABLED": "false"}

    def prompt(self, model, *args):
        return self.launch(model, "--skip-trust", "--yolo", "-p", *args)

    def text(self, model, _):
        self.says(self.prompt(model, PROMPT), WORDS)

    def stream(self, model, _):
        self.says(self.prompt(model, PROMPT, "-o", "stream-json"), '"content":"red "', '"content":"green"')

    def tools(self, model, _):
        self.says(self.prompt(model, f"USE-TOOL {self.work}/note.txt"), "The tool said", MARK)

    def image(self, model, _):
        self.says(self.prompt(model, "Look @picture.png"), "Saw image/png of 70 bytes.")

    def error(self, model, _):
        self.says(self.prompt(self.refused(model), PROMPT), "scripted refusal", status=1)

    def cancel(self, model, _):
        self.leaves(self.prompt(model, PROMPT), model)


class Llm(Agent):
    name, folder, dialects = "llm", "llm", ["chat", "responses", "messages"]
    is_brief = True
    without = {"models": "the models of OpenAI's form come from its configuration"}

    def begin(self):
        super().begin()
        folder = self.stage.scratch / "llm"
        folder.mkdir(exist_ok=True)
        self.env = {"LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "any",
                    "ANTHROPIC_BASE_URL": self.stage.url, "ANTHROPIC_API_KEY": "any"}
        models = [{
            "model_id": f"{dialect}:{provider}/{word}", "model_name": f"{provider}/{word}",
            "responses": dialect == "responses", "api_base": f"{self.stage.url}/v1", "vision": True,
            "supports_tools": True,
        } for provider in self.stage.providers for dialect in ("chat", "responses")
            for word in ("m", "refused", self.slow(provider, dialect))]
        # JSON is YAML.
        (folder / "extra-openai-models.yaml").write_text(json.dumps(models))
        self.refreshed = self.says([self.program("llm"), "anthropic", "refresh"], status=None)

    def slow(self, provider, dialect):
        # Of Anthropic's form it knows what the gateway lists.
        return "slow-llm" if dialect == "messages" else super().slow(provider, dialect)

    def llm(self, model, dialect, *args):
        name = model if dialect == "messages" else f"{dialect}:{model}"
        return [self.program("llm"), "prompt", "-m", name, *args]

    def models(self, model, dialect):
        if dialect != "messages":
            raise Na(self.without["models"])
        self.says([self.program("llm"), "models"], f"anthropic/{model} (aliases: {model})")

    def text(self, model, dialect):
        self.says(self.llm(model, dialect, "--no-stream", PROMPT), WORDS)

    def stream(self, model, dialect):
        self.says(self.llm(model, dialect, PROMPT), WORDS)

    def tools(self, model, dialect):
        function = "def get_weather(city: str) -> str:\n    return 'marker-4711 in ' + city"
        self.says(self.llm(model, dialect, "--functions", function, "USE-TOOL now."),
                  "The tool said", f"{MARK} in Riga")

    def image(self, model, dialect):
        self.says(self.llm(model, dialect, "-a", "picture.png", PROMPT), "Saw image/png of 70 bytes.")

    def error(self, model, dialect):
        self.says(self.llm(self.refused(model), dialect, PROMPT), "scripted refusal", status=1)

    def cancel(self, model, dialect):
        self.leaves(self.llm(model, dialect, PROMPT), model)


class Aider(Agent):
    name, folder, dialects = "aider", "aider", ["chat", "messages"]
    is_brief = True
    without = {"models": "never asks for the list", "tools": "edits by text, without tools"}

    def begin(self):
        super().begin()
        self.env = {"OPENAI_API_BASE": f"{self.stage.url}/v1", "OPENAI_API_KEY": "any",
                    "ANTHROPIC_API_BASE": self.stage.url, "ANTHROPIC_API_KEY": "any",
                    "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def aider(self, model, dialect, *args):
        vendor = "openai" if dialect == "chat" else "anthropic"
        known = {f"{vendor}/{model}": {
            "litellm_provider": vendor, "mode": "chat", "supports_vision": True,
            "max_input_tokens": 100000, "max_output_tokens": 4096}}
        path = self.work / "models.json"
        path.write_text(json.dumps(known))
        return [self.program("aider"), "--model", f"{vendor}/{model}", "--model-metadata-file", path,
                "--no-git", "--yes-always", "--no-check-update", "--analytics-disable", "--no-gitignore",
                "--no-show-release-notes", "--no-pretty", "--edit-format", "ask", "--message", *args]

    def text(self, model, dialect):
        self.says(self.aider(model, dialect, PROMPT, "--no-stream"), WORDS)

    def stream(self, model, dialect):
        self.says(self.aider(model, dialect, PROMPT, "--stream"), WORDS)

    def image(self, model, dialect):
        self.says(self.aider(model, dialect, PROMPT, "picture.png"), "Saw image/png of 70 bytes.")

    def error(self, model, dialect):
        self.says(self.aider(self.refused(model), dialect, PROMPT), "scripted refusal", status=None)

    def cancel(self, model, dialect):
        self.leaves(self.aider(model, dialect, PROMPT), model)


class Continue(Agent):
    name, folder, dialects = "Continue CLI", "continue", ["chat", "messages"]
    without = {"models": "never asks for the list", "image": "takes no picture without a screen",
               "stream": "streams on the wire and prints an answer whole"}
    env = {"CONTINUE_TELEMETRY_ENABLED": "0", "CONTINUE_CLI_ENABLE_TELEMETRY": "0"}

    def cn(self, model, dialect, *args):
        vendor = {"chat": "openai", "messages": "anthropic"}[dialect]
        config = {"name": "matrix", "version": "0.0.1", "schema": "v1", "models": [{
            "name": "m", "provider": vendor, "model": model, "apiBase": f"{self.stage.url}/v1/",
            "apiKey": "any", "roles": ["chat"], "capabilities": ["tool_use", "image_input"]}]}
        path = self.work / "continue.yaml"
        path.write_text(json.dumps(config))
        return [self.program("cn"), "--config", path, "-p", *args]

    def text(self, model, dialect):
        self.says(self.cn(model, dialect, PROMPT), WORDS)

    def tools(self, model, dialect):
        self.says(self.cn(model, dialect, f"USE-TOOL {self.work}/note.txt", "--auto"), "The tool said", MARK)

    def error(self, model, dialect):
        self.says(self.cn(self.refused(model), dialect, PROMPT), "scripted refusal", status=1)

    def cancel(self, model, dialect):
        self.leaves(self.cn(model, dialect, PROMPT), model)


AGENTS = [Claude(), Codex(), CodexAlone(), Gemini(), Llm(), Aider(), Continue(), OpenWebUi()]
