"""Draws bench/overload.svg: goodput, refusals and delay over the offered load."""

WIDTH, HEIGHT, LEFT, TOP, GAP = 640, 200, 60, 30, 60
SERIES = {"goodput": "#0a7", "refused": "#c53", "late": "#999"}


def plot(path, capacity, rows):
    """Panels one under the other; the loads are evenly spaced, as they are chosen."""
    parts = [
        panel(0, "answered in time (green), refused (red), too late (grey); times the capacity",
              rows, {name: [row[name] / capacity for row in rows] for name in SERIES}, 2),
        panel(1, "p99 of what was accepted, ms", rows, {"p99": [row["p99"] or 0 for row in rows]}),
        panel(2, "resident memory, MB", rows, {"resident": [row["resident"] for row in rows]}),
    ]
    height = 3 * (HEIGHT + GAP) + TOP
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n')


def panel(number, title, rows, lines, top=None):
    """One panel; values above `top` are cut off at it."""
    y0 = TOP + number * (HEIGHT + GAP)
    top = top or 1.15 * max(max(values) for values in lines.values()) or 1
    x = lambda place: LEFT + (WIDTH - LEFT - 20) * (place + 0.5) / len(rows)
    y = lambda value: y0 + HEIGHT * (1 - min(value, top) / top)
    marks = [f'<text x="{LEFT}" y="{y0 - 8}">{title}</text>']
    for step in range(5):
        value = top * step / 4
        marks.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - 20}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.{1 if top < 10 else 0}f}</text>')
    for place, row in enumerate(rows):
        marks.append(f'<text x="{x(place):.1f}" y="{y0 + HEIGHT + 16}" text-anchor="middle">{row["factor"]:g}×</text>')
    for name, values in lines.items():
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(values))
        colour = SERIES.get(name, "#05a")
        marks.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks += [f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="3" fill="{colour}"/>'
                  for point in points.split()]
    return "".join(marks)
