"""Draws SVG plots, readable on light and on dark pages: line charts in stacked panels, bars, and flame graphs."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 680, 220, 64, 170, 34, 66
# Colours of similar lightness, with contrast to light and to dark pages.
COLOURS = ("#1a9a6c", "#d0603a", "#4a7fd0", "#b8862b", "#9a5fc0", "#808890", "#c04a7a")
STYLE = (
    "<style>text{fill:#1f2328}.grid{stroke:#8886}.note{fill:#59636e}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}}</style>"
)


class Panel:
    """A line chart. `lines` are lists of (x, y) or (x, y, min, max) by name; points whose y is None are left out."""

    def __init__(self, title, axes, lines, *, log_x=False, log_y=False, top=None, label=str):  # noqa: PLR0913 - options of a chart
        self.title, self.lines, self.label = title, lines, label
        self.x, self.y = axes
        self.log_x, self.log_y = log_x, log_y
        points = [point for line in lines.values() for point in line]
        self.places = sorted({point[0] for point in points})
        values = [value for point in points for value in point[1:] if value is not None] or [1]
        self.top = top or (10 ** math.ceil(math.log10(max(values))) if log_y else 1.1 * max(values) or 1)
        self.bottom = 10 ** math.floor(math.log10(max(min(values), self.top / 1e5))) if log_y else 0

    def draw(self, y0):
        right = WIDTH - RIGHT
        spread = math.log2 if self.log_x else float
        least, most = spread(self.places[0]), spread(self.places[-1])

        def x(place):
            return LEFT + 12 + (right - LEFT - 24) * ((spread(place) - least) / (most - least) if most > least else 0.5)

        def y(value):
            value = min(max(value, self.bottom or value), self.top)
            if self.log_y:
                return y0 + HEIGHT * (1 - math.log10(value / self.bottom) / math.log10(self.top / self.bottom))
            return y0 + HEIGHT * (1 - value / self.top)

        parts = [
            f'<text x="{LEFT}" y="{y0 - 12}" font-weight="bold">{self.title}</text>',
            f'<text class="note" x="{right}" y="{y0 + HEIGHT + 36}" text-anchor="end">{self.x}</text>',
            f'<text class="note" transform="translate(14 {y0 + HEIGHT / 2}) rotate(-90)" '
            f'text-anchor="middle">{self.y}</text>',
        ]
        parts += (
            f'<path class="grid" d="M{LEFT} {y(value):.1f}H{right}"/><text x="{LEFT - 6}" '
            f'y="{y(value) + 4:.1f}" text-anchor="end">{value:,.6g}</text>'
            for value in self.steps()
        )
        parts += (
            f'<text x="{x(place):.1f}" y="{y0 + HEIGHT + 17}" text-anchor="middle">{self.label(place)}</text>'
            for place in self.places
        )
        for number, (name, line) in enumerate(self.lines.items()):
            parts += self.polyline(line, COLOURS[number % len(COLOURS)], x, y)
            parts += self.legend(name, number, y0)
        return "".join(parts)

    @staticmethod
    def polyline(line, colour, x, y):
        known = [point for point in line if point[1] is not None]
        points = " ".join(f"{x(point[0]):.1f},{y(point[1]):.1f}" for point in known)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for place, value, *ends in known:
            if ends:
                path = f"M{x(place):.1f} {y(ends[0]):.1f}V{y(ends[1]):.1f}"
                yield f'<path d="{path}" stroke="{colour}" stroke-width="1.5"/>'
            yield f'<circle cx="{x(place):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'

    @staticmethod
    def legend(name, number, y0):
        colour, right = COLOURS[number % len(COLOURS)], WIDTH - RIGHT
        yield f'<path d="M{right + 12} {y0 + 10 + 19 * number}h14" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{right + 32}" y="{y0 + 14 + 19 * number}">{name}</text>'

    def steps(self):
        if self.log_y:
            value = self.bottom
            while value <= self.top * 1.01:
                yield value
                value *= 10
        else:
            step = 10 ** math.floor(math.log10(self.top / 4))
            step *= next(factor for factor in (1, 2, 2.5, 5, 10) if self.top / (step * factor) <= 5)
            value = 0
            while value <= self.top * 1.001:
                yield value
                value += step


def panels(path, drawn):
    """Writes panels, one below the other."""
    height = TOP + len(drawn) * (HEIGHT + GAP)
    write(path, height, "".join(panel.draw(TOP + number * (HEIGHT + GAP)) for number, panel in enumerate(drawn)))


def bars(path, title, unit, groups):
    """Writes a bar for each value. `groups` are values by name, by the name of the group."""
    left, y, parts = 170, TOP, [f'<text x="8" y="18" font-weight="bold">{title}</text>']
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    most = max(value for values in groups.values() for value in values.values())
    for group, values in groups.items():
        parts.append(f'<text x="{left - 8}" y="{y + 6 + 8 * len(values)}" text-anchor="end">{group}</text>')
        for name, value in values.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            width = max(1, (WIDTH - left - 180) * value / most)
            parts.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="13" fill="{colour}"/>'
                f'<text x="{left + width + 6:.1f}" y="{y + 11}" font-size="11">{value:,.0f} {unit}'
                f"{' ' + name if len(names) > 1 else ''}</text>"
            )
            y += 16
        y += 10
    write(path, y + 6, "".join(parts))


def icicle(path, title, parts, inside):
    """Writes a flame graph of two rows: `parts` in ms by name, and below each its list of (name, ms) in `inside`."""
    total, x, drawn = sum(parts.values()), 8.0, [f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>']

    def box(corner, name, ms, colour):
        x, y = corner
        width = (WIDTH - 16) * ms / total
        text = escape(name.rpartition("::")[2][: int(width / 8)]) if width > 24 else ""
        drawn.append(
            f"<g><title>{escape(name)}: {ms:.3f} ms</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.2):.1f}" '
            f'height="34" fill="{colour}"/><text x="{x + 4:.1f}" y="{y + 21}" style="fill:#fff">{text}</text></g>'
        )
        return width

    for number, (name, ms) in enumerate(parts.items()):
        colour, below = COLOURS[number % len(COLOURS)], x
        for function, part in inside.get(name, ()):
            below += box((below, 64), function, part, colour)
        x += box((x, 28), name, ms, colour)
    write(path, 106, "".join(drawn))


def write(path, height, inside):
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
        f'font-size="12">{STYLE}{inside}</svg>\n'
    )
