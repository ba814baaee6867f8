"""counters(): what connections have queued is added up when somebody asks, of transports in any state."""

import gc

import pytest

from atalanta import _core

from .connection import FakeTransport, client_frames, opened, read, text, turn


def queued():
    gc.collect()
    numbers = _core.counters()
    return numbers["queued_bytes_received"], numbers["queued_bytes_sent"]


async def test_what_is_queued_either_way():
    received, sent = queued()
    connection = await opened()
    read(connection, client_frames("x" * 100, "y" * 50))
    await connection.send(text("x" * 200))
    assert queued() == (received + 150, sent + 204)
    await turn()
    assert queued() == (received + 150, sent)
    connection.connection_lost(None)
    del connection
    assert queued() == (received, sent)


class Holding(FakeTransport):
    held = 0

    def get_write_buffer_size(self):
        if isinstance(self.held, Exception):
            raise self.held
        return self.held


async def test_what_a_transport_holds_counts():
    before = queued()[1]
    connection = await opened(Holding())
    connection.transport.held = 1000
    connection.pause_writing()
    assert queued()[1] == before + 1000
    connection.connection_lost(None)
    assert queued()[1] == before


@pytest.mark.parametrize("held, error", [(ZeroDivisionError(), ZeroDivisionError), ("much", TypeError), (-1, OverflowError)])
async def test_a_transport_that_cannot_tell_what_it_holds(held, error):
    connection = await opened(Holding())
    connection.transport.held = held
    with pytest.raises(error):
        _core.counters()
    connection.connection_lost(None)
    _core.counters()


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError])
async def test_a_transport_that_does_not_say_what_it_holds(error):
    """As a server's in-process tests have them, which need not have the method."""
    before = queued()[1]
    connection = await opened(Holding())
    connection.transport.held = error()
    await connection.send(text("x" * 200))
    assert queued()[1] == before + 204
    connection.connection_lost(None)
