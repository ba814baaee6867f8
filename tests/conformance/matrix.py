"""Runs the checks against servers and collects who fulfils what."""

import dataclasses
import itertools

from .checks import CHECKS, NotOffered
from .servers import NoOption, running

YES, NO, NOT_OFFERED = "yes", "no", "–"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a server fulfils a check; why not, in a line."""

    word: str
    reason: str = ""


def in_a_line(error):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300]


def judge(check, server):
    """The verdict of one attempt at a running server."""
    try:
        check.run(server)
    except NotOffered:
        return Verdict(NOT_OFFERED)
    except Exception as error:
        return Verdict(NO, in_a_line(error))
    return Verdict(YES)


def run_kind(kind, checks=None, attempts=1):
    """Yields (check, verdict) for one kind of server. Only so many attempts without a yes make a no."""
    checks = sorted(checks or CHECKS, key=lambda check: repr(check.settings))
    for settings, group in itertools.groupby(checks, key=lambda check: check.settings):
        yield from run_settings(kind, settings, list(group), attempts)


def run_settings(kind, settings, checks, attempts):
    """Yields (check, verdict) for checks of the same settings; a server that has ended is started again."""
    waiting = [(check, attempt) for check in checks for attempt in range(attempts)]
    done = set()
    while waiting:
        try:
            with running(kind, settings) as server:
                while waiting and server.process.poll() is None:
                    check, attempt = waiting.pop(0)
                    if check in done:
                        continue
                    verdict = judge(check, server)
                    if verdict.word != NO or attempt == attempts - 1:
                        done.add(check)
                        yield check, verdict
        except NoOption:
            for check in checks:
                yield check, Verdict(NOT_OFFERED)
            return
