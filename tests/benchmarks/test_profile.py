"""The profile command: which layer a sampled stack belongs to, and what it says when it cannot work."""

import sys
from collections import Counter

import pytest

from benchmarks import profile
from benchmarks.failures import Unusable
from benchmarks.profile_stacks import (
    OTHER,
    Frame,
    attribute_all,
    format_folded,
    format_table,
    load_rules,
    parse_folded,
    parse_perf_script,
)

SITE = "/venv/lib/python3.13/site-packages"
LIB = "/usr/lib/python3.13"
PYTHON = "/usr/lib/libpython3.13.so.1.0"
UVLOOP = f"{SITE}/uvloop/loop.cpython-313-x86_64-linux-gnu.so"
CORE = f"{SITE}/atalanta/_core.cpython-313-x86_64-linux-gnu.so"

# How every server of these samples begins, outermost first.
LOOP = [
    ("_start", "/usr/bin/python3.13"),
    ("_PyEval_EvalFrameDefault", PYTHON),
    ("Server.run", f"{SITE}/uvicorn/server.py"),
    ("Runner.run", f"{LIB}/asyncio/runners.py"),
    ("__pyx_pw_6uvloop_4loop_4Loop_25run_forever", UVLOOP),
    ("uv_run", UVLOOP),
]
TASK = [*LOOP, ("task_step_impl", f"{LIB}/lib-dynload/_asyncio.cpython-313-x86_64-linux-gnu.so")]
DISPATCH = [
    *TASK,
    ("WebSocketsSansIOProtocol.run_asgi", f"{SITE}/uvicorn/protocols/websockets/websockets_sansio_impl.py"),
    ("AsyncConsumer.__call__", f"{SITE}/channels/consumer.py"),
]
SEND = [
    ("entry_SYSCALL_64_after_hwframe", "[kernel]"),
    ("__x64_sys_sendto", "[kernel]"),
    ("__sys_sendto", "[kernel]"),
    ("tcp_sendmsg", "[kernel]"),
    ("ep_poll_callback", "[kernel]"),
]


def folded(*frames, count=1):
    """One line of folded text: frames from the outermost to the innermost."""
    return ";".join(f"{function} ({file})" for function, file in frames) + f" {count}\n"


def stack(*frames):
    (found,) = parse_folded(folded(*frames))
    return found


def layers_of(*frames):
    """(spent in, spent for) of one sample."""
    rules = load_rules()
    spent_in = rules.attribute(stack(*frames)).layer
    return spent_in, rules.beneficiary(stack(*frames), spent_in)


# ---- Attribution ----

SPENT_IN = {
    "the interpreter under Channels": (
        [*DISPATCH, ("_PyEval_EvalFrameDefault", PYTHON), ("PyObject_GetAttr", PYTHON)],
        "Channels dispatch",
    ),
    "the C library under Channels": ([*DISPATCH, ("malloc", "/usr/lib/libc.so.6")], "Channels dispatch"),
    "a module of the standard library under Channels": (
        [*DISPATCH, ("deepcopy", f"{LIB}/copy.py"), ("_PyEval_EvalFrameDefault", PYTHON)],
        "Channels dispatch",
    ),
    "Channels' in-memory layer": (
        [
            *DISPATCH,
            ("InMemoryChannelLayer.send", f"{SITE}/channels/layers.py"),
            ("deepcopy", f"{LIB}/copy.py"),
        ],
        "channel layer",
    ),
    "channels_redis": ([*DISPATCH, ("group_send", f"{SITE}/channels_redis/core.py")], "channel layer"),
    "sync_to_async": (
        [*DISPATCH, ("SyncToAsync.__call__", f"{SITE}/asgiref/sync.py"), ("PyObject_Call", PYTHON)],
        "thread hops (asgiref, thread pools)",
    ),
    "a pool's thread": (
        [
            ("clone3", "/usr/lib/libc.so.6"),
            ("_worker", f"{LIB}/concurrent/futures/thread.py"),
            ("take_gil", PYTHON),
        ],
        "thread hops (asgiref, thread pools)",
    ),
    "asyncio's functions": ([*DISPATCH, ("_wait", f"{LIB}/asyncio/tasks.py")], "event loop"),
    "asyncio's C module": (TASK, "event loop"),
    "uvloop": (LOOP, "event loop"),
    "the websockets package": (
        [*TASK, ("Frame.parse", f"{SITE}/websockets/frames.py")],
        "wire (frames, masking, compression)",
    ),
    "zlib": ([*TASK, ("deflate", "/usr/lib/libz.so.1")], "wire (frames, masking, compression)"),
    "the core's frames": ([*LOOP, ("ws_conn_next", CORE)], "wire (frames, masking, compression)"),
    "the core's awaitables": ([*TASK, ("awaitable_iternext", CORE)], "ASGI boundary"),
    "uvicorn's WebSocket class": (DISPATCH[:-1], "ASGI boundary"),
    "uvicorn's middleware": (
        [*TASK, ("ProxyHeadersMiddleware.__call__", f"{SITE}/uvicorn/middleware/proxy_headers.py")],
        "HTTP and server",
    ),
    "JSON": (
        [*DISPATCH, ("JSONEncoder.encode", f"{LIB}/json/encoder.py"), ("PyUnicode_Join", PYTHON)],
        "JSON",
    ),
    "the consumer": (
        [
            *DISPATCH,
            ("AsyncEcho.receive", "/src/benchmarks/apps/channels_app/consumers.py"),
            ("dict_get", PYTHON),
        ],
        "consumer (the application)",
    ),
    "Django": ([*DISPATCH, ("close_old_connections", f"{SITE}/django/db/__init__.py")], "Django, Starlette"),
    "garbage collection, whoever set it off": (
        [*DISPATCH, ("gc_collect_main", PYTHON), ("visit_decref", PYTHON)],
        "CPython otherwise",
    ),
    "the interpreter without a caller": ([("_PyEval_EvalFrameDefault", PYTHON)], "CPython otherwise"),
    "code that no rule knows": ([("compute", "/opt/thing/engine.so")], OTHER),
    "TCP called from send": ([*DISPATCH, ("send", "/usr/lib/libc.so.6"), *SEND], "kernel: network"),
    "epoll, though it asks the socket": (
        [*LOOP, ("do_epoll_wait", "[kernel]"), ("tcp_poll", "[kernel]")],
        "kernel: waiting and waking",
    ),
    "a page fault": (
        [*DISPATCH, ("asm_exc_page_fault", "[kernel]"), ("clear_page", "[kernel]")],
        "kernel: other",
    ),
}


@pytest.mark.parametrize("frames, layer", SPENT_IN.values(), ids=SPENT_IN.keys())
def test_time_belongs_to_the_innermost_frame_that_a_rule_knows(frames, layer):
    assert layers_of(*frames)[0] == layer


def test_a_sample_from_user_mode_is_not_the_kernels():
    assert layers_of(*DISPATCH, ("__vdso_clock_gettime", "[vdso]"))[0] == "Channels dispatch"


@pytest.mark.parametrize(
    "frames, layer",
    [
        ([*DISPATCH, ("_wait", f"{LIB}/asyncio/tasks.py")], "Channels dispatch"),
        (
            [*DISPATCH, ("SyncToAsync.__call__", f"{SITE}/asgiref/sync.py"), *SEND],
            "thread hops (asgiref, thread pools)",
        ),
        ([*DISPATCH[:-1], ("write", UVLOOP), *SEND], "ASGI boundary"),
        ([*LOOP, ("writer_flush", CORE), *SEND], "wire (frames, masking, compression)"),
        ([*LOOP, ("uv__read", UVLOOP), ("tcp_recvmsg", "[kernel]")], "event loop"),
        (TASK, "event loop"),
        ([("ret_from_fork", "[kernel]"), ("tcp_sendmsg", "[kernel]")], "kernel: network"),
        ([*DISPATCH, ("PyObject_GetAttr", PYTHON)], "Channels dispatch"),
    ],
)
def test_the_kernel_and_the_loop_work_for_the_layer_that_called(frames, layer):
    assert layers_of(*frames)[1] == layer


# ---- Reading ----


def test_folded_text_is_read_back_as_written():
    text = folded(*DISPATCH, ("<lambda>", "/a b/(c).py"), count=7) + folded(*LOOP, count=2)
    stacks = parse_folded(text)
    assert stacks == Counter({stack(*DISPATCH, ("<lambda>", "/a b/(c).py")): 7, stack(*LOOP): 2})
    assert format_folded(stacks) == text


@pytest.mark.parametrize("line", ["main (a.py)", "main (a.py) x", "main 3"])
def test_text_that_is_not_folded_stacks_is_refused(line):
    with pytest.raises(ValueError, match="line 1 is not a folded stack"):
        parse_folded(line)


def test_perf_script_is_read_with_python_native_and_kernel_frames():
    output = """python 17419
\tffffffff8200ec5b tcp_sendmsg ([kernel.kallsyms])
\t           f838f __GI___libc_write (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t              85 py::Echo.send.<locals>.go:/src/a b.py (/tmp/jitted-17419-1784.so)
\t            1080 _start (/usr/bin/python3.13)

python 17420
\t               0 [unknown] ([unknown])

python 17419
\tffffffffc0001000 [unknown] ([bbr])
\t            1080 _start (/usr/bin/python3.13)
""".splitlines()
    assert parse_perf_script(output) == Counter(
        [
            (
                Frame("_start", "/usr/bin/python3.13"),
                Frame("Echo.send.<locals>.go", "/src/a b.py"),
                Frame("__GI___libc_write", "/usr/lib/x86_64-linux-gnu/libc.so.6"),
                Frame("tcp_sendmsg", "[kernel]"),
            ),
            (Frame("[unknown]", "[unknown]"),),
            (Frame("_start", "/usr/bin/python3.13"), Frame("[unknown]", "[kernel]")),
        ]
    )


# ---- The table ----


def test_the_table_accounts_for_every_sample():
    stacks = parse_folded(
        folded(*DISPATCH, count=50)
        + folded(*DISPATCH, *SEND, count=30)
        + folded(("lost", "/opt/thing/engine.so"), count=20)
    )
    attribution = attribute_all(stacks, load_rules())
    assert attribution.samples == 100
    assert attribution.truncated == 20
    assert sum(time.spent_in for time in attribution.layers.values()) == 100
    assert sum(time.spent_for for time in attribution.layers.values()) == 100
    lines = format_table(attribution, us_per_operation=80.0).splitlines()
    assert lines[2:6] == [
        "| Channels dispatch | 50.0% | 40.00 | 80.0% | 64.00 |",
        "| kernel: network | 30.0% | 24.00 | 0.0% | 0.00 |",
        "| other | 20.0% | 16.00 | 20.0% | 16.00 |",
        "| **all** | 100.0% | 80.00 | 100.0% | 80.00 |",
    ]
    assert "- other: `lost` (thing/engine.so) 20.0%" in lines


def test_other_has_its_row_even_when_it_is_empty():
    table = format_table(attribute_all(parse_folded(folded(*DISPATCH)), load_rules()), 1.0)
    assert "| other | 0.0% | 0.00 | 0.0% | 0.00 |" in table


# ---- The command ----


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["nobody", "echo-32B-100"], "invalid choice: 'nobody'"),
        (["daphne", "nothing"], "invalid choice: 'nothing'"),
        (["picows", "channels-echo-100"], "picows does not serve channels-echo-100"),
        (["daphne", "idle-5000"], "idle-5000 has no operations"),
        (["daphne", "echo-32B-100", "--seconds", "0.5"], "at least 1"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as end:
        profile.parse_arguments(arguments)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_python_without_frames_for_perf_is_refused(tmp_path):
    old = tmp_path / "python"
    # Every Python before 3.13 ignores the setting; so does any with isolated start-up.
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -E "$@"\n')
    old.chmod(0o755)
    with pytest.raises(Unusable, match="Python 3.13 or newer on Linux is needed"):
        profile.check_python(profile.ProfiledEnvironment(str(old)))


def test_files_of_the_profiled_processes_are_removed_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(profile, "JIT_FOLDER", tmp_path)
    names = [
        "jit-12.dump",
        "jitted-12-1.so",
        "jitted-12-20.so",
        "jit-123.dump",
        "jitted-123-1.so",
        "other-12.so",
    ]
    for name in names:
        (tmp_path / name).touch()
    with profile.jit_files_removed([12]):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[3:])
