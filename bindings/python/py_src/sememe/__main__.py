"""`python -m sememe` is the program `sememe`."""

from __future__ import annotations

import signal
import sys

from . import _sememe


def main() -> int:
    """Runs the program with the arguments of this process; returns its exit code."""
    # The program hears Ctrl-C itself, and a closed pipe ends it as it ends others.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _sememe.program(["sememe", *sys.argv[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
