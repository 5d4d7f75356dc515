#!/usr/bin/env python3
"""Make the pictures of the web page that docs/ shows: pictures.py FOLDER [URL]. The command is $TERN, as in test_page.py."""

import json
import os
import sys

import cdp
import texts
from fixture import Server, ask, open_page


def fill(page, example):
    """Earlier conversations in the list, and in sight an example or what the model answers now."""
    chats = [{"id": f"{at:016x}", "title": title, "updated": 1, "messages": [{"role": "user", "content": title}]}
             for at, title in enumerate(texts.TITLES)]
    if example:
        chats.append({"id": "0123456789abcdef", **texts.PICTURE})
    for chat in chats:
        page.run(f"localStorage.setItem('tern.chat.{chat['id']}', {json.dumps(json.dumps(chat))})")
    page.run("localStorage.setItem('tern.settings', '{\"seed\": 1, \"temperature\": 0.8, \"max_tokens\": 160}')")
    page.call("Page.reload")
    page.wait("document.querySelector('#model option') && document.querySelector('article')")
    if not example:
        page.run("document.querySelector('#new-chat').click()")
        ask(page, "Tell me a story about a small bird.")
    page.browser.idle(0.5)


def pictures(browser, url, folder):
    for name, dark, width, height, example in (("chat-light", False, 1180, 880, True), ("chat-dark", True, 1180, 880, False),
                                               ("phone-light", False, 390, 780, False), ("phone-dark", True, 390, 780, True)):
        page = open_page(browser, url, width=width, height=height, dark=dark)
        page.size(width, height, 1, width < 500)
        fill(page, example)
        page.screenshot(os.path.join(folder, f"web-{name}.png"))
        page.close()


def main():
    server = Server() if len(sys.argv) < 3 else None
    browser = cdp.Browser(cdp.find_browser())
    try:
        pictures(browser, server.url if server else sys.argv[2], sys.argv[1])
    finally:
        browser.close()
        if server:
            server.close()


if __name__ == "__main__":
    main()
