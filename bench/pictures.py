"""Makes a thumbnail and a phone's photograph: bench/pictures.py FROM TO, with the packages that models/ pins.

The photograph has 12 megapixels in 4:2:0. It is a small one enlarged, overlaid with the fine structure of others and
with sensor noise, so that its size and the cost of decoding it are realistic.
"""

import pathlib
import sys

import numpy
from PIL import Image, ImageFilter

SIZE = (4000, 3000)
TEXTURES = ("astronaut.png", "motorcycle.png", "chelsea.png", "rocket.jpg")


def main(source, target):
    target.mkdir(parents=True, exist_ok=True)
    coffee = Image.open(source / "coffee.png").convert("RGB")
    thumbnail(coffee).save(target / "thumbnail.jpg", quality=85, subsampling="4:2:0")
    phone(coffee, [Image.open(source / name).convert("RGB") for name in TEXTURES]).save(
        target / "phone.jpg", quality=90, subsampling="4:2:0"
    )


def thumbnail(image):
    return centre(image, 1).resize((224, 224), Image.Resampling.LANCZOS)


def phone(image, textures):
    large = numpy.asarray(centre(image, SIZE[0] / SIZE[1]).resize(SIZE, Image.Resampling.BICUBIC)).astype(numpy.float32)
    random = numpy.random.Generator(numpy.random.PCG64(7))
    noise = Image.fromarray(random.integers(0, 256, (SIZE[1], SIZE[0]), dtype=numpy.uint8))
    # A camera's demosaicking blurs the noise a little.
    large += fine(noise, 0, 0.6)[..., None] * 0.1
    large += fine(mosaic(textures), 3, 0) * 0.5
    return Image.fromarray(large.round().clip(0, 255).astype(numpy.uint8))


def mosaic(textures):
    """Tiles an area of SIZE with the pictures, in turns."""
    ground, turn, y = Image.new("RGB", SIZE), 0, 0
    while y < SIZE[1]:
        x, tallest = 0, SIZE[1]
        while x < SIZE[0]:
            tile = textures[turn % len(textures)]
            ground.paste(tile, (x, y))
            x, tallest, turn = x + tile.width, min(tallest, tile.height), turn + 1
        y, turn = y + tallest, turn + 1
    return ground


def fine(image, coarser, blur):
    """Returns the detail finer than `coarser` pixels, with a mean near 0; `blur` is applied first."""
    values = numpy.asarray(image.filter(ImageFilter.GaussianBlur(blur)) if blur else image).astype(numpy.float32)
    if not coarser:
        return values - 127.5
    return values - numpy.asarray(image.filter(ImageFilter.GaussianBlur(coarser))).astype(numpy.float32)


def centre(image, aspect):
    wide, high = min(image.width, image.height * aspect), min(image.height, image.width / aspect)
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    return image.crop(tuple(round(side) for side in (left, top, left + wide, top + high)))


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
