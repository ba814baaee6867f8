"""The C core made once more in the same process: imports that fail, and an asyncio that keeps its tasks to itself."""

import _asyncio
import asyncio
import gc
import importlib.util
import weakref

import pytest

from atalanta import _core

from .connection import between_tasks, turn


def fresh():
    module = importlib.util.module_from_spec(_core.__spec__)
    _core.__spec__.loader.exec_module(module)
    return module


def test_a_module_whose_import_failed_holds_nothing_and_is_collected(monkeypatch):
    monkeypatch.setenv("ATALANTA_MASK_KERNEL", "abacus")
    module = importlib.util.module_from_spec(_core.__spec__)
    with pytest.raises(ImportError, match="abacus"):
        _core.__spec__.loader.exec_module(module)
    assert gc.get_referents(module) == [vars(module)]
    reference = weakref.ref(module)
    del module
    gc.collect()
    assert reference() is None


def test_modules_share_no_types():
    module = fresh()
    assert module.Mailbox is not _core.Mailbox
    with pytest.raises(TypeError, match="expected a Mailbox"):
        module.Events(None, _core.Mailbox(1, 60))


class Consumer:
    def __init__(self):
        self.tasks = []

    async def x(self, event):
        self.tasks.append(asyncio.current_task())


# As from CPython 3.14 on, or where something else has taken the name.
@pytest.mark.parametrize("tasks", [None, "not a dictionary"])
async def test_handlers_run_as_their_task_where_asyncio_shows_no_dictionary_of_tasks(monkeypatch, tasks):
    with monkeypatch.context() as patch:
        if tasks is None:
            patch.delattr(_asyncio, "_current_tasks", raising=False)
        else:
            patch.setattr(_asyncio, "_current_tasks", tasks, raising=False)
        module = fresh()
    mailbox, consumer = module.Mailbox(10, 60), Consumer()

    async def consume():
        await module.Dispatcher(module.Events(None, mailbox), print, consumer, bool)

    task = asyncio.ensure_future(consume())
    await turn()
    await between_tasks(mailbox.put, {"type": "x"})
    await turn(3)
    assert consumer.tasks == [task] and asyncio.current_task() is not task
    task.cancel()
    await asyncio.wait([task])
