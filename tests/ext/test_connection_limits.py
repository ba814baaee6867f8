"""The tuple of limits that a connection is made with, and names under which ends are counted."""

import pytest

from atalanta.settings import Settings

from .connection import Connection, opened

LIMITS = Settings().core_limits


async def test_limits_are_a_tuple_of_eight():
    for wrong in (None, list(LIMITS), LIMITS[:-1], (*LIMITS, 0)):
        with pytest.raises(TypeError, match="limits"):
            Connection(limits=wrong)
    with pytest.raises(TypeError):
        Connection(limits=("1", *LIMITS[1:]))


@pytest.mark.parametrize("place", range(6))
async def test_no_limit_is_negative(place):
    with pytest.raises(ValueError, match="limits: expected 0 or more, got -1"):
        Connection(limits=(*LIMITS[:place], -1, *LIMITS[place + 1 :]))


@pytest.mark.parametrize("retry_after, code", [(-1, 1012), (1, -1), (1, 1005), (1, 70_000)])
async def test_seconds_and_a_close_code_that_may_be_sent(retry_after, code):
    with pytest.raises(ValueError, match=f"limits: .* got {retry_after} and {code}"):
        Connection(limits=(*LIMITS[:6], retry_after, code))


async def test_ends_are_counted_under_names_that_there_are():
    connection = await opened()
    with pytest.raises(ValueError, match="nothing is counted as boredom"):
        connection._end(1000, "", "boredom")
    with pytest.raises(ValueError, match="nothing is counted as boredom"):
        Connection()._refuse(503, "", "", "boredom")


@pytest.mark.parametrize("code", [-1, 0, 1005, 1006, 2000, 70_000])
async def test_ends_have_a_code_that_may_be_sent(code):
    connection = await opened()
    with pytest.raises(ValueError, match=f"{code} is no close code to send"):
        connection._end(code, "", "lifetime")
    assert connection.close_code is None
