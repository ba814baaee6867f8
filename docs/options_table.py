"""Writes the tables of options and settings into server.md and settings.md: python docs/options_table.py

They come from `atalanta.options.OPTIONS` and `atalanta.Settings`. With --check nothing is written, and a
table that is not current gives exit status 1.
"""

import sys
from dataclasses import fields
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))  # where it is not installed

from atalanta import Settings
from atalanta.connection import SETTING_NAMES
from atalanta.option import Option
from atalanta.options import BY_NAME, GROUPS, OPTIONS

DOCS = Path(__file__).resolve().parent


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


def options() -> str:
    """A Markdown table for each group of options."""
    parts = []
    for group in GROUPS:
        rows = [row(option) for option in OPTIONS if option.group == group]
        header = "| Option | Default | Meaning | Key of `ATALANTA` |\n| --- | --- | --- | --- |"
        parts.append("\n".join([f"### {group}", "", header, *rows]))
    return "\n\n".join(parts)


def settings() -> str:
    """The fields of `Settings` with their defaults, and the options that set them."""
    flags = {setting: BY_NAME[option].long_flag for option, setting in SETTING_NAMES.items()}
    flags["cancel_late_applications"] = "always, with the command"
    rows = ["| In `Settings` | Default | Option |", "| --- | --- | --- |"]
    for field in fields(Settings):
        default = f"{field.default:g}" if isinstance(field.default, float) else field.default
        option = flags.get(field.name, "")
        rows.append(f"| `{field.name}` | `{default}` | {f'`{option}`' if option[:2] == '--' else option} |")
    return "\n".join(rows)


# What stands in each page between <!-- name --> and <!-- /name -->.
TABLES = {DOCS / "server.md": ("options", options), DOCS / "settings.md": ("settings", settings)}


def with_table(path: Path) -> str:
    """The page with the current table between its markers."""
    name, table = TABLES[path]
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise SystemExit(f"{path.name} has no {begin} and {end}")
    return f"{before}{begin}\n{table()}\n{end}{after}"


def main() -> int:
    stale = [path for path in TABLES if path.read_text(encoding="utf-8") != with_table(path)]
    if "--check" in sys.argv[1:]:
        return int(bool(stale))
    for path in stale:
        path.write_text(with_table(path), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
