#!/usr/bin/env python
"""Serves the chat, pages and WebSockets, with uvicorn and Atalanta: python serve.py"""

import argparse
import signal
import socket
import sys

import uvicorn
from uvicorn.importer import ImportFromStringError

from mysite.asgi import application


def parse_arguments():
    parser = argparse.ArgumentParser(description="Serve the chat example.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="0 takes any free port (%(default)s)")
    parser.add_argument(
        "--ws",
        default="atalanta:WebSocketProtocol",
        help="WebSocket protocol class or a name that uvicorn knows (%(default)s)",
    )
    return parser.parse_args()


def listen(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on {host} port {port}: {error}. Choose another with --host and --port.")


def main():
    options = parse_arguments()

    config = uvicorn.Config(application, ws=options.ws, lifespan="off", log_level="warning")
    try:
        config.load()
    except ImportFromStringError as error:
        sys.exit(f"Cannot use --ws {options.ws}: {error}")

    # uvicorn closes every connection when it is told to stop, then hands the signal on to
    # whoever handled it before: here, a normal exit.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))

    with listen(options.host, options.port) as listener:
        host, port = listener.getsockname()[:2]
        print(f"Chat: http://{f'[{host}]' if ':' in host else host}:{port}/", flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
