"""Plain pictures as SVG text, so that a plot needs no library."""

import math
from xml.sax.saxutils import escape

FONT = 'font-family="sans-serif" font-size="12"'


def text(x, y, words, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {more}>{escape(words)}</text>'


def bars(title, groups, low, high):
    """Groups of horizontal bars from `low` to `high`: (heading, goal, [(name, value, deviation or None,
    is_ours)]); the goal is a dashed line, the deviation a whisker."""
    left, width, step = 150, 460, 22
    parts, y = [text(10, 20, title, more='font-weight="bold"')], 44

    def at(value):
        return left + width * (min(max(value, low), high) - low) / (high - low)

    for heading, goal, rows in groups:
        parts.append(text(10, y, heading))
        top, y = y + 6, y + 10
        for name, value, deviation, is_ours in rows:
            parts.append(text(left - 8, y + 12, name, "end"))
            parts.append(f'<rect x="{left}" y="{y}" width="{at(value) - left:.1f}" height="16" '
                         f'fill="{"#1f6f54" if is_ours else "#b9bec4"}"/>')
            if deviation:
                parts.append(f'<path d="M{at(value - deviation):.1f} {y + 8}H{at(value + deviation):.1f}" '
                             'stroke="#222" stroke-width="2"/>')
            parts.append(text(left + width + 8, y + 12, f"{value:.2f}"))
            y += step
        parts.append(f'<path d="M{at(goal):.1f} {top}V{y}" stroke="#b3261e" stroke-dasharray="4 3"/>')
        y += 24
    axis = "".join(text(at(v), y - 6, f"{v}", "middle") for v in range(low, high + 1))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{y + 6}">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}{axis}</svg>\n')


def curves(title, labels, series):
    """Lines through (x, y) points on two logarithmic axes: [(name, [(x, y)])], all above 0."""
    left, top, width, height = 70, 44, 520, 320
    colours = ("#1f6f54", "#c2410c", "#5b6470")
    xs = [math.log10(x) for _, points in series for x, _ in points]
    ys = [math.log10(y) for _, points in series for _, y in points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), math.floor(min(ys)), math.ceil(max(ys))

    def at(x, y):
        return (left + width * (math.log10(x) - x_low) / (x_high - x_low),
                top + height * (1 - (math.log10(y) - y_low) / (y_high - y_low)))

    parts = [text(10, 20, title, more='font-weight="bold"'), text(10, top - 8, labels[1]),
             text(left + width, top + height + 34, labels[0], "end")]
    for power in range(y_low, y_high + 1):
        y = at(10 ** x_low, 10 ** power)[1]
        parts.append(f'<path d="M{left} {y:.1f}h{width}" stroke="#d5d9dd"/>')
        parts.append(text(left - 8, y + 4, f"{10.0 ** power:g}", "end"))
    for power in range(math.ceil(x_low - 1e-9), math.floor(x_high + 1e-9) + 1):
        x = at(10 ** power, 10 ** y_low)[0]
        parts.append(f'<path d="M{x:.1f} {top}v{height}" stroke="#d5d9dd"/>')
        parts.append(text(x, top + height + 16, f"{10 ** power:,}", "middle"))
    for i, ((name, points), colour) in enumerate(zip(series, colours)):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in points:
            x, y = at(*point)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        x, y = at(*points[-1])
        parts.append(text(x - 8, y + (24 if i else -10), f"{name}: {points[-1][1]:.0f}", "end", f'fill="{colour}"'))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 50}" '
            f'height="{top + height + 44}"><rect width="100%" height="100%" fill="white"/>'
            f'{"".join(parts)}</svg>\n')
