"""Options for starting a child process: its own session, its own user, and death together with its parent.

Death together is Linux's PR_SET_PDEATHSIG: when the parent is gone, also by kill -9, the kernel signals the child. The
kernel watches the *thread* that started the child, so children are started from a thread that lives as long as they
should. Other systems have no such call: there a parent that is killed with -9 leaves its children running, and the next
`run` or `reset` ends them (`local.state.kill_leftover_processes`).
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any

NOBODY = 65534  # the user id of `nobody`
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def popen_options(log: IO[bytes], environment: dict[str, str], user: int | None, death_signal: int) -> dict[str, Any]:
    """Arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec` alike."""
    return {
        "stdin": subprocess.DEVNULL,
        "stdout": log,
        "stderr": log,
        "env": environment,
        "start_new_session": True,  # Ctrl-C reaches the supervisor alone, which stops its children in order
        "preexec_fn": _die_with_parent(death_signal),  # runs after the change of user, which would clear the signal
        **user_options(user),
    }


def user_options(user: int | None) -> dict[str, Any]:
    """Arguments that run the child as another user, in a folder that every user may enter."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": [], "cwd": "/"}


def _die_with_parent(death_signal: int) -> Callable[[], None] | None:
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def set_death_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call
            os.kill(os.getpid(), signal.SIGKILL)

    return set_death_signal


def unprivileged_user() -> int | None:
    """The user for servers that refuse to run as root: `nobody` when the caller is root, else the caller (None)."""
    return NOBODY if os.geteuid() == 0 else None
