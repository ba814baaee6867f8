"""CPU time and memory of processes, from Linux's clocks and /proc.

CPU time comes from the CPU clock of each process (clock_getcpuclockid(3)): nanoseconds, all its threads,
ended ones too. The ticks of /proc/<pid>/stat are 10 ms, and /proc/<pid>/task/*/schedstat forgets threads that
ended. Only the time of reaped children, and the split into user and system, are read from stat.
"""

import dataclasses
import os
import pathlib
import time

TICKS = os.sysconf("SC_CLK_TCK")


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the name, or None if the process is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def process_tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        fields = stat_fields(int(entry)) if entry.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


def cpu_clock_seconds(pid: int) -> float:
    """User and system time of one process, 0.0 if it is gone."""
    clock = (~pid << 3) | 2  # Linux's clock id for it, as clock_getcpuclockid(3) builds it
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


@dataclasses.dataclass(frozen=True)
class Usage:
    """CPU seconds used so far, and the ticks of user and of system time among them."""

    seconds: float
    user_ticks: int
    system_ticks: int

    def user_share_since(self, before: "Usage") -> float | None:
        """The share of user time between two samples, None without a tick between them."""
        user, system = self.user_ticks - before.user_ticks, self.system_ticks - before.system_ticks
        return user / (user + system) if user + system > 0 else None


def usage(pids: list[int]) -> Usage:
    """What the processes, and the children they have reaped, have used."""
    seconds, user, system = 0.0, 0, 0
    for pid in pids:
        fields = stat_fields(pid)
        if fields is None:
            continue
        own_user, own_system, reaped_user, reaped_system = map(int, fields[11:15])
        seconds += cpu_clock_seconds(pid) + (reaped_user + reaped_system) / TICKS
        user += own_user + reaped_user
        system += own_system + reaped_system
    return Usage(seconds, user, system)


def core_busy_seconds(core: int) -> float:
    """Time a core was not idle, whoever used it, stolen time included."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, *rest = map(int, line.split()[1:9])
            return (user + nice + system + sum(rest)) / TICKS
    raise ValueError(f"/proc/stat does not know core {core}")


def memory_kib(pids: list[int], field: str = "VmRSS") -> int:
    """Resident memory of the processes together; field VmHWM gives the peak of each."""
    total = 0
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
    return total
