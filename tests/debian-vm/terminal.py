"""Run a command on a terminal of its own, and type when it shows a prompt: terminal.py TEXT COMMAND...

Prints what was on the terminal, and ends with the command's status.
"""

import os
import pty
import sys

text, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execvp(command[0], command)
seen = b""
while True:
    try:
        data = os.read(terminal, 4096)
    except OSError:  # EIO: nobody has the other end any more.
        break
    seen += data
    # The shell asks for the cursor's position behind its prompt.
    if text and seen.replace(b"\x1b[6n", b"").rstrip().endswith((b"#", b"$")):
        os.write(terminal, text.encode() + b"\n")
        text = ""
print(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
