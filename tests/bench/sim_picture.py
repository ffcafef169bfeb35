"""Bars as SVG, written by hand: two per attack, without and with its defence."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW, TOP = 980, 430, 60, 46, 64
OFF, ON, INK, GRID = "#c2410c", "#0f766e", "#1f2937", "#d1d5db"


def bars(rows):
    low = min(0, *(v[0] for r in rows for v in (r.before, r.after)))
    high = max(10, *(v[0] for r in rows for v in (r.before, r.after)))
    low, high = max(low, -40), min(high, 100)
    height = TOP + ROW * len(rows) + 30

    def x(value):
        return LEFT + (min(high, max(low, value)) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
             f' font-size="13" fill="{INK}"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             '<text x="16" y="24" font-size="16" font-weight="bold">What an attack gains, in percent of honest'
             ' revenue</text>',
             f'<rect x="16" y="36" width="12" height="12" fill="{OFF}"/><text x="34" y="47">without the defence</text>',
             f'<rect x="190" y="36" width="12" height="12" fill="{ON}"/><text x="208" y="47">with it</text>']
    for tick in range(int(low // 20) * 20, int(high) + 1, 20):
        if low <= tick <= high:
            parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 6}" y2="{height - 24}"'
                         f' stroke="{INK if tick == 0 else GRID}"/>'
                         f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle" font-size="11">{tick}</text>')
    for n, row in enumerate(rows):
        y = TOP + ROW * n
        parts.append(f'<text x="16" y="{y + 14}">{escape(row.attack)}</text>'
                     f'<text x="16" y="{y + 30}" font-size="11" fill="#6b7280">{escape(row.off)} / {escape(row.on)}</text>')
        for value, colour, at in ((row.before[0], OFF, y + 2), (row.after[0], ON, y + 19)):
            left, right = sorted((x(0), x(value)))
            parts.append(f'<rect x="{left:.1f}" y="{at}" width="{max(1.5, right - left):.1f}" height="14" fill="{colour}"/>'
                         f'<text x="{right + 4:.1f}" y="{at + 11}" font-size="11">{value:+.1f}</text>')
    return "\n".join(parts) + "\n</svg>\n"
