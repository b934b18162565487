// Pictures as inputs: which inputs look like one, and how a picture becomes a tensor.

const PICTURE_TYPES = ["UINT8", "FP16", "BF16", "FP32", "FP64"];

/** Which axes of an input are a picture's; null if it does not look like one. */
function pictureAxes({ datatype, shape }) {
  if (shape.length !== 4 || !PICTURE_TYPES.includes(datatype)) return null;
  const isSide = (axis) => axis < 0 || axis >= 8, isColor = (axis) => [1, 3, 4].includes(axis);
  if (isColor(shape[1]) && isSide(shape[2]) && isSide(shape[3])) return { layout: "NCHW", channels: shape[1], height: 2, width: 3 };
  if (isColor(shape[3]) && isSide(shape[1]) && isSide(shape[2])) return { layout: "NHWC", channels: shape[3], height: 1, width: 2 };
  return null;
}

/** What becomes of a channel's value from 0 to 255: (value - mean) / std for red, green and blue. */
const SCALINGS = {
  byte: { label: "0 to 255", mean: [0, 0, 0], std: [1, 1, 1] },
  unit: { label: "0 to 1", mean: [0, 0, 0], std: [255, 255, 255] },
  signed: { label: "−1 to 1", mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] },
  imagenet: { label: "ImageNet’s mean and deviation", mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375] },
};
const FITS = { crop: "crop to the middle", squash: "squash", pad: "pad" };
const COLORS = { rgb: "red, green, blue", bgr: "blue, green, red" };

/** What a card says of the values, in the terms of the scalings above: one number may be for all channels, and numbers
 *  may be those of 0 to 1 or in the order of BGR. */
function cardScaling({ color, scale = 255, mean = [0], std = [1] }) {
  const all = (numbers) => (numbers.length === 1 ? Array(3).fill(numbers[0]) : numbers);
  const ours = (numbers) => (color === "BGR" ? [...all(numbers)].reverse() : all(numbers)).map((number) => number * (scale === 1 ? 255 : 1));
  return { label: "as the card says", mean: ours(mean), std: ours(std) };
}

/** Where a picture of `from` goes on a canvas of `to`. Of what `fit` takes, the part `crop` is looked at. */
function placement({ fit, crop }, from, to) {
  const ratios = [to.width / from.width, to.height / from.height];
  const scale = fit === "crop" ? Math.max(...ratios) : Math.min(...ratios);
  const [across, down] = fit === "squash" ? ratios : [scale, scale];
  const width = (from.width * across) / crop, height = (from.height * down) / crop;
  return { x: (to.width - width) / 2, y: (to.height - height) / 2, width, height };
}

/** Draws a picture as the model is to see it. */
function drawPicture(canvas, bitmap, { fit, crop, background }) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = `rgb(${background})`;
  context.fillRect(0, 0, canvas.width, canvas.height);
  const { x, y, width, height } = placement({ fit, crop }, bitmap, canvas);
  context.drawImage(bitmap, x, y, width, height);
}

/** The elements of one picture, in the order of the layout. */
function pictureValues(canvas, { layout, channels }, { scaling, color }) {
  const { width, height } = canvas, pixels = width * height;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const { mean, std } = scaling, isByte = scaling === SCALINGS.byte, order = color === "bgr" ? [2, 1, 0] : [0, 1, 2];
  const gray = (at) => 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
  const value = (at, channel) => {
    if (channels === 1) return ((isByte ? Math.round(gray(at)) : gray(at)) - mean[0]) / std[0];
    if (channel === 3) return isByte ? 255 : 1; // there is nothing behind the canvas
    return (data[at + order[channel]] - mean[order[channel]]) / std[order[channel]];
  };
  const values = new Array(pixels * channels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      values[layout === "NCHW" ? channel * pixels + pixel : pixel * channels + channel] = value(4 * pixel, channel);
    }
  }
  return values;
}

/** A field in which one of `choices` is chosen: { value: label }. */
function selectField(label, choices, chosen, changed) {
  const field = el("label", label), select = el("select");
  for (const [value, text] of Object.entries(choices)) select.append(Object.assign(el("option", text), { value }));
  select.value = chosen;
  select.addEventListener("change", changed);
  field.append(select);
  return { element: field, get value() { return select.value; } };
}

/** The way to give a picture for an input that looks like one. */
function pictureWay(spec, axes, changed) {
  const picture = pictureAxes(spec), element = el("div"), options = el("div", "", "options");
  const isByte = spec.datatype === "UINT8", card = spec.preprocessing;
  const scalings = isByte ? { byte: SCALINGS.byte } : { ...(card && { card: cardScaling(card) }), ...SCALINGS };
  const usual = isByte ? "byte" : card ? "card" : picture.channels !== 1 && picture.layout === "NCHW" ? "imagenet" : "unit";
  let bitmap = null;
  const canvas = el("canvas");
  const redraw = () => {
    const sizes = axes.sizes();
    Object.assign(canvas, { width: sizes[picture.width], height: sizes[picture.height] });
    const { resize = "crop", crop = 1, pad_color: background = [0, 0, 0] } = card ?? {};
    if (bitmap) drawPicture(canvas, bitmap, { fit: fit.value, crop: fit.value === resize ? crop : 1, background });
    changed();
  };
  const labels = Object.fromEntries(Object.entries(scalings).map(([name, { label }]) => [name, label]));
  const scaling = selectField("Values", labels, usual, changed);
  const fit = selectField("Fit", FITS, card?.resize ?? "crop", redraw);
  const color = selectField("Channels", COLORS, card?.color === "BGR" ? "bgr" : "rgb", changed);
  options.append(scaling.element, fit.element, ...(picture.channels === 1 ? [] : [color.element]));
  const drop = dropZone("Choose a picture", "image/*", async (file) => {
    const opened = await createImageBitmap(file).catch(() => { throw new Error("this browser can’t show that file as a picture"); });
    bitmap?.close();
    bitmap = opened;
    drop.show(canvas, file.name);
    redraw();
  });
  const hint = card ? "As the card says. A browser scales a little differently than the training did." : "How the model was trained decides which is right. A card (model.toml) says it for good.";
  element.append(drop.element, options, el("p", hint, "hint"));
  return {
    name: "picture", label: "Picture", element, refresh: () => { try { redraw(); } catch { } }, take: drop.take,
    async read() {
      if (!bitmap) throw new Error("choose a picture first");
      const sizes = axes.sizes(), one = pictureValues(canvas, picture, { scaling: scalings[scaling.value], color: color.value });
      const bytes = encode(spec.datatype, one), all = new Uint8Array(bytes.length * sizes[0]);
      for (let item = 0; item < sizes[0]; item++) all.set(bytes, item * bytes.length);
      return { shape: sizes, bytes: all };
    },
  };
}
