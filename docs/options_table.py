"""Writes the table of options of the `atalanta` command into docs/server.md: python docs/options_table.py

The table comes from `atalanta.options.OPTIONS`. With --check nothing is written, and a table that is not
current gives exit status 1.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))  # where it is not installed

from atalanta.options import GROUPS, OPTIONS, Option

PAGE = Path(__file__).with_name("server.md")
BEGIN, END = "<!-- options -->", "<!-- /options -->"


def default_of(option: Option) -> str:
    """The default as a user would write it; empty for none, and where the meaning says it."""
    if option.default in (None, "", []) or option.kind is bool:
        return ""
    if option.kind is list:
        return f"`{','.join(option.default)}`"
    return f"`{option.default:g}`" if option.kind is float else f"`{option.default}`"


def row(option: Option) -> str:
    names = ", ".join(f"`{flag}`" for flag in option.flags)
    meaning = option.help
    if option.choices:
        meaning += f" ({', '.join(option.choices)})"
    setting = f"`{option.settings_key}`" if option.settings_key else "no"
    cells = (names, default_of(option), meaning.replace("|", "\\|").replace("*", "\\*"), setting)
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """A Markdown table for each group of options."""
    parts = []
    for group in GROUPS:
        rows = [row(option) for option in OPTIONS if option.group == group]
        header = "| Option | Default | Meaning | Key of `ATALANTA` |\n| --- | --- | --- | --- |"
        parts.append("\n".join([f"### {group}", "", header, *rows]))
    return "\n\n".join(parts)


def with_table(page: str) -> str:
    """The page with the current table between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    current = with_table(page)
    if "--check" in sys.argv[1:]:
        return int(page != current)
    PAGE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
