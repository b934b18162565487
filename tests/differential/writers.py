"""Writes PNG and BMP files that Pillow cannot write: any bit depth, interlace, palette, header and compression."""

import struct
import zlib

# Width of a pass of Adam7: first column and row, and steps between columns and rows.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pack(samples, depth):
    """Samples of `depth` bits as bytes, the first of them in the highest bits."""
    if depth == 16:
        return struct.pack(f">{len(samples)}H", *samples)
    data, bits, count = bytearray(), 0, 0
    for sample in samples:
        bits, count = bits << depth | sample, count + depth
        if count == 8:
            data.append(bits)
            bits, count = 0, 0
    if count:
        data.append(bits << (8 - count))
    return bytes(data)


def filtered(row, above, kind, step):
    """A row as a PNG filter leaves it."""
    out = bytearray([kind])
    for n, value in enumerate(row):
        left, up = (row[n - step] if n >= step else 0), above[n]
        corner = above[n - step] if n >= step else 0
        if kind == 4:
            estimate = left + up - corner
            guess = min((left, up, corner), key=lambda known: abs(estimate - known))
        else:
            guess = (0, left, up, (left + up) // 2)[kind]
        out.append(value - guess & 255)
    return bytes(out)


def png(random, size, color, depth):
    """A PNG of random smooth samples, and the facts that tell it from others."""
    (width, height), channels = size, CHANNELS[color]
    top = (1 << depth) - 1
    slopes = [(random.uniform(-1, 1), random.uniform(-1, 1), random.random()) for _ in range(channels)]

    def sample(x, y, channel):
        across, down, start = slopes[channel]
        value = (start + across * x / max(width, 1) + down * y / max(height, 1)) % 1
        return min(top, int(value * (top + 1)))

    interlaced = random.random() < 0.5
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = bytearray()
    for left, upper, right, down in passes:
        columns, above = range(left, width, right), None
        for y in range(upper, height, down) if columns else ():
            row = pack([sample(x, y, channel) for x in columns for channel in range(channels)], depth)
            above = above or bytes(len(row))
            data += filtered(row, above, random.randrange(5), max(1, channels * depth // 8))
            above = row
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    chunks = [chunk(b"IHDR", head)]
    if color == 3:
        chunks.append(chunk(b"PLTE", random.randbytes(3 << depth)))
        if random.random() < 0.4:
            chunks.append(chunk(b"tRNS", random.randbytes(random.randint(1, 1 << depth))))
    elif color in (0, 2) and depth == 8 and random.random() < 0.3:
        # Of other depths Pillow compares the transparent color with samples that it has scaled already.
        chunks.append(chunk(b"tRNS", struct.pack(f">{channels}H", *(sample(0, 0, n) for n in range(channels)))))
    compressed = zlib.compress(bytes(data), random.choice((0, 1, 6, 9)))
    cut = random.randrange(len(compressed) + 1)
    chunks += [chunk(b"IDAT", compressed[:cut]), chunk(b"IDAT", compressed[cut:])]
    return chunks, {"color": color, "depth": depth, "interlaced": interlaced}


def png_file(chunks, end=True):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + (chunk(b"IEND", b"") if end else b"")


def runs(row, bits):
    """A row of indices as RLE8 or RLE4 has it: runs of one index, or a stretch of unlike ones."""
    out, at = bytearray(), 0
    while at < len(row):
        length = 1
        while at + length < len(row) and length < 255 and row[at + length] == row[at]:
            length += 1
        out += bytes([length, row[at] if bits == 8 else row[at] << 4 | row[at]])
        at += length
    return bytes(out) + b"\0\0"


def bmp(random, size):
    """A BMP of random smooth samples, and the facts that tell it from others."""
    width, height = size
    # Pillow refuses OS/2's header of 16 bytes.
    header = random.choice((12, 40, 40, 40, 64, 108, 124))
    bits = random.choice((1, 4, 8, 24) if header in (12, 64) else (1, 4, 8, 16, 24, 32))
    compression = random.choice((0, {4: 2, 8: 1}.get(bits, 0))) if header in (40, 64) else 0
    masks = bits == 16 and header == 40 and random.random() < 0.5
    colors = 1 << bits if bits <= 8 else 0
    slopes = [(random.uniform(-1, 1), random.uniform(-1, 1)) for _ in range(4)]

    def sample(x, y, channel, top):
        across, down = slopes[channel]
        return int((across * x / width + down * y / height) % 1 * (top + 1))

    rows = []
    for y in range(height):
        if bits <= 8:
            row = [sample(x, y, 0, colors - 1) for x in range(width)]
            row = runs(row, bits) if compression else pack(row, bits)
        elif bits == 16:
            fields = (5, 6, 5) if masks else (5, 5, 5)
            pixels = ([sample(x, y, n, (1 << field) - 1) for n, field in enumerate(fields)] for x in range(width))
            row = b"".join(struct.pack("<H", (p[0] << fields[1] | p[1]) << fields[2] | p[2]) for p in pixels)
        else:
            row = bytes(sample(x, y, n, 255) for x in range(width) for n in range(bits // 8))
        rows.append(row if compression else row + bytes(-len(row) % 4))
    top_down = header in (40, 108, 124) and not compression and random.random() < 0.3
    data = b"".join(rows if top_down else reversed(rows)) + (b"\0\1" if compression else b"")
    palette = b"".join(random.randbytes(3) + (b"" if header == 12 else b"\0") for _ in range(colors))
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        kind = 3 if masks else compression
        info = struct.pack(
            "<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits, kind, len(data), 0, 0, 0, 0
        )
        info = info[:header] + bytes(max(0, header - 40))
    if masks:
        palette = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    end = 14 + header + len(palette)
    # Broken writers leave the offset out, or forget the palette.
    offset = random.choice((end, end, end, 0, 14 + header if colors else end))
    file = b"BM" + struct.pack("<IHHI", end + len(data), 0, 0, offset) + info + palette + data
    facts = {"header": header, "bits": bits, "compression": kind if header != 12 else 0, "offset": offset == end}
    return file, facts | {"top_down": top_down}
