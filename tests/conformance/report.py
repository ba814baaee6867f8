"""Writes docs/conformance.md from the verdicts, and reads a column of it back."""

import datetime
import importlib.metadata
import platform

from .checks import CHECKS
from .matrix import NO, NOT_OFFERED, YES

INTRODUCTION = """\
# Conformance

What ASGI servers make of WebSockets, as seen from outside: {count} checks, each a small client over a
plain socket that sends chosen bytes, and one ASGI application that behaves as the path tells it. The same
checks run against every server, in a process of its own, with its own defaults.

- **{yes}**: fulfilled.
- **{no}**: not fulfilled, in two attempts out of two.
- **{not_offered}**: the server does not offer what the check is about, or has no option for it.

A point marked \\* is one that no specification demands; the others follow from the ASGI specification,
RFC 6455 and RFC 7692, or are a limit that any server on the open Internet needs. The letters: H and A the
handshake and its answers, S the scope, D data, E compression (permessage-deflate), P ping and pong, C
closing, B backpressure, T asyncio's manners, M transports, F robustness.

`make conformance` writes this page; this one on CPython {python}, {date}. `make test` repeats the checks
of the columns *{own}* and compares them with it. `python -m tests.conformance --explain` says why a server
got a *{no}*; the checks are in `tests/conformance/checks`.
"""

OWN = ("atalanta", "uvicorn --ws atalanta")
WITH_VERSIONS = ("uvicorn", "websockets", "wsproto", "httptools", "uvloop", "twisted", "autobahn")


def cell(text):
    return text.replace("|", "\\|")


def row(cells):
    return "| " + " | ".join(cells) + " |"


def page(kinds, verdicts):
    """The whole page. `verdicts` is {kind.name: {check.name: Verdict}}."""
    lines = [
        INTRODUCTION.format(
            count=len(CHECKS),
            yes=YES,
            no=NO,
            not_offered=NOT_OFFERED,
            python=platform.python_version(),
            date=datetime.date.today().isoformat(),
            own="* and *".join(OWN),
        ),
        "## Servers\n",
        row(["server", "version", *(f"{word}" for word in (YES, NO, NOT_OFFERED))]),
        row(["---", "---", *["---:"] * 3]),
    ]
    for kind in kinds:
        words = [verdict.word for verdict in verdicts[kind.name].values()]
        counts = [str(words.count(word)) for word in (YES, NO, NOT_OFFERED)]
        lines.append(row([kind.name, kind.version(), *counts]))
    lines += ["", "With them: " + ", ".join(versions()) + ".\n", "## Checks\n"]
    lines.append(row(["point", "check", *(kind.name for kind in kinds)]))
    lines.append(row(["---", "---", *[":---:"] * len(kinds)]))
    for check in CHECKS:
        point = check.point + (" \\*" if check.optional else "")
        words = [verdicts[kind.name][check.name].word for kind in kinds]
        lines.append(
            row([point, cell(check.title), *(f"**{NO}**" if word == NO else word for word in words)])
        )
    return "\n".join(lines) + "\n"


def versions():
    for package in WITH_VERSIONS:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def column(text, name):
    """{(point, title): word} of a server's column in a page."""
    table = text[text.index("## Checks") :].splitlines()
    rows = [line.replace("\\|", "\0")[2:-2].split(" | ") for line in table if line.startswith("| ")]
    head, _, *body = rows
    index = head.index(name)
    return {(r[0].removesuffix(" \\*"), r[1].replace("\0", "|")): r[index].strip("*") for r in body}
