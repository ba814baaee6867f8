"""The property of protocol.py on random inputs, for where there is no fuzzer."""

import logging
import random
import sys

import pytest

from .protocol import Harness

INPUTS = 200


@pytest.fixture
def harness(monkeypatch):
    harness = Harness()
    monkeypatch.setattr(sys, "unraisablehook", harness.unhandled.append)
    logging.disable(logging.CRITICAL)
    yield harness
    logging.disable(logging.NOTSET)
    harness.close()


@pytest.mark.parametrize("size", [8, 40, 200, 1000])
def test_random_peers_and_applications(harness, size):
    source = random.Random(size)
    for _ in range(INPUTS):
        data = source.randbytes(size)
        try:
            harness.run(data)
        except BaseException as error:
            error.add_note(f"the input: {data!r}")
            raise
