"""The curves of a soak over time as one SVG, with marks where something was done to the server.

The background is transparent and the ink a grey that reads on white and on black.
"""

import math
from xml.sax.saxutils import escape

from .verdict import value_of, worker_numbers

INK = "#7d8790"
COLORS = ("#e4572e", "#4c8bf5", "#17a398", "#b07cc6", "#c9a227", "#d16ba5", "#7f9172")
WIDTH, LEFT, RIGHT, TOP = 860, 60, 150, 92
PANEL, GAP = 120, 40
# Points of one curve; more are averaged.
POINTS = 450


class Panel:
    """One diagram: a title and curves, each a name, a colour and (time, value) pairs."""

    def __init__(self, title, curves):
        self.title = title
        self.curves = [(name, color, thinned(points)) for name, color, points in curves]
        values = [value for _, _, points in self.curves for _, value in points]
        highest = max([*values, 1])
        self.step = tidy(highest / 3)
        self.high = math.ceil(highest / self.step) * self.step


def tidy(size):
    """A size near this for the steps of a scale: 1, 2 or 5, and noughts."""
    power = 10 ** math.floor(math.log10(size)) if size > 0 else 1
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * 0.99)


def thinned(points):
    """At most POINTS of them, each the mean of its neighbours."""
    size = max(1, math.ceil(len(points) / POINTS))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[0][0], sum(value for _, value in group) / len(group)) for group in groups]


def rates(samples, name):
    """(time, number a second) of a counter of the clients."""
    pairs = zip(samples, samples[1:], strict=False)
    return [(b["at"], (b[name] - a[name]) / (b["at"] - a["at"])) for a, b in pairs]


def panels(samples):
    numbers = worker_numbers(samples)
    series = {pid: [] for pid in numbers}
    for sample in samples:
        for pid, values in sample["workers"].items():
            series[int(pid)].append((sample["at"], values))

    def curves(value):
        return [
            (f"worker {numbers[pid]}", color, [(at, value(values)) for at, values in points])
            for (pid, points), color in zip(series.items(), COLORS, strict=False)
        ]

    parent = [(sample["at"], sample["parent"]["rss"] / 1024) for sample in samples]
    slowest = [(sample["at"], sample["slowest_echo"] * 1000) for sample in samples]
    return [
        Panel("resident memory, MiB", [*curves(lambda n: n["rss"] / 1024), ("their parent", INK, parent)]),
        Panel("WebSockets", curves(lambda n: n["connections"])),
        Panel("descriptors beside those of WebSockets", curves(lambda n: value_of("descriptors", n))),
        Panel("asyncio tasks beside those of WebSockets", curves(lambda n: value_of("tasks", n))),
        Panel(
            "healthy clients, messages a second",
            [
                ("received in rooms", COLORS[0], rates(samples, "deliveries")),
                ("echoes", COLORS[1], rates(samples, "echoes")),
            ],
        ),
        Panel("slowest echo of a second, ms", [("slowest echo", COLORS[1], slowest)]),
    ]


def chart(result):
    """The text of the SVG."""
    drawn = panels(result["samples"])
    height = TOP + len(drawn) * (PANEL + GAP)
    end = max(result["seconds"], result["samples"][-1]["at"])
    right = WIDTH - RIGHT

    def x_of(at):
        return LEFT + (right - LEFT) * at / end

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}"'
        f' font-family="sans-serif" font-size="11" fill="{INK}">'
    ]
    parts += marks(result["events"], x_of, height - GAP)
    for number, panel in enumerate(drawn):
        parts += drawing(panel, x_of, TOP + number * (PANEL + GAP), right)
    parts += minutes(end, x_of, height - GAP)
    return "\n".join([*parts, "</svg>\n"])


def marks(events, x_of, bottom):
    """A line down all diagrams for each thing that was done, with its name above."""
    for row, event in enumerate(events):
        x, y = x_of(event["at"]), 14 + 13 * row
        width = max(1.0, x_of(event["until"]) - x)
        area = f'x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{bottom - y - 3}"'
        yield f'<rect {area} fill="{INK}" opacity="0.3"/>'
        yield f'<text x="{x + 4:.1f}" y="{y + 8}">{escape(event["what"])}</text>'


def drawing(panel, x_of, top, right):
    def y_of(value):
        return top + PANEL - PANEL * value / panel.high

    yield f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{escape(panel.title)}</text>'
    for line in range(round(panel.high / panel.step) + 1):
        value = line * panel.step
        y = y_of(value)
        yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="{INK}" stroke-width="0.5" opacity="0.5"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    for row, (name, color, points) in enumerate(panel.curves):
        if not points:
            continue
        path = "L".join(f"{x_of(at):.1f} {y_of(value):.1f}" for at, value in points)
        yield f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.2"/>'
        yield f'<text x="{right + 8}" y="{top + 12 + 14 * row}" fill="{color}">{escape(name)}</text>'


def minutes(end, x_of, y):
    """The scale of time, below the last diagram."""
    step = tidy(end / 60 / 8)
    for number in range(int(end / 60 / step) + 1):
        at = number * step * 60
        yield f'<text x="{x_of(at):.1f}" y="{y + 16}" text-anchor="middle">{number * step:g}</text>'
    yield f'<text x="{x_of(end) + 8:.1f}" y="{y + 16}">minutes</text>'
