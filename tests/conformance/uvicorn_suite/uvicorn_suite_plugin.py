"""A pytest plugin, and a fixture for uvicorn's conftest.py: their WebSocket tests on another class of ours.

Only tests that take the fixture `ws_protocol_cls` stay; they run for every HTTP class of uvicorn's, on
asyncio and on uvloop. Those in `deviations` have to fail.
"""

import os

import pytest
from deviations import ASYNCIO_ONLY, DEVIATIONS
from uvicorn.importer import import_from_string

LOOPS = {"asyncio": {}, "uvloop": {"use_uvloop": True}}


@pytest.fixture(params=[os.environ["UVICORN_SUITE_WS"]])
def ws_protocol_cls(request):
    return import_from_string(request.param)


@pytest.fixture(params=LOOPS)
def anyio_backend(request):
    return "asyncio", LOOPS[request.param]


@pytest.hookimpl(tryfirst=True)  # before -k takes tests away
def pytest_collection_modifyitems(config, items):
    chosen = [item for item in items if "ws_protocol_cls" in item.fixturenames]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    for item in items:
        if item.originalname in ASYNCIO_ONLY and item.callspec.params.get("anyio_backend") == "uvloop":
            item.add_marker(pytest.mark.skip(reason=ASYNCIO_ONLY[item.originalname]))
    # Another class than ours, run for comparison, has no deviations.
    if not os.environ["UVICORN_SUITE_WS"].startswith("atalanta:"):
        return
    unknown = set(DEVIATIONS) - {item.originalname for item in items}
    if unknown:
        raise pytest.UsageError(f"deviations of tests that do not exist: {', '.join(sorted(unknown))}")
    for item in items:
        if item.originalname in DEVIATIONS:
            reason = DEVIATIONS[item.originalname]
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
