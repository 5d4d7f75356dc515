#!/usr/bin/env python3
"""Write tests/data/tokenizer/templates.jsonl: chat templates and what Jinja, set up as Hugging Face's transformers does,
makes of them (needs jinja2).

    python3 tools/make_template_golden.py tests/data/tokenizer/templates.jsonl [SEED COUNT]

Every line: {"template", "messages", "generation_prompt", "text"}, or "error": true where Jinja refuses to render;
"random": true marks generated templates, which may use more of Jinja than tern has.
"""
import json
import random
import sys

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

BITNET = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = message['role'] | "
          "capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}{{ content }}{% endfor %}{% if "
          "add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}")
CHATML = """{% for message in messages %}
    {%- if loop.first and messages[0]['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content | trim }}
    {%- if not loop.last %}{{ '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{# the answer #}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""
LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}
{% else %}{% set system = none %}{% set rest = messages %}{% endif %}
{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{% if m.role == 'user' %}{{ bos_token + '[INST] ' ~ (system if system is not none and loop.first else '') ~ m.content.strip() ~ ' [/INST]' }}
{% elif m.role == 'assistant' %}{{ ' ' ~ m.content | trim ~ ' ' ~ eos_token }}{% else %}?{% endif %}{% endfor %}"""
HAND = [
    BITNET, CHATML, LLAMA2, "", "x\n", "x\n\n", "a\r\nb\rc\r\n", "{{ messages | length }} {{ messages[0].content | length }}",
    "{{ 1 + 2 * 3 - 4 // 3 % 5 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 'a' ~ 1 ~ true ~ none }}",
    "{{ 'a' + 'b' | upper + 'c' }} {{ not 1 == 2 }} {{ 1 < 2 and 'b' > 'a' or false }} {{ 1 == true }} {{ '' or 'x' }}",
    "{{ 'x' if false }}|{{ 'x' if messages else 'y' }}|{{ missing }}|{{ missing is defined }}|{{ missing | default('d') }}",
    "{{ '' | default('d') }}|{{ '' | default('d', true) }}|{{ none is none }}|{{ bos_token is not none }}|{{ 'a' is string }}",
    "{{ 'ab' in 'cabd' }} {{ 'role' in messages[0] }} {{ 'name' in messages[0] }} {{ 2 in [1, 2] }} {{ 'x' not in ['y'] }}",
    "{{ 'caf\\u00e9 \\x41\\t\\'q\\' \\q' }}{{ \"dq \\\" '\" }}{{ 'one ' 'two' }}", "{{ messages[-1].role }}{{ messages[9] is defined }}",
    "{{ 'h\u00e9llo'[1] }}{{ 'h\u00e9llo'[1:3] }}{{ 'h\u00e9llo'[-2:] }}{{ 'h\u00e9llo'[:-2] }}{{ 'hello'[3:1] }}{{ 'hi'[:99] }}",
    "{{ '\u00dfa \u01c6B \ufb01X \u0130I' | capitalize }}|{{ '\u00dfa \u01c6B \ufb01X' | upper }}|{{ '\u0130I\u00c9' | lower }}|{{ '\u01c6' | capitalize }}",
    "{{ '\u2003\x1c x\u00a0y \u3000\n' | trim }}|{{ 5 | trim }}|{{ true | upper }}|{{ missing | trim }}|{{ missing | length }}",
    "{% for m in messages %}{% set seen = m.role %}{% endfor %}{{ seen }}{% set a = 1 %}{% for m in messages %}{{ a }}{% set a = loop.index %}{{ a }}{% endfor %}{{ a }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }} {% endfor %}{% for x in missing %}x{% endfor %}",
    "{% for a in [1, 2] %}{% for b in ['x', 'y'] %}{{ a }}{{ b }}{{ loop.index }} {% endfor %}{{ loop.index }}{% endfor %}",
    "  {% if true %}\n  a\n  {% endif %}\n b {% if true %} c\n{% endif %}\n  {# note #}\n d\n  {{ 1 }}\n\n",
    "  {%+ if true %}\n x{%- endif +%}\n y {%- if true -%}  \n z {{- 1 -}}  \n w{%- endif %}", "{#- a -#} \n b {#+ c #}\n d", "a{{ 1 }}\n  {% if 1 %}b{% endif %}",
    "\n\n{% if 1 %}\n\n x{% endif %}", "\t {% set x = 3 %} \n{{ x }}", "{% if 0 %}a{% elif none %}b{% elif 'x' %}c{% else %}d{% endif %}",
    "{% if not messages %}none{% endif %}{{ [] == [] }}{{ [1, 'a'] == [true, 'a'] }}{{ [1] != [2] }}", "{{ 'a' is defined and missing is undefined }}",
    "{{ raise_exception('no ' ~ messages[0].role) }}", "{{ missing.attribute }}", "{{ 1 + 'a' }}", "{{ 1 // 0 }}", "{{ 'a' < 1 }}", "{{ messages[0].name is defined }}",
    "{{ messages[0]['ro' + 'le'] }}{{ messages[0].role.upper() }}{{ messages[0].role.capitalize() }}{{ ' x '.strip() }}{{ 'ABC'.lower() }}",
    "{{ 1 - -2 }}{{ 1_000 }}", "{{ 'a' if 0 else 'b' if 0 else 'c' }}", "{{ 'a' ~ 'b' + 'c' ~ 'd' }}",
    "{{ messages == messages }}{{ messages[0] == messages[0] }}{{ messages[1:] | length }}{{ messages[:1][0].role }}", "{{ true and 'x' }}{{ false or none }}{{ 0 and 1 }}",
    "{ {{ '{{' }} } {{ '%}' }} }} %}", "{{ -(3) }}", "{{ 3 * 4 }}",
]
CHATS = [
    [], [("user", "Hello!")], [("uSER", "  padded\u00a0\n")], [("system", "Be brief."), ("user", "a\nb"), ("assistant", "<|eot_id|>"), ("user", "\u4f60\u597d {{ 1 }}")],
]


def atom(rng, depth):
    kind = rng.randrange(12)
    if depth <= 0 or kind < 5:
        return rng.choice(["1", "0", "-3", "7", "'a'", "'Ab c '", "''", "true", "false", "none", "missing", "messages", "bos_token",
                           "add_generation_prompt", "messages[0].role", "messages[0]['content']", "messages[-1].content", "'\u00e9 \u00df'", "x", "loop.index"])
    if kind == 5:
        return "(" + expr(rng, depth - 1) + ")"
    if kind == 6:
        return atom(rng, depth - 1) + rng.choice(["|trim", " | upper", "|lower", "|capitalize", "|length", "|default('d')", "|default('d', true)"])
    if kind == 7:
        return atom(rng, depth - 1) + rng.choice([" is defined", " is none", " is not none", " is string", " is not defined"])
    if kind == 8:
        return rng.choice(["'h\u00e9llo'", "messages", "bos_token"]) + rng.choice(["[1:]", "[:1]", "[:-1]", "[0]", "[-1]", "[0:2]"])
    if kind == 9:
        return "[" + ", ".join(expr(rng, depth - 2) for _ in range(rng.randrange(3))) + "]"
    if kind == 10:
        return "not " + atom(rng, depth - 1)
    return "-" + atom(rng, depth - 1)


def expr(rng, depth):
    if depth <= 0 or rng.random() < .3:
        return atom(rng, depth)
    if rng.random() < .1:
        return expr(rng, depth - 1) + " if " + expr(rng, depth - 2) + rng.choice([" else " + expr(rng, depth - 2), ""])
    op = rng.choice(["+", "~", "~", "-", "*", "//", "%", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"])
    left, right = expr(rng, depth - 1), expr(rng, depth - 1)
    if op in ("==", "!=", "<", "<=", ">", ">=", "in", "not in"):
        left, right = "(" + left + ")", "(" + right + ")"
    return left + " " + op + " " + right


def body(rng, depth):
    out = ""
    for _ in range(rng.randrange(1, 5)):
        o, c = rng.choice(["{%", "{%", "{%-", "{%+"]), rng.choice(["%}", "%}", "-%}", "+%}"])
        vo, vc = rng.choice(["{{", "{{-"]), rng.choice(["}}", "-}}"])
        kind = rng.randrange(7) if depth > 0 else rng.randrange(3)
        if kind == 0:
            out += rng.choice(["text", " ", "\n", "  \n ", "\n\n", "\t", "a\n  ", "{", "%}", " }} "])
        elif kind == 1:
            out += vo + " " + expr(rng, 3) + " " + vc
        elif kind == 2:
            out += rng.choice(["{# c #}", "{#- c #}\n", "  {# c -#} \n"])
        elif kind == 3:
            out += "%s set x = %s %s" % (o, expr(rng, 2), c)
        elif kind == 4:
            out += "%s for m in %s %s%s%s endfor %s" % (o, rng.choice(["messages", "messages[1:]", "[1, 'b']", "missing"]), c, body(rng, depth - 1), o, c)
        else:
            out += "%s if %s %s%s" % (o, expr(rng, 2), c, body(rng, depth - 1))
            if rng.random() < .4:
                out += "%s elif %s %s%s" % (o, expr(rng, 2), c, body(rng, depth - 1))
            if rng.random() < .5:
                out += "%s else %s%s" % (o, c, body(rng, depth - 1))
            out += "%s endif %s" % (o, c)
        out += rng.choice(["", "", "\n", " ", "\n  ", "z"])
    return out


def main():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def raise_exception(message):
        raise TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 120
    cases = [(t, c) for t in HAND for c in (CHATS if t in (BITNET, CHATML, LLAMA2) else CHATS[3:])]
    n_hand = len(cases)
    cases += [(body(rng, 2), rng.choice(CHATS[1:])) for _ in range(count)]
    with open(sys.argv[1], "w") as f:
        for i, (template, chat) in enumerate(cases):
            messages = [{"role": r, "content": c} for r, c in chat]
            case = {"template": template, "messages": messages, "generation_prompt": i % 2 == 0}
            try:
                case["text"] = env.from_string(template).render(messages=messages, add_generation_prompt=i % 2 == 0,
                                                                bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")
            except Exception:  # Python's own errors (TypeError, ...) too
                case["error"] = True
            if i >= n_hand:  # mostly type errors, which are dull; and not all is in tern's subset
                case["random"] = True
                if not case.get("text") or len(template) > 500:
                    continue
            f.write(json.dumps(case) + "\n")


main()
