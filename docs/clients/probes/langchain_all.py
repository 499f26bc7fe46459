"""LangChain with its three vendor packages."""

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from probe import *


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return RESULT if city == "Riga" else "no such city"


def openai(name=model(), **more):
    return ChatOpenAI(model=name, api_key="any", base_url=f"{URL}/v1", max_retries=0, **more)


def responses(name=model(), **more):
    return openai(name, use_responses_api=True, **more)


def anthropic(name=model(), **more):
    return ChatAnthropic(model=name, api_key="any", base_url=URL, max_retries=0, max_tokens=99, **more)


def gemini(name=model(), **more):
    return ChatGoogleGenerativeAI(model=name, api_key="any", base_url=URL, max_retries=1, **more)


def tried_with(dialect, of):
    def pieces(name=model()):
        for chunk in of(name).stream(PROMPT):
            if chunk.text:
                yield str(chunk.text)

    def tools():
        bound = of().bind_tools([get_weather])
        said = [HumanMessage(ASK_TOOL)]
        said.append(bound.invoke(said))
        call = said[-1].tool_calls[0]
        same((call["name"], call["args"]), ("get_weather", {"city": "Riga"}))
        said.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))
        answer = str(bound.invoke(said).text)
        holds(answer, SAID_RESULT)
        holds(answer, RESULT)

    def image():
        parts = [{"type": "text", "text": "Look."},
                 {"type": "image", "base64": PICTURE_BASE64, "mime_type": "image/png"}]
        holds(of().invoke([HumanMessage(content=parts)]).text, SEEN)

    def error():
        names = ("GoogleRateLimitError", "ClientError") if dialect == "gemini" else (
            "RateLimitError", "BadRequestError")
        fails(lambda: of(model("limited")).invoke(PROMPT), names[0], "scripted limit")
        fails(lambda: list(pieces(model("refused"))), names[1], "scripted refusal")

    def cancel():
        name = slow("langchain", f"{dialect}-{PROVIDER}", "stream")
        leaves(name, lambda: pieces(model(name)))
        name = slow("langchain", f"{dialect}-{PROVIDER}", "whole")
        gives_up(name, lambda: of(model(name), timeout=1).invoke(PROMPT))

    cannot(dialect, "models", "never asks for the list")
    tried(dialect, "text", lambda: words(str(of().invoke(PROMPT).text)))
    tried(dialect, "stream", lambda: in_pieces(pieces()))
    tried(dialect, "tools", tools)
    tried(dialect, "image", image)
    tried(dialect, "error", error)
    tried(dialect, "cancel", cancel)


tried_with("chat", openai)
tried_with("responses", responses)
tried_with("messages", anthropic)
tried_with("gemini", gemini)
