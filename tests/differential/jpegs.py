"""Makes JPEGs with libjpeg-turbo's programs and with Pillow, and breaks them as cameras and web pages do."""

import io
import subprocess
import tempfile

# Sampling factors of luma and of both colors, as `cjpeg -sample` takes them.
SAMPLINGS = (
    "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4x1,1x1,1x1", "1x4,1x1,1x1", "4x2,1x1,1x1",
    "2x2,1x2,1x2", "2x2,2x1,2x1", "1x1,2x2,2x2", "1x1,1x2,2x1", "1x1,2x1,1x1", "2x2,1x1,2x2",
    "3x1,1x1,1x1", "3x2,1x1,1x1", "1x3,1x1,1x1", "1x1,3x1,3x1", "2x4,1x1,1x1", "1x2,1x1,1x2",
)  # fmt: skip

# Segments.
START, END = b"\xff\xd8", b"\xff\xd9"
EXIF_HEAD = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"


def tiff(orientation, little=False):
    """Exif metadata that tell an orientation and nothing else."""
    if little:
        return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0, 0, 0, 0, 0])
    return EXIF_HEAD[6:] + bytes([orientation, 0, 0, 0, 0, 0, 0])


def segment(marker, data):
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def segments(file):
    """Marker, start and end of each segment up to and including the first scan header."""
    at = 2
    while True:
        marker, length = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        yield marker, at, at + 2 + length
        at += 2 + length
        if marker == 0xDA:
            return


def without(file, *markers):
    for marker, start, end in reversed(list(segments(file))):
        if marker in markers:
            file = file[:start] + file[end:]
    return file


def behind_start(file, *added):
    return START + b"".join(added) + file[2:]


def baseline_scans(random, count):
    """A script of sequential scans: an order of all components, one or several at once."""
    order, scans = list(range(count)), []
    random.shuffle(order)
    while order:
        taken = random.randint(1, len(order))
        scans.append(order[:taken])
        order = order[taken:]
    return "".join(",".join(map(str, sorted(scan))) + ";\n" for scan in scans)


def progressive_scans(random, count):
    """A script of progressive scans: all bits of all coefficients, in random parts."""
    low, lines = random.randint(0, 3), []
    everything = ",".join(map(str, range(count)))
    lines.append(f"{everything}: 0-0, 0, {low};")
    later = []
    for component in range(count):
        start, bits = 1, random.randint(0, 3)
        while start <= 63:
            end = random.choice((63, min(63, start + random.randint(0, 20))))
            mine = [f"{component}: {start}-{end}, 0, {bits};"]
            mine += [f"{component}: {start}-{end}, {bit}, {bit - 1};" for bit in range(bits, 0, -1)]
            later.append(mine)
            start = end + 1
    later.append([f"{everything}: 0-0, {bit}, {bit - 1};" for bit in range(low, 0, -1)])
    while later := [queue for queue in later if queue]:
        lines.append(random.choice(later).pop(0))
    return "\n".join(lines)


def run(program, *arguments, given):
    result = subprocess.run([program, *map(str, arguments)], input=given, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{program} {arguments}: {result.stderr.decode()}")
    return result.stdout


def with_script(program, script, arguments, given):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(script)
        file.flush()
        return run(program, *arguments, "-scans", file.name, given=given)


def encoded(random, picture):
    """A JPEG of the picture by cjpeg or Pillow, and the facts that tell it from others."""
    gray = random.random() < 0.15
    if random.random() < 0.25:
        return by_pillow(random, picture.convert("L") if gray else picture)
    sampling = "1x1" if gray else random.choice(SAMPLINGS)
    portable = io.BytesIO()
    (picture.convert("L") if gray else picture).save(portable, "ppm")
    arguments = ["-quality", random.randint(40, 98), "-sample", sampling, "-dct", "int"]
    arguments += random.choice(([], ["-restart", f"{random.randint(1, 9)}B"], ["-restart", "1"]))
    arguments += random.choice(([], ["-optimize"]))
    if not gray and random.random() < 0.1:
        arguments += ["-rgb"]
        sampling = arguments[arguments.index("-sample") + 1] = "1x1,1x1,1x1"
    count, kind = (1 if gray else 3), random.choice(("one scan", "scans", "progressive", "progressive scans"))
    facts = {"sampling": sampling, "kind": kind, "rgb": "-rgb" in arguments}
    if kind == "one scan":
        return run("cjpeg", *arguments, given=portable.getvalue()), facts
    if kind == "progressive":
        return run("cjpeg", *arguments, "-progressive", given=portable.getvalue()), facts
    script = baseline_scans(random, count) if kind == "scans" else progressive_scans(random, count)
    return with_script("cjpeg", script, arguments, portable.getvalue()), facts


def by_pillow(random, picture):
    mode = picture.mode if picture.mode == "L" else random.choice(("RGB", "RGB", "CMYK"))
    options = {
        "quality": random.randint(30, 98),
        "optimize": random.random() < 0.5,
        "progressive": random.random() < 0.5,
    }
    if mode == "RGB":
        options["subsampling"] = random.choice(("4:4:4", "4:2:2", "4:2:0"))
    if random.random() < 0.3:
        options["restart_marker_rows"] = 1
    file = io.BytesIO()
    picture.convert(mode).save(file, "jpeg", **options)
    file = file.getvalue()
    kind = "progressive" if options["progressive"] else "one scan"
    facts = {"sampling": options.get("subsampling", "4:4:4"), "kind": kind}
    if mode == "CMYK" and random.random() < 0.5:
        # Photoshop's kind: the same numbers, but called luma and differences of colors, and black.
        file = behind_start(without(file, 0xEE), segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02"))
        mode = "YCCK"
    return file, facts | {"mode": mode}


def broken(random, file, facts):
    """The file with one of the faults that libjpeg forgives, and its name."""
    sequential = facts["kind"] in ("one scan", "scans")
    kinds = ["none", "no JFIF", "Adobe 0", "Adobe 1", "two Exif", "junk between", "no end"]
    kinds += ["parameters"] if sequential else []
    name = random.choice(kinds)
    if name == "no JFIF":
        file = without(file, 0xE0)
    elif name.startswith("Adobe") and facts.get("mode") not in ("CMYK", "YCCK"):
        file = behind_start(file, segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([name == "Adobe 1"])))
        file = without(file, 0xE0) if random.random() < 0.5 else file
    elif name == "two Exif":
        first, second = (segment(0xE1, b"Exif\0\0" + tiff(random.randint(1, 8))) for _ in range(2))
        file = behind_start(file, first, second)
    elif name == "junk between":
        scan = next(start for marker, start, _ in segments(file) if marker == 0xDB)
        file = file[:scan] + b"\xff\xff\xff" + file[scan:]
    elif name == "no end" and facts["kind"] == "one scan":
        file = file.removesuffix(END)
    elif name == "parameters":
        _, _, end = list(segments(file))[-1]
        parameters = random.choice((0, 1, 5)), random.choice((0, 63)), random.choice((0, 0x21))
        file = file[: end - 3] + bytes(parameters) + file[end:]
    return file, facts | {"fault": name}
