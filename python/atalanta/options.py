"""The options of the `atalanta` command: one table, from which come the parser, the names of the environment
variables and the keys of the Django setting.

An option named `ping_interval` is `--ping-interval` on the command line, `ATALANTA_PING_INTERVAL` in the
environment and `ATALANTA = {"PING_INTERVAL": …}` in the Django settings; the first of these that has it
decides.
"""

from __future__ import annotations

from atalanta.http import HttpProtocol
from atalanta.option import Option
from atalanta.protocol import Compression
from atalanta.settings import Settings

SETTING = "ATALANTA"

# Keys of the setting that are no options of the server.
OTHER_SETTINGS = ("ACCELERATE_CONSUMERS",)

MEBIBYTE = 1024 * 1024

# The most that the system takes where it has a C int.
C_INT_MAX = 2**31 - 1

COMPRESSION = Compression()
DEFAULTS = Settings()

LISTENING = "Where to listen"
APPLICATION = "Application"
WEBSOCKETS = "WebSockets"
HTTP = "HTTP"
PROXIES = "Behind a proxy"
TLS = "TLS"
PROCESSES = "Processes, limits and shutdown"
LOGGING = "Logging"

GROUPS = (LISTENING, APPLICATION, WEBSOCKETS, HTTP, PROXIES, TLS, PROCESSES, LOGGING)

OPTIONS: tuple[Option, ...] = (
    # Where to listen
    Option(
        "port",
        LISTENING,
        int,
        None,
        "TCP port (8000 unless something else is given to listen on); 0: any free one",
        short="-p",
        metavar="PORT",
        minimum=0,
        maximum=65535,
    ),
    Option(
        "bind",
        LISTENING,
        str,
        None,
        "TCP address or host name (127.0.0.1)",
        short="-b",
        aliases=("--host",),
        metavar="HOST",
    ),
    Option(
        "unix_socket",
        LISTENING,
        str,
        None,
        "Unix socket; one that a dead server left is replaced",
        short="-u",
        aliases=("--uds",),
        metavar="PATH",
    ),
    Option(
        "fd",
        LISTENING,
        int,
        None,
        "socket that was opened by the parent process, by its file descriptor",
        metavar="NUMBER",
        minimum=0,
        maximum=C_INT_MAX,
    ),
    Option(
        "endpoint",
        LISTENING,
        list,
        [],
        "endpoint as daphne writes it: tcp:8000:interface=127.0.0.1, "
        "ssl:443:privateKey=key.pem:certKey=cert.pem, unix:/run/app.sock:mode=660, fd:fileno=3, "
        "systemd:domain=INET:index=0; may be repeated",
        short="-e",
        metavar="ENDPOINT",
    ),
    Option(
        "backlog",
        LISTENING,
        int,
        2048,
        "connections that the system may hold until they are accepted",
        metavar="NUMBER",
        minimum=1,
        maximum=C_INT_MAX,
    ),
    # Application
    Option(
        "app_dir",
        APPLICATION,
        str,
        ".",
        "directory to import the application from",
        metavar="DIRECTORY",
        in_settings=False,
    ),
    Option(
        "factory",
        APPLICATION,
        bool,
        False,
        "the application is a function that returns the ASGI application",
        in_settings=False,
    ),
    Option(
        "env_file",
        APPLICATION,
        str,
        None,
        "file of environment variables to set first (needs python-dotenv)",
        metavar="FILE",
        in_settings=False,
    ),
    Option(
        "lifespan",
        APPLICATION,
        str,
        "auto",
        "whether the application gets ASGI lifespan events",
        choices=("auto", "on", "off"),
    ),
    Option(
        "root_path",
        APPLICATION,
        str,
        "",
        "ASGI root_path: where the application is mounted; the proxy may leave it in the path or take it "
        "away",
        metavar="PATH",
    ),
    Option(
        "loop",
        APPLICATION,
        str,
        "auto",
        "event loop; auto is uvloop where it is installed",
        choices=("auto", "asyncio", "uvloop"),
    ),
    Option(
        "asgi_threads",
        APPLICATION,
        int,
        None,
        "threads for synchronous code that may run in any thread (Python's own number)",
        metavar="NUMBER",
        minimum=1,
        fallback="ASGI_THREADS",
    ),
    # WebSockets
    Option(
        "websocket_timeout",
        WEBSOCKETS,
        float,
        -1.0,
        "seconds that a WebSocket may stay open, closed with 1000 then; -1: no limit",
        aliases=("--websocket_timeout",),
        metavar="SECONDS",
        minimum=-1,
    ),
    Option(
        "websocket_connect_timeout",
        WEBSOCKETS,
        float,
        5.0,
        "seconds that the application has to accept or refuse a WebSocket, refused with 403 then; -1: "
        "no limit",
        aliases=("--websocket_connect_timeout",),
        metavar="SECONDS",
        minimum=-1,
    ),
    Option(
        "websocket_max_message_size",
        WEBSOCKETS,
        int,
        16 * MEBIBYTE,
        "largest message from a client, closed with 1009 beyond; 0: no limit, which lets any client "
        "take all memory",
        metavar="BYTES",
        minimum=0,
    ),
    Option(
        "websocket_max_frame_size",
        WEBSOCKETS,
        int,
        0,
        "daphne's limit of one frame; only values that the limit of the message makes needless are accepted",
        metavar="BYTES",
        minimum=0,
    ),
    Option(
        "ping_interval",
        WEBSOCKETS,
        float,
        20.0,
        "seconds between keepalive pings; 0: none",
        metavar="SECONDS",
        minimum=0,
    ),
    Option(
        "ping_timeout",
        WEBSOCKETS,
        float,
        20.0,
        "seconds that a client has to answer a ping, closed with 1011 then; 0: for ever",
        metavar="SECONDS",
        minimum=0,
    ),
    Option(
        "websocket_close_timeout",
        WEBSOCKETS,
        float,
        DEFAULTS.close_timeout,
        "seconds that a client has for its part of the closing handshake, TCP is cut then",
        metavar="SECONDS",
        minimum=0.001,
    ),
    Option(
        "application_close_timeout",
        WEBSOCKETS,
        float,
        10.0,
        "seconds that the application may go on after its WebSocket has gone, cancelled then; -1: no limit",
        metavar="SECONDS",
        minimum=-1,
    ),
    Option(
        "websocket_max_fragments",
        WEBSOCKETS,
        int,
        DEFAULTS.max_fragments,
        "frames of one message, closed with 1009 beyond; 0: no limit",
        metavar="NUMBER",
        minimum=0,
    ),
    Option(
        "websocket_max_early_bytes",
        WEBSOCKETS,
        int,
        DEFAULTS.max_early_bytes,
        "bytes of frames kept until the application has accepted, beyond which the client is not read from",
        metavar="BYTES",
        minimum=1,
    ),
    Option(
        "websocket_max_queued_messages",
        WEBSOCKETS,
        int,
        DEFAULTS.max_queued_messages,
        "messages that the application has not received beyond which the client is not read from",
        metavar="NUMBER",
        minimum=1,
    ),
    Option(
        "websocket_max_queued_bytes",
        WEBSOCKETS,
        int,
        DEFAULTS.max_queued_bytes,
        "the same in bytes",
        metavar="BYTES",
        minimum=1,
    ),
    Option(
        "websocket_max_request_size",
        WEBSOCKETS,
        int,
        DEFAULTS.max_request_size,
        "largest upgrade request with its headers, answered with 431 beyond",
        metavar="BYTES",
        minimum=1,
    ),
    Option(
        "websocket_max_connections",
        WEBSOCKETS,
        int,
        None,
        "WebSockets of one process, handshakes included, beyond which one more is answered with 503 (no "
        "limit); HTTP goes on, other than with --limit-concurrency",
        metavar="NUMBER",
        minimum=1,
    ),
    Option(
        "websocket_retry_after",
        WEBSOCKETS,
        int,
        DEFAULTS.retry_after,
        "seconds that such a 503 tells the client to wait",
        metavar="SECONDS",
        minimum=0,
        maximum=24 * 3600,
    ),
    Option(
        "websocket_compression",
        WEBSOCKETS,
        str,
        "on",
        "whether to compress for clients that offer permessage-deflate",
        choices=("on", "off"),
    ),
    Option(
        "websocket_compression_window_bits",
        WEBSOCKETS,
        int,
        COMPRESSION.server_max_window_bits,
        "compression window, as a power of two, in both directions; a larger one takes more memory",
        metavar="BITS",
        minimum=9,
        maximum=15,
    ),
    Option(
        "websocket_compression_level",
        WEBSOCKETS,
        int,
        COMPRESSION.level,
        "zlib's level: 1 is the fastest, 9 the smallest",
        metavar="LEVEL",
        minimum=1,
        maximum=9,
    ),
    Option(
        "websocket_compression_memory_level",
        WEBSOCKETS,
        int,
        COMPRESSION.memory_level,
        "zlib's memory level: each one more doubles the memory beside the window",
        metavar="LEVEL",
        minimum=1,
        maximum=9,
    ),
    Option(
        "websocket_compression_threshold",
        WEBSOCKETS,
        int,
        COMPRESSION.threshold,
        "messages of fewer bytes are not compressed",
        metavar="BYTES",
        minimum=0,
    ),
    # HTTP
    Option(
        "http",
        HTTP,
        str,
        "auto",
        "uvicorn's class for all that is no WebSocket; auto takes httptools",
        choices=("auto", "httptools", "h11"),
    ),
    Option(
        "request_timeout",
        HTTP,
        float,
        HttpProtocol.first_request_timeout,
        "seconds for the first request of a connection, unless it cannot be an upgrade; closed then, with "
        "408 if a part of it has come; 0: no limit",
        metavar="SECONDS",
        minimum=0,
    ),
    Option(
        "http_timeout",
        HTTP,
        float,
        None,
        "seconds that a response may take, 503 then; 0: no limit, as without it",
        short="-t",
        metavar="SECONDS",
        minimum=0,
    ),
    Option(
        "timeout_keep_alive",
        HTTP,
        int,
        5,
        "seconds that an idle HTTP connection is kept",
        metavar="SECONDS",
        minimum=0,
    ),
    Option(
        "server_name",
        HTTP,
        str,
        "atalanta",
        "value of the Server header",
        short="-s",
        metavar="NAME",
    ),
    # Behind a proxy
    Option(
        "proxy_headers",
        PROXIES,
        bool,
        False,
        "take the client's address and the scheme from X-Forwarded-For, -Port and -Proto, and the root_path "
        "from Daphne-Root-Path",
    ),
    Option(
        "proxy_headers_host",
        PROXIES,
        str,
        None,
        "take the address from this header instead; needs --proxy-headers",
        metavar="HEADER",
    ),
    Option(
        "proxy_headers_port",
        PROXIES,
        str,
        None,
        "take the port from this header instead; needs --proxy-headers",
        metavar="HEADER",
    ),
    Option(
        "forwarded_allow_ips",
        PROXIES,
        list,
        ["*"],
        "whose headers to believe: addresses, networks, `unix` for Unix sockets, separated by commas; "
        "* (the default, as daphne has it) is everybody",
        metavar="LIST",
        fallback="FORWARDED_ALLOW_IPS",
    ),
    # TLS
    Option(
        "ssl_certfile",
        TLS,
        str,
        None,
        "certificate, with its chain, in PEM; makes everything TLS",
        metavar="FILE",
    ),
    Option(
        "ssl_keyfile",
        TLS,
        str,
        None,
        "its private key, unless it is in the same file",
        metavar="FILE",
    ),
    Option(
        "ssl_keyfile_password",
        TLS,
        str,
        None,
        "password of an encrypted key (the environment is the better place for it)",
        metavar="PASSWORD",
    ),
    Option(
        "ssl_ca_certs",
        TLS,
        str,
        None,
        "authorities for certificates of clients",
        metavar="FILE",
    ),
    Option(
        "ssl_cert_reqs",
        TLS,
        str,
        "none",
        "whether clients must have certificates",
        choices=("none", "optional", "required"),
    ),
    Option(
        "ssl_ciphers",
        TLS,
        str,
        None,
        "OpenSSL cipher list (OpenSSL's own)",
        metavar="CIPHERS",
    ),
    # Processes, limits and shutdown
    Option(
        "workers",
        PROCESSES,
        int,
        1,
        "server processes (WEB_CONCURRENCY is not read)",
        metavar="NUMBER",
        minimum=1,
        maximum=1000,  # a slip of the finger would take all memory
    ),
    Option(
        "reload",
        PROCESSES,
        bool,
        False,
        "start again when a source file changes; for development",
    ),
    Option(
        "reload_dir",
        PROCESSES,
        list,
        [],
        "directory to watch (the current one); may be repeated",
        metavar="DIRECTORY",
    ),
    Option(
        "limit_concurrency",
        PROCESSES,
        int,
        None,
        "connections or running requests of one process beyond which it answers 503 (no limit)",
        metavar="NUMBER",
        minimum=1,
    ),
    Option(
        "max_requests",
        PROCESSES,
        int,
        None,
        "responses and accepted WebSockets after which a process ends (no limit); with --workers "
        "another takes its place",
        aliases=("--limit-max-requests",),
        metavar="NUMBER",
        minimum=1,
    ),
    Option(
        "max_requests_jitter",
        PROCESSES,
        int,
        0,
        "up to so many more, at random, so that not all end at once",
        metavar="NUMBER",
        minimum=0,
    ),
    Option(
        "drain_time",
        PROCESSES,
        float,
        0.0,
        "seconds over which open WebSockets are closed at shutdown, so that not all clients come back "
        "at once",
        metavar="SECONDS",
        minimum=0,
    ),
    Option(
        "shutdown_code",
        PROCESSES,
        int,
        DEFAULTS.shutdown_code,
        "close code of WebSockets at shutdown: service restart, or going away",
        choices=("1012", "1001"),
    ),
    Option(
        "timeout_graceful_shutdown",
        PROCESSES,
        int,
        20,
        "seconds that a shutdown may take, --drain-time included; what still runs is cancelled then",
        metavar="SECONDS",
        minimum=0,
    ),
    # Logging
    Option(
        "verbosity",
        LOGGING,
        int,
        1,
        "0: warnings, 1: and information, 2: and debugging, 3: and asyncio's debug mode",
        short="-v",
        metavar="LEVEL",
        minimum=0,
        maximum=3,
        in_settings=False,
    ),
    Option(
        "log_level",
        LOGGING,
        str,
        None,
        "level instead of the one that --verbosity stands for",
        choices=("critical", "error", "warning", "info", "debug", "trace"),
        in_settings=False,
    ),
    Option(
        "log_fmt",
        LOGGING,
        str,
        "%(asctime)-15s %(levelname)-8s %(message)s",
        "format of log lines",
        metavar="FORMAT",
        in_settings=False,
    ),
    Option(
        "log_config",
        LOGGING,
        str,
        None,
        "logging configuration (.json, .yaml or .ini) instead of all of this",
        metavar="FILE",
        in_settings=False,
    ),
    Option(
        "access_log",
        LOGGING,
        str,
        None,
        "file for a line per request, - for standard output (the default with --verbosity 1 and more)",
        metavar="FILE",
        in_settings=False,
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}
