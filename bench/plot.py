"""Draws plain SVG: lines over an axis, in panels one under the other; bars. Readable on light and on dark ground."""

import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 680, 220, 64, 170, 34, 66
# Of about the same lightness, between that of a light and that of a dark page.
COLOURS = ("#1a9a6c", "#d0603a", "#4a7fd0", "#b8862b", "#9a5fc0", "#808890", "#c04a7a")
STYLE = (
    "<style>text{fill:#1f2328}.grid{stroke:#8886}.note{fill:#59636e}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}}</style>"
)


class Panel:
    """Lines over x. `lines`: by name a list of (x, y), or of (x, y, least, most); None for y leaves a gap."""

    def __init__(self, title, x, y, lines, log_x=False, log_y=False, top=None, label=str):
        self.title, self.x, self.y, self.lines, self.label = title, x, y, lines, label
        self.log_x, self.log_y = log_x, log_y
        points = [point for line in lines.values() for point in line]
        self.places = sorted({point[0] for point in points})
        values = [value for point in points for value in point[1:] if value is not None] or [1]
        self.top = top or (10 ** math.ceil(math.log10(max(values))) if log_y else 1.1 * max(values) or 1)
        self.bottom = 10 ** math.floor(math.log10(max(min(values), self.top / 1e5))) if log_y else 0

    def draw(self, y0):
        right = WIDTH - RIGHT
        spread = (lambda value: math.log2(value)) if self.log_x else float
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
            f'<text class="note" transform="translate(14 {y0 + HEIGHT / 2}) rotate(-90)" text-anchor="middle">{self.y}</text>',
        ]
        for value in self.steps():
            parts.append(
                f'<path class="grid" d="M{LEFT} {y(value):.1f}H{right}"/><text x="{LEFT - 6}" '
                f'y="{y(value) + 4:.1f}" text-anchor="end">{value:,.6g}</text>'
            )
        for place in self.places:
            parts.append(
                f'<text x="{x(place):.1f}" y="{y0 + HEIGHT + 17}" text-anchor="middle">{self.label(place)}</text>'
            )
        for number, (name, line) in enumerate(self.lines.items()):
            parts += self.line(name, line, number, x, y, y0)
        return "".join(parts)

    def line(self, name, line, number, x, y, y0):
        colour, right = COLOURS[number % len(COLOURS)], WIDTH - RIGHT
        known = [point for point in line if point[1] is not None]
        points = " ".join(f"{x(point[0]):.1f},{y(point[1]):.1f}" for point in known)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for place, value, *ends in known:
            if ends:
                yield f'<path d="M{x(place):.1f} {y(ends[0]):.1f}V{y(ends[1]):.1f}" stroke="{colour}" stroke-width="1.5"/>'
            yield f'<circle cx="{x(place):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
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
    """Writes panels one under the other."""
    height = TOP + len(drawn) * (HEIGHT + GAP)
    write(path, height, "".join(panel.draw(TOP + number * (HEIGHT + GAP)) for number, panel in enumerate(drawn)))


def bars(path, title, unit, groups):
    """`groups`: by name, values by name; a bar each, one under the other."""
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
    """A flame graph of two rows: `parts` in ms, and below each the (name, ms) of `inside`. Pointing at one tells all."""
    from xml.sax.saxutils import escape

    total, x, drawn = sum(parts.values()), 8.0, [f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>']

    def box(x, y, name, ms, colour):
        width = (WIDTH - 16) * ms / total
        text = escape(name.rpartition("::")[2][: int(width / 8)]) if width > 24 else ""
        drawn.append(
            f'<g><title>{escape(name)}: {ms:.3f} ms</title><rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.2):.1f}" '
            f'height="34" fill="{colour}"/><text x="{x + 4:.1f}" y="{y + 21}" style="fill:#fff">{text}</text></g>'
        )
        return width

    for number, (name, ms) in enumerate(parts.items()):
        colour, below = COLOURS[number % len(COLOURS)], x
        for function, part in inside.get(name, ()):
            below += box(below, 64, function, part, colour)
        x += box(x, 28, name, ms, colour)
    write(path, 106, "".join(drawn))


def write(path, height, inside):
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
        f'font-size="12">{STYLE}{inside}</svg>\n'
    )
