"""A page of results, written twice from the same blocks: Markdown, and one self-contained HTML file."""

import html
import pathlib
import re

NOT_MEASURED = "not measured"  # a cell that a measurement could fill; "-" is for what does not exist or apply
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2126; --soft: #5f6b76; --line: #e3e7eb; --axis: #9aa5af; --tint: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --paper: #16191d; --ink: #e6eaee; --soft: #a3aeb8; --line: #30363d; --axis: #6b7680; --tint: #1e2329; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1400px; padding: 40px 32px 64px; color: var(--ink); background: var(--paper);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
h1 { font-size: 28px; margin: 0 0 12px; } h2 { font-size: 20px; margin: 40px 0 12px; } h3 { font-size: 16px; margin: 24px 0 8px; }
p, li { max-width: 95ch; }
.charts { display: grid; align-items: start; grid-template-columns: repeat(auto-fill, minmax(min(540px, 100%), 1fr)); gap: 16px; }
.chart { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
.chart text, .chart tspan { fill: var(--soft); font-size: 12px; } .chart .title { fill: var(--ink); font-size: 14px; font-weight: 600; }
.chart .grid { stroke: var(--line); } .chart .axis { stroke: var(--axis); } .chart .reference { stroke: var(--soft); stroke-dasharray: 6 4; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; } .legend i { display: inline-block; width: 16px; height: 4px; margin-right: 7px; vertical-align: middle; }
.scroll { overflow-x: auto; margin: 12px 0; } table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); border-bottom: 2px solid var(--line); padding: 5px 12px; }
td { border-bottom: 1px solid var(--line); padding: 4px 12px; } th.n, td.n { text-align: right; }
code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; background: var(--tint); }
"""


def inline(text):
    """Markdown's `code`, **strong** and [links](...) inside a line, as HTML."""
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r'<a href="\2">\1</a>', text)


class Page:
    def __init__(self, title):
        self.title, self.blocks = title, []

    def heading(self, text, level=2):
        self.blocks.append(("heading", level, text))

    def text(self, *paragraphs):
        """Paragraphs; one that begins with '- ' is an item of a list."""
        self.blocks += [("text", p) for p in paragraphs if p]

    def table(self, header, rows, left=1):
        """Cells are texts; the first `left` columns are flush left, the others right."""
        self.blocks.append(("table", [str(c) for c in header], [[str(c) for c in row] for row in rows], left))

    def charts(self, svgs, names=()):
        """SVG charts with a legend of series' names; in HTML alone."""
        svgs = [svg for svg in svgs if svg]
        if svgs:
            self.blocks.append(("charts", svgs, tuple(names)))

    def markdown(self):
        out = [f"# {self.title}", ""]
        for i, block in enumerate(self.blocks):
            if block[0] == "heading":
                out += ["#" * block[1] + " " + block[2], ""]
            elif block[0] == "text":
                item = block[1].startswith("- ")
                follows = item and i + 1 < len(self.blocks) and self.blocks[i + 1][0] == "text" and self.blocks[i + 1][1].startswith("- ")
                out += [block[1]] + ([] if follows else [""])
            elif block[0] == "table":
                _, header, rows, left = block
                out.append("| " + " | ".join(header) + " |")
                out.append("|" + "|".join("---" if i < left else "---:" for i in range(len(header))) + "|")
                out += ["| " + " | ".join(row) + " |" for row in rows] + [""]
        return "\n".join(out).rstrip() + "\n"

    def html(self):
        from common.charts import legend
        out, listed = [], False
        for block in self.blocks:
            item = block[0] == "text" and block[1].startswith("- ")
            if item != listed:
                out.append("<ul>" if item else "</ul>")
                listed = item
            if block[0] == "heading":
                out.append(f"<h{block[1]}>{inline(block[2])}</h{block[1]}>")
            elif item:
                out.append(f"<li>{inline(block[1][2:])}</li>")
            elif block[0] == "text":
                out.append(f"<p>{inline(block[1])}</p>")
            elif block[0] == "charts":
                out.append((legend(block[2]) if block[2] else "") + '<div class="charts">' + "".join(block[1]) + "</div>")
            else:
                _, header, rows, left = block
                cells = lambda tag, row: "".join(f'<{tag}{"" if i < left else " class=n"}>{inline(c)}</{tag}>' for i, c in enumerate(row))
                out.append(f'<div class="scroll"><table><thead><tr>{cells("th", header)}</tr></thead><tbody>'
                           + "".join(f"<tr>{cells('td', row)}</tr>" for row in rows) + "</tbody></table></div>")
        if listed:
            out.append("</ul>")
        title = html.escape(self.title)
        return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
                f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n" + "\n".join(out) + "\n</body>\n</html>\n")

    def notes(self, path):
        """The paragraphs of a Markdown file, where there is one: what a person has to say about the results."""
        path = pathlib.Path(path)
        if not path.is_file():
            return
        for block in re.split(r"\n\s*\n", path.read_text().strip()):
            if block.startswith("#"):
                marks, text = block.split(" ", 1)
                self.heading(text.strip(), min(len(marks), 3))
            elif block.startswith("|"):
                header, _, *rows = ([c.strip() for c in line.strip().strip("|").split("|")] for line in block.splitlines())
                self.table(header, rows)
            elif block.startswith("- "):
                self.text(*("- " + " ".join(item.split()) for item in re.split(r"(?:^|\n)- ", block)[1:]))
            else:
                self.text(" ".join(block.split()))

    def write(self, directory, stem_markdown="results.md"):
        """Writes results.md and report.html; returns the Markdown's path."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.html").write_text(self.html())
        (directory / stem_markdown).write_text(self.markdown())
        return directory / stem_markdown
