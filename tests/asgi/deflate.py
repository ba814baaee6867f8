"""The client's side of permessage-deflate (RFC 7692), over Python's zlib."""

import zlib

TAIL = b"\x00\x00\xff\xff"


class Codec:
    """Compresses and inflates as a server's answer to the offer says, within the windows that it names."""

    def __init__(self, answer):
        answer = answer.decode() if isinstance(answer, bytes) else answer
        name, *parameters = [part.strip() for part in answer.split(";")]
        assert name == "permessage-deflate", answer
        self.parameters = dict(part.partition("=")[::2] for part in parameters)
        assert len(self.parameters) == len(parameters), answer
        self.client_bits = int(self.parameters.get("client_max_window_bits", 15))
        self.server_bits = int(self.parameters.get("server_max_window_bits", 15))
        self.deflater = self.inflater = None

    def compress(self, data):
        """The payload of a message's frame or frames."""
        data = data.encode() if isinstance(data, str) else data
        if not data:
            return b"\x00"
        if self.deflater is None or "client_no_context_takeover" in self.parameters:
            self.deflater = zlib.compressobj(9, zlib.DEFLATED, -self.client_bits)
        return (self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]

    def inflate(self, payload):
        if self.inflater is None or "server_no_context_takeover" in self.parameters:
            self.inflater = zlib.decompressobj(-self.server_bits)
        return self.inflater.decompress(payload + TAIL)
