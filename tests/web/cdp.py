"""Drive a headless Chromium over the DevTools protocol, with the standard library only.

The protocol runs over a pair of pipes (--remote-debugging-pipe): messages are JSON, each ended by a zero byte. No port is
opened, and the browser ends with the pipe.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Failure(Exception):
    """What the browser answered was an error, or it did not answer in time."""


def find_browser():
    """The command of a Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    def __init__(self, command):
        self.profile = tempfile.mkdtemp(prefix="tern-web-")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def hand_over():  # the protocol is on descriptors 3 (to the browser) and 4 (from it)
            low_in, low_out = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(low_in, 3)
            os.dup2(low_out, 4)

        self.process = subprocess.Popen(
            [command, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-sync",
             "--no-default-browser-check", "--mute-audio", "--hide-scrollbars", "--use-mock-keychain",
             "--disable-component-update", "--lang=en", f"--user-data-dir={self.profile}", "about:blank"],
            preexec_fn=hand_over, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.profile})
        os.close(theirs_in)
        os.close(theirs_out)
        self.input, self.output = ours_in, ours_out
        self.buffer = b""
        self.last_id = 0
        self.events = []  # those that nobody has waited for yet
        self.handlers = {}  # method -> function(params, session)

    def close(self):
        os.close(self.output)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.input)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _receive(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.input], [], [], left)[0]:
                raise Failure("the browser does not answer")
            data = os.read(self.input, 1 << 20)
            if not data:
                raise Failure("the browser has ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def post(self, method, params=None, session=None):
        """Send without waiting for the answer -> its id."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.output, data):]
        return self.last_id

    def _event(self, message):
        handler = self.handlers.get(message["method"])
        if handler:
            handler(message.get("params", {}), message.get("sessionId"))

    def call(self, method, params=None, session=None, timeout=60):
        wanted = self.post(method, params, session)
        deadline = time.monotonic() + timeout
        while True:
            message = self._receive(deadline)
            if message.get("id") == wanted:
                if "error" in message:
                    raise Failure(f"{method}: {message['error'].get('message')}")
                return message.get("result", {})
            if "method" in message:
                self._event(message)

    def idle(self, seconds):
        """Let events come in for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                message = self._receive(deadline)
            except Failure:
                return
            if "method" in message:
                self._event(message)


class Page:
    """A tab: what it asked the network for, what it logged, and its document."""

    def __init__(self, browser, width=1280, height=800, dark=False):
        self.browser = browser
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        self.context = context
        target = browser.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        self.session = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.requests = []  # addresses
        self.problems = []  # exceptions, console errors, violations of the policy
        self.answers = None  # function(request) -> None or (status, headers, body): what intercept() is given
        browser.handlers.update({
            "Network.requestWillBeSent": self._on_request,
            "Runtime.exceptionThrown": self._on_exception,
            "Log.entryAdded": self._on_log,
            "Fetch.requestPaused": self._on_paused,
        })
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"}]})
        self.size(width, height)

    def call(self, method, params=None, **keywords):
        return self.browser.call(method, params, self.session, **keywords)

    def close(self):
        self.browser.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    def _on_request(self, params, session):
        if session == self.session:
            self.requests.append(params["request"]["url"])

    def _on_exception(self, params, session):
        if session == self.session:
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])

    def _on_log(self, params, session):
        entry = params["entry"]
        if session == self.session and entry["level"] == "error":
            self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def intercept(self, pattern, answers):
        """Requests whose address fits pattern get answers(request): (status, headers, body), or None: as they are."""
        self.answers = answers
        self.call("Fetch.enable", {"patterns": [{"urlPattern": pattern}]})

    def intercept_no_more(self):
        self.call("Fetch.disable")

    def _on_paused(self, params, session):
        answer = self.answers(params["request"])
        if answer is None:
            self.browser.post("Fetch.continueRequest", {"requestId": params["requestId"]}, session)
            return
        status, headers, body = answer
        self.browser.post("Fetch.fulfillRequest", {
            "requestId": params["requestId"], "responseCode": status,
            "responseHeaders": [{"name": name, "value": value} for name, value in headers.items()],
            "body": base64.b64encode(body).decode()}, session)

    def size(self, width, height, scale=1, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile})

    def open(self, address):
        self.call("Page.navigate", {"url": address})
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression):
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True,
                                                "userGesture": True})
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise Failure(f"{expression[:200]}: {details.get('exception', {}).get('description') or details['text']}")
        return result["result"].get("value")

    def wait(self, expression, timeout=60):
        """Until the expression is true."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                if self.run(f"!!({expression})"):
                    return
            except Failure as failure:
                if "context" not in str(failure) and "navigat" not in str(failure):  # between two documents
                    raise
            self.browser.idle(0.05)
        raise Failure(f"waited in vain for: {expression}")

    def type(self, text):
        self.call("Input.insertText", {"text": text})

    def press(self, key, modifiers=0):
        """A key with its default action; modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        codes = {"Enter": (13, "\r"), "Escape": (27, None), "Tab": (9, None)}
        code, text = codes.get(key, (ord(key.upper()[0]), key))
        down = {"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        if text:
            down["text"] = text
        self.call("Input.dispatchKeyEvent", down)
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code,
                                             "modifiers": modifiers})

    def click(self, selector):
        """A real click of the mouse in the middle of the element."""
        spot = self.run(f"""(() => {{ const node = document.querySelector({json.dumps(selector)});
            if (!node) return null; node.scrollIntoView({{block: "nearest"}}); const box = node.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
        if spot is None:
            raise Failure(f"nothing to click: {selector}")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": spot[0], "y": spot[1], "button": "left",
                                                   "clickCount": 1})

    def screenshot(self, path):
        data = base64.b64decode(self.call("Page.captureScreenshot", {"format": "png"})["data"])
        with open(path, "wb") as file:
            file.write(data)
