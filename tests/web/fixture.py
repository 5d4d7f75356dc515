"""What the tests of the page share: the server, what its answers may be replaced by, and steps of a user."""

import json
import os
import re
import subprocess

import cdp

DONE = "!document.querySelector('article.running') && document.querySelectorAll('article').length === {}"
ANSWER = "document.querySelector('article.assistant:last-child .body').textContent"


class Wrong(Exception):
    pass


def check(truth, *what):
    if not truth:
        raise Wrong(" ".join(str(part) for part in what))


def equal(found, wanted, what):
    check(found == wanted, f"{what}: {found!r}, expected {wanted!r}")


class Server:
    """`tern serve` with the built-in model on a free port."""

    def __init__(self, *options):
        self.process = subprocess.Popen([os.environ["TERN"], "serve", "--port", "0", *options], stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, text=True)
        for line in self.process.stderr:
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                self.url = found.group(1).rstrip("/") + "/"
                break
        else:
            raise Wrong(f"tern serve ended with status {self.process.wait()}")

    def close(self):
        self.process.terminate()
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def stream_of(text, finish="stop", piece=997):
    """The body of a streamed answer: what a server would send for `text`."""
    events = [{"choices": [{"index": 0, "delta": {"content": text[i:i + piece]}, "finish_reason": None}]}
              for i in range(0, len(text), piece)]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(events), "total_tokens": 0}})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def answer_with(page, text, **keywords):
    """From now on the page gets this answer instead of the server's."""
    body = stream_of(text, **keywords)
    page.intercept("*/v1/chat/completions", lambda request: (200, {"Content-Type": "text/event-stream"}, body))


def bodies(page):
    """What the page asks for from now on -> a list that fills."""
    seen = []
    page.intercept("*/v1/chat/completions", lambda request: seen.append(json.loads(request["postData"])))
    return seen


def throttle(page, rate):
    """Let the network carry so many bytes a second, -1: as many as it can; the small model is too fast to be watched."""
    page.call("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": rate, "uploadThroughput": -1})


def ask(page, text, articles=2):
    page.run("document.querySelector('#input').focus()")
    page.type(text)
    page.press("Enter")
    page.wait(DONE.format(articles))


def few_tokens(page, count=12):
    """Answers of this length, and always the same one for the same question."""
    page.run(f"localStorage.setItem('tern.settings', JSON.stringify({{max_tokens: {count}, seed: 1}}))")
    page.call("Page.reload")
    page.wait("document.querySelector('#model option')")


def open_page(browser, url, **keywords):
    page = cdp.Page(browser, **keywords)
    page.call("Emulation.setFocusEmulationEnabled", {"enabled": True})  # else a busy browser may lose the window's focus
    page.open(url)
    page.wait("document.querySelector('#model option')")
    return page


def harmless(page, what):
    """Nothing was executed, nothing that could be is in the document."""
    page.browser.idle(0.1)
    equal(page.run("window.hit ?? null"), None, f"{what}: executed")
    found = page.run("""(() => { const bad = [];
        for (const node of document.querySelectorAll('#messages *, #chats *, #notices *, header *')) {
            if (['SCRIPT', 'IFRAME', 'IMG', 'OBJECT', 'EMBED', 'STYLE', 'LINK', 'META', 'BASE', 'FORM', 'VIDEO', 'AUDIO', 'SOURCE']
                    .includes(node.tagName.toUpperCase())) bad.push(node.outerHTML.slice(0, 200));
            for (const { name, value } of node.attributes)
                if (name.startsWith('on') || name === 'style' || name === 'srcdoc' || /^\\s*(javascript|data|vbscript):/i.test(value))
                    bad.push(`${node.tagName} ${name}=${value.slice(0, 200)}`);
            if (node.tagName === 'A' && !(/^https?:$/.test(node.protocol) && node.rel === 'noopener noreferrer'))
                bad.push(node.outerHTML.slice(0, 200));
        } return bad; })()""")
    equal(found, [], what)
