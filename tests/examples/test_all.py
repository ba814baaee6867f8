"""What holds for every example: how it is found and started, and what its pages may contain."""

import re
import shutil
import subprocess

import pytest

from .support import EXAMPLES

TABLE = (EXAMPLES / "README.md").read_text()
NAMES = re.findall(r"^\| \[`([a-z-]+)`\]", TABLE, re.MULTILINE)
# How to deploy is shown beside the examples, and is none.
DEPLOY = EXAMPLES / "deploy"
REQUIREMENTS = sorted(EXAMPLES.glob("*/requirements.txt"))
DIRECTORIES = [path.parent.name for path in REQUIREMENTS if path.parent != DEPLOY]
PAGES = [path for path in EXAMPLES.rglob("*.html") if not path.is_relative_to(DEPLOY)]

LARGEST_PICTURE = 80 * 1024  # bytes


def test_the_table_has_every_example():
    assert sorted(set(NAMES) - {"chat-redis"}) == DIRECTORIES


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_readme_of_one_screen_names_what_there_is(name):
    text = (EXAMPLES / name / "README.md").read_text()
    assert len(text.splitlines()) <= 70
    # The tables of places to look at; patterns and directories count as what they match.
    for place in re.findall(r"^\| `([\w./-]+)`[^|]*\|", text, re.MULTILINE):
        if "/" in place or place.endswith((".py", ".js")):
            assert (EXAMPLES / name / place).exists(), place


@pytest.mark.parametrize("name", DIRECTORIES)
def test_the_pictures_of_a_readme_are_small(name):
    text = (EXAMPLES / name / "README.md").read_text()
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (EXAMPLES / name / picture).stat().st_size <= LARGEST_PICTURE, picture


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "clients"])
def test_make_starts_it_on_the_port_that_is_asked_for(name):
    command = ["make", "--no-print-directory", "--dry-run", name, "PORT=8123"]
    done = subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    directory = "chat" if name == "chat-redis" else name
    last = done.stdout.replace("\\\n", " ").splitlines()[-1]
    assert f"examples/{directory}" in last
    assert "8123" in last


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_a_page_has_nothing_inline(page):
    text = page.read_text()
    for script in re.findall(r"<script[^>]*>", text):
        assert " src=" in script, script
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "<head>" in page.read_text()],
    ids=lambda path: str(path.relative_to(EXAMPLES)),
)
def test_a_page_is_ready_for_phones_darkness_and_a_strict_policy(page):
    text = page.read_text()
    assert '<html lang="en">' in text
    assert 'name="viewport" content="width=device-width' in text
    assert '<meta name="color-scheme" content="light dark">' in text
    assert """content="default-src 'self'">""" in text
    assert "shared/page.css" in text
