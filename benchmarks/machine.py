"""Facts about the machine and the versions of what runs on it."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = (
    *("atalanta", "uvicorn", "uvloop", "httptools", "websockets", "wsproto", "h11", "hypercorn", "granian"),
    *("picows", "daphne", "twisted", "autobahn", "channels", "channels_redis", "django", "asgiref", "redis"),
    *("hiredis", "starlette"),
)


def package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def first_line(*command: str) -> str | None:
    """The first line a command prints, or None if it fails."""
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.splitlines()[0] if run.stdout else None


def cpu_model() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def memory_mib() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2


def facts(cores: tuple[int | None, int | None]) -> dict[str, object]:
    """What a reader of the results must know about where they come from."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_mib": memory_mib(),
        "server_core": cores[0],
        "client_core": cores[1],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "compiler": first_line(*shlex.split(os.environ.get("CC", "cc")), "--version"),
        "redis": first_line("redis-server", "--version"),
        "packages": {name: package_version(name) for name in PACKAGES},
        "commit": first_line("git", "describe", "--always", "--dirty"),
        "load_average": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
