"""Charts as inline SVG: lines with error bars, and horizontal bars. No scripts; values show as tooltips."""

import html
import math

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 48
COLORS = ("#2563b8", "#d9480f", "#15803d", "#a21caf", "#64748b", "#0891b2", "#ca8a04", "#be123c", "#475569", "#4d7c0f")


def color(i):
    return COLORS[i % len(COLORS)]


def number(value):
    """Short: '12', '0.25', '1.5 k', '2.1 M'."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == ' k' else size):.4g}{unit}"
    return f"{value:.4g}"


def ticks(low, high, logarithmic=False, target=6):
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = [m * 10.0**e for e in range(first, last + 1) for m in ((1, 2, 5) if last - first <= 3 else (1,))]
        return [t for t in every if low * 0.999 <= t <= high * 1.001] or [low, high]
    step = 10.0 ** math.floor(math.log10((high - low) / target))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= target)
    first = math.floor(low / step + 1e-9)
    return [i * step for i in range(first, math.ceil(high / step - 1e-9) + 1)]


def text(x, y, content, anchor="middle", css="tick"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{html.escape(str(content))}</text>'


def _open(title, label, height):
    return (f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title, quote=True)}">'
            f'<text x="16" y="22"><tspan class="title">{html.escape(title)}</tspan><tspan dx="10" class="label">{html.escape(label)}</tspan></text>')


def lines(title, x_label, y_label, series, references=(), log_x=False, log_y=False, x_ticks=None, from_zero=False):
    """series: [(name, [(x, y, error or None)])]; references: [(name, y)], dashed. '' where there is nothing to draw."""
    usable = lambda p: all(math.isfinite(v) for v in p[:2]) and (not log_x or p[0] > 0) and (not log_y or p[1] > 0)
    series = [(name, sorted(p for p in points if usable(p))) for name, points in series]
    points = [p for _, ps in series for p in ps]
    if not points:
        return ""
    xs = [p[0] for p in points]
    ys = [y for p in points for y in ((p[1] - (p[2] or 0), p[1] + (p[2] or 0)) if not log_y else (p[1],))] + [y for _, y in references]
    if from_zero and not log_y:
        ys.append(0.0)

    def axis(values, logarithmic, given=None):
        low, high = min(values), max(values)
        if low == high:
            low, high = (low / 1.5, high * 1.5) if logarithmic else (low - abs(low) * 0.05 - 1e-9, high + abs(high) * 0.05 + 1e-9)
        marks = given or ticks(low, high, logarithmic)
        low, high = min(low, marks[0]), max(high, marks[-1])
        if logarithmic:
            return marks, lambda v: (math.log(v) - math.log(low)) / (math.log(high) - math.log(low))
        return marks, lambda v: (v - low) / (high - low)
    x_marks, x_share = axis(xs, log_x, x_ticks)
    y_marks, y_share = axis(ys, log_y)
    at_x = lambda v: LEFT + x_share(v) * (WIDTH - LEFT - RIGHT)
    at_y = lambda v: HEIGHT - BOTTOM - y_share(v) * (HEIGHT - TOP - BOTTOM)
    out = [_open(title, y_label, HEIGHT)]
    for mark in y_marks:
        out.append(f'<line x1="{LEFT}" y1="{at_y(mark):.1f}" x2="{WIDTH - RIGHT}" y2="{at_y(mark):.1f}" class="grid"/>')
        out.append(text(LEFT - 8, at_y(mark) + 4, number(round(mark, 10)), "end"))
    for mark in x_marks:
        out.append(text(at_x(mark), HEIGHT - BOTTOM + 18, number(round(mark, 10))))
    out.append(f'<line x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}" class="axis"/>')
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label))
    for name, y in references:
        out.append(f'<line x1="{LEFT}" y1="{at_y(y):.1f}" x2="{WIDTH - RIGHT}" y2="{at_y(y):.1f}" class="reference"/>')
        out.append(text(WIDTH - RIGHT, at_y(y) - 5, name, "end"))
    for i, (name, ps) in enumerate(series):
        path = " ".join(f"{'L' if j else 'M'}{at_x(p[0]):.1f} {at_y(p[1]):.1f}" for j, p in enumerate(ps))
        out.append(f'<path d="{path}" fill="none" stroke="{color(i)}" stroke-width="2"/>')
        for x, y, error in ps:
            if error and not log_y:
                out.append(f'<line x1="{at_x(x):.1f}" y1="{at_y(y - error):.1f}" x2="{at_x(x):.1f}" y2="{at_y(y + error):.1f}" '
                           f'stroke="{color(i)}" stroke-width="1.5"/>')
            out.append(f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3.5" fill="{color(i)}"><title>'
                       f"{html.escape(name)}: {number(x)}, {number(y)}{f' ± {number(error)}' if error else ''}</title></circle>")
    return "".join(out) + "</svg>"


def bars(title, label, items, log=False):
    """items: [(name, value, group index)], horizontal bars with their values; '' where there is nothing to draw."""
    items = [item for item in items if item[1] is not None and math.isfinite(item[1]) and item[1] > 0]
    if not items:
        return ""
    name_width, row, top = 270, 24, 40
    height = top + row * len(items) + 12
    high = max(v for _, v, _ in items)
    low = min(v for _, v, _ in items) / 2 if log else 0
    share = (lambda v: math.log(v / low) / math.log(high / low)) if log else (lambda v: v / high)
    out = [_open(title, label + (", logarithmic" if log else ""), height)]
    for i, (name, value, group) in enumerate(items):
        y, width = top + row * i, share(value) * (WIDTH - name_width - 90)
        out.append(text(name_width - 8, y + 15, name if len(name) <= 42 else name[:41] + "…", "end"))
        out.append(f'<rect x="{name_width}" y="{y + 4}" width="{width:.1f}" height="{row - 8}" rx="2" fill="{color(group)}">'
                   f"<title>{html.escape(name)}: {number(value)}</title></rect>")
        out.append(text(name_width + width + 6, y + 15, number(value), "start"))
    return "".join(out) + "</svg>"


def legend(names):
    spans = "".join(f'<span><i style="background:{color(i)}"></i>{html.escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend">{spans}</p>'
