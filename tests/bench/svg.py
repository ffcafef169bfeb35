"""Plain pictures as SVG text, so that a plot needs no library."""

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
