"""Brains that a night's worker imports by name; what they need to know stands in the lab, which is their folder."""

import os
import signal
import time
from pathlib import Path

from nightlab.brains import Scripted, TurnRequest
from nightlab.brains.scripted import Line

END: Line = [{"call": "end_night", "input": {"reason": "all is done"}}]
SECRET_WORD = "skip Qwen tonight"


def linger(seconds: float = 600.0) -> Line:
    return [{"call": "linger", "input": {"seconds": seconds}}]


def quick() -> Scripted:
    """Ends the night at once."""
    return Scripted([END])


def lingering() -> Scripted:
    """Waits in a tool until the file `go` is there, then ends the night."""
    return Scripted([linger(), END])


def patient() -> Scripted:
    """Takes a turn every fifth of a second until a person said the word, then ends the night."""

    def turn(request: TurnRequest) -> str | list[dict[str, object]]:
        texts = [block["text"] for m in request.messages[1:] for block in m["content"] if block["type"] == "text"]
        heard = any(SECRET_WORD in text for text in texts)
        return [{"call": "end_night", "input": {"reason": "I was told"}}] if heard else linger(0.2)  # type: ignore[return-value]

    return Scripted([turn] * 400)


def dying() -> Scripted:
    """Kills its process whenever it is asked."""

    def turn(request: TurnRequest) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    return Scripted([turn])


def blocking() -> Scripted:
    """Blocks the event loop the first time that it is asked, and ends the night the second time."""

    def turn(request: TurnRequest) -> Line:
        if not (flag := Path(".nightlab/blocked")).exists():
            flag.touch()
            time.sleep(600)
        return END

    return Scripted([turn])  # type: ignore[list-item]
