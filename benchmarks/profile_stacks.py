"""Sampled stacks, and the layer of the software that each belongs to.

A folded stack is one line: its frames from the outermost to the innermost, separated by ";", then a blank
and the number of samples. A frame reads `function (file)`; see profile_layers.toml for what `file` is.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LAYERS_FILE = Path(__file__).with_name("profile_layers.toml")
KERNEL = "[kernel]"
OTHER = "other"

# The upper half of the address space is the kernel's, on x86-64 and arm64 alike.
KERNEL_ADDRESS = 1 << 63
SCRIPT_FRAME = re.compile(r"^\s+([0-9a-f]+) (.*) \((.*)\)$")
PYTHON_SYMBOL = re.compile(r"^py::(.+?):(.+?)(\+0x[0-9a-f]+)?$")
FOLDED_FRAME = re.compile(r"^(.*) \((.*)\)$")


class Frame(NamedTuple):
    function: str
    file: str


Stack = tuple[Frame, ...]  # the outermost frame first


# ---- Reading stacks ----


def parse_folded(text: str) -> Counter[Stack]:
    """Folded stacks with their counts; ValueError for a line that is none."""
    stacks: Counter[Stack] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        frames, _, count = line.rpartition(" ")
        matches = [FOLDED_FRAME.match(frame) for frame in frames.split(";")]
        if not count.isdigit() or not all(matches):
            raise ValueError(f"line {number} is not a folded stack: {line!r}")
        stacks[tuple(Frame(*match.groups()) for match in matches if match)] += int(count)
    return stacks


def format_folded(stacks: Counter[Stack]) -> str:
    """The inverse of parse_folded, the most frequent stack first."""
    return "".join(
        ";".join(f"{frame.function} ({frame.file})" for frame in stack) + f" {count}\n"
        for stack, count in stacks.most_common()
    )


def parse_perf_script(lines: Iterable[str]) -> Counter[Stack]:
    """What `perf script -F comm,tid,ip,sym,dso` prints: a line per sample, its frames innermost first."""
    stacks: Counter[Stack] = Counter()
    frames: list[Frame] = []
    for line in [*lines, ""]:
        match = SCRIPT_FRAME.match(line.rstrip("\n"))
        if match:
            frames.append(script_frame(*match.groups()))
        elif not line.strip() and frames:
            stacks[tuple(reversed(frames))] += 1
            frames = []
    return stacks


def script_frame(address: str, symbol: str, dso: str) -> Frame:
    if int(address, 16) >= KERNEL_ADDRESS:
        return Frame(symbol, KERNEL)
    python = PYTHON_SYMBOL.match(symbol)
    if python:
        return Frame(python[1], python[2])
    return Frame(symbol, dso)


# ---- Attribution ----


class Rule(NamedTuple):
    layer: str
    file: re.Pattern[str]
    function: re.Pattern[str]

    def matches(self, frame: Frame) -> bool:
        return bool(self.file.search(frame.file) and self.function.search(frame.function))


class Match(NamedTuple):
    layer: str
    frame: Frame  # that matched; the innermost of the stack when none did


@dataclass(frozen=True)
class Rules:
    """The table of profile_layers.toml."""

    layers: tuple[str, ...]  # in the order of the table
    services: frozenset[str]
    service_root: re.Pattern[str]
    ordinary: tuple[Rule, ...]
    fallback: tuple[Rule, ...]

    def attribute(self, stack: Stack) -> Match:
        """The layer that a sample's time was spent in."""
        if stack[-1].file == KERNEL:
            candidates = [frame for frame in stack if frame.file == KERNEL]
        else:
            candidates = list(reversed(stack))
        for rules in (self.ordinary, self.fallback):
            for frame in candidates:
                layer = first_layer(rules, frame)
                if layer is not None:
                    return Match(layer, frame)
        return Match(OTHER, candidates[0])

    def beneficiary(self, stack: Stack, spent_in: str) -> str:
        """The layer that a sample's time was spent for: another one only if it was spent in a service."""
        if spent_in not in self.services:
            return spent_in
        found = spent_in
        for frame in reversed(stack):
            layer = None if frame.file == KERNEL else first_layer(self.ordinary, frame)
            if layer is None:
                continue
            found = layer
            if layer not in self.services or self.service_root.search(frame.function):
                break
        return found


def first_layer(rules: Iterable[Rule], frame: Frame) -> str | None:
    return next((rule.layer for rule in rules if rule.matches(frame)), None)


def load_rules(path: Path = LAYERS_FILE) -> Rules:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    rules: dict[bool, list[Rule]] = {False: [], True: []}
    for entry in table["layer"]:
        rules[entry.get("fallback", False)].extend(
            Rule(entry["name"], re.compile(rule["file"]), re.compile(rule.get("function", "")))
            for rule in entry["rules"]
        )
    return Rules(
        layers=tuple(dict.fromkeys(entry["name"] for entry in table["layer"])),
        services=frozenset(entry["name"] for entry in table["layer"] if entry.get("service", False)),
        service_root=re.compile(table["service_root"]),
        ordinary=tuple(rules[False]),
        fallback=tuple(rules[True]),
    )


# ---- Summing up ----


@dataclass
class LayerTime:
    """Samples of one layer: spent in it, and spent for it (see Rules.beneficiary)."""

    spent_in: int = 0
    spent_for: int = 0
    frames: Counter[Frame] = field(default_factory=Counter)  # that matched, of the samples spent in it


@dataclass
class Attribution:
    layers: dict[str, LayerTime]  # every layer of the table, and OTHER last
    samples: int
    truncated: int  # stacks whose outermost frames the unwinder did not reach


ROOTS = re.compile(r"^(_start|__clone3?|start_thread|clone3?|thread_start)\b")


def is_truncated(stack: Stack) -> bool:
    """True unless the stack goes down to where its thread began, or never was in user mode."""
    return stack[0].file != KERNEL and not any(ROOTS.match(frame.function) for frame in stack[:2])


def attribute_all(stacks: Counter[Stack], rules: Rules) -> Attribution:
    layers = {name: LayerTime() for name in (*rules.layers, OTHER)}
    truncated = 0
    for stack, count in stacks.items():
        match = rules.attribute(stack)
        layers[match.layer].spent_in += count
        layers[match.layer].frames[match.frame] += count
        layers[rules.beneficiary(stack, match.layer)].spent_for += count
        if is_truncated(stack):
            truncated += count
    return Attribution(layers, sum(stacks.values()), truncated)


def short_file(file: str) -> str:
    """The end of a path that still tells what it is."""
    return "/".join(file.split("/")[-2:])


def format_table(attribution: Attribution, us_per_operation: float, top: int = 3) -> str:
    """A Markdown table, the largest layer first, and below it the frames that took most of each layer.

    us_per_operation is the CPU time of an operation, which the samples' shares divide.
    """
    samples = attribution.samples

    def cells(count: int) -> str:
        return f"{count / samples:.1%} | {count / samples * us_per_operation:.2f}"

    lines = [
        "| Layer | Time in it | us per operation "
        "| With the kernel's and the loop's work for it | us per operation |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    # "other" has its row even when it is empty: nothing hides.
    rows = [
        (name, time)
        for name, time in attribution.layers.items()
        if time.spent_in or time.spent_for or name == OTHER
    ]
    rows.sort(key=lambda row: row[1].spent_in, reverse=True)
    lines += [f"| {name} | {cells(time.spent_in)} | {cells(time.spent_for)} |" for name, time in rows]
    lines += [f"| **all** | {cells(samples)} | {cells(samples)} |", ""]
    lines += [f"- {name}: {format_frames(time, samples, top)}" for name, time in rows if time.spent_in]
    return "\n".join(lines)


def format_frames(time: LayerTime, samples: int, top: int) -> str:
    return ", ".join(
        f"`{frame.function}` ({short_file(frame.file)}) {count / samples:.1%}"
        for frame, count in time.frames.most_common(top)
    )
