/* SPDX-License-Identifier: Apache-2.0 */
/* The page's style sheet: light and dark, from 320 pixels up, and on paper. */
#include "page.h"

/* A rule may go over several lines, which the linter takes for a missing comma. */
/* clang-format off */
/* NOLINTBEGIN(bugprone-suspicious-missing-comma) */
const char *const page_style[] = {
    ":root{color-scheme:light dark;--page:#f4f5f7;--card:#fff;--ink:#1b2129;--soft:#525c69;--line:#d5dae1;"
    "--good:#1a6b3c;--good-back:#e4f3e9;--warn:#7a4a00;--warn-back:#fdf1d8;--bad:#a01c24;--bad-back:#fce8e8;"
    "--copy:#2563b8;--verify:#b3661b;--code:#eef0f3}\n",
    "@media(prefers-color-scheme:dark){:root{--page:#14181d;--card:#1d232a;--ink:#e6eaef;--soft:#a3aebb;--line:#38414c;"
    "--good:#7fd6a0;--good-back:#16301f;--warn:#f2c36b;--warn-back:#35290f;--bad:#ff9b9b;--bad-back:#3d1a1c;"
    "--copy:#6aa5f5;--verify:#e59a4d;--code:#2a323b}}\n",
    "*{box-sizing:border-box}\n",
    "body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,'Segoe UI',Roboto,'DejaVu Sans',"
    "sans-serif}\n",
    "header,main,footer{max-width:66rem;margin:0 auto;padding:1rem}\n",
    "header{padding-top:2rem;padding-bottom:0}main{padding-top:0}\n",
    "h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0 .6rem;overflow-wrap:anywhere}\n",
    "h2{font-size:1.35rem;line-height:1.25;margin:1.6rem 0 .8rem;overflow-wrap:anywhere}\n",
    "h3{font-size:1.08rem;margin:0 0 .6rem}\n",
    "p{margin:.4rem 0 .8rem;max-width:46rem}\n",
    ".kicker{color:var(--soft);margin:0;font-size:.9rem}\n",
    ".soft{color:var(--soft)}\n",
    ".card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1.1rem 1.2rem;"
    "margin:0 0 1rem}\n",
    ".verdict{border-left:.45rem solid;border-radius:.4rem;padding:.9rem 1.1rem;margin:0 0 1rem}\n",
    ".verdict p{margin:0;max-width:none}\n",
    ".verdict .mark{font-weight:700;margin-right:.4rem}\n",
    ".verdict strong{font-size:1.08rem}\n",
    ".good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}\n",
    ".verdict.good{background:var(--good-back)}.verdict.warn{background:var(--warn-back)}"
    ".verdict.bad{background:var(--bad-back)}\n",
    ".sides{display:grid;grid-template-columns:1fr 2.5rem 1fr;margin:0 0 1rem;align-items:stretch}\n",
    ".sides .card{margin:0;min-width:0}\n",
    ".arrow{display:flex;align-items:center;justify-content:center;font-size:1.6rem;color:var(--soft)}\n",
    ".sides h4{margin:0 0 .7rem;font-size:1.08rem}\n",
    ".sides h4 span{display:block;font-weight:400;font-size:.85rem;color:var(--soft)}\n",
    "dl{margin:0;display:grid;grid-template-columns:minmax(7rem,10rem) 1fr;gap:.35rem 1rem}\n",
    "dt{color:var(--soft)}\n",
    "dd{margin:0;overflow-wrap:anywhere}\n",
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1rem;margin:0 0 1rem}\n",
    ".tiles .card{margin:0}\n",
    ".tiles b{display:block;font-size:1.4rem;line-height:1.25;font-variant-numeric:tabular-nums}\n",
    ".tiles span{color:var(--soft);font-size:.9rem}\n",
    "code,.code{font:.92em/1.45 ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;overflow-wrap:anywhere}\n",
    "code{background:var(--code);padding:.08em .3em;border-radius:.25em}\n",
    "pre{background:var(--code);padding:.7rem .9rem;border-radius:.4rem;overflow-x:auto;margin:.4rem 0 .8rem;"
    "white-space:pre-wrap}\n",
    "pre code{padding:0}\n",
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n",
    "caption{text-align:left;color:var(--soft);padding:0 0 .4rem;font-size:.92rem}\n",
    "th,td{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;border-top:1px solid var(--line)}\n",
    "thead th{border-top:0;color:var(--soft);font-weight:600;font-size:.88rem}\n",
    "tbody th{font-weight:600}\n",
    "td:last-child,th:last-child{padding-right:0}\n",
    ".number{text-align:right;white-space:nowrap}\n",
    ".nowrap{white-space:nowrap}\n",
    "td{overflow-wrap:anywhere}\n",
    "ul{margin:.2rem 0 .4rem;padding-left:1.2rem;max-width:50rem}\n",
    "li{margin:.3rem 0}\n",
    "figure{margin:0}\n",
    "figure+figure,figure+table{margin-top:1.2rem}\n",
    "figcaption{color:var(--soft);font-size:.92rem;margin:0 0 .5rem;max-width:46rem}\n",
    "svg{display:block;width:100%;overflow:visible}\n",
    "svg text{fill:var(--ink);font-size:13px}\n",
    "svg .axis{fill:var(--soft);font-size:12px;paint-order:stroke;stroke:var(--card);stroke-width:4px;"
    "stroke-linejoin:round}\n",
    "svg .grid{stroke:var(--line);stroke-width:1}\n",
    "svg .track{fill:var(--code)}\n",
    "svg .idle{fill:var(--line);opacity:.55}\n",
    "svg .bar{stroke-width:2}\n",
    "svg .done{fill:var(--copy);stroke:var(--copy)}\n",
    "svg .failed{fill:var(--bad);stroke:var(--bad)}\n",
    "svg .interrupted{fill:var(--card);stroke:var(--warn);stroke-dasharray:4 3}\n",
    "svg .running{fill:var(--good);stroke:var(--good)}\n",
    "svg .undone{fill:var(--soft);stroke:var(--soft)}\n",
    "svg .copy{fill:var(--copy)}svg .verify{fill:var(--verify)}\n",
    "svg .mean{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:6 4}\n",
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;margin:.5rem 0 0;font-size:.9rem}\n",
    ".legend li{display:flex;align-items:center;gap:.45rem;margin:0}\n",
    ".legend svg{width:1.3rem;flex:none;overflow:visible}\n",
    "footer{color:var(--soft);font-size:.9rem;padding-bottom:3rem}\n",
    "a{color:var(--copy)}\n",
    "@media(max-width:44rem){.sides{grid-template-columns:1fr}.arrow{transform:rotate(90deg);height:2.4rem}"
    ".card{padding:.9rem}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}.tiles{gap:.6rem;"
    "grid-template-columns:1fr 1fr}.tiles b{font-size:1.15rem}"
    ".stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}"
    ".stack tr{display:block;border-top:1px solid var(--line);padding:.5rem 0}"
    ".stack th,.stack td{display:block;border:0;padding:.05rem 0;text-align:left}"
    ".stack td:empty{display:none}.stack td[data-label]:before{content:attr(data-label) ': ';color:var(--soft);font-family:system-ui,'DejaVu Sans',sans-serif}}\n",
    "@media print{:root{color-scheme:light;--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#bbb;--good:#1a6b3c;"
    "--good-back:#fff;--warn:#7a4a00;--warn-back:#fff;--bad:#a01c24;--bad-back:#fff;--copy:#2563b8;--verify:#b3661b;"
    "--code:#f0f0f0}body{font-size:10.5pt}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
    "header,main,footer{max-width:none;padding:0}.card,.verdict,figure,tr{break-inside:avoid}"
    "h2,h3{break-after:avoid}}\n",
    NULL,
};
/* NOLINTEND(bugprone-suspicious-missing-comma) */
/* clang-format on */
