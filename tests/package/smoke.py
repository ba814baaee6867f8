"""A message there and back over real sockets, with the atalanta that is installed and nothing else.

python tests/package/smoke.py: needs no test tool, so that it also runs where a wheel was just built. Exits with
an error if the command does not start, the handshake is refused, or the echo differs.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

GUARD = 60  # seconds; only ever reached by a server that hangs

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
"""

# The example of RFC 6455 section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def masked_text(text: str) -> bytes:
    """A client's text frame, RFC 6455 section 5.2."""
    payload, mask = text.encode(), os.urandom(4)
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def echo(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=GUARD) as client:
        reader = client.makefile("rb")
        request = ["GET / HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket"]
        request += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", "", ""]
        client.sendall("\r\n".join(request).encode())
        head = b"".join(iter(reader.readline, b"\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 ") and ACCEPT in head, head
        for text in ("hello", "Ἀταλάντη"):
            client.sendall(masked_text(text))
            answer = reader.read(2 + len(text.encode()))
            assert answer == bytes([0x81, len(text.encode())]) + text.encode(), answer


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "echoing.py").write_text(APPLICATION, encoding="utf-8")
        command = [sys.executable, "-m", "atalanta", "echoing:app", "-b", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        guard = threading.Timer(GUARD, server.kill)
        guard.start()
        try:
            lines = []
            for line in server.stderr:
                lines.append(line)
                if listening := re.search(r"listening on http://[^:]+:(\d+)", line):
                    break
            else:
                sys.exit(f"the server did not start:\n{''.join(lines)}")
            echo(int(listening[1]))
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=GUARD)
        finally:
            guard.cancel()
            server.kill()
            server.wait()
    import atalanta

    print(f"atalanta {atalanta.__version__} from {os.path.dirname(atalanta.__file__)} echoes")


if __name__ == "__main__":
    main()
