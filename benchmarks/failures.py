"""Why a measurement yields no number."""


class Failure(Exception):
    """A run that failed: reported by name, with the whole output kept.

    kind is short enough for a cell of a table, detail is one line, output is what the server printed.
    """

    def __init__(self, kind: str, detail: str = "", output: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail
        self.output = output

    def record(self) -> dict[str, str]:
        return {"kind": self.kind, "detail": self.detail, "output": self.output}


class Disturbed(Failure):
    """A run that other processes have spoilt; worth another attempt."""


class Unusable(Exception):
    """The harness itself cannot work: no compiler, bad options of the load client."""
