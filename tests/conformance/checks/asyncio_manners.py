"""T: what applications do with receive and send besides awaiting them."""

import time

from ..client import TEXT, frame
from .registry import check


@check("T1", "create_task, ensure_future and wait_for of receive, create_task of send", optional=True)
def in_tasks(server):
    client = server.open()
    client.handshake(f"/tasks/{server.key()}")
    client.send(frame(TEXT, "a") + frame(TEXT, "b") + frame(TEXT, "c"))
    assert [client.message() for _ in range(2)] == ["ab", "c"]
    client.finish()


@check(
    "T1",
    "send from threads: async_to_sync and run_coroutine_threadsafe; a real coroutine function",
    optional=True,
)
def from_threads(server):
    key, client = server.key(), server.open()
    client.handshake(f"/from-thread/{key}")
    assert [client.message() for _ in range(2)] == ["from a thread", "scheduled"]
    assert server.log(key)[0] == [True], "send is no coroutine function"
    client.finish()


@check("T2", "a receive that is cancelled loses nothing")
def cancelled(server):
    client = server.open()
    client.handshake(f"/cancelled-receive/{server.key()}")
    sent = [str(number) for number in range(200)]
    for text in sent:
        client.send(frame(TEXT, text))
        time.sleep(0.002)
    got = [client.message() for _ in range(201)]
    got.remove("cancelled 20 times")
    assert got == sent, [text for text in sent if text not in got]
    client.finish()


@check("T4", "a send that nobody awaits sends nothing", optional=True)
def unawaited(server):
    client = server.open()
    client.handshake(f"/unawaited/{server.key()}")
    assert client.message() == "only this"
    client.finish()
