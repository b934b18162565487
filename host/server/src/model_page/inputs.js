// The inputs of a model: a panel for each, with the ways in which it can be given.

/** The most elements that have a field each by themselves, and the most that may have one. */
const FEW = 32, MANY_FIELDS = 256;
/** The most elements for which an example of JSON is written. */
const MAX_EXAMPLE = 4096;
/** The largest size of an open axis. */
const MAX_AXIS = 100000;

/** An area that takes a file, chosen or dropped. `took` may refuse it by throwing. */
function dropZone(text, accept, took) {
  const element = el("div", "", "drop"), label = el("span", text, "quiet"), input = el("input"), trouble = el("p", "", "small bad");
  Object.assign(input, { type: "file", accept, ariaLabel: text });
  trouble.setAttribute("role", "alert");
  const take = async (file) => {
    trouble.textContent = "";
    try {
      if (file.size > MAX_BYTES) throw new Error(`the file is larger than ${MAX_BYTES >> 20} MiB`);
      await took(file);
    } catch (error) {
      trouble.textContent = error instanceof DOMException ? "That file could not be read." : sentence(error.message);
    }
  };
  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0]);
    input.value = ""; // so that choosing the same file again is a change again
  });
  element.addEventListener("dragover", (event) => { event.preventDefault(); element.dataset.over = ""; });
  element.addEventListener("dragleave", () => { delete element.dataset.over; });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    delete element.dataset.over;
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  element.append(label, trouble, input);
  const show = (content, name) => {
    label.textContent = name;
    if (content) element.prepend(content);
  };
  return { element, show, take };
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** A field for each open axis of an input. */
function axisFields(spec, changed) {
  const element = el("div", "", "axes"), picture = pictureAxes(spec);
  const names = { 0: "batch (axis 0)", ...(picture && { [picture.height]: "height", [picture.width]: "width" }) };
  const fields = spec.shape.map((axis, index) => {
    if (axis >= 0) return null;
    const label = el("label", names[index] ?? "axis " + index), input = el("input");
    const usual = index === 0 ? 1 : picture ? (spec.preprocessing?.size?.[index === picture.width ? 0 : 1] ?? 224) : 8;
    Object.assign(input, { type: "number", min: 0, max: MAX_AXIS, step: 1, value: usual, required: true });
    input.addEventListener("input", changed);
    label.append(input);
    element.append(label);
    return input;
  });
  const sizes = () => {
    const shape = spec.shape.map((axis, index) => (fields[index] ? Number(fields[index].value || NaN) : axis));
    for (const [index, field] of fields.entries()) {
      const fits = !field || (Number.isInteger(shape[index]) && shape[index] >= 0 && shape[index] <= MAX_AXIS);
      field?.setAttribute("aria-invalid", !fits);
      if (!fits) throw new Error(`axis ${index} must be 0 to ${MAX_AXIS}`);
    }
    if (product(shape) * Math.max(1, typeOf(spec.datatype).size) > MAX_BYTES) throw new Error(`a tensor of ${shapeText(shape)} is larger than ${MAX_BYTES >> 20} MiB`);
    return shape;
  };
  return { element, sizes, isEmpty: fields.every((field) => !field) };
}

/** The indices of an element within its shape. */
function indexOf(position, shape) {
  const index = [];
  for (const axis of [...shape].reverse()) {
    index.unshift(position % axis);
    position = Math.floor(position / axis);
  }
  return index;
}

/** A field for each element. */
function fieldsWay(spec, axes, changed) {
  const { kind } = typeOf(spec.datatype), element = el("div", "", "fields");
  // A mask of nothing but zeros lets a model see nothing.
  const usual = kind === "text" ? "" : /mask/i.test(spec.name) ? "1" : "0";
  let fields = [], shown = "";
  const refresh = () => {
    let shape;
    try { shape = axes.sizes(); } catch { return; }
    if (String(shape) === shown) return;
    shown = String(shape);
    const count = product(shape), before = fields;
    if (count > MANY_FIELDS) {
      fields = [];
      element.replaceChildren(el("p", `${count} fields are too many: write them as JSON, or choose a file.`, "small quiet"));
      return;
    }
    fields = Array.from({ length: count }, (_, position) => before[position] ?? Object.assign(el("input"), kind === "bool"
      ? { type: "checkbox" } : { type: "text", inputMode: kind === "text" ? "text" : "decimal", value: usual, autocomplete: "off", spellcheck: false }));
    element.classList.toggle("one", count === 1);
    element.classList.toggle("words", kind === "text");
    element.replaceChildren(...fields.map((field, position) => {
      const index = indexOf(position, shape), label = el("label", count === 1 ? "" : (shape[0] === 1 ? index.slice(1) : index).join(", "));
      field.ariaLabel = `${spec.name} [${index.join(", ")}]`;
      label.append(field);
      return label;
    }));
  };
  element.addEventListener("input", changed);
  return {
    name: "fields", label: "Fields", element, refresh,
    async read() {
      const shape = axes.sizes();
      if (fields.length !== product(shape)) throw new Error("there are too many elements for fields");
      const values = fields.map((field, position) => {
        try {
          field.removeAttribute("aria-invalid");
          return parseValue(spec.datatype, kind === "bool" ? String(field.checked) : field.value);
        } catch (error) {
          field.setAttribute("aria-invalid", "true");
          throw new Error(`element ${indexOf(position, shape).join(", ") || "0"}: ${error.message}`);
        }
      });
      return { shape, bytes: encode(spec.datatype, values) };
    },
  };
}

/** Elements to begin with. */
const SAMPLES = {
  zeros: { label: "zeros", value: () => 0 },
  ones: { label: "ones", value: () => 1 },
  random: { label: "random, 0 to 1", value: () => Math.random() },
};

function sampleValues({ datatype }, sample, count) {
  const { kind, size } = typeOf(datatype);
  if (kind === "text") return Array(count).fill("text");
  const number = () => (kind === "float" ? Math.fround(SAMPLES[sample].value()) : Math.round(SAMPLES[sample].value()));
  return Array.from({ length: count }, () => (kind === "int" && size === 8 ? BigInt(number()) : number()));
}

/** Nested lists of JSON, of any shape. */
function jsonWay(spec, axes, changed) {
  const element = el("div"), text = el("textarea"), trouble = el("p", "", "hint");
  Object.assign(text, { spellcheck: false, ariaLabel: spec.name + " as JSON" });
  let written = null; // the example, for as long as nobody has changed it
  const example = (sample) => {
    let shape = [];
    try { shape = axes.sizes(); } catch { return; }
    const count = product(shape);
    if (count > MAX_EXAMPLE) {
      trouble.textContent = `${count.toLocaleString("en")} elements as nested lists of ${shapeText(shape)}.`;
      return;
    }
    const quoted = spec.datatype === "BYTES" ? JSON.stringify : (value) => valueText(spec.datatype, value);
    text.value = written = listsText(shape, sampleValues(spec, sample, count).map(quoted));
  };
  text.addEventListener("input", changed);
  element.append(text);
  if (spec.datatype !== "BYTES") {
    const row = el("div", "Fill with", "row-of-buttons");
    for (const [name, { label }] of Object.entries(SAMPLES)) {
      const button = Object.assign(el("button", label, "link"), { type: "button" });
      button.addEventListener("click", () => { example(name); changed(); });
      row.append(button);
    }
    element.append(row);
  }
  element.append(trouble);
  return {
    name: "json", label: "JSON", element,
    refresh: () => { if (written === null || text.value === written) example("zeros"); },
    async read() {
      const { shape, values } = parseLists(spec.datatype, text.value);
      return { shape, bytes: encode(spec.datatype, values) };
    },
  };
}

/** Made-up elements, for inputs that nobody would write by hand. */
function sampleWay(spec, axes, changed) {
  const element = el("div", "", "options");
  const labels = Object.fromEntries(Object.entries(SAMPLES).map(([name, { label }]) => [name, label]));
  const choice = selectField("All elements are", labels, "random", changed);
  element.append(choice.element);
  return {
    name: "sample", label: "Made up", element, refresh() {},
    async read() {
      const shape = axes.sizes();
      return { shape, bytes: encode(spec.datatype, sampleValues(spec, choice.value, product(shape))) };
    },
  };
}

/** A file: nested lists of JSON, an array of numpy, or the bytes of the tensor. */
function fileWay(spec, axes, changed) {
  const element = el("div"), { size, kind } = typeOf(spec.datatype);
  let bytes = null;
  const drop = dropZone("Choose a file, or drop one here", "", async (file) => {
    bytes = new Uint8Array(await file.arrayBuffer());
    drop.show(null, `${file.name}, ${bytes.length.toLocaleString("en")} bytes`);
    changed();
  });
  const raw = kind === "text" ? "any other file is one element" : "or the elements’ bytes, little-endian";
  element.append(drop.element, el("p", `JSON (nested lists), .npy, ${raw}.`, "hint"));
  /** The shape of so many elements, where one axis at most is open. */
  const shapeOf = (count) => {
    const open = spec.shape.filter((axis) => axis < 0).length, rest = product(spec.shape.filter((axis) => axis >= 0));
    const shape = open === 1 && rest > 0 ? spec.shape.map((axis) => (axis < 0 ? count / rest : axis)) : axes.sizes();
    if (shape.some((axis) => !Number.isInteger(axis)) || product(shape) !== count) {
      throw new Error(`the file has ${bytes.length} bytes; ${spec.datatype} ${shapeText(shape.every(Number.isInteger) ? shape : spec.shape)} does not`);
    }
    return shape;
  };
  return {
    name: "file", label: "File", element, refresh() {}, take: drop.take,
    async read() {
      if (!bytes) throw new Error("choose a file first");
      if (isNpy(bytes)) return parseNpy(spec.datatype, bytes);
      const first = new TextDecoder("latin1").decode(bytes.subarray(0, 64)).trimStart()[0];
      if (first === "[") {
        // Bytes may look like a list by chance, where they have the right number.
        try {
          const { shape, values } = parseLists(spec.datatype, new TextDecoder().decode(bytes));
          return { shape, bytes: encode(spec.datatype, values) };
        } catch (error) {
          if (kind === "text" || bytes.length % size !== 0) throw error;
        }
      }
      if (kind !== "text") return { shape: shapeOf(bytes.length / size), bytes };
      const element = new Uint8Array(4 + bytes.length);
      new DataView(element.buffer).setUint32(0, bytes.length, true);
      element.set(bytes, 4);
      return { shape: shapeOf(1), bytes: element };
    },
  };
}

/** The ways to give an input, the best one first. */
function waysOf(spec, axes, changed) {
  let count = Infinity;
  try { count = product(axes.sizes()); } catch { }
  const isText = typeOf(spec.datatype).kind === "text";
  const all = { fields: fieldsWay, json: jsonWay, sample: sampleWay, file: fileWay, picture: pictureWay };
  const best = pictureAxes(spec) ? ["picture"] : count <= FEW ? ["fields"] : [];
  const rest = count <= MAX_EXAMPLE || isText ? ["json", "file"] : ["sample", "file", "json"];
  if (!rest.includes("sample") && !isText && best[0] !== "fields") rest.push("sample");
  return [...best, ...rest].map((name) => all[name](spec, axes, changed));
}

/** The panel of an input. `changed` is called when it would give another tensor. */
function inputPanel(spec, changed) {
  const element = el("div", "", "input"), head = el("div", "", "named"), choice = el("div", "", "choice"), place = el("div");
  let chosen, ways;
  const axes = axisFields(spec, () => { for (const way of ways) way.refresh(); changed(); });
  ways = waysOf(spec, axes, changed);
  const buttons = ways.map((way) => Object.assign(el("button", way.label), { type: "button" }));
  const choose = (way) => {
    chosen = way;
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", ways[index] === way));
    axes.element.hidden = way.name === "json" || axes.isEmpty;
    place.replaceChildren(way.element);
    way.refresh();
    changed();
  };
  buttons.forEach((button, index) => button.addEventListener("click", () => choose(ways[index])));
  element.setAttribute("role", "group");
  element.ariaLabel = spec.name;
  element.dataset.input = spec.name;
  choice.setAttribute("role", "group");
  choice.ariaLabel = "How to give " + spec.name;
  choice.append(...buttons);
  head.append(el("h3", spec.name), el("span", `${spec.datatype} ${shapeText(spec.shape)}`, "type"));
  element.append(head, choice, axes.element, place);
  return {
    element,
    start: () => choose(ways[0]),
    /** Takes a file that was dropped somewhere or pasted. */
    take(file) {
      const way = (file.type.startsWith("image/") && ways.find(({ name }) => name === "picture")) || ways.find(({ name }) => name === "file");
      choose(way);
      way.take(file);
    },
    /** The tensor. */
    async read() {
      try {
        return { name: spec.name, datatype: spec.datatype, ...(await chosen.read()) };
      } catch (error) {
        throw error instanceof Refusal ? error : new Refusal(`Input “${spec.name}”`, sentence(error.message));
      }
    },
  };
}
