"""SVG charts of a JSON result: bars for each family of workloads, lines for costs over a number.

The background is transparent and the ink a grey that reads on white and on black. Output is deterministic:
the same results give the same bytes with the same version of matplotlib.
"""

import pathlib
from typing import Any

from .report import cell_of, number
from .workloads import SWEEPS, WORKLOADS, Figure

INK = "#7d8790"
ACCENT = "#e4572e"
OTHERS = ("#4c8bf5", "#17a398", "#b07cc6", "#c9a227", "#7f9172", "#d16ba5", "#5b9bd5", "#9c7a54")
MARKERS = "osD^vP*X"


def color_of(position: int, server: str) -> str:
    """One colour per server: the accent for Atalanta, the others in turn."""
    return ACCENT if server in ("atalanta", "atalanta-asyncio") else OTHERS[position % len(OTHERS)]


def pyplot():
    """matplotlib set up for files; raises ImportError without it."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "atalanta",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 10,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": INK,
            "ytick.color": INK,
            "savefig.transparent": True,
        }
    )
    import matplotlib.pyplot

    return matplotlib.pyplot


def save(plot: Any, figure: Any, path: pathlib.Path) -> str:
    figure.savefig(path, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plot.close(figure)
    return path.name


# ---- Bars ----


def bars_of(workload: dict[str, Any]) -> list[tuple[str, Any]]:
    """The servers that have a number at the workload, with their summaries."""
    cells = [(server, cell_of(workload, server)) for server in workload["cells"]]
    return [(server, cell) for server, cell in cells if cell is not None]


def family_chart(
    plot: Any, family: str, workloads: list[dict[str, Any]], order: list[str], path: pathlib.Path
) -> str:
    """One panel per workload, each with its own scale: the numbers of a family span orders of magnitude."""
    heights = [len(bars_of(workload)) + 0.4 for workload in workloads]
    figure, panels = plot.subplots(
        len(workloads),
        figsize=(8.0, 0.3 * sum(heights) + 0.55 * len(heights)),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    figure.get_layout_engine().set(h_pad=0.12)
    for panel, workload in zip(panels[:, 0], workloads, strict=True):
        draw_bars(panel, workload, order)
    return save(plot, figure, path)


def draw_bars(panel: Any, workload: dict[str, Any], order: list[str]) -> None:
    bars = bars_of(workload)
    names = [server for server, _ in bars]
    medians = [cell.figure.median for _, cell in bars]
    below = [cell.figure.median - cell.figure.low for _, cell in bars]
    above = [cell.figure.high - cell.figure.median for _, cell in bars]
    panel.barh(
        range(len(bars)),
        medians,
        height=0.68,
        color=[color_of(order.index(name), name) for name in names],
        xerr=[below, above],
        error_kw={"ecolor": INK, "elinewidth": 1.0, "capsize": 2.0},
    )
    for position, (_, cell) in enumerate(bars):
        panel.annotate(
            number(cell.figure.median),
            (max(cell.figure.high, 0.0), position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    panel.set_yticks(range(len(bars)), names)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.set_xlim(left=0)
    panel.tick_params(axis="y", length=0)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.set_title(f"{workload['title']}: {workload['unit']}", loc="left", color=INK)


# ---- Lines ----


def lines_of(results: dict[str, Any], sweep: str) -> dict[str, list[tuple[int, float]]]:
    """Per server the points (number, median cost) of a sweep."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for workload in results["workloads"].values():
        if not workload["sweep"] or workload["sweep"][0] != sweep:
            continue
        for server, cell in bars_of(workload):
            lines.setdefault(server, []).append((workload["sweep"][1], cell.figure.median))
    return {server: sorted(points) for server, points in lines.items()}


def sweep_chart(
    plot: Any,
    title: str,
    label: str,
    lines: dict[str, list[tuple[int, float]]],
    order: list[str],
    path: pathlib.Path,
) -> str:
    figure, panel = plot.subplots(figsize=(8.0, 4.5), layout="constrained")
    for server, points in lines.items():
        position = order.index(server)
        numbers, costs = zip(*points, strict=True)
        panel.plot(
            numbers,
            costs,
            label=server,
            color=color_of(position, server),
            marker=MARKERS[position % len(MARKERS)],
            markersize=4.5,
            linewidth=2.4 if server == "atalanta" else 1.4,
        )
    panel.set(xscale="log", yscale="log", xlabel=label, ylabel=Figure.CPU.value)
    ticks = sorted({number for points in lines.values() for number, _ in points})
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.minorticks_off()
    label_costs(panel)
    panel.grid(axis="y", color=INK, alpha=0.25, linewidth=0.6)
    panel.set_title(title, loc="left", color=INK)
    panel.legend(frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return save(plot, figure, path)


def label_costs(panel: Any) -> None:
    """Plain numbers at 1, 2 and 5 times the powers of ten, instead of exponents."""
    low, high = panel.get_ylim()
    candidates = [digit * 10.0**power for power in range(-3, 8) for digit in (1, 2, 5)]
    ticks = [tick for tick in candidates if low <= tick <= high]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def write_charts(results: dict[str, Any], folder: pathlib.Path, stem: str) -> list[str]:
    """Write all charts for which there are numbers, in place of those of an earlier run; their file names."""
    plot = pyplot()
    for kind in {workload.family for workload in WORKLOADS.values()} | {f"over-{sweep}" for sweep in SWEEPS}:
        (folder / f"{stem}-{kind}.svg").unlink(missing_ok=True)
    order = list(results["servers"])
    families: dict[str, list[dict[str, Any]]] = {}
    for workload in results["workloads"].values():
        if bars_of(workload):
            families.setdefault(workload["family"], []).append(workload)
    names = [
        family_chart(plot, family, workloads, order, folder / f"{stem}-{family}.svg")
        for family, workloads in families.items()
    ]
    for sweep, (title, label) in SWEEPS.items():
        lines = lines_of(results, sweep)
        if any(len(points) > 1 for points in lines.values()):
            path = folder / f"{stem}-over-{sweep}.svg"
            names.append(sweep_chart(plot, title, label, lines, order, path))
    return names
