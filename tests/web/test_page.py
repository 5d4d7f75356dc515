#!/usr/bin/env python3
"""The web page of `tern serve` in a real, headless Chromium, against the real server (the command is $TERN).

    test_page.py [--url URL] [TEST...]

--url tests a server that is running. Without a Chromium the test is skipped (status 77).
"""

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request

import cdp
import texts
from fixture import (ANSWER, DONE, Server, Wrong, answer_with, ask, bodies, check, equal, few_tokens, harmless, open_page,
                     stream_of, throttle)

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/server/web")
PHONE = 360  # pixels


# ------------------------------------------------------------------- the tests: (browser, server's address)

def test_files(browser, url):
    """Every file comes as it is in the source, with its type and the policy; nothing else is served."""
    with open(os.path.join(SOURCE, "assets.h"), encoding="utf-8") as file:
        policy = "".join(re.findall(r'"([^"]+)"', file.read().split("#define TERN_WEB_POLICY")[1].split("typedef")[0]))
    check("default-src 'none'" in policy and "unsafe" not in policy, policy)
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name in sorted(os.listdir(SOURCE)):
        kind = types.get(name.rsplit(".", 1)[-1])
        if not kind:
            continue
        with urllib.request.urlopen(url + ("" if name == "index.html" else name)) as answer:
            with open(os.path.join(SOURCE, name), "rb") as file:
                check(answer.read() == file.read(), name, "is another one in the server")
            equal(answer.headers["Content-Security-Policy"], policy, f"policy of {name}")
            equal(answer.headers["Content-Type"].split(";")[0], kind, f"type of {name}")
    for path in ("index.htm", "../app.js", "web/app.js", "app.js/", "assets.c"):
        try:
            urllib.request.urlopen(url + path)
            raise Wrong(f"/{path} is served")
        except urllib.error.HTTPError as error:
            equal(error.code, 404, path)


def test_answer(browser, url):
    """Two turns with the real model: Shift-Enter is a new line, Enter sends, text streams in, figures are shown."""
    page = open_page(browser, url)
    few_tokens(page, 24)
    seen = bodies(page)
    page.run("document.querySelector('#input').focus()")
    page.type("Once upon a time")
    page.press("Enter", modifiers=8)
    page.type("there was a bird")
    equal(page.run("document.querySelector('#input').value"), "Once upon a time\nthere was a bird", "Shift-Enter")
    page.run("""window.seen = new Set(); window.busy = [];
        new MutationObserver(() => { const body = document.querySelector('article.assistant .body');
            if (body) seen.add(body.textContent); busy.push(document.querySelector('#messages').ariaBusy); })
            .observe(document.querySelector('#messages'), {subtree: true, childList: true, characterData: true})""")
    throttle(page, 3000)
    page.press("Enter")
    page.wait(DONE.format(2))
    throttle(page, -1)
    equal(page.run("document.querySelector('#input').value"), "", "the box after sending")
    equal(seen[0]["messages"], [{"role": "user", "content": "Once upon a time\nthere was a bird"}], "messages")
    check(seen[0]["stream"] and seen[0]["stream_options"]["include_usage"] and seen[0]["max_tokens"] == 24, seen[0])
    first = page.run(ANSWER)
    check(len(first) > 10, "no answer:", repr(first))
    check(page.run("window.busy.includes('true')") and page.run("document.querySelector('#messages').ariaBusy") == "false",
          "aria-busy does not follow the answer")
    check(page.run("window.seen.size") > 3, "the answer came in one piece")
    figures = page.run("document.querySelector('article.assistant:last-child footer .number').textContent")
    check(re.search(r"\b\d+ tokens\b", figures) and " tok/s" in figures, figures)
    meter = page.run("document.querySelector('#context').textContent")
    check(re.fullmatch(r"[\d,]+ of [\d,]+ tokens", meter), meter)
    equal(page.run("document.activeElement.id"), "input", "focus")
    ask(page, "And then?", 4)
    equal([message["role"] for message in seen[1]["messages"]], ["user", "assistant", "user"], "roles")
    stored = page.run("JSON.parse(localStorage.getItem(Object.keys(localStorage).find((key) => key.startsWith('tern.chat.'))))")
    equal(seen[1]["messages"][1]["content"], stored["messages"][1]["content"], "the answer in the next question")
    words = re.findall(r"\w+", first)  # what is shown lacks the marks of markdown
    check(words and all(word in stored["messages"][1]["content"] for word in words), "another answer was stored:", first, stored)
    return page


def test_stop(browser, url):
    """Esc and the button stop a running answer; what came stays, marked, and the box is free again."""
    page = open_page(browser, url)
    few_tokens(page, 400)
    for turn, how in enumerate((lambda: page.press("Escape"), lambda: page.click("#send"))):
        throttle(page, 3000)
        page.run("document.querySelector('#input').focus()")
        page.type("Tell me a long story")
        page.press("Enter")
        page.wait("document.querySelector('article.running .body')?.textContent.trim().length > 3")
        equal(page.run("document.querySelector('#send').ariaLabel"), "Stop", "the button")
        how()
        page.wait(DONE.format(2 * turn + 2))
        throttle(page, -1)
        figures = page.run("document.querySelector('article.assistant:last-child footer .number').textContent")
        check(figures.startswith("stopped"), figures)
        text = page.run(ANSWER)
        check(text, "what came before the stop is gone")
        page.browser.idle(0.3)
        equal(page.run(ANSWER), text, "after the stop")
        equal(page.run("document.querySelector('#send').ariaLabel"), "Send", "the button")
    return page


def test_regenerate(browser, url):
    """The last answer is replaced, also by none; an error leaves the old one."""
    page = open_page(browser, url)
    few_tokens(page)
    ask(page, "Once upon a time")
    first = page.run(ANSWER)
    answer_with(page, "Another one.")
    page.click("article.assistant:last-child footer button:nth-of-type(2)")
    page.wait(f"{ANSWER} === 'Another one.'")
    equal(page.run("document.querySelectorAll('article').length"), 2, "messages")
    page.intercept("*/v1/chat/completions", lambda request: (500, {}, b"{}"))
    page.click("article.assistant:last-child footer button:nth-of-type(2)")
    page.wait("document.querySelector('.notice')")
    equal(page.run(ANSWER), "Another one.", "the answer after a failure")
    page.intercept_no_more()
    page.click(".notice button")
    page.wait(f"{ANSWER} === {json.dumps(first)}")  # the same seed: the same answer
    check(not page.run("document.querySelector('.notice')"), "the notice is still there")
    page.problems = [problem for problem in page.problems if "500" not in problem]
    return page


def test_edit(browser, url):
    """Editing an earlier message cuts what follows; Esc leaves everything as it was."""
    page = open_page(browser, url)
    few_tokens(page)
    ask(page, "Once upon a time")
    ask(page, "And then?", 4)
    before = page.run("document.querySelector('#messages').textContent")
    edit = "article.user footer button:nth-of-type(2)"
    page.click(edit)
    page.type(" not this")
    page.press("Escape")
    equal(page.run("document.querySelector('#messages').textContent"), before, "after Esc")
    seen = bodies(page)
    page.click(edit)
    page.run("document.querySelector('article.editing textarea').select()")
    page.type("A cat sat")
    page.press("Enter")
    page.wait(DONE.format(2))
    equal(page.run("document.querySelector('article.user .body').textContent"), "A cat sat", "the edited message")
    equal(seen[0]["messages"], [{"role": "user", "content": "A cat sat"}], "what was asked")
    equal(page.run("document.querySelector('#title').textContent"), "A cat sat", "title")
    return page


def test_reload(browser, url):
    """Conversations outlive a reload, also one that was being written; deleting can be undone."""
    page = open_page(browser, url)
    few_tokens(page)
    ask(page, "Once upon a time")
    text = page.run("document.querySelector('#messages').textContent")
    page.call("Page.reload")
    page.wait("document.querySelectorAll('article').length === 2")
    equal(page.run("document.querySelector('#messages').textContent"), text, "after a reload")
    page.click("#new-chat")
    equal(page.run("document.querySelectorAll('article').length"), 0, "messages of a new chat")
    answer_with(page, "Second answer.")
    ask(page, "Second chat")
    equal(page.run("[...document.querySelectorAll('#chats .open')].map(b => b.textContent)"),
          ["Second chat", "Once upon a time"], "list")
    page.click("#chats li:last-child .open")
    equal(page.run("document.querySelector('#messages').textContent"), text, "the first conversation")
    page.click("#chats li:last-child .square")
    equal(page.run("Object.keys(localStorage).filter(k => k.startsWith('tern.chat.')).length"), 1, "stored after deleting")
    page.click(".notice button")
    equal(page.run("document.querySelector('#messages').textContent"), text, "after undo")
    page.intercept_no_more()
    throttle(page, 3000)
    page.run("document.querySelector('#input').focus()")
    page.type("Half an answer")
    page.press("Enter")
    page.wait("document.querySelector('article.running .body')?.textContent.trim().length > 3")
    throttle(page, -1)
    page.call("Page.reload")
    page.wait("document.querySelectorAll('article').length === 4")
    check(len(page.run(ANSWER)) > 3, "the part of the answer is lost")
    return page


def test_files_of_conversations(browser, url):
    """Export and import give the same conversations; other files are refused; hostile ones do nothing."""
    page = open_page(browser, url)
    answer_with(page, "An *answer*.")
    ask(page, "A question")
    page.run("""URL.createObjectURL = (blob) => { window.exported = blob.text(); return 'blob:nothing'; };
                HTMLAnchorElement.prototype.click = function () { window.file = this.download; }""")
    page.click("#export")
    text = page.run("exported")
    check(page.run("file").endswith(".json"), "file name")
    chats = json.loads(text)["conversations"]
    equal([message["content"] for message in chats[0]["messages"]], ["A question", "An *answer*."], "exported")
    page.run("localStorage.clear()")
    page.call("Page.reload")
    page.wait("document.querySelector('#chats .quiet')")

    def bring(content):
        path = os.path.join(browser.profile, "import.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        node = page.call("DOM.querySelector", {"nodeId": page.call("DOM.getDocument")["root"]["nodeId"],
                                               "selector": "#import-file"})["nodeId"]
        page.run("document.querySelector('#notices').replaceChildren()")
        page.call("DOM.setFileInputFiles", {"files": [path], "nodeId": node})
        page.wait("document.querySelector('.notice')")
        return page.run("document.querySelector('.notice p').textContent")

    equal(bring(text), "One conversation was imported.", "import")
    equal(bring(text), "0 conversations were imported.", "import of the same again")
    page.click("#chats .open")
    equal(page.run("[...document.querySelectorAll('.body')].map(b => b.textContent)"), ["A question", "An answer."], "imported")
    check("no JSON" in bring("{"), "half a file")
    check("no conversations" in bring("[1]"), "another file")
    evil = "<img src=x onerror='window.hit=1'>"
    hostile = {"format": "tern-conversations", "conversations": [
        None, 7, {"messages": "no"}, {"id": "../../x", "title": evil, "messages": [
            {"role": "user", "content": evil}, {"role": "system", "content": "x"}, {"role": "assistant", "content": evil,
             "stats": {"completion": evil, "rate": "1"}}, {"content": 1}]}]}
    equal(bring(json.dumps(hostile)), "One conversation was imported.", "hostile file")
    page.click("#chats .open")
    equal(page.run("[...document.querySelectorAll('.body')].map(b => b.textContent)"), [evil, evil], "shown as text")
    harmless(page, "a hostile file")
    return page


def test_hostile(browser, url):
    """Whatever an answer says is text: no script, no handler, no address but http and https, no request elsewhere."""
    page = open_page(browser, url)
    body = []
    page.intercept("*/v1/chat/completions", lambda request: (200, {"Content-Type": "text/event-stream"}, stream_of(body[0])))
    for text in texts.hostile():
        body[:] = [text]
        page.click("#new-chat")
        ask(page, text[:300] if text.strip() else "x")
        harmless(page, repr(text[:80]))
        page.run("""for (const link of [...document.querySelectorAll('article a')].slice(0, 100)) { // nor does a click on one
            link.addEventListener('click', (event) => event.preventDefault()); link.click(); }""")
    harmless(page, "clicks")
    return page


def test_markdown(browser, url):
    """The renderer alone: documents and what they become; piece by piece it is the same as at once."""
    page = open_page(browser, url)
    page.run("import('./markdown.js').then((module) => { window.render = module.renderMarkdown; "
             "window.html = (text) => { const box = document.createElement('div'); render(box, text); return box.innerHTML; } })")
    for text, wanted in texts.RENDERED:
        equal(page.run(f"html({json.dumps(text)})"), wanted, repr(text))
    for text in texts.documents():
        equal(page.run(f"""(() => {{ const text = {json.dumps(text)}, box = document.createElement('div');
            for (let end = 0; end <= text.length; end += 1 + Math.floor(end / 40)) render(box, text.slice(0, end));
            render(box, text); return box.innerHTML === html(text); }})()"""), True, f"in pieces: {text[:60]!r}")
        lost = page.run(f"""(() => {{ const box = document.createElement('div'); render(box, {json.dumps(text)});
            const words = (s) => (s.match(/[\\p{{L}}\\p{{N}}]+/gu) ?? []).sort().join(' ');
            return words(box.textContent.replaceAll('Copy', '')) ; }})()""")
        check(lost is not None, "no text")
    page.run("render(window.box = document.createElement('div'), 'one\\n\\ntwo'); window.kept = box.firstChild; render(box, 'one\\n\\ntwo three')")
    check(page.run("box.firstChild === kept && box.textContent === 'onetwo three'"), "a block that did not change was made anew")
    return page


def test_pathological(browser, url):
    """Texts that are made to take long: a quadratic renderer would not be done before the test's patience is."""
    page = open_page(browser, url)
    page.run("import('./markdown.js').then((module) => { window.render = module.renderMarkdown; })")
    for text, times in texts.PATHOLOGICAL:
        length = page.run(f"""(() => {{ const box = document.createElement('div');
            render(box, {json.dumps(text)}.repeat({times})); return box.textContent.length; }})()""")
        check(length is not None, repr(text))
    return page


def test_busy(browser, url):
    """429 with Retry-After: counted down and tried again; stopped while waiting, it is not."""
    page = open_page(browser, url)
    few_tokens(page)
    calls = []

    def busy_once(request):
        calls.append(1)
        return (429, {"Retry-After": "1"}, b'{"error": {"message": "queue is full"}}') if len(calls) == 1 else None
    page.intercept("*/v1/chat/completions", busy_once)
    page.run("""new MutationObserver(() => { window.noticed = (window.noticed ?? '') + document.querySelector('#notices').textContent; })
        .observe(document.querySelector('#notices'), {subtree: true, childList: true, characterData: true})""")
    page.run("document.querySelector('#input').focus()")
    page.type("Once upon a time")
    page.press("Enter")
    page.wait("/queue is full.*Next try in 1 s/.test(window.noticed)")
    page.wait(DONE.format(2))
    equal(len(calls), 2, "requests")
    page.intercept("*/v1/chat/completions", lambda request: (429, {"Retry-After": "60"}, b""))
    page.type("Once more")
    page.press("Enter")
    page.wait("document.querySelector('.notice')")
    page.press("Escape")
    page.wait("!document.querySelector('article.running') && !document.querySelector('.notice')")
    equal(page.run("document.querySelectorAll('article').length"), 3, "messages")
    page.problems = [problem for problem in page.problems if "429" not in problem]
    return page


def test_failures(browser, url):
    """Errors before and inside the stream, a stream that breaks off, nonsense: one line and a way on; text stays text."""
    page = open_page(browser, url)
    evil = "<img src=x onerror='window.hit=1'>"
    error = json.dumps({"error": {"message": evil, "code": "server_error"}}).encode()
    half = stream_of("Half")[:-len(b"data: [DONE]\n\n")]
    cases = [((500, {}, error), evil, 1), ((502, {}, b"<html>"), "status 502", 1), ((200, {}, b"data: " + error + b"\n\n"), evil, 1),
             ((200, {}, half), "ended before", 2), ((200, {}, b"data: {nonsense\n\n"), "no sense", 1),
             ((200, {}, half + b"data: " + error + b"\n\n"), evil, 2), ((404, {}, b""), "no such address", 1)]
    for answer, wanted, articles in cases:
        page.click("#new-chat")
        page.intercept("*/v1/chat/completions", lambda request, answer=answer: answer)
        ask(page, "Question", articles)
        page.wait("document.querySelector('.notice')")
        check(wanted in page.run("document.querySelector('.notice p').textContent"), wanted)
        answer_with(page, "At last.")
        page.click(".notice button")
        page.wait(f"document.querySelectorAll('article').length === 2 && {ANSWER} === 'At last.'")
        harmless(page, "an error")
    page.problems = [problem for problem in page.problems if "Failed to load resource" not in problem]
    return page


def test_full_context(browser, url):
    """A conversation that does not fit goes on without its oldest messages, also when the page is loaded again; a message
    that is too long by itself is said to be."""
    page = open_page(browser, url)
    few_tokens(page, 8)
    size = page.run("fetch('v1/models').then((answer) => answer.json()).then(({ data }) => data[0].max_model_len)")
    words = size * 2 // 5  # a token each: two such questions fit, three do not
    seen = bodies(page)
    for n in (1, 2):
        ask(page, f"Question {n}: " + "dog " * words, 2 * n)
    page.run("document.querySelector('#input').focus()")
    page.type("Question 3: " + "dog " * words)
    page.press("Enter")
    page.wait("document.querySelector('.notice')")
    check("too long" in page.run("document.querySelector('.notice p').textContent"), "what the notice says")
    equal(page.run("[...document.querySelectorAll('.notice button')].map((b) => b.textContent)"),
          ["Leave out the oldest messages", "New chat"], "what it offers")
    page.click(".notice button")
    page.wait(DONE.format(6))
    sent = [[message["content"][:10] for message in body["messages"] if message["role"] == "user"] for body in seen]
    equal(sent[2], ["Question 1", "Question 2", "Question 3"], "what was too long")
    equal(sent[3][-1], "Question 3", "the last of what fits")
    check(0 < len(sent[3]) < 3, sent[3])
    equal(page.run("document.querySelectorAll('p.left-out').length"), 1, "lines above which nothing is sent")
    page.call("Page.reload")
    page.wait("document.querySelector('#model option')")
    page.wait("document.querySelectorAll('p.left-out').length === 1")
    seen = bodies(page)
    ask(page, "And?", 8)
    equal([message["content"][:10] for message in seen[0]["messages"] if message["role"] == "user"], [*sent[3], "And?"], "what follows")
    page.click("#new-chat")
    page.run("document.querySelector('#input').focus()")
    page.type("dog " * 2 * size)
    page.press("Enter")
    page.wait("document.querySelector('.notice')")
    check("Make it shorter" in page.run("document.querySelector('.notice p').textContent"), "what the notice says")
    page.click(".notice button")
    page.wait("!document.querySelector('article') && !document.querySelector('.notice')")
    page.problems = [problem for problem in page.problems if "400" not in problem]
    return page


def test_key(browser, url):
    """A server with a key: the page asks for it, again when it is wrong, keeps it for the tab and nowhere else."""
    server = Server("--api-key", "secret-key-of-a-test") if "TERN" in os.environ else None
    page = cdp.Page(browser)
    if not server:  # a server without keys plays one with
        page.intercept("*/v1/*", lambda request: None if request["headers"].get("Authorization") == "Bearer secret-key-of-a-test"
                       else (401, {}, b""))
    try:
        page.open(server.url if server else url)
        for key in ("wrong", "secret-key-of-a-test"):
            page.wait("document.querySelector('#key-dialog')?.open")
            equal(page.run("document.activeElement.id"), "key", "focus")
            page.type(key)
            page.press("Enter")
        page.wait("document.querySelector('#model option')")
        few_tokens(page)
        ask(page, "Once upon a time")
        check(len(page.run(ANSWER)) > 3, "no answer")
        check("secret-key" not in page.run("JSON.stringify({...localStorage}) + document.documentElement.outerHTML"), "the key leaks")
        equal(page.run("sessionStorage.getItem('tern.key')"), "secret-key-of-a-test", "session")
        page.run("sessionStorage.setItem('tern.key', 'old')")  # the server's key has changed
        page.call("Page.reload")
        page.wait("document.querySelector('#key-dialog')?.open")
        page.press("Escape")
        page.wait("document.querySelector('#input')?.offsetParent && !document.querySelector('#key-dialog')?.open")
    finally:
        if server:
            server.close()
    page.problems = [problem for problem in page.problems if "401" not in problem]
    return page


def test_settings(browser, url):
    """System prompt and sampling go into the request; what is out of range or empty does not."""
    page = open_page(browser, url)
    seen = bodies(page)
    page.click("#toggle-settings")
    page.run("document.querySelector('#system').focus()")
    page.type("You are a bird.")
    values = {"temperature": "0.5", "top_p": "0.9", "top_k": "20", "min_p": "0.1", "max_tokens": "9", "seed": "42",
              "frequency_penalty": "0.5", "presence_penalty": "-0.5", "repeat_penalty": "1.1"}
    for name, value in values.items():
        page.run(f"document.querySelector('#sampling-{name}').focus()")
        page.type(value)
    ask(page, "Hello")
    for name, value in values.items():
        equal(seen[0].get(name), float(value), name)
    equal(seen[0]["messages"][0], {"role": "system", "content": "You are a bird."}, "system prompt")
    page.run("document.querySelector('#sampling-temperature').select()")
    page.type("7")
    equal(page.run("document.querySelector('#sampling-temperature').ariaInvalid"), "true", "7 is out of range")
    ask(page, "Again", 4)
    equal(seen[1]["temperature"], 0.5, "temperature after one that is out of range")
    page.click("#reset")
    page.run("document.querySelector('#sampling-max_tokens').focus()")
    page.type("5")
    ask(page, "Again", 6)
    equal({name for name in values if name in seen[2]}, {"max_tokens"}, "after the reset")
    return page


def test_themes(browser, url):
    """Dark and light follow the system, the switch overrides it and is remembered."""
    lightness = "(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number); return r + g + b > 384; })()"
    for dark in (False, True):
        page = open_page(browser, url, dark=dark)
        equal(page.run(lightness), not dark, "the system's theme")
        page.click("#theme")
        equal(page.run(lightness), dark, "after the switch")
        page.call("Page.reload")
        page.wait("document.querySelector('#model option')")
        equal(page.run(lightness), dark, "after a reload")
        page.click("#theme")
        equal(page.run("localStorage.getItem('tern.theme')"), None, "back to the system's")
        low = page.run(texts.CONTRAST)
        equal(low, [], "colours with too little contrast")
        if not dark:
            page.close()
    return page


def test_phone(browser, url):
    """At 360 pixels nothing scrolls sideways, whatever is shown; drawers open, and close with Esc."""
    page = open_page(browser, url, width=PHONE, height=740)
    page.size(PHONE, 740, 2, True)
    wide = f"""['html', 'body', '#scroller', '#sidebar', '#chats', '#settings', '#settings .fields']
        .map((name) => document.querySelector(name)).filter((node) => node.scrollWidth > Math.min({PHONE}, node.clientWidth))
        .map((node) => `${{node.tagName}}#${{node.id}} ${{node.scrollWidth}}`)"""
    for text in ("Short.", *texts.documents(), "x" * 3000, "| a | b |\n|---|---|\n| " + "y" * 500 + " | 1 |", "`" + "z" * 900 + "`"):
        page.run("document.querySelector('#new-chat').click()")
        answer_with(page, text)
        ask(page, "w" * 400)
        equal(page.run(wide), [], f"too wide: {text[:60]!r}")
    equal(page.run("document.querySelectorAll('#chats .open').length") > 3, True, "conversations in the list")
    for name in ("sidebar", "settings"):
        page.click(f"#toggle-{name}")
        check(page.run(f"document.querySelector('#{name}').getBoundingClientRect().width") > 250, name, "is not open")
        equal(page.run(wide), [], f"with {name}")
        page.press("Escape")
        check(not page.run(f"document.querySelector('#{name}').offsetParent"), name, "is still open")
    return page


def test_keyboard(browser, url):
    """Tab reaches every control that is to be seen, and shows where it is; each has a name."""
    page = open_page(browser, url)
    answer_with(page, "Text.\n\n```c\nint x;\n```\n\n[link](https://example.org/)")
    ask(page, "Question")
    page.click("#toggle-settings")
    page.run("document.querySelector('.skip').focus()")
    reached = set()
    for step in range(80):
        page.press("Tab", modifiers=8 if step == 0 else 0)  # out at the top, and in again
        if step == 0:
            continue
        place = page.run("""(() => { const node = document.activeElement; if (node === document.body) return null;
            const style = getComputedStyle(node), box = node.getBoundingClientRect();
            window.order ??= new Map(); if (!order.has(node)) order.set(node, order.size);
            const around = node.id === 'input' ? getComputedStyle(node.parentElement).borderColor : '';
            return {key: order.get(node), seen: box.width > 0 && (style.outlineStyle !== 'none' || around !== ''), html: node.outerHTML.slice(0, 120)}; })()""")
        if place is None or place["key"] in reached:
            break
        check(place["seen"], "focus cannot be seen:", place["html"])
        reached.add(place["key"])
    missed = page.run("""[...document.querySelectorAll('a[href], button, input, select, textarea, [tabindex="0"]')]
        .filter((node) => node.offsetParent && !node.disabled && !order.has(node)).map((node) => node.outerHTML.slice(0, 120))""")
    equal(missed, [], "not reached with Tab")
    page.call("Accessibility.enable")
    for node in page.call("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if role in ("button", "textbox", "spinbutton", "slider", "combobox", "link", "meter", "dialog") and not node.get("ignored"):
            check(node.get("name", {}).get("value"), "no name:", role, node.get("properties"))
    page.run("document.activeElement.blur()")
    page.press("/")
    equal(page.run("document.activeElement.id"), "input", "the key /")
    return page


def main():
    arguments = sys.argv[1:]
    url = None
    if len(arguments) > 1 and arguments[0] == "--url":
        url, arguments = arguments[1], arguments[2:]
    command = cdp.find_browser()
    if not command:
        print("skipped: there is no Chromium (the package chromium; or name one in $CHROMIUM)")
        return 77
    tests = {name: function for name, function in globals().items() if name.startswith("test_")}
    chosen = arguments or list(tests)
    server = None if url else Server()
    url = url or server.url
    browser = cdp.Browser(command)
    failed = 0
    try:
        for name in chosen:
            begin = time.monotonic()
            try:
                page = tests[name](browser, url)
                if page:
                    origin = page.run("location.origin") + "/"
                    foreign = [request for request in page.requests if not request.startswith(origin)]
                    equal(foreign, [], "requests to others")
                    equal(page.problems, [], "errors in the page")
                    page.close()
                print(f"ok      {name} ({time.monotonic() - begin:.1f} s)")
            except (Wrong, cdp.Failure, OSError) as error:
                failed += 1
                print(f"FAILED  {name}: {error}")
            sys.stdout.flush()
    finally:
        browser.close()
        if server:
            server.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
