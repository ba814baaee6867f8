"""Build of the C core. Switches, from the environment:

ATALANTA_BUILD=debug     assertions, no optimisation
ATALANTA_BUILD=sanitize  AddressSanitizer and UndefinedBehaviorSanitizer (run Python with libasan preloaded)
ATALANTA_BUILD=thread    assertions and ThreadSanitizer (run Python with libtsan preloaded)
ATALANTA_BUILD=coverage  gcov counters
ATALANTA_WERROR=1        the warnings of CONTRIBUTING.md, as errors
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = [
    "base64",
    "conn",
    "deflate",
    "error",
    "extension",
    "frame",
    "handshake",
    "mask",
    "mask_avx2",
    "mask_neon",
    "mask_portable",
    "mask_sse2",
    "sha1",
    "upgrade",
    "utf8",
]
EXT = [
    "asgi",
    "assembly",
    "awaitable",
    "broadcast",
    "callable",
    "closing",
    "compression",
    "connection_limits",
    "coroutine",
    "counters",
    "delivery",
    "denial",
    "dispatcher",
    "entry",
    "events",
    "free_list",
    "functions",
    "group",
    "incoming",
    "lent_buffer",
    "loop_state",
    "mailbox",
    "message_copy",
    "message_queue",
    "module",
    "object_list",
    "parser",
    "poller",
    "protocol",
    "response",
    "scope",
    "session",
    "timer_queue",
    "timers",
    "turn",
    "waiter",
    "writer",
]
SOURCES = [f"csrc/core/{name}.c" for name in CORE] + [f"csrc/ext/{name}.c" for name in EXT]
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*.h"))

BUILDS = {
    "release": (["-O3"], []),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    "sanitize": (
        ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-UNDEBUG"],
        ["-fsanitize=address,undefined"],
    ),
    "thread": (["-O1", "-g", "-fsanitize=thread", "-UNDEBUG"], ["-fsanitize=thread"]),
    # The two are called where a process of the tests ends without C's exit().
    "coverage": (
        ["-O0", "-g", "--coverage", "-fprofile-update=atomic"],
        ["--coverage", "-Wl,-u,__gcov_dump", "-Wl,-u,__gcov_reset"],
    ),
}
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wvla",
    "-Wundef",
    "-Wpointer-arith",
    "-Wwrite-strings",
    "-Wcast-align",
    "-Wimplicit-fallthrough",
    "-Werror",
]


def require(condition: bool, text: str) -> None:
    if not condition:
        sys.exit(f"atalanta: cannot build the C core: {text}")


class build_core(build_ext):
    """build_ext that names what is missing and applies the switches."""

    def build_extensions(self) -> None:
        require(
            self.compiler.compiler_type != "msvc",
            "Windows is not supported: the core was never built with its compiler, and the server needs the "
            "sockets of Unix; use WSL",
        )
        unix = self.compiler.compiler_type == "unix"
        if unix:
            self.check_tools()
            self.apply_switches()
        super().build_extensions()

    def check_tools(self) -> None:
        compiler = self.compiler.compiler_so[0]
        require(
            shutil.which(compiler) is not None,
            f"no C compiler ({compiler!r} was not found); install gcc or clang, or set CC",
        )
        include = Path(sysconfig.get_path("include"))
        require(
            (include / "Python.h").exists(),
            f"Python.h is not in {include}; install the headers of this Python (Debian: python3-dev)",
        )
        command = [*self.compiler.compiler_so[:1], "-E", "-x", "c", "-"]
        found = subprocess.run(command, input=b"#include <zlib.h>\n", capture_output=True)
        require(found.returncode == 0, "zlib.h was not found; install zlib's headers (Debian: zlib1g-dev)")

    def apply_switches(self) -> None:
        name = os.environ.get("ATALANTA_BUILD", "release")
        require(name in BUILDS, f"ATALANTA_BUILD={name!r} is none of {', '.join(BUILDS)}")
        compile_args, link_args = BUILDS[name]
        extension = self.extensions[0]
        extension.extra_compile_args += ["-std=c11", "-fvisibility=hidden", *compile_args]
        extension.extra_link_args += link_args
        if os.environ.get("ATALANTA_WERROR") == "1":
            extension.extra_compile_args += WARNINGS
            # Python's own headers are not ours to mend.
            includes = [sysconfig.get_path("include")]
            extension.extra_compile_args += [f"-isystem{path}" for path in includes]
            self.compiler.include_dirs = [
                path for path in self.compiler.include_dirs if path not in includes
            ]


setup(
    ext_modules=[Extension("atalanta._core", sources=SOURCES, depends=HEADERS, libraries=["z"])],
    cmdclass={"build_ext": build_core},
)
