"""`python -m sememe` is the program `sememe`."""

from __future__ import annotations

import os
import signal
import sys

from . import _sememe


def main() -> int:
    """Runs the program with the arguments of this process; returns its exit code."""
    # The program hears Ctrl-C itself, and a closed pipe ends it as it ends others.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # As the program does: Mesa's device selection complains where there is no desktop, and only sorts what is sorted here.
    if not any(name in os.environ for name in ("XDG_RUNTIME_DIR", "MESA_VK_DEVICE_SELECT", "DRI_PRIME")):
        os.environ.setdefault("NODEVICE_SELECT", "1")
    return _sememe.program(["sememe", *sys.argv[1:]])


if __name__ == "__main__":
    raise SystemExit(main())
