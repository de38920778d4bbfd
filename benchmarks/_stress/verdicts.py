"""What may come of an input. A `Fault` is raised where it is none of the good ones."""

from dataclasses import asdict, dataclass

GOOD = {
    "done": "it was accepted, and the result was right as far as that can be known",
    "refused": "one sentence, and exit code 2",
    "stopped": "what was asked for takes long; it ended in order when it was told to",
}
BAD = {
    "traceback": "an error that is no sentence",
    "crash": "the process died",
    "hang": "no end within the time limit",
    "exit code": "another exit code than 0, or 2 with a sentence",
    "untidy": "a message of several lines, of raw control characters, or Python's own warning",
    "outside": "something was written where nothing may be, a program was started, or a connection made",
    "changed": "another picture, score or weight, although the damage has no right to it",
    "half-written": "a file under its final name that is not whole",
    "invalid": "a scene was accepted that is none",
}


class Fault(Exception):
    """A verdict of BAD, and what shows it."""

    def __init__(self, verdict: str, text: str):
        super().__init__(text)
        self.verdict, self.text = verdict, text


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one input."""

    verdict: str
    what: str = ""
    """The input, in words."""
    text: str = ""
    """What shows the verdict: a message, a traceback."""
    signature: str = ""
    """The same for faults that are probably the same."""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.verdict in GOOD

    def as_json(self) -> dict:
        return asdict(self)
