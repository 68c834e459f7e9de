"""The command `surefoot`, and `python -m surefoot`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Loads the command line and runs it; until it is loaded, Ctrl-C ends the process without a traceback."""
    waits = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # rather than ignored, as after nohup
    if waits:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from surefoot.cli import main as run

    if waits:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
