"""A process with everything imported and run once: what it is told to do, a forked child does, within a fraction
of a second from start to end, so that many can be killed.

Its argument is a list of runs of `nst` to warm up with. Each line of input is `{"arguments": of nst, "output":
file}` and when to kill it: `"seconds": n`, `"operation": [n, folder]` for just before the n-th operation on a file
there, or `"bytes": n` for when a file grows beyond that; or nothing. The answer is the exit status, negative for a
signal.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import redirect_stdout

from nstlib.screen import cli
from nstlib.training import runs, trainer


def run(arguments: list[str], output: str, operation: tuple[int, str] | None = None, bytes: int = 0) -> None:
    descriptor = os.open(os.devnull if bytes else output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if operation:
        kill_at(*operation)
    if bytes:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and would go on with an OSError
    cli.main(arguments)


def kill_at(operation: int, folder: str) -> None:
    """Kill this process just before its n-th opening, renaming, removing … in a folder, of which Python tells."""

    def audit(event: str, details: tuple) -> None:
        nonlocal operation
        if event.startswith(("open", "os.", "tempfile.")) and any(str(d).startswith(folder) for d in details):
            operation -= 1
            if operation == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def main() -> None:
    runs.VALIDATION, runs.HEIGHT = ("cat",), 64  # one, and small, is enough on the sheets
    trainer.tqdm.monitor_interval = 0  # no thread, for those are not forked
    with redirect_stdout(sys.stderr):
        for arguments in json.loads(sys.argv[1]):
            cli.main(arguments)
    for line in sys.stdin:
        order = json.loads(line)
        seconds = order.pop("seconds", None)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run(**order)
                status = 0
            except SystemExit as end:
                status = end.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(status)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)  # which, if it has ended, is still to be waited for
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
