"""A soak in words: lines for the terminal, and the table in docs/soak.md."""

import platform

from .verdict import Growth, worker_numbers

MARKS = ("<!-- result -->\n", "<!-- /result -->\n")

NUISANCES = (
    "resets",
    "slow readers",
    "half-open connections",
    "wrong frames",
    "wrong requests",
    "slow handshakes",
    "oversize messages",
    "ping floods",
)
EXCUSED = (
    "connections ended with their worker",
    "echoes gone with their worker",
    "group messages gone with their worker",
    "group messages refused while Redis was away",
    "deliveries refused while Redis was away",
    "deliveries lost while Redis was away",
)


def cpu_share(samples):
    """Share of a core that the server's processes took together."""
    used = 0.0
    for before, after in zip(samples, samples[1:], strict=False):
        for pid, numbers in after["workers"].items():
            earlier = before["workers"].get(pid)
            used += numbers["cpu"] - earlier["cpu"] if earlier else 0.0
    return used / (samples[-1]["at"] - samples[0]["at"])


def rows(result):
    """(what, number) of everything worth telling."""
    counts, samples = result["counts"], result["samples"]
    numbers = worker_numbers(samples)
    first, last = samples[0], samples[-1]
    clients = (last["clients"]["cpu"] - first["clients"]["cpu"]) / (last["at"] - first["at"])
    yield "minutes", f"{result['seconds'] / 60:g}"
    yield "share of a core: server, clients", f"{cpu_share(samples):.0%}, {clients:.0%}"
    yield "connections of healthy clients", f"{counts['healthy connections']:,}"
    yield "echoes", f"{counts['echoes']:,}"
    yield "messages to rooms, received by members", f"{counts['group messages']:,}, {counts['deliveries']:,}"
    for name in NUISANCES:
        yield name, f"{counts.get(name, 0):,}"
    for name in EXCUSED:
        yield name, f"{counts.get(name, 0):,}"
    for growth in result["growths"]:
        yield "growth", Growth(**growth).told(f"worker {numbers[growth['pid']]}")
    yield "without clients, before and after", "; ".join(f"{what} {a}, {b}" for what, a, b in result["rest"])
    yield "beside that lost, doubled, changed, out of order, cut off, refused", str(len(result["failures"]))


def summary(result):
    return "\n".join(f"{what}: {number}" for what, number in rows(result))


def write_page(page, result):
    """Put the result between the marks of the page."""
    lines = ["| | |", "| --- | --- |", *(f"| {what} | {number} |" for what, number in rows(result))]
    told = f"{result['date']}, CPython {platform.python_version()}, {platform.system()} {platform.machine()}:"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    table = "\n".join(lines)
    page.write_text(f"{before}{MARKS[0]}\n{told}\n\n{table}\n\n{MARKS[1]}{after}", encoding="utf-8")
