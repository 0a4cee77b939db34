"""How a child process is born: in a session of its own, as the user it must run as, and bound to die with its parent.

The bond is Linux's PR_SET_PDEATHSIG: when the parent is gone, also by kill -9, the kernel signals the child. It follows
the *thread* that started the child, so children are started from a thread that lives as long as they should. On other
systems there is no such bond: a parent killed with -9 leaves its children, and the next start or reset ends them
(`local.state.end_leftovers`).
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any

NOBODY = 65534
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def popen_options(log: IO[bytes], environment: dict[str, str], user: int | None, death_signal: int) -> dict[str, Any]:
    """The arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec` alike."""
    return {
        "stdin": subprocess.DEVNULL,
        "stdout": log,
        "stderr": log,
        "env": environment,
        "start_new_session": True,  # Ctrl-C reaches the supervisor alone, which stops its children in order
        "preexec_fn": _die_with_parent(death_signal),  # runs after the change of user, which would undo the bond
        **user_options(user),
    }


def user_options(user: int | None) -> dict[str, Any]:
    """The arguments to run as somebody else, in a folder that everybody may enter."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": [], "cwd": "/"}


def _die_with_parent(death_signal: int) -> Callable[[], None] | None:
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the bond was made
            os.kill(os.getpid(), signal.SIGKILL)

    return bind


def unprivileged_user() -> int | None:
    """The user for servers that refuse to run as root: nobody when we are root, else ourselves."""
    return NOBODY if os.geteuid() == 0 else None
