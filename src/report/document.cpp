// The document around the sections, and its style sheet: one column on a phone, room to breathe on
// a desk, dark where the reader's system is, and paper.
#include <fmt/format.h>

#include <cmath>

#include "report/html.h"
#include "report/page.h"

namespace lockstep::report {

// The palette is that of M. Okabe and K. Ito, "Color universal design" (2002), which people with
// any common colour vision can tell apart; light and dark pages take it in another order.
std::string_view style_sheet() {
  return R"css(
:root { color-scheme: light dark;
  --paper: #fff; --ink: #16191d; --ink-2: #565d66; --line: #dfe3e8; --wash: #f5f7f9; --mark: #7a828c;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #e69f00; --c5: #56b4e9; --c6: #000;
  --wrong: 213 94 0; --right: 0 114 178; --note: #fdf3df; --note-line: #e69f00; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --ink: #e9ecef; --ink-2: #a3abb5; --line: #30363d; --wash: #1c2127; --mark: #8c95a0;
  --c0: #56b4e9; --c1: #e8762a; --c2: #12b487; --c3: #cc79a7; --c4: #e69f00; --c5: #4d94d8; --c6: #f0e442;
  --wrong: 232 110 30; --right: 86 180 233; --note: #2b2415; } }
@media print { :root { color-scheme: light;
  --paper: #fff; --ink: #000; --ink-2: #444; --line: #ccc; --wash: #f5f7f9; --mark: #666;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #e69f00; --c5: #56b4e9; --c6: #000;
  --wrong: 213 94 0; --right: 0 114 178; --note: #fff; } }
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
body { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; overflow-wrap: anywhere; }
h1, h2, h3, p, dl, dd, ol, ul, figure { margin: 0; padding: 0; }
h1 { font-size: 2.25rem; line-height: 1.15; letter-spacing: -.02em; font-weight: 700; margin: 4px 0 6px; }
h2 { font-size: 1.375rem; line-height: 1.25; letter-spacing: -.01em; margin: 0 0 8px; }
h3 { font-size: 1rem; margin: 0 0 6px; }
section { margin-top: 56px; }
section > p { max-width: 46em; margin-bottom: 16px; color: var(--ink-2); }
section > p b { color: var(--ink); }
.eyebrow { color: var(--ink-2); font-size: .875rem; }
.state { display: inline-block; margin-left: 6px; padding: 0 9px; border-radius: 10px;
  border: 1px solid var(--k); color: var(--ink); font-size: .8125rem; }
.state::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 50%; background: var(--k);
  margin-right: 7px; }
.state.done { --k: var(--c2); } .state.running { --k: var(--c0); } .state.stopped { --k: var(--c1); }
.facts, .quiet, .remark { color: var(--ink-2); font-size: .875rem; }
.lead { font-size: 1.25rem; line-height: 1.4; margin-top: 16px; max-width: 34em; }
.note { border-left: 4px solid var(--note-line); background: var(--note); padding: 8px 14px; margin: 16px 0;
  font-size: .9375rem; color: var(--ink); max-width: none; }
.tiles { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 1px; margin-top: 28px;
  background: var(--line); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.tiles > div { background: var(--paper); padding: 14px 16px 12px; }
.tiles dt { color: var(--ink-2); font-size: .875rem; }
.tiles dd:nth-of-type(1) { font-size: 1.625rem; line-height: 1.3; font-weight: 600; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; }
.tiles .remark { line-height: 1.35; font-size: .8125rem; }
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 32px 40px; }
.beside { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 24px 40px; align-items: start; }
figure { min-width: 0; break-inside: avoid; }
figcaption { font-weight: 600; }
figure svg { display: block; width: 100%; height: auto; color: var(--ink-2); margin-top: 4px;
  font-family: inherit; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: .8125rem; color: var(--ink-2); min-height: 1.25rem; }
.legend i { display: inline-block; width: 18px; height: 0; margin-right: 6px; vertical-align: middle;
  border-top: 3px solid var(--k); }
.legend i.box { width: 11px; height: 11px; border: 0; background: var(--k); vertical-align: -1px; }
.legend i.again { border-top-style: dashed; } .legend i.pale { opacity: .5; } .legend i.faint { border-top-width: 2px; opacity: .5; } .legend i.dotted { border-top: 2px dashed var(--k); }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 7px; background: var(--k); border-radius: 2px; }
.swatch.again { background: none; border: 3px solid var(--k); }
.scroll { overflow-x: auto; margin-top: 8px; }
.figures + .scroll { margin-top: 28px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--ink-2); padding-top: 10px; font-size: .875rem; }
th { font-weight: 600; text-align: left; }
td, th { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: normal; }
thead th { color: var(--ink-2); vertical-align: bottom; border-bottom: 1px solid var(--mark); font-weight: 500; }
.numbers td, .numbers th { text-align: right; white-space: nowrap; }
.numbers th:first-child { text-align: left; } .numbers { width: 100%; }
.numbers thead th { white-space: normal; min-width: 4.2em; }
.numbers td:last-child, .numbers th:last-child { padding-right: 2px; }
.numbers tbody th { font-weight: 500; } .numbers b { font-size: .75rem; font-weight: 600; margin-left: 4px; }
.compared td, .compared th { min-width: 8em; max-width: 24em; } .compared td { padding-right: 24px; }
.compared small { display: block; color: var(--ink-2); }
.compared.words td { overflow-wrap: anywhere; }
.confusion { table-layout: fixed; width: 100%; max-width: 680px; text-align: center; }
.confusion td, .confusion th { padding: 4px 0; text-align: center; border: 1px solid var(--paper); vertical-align: middle; line-height: 1.2; }
.confusion thead th { border-bottom-color: var(--paper); }
.confusion tbody th, .confusion thead th { color: var(--ink-2); font-weight: 600; }
.confusion thead th:first-child { width: 26px; }
.confusion td { height: 44px; background: var(--wash); border-radius: 4px; }
.confusion .right { background: rgb(var(--right) / .2); font-weight: 600; }
.confusion .wrong { background: rgb(var(--wrong) / calc(.1 + .55 * var(--shade))); }
.confusion small { display: block; font-size: .6875rem; font-weight: 400; opacity: .85; }
.nothing { color: var(--mark); opacity: .6; }
.mistakes { list-style: none; display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 20px 16px; }
.mistakes li { min-width: 0; break-inside: avoid; }
.mistakes img { display: block; width: 100%; max-width: 168px; height: auto; image-rendering: pixelated; border-radius: 4px;
  background: #000; }
.mistakes dl { margin-top: 6px; max-width: 168px; font-size: .875rem; line-height: 1.45; }
.mistakes dl div { display: flex; justify-content: space-between; gap: 6px; }
.mistakes dd { font-variant-numeric: tabular-nums; white-space: nowrap; }
.mistakes b { font-size: 1rem; } .mistakes .quiet { font-size: .75rem; }
.decisions { list-style: none; border-left: 2px solid var(--line); padding-left: 16px; max-width: 46em; }
.decisions li { padding: 2px 0; } .decisions .changed { font-weight: 600; } .decisions .quiet { font-weight: 400; white-space: nowrap; }
.decisions .best::before, .decisions .changed::before { content: ""; display: inline-block; width: 8px; height: 8px;
  border-radius: 50%; background: var(--c2); margin-left: -21px; margin-right: 13px; vertical-align: 1px; }
.decisions .changed::before { background: var(--c1); }
.groups { columns: 3 300px; column-gap: 40px; } .group { break-inside: avoid; margin-bottom: 24px; }
.pairs { font-size: .875rem; } .pairs > div { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 12px;
  padding: 3px 0; border-bottom: 1px solid var(--line); }
.pairs dt { color: var(--ink-2); } .pairs dd { font-variant-numeric: tabular-nums; }
.pairs.wide > div { grid-template-columns: 11em minmax(0, 1fr); }
code { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 64px; padding-top: 12px; border-top: 1px solid var(--line); color: var(--ink-2); font-size: .8125rem; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.scroll:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
@media (max-width: 860px) {
  body { padding: 24px 16px 48px; } h1 { font-size: 1.75rem; } section { margin-top: 44px; }
  .lead { font-size: 1.125rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } .tiles > div { padding: 10px 12px; }
  .tiles dd:nth-of-type(1) { font-size: 1.375rem; }
  .tiles > div:last-child:nth-child(odd) { grid-column: span 2; }
  .figures, .beside { grid-template-columns: minmax(0, 1fr); gap: 28px; }
  td, th { padding-right: 10px; }
  .confusion { font-size: .71875rem; } .confusion .right { font-weight: 500; } .confusion thead th:first-child { width: 16px; } .confusion td { height: 38px; }
  .confusion small { font-size: .625rem; }
  .mistakes { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 18px 12px; }
  .mistakes dl, .mistakes b { font-size: .75rem; } .mistakes dl div { gap: 2px; flex-wrap: wrap; }
  .pairs.wide > div { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .groups { columns: 1; }
}
@media (max-width: 360px) {
  .confusion { font-size: .625rem; letter-spacing: -.03em; } .confusion small { font-size: .5625rem; }
}
@media print {
  @page { margin: 14mm; }
  html { font-size: 12px; } body { max-width: none; padding: 0; } section { margin-top: 28px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; } .scroll { overflow: visible; }
  .mistakes { grid-template-columns: repeat(6, minmax(0, 1fr)); }
}
)css";
}

std::string document(const std::string& title, const std::string& body, double refresh_seconds) {
  std::string refresh;
  if (refresh_seconds > 0) {
    refresh = fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n",
                          static_cast<long>(std::ceil(refresh_seconds)));
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      // Not even an icon is asked for.
      "<link rel=\"icon\" href=\"data:,\">\n{}<title>{} · lockstep</title>\n<style>{}</style>\n"
      "</head>\n<body>\n<main>\n{}</main>\n<footer>Every number is that of the run's "
      "metrics.jsonl, decisions.jsonl and predictions, or computed of them; the exact value is in "
      "the element's attribute.</footer>\n</body>\n</html>\n",
      refresh, escape(title), style_sheet(), body);
}

}  // namespace lockstep::report
