"""A machine's serial line, or any other pair of descriptors that somebody talks on: what was said, waiting for it, typing."""

import os
import re
import threading
import time

from report import Failed

# Cursor movements, colours and the like of ECMA-48, other escapes, and the carriage returns of a terminal.
CONTROL = re.compile(rb"\x1b\[[0-9;?>=]*[ -/]*[@-~]|\x1b[()][0-9A-B]|\x1b[=>78M]|\r")
CURSOR_POSITION_QUERY = b"\x1b[6n"


class Console:
    """Reads everything from a descriptor into a log, and waits for patterns in what came since the last one that was found."""

    def __init__(self, source, sink, log):
        self.source, self.sink = source, sink
        self.log = open(log, "wb", buffering=0)
        self.raw = b""
        self.seen = 0
        self.ended = False
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = os.read(self.source, 65536)
            except OSError:  # EIO: the other end of a pseudo-terminal is closed.
                data = b""
            with self.changed:
                self.raw += data
                self.ended = not data
                self.changed.notify_all()
            if not data:
                return
            self.log.write(data)
            if CURSOR_POSITION_QUERY in data:
                self.type("\x1b[1;1R")

    def text(self):
        """Everything that was said, without control sequences."""
        with self.changed:
            return CONTROL.sub(b"", self.raw).decode(errors="replace")

    def wait(self, pattern, timeout=300):
        """Wait for a regular expression, `^` and `$` being a line's ends; a later wait looks only behind what this one found."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.text()
            with self.changed:
                found = re.compile(pattern, re.MULTILINE).search(text, self.seen)
                if found:
                    self.seen = found.end()
                    return found
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    why = "the line was closed" if self.ended else f"{timeout} s went by"
                    raise Failed(f"no line matches /{pattern}/ ({why}); what was said last:\n{self.tail()}")
                self.changed.wait(min(left, 1))

    def tail(self, lines=25):
        """The last lines."""
        return "\n".join(self.text().splitlines()[-lines:])

    def type(self, text):
        """Type, as a person would."""
        try:
            os.write(self.sink, text.encode())
        except OSError as error:
            raise Failed(f"cannot type {text!r}: {error}") from error
