"""Echo and broadcast on picows itself: no ASGI, for comparison with a bare library.

python picows_echo.py HOST PORT
"""

import asyncio
import signal
import sys

import uvloop
from picows import WSListener, WSMsgType, ws_create_server

MAX_SIZE = 32 * 1024 * 1024
DATA = (WSMsgType.TEXT, WSMsgType.BINARY)

members = set()


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type in DATA:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


class Broadcast(WSListener):
    def on_ws_connected(self, transport):
        members.add(transport)

    def on_ws_disconnected(self, transport):
        members.discard(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type in DATA:
            payload = frame.get_payload_as_bytes()
            for member in list(members):
                member.send(frame.msg_type, payload)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


ROUTES = {b"/echo": Echo, b"/broadcast": Broadcast}


async def main(host, port):
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await ws_create_server(
        lambda request: ROUTES[request.path](), host, port, max_frame_size=MAX_SIZE, backlog=4096
    )
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
