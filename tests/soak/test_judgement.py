"""That a soak which went wrong is told so: losses, doubles and growth that are made up here."""

import math

import pytest

from .ledger import Ledger, Room
from .verdict import failures, growths, tracebacks


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def room(ledger):
    return Room("room", ledger)


def speaking(speaker, count):
    return [speaker.speak() for _ in range(count)]


def test_messages_in_order_are_no_finding(ledger, room):
    speaker, listener = room.join("ada")
    for number in speaking(speaker, 5):
        listener.hear("ada", number)
    assert not listener.lacks(listener.due())
    listener.settle(listener.due())
    assert not ledger.findings


@pytest.mark.parametrize(
    ("sent", "heard", "found"),
    [
        (3, [2, 3], {"lost": 1}),
        (4, [1, 4], {"lost": 2}),
        (4, [1, 2, 2, 3, 4], {"doubled or out of order": 1}),
        (4, [1, 3, 2, 4], {"lost": 1, "doubled or out of order": 1}),
        (4, [1, 2], {"lost": 2}),
        (4, [], {"lost": 4}),
    ],
)
def test_what_is_missing_doubled_or_late_is_found(ledger, room, sent, heard, found):
    speaker, listener = room.join("ada")
    speaking(speaker, sent)
    for number in heard:
        listener.hear("ada", number)
    listener.settle(listener.due())
    assert ledger.found == found


def test_one_that_came_later_may_hear_what_was_under_way_and_has_to_hear_all_from_then_on(ledger, room):
    speaker, _ = room.join("ada")
    speaking(speaker, 10)
    _, early = room.join("ben")
    _, late = room.join("cyd")
    speaking(speaker, 2)
    for number in (9, 10, 11, 12):
        early.hear("ada", number)
    late.hear("ada", 12)
    assert ledger.found == {"lost": 1}


def test_losses_are_excused_while_redis_is_away_and_not_before(ledger, room):
    speaker, listener = room.join("ada")
    speaking(speaker, 1)
    speaker.sent_at[0] -= 60
    ledger.disruptions.outage_begins()
    speaking(speaker, 2)
    listener.settle(listener.due())
    assert ledger.counts["deliveries lost while Redis was away"] == 2
    assert ledger.found == {"lost": 1}


def test_the_end_of_an_outage_is_the_end_of_the_excuse(ledger, room):
    ledger.disruptions.outage_begins()
    ledger.disruptions.outage_ends()
    speaker, listener = room.join("ada")
    speaking(speaker, 1)
    speaker.sent_at[0] += 60
    listener.settle(listener.due())
    assert ledger.found == {"lost": 1}


def test_only_the_last_messages_of_one_that_was_cut_may_be_missing(ledger, room):
    speaker, listener = room.join("ada")
    speaking(speaker, 5)
    speaker.cut = True
    listener.hear("ada", 1)
    listener.hear("ada", 3)
    listener.settle(listener.due())
    assert ledger.found == {"lost": 1}


def test_whose_end_is_excused(ledger):
    ledger.disruptions.worker_killed(1)
    ledger.disruptions.workers_retired([2])
    assert ledger.disruptions.excuse_end(1, 1006)
    assert ledger.disruptions.excuse_end(2, 1012)
    assert not ledger.disruptions.excuse_end(2, 1006)
    assert not ledger.disruptions.excuse_end(3, 1012)


def samples(rss, tasks=lambda at: 5, connections=lambda at: 10):
    return [
        {
            "at": at,
            "workers": {
                7: {
                    "rss": rss(at),
                    "descriptors": 20 + connections(at),
                    "tasks": tasks(at) + connections(at),
                    "connections": connections(at),
                    "handshakes": 0,
                }
            },
        }
        for at in range(300)
    ]


def growing(made):
    return {growth.what for growth in growths(made, warm_up=20, begin=10, end=290) if not growth.flat}


def test_a_steady_process_is_flat_though_clients_come_and_go():
    made = samples(lambda at: 50_000 + 500 * math.sin(at), connections=lambda at: 10 + at // 3)
    assert growing(made) == set()


def test_a_process_that_grows_is_seen():
    assert growing(samples(lambda at: 50_000 + 40 * at)) == {"rss"}
    assert growing(samples(lambda at: 50_000, tasks=lambda at: at // 20)) == {"tasks"}


def test_a_process_that_has_warmed_up_may_grow_less():
    made = samples(lambda at: 50_000 + 60 * at)
    [memory, *_] = growths(made, warm_up=180, begin=0, end=299)
    assert 4096 < memory.growth < 8192
    assert not memory.flat
    assert growing(samples(lambda at: 50_000 + 20 * at)) == set()


def test_growth_while_it_warms_up_does_not_count():
    assert growing(samples(lambda at: 50_000 + 1000 * min(at, 30))) == set()


TRACEBACK = "2026-01-01 ERROR x\nTraceback (most recent call last):\n  File 'x'\n    y\n{}\n"


def test_tracebacks_are_found_but_those_of_a_missing_redis():
    away = TRACEBACK.format("FileNotFoundError: x\n\nThe above exception was the direct cause of the next:\n")
    away += TRACEBACK.format("redis.exceptions.ConnectionError: not reachable")
    assert tracebacks(away) == []
    assert tracebacks(away + TRACEBACK.format("ValueError: z") + "2026-01-01 INFO on\n") == ["ValueError: z"]


def test_failures_name_what_grows_what_is_left_and_what_was_not_tried(ledger):
    grown = growths(samples(lambda at: 50_000 + 40 * at), warm_up=20, begin=10, end=290)
    ledger.counts["resets"] = 1
    wrong = failures(ledger, grown, [("tasks", 5, 6), ("descriptors", 9, 9)], "", ["resets", "ping floods"])
    assert [line.partition(":")[0] for line in wrong] == ["grows", "not as before", "never happened"]
