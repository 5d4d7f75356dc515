// Colours for code: comments, strings, numbers and keywords, by one pattern for each family of languages. It need not
// understand a language, only never be wrong about what the text is: the text content is the code itself.

import { el } from "./dom.js";

const LENGTH_MAX = 40000; // longer code stays plain

const words = (text) => new Set(text.split(" "));
const FAMILIES = {
  c: {
    names: words("c h cpp c++ cc hpp cxx java js javascript jsx ts typescript tsx go rust rs cs csharp kotlin kt swift php scala dart zig cuda glsl css scss json jsonc proto"),
    comment: /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y,
    keywords: words("as async await auto bool boolean break case catch char class const continue default defer delete do double else enum export extends extern false final finally float fn for from func function go if impl implements import in inline instanceof int interface let long loop match mod mut namespace new nil null nullptr package private protected pub public range register return self short signed sizeof static struct super switch this throw trait true try type typedef typeof undefined union unsigned use using var virtual void volatile where while yield size_t int32_t uint32_t uint64_t int64_t uint8_t"),
  },
  hash: {
    names: words("python py sh bash zsh shell console ruby rb perl pl yaml yml toml ini make makefile cmake dockerfile r julia jl nginx elixir conf"),
    comment: /#[^\n]*/y,
    keywords: words("and as assert async await begin break case class continue def del do done elif else end esac except export False fi finally for from function global if import in is lambda let local module next nil None nonlocal not or pass raise require rescue return self set then True true false try unless until using when while with yield echo"),
  },
  dash: {
    names: words("sql sqlite postgresql lua haskell hs ada vhdl"),
    comment: /--[^\n]*/y,
    keywords: words("and as asc begin between by case create data delete desc distinct do drop else elseif end exists false from for function group having if import in index inner insert into is join key left let like limit local module nil not null on or order outer primary references repeat return right select set table then true union unique until update values view when where while with"),
    anyCase: true,
  },
  markup: {
    names: words("html xml svg xhtml vue"),
    comment: /<!--[\s\S]*?(?:-->|$)/y,
    keywords: new Set(),
    tag: /<\/?[A-Za-z][\w:-]*|\/?>/y,
  },
};
const STRING = /"""[\s\S]*?(?:"""|$)|"(?:[^"\\\n]|\\[\s\S])*"?|'(?:[^'\\\n]|\\[\s\S])*'|`(?:[^`\\]|\\[\s\S])*`/y;
const NUMBER = /\b(?:0[xXbB][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\w*/y;
const WORD = /[\p{L}_$][\p{L}\p{N}_$]*/uy;

export function highlight(code, language) {
  const fragment = document.createDocumentFragment();
  const family = Object.values(FAMILIES).find(({ names }) => names.has(language.toLowerCase()));
  if (!family || code.length > LENGTH_MAX) {
    fragment.append(code);
    return fragment;
  }
  const kinds = [["comment", family.comment], ["string", STRING], ["tag", family.tag], ["number", NUMBER], ["word", WORD]];
  let plain = "";
  const flush = () => {
    if (plain) fragment.append(plain);
    plain = "";
  };
  for (let at = 0; at < code.length; ) {
    let text = code[at];
    let kind = null;
    for (const [name, pattern] of kinds) {
      if (!pattern) continue;
      pattern.lastIndex = at;
      const match = pattern.exec(code);
      if (!match) continue;
      [text] = match;
      kind = name === "word" ? (family.keywords.has(family.anyCase ? text.toLowerCase() : text) ? "keyword" : null) : name;
      break;
    }
    if (kind) {
      flush();
      fragment.append(el(`span.${kind}`, null, text));
    } else plain += text;
    at += text.length;
  }
  flush();
  return fragment;
}
