"""Texts for test_page.py: what an answer may look like, at its best and at its worst."""

# Markdown and the HTML that the renderer makes of it.
RENDERED = [
    ("plain & <b>bold</b>", "<p>plain &amp; &lt;b&gt;bold&lt;/b&gt;</p>"),
    ("*a* **b** ***c*** ~~d~~ `e*f*`", "<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em> <del>d</del> <code>e*f*</code></p>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("**open and *nested* here**", "<p><strong>open and <em>nested</em> here</strong></p>"),
    ("**unclosed", "<p>**unclosed</p>"),
    ("*a **b* c**", "<p><em>a <em><em>b</em> c</em></em></p>"),
    ("\\*not\\* \\a", "<p>*not* \\a</p>"),
    ("``a`b`` `` ` ``", "<p><code>a`b</code> <code>`</code></p>"),
    ("one\ntwo", "<p>one<br>two</p>"),
    ("# One\n## Two #\n#no", '<h3 class="h1">One</h3><h4 class="h2">Two</h4><p>#no</p>'),
    ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    ("> quote\n> > inner", "<blockquote><p>quote</p><blockquote><p>inner</p></blockquote></blockquote>"),
    ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    ("1. a\n2. b\n\n   more\n3. c", "<ol><li><p>a</p></li><li><p>b</p><p>more</p></li><li><p>c</p></li></ol>"),
    ("3. three\n4. four", '<ol start="3"><li>three</li><li>four</li></ol>'),
    ("- a\n1. b", "<ul><li>a</li></ul><ol><li>b</li></ol>"),
    ("In\n1984. Not a list", "<p>In<br>1984. Not a list</p>"),
    ("a | b\n:-|-:\n1 | `2`\nx", '<div class="table" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th>a</th>'
     '<th class="at-end">b</th></tr></thead><tbody><tr><td>1</td><td class="at-end"><code>2</code></td></tr></tbody></table>'
     "</div><p>x</p>"),
    ("[a *b*](https://example.org/x?y=1&z=(2)) end", '<p><a href="https://example.org/x?y=1&amp;z=(2)" rel="noopener noreferrer" '
     'target="_blank" title="https://example.org/x?y=1&amp;z=(2)">a <em>b</em></a> end</p>'),
    ("see https://example.org/a_b_c.", '<p>see <a href="https://example.org/a_b_c" rel="noopener noreferrer" target="_blank" '
     'title="https://example.org/a_b_c">https://example.org/a_b_c</a>.</p>'),
    ("[x](javascript:alert(1)) [y](//example.org) [z](/etc) [f](file:///etc/passwd)",
     "<p>[x](javascript:alert(1)) [y](//example.org) [z](/etc) [f](file:///etc/passwd)</p>"),
    ("[not] [a link] (x)", "<p>[not] [a link] (x)</p>"),
    ("", ""),
    (" \n\t\n", ""),
]

CODE = """Look:

```python
def greet(name):  # says "hello"
    return f"<b>{name}</b>" * 2
```

and ``x``, and then

~~~
no language
  ```
~~~

1. step

   ```sh
   make test
   ```
2. next

```html
<script>alert("still code")
"""

MIXED = """## Terns

A *tern* flies **70,000 km** a year; see [this](https://example.org/tern) or https://example.org.

| name | mass |
|:--|--:|
| Arctic tern | 100 g |
| Little tern | 56 g |

> They see more daylight
> than any other animal.

* one
  * two
    * three

      a paragraph
* end

---

Zażółć gęślą jaźń, 鳥, 🐦, e\u0301, \u202eright to left\u202c.
"""


def documents():
    return [CODE, MIXED, MIXED.replace("\n", "\r\n")]


def hostile():
    """Each has to stay text. window.hit would say that one did not."""
    hit = "window.hit=1"
    yield f"<script>{hit}</script>\n\n<img src=x onerror='{hit}'> <svg onload={hit}> <iframe srcdoc='<script>parent.{hit}</script>'></iframe>"
    yield f"**<b onmouseover={hit}>bold</b>** `<script>{hit}</script>`\n\n# <img src=https://example.org/x.png onerror={hit}>"
    yield "\n".join(f"[click]({address})" for address in (
        f"javascript:{hit}", f"JaVaScRiPt:{hit}", f" javascript:{hit}", f"java\tscript:{hit}", f"&#106;avascript:{hit}", f"\\javascript:{hit}",
        f"data:text/html,<script>parent.{hit}</script>", f"vbscript:{hit}", "file:///etc/passwd", "blob:https://example.org/1",
        "//example.org/x", "?x", "#x", f"https://example.org/\"onclick=\"{hit}", f"<javascript:{hit}>", f"<https://example.org/' onclick='{hit}>",
        f"https://example.org 'title\" onclick=\"{hit}'", "http://", "https:example.org", "https://[", "\x01https://example.org"))
    yield "![picture](https://example.org/track.png) ![x](javascript:window.hit=1) [![a](https://example.org/b.png)](https://example.org/c)"
    yield f"<javascript:{hit}> <https://example.org/x\" onclick=\"{hit}> https://example.org/<script>{hit}</script>"
    yield f"```html\n<script>{hit}</script>\n<img src=x onerror={hit}>"
    yield f"```\"onclick=\"{hit}\ncode\n```\n\n```<img/src=x/onerror={hit}>\ncode"
    yield f"| <img src=x onerror={hit}> | b |\n|---|---|\n| <script>{hit}</script> | [x](javascript:{hit}) |"
    yield f"1. <script>{hit}</script>\n   > <img src=x onerror={hit}>\n   > ```\n   > <script>{hit}</script>"
    yield "</article></main><script>window.hit=1</script><style>*{display:none}</style><base href=https://example.org/><meta http-equiv=refresh content=0>"
    yield "<!--><script>window.hit=1</script> ]]><script>window.hit=1</script> \0<scr\0ipt>window.hit=1</scr\0ipt>"
    yield "{{constructor.constructor('window.hit=1')()}} ${window.hit=1} <%= window.hit=1 %>"
    yield "\ufeff\u202e\u2066\ud7ff\ufffe\uffff <b\u2028onclick=window.hit=1>"
    yield "```\n" * 40 + "<script>window.hit=1</script>"
    yield "x" * 100000
    yield "<script>window.hit=1</script>" * 3500
    yield "*a `b` [c](https://example.org/) " * 3000
    yield " "


# (text, how often it is repeated): some 10 to 100 kB each
PATHOLOGICAL = [
    ("*", 100000), ("**a ", 8333), ("*a **b ", 7500), ("a* ", 11000), ("*a_ ", 8333), ("_a*~~", 6666), ("*a* ", 8333),
    ("[", 100000), ("]", 100000), ("[](", 11000), ("[a](b", 6666), ("![", 50000), ("[a](<b", 8000), ("[a](https://x.y ", 6000),
    ("`", 100000), ("`a``b```c", 5500), ("` `` ", 6666), ("\\", 100000), ("<", 100000), ("https://", 6250), ("<https://", 5500),
    ("> ", 50000), (">", 100000), ("- ", 50000), ("- a\n", 8333), ("- a\n\n", 6666), ("1. ", 11000), ("  - a\n", 8000),
    ("\n", 100000), ("- a" + "\n" * 1000 + "  b\n", 100), ("|", 100000), ("|a|b|\n|-|-|\n", 7000), ("a | ", 8333), ("-|", 50000),
    ("# ", 50000), ("#" + " " * 1000 + "x", 100), ("```\n", 8333), ("~~~a\n", 6666), ("- - ", 8333), ("* *\n", 8333),
    (" " * 1000 + "a", 100), ("\t", 100000), ("a\r\n", 11000), ("***a***", 7000), ("\u0301", 100000), ("```c\n" + "'/*\"" * 9000, 1),
    ("> - ", 8333), ("| `a\\| |", 6000), ("(", 100000), ("https://a" + ")" * 900, 110),
]

# Text against its background, as the page shows it now: what has less than 4.5 to 1 (WCAG 2.2, 1.4.3).
CONTRAST = """(() => {
    const style = getComputedStyle(document.documentElement);
    const luminance = (name) => { const hex = style.getPropertyValue(name).trim();
        const part = (i) => { const c = parseInt(hex.slice(i, i + 2), 16) / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
        return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5); };
    const pairs = [];
    for (const ground of ['--paper', '--ground', '--raised', '--tint', '--code']) for (const ink of ['--ink', '--soft']) pairs.push([ink, ground]);
    for (const ink of ['--keyword', '--string', '--literal']) pairs.push([ink, '--code']);
    pairs.push(['--accent', '--paper'], ['--on-accent', '--accent'], ['--ink', '--wash'], ['--paper', '--ink']);
    return pairs.map(([ink, ground]) => { const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x);
        return [ink, ground, Math.round(10 * (a + 0.05) / (b + 0.05)) / 10]; }).filter(([, , ratio]) => !(ratio >= 4.5)); })()"""

# For pictures.py: an example of what answers may look like; no model said it, so it has no figures.
PICTURE = {
    "title": "What is a ternary weight?", "updated": 4e12,
    "messages": [
        {"role": "user", "content": "Why can a ternary weight be multiplied so cheaply?"},
        {"role": "assistant", "content": """\
A ternary weight is one of **−1, 0 and +1**, so a product is no multiplication at all: *add, skip* or *subtract*.

```c
int32_t dot_ternary(const int8_t *w, const int8_t *x, size_t n) {
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += w[i] * x[i]; // w is -1, 0 or +1: exact in any order
    return sum;
}
```

Two things follow:

1. **Few bytes.** Three weights fit into 5 bits, since 3³ = 27 ≤ 32.
2. **Exact sums.** Integers do not round, so the number of `threads` changes nothing.

| form | bits a weight |
|---|---:|
| fp16 | 16.00 |
| int8 | 8.00 |
| ternary, three in five bits | 1.67 |
"""},
    ],
}
TITLES = ["A story about a small bird", "Rename files in a shell loop", "Haiku about the sea", "Explain this build log"]
