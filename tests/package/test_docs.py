"""What README and docs say: links that lead somewhere, commands and files that exist, working examples."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from atalanta.options import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Flags of the `atalanta` command and of `runserver` that are not in the table of options.
OTHER_FLAGS = {
    "--no-server-name",
    "--no-access-log",
    "--noasgi",
    "--http_timeout",
    "--websocket_handshake_timeout",
}


def each(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


def text_of(page):
    return page.read_text(encoding="utf-8")


def anchors_of(page):
    """The fragments that GitHub makes of a page's headings."""
    prose = FENCED.sub("", text_of(page))
    titles = (heading.lower().replace("`", "") for heading in HEADING.findall(prose))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.fixture(scope="module")
def options_table():
    spec = importlib.util.spec_from_file_location("options_table", ROOT / "docs" / "options_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_from_the_code_are_current(options_table):
    for page in options_table.TABLES:
        assert text_of(page) == options_table.with_table(page), "run python docs/options_table.py"


def test_the_table_has_every_option(options_table):
    table = options_table.options()
    for option in OPTIONS:
        assert all(f"`{flag}`" in table for flag in option.flags), option.name


@each(PAGES)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCED.sub("", text_of(page))):
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment:
            assert fragment in anchors_of(target), link


@each(PAGES)
def test_make_targets_exist(page):
    makefile = text_of(ROOT / "Makefile")
    for target in re.findall(r"(?:^    |`)make\s+([a-z][a-z0-9-]*)", text_of(page), re.MULTILINE):
        assert re.search(rf"^([a-z-]+ )*{target}( [a-z-]+)*:", makefile, re.MULTILINE), target


PAGES_WITH_OPTIONS = (
    *("server", "settings", "deploy", "security", "tuning", "monitoring", "workers-and-redis"),
    *("from-daphne", "channels"),
)


@each([page for page in PAGES if page.stem in PAGES_WITH_OPTIONS])
def test_options_exist(page):
    known = OTHER_FLAGS.union(*(option.flags for option in OPTIONS))
    known |= {"--ws", "--ws-max-size", "--ws-per-message-deflate", "--ws-ping-interval", "--ws-ping-timeout"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", text_of(page))) <= known


@each(PAGES)
def test_python_in_the_pages_is_python(page):
    for language, block in FENCED.findall(text_of(page)):
        if language == "python":
            compile(block, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_example_without_io_gives_what_the_readme_says():
    block = next(block for _, block in FENCED.findall(text_of(ROOT / "README.md")) if "build_frame" in block)
    names, shown = {}, 0
    for line in block.splitlines():
        code, comment, expected = line.partition("  # ")
        if comment:
            assert eval(code, names) == ast.literal_eval(expected), line
            shown += 1
        else:
            exec(code, names)
    assert shown == 2


def test_the_readme_has_a_place_for_the_benchmark():
    readme = text_of(ROOT / "README.md")
    assert readme.index("<!-- benchmark -->") < readme.index("<!-- /benchmark -->")


def test_contributing_names_units_and_modules_that_exist():
    page = text_of(ROOT / "CONTRIBUTING.md")
    tables = page[page.index("Units of `csrc/ext`") : page.index("Directories of `tests`")]
    units, modules = tables.split("Modules of `python/atalanta`")
    first_cells = re.compile(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", re.MULTILINE)
    for text, there in (
        (units, {path.stem for path in (ROOT / "csrc" / "ext").glob("*.h")}),
        (modules, {path.name for path in (ROOT / "python" / "atalanta").iterdir()}),
    ):
        names = {name for cell in first_cells.findall(text) for name in re.findall(r"`([\w.]+)`", cell)}
        assert names
        assert names <= there


def test_how_it_is_fast_names_files_that_exist():
    for name in re.findall(r"`((?:csrc|python)/[\w./]+)`", text_of(ROOT / "docs" / "how-it-is-fast.md")):
        assert (ROOT / name).exists(), name
