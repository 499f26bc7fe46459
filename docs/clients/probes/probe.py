"""What every Python probe shares: the six tries, and how their outcome is told: a line of JSON."""

import base64
import json
import os
import sys
import time
import urllib.request

URL, UPSTREAM, PROVIDER = sys.argv[1:4]
# A real model answers, which neither calls tools nor fails when it is told to.
REAL = "MATRIX_REAL" in os.environ
PROMPT = "Say the two words."
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PICTURE_BASE64 = base64.b64encode(PICTURE).decode()
SEEN = f"Saw image/png of {len(PICTURE)} bytes."
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK_TOOL = "USE-TOOL now."
RESULT = "4 C in Riga"
SAID_RESULT = "The tool said: "


def model(word="m"):
    return f"{PROVIDER}/{word}"


def slow(client, dialect, how):
    """Names a model of one try alone, so that the upstream knows whose connection ended."""
    return f"slow-{client}-{dialect}-{how}"


def same(found, expected):
    if found != expected:
        raise AssertionError(f"expected {expected!r}, found {found!r}")


def holds(found, expected):
    if expected not in str(found):
        raise AssertionError(f"expected {expected!r} in {str(found)[:200]!r}")


def words(found):
    """What the client was told must be what the upstream said."""
    with urllib.request.urlopen(f"{UPSTREAM}/said", timeout=30) as answer:
        said = json.load(answer)
    if not said:
        raise AssertionError("the upstream was not asked")
    # Some clients leave out an answer's last line break.
    same(found.strip(), said.strip())


def spent(usage, name, expected):
    """What was used must be what the upstream said; a real server may not say it of a stream."""
    if not REAL:
        same(getattr(usage, name), expected)


def in_pieces(pieces):
    """The upstream says two pieces; a client that gets one was made to wait for both."""
    pieces = [piece for piece in pieces if piece]
    words("".join(pieces))
    if len(pieces) < 2:
        raise AssertionError("came in one piece")


def gone(slow_model, left):
    """The upstream's connection must end within a second of the client's leaving."""
    with urllib.request.urlopen(f"{UPSTREAM}/gone?model={slow_model}", timeout=30) as answer:
        noticed = json.load(answer)
    if not noticed["done"]:
        raise AssertionError("the upstream was never left")
    took = noticed["at"] - left
    if took > 1:
        raise AssertionError(f"the upstream was left after {took:.1f} s")


def leaves(slow_model, stream):
    """Reads the first text of a stream and goes."""
    for piece in stream():
        same(piece, "red ")
        left = time.time()
        break
    gone(slow_model, left)


def gives_up(slow_model, ask):
    """Asks for a whole answer and goes while it is waited for; `ask` ends by its own timeout."""
    try:
        ask()
    except Exception as error:
        if "timeout" not in f"{type(error).__name__} {error}".lower().replace("timed out", "timeout"):
            raise
    else:
        raise AssertionError("an answer came")
    gone(slow_model, time.time())


def fails(ask, name, message):
    """Asks for what fails, and looks at the exception that the client's library makes of it."""
    try:
        ask()
    except Exception as error:
        chain, cause = [], error
        while cause is not None and len(chain) < 8:
            chain.append(type(cause).__name__)
            cause = cause.__cause__ or cause.__context__
        if name and name not in chain:
            raise AssertionError(f"expected {name}, found {chain}: {str(error)[:160]}") from error
        holds(error, message)
    else:
        raise AssertionError("no exception came")


def tried(dialect, op, work):
    """Tries one thing. What the gateway refuses with a reason is told as such."""
    if REAL and op not in ("text", "stream"):
        return
    try:
        work()
        status, note = "ok", ""
    except AssertionError as error:
        status, note = "failed", str(error)
    except Exception as error:
        code = getattr(error, "status_code", None) or getattr(error, "code", None)
        status = "refused" if code in (400, 404, 422, 501) else "failed"
        note = f"{type(error).__name__}: {error}"
    print(json.dumps({"dialect": dialect, "op": op, "status": status, "note": note}), flush=True)


def cannot(dialect, op, why):
    if REAL:
        return
    print(json.dumps({"dialect": dialect, "op": op, "status": "n/a", "note": why}), flush=True)
