"""Find out, in the Python that will run the servers, what of their requirements is missing."""

import json
import subprocess
from collections.abc import Iterable

from . import processes
from .processes import Environment
from .servers import Server
from .workloads import Workload

SPARE_FILES = 200  # that server and client have open besides the connections

# Reads a list of `module` or `module:attribute`, prints why each that is not there is not.
PROBE = """
import importlib, json, sys
missing = {}
for name in json.load(sys.stdin):
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        if attribute:
            getattr(found, attribute)
    except ModuleNotFoundError as error:
        missing[name] = f"{error.name} is not installed"
    except AttributeError:
        missing[name] = f"{module} has no {attribute}"
    except Exception as error:
        missing[name] = f"{module}: {type(error).__name__}: {error}"
print(json.dumps(missing))
"""


def missing(names: Iterable[str], environment: Environment) -> dict[str, str]:
    """Those names that cannot be imported there, each with the reason."""
    run = subprocess.run(
        [environment.python, "-c", PROBE],
        input=json.dumps(sorted(set(names))),
        env=environment.variables(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


class Availability:
    """What an environment has, asked once for all servers and workloads of a run."""

    def __init__(
        self, servers: Iterable[Server], workloads: Iterable[Workload], environment: Environment
    ) -> None:
        pairs = [
            (server, workload) for server in servers for workload in workloads if server.serves(workload)
        ]
        self._missing = missing((name for pair in pairs for name in pair[0].needs(pair[1])), environment)
        self._redis = processes.has_redis()
        self._files = processes.allow_many_files()

    def reason_to_skip(self, server: Server, workload: Workload) -> str | None:
        """Why this server cannot be measured at this workload here, or None."""
        for name in server.needs(workload):
            if name in self._missing:
                return self._missing[name]
        layer = server.layer(workload)
        if layer is not None and layer.redis and not self._redis:
            return "redis-server is not installed"
        if workload.connections + SPARE_FILES > self._files:
            return f"{workload.connections} connections need a higher limit of open files than {self._files}"
        return None
