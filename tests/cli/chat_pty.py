"""tern chat on a pseudo-terminal: line editing, history, Ctrl-C, Ctrl-D.

Usage: chat_pty.py TERN. Standard library only. Prints what failed; exit 1 then.
"""
import os
import pty
import re
import select
import sys
import time

TIMEOUT = 60  # seconds for anything to appear: far more than it takes


class Chat:
    def __init__(self, arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(sys.argv[1], [sys.argv[1], "chat"] + arguments)
        self.text = ""  # all it ever wrote
        self.mark = 0  # what was looked at

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # Linux: the other end was closed
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern):
        """Wait for pattern behind the last match."""
        end = time.monotonic() + TIMEOUT
        while True:
            match = re.compile(pattern).search(self.text, self.mark)
            if match:
                self.mark = match.end()
                return match
            if time.monotonic() > end or not self.read(max(0.1, end - time.monotonic())):
                raise SystemExit(f"FAIL: waited for {pattern!r}, saw {self.text[self.mark:]!r}")

    def send(self, text):
        os.write(self.fd, text.encode())

    def finish(self):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and self.read(1):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return status


def check(what, got, wanted):
    if got != wanted:
        raise SystemExit(f"FAIL: {what}: got {got!r}, wanted {wanted!r}")


chat = Chat(["--seed", "1", "-n", "20"])
chat.expect("Ctrl-D leaves")
chat.expect("> ")
# Ctrl-C at the empty prompt tells how to leave; with text it drops the line
chat.send("\x03")
chat.expect(r"Ctrl-D or /quit leaves")
chat.expect("> ")
chat.send("/save /nowhere/at/all")
chat.send("\x03")
chat.expect("> ")
chat.send("/system\r")
chat.expect("no system message")
# editing: go to the front, put in what is missing, remove what is too much
chat.expect("> ")
chat.send("ystem Be kindd.\x7f\x7f.\x01/s\r")
chat.expect("> ")
chat.send("/system\r")
chat.expect(r"\nBe kind\.\r")
# history: two lines up is the one that set it
chat.expect("> ")
chat.send("\x1b[A\x1b[A\x7f and calm.\r")
chat.expect("> ")
chat.send("/system\r")
chat.expect(r"\nBe kind and calm\.\r")
# other letters than ASCII
chat.expect("> ")
chat.send("/system na\u00efve \u20ac\r")
chat.expect("> ")
chat.send("/system\r")
chat.expect("\nna\u00efve \u20ac\r")
# an answer, and Ctrl-D on the empty line
chat.expect("> ")
chat.send("Tell me a story.\r")
chat.expect(r"\w+ \w+")
chat.expect("> ")
chat.send("\x04")
check("exit status after Ctrl-D", chat.finish(), 0)

# Ctrl-C stops the answer, not the program: the answer goes on until the context is full if nobody stops it
os.environ["TERN_CPU"] = "ref"  # slow, so that there is time to press the key
for attempt in range(5):
    chat = Chat(["--temp", "0", "--logit-bias", "300=1000"])
    chat.expect("> ")
    chat.send("Tell me a story.\r")
    chat.expect("Tell me a story.\r\n")
    chat.expect(r"\S")
    chat.send("\x03")
    stopped = chat.expect(r"\(stopped\)|context of 512 tokens is full").group().startswith("(")
    chat.expect("> ")
    chat.send("/stats\r")
    chat.expect("conversation: +2 messages")
    chat.expect("> ")
    chat.send("/quit\r")
    check("exit status after /quit", chat.finish(), 0)
    if stopped:
        break
else:
    raise SystemExit("FAIL: Ctrl-C never stopped an answer")

del os.environ["TERN_CPU"]

# the lines are kept for the next time
chat = Chat(["--seed", "1", "-n", "1"])
chat.expect("> ")
chat.send("\x1b[A\x1b[A\r")
chat.expect("context: ")
chat.expect("> ")
chat.send("\x04")
check("exit status", chat.finish(), 0)

# a history that cannot be kept is a warning
os.environ["XDG_STATE_HOME"] = "/dev/null/no/folder"
chat = Chat([])
chat.expect("> ")
chat.send("/quit\r")
chat.expect("tern: warning: /dev/null/no/folder/tern/chat_history: ")
check("exit status", chat.finish(), 0)
print("pty: all passed")
