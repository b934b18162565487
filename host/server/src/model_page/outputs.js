// The outputs of a model: as scores, pictures and tables.

/** Values that a table shows at first, and at most. */
const FIRST_VALUES = 20, MOST_VALUES = 10000;
const TOP = 5, MOST_CLASSES = 2000;
/** The most pixels of an output that is shown as a picture. */
const MOST_PIXELS = 4 << 20;

function download(name, blob) {
  const link = Object.assign(el("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const fileName = (name) => name.replace(/[^\w.-]+/g, "_").slice(0, 80) || "tensor";

function downloadTensor(tensor) {
  const name = fileName(tensor.name);
  if (tensor.datatype === "BYTES") return download(name + ".json", new Blob([JSON.stringify(decode("BYTES", tensor.bytes))]));
  return TYPES[tensor.datatype].npy ? download(name + ".npy", toNpy(tensor)) : download(name + ".bin", new Blob([tensor.bytes]));
}

/** Bars of the highest scores of one item; none where all are equal. */
function scoreBars(tensor, scores, labels) {
  const sum = scores.reduce((total, score) => total + score, 0);
  const isShare = scores.every((score) => score >= 0 && score <= 1) && Math.abs(sum - 1) < 0.02;
  const best = scores.map((score, index) => ({ score, index })).sort((one, other) => other.score - one.score).slice(0, TOP);
  const [high, low] = [best[0].score, scores.reduce((least, score) => Math.min(least, score))];
  if (high === low) return [];
  const name = (index) => labels[index] ?? "class " + index;
  const figure = (score) => (isShare ? (score > 0 && score < 0.001 ? "<0.1" : (100 * score).toFixed(1)) + "%" : valueText(tensor.datatype, score));
  const list = el("ol", "", "scores");
  for (const { score, index } of best) {
    const item = el("li"), bar = el("div", "", "bar"), fill = el("i");
    item.dataset.class = index;
    const width = isShare ? score : (score - low) / (high - low);
    fill.style.width = 100 * (Number.isFinite(width) ? width : 0) + "%";
    bar.append(fill);
    item.append(el("span", name(index)), el("span", figure(score)), bar);
    list.append(item);
  }
  // A label of ImageNet lists synonyms: the first one names the class.
  return [el("p", name(best[0].index).split(",")[0], "large"), list];
}

/** The scores of each item of a batch, where an output looks like such. */
function scoresOf({ datatype, shape, bytes }) {
  const classes = shape.at(-1), items = product(shape) / classes;
  if (typeOf(datatype).kind !== "float" || !(classes >= 2 && classes <= MOST_CLASSES) || items !== (shape.length > 1 ? shape[0] : 1) || !(items >= 1 && items <= 16)) return null;
  const values = decode(datatype, bytes);
  if (values.some(Number.isNaN)) return null;
  return Array.from({ length: items }, (_, item) => values.slice(item * classes, (item + 1) * classes));
}

/** How an output is a picture, if it looks like one: its sides, and its planes. */
function mapOf({ datatype, shape }) {
  if (!["float", "int", "bool"].includes(typeOf(datatype).kind) || typeOf(datatype).size === 8 && typeOf(datatype).kind === "int") return null;
  const [batch, ...rest] = shape.length === 4 ? shape : [1, ...shape], isColor = (axis) => axis === 1 || axis === 3 || axis === 4;
  const [a, b, c] = rest.length === 2 ? [1, ...rest] : rest;
  if (batch < 1 || rest.length < 2 || rest.length > 3 || product(rest) > MOST_PIXELS) return null;
  if (b >= 8 && c >= 8) return { height: b, width: c, channels: a, at: (pixel, channel) => channel * b * c + pixel };
  if (a >= 8 && b >= 8 && isColor(c)) return { height: a, width: b, channels: c, at: (pixel, channel) => pixel * c + channel };
  return null;
}

/** Pictures of an output: one in color, or its first planes in gray. */
function maps(tensor) {
  const map = mapOf(tensor);
  if (!map) return [];
  const { width, height, channels, at } = map, values = decode(tensor.datatype, tensor.bytes, width * height * channels);
  let low = Infinity, high = -Infinity;
  for (const value of values) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) return [];
  const isByte = tensor.datatype === "UINT8" && high > 1, [dark, light] = isByte ? [0, 255] : [low, high];
  const level = (value) => (light > dark ? (255 * (value - dark)) / (light - dark) : value > 0 ? 255 : 0);
  const isColor = channels === 3 || channels === 4;
  const planes = isColor ? [[0, 1, 2]] : Array.from({ length: Math.min(channels, 4) }, (_, plane) => [plane, plane, plane]);
  const place = el("div", "", "maps");
  place.append(...planes.map((colors) => {
    const canvas = Object.assign(el("canvas"), { width, height }), context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel++) {
      colors.forEach((channel, color) => { image.data[4 * pixel + color] = level(values[at(pixel, channel)]); });
      image.data[4 * pixel + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    canvas.setAttribute("role", "img");
    canvas.ariaLabel = `${tensor.name} as a picture, ${width} × ${height}`;
    return canvas;
  }));
  const shown = !isColor && channels > planes.length ? `, the first ${planes.length} of ${channels} planes` : "";
  const round = (value) => String(Number(Number(value).toPrecision(4)));
  const range = `Black is ${round(dark)}, white is ${round(light)}${shown}.`;
  return [place, el("p", range, "small quiet")];
}

/** A table of a matrix that is narrow, else a list of elements with their indices. */
function valueTable({ datatype, shape }, values) {
  const scroll = el("div", "", "scroll"), texts = values.map((value) => valueText(datatype, value));
  scroll.tabIndex = 0;
  const columns = shape.at(-1);
  if (shape.length === 2 && shape[0] > 1 && columns >= 1 && columns <= 12) {
    const table = el("table"), rows = Math.floor(texts.length / columns);
    for (let row = 0; row < rows; row++) {
      const line = table.insertRow();
      line.append(el("th", row), ...texts.slice(row * columns, (row + 1) * columns).map((text) => el("td", text)));
    }
    scroll.append(table);
    return scroll;
  }
  const list = el("div", "", datatype === "BYTES" ? "values words" : "values");
  list.append(...texts.map((text, position) => {
    const line = el("div"), index = indexOf(position, shape.length > 1 && shape[0] === 1 ? shape.slice(1) : shape);
    line.append(el("span", index.join(", ")), el("b", text));
    return line;
  }));
  scroll.append(list);
  return scroll;
}

/** The elements of an output: the first of them, and more when asked. */
function elements(tensor) {
  const count = product(tensor.shape), place = el("div");
  if (count === 0) return [el("p", "It is empty.", "quiet")];
  if (count === 1) {
    const text = valueText(tensor.datatype, decode(tensor.datatype, tensor.bytes)[0]);
    return [el("p", text, text.length <= 60 ? "large" : "long")];
  }
  const show = (limit) => {
    const values = decode(tensor.datatype, tensor.bytes, limit), buttons = el("div", "", "row-of-buttons");
    const add = (text, click) => {
      const button = Object.assign(el("button", text, "link"), { type: "button" });
      button.addEventListener("click", click);
      buttons.append(button);
    };
    if (values.length < Math.min(count, MOST_VALUES)) add(`Show ${count > MOST_VALUES ? "the first " + MOST_VALUES.toLocaleString("en") : "all " + count.toLocaleString("en")}`, () => show(MOST_VALUES));
    add("Download", () => downloadTensor(tensor));
    place.replaceChildren(valueTable(tensor, values), buttons);
  };
  show(FIRST_VALUES);
  return [place];
}

/** An output, as whatever it looks like. */
function outputView(tensor, labels) {
  const element = el("section", "", "output"), head = el("div", "", "named");
  element.dataset.output = tensor.name;
  head.append(el("h3", tensor.name), el("span", `${tensor.datatype} ${shapeText(tensor.shape)}`, "type"));
  element.append(head);
  const scores = scoresOf(tensor);
  if (scores) scores.forEach((item, row) => element.append(...(scores.length > 1 ? [el("p", "Item " + row, "small quiet")] : []), ...scoreBars(tensor, item, labels)));
  else element.append(...maps(tensor));
  element.append(...elements(tensor));
  return element;
}

/** Where the time went: a bar and a legend, as the server says it, and how long it took from here. */
function showTiming(header, roundTrip) {
  const ms = (n) => n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0) + " ms";
  // `name;dur=1.2;desc="a, b", name2;dur=3`: split at commas outside quotes, keep what has a duration.
  const phases = (header.match(/(?:[^,"]|"(?:\\.|[^"\\])*")+/g) ?? [])
    .map((entry) => ({ name: entry.split(";")[0].trim(), dur: parseFloat(/^(?:[^"]|"[^"]*")*?;\s*dur\s*=\s*"?([\d.]+)/i.exec(entry)?.[1]) }))
    .filter(({ dur }) => dur >= 0);
  const whole = phases.find(({ name }) => name === "total"), parts = phases.filter((phase) => phase !== whole);
  const longestFirst = [...parts].sort((a, b) => b.dur - a.dur);
  const shared = parts.reduce((sum, { dur }) => sum + dur, 0) || 1;
  const sum = el("p"), stack = el("div", "", "stack"), legend = el("ul");
  stack.setAttribute("aria-hidden", "true"); // the legend has the same in words
  for (const phase of parts) {
    const part = el("i"), item = el("li");
    part.style.setProperty("--rank", Math.min(longestFirst.indexOf(phase), 5));
    item.append(part.cloneNode(), el("span", phase.name), el("b", ms(phase.dur)));
    part.style.flex = `${phase.dur / shared} 1 2px`; // 2px, so that the shortest is still to be seen
    stack.append(part);
    legend.append(item);
  }
  if (whole) sum.append(el("b", ms(whole.dur) + " in the server"));
  sum.append(el("span", ms(roundTrip) + " round trip from here", "quiet"));
  $("timing").replaceChildren(sum, ...(parts.length ? [stack, legend] : []));
}
