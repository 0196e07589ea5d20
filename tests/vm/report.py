"""Cases and what became of them: `ok NAME`, `FAIL NAME: REASON`, `SKIP NAME: REASON`."""

import contextlib
import re
import threading
import time


class Failed(Exception):
    """What was looked at is not as it must be."""


class Skipped(Exception):
    """This cannot be tried on this machine."""


class Report:
    """Counts cases. Several threads may report at once."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.lock = threading.Lock()

    @contextlib.contextmanager
    def case(self, name):
        """One case: it fails by an exception, whatever it is, and the next one goes on."""
        started = time.monotonic()
        try:
            yield
        except Skipped as why:
            self._count("skipped", f"SKIP {name}: {why}")
        except Failed as why:
            self._count("failed", f"FAIL {name}: {why}")
        except Exception as why:
            self._count("failed", f"FAIL {name}: {type(why).__name__}: {why}")
        else:
            self._count("passed", f"ok   {name} ({time.monotonic() - started:.1f} s)")

    def _count(self, what, line):
        with self.lock:
            setattr(self, what, getattr(self, what) + 1)
            print(line, flush=True)

    def summary(self):
        """The last line."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def expect(text, *patterns):
    """Every regular expression matches some line."""
    for pattern in patterns:
        if not re.search(pattern, text, re.MULTILINE):
            end = "\n".join(text.splitlines()[-30:])
            raise Failed(f"no line matches /{pattern}/; the end is:\n{end}")


def expect_equal(what, got, want):
    """A value is what it must be."""
    if got != want:
        raise Failed(f"{what} is {got!r}, not {want!r}")
