"""Sphinx: the pages of docs/ and those beside them, with the links that they have on a forge.

The source directory is the repository, so that a page is found where its neighbours link to it:
`sphinx-build -c docs . build/docs`, which is what `make docs` does.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs")]

import atalanta  # noqa: E402

project = "Atalanta"
copyright = "the Atalanta contributors"
version = release = atalanta.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "stub_signatures"]

root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "benchmarks/README.md",
    "benchmarks/load/README.md",
    *(f"benchmarks/results/{name}.md" for name in ("main", "growth", "latency", "asyncio", "database")),
    "examples/README.md",
    "examples/*/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "tests/*/README.md",
]
exclude_patterns = ["build", "dist", ".*", "python", "csrc"]

# ---- Markdown, as a forge reads it ----

myst_heading_anchors = 4

# ---- The reference from docstrings ----

smartquotes = False  # names and options in prose stay as they are
default_role = "literal"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
nitpicky = True
# Names of other packages: nothing is fetched for a build.
nitpick_ignore_regex = [("py:.*", r"(?!atalanta\b).*")]

# ---- Pages ----

html_theme = "furo"
html_title = "Atalanta"
html_copy_source = False
html_show_sphinx = False
html_additional_pages = {"index": "to_index.html"}  # the front page is docs/index.html
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}
