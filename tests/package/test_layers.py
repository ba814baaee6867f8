"""The order of the C sources: csrc/core knows nothing of Python or of csrc/ext, which builds on it."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parents[2] / "csrc"
CORE = sorted((CSRC / "core").glob("*.[ch]"))
EXT = sorted((CSRC / "ext").glob("*.[ch]"))

LINES_MAX = 900

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)

# An object or a type with static storage, at file level or inside a function; not a function that returns one.
STATIC_OBJECT = re.compile(r"^[ \t]*static\s+(?:const\s+)?Py(?:Type)?Object\b[\s*]*(?:const\s+)?\w+\s*[=;\[,]", re.MULTILINE)

# A variable with static storage that is neither constant nor one of CPython's tables, which it does not change.
STATIC_VARIABLE = re.compile(
    r"^[ \t]*static\s+(?!const\b)(?!inline\b)(?!PyMethodDef\b|PyMemberDef\b|PyGetSetDef\b|PyType_Slot\b|PyModuleDef_Slot\b)"
    r"[\w\s]*?[\w*]\s*(?<!const )\b\w+\s*(?:\[[^\]]*\]\s*)?[=;]",
    re.MULTILINE,
)

# What would let other threads run inside a function, or is meant for several of them.
THREADS = re.compile(r"Py_BEGIN_ALLOW_THREADS|PyEval_SaveThread|PyGILState|_Atomic|stdatomic|_Thread_local|pthread")

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def source(path):
    return COMMENT.sub(" ", path.read_text(encoding="utf-8"))


def includes(path):
    """(names in angle brackets, files in quotes) of one source."""
    found = INCLUDE.findall(source(path))
    return [name for kind, name in found if kind == "<"], [name for kind, name in found if kind == '"']


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: f"{path.parent.name}/{path.name}")


def test_there_is_something_to_look_at():
    assert CORE and EXT


@each(CORE)
def test_core_includes_neither_python_nor_ext(path):
    system, own = includes(path)
    assert not [name for name in system if re.search(r"python|structmember|pyconfig", name, re.IGNORECASE)]
    for name in own:
        assert (path.parent / name).resolve().parent == CSRC / "core", name


@each(CORE)
def test_core_names_nothing_of_python(path):
    assert not re.findall(r"\b(?:_?Py[A-Z]\w*|PyObject)\b", source(path))


@each(EXT)
def test_ext_includes_only_ext_and_core(path):
    for name in includes(path)[1]:
        target = (path.parent / name).resolve()
        assert target.parent in (CSRC / "ext", CSRC / "core"), name
        assert target.exists(), name


@each(CORE + EXT)
def test_no_file_is_longer_than_a_reader_can_hold(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


@each([path for path in CORE + EXT if path.suffix == ".h"])
def test_every_header_is_guarded_by_its_own_name(path):
    guard = f"ATALANTA_{path.parent.name}_{path.stem}_H".upper()
    text = source(path)
    assert f"#ifndef {guard}\n#define {guard}\n" in text
    assert text.rstrip().endswith("#endif")


@each(EXT)
def test_no_static_objects(path):
    assert not STATIC_OBJECT.findall(source(path))


def test_the_pattern_tells_objects_from_functions():
    for line in ("static PyObject *cache;", "static PyObject *a = NULL;", "  static PyTypeObject T = {", "static PyObject *all[4];"):
        assert STATIC_OBJECT.search(line), line
    for line in ("static PyObject *\nmake(void)", "static PyObject *make(PyObject *self);", "static PyMethodDef m[] = {"):
        assert not STATIC_OBJECT.search(line), line


@each(CORE + EXT)
def test_threads_share_nothing_but_what_the_interpreters_lock_guards(path):
    """So there is no data race to be had: no variable that changes outlives a call, and the lock is never released."""
    assert not STATIC_VARIABLE.findall(source(path))
    assert not THREADS.findall(source(path))


def test_the_pattern_tells_variables_from_constants_and_functions():
    for line in (
        "static int count;",
        "static bool chosen = false;",
        "    static size_t calls = 0;",
        "static uint8_t table[256];",
        "static const_struct *kernel = NULL;",
        "static ws_mask_kernel *kernel;",
    ):
        assert STATIC_VARIABLE.search(line), line
    for line in (
        "static const int count = 1;",
        "static const char *const names[] = {",
        "static int count(void);",
        "static int\ncount(void)\n{\n    int x = 1;\n}",
        "static PyMethodDef methods[] = {",
        "static inline size_t\nbound(size_t n)\n{\n    return n;\n}",
    ):
        assert not STATIC_VARIABLE.search(line), line


def test_every_source_is_built():
    setup = (CSRC.parent / "setup.py").read_text(encoding="utf-8")
    for path in CORE + EXT:
        if path.suffix == ".c":
            assert f'"{path.stem}"' in setup, path.name
