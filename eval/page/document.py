"""The page around what it tells: its head, its style for light and dark, narrow and wide, paper too."""

from collections.abc import Sequence

from eval.page.text import plain, words

_STYLE = """
:root { color-scheme: light dark;
  --paper: light-dark(#fff, #16181b); --raised: light-dark(#f4f5f6, #1f2226); --line: light-dark(#d9dcdf, #363b41);
  --ink: light-dark(#1a1d20, #e7e9ec); --quiet: light-dark(#565d64, #a4abb3); --mark: light-dark(#1d56b4, #7fb0ff);
  --good: light-dark(#1a7f37, #56d364); --bad: light-dark(#a4262c, #ff9a9f); --soft: light-dark(#fff4d6, #3a3115);
  --c0: light-dark(#1d56b4, #7fb0ff); --c1: light-dark(#b3541e, #f0a06a); --c2: light-dark(#1a7f37, #56d364);
  --c3: light-dark(#8a3ffc, #c19bff); --c4: light-dark(#a4262c, #ff9a9f); --c5: light-dark(#00717a, #4fd1d9);
  font: 15px/1.5 system-ui, sans-serif; background: var(--paper); color: var(--ink); }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .6rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .8rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h4 { font-size: 1rem; font-weight: 600; margin: 0 0 .5rem; }
small, .quiet, figcaption { color: var(--quiet); font-size: .86rem; font-weight: 400; }
p { margin: .5rem 0; } ol, ul { margin: .3rem 0; padding-inline-start: 1.2rem; } figure { margin: 0; }
.notes { background: var(--soft); border-inline-start: 4px solid var(--c1); padding: .6rem 1rem .6rem 2rem;
  border-radius: 6px; }
.scroll { position: relative; overflow: auto; width: fit-content; max-width: 100%; margin: .6rem 0;
  border: 1px solid var(--line); border-radius: 8px; }
.long { max-height: 75vh; }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; padding: 0; } a { color: var(--mark); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { text-align: start; padding: .3rem .7rem; border-top: 1px solid var(--line); overflow-wrap: normal;
  vertical-align: top; }
thead th { background: var(--raised); position: sticky; top: 0; } th { font-weight: 600; }
tbody th { font-weight: 400; }
td { white-space: nowrap; } td, thead th:not(:first-child) { text-align: end; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 1rem; }
.drawn { border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; min-width: 0; }
.chart { display: block; width: 100%; max-width: 540px; height: auto; margin: .5rem auto; }
.chart text { font-size: 11px; fill: var(--quiet); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); stroke-width: .6; fill: none; } .axis { stroke: var(--quiet); fill: none; }
.s0 { --of: var(--c0); } .s1 { --of: var(--c1); } .s2 { --of: var(--c2); } .s3 { --of: var(--c3); }
.s4 { --of: var(--c4); }
.s5 { --of: var(--c5); } svg .right { --of: var(--c0); } svg .wrong { --of: var(--c1); }
.chance { --of: var(--quiet); }
.stroke { stroke: var(--of); stroke-width: 2; fill: none; stroke-linejoin: round; } .fill { fill: var(--of); }
.area { fill-opacity: .22; } .dashed { stroke-dasharray: 7 3; } .fill.dashed { fill-opacity: .5; }
.stroke.chance { stroke-width: 1.3; stroke-dasharray: 3 3; } .wrong.stroke { stroke-dasharray: 5 2; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; font-size: .86rem; }
.legend li { display: flex; gap: .4rem; align-items: baseline; } .swatch { width: 22px; height: 12px; flex: none; }
details { margin: .6rem 0; } summary { cursor: pointer; padding: .35rem 0; font-weight: 600; }
.drawn summary { font-weight: 400; color: var(--quiet); font-size: .86rem; }
article { border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; margin: .6rem 0; }
.strip, .pair { list-style: none; padding: 0; margin: 0; display: grid; gap: .7rem; }
.strip { grid-template-columns: repeat(auto-fill, minmax(min(30%, 150px), 1fr)); }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(45%, 240px), 1fr)); }
.shown img, .none { width: 100%; max-width: 176px; aspect-ratio: 1; border-radius: 6px; background: var(--raised); }
.shown img { object-fit: contain; display: block; } .none { display: grid; place-items: center; text-align: center;
  padding: .4rem; }
.none { font-size: .8rem; color: var(--quiet); }
.shown.right img, .shown.right .none { outline: 3px solid var(--good); }
b { color: var(--good); } li.right q { font-weight: 600; } q { quotes: "\\201c" "\\201d"; }
.beside ol { list-style: none; padding: 0; }
.beside { display: grid; grid-template-columns: minmax(90px, 176px) 1fr; gap: 1rem; }
@media (max-width: 600px) {
  .beside { grid-template-columns: 1fr; } .few td { white-space: normal; } th, td { padding: .3rem .4rem; }
  tbody th { min-width: 6.5rem; }
}
@media print { .scroll { max-height: none; overflow: visible; } article, .drawn { break-inside: avoid; } }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="{mark}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body><header><h1>{heading}</h1>{lead}<nav aria-label="Contents"><ul>{links}</ul></nav></header>
<main>{body}</main></body></html>
"""


def whole(title: str, lead: str, parts: Sequence[tuple[str, str]], creator: str) -> str:
    """The page. lead: HTML above the contents; parts: (heading, HTML); creator: what wrote it, for its metadata."""
    links = "".join(f'<li><a href="#part{number}">{words(name)}</a></li>' for number, (name, _) in enumerate(parts))
    body = "".join(
        f'<section id="part{number}"><h2>{words(name)}</h2>{inside}</section>'
        for number, (name, inside) in enumerate(parts)
    )
    return _PAGE.format(
        mark=plain(creator), title=plain(title), heading=words(title), style=_STYLE, lead=lead, links=links, body=body
    )
