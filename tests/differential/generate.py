#!/usr/bin/env python3
"""Makes pictures of all formats and kinds, and what Pillow shows of each: generate.py FOLDER COUNT SEED.

FOLDER/pictures.json lists the files: name, width and height of the upright picture, the name of its pixels (RGB, row by
row, over white), and how far decoders may differ. `tests/it/differential.rs` compares the function's pixels with them.
Files that Pillow refuses are left out and counted: nobody says what they show.
"""

import collections
import io
import json
import math
import pathlib
import random as randomness
import subprocess
import sys
import tempfile

from PIL import Image, ImageOps

import jpegs
import writers

# The largest difference of a sample, the mean one, and the mean one of the picture scaled to a third. Files without
# loss differ by rounding alone. Decoders of JPEG agree on coefficients, and differ by how they round transforms and
# enlarge color.
EXACT = {"most": 1, "mean": 1.0, "scaled": 1.0}
LOSSY = {"most": 6, "mean": 0.7, "scaled": 4.0}
# Inks are multiplied by black after scaling, which is the mean's product and not the product's mean.
INKS = LOSSY | {"scaled": 8.0}
# Enlarged by repeating samples where the function interpolates: libjpeg does so for all ratios but 2.
REPEATED = {"most": 60, "mean": 6.0, "scaled": 6.0}


# Samplings that are enlarged by interpolation, as `cjpeg` and Pillow name them.
COMMON = ("1x1", "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4:4:4", "4:2:2", "4:2:0")


def smooth(random, size):
    """A picture of waves, of colors that no format loses much of."""
    width, height = size
    waves = [
        (random.uniform(0, 7) / max(width, 40), random.uniform(0, 7) / max(height, 40), random.uniform(0, 6))
        for _ in range(3)
    ]
    fine = random.choice((0, 0, 12))
    data = bytearray()
    for y in range(height):
        for x in range(width):
            grain = fine * math.sin(2.1 * x) * math.sin(1.7 * y)
            for across, down, start in waves:
                data.append(int(128 + 60 * math.sin(start + across * x + down * y) + grain))
    return Image.frombytes("RGB", size, bytes(data))


def some_size(random):
    return random.choice(
        (
            (random.randint(1, 20), random.randint(1, 20)),
            (random.randint(16, 140), random.randint(16, 140)),
            (random.randint(1, 300), random.randint(1, 12)),
            (random.randint(1, 12), random.randint(1, 300)),
        )
    )


def jpeg(random, size):
    file, facts = jpegs.encoded(random, smooth(random, size))
    file, facts = jpegs.broken(random, file, facts)
    if random.random() < 0.3 and facts["fault"] != "two Exif":
        little = random.random() < 0.5
        metadata = jpegs.segment(0xE1, b"Exif\0\0" + jpegs.tiff(random.randint(1, 8), little))
        file = jpegs.behind_start(file, metadata)
    if facts.get("mode") in ("CMYK", "YCCK"):
        return "jpg", file, facts, INKS
    # libjpeg repeats samples, too, where there are only two columns of color.
    is_full = facts["sampling"] in ("1x1", "1x1,1x1,1x1", "4:4:4")
    is_enlarged_alike = is_full or (facts["sampling"] in COMMON and min(size) > 5)
    return "jpg", file, facts, (LOSSY if is_enlarged_alike else REPEATED)


def png(random, size):
    color = random.choice(list(writers.CHANNELS))
    chunks, facts = writers.png(random, size, color, random.choice(writers.DEPTHS[color]))
    if random.random() < 0.4:
        prefix = random.choice((b"", b"Exif\0\0"))
        metadata = writers.chunk(b"eXIf", prefix + jpegs.tiff(random.randint(1, 8), random.random() < 0.5))
        chunks.insert(random.choice((1, len(chunks))), metadata)
    end = random.random() < 0.8
    return "png", writers.png_file(chunks, end), facts | {"end": end}, EXACT


def bmp(random, size):
    file, facts = writers.bmp(random, size)
    return "bmp", file, facts, EXACT


def gif(random, size):
    picture = smooth(random, size).quantize(random.choice((2, 4, 16, 200, 256)))
    options = {"interlace": random.random() < 0.5}
    change = random.choice(("", "", "smaller screen", "larger screen", "gifsicle"))
    # Beside a frame browsers show the page; Pillow does so only where there is a color for it, else the first color.
    if change == "larger screen" or random.random() < 0.4:
        options["transparency"] = picture.getpixel((0, 0))
    if random.random() < 0.3:
        options |= {"save_all": True, "append_images": [smooth(random, size).quantize(16)], "duration": 100}
    file = io.BytesIO()
    picture.save(file, "gif", **options)
    file, facts = file.getvalue(), {"options": sorted(map(str, options))}
    if change == "smaller screen":
        width, height = (max(1, side // random.randint(1, 3)) for side in size)
        file = file[:6] + width.to_bytes(2, "little") + height.to_bytes(2, "little") + file[10:]
    elif change == "larger screen":
        arguments = ["--logical-screen", f"{size[0] + random.randint(0, 9)}x{size[1] + random.randint(0, 9)}"]
        file = jpegs.run("gifsicle", *arguments, "--position", random.choice(("0,0", "3,2")), "-", given=file)
    elif change == "gifsicle":
        file = jpegs.run("gifsicle", "-O3", random.choice(("--interlace", "--no-interlace")), "-", given=file)
    return "gif", file, facts | {"change": change}, EXACT


def webp(random, size):
    picture = smooth(random, size)
    if random.random() < 0.3:
        picture.putalpha(smooth(random, size).convert("L"))
    options = {"lossless": random.random() < 0.5, "quality": random.randint(20, 100), "method": random.randint(0, 4)}
    if random.random() < 0.4:
        prefix = random.choice((b"", b"Exif\0\0"))
        options["exif"] = prefix + jpegs.tiff(random.randint(1, 8), random.random() < 0.5)
    facts = {"lossless": options["lossless"], "mode": picture.mode}
    if random.random() < 0.2:
        options |= {"save_all": True, "append_images": [smooth(random, size)], "duration": 100}
        facts["animated"] = True
    elif random.random() < 0.3 and "exif" not in options:
        return "webp", by_cwebp(random, picture), facts | {"lossless": False, "cwebp": True}, LOSSY
    file = io.BytesIO()
    picture.save(file, "webp", **options)
    return "webp", file.getvalue(), facts, (EXACT if options["lossless"] else LOSSY)


def by_cwebp(random, picture):
    """A WebP with options that Pillow has no name for."""
    arguments = [
        "-quiet",
        "-q",
        random.randint(10, 100),
        "-segments",
        random.randint(1, 4),
        "-f",
        random.randint(0, 100),
    ]
    arguments += random.choice(([], ["-strong"], ["-nostrong"], ["-near_lossless", "40"], ["-jpeg_like"]))
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "in.png"), pathlib.Path(folder, "out.webp")
        picture.save(source)
        subprocess.run(["cwebp", *map(str, arguments), source, "-o", target], check=True, capture_output=True)
        return target.read_bytes()


def shown(file):
    """What Pillow shows: upright, over white."""
    picture = Image.open(io.BytesIO(file))
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        # The upper half of each sample. Pillow's own conversion clips at 255.
        high = picture.tobytes()[0 if picture.mode.endswith("B") else 1 :: 2]
        picture = Image.frombytes("L", picture.size, high)
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


# How many of a hundred files are of each format.
FORMATS = [jpeg] * 50 + [png] * 20 + [bmp] * 10 + [gif] * 10 + [webp] * 10


def main(folder, count, seed):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files, refused = [], collections.Counter()
    for n in range(count):
        random = randomness.Random(f"{seed} {n}")  # noqa: S311 - reproducible files, no secrets
        make = FORMATS[n % len(FORMATS)]
        suffix, file, facts, tolerance = make(random, some_size(random))
        try:
            # Pillow wants an end marker, which browsers do not.
            picture = shown(file + jpegs.END if facts.get("fault") == "no end" else file)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            refused[f"{make.__name__}: {error}"] += 1
            continue
        name = f"{seed}-{n}.{suffix}"
        (folder / name).write_bytes(file)
        (folder / f"{name}.rgb").write_bytes(picture.tobytes())
        width, height = picture.size
        files.append({"file": name, "width": width, "height": height, "facts": str(facts)} | tolerance)
    (folder / "pictures.json").write_text(json.dumps(files, indent=1))
    print(f"{len(files)} pictures; Pillow refuses {dict(refused)}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
