#include "train/report_page.h"

#include "train/chart.h"

namespace lacuna {
namespace {

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2126; --soft: #5f6b76; --line: #e3e7eb; --axis: #9aa5af; --tint: #f6f8fa;
        --accent: #2563b8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16191d; --ink: #e6eaee; --soft: #a3aeb8; --line: #30363d; --axis: #6b7680; --tint: #1e2329; --accent: #5b93dd; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1480px; padding: 40px 32px 64px; color: var(--ink); background: var(--paper);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 40px 0 12px; }
.subtitle { color: var(--soft); margin: 6px 0 24px; }
.results { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 20px; }
.result { border: 1px solid var(--line); border-radius: 8px; padding: 12px 18px; min-width: 150px; }
.result b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.result span { color: var(--soft); font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 20px; margin: 0; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.charts { display: grid; align-items: start; grid-template-columns: repeat(auto-fit, minmax(min(560px, 100%), 1fr)); gap: 16px; }
.charts + .charts { margin-top: 16px; }
.chart { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--paper); }
.chart text, .chart tspan { font-family: inherit; fill: var(--soft); font-size: 12px; }
.chart .title { fill: var(--ink); font-size: 14px; font-weight: 600; }
.chart .tick { font-variant-numeric: tabular-nums; font-size: 11.5px; }
.chart .grid { stroke: var(--line); } .chart .axis { stroke: var(--axis); }
.chart .threshold { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; } .chart .reference { stroke: var(--soft); stroke-dasharray: 6 4; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(400px, 100%), 1fr)); gap: 12px; }
.panels .title { font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 8px 0 12px; font-size: 14px; }
.legend i { display: inline-block; width: 16px; height: 4px; border-radius: 2px; margin-right: 7px; vertical-align: middle; }
.note { color: var(--soft); font-size: 14px; max-width: 75ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 12px; white-space: nowrap; }
td { border-bottom: 1px solid var(--line); padding: 5px 12px; white-space: nowrap; }
.n { text-align: right; } tr:hover td { background: var(--tint); } tfoot td { font-weight: 600; border-bottom: 0; }
td code { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.bar { display: inline-block; width: 110px; height: 8px; border-radius: 4px; background: var(--line); margin-right: 10px; overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--accent); }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 8px; padding: 16px; overflow-x: auto;
      font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
summary { cursor: pointer; font-size: 18px; font-weight: 600; margin: 40px 0 12px; }
.none { color: var(--soft); }
a { color: var(--accent); }
@media print { :root { --paper: #fff; --ink: #1c2126; --soft: #5f6b76; --line: #e3e7eb; --axis: #9aa5af; } body { padding: 0; } .chart, tr { break-inside: avoid; } }
)css";

}  // namespace

std::string render_page(const std::string& title, const std::string& subtitle, const std::string& body) {
  const std::string escaped = escape_html(title);
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
         "content=\"width=device-width\">\n<title>" +
         escaped + " - Lacuna</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" + escaped +
         "</h1>\n<p class=\"subtitle\">" + escape_html(subtitle) + "</p>\n" + body + "</body>\n</html>\n";
}

}  // namespace lacuna
