"""E: permessage-deflate (RFC 7692)."""

import zlib

from ..client import BINARY, CONTINUATION, PING, PONG, TEXT, Ended, close_frame, frame
from .registry import NotOffered, check

MAX_SIZE = 65536
TEXT_1K = "All work and no play makes a dull server. " * 24


def offer(server, extension, behaviour="echo"):
    """(client, parameters that the server chose), or None in their place when it declined."""
    client = server.open()
    answer = client.handshake(f"/{behaviour}/{server.key()}", [("Sec-WebSocket-Extensions", extension)])
    chosen = answer.all("sec-websocket-extensions")
    if not chosen:
        return client, None
    assert len(chosen) == 1 and b"," not in chosen[0], chosen
    name, *parameters = [part.strip().lower() for part in chosen[0].decode().split(";")]
    assert name == "permessage-deflate", chosen
    assert len({part.partition("=")[0] for part in parameters}) == len(parameters), chosen
    return client, {part.partition("=")[0].strip(): part.partition("=")[2].strip(' "') for part in parameters}


def negotiated(server, extension="permessage-deflate"):
    """As offer(), of a server that takes the extension at all."""
    client, parameters = offer(server, extension)
    if parameters is None:
        offered_nothing = offer(server, "permessage-deflate")[1] is None
        if offered_nothing:
            raise NotOffered
        raise AssertionError(f"declined: {extension}")
    return client, parameters


class Deflater:
    """A client's compressor, within the window that the server allowed."""

    def __init__(self, parameters):
        bits = int(parameters.get("client_max_window_bits") or 15)
        self.make = lambda: zlib.compressobj(9, zlib.DEFLATED, -max(bits, 9))
        self.stream = self.make()
        self.fresh = "client_no_context_takeover" in parameters

    def __call__(self, data):
        if self.fresh:
            self.stream = self.make()
        data = data.encode() if isinstance(data, str) else data
        return (self.stream.compress(data) + self.stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Inflater:
    """A client's decompressor, with the window that the server said it keeps to."""

    def __init__(self, parameters, bits=None):
        self.bits = bits or int(parameters.get("server_max_window_bits") or 15)
        self.fresh = "server_no_context_takeover" in parameters
        self.stream = zlib.decompressobj(-self.bits)

    def message(self, client):
        """The next message, compressed or not; RSV1 may be on its first frame only."""
        first = client.frame()
        assert first.rsv in (0, 4) and first.opcode in (TEXT, BINARY), first
        payload, last = first.payload, first
        while not last.fin:
            last = client.frame()
            assert last.opcode == CONTINUATION and last.rsv == 0, last
            payload += last.payload
        if first.rsv:
            if self.fresh:
                self.stream = zlib.decompressobj(-self.bits)
            payload = self.stream.decompress(payload + b"\x00\x00\xff\xff")
        return payload.decode() if first.opcode == TEXT else payload


@check("E1", "messages compressed both ways, with context takeover; uncompressed ones between them")
def compressed_echo(server):
    client, parameters = negotiated(server)
    assert "client_max_window_bits" not in parameters, "client_max_window_bits was not offered"
    deflate, inflate = Deflater(parameters), Inflater(parameters)
    for number in range(5):
        client.send(frame(TEXT, deflate(TEXT_1K + str(number)), rsv=4))
        assert inflate.message(client) == TEXT_1K + str(number)
        client.send(frame(TEXT, "plain"))
        assert inflate.message(client) == "plain"
    client.finish()


@check("E1", "RSV1 on the first of several fragments, control frames between them")
def compressed_fragments(server):
    client, parameters = negotiated(server)
    deflate, inflate = Deflater(parameters), Inflater(parameters)
    for _ in range(2):
        data = deflate(TEXT_1K)
        client.send(frame(TEXT, data[:10], fin=False, rsv=4) + frame(PING, b"p"))
        assert client.frame().opcode == PONG
        client.send(
            frame(CONTINUATION, data[10:30], fin=False) + frame(PONG) + frame(CONTINUATION, data[30:])
        )
        assert inflate.message(client) == TEXT_1K
    client.finish()


@check("E1", "server_no_context_takeover and server_max_window_bits are taken, and kept")
def parameters_kept(server):
    client, parameters = negotiated(
        server, "permessage-deflate; server_no_context_takeover; server_max_window_bits=10"
    )
    assert "server_no_context_takeover" in parameters, parameters
    assert int(parameters["server_max_window_bits"]) <= 10, parameters
    deflate, inflate = Deflater(parameters), Inflater(parameters, bits=10)
    data = bytes(range(256)) * 16
    for _ in range(3):
        client.send(frame(BINARY, deflate(data), rsv=4))
        assert inflate.message(client) == data
    client.finish()


@check("E1", "client_max_window_bits is answered within what was offered")
def client_window(server):
    client, parameters = negotiated(server, "permessage-deflate; client_max_window_bits=11")
    assert int(parameters.get("client_max_window_bits", 11)) <= 11, parameters
    client.finish()


@check("E1", "of several offers the first acceptable one; unknown extensions are skipped; quoted values")
def several_offers(server):
    negotiated(server)[0].finish()
    offers = 'x-unknown; a=1, permessage-deflate; server_max_window_bits="11", permessage-deflate'
    client, parameters = offer(server, offers)
    assert parameters is not None, "declined"
    assert 8 <= int(parameters.get("server_max_window_bits", 15)) <= 11, parameters
    client.finish()


@check("E2", "invalid offers are declined, or refused with 400")
def invalid_offers(server):
    negotiated(server)[0].finish()
    bad = ("server_max_window_bits=16", "server_max_window_bits=7", "server_max_window_bits=08", "unknown")
    for parameter in (
        *bad,
        "server_max_window_bits",
        "server_no_context_takeover; server_no_context_takeover",
    ):
        client = server.open()
        try:
            parameters = offer(server, f"permessage-deflate; {parameter}")[1]
        except AssertionError as error:
            assert str(error) == "status 400", f"{parameter}: {error}"
        else:
            assert parameters is None, f"{parameter} was taken"
        client.close()


@check("E3", "a window of 8 bits is declined or really kept", optional=True)
def smallest_window(server):
    negotiated(server)[0].finish()
    client, parameters = offer(server, "permessage-deflate; server_max_window_bits=8")
    if parameters is not None:
        assert int(parameters["server_max_window_bits"]) == 8, parameters
        deflate = Deflater(parameters)
        data = bytes(range(250)) * 4
        client.send(frame(BINARY, deflate(data), rsv=4))
        # zlib's inflater takes a window of 8 bits for raw data as 8, unlike its deflater.
        assert Inflater(parameters, bits=8).message(client) == data
    client.finish()


@check("E4", "compression can be switched off", deflate=False)
def switched_off(server):
    client, parameters = offer(server, "permessage-deflate")
    assert parameters is None, parameters
    client.finish()


@check("E5", "RSV1 on a continuation or a control frame, and garbage, end the connection")
def bad_compressed_frames(server):
    bad = {
        frame(TEXT, b"", fin=False, rsv=4) + frame(CONTINUATION, b"x", rsv=4): (1002,),
        frame(PING, b"x", rsv=4): (1002,),
        frame(BINARY, b"\xff\xff\xff\xff", rsv=4): (1002, 1007),
    }
    for data, codes in bad.items():
        client, _ = negotiated(server)
        client.send(data)
        try:
            code = client.close_code()[0]
        except Ended:
            continue
        assert code in codes, f"close code {code} for {data!r}"
        client.send(close_frame(code))
        client.dropped()


@check("E6", "a message that inflates beyond the limit ends the connection", max_size=MAX_SIZE)
def bomb(server):
    client, parameters = negotiated(server)
    client.send(frame(BINARY, Deflater(parameters)(bytes(8 << 20)), rsv=4))
    try:
        code = client.close_code()[0]
        assert code == 1009, f"close code {code}"
    except Ended:
        pass
    client.close()
