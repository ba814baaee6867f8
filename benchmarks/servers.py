"""The servers under measurement. Another server is one more entry of SERVERS.

Each serves with one process, without access log, and without compression unless the workload is about it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import layers
from .workloads import Workload

BACKLOG = 4096
MAX_SIZE = 32 * 1024 * 1024  # above the largest message of any workload


@dataclass(frozen=True)
class Application:
    """An application of apps/: the ASGI target, and what must be importable for it."""

    target: str
    requires: tuple[str, ...] = ()


APPLICATIONS = {
    "raw": Application("raw:app"),
    "starlette": Application("starlette_app:app", ("starlette",)),
    "channels": Application("channels_app.asgi:application", ("channels", "django")),
}


@dataclass(frozen=True)
class Launch:
    """What a server is told: what to serve, where to listen, whether to offer permessage-deflate."""

    application: str
    host: str
    port: int
    deflate: bool = False

    @property
    def target(self) -> str:
        return APPLICATIONS[self.application].target


@dataclass(frozen=True)
class Server:
    """A way to serve an application.

    column        the heading in the tables that compare workloads; variants for single rows share one
    command       gives the arguments behind `python` that serve a Launch
    requires      modules, or module:attribute, without which the server is skipped
    settings      what is set beyond the defaults, and why; source says where that is documented
    applications  those it can serve
    loop          the event loop it stands for: it takes the workloads of that loop only
    accelerated   on Channels: with the Django app "atalanta" and Atalanta's channel layers
    main          part of the default selection
    """

    name: str
    column: str
    command: Callable[[Launch], list[str]]
    requires: tuple[str, ...]
    settings: str
    source: str
    applications: tuple[str, ...] = tuple(APPLICATIONS)
    loop: str = "fast"
    accelerated: bool = False
    main: bool = False

    def serves(self, workload: Workload) -> bool:
        return workload.application in self.applications and workload.loop == self.loop

    def layer(self, workload: Workload) -> layers.Layer | None:
        """The channel layer with which this server serves the workload."""
        name = workload.layer
        if name is None:
            return None
        return layers.LAYERS[layers.ACCELERATED.get(name, name) if self.accelerated else name]

    def needs(self, workload: Workload) -> tuple[str, ...]:
        """Everything that must be importable where this server serves the workload."""
        needs = self.requires + APPLICATIONS[workload.application].requires
        layer = self.layer(workload)
        if layer is not None:
            needs += layer.requires
        if self.uses_django_app(workload):
            needs += ("atalanta.apps",)
        return needs

    def uses_django_app(self, workload: Workload) -> bool:
        return self.accelerated and workload.application == "channels"


# ---- Command lines ----


def uvicorn(ws: str, loop: str = "uvloop", http: str = "httptools") -> Callable[[Launch], list[str]]:
    """uvicorn with a WebSocket class and an event loop."""

    def command(launch: Launch) -> list[str]:
        return [
            *("-m", "uvicorn", launch.target, "--host", launch.host, "--port", str(launch.port)),
            *("--ws", ws, "--loop", loop, "--http", http, "--ws-max-size", str(MAX_SIZE)),
            *("--ws-per-message-deflate", "true" if launch.deflate else "false"),
            *("--backlog", str(BACKLOG), "--no-access-log", "--log-level", "warning"),
        ]

    return command


def daphne(launch: Launch) -> list[str]:
    return [
        *("-m", "daphne", "--bind", launch.host, "--port", str(launch.port), "--verbosity", "0"),
        *("--websocket-max-message-size", str(MAX_SIZE), "--websocket-max-frame-size", str(MAX_SIZE)),
        launch.target,
    ]


def hypercorn(loop: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        return [
            *("-m", "hypercorn", "--bind", f"{launch.host}:{launch.port}", "--worker-class", loop),
            *("--workers", "1", "--backlog", str(BACKLOG), "--log-level", "warning", "--error-logfile", "-"),
            launch.target,
        ]

    return command


def granian(loop: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        return [
            *("-m", "granian", "--interface", "asgi", "--host", launch.host, "--port", str(launch.port)),
            *("--loop", loop, "--workers", "1", "--http", "1", "--backlog", "16384"),
            *("--backpressure", "65536", "--no-access-log", "--log-level", "warning"),
            launch.target,
        ]

    return command


def picows(launch: Launch) -> list[str]:
    return ["-m", "picows_echo", launch.host, str(launch.port)]


# ---- The registry ----

UVICORN_SETTINGS = (
    "uvloop and httptools (what uvicorn[standard] brings), --ws-max-size 32 MiB, --backlog 4096, "
    "--ws-per-message-deflate only for the deflate workload"
)
ATALANTA = ("atalanta:WebSocketProtocol", "uvloop", "atalanta:HttpProtocol")
ATALANTA_SETTINGS = UVICORN_SETTINGS.replace("httptools", "--http atalanta:HttpProtocol over httptools")
UVICORN_SOURCE = "uvicorn documentation: Settings, Deployment"
GRANIAN_SETTINGS = "one worker, HTTP/1, backlog and backpressure raised above the number of connections"
HYPERCORN_SETTINGS = "one worker, --backlog 4096; largest message 16 MiB, its default"

_SERVERS = [
    Server(
        "atalanta",
        "atalanta",
        uvicorn(*ATALANTA),
        ("atalanta", "uvicorn", "uvloop", "httptools"),
        ATALANTA_SETTINGS + "; on Channels the Django app and Atalanta's channel layers",
        "README.md",
        accelerated=True,
        main=True,
    ),
    Server(
        "atalanta-stock-channels",
        "atalanta, stock Channels",
        uvicorn(*ATALANTA),
        ("atalanta", "uvicorn", "uvloop", "httptools"),
        ATALANTA_SETTINGS + "; Channels' own dispatch and layers",
        "README.md",
        applications=("channels",),
    ),
    Server(
        "atalanta-asyncio",
        "atalanta",
        uvicorn(ATALANTA[0], "asyncio", ATALANTA[2]),
        ("atalanta", "uvicorn", "httptools"),
        ATALANTA_SETTINGS.replace("uvloop", "asyncio's own loop"),
        "README.md",
        loop="asyncio",
        accelerated=True,
    ),
    Server(
        "uvicorn-websockets",
        "uvicorn websockets",
        uvicorn("websockets"),
        ("uvicorn", "websockets", "uvloop", "httptools"),
        UVICORN_SETTINGS,
        UVICORN_SOURCE,
    ),
    Server(
        "uvicorn-websockets-asyncio",
        "uvicorn websockets",
        uvicorn("websockets", "asyncio"),
        ("uvicorn", "websockets", "httptools"),
        UVICORN_SETTINGS.replace("uvloop", "asyncio's own loop"),
        UVICORN_SOURCE,
        loop="asyncio",
    ),
    Server(
        "uvicorn-sansio",
        "uvicorn sansio",
        uvicorn("websockets-sansio"),
        ("uvicorn", "websockets", "uvloop", "httptools"),
        UVICORN_SETTINGS,
        UVICORN_SOURCE,
        main=True,
    ),
    Server(
        "uvicorn-sansio-asyncio",
        "uvicorn sansio",
        uvicorn("websockets-sansio", "asyncio"),
        ("uvicorn", "websockets", "httptools"),
        UVICORN_SETTINGS.replace("uvloop", "asyncio's own loop"),
        UVICORN_SOURCE,
        loop="asyncio",
    ),
    Server(
        "uvicorn-wsproto",
        "uvicorn wsproto",
        uvicorn("wsproto"),
        ("uvicorn", "wsproto", "uvloop", "httptools"),
        UVICORN_SETTINGS,
        UVICORN_SOURCE,
    ),
    Server(
        "daphne",
        "daphne",
        daphne,
        ("daphne",),
        "its own reactor (Twisted on asyncio), largest message and frame 32 MiB",
        "daphne --help",
        main=True,
    ),
    Server(
        "hypercorn",
        "hypercorn",
        hypercorn("uvloop"),
        ("hypercorn", "wsproto", "uvloop"),
        "uvloop worker, " + HYPERCORN_SETTINGS,
        "hypercorn documentation: Configuring",
    ),
    Server(
        "hypercorn-asyncio",
        "hypercorn",
        hypercorn("asyncio"),
        ("hypercorn", "wsproto"),
        "asyncio worker, " + HYPERCORN_SETTINGS,
        "hypercorn documentation: Configuring",
        loop="asyncio",
    ),
    Server(
        "granian",
        "granian",
        granian("uvloop"),
        ("granian", "uvloop"),
        "uvloop, " + GRANIAN_SETTINGS,
        "granian README: Options, Workers and threads",
    ),
    Server(
        "granian-asyncio",
        "granian",
        granian("asyncio"),
        ("granian",),
        "asyncio's own loop, " + GRANIAN_SETTINGS,
        "granian README: Options, Workers and threads",
        loop="asyncio",
    ),
    Server(
        "picows",
        "picows (no ASGI)",
        picows,
        ("picows", "uvloop"),
        "uvloop; its library calls the application's methods itself, there is no ASGI between",
        "picows documentation: Server",
        applications=("raw",),
    ),
]
SERVERS = {server.name: server for server in _SERVERS}
