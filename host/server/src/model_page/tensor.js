// Tensors: { name, datatype, shape, bytes }, where the bytes are the protocol's binary form.

/** The protocol's element types: bytes of an element, what it is, numpy's name, and a method of DataView. */
const TYPES = {
  BOOL: { size: 1, kind: "bool", npy: "|b1", view: "Uint8" },
  UINT8: { size: 1, kind: "int", npy: "|u1", view: "Uint8", from: 0n, to: 255n },
  UINT16: { size: 2, kind: "int", npy: "<u2", view: "Uint16", from: 0n, to: (1n << 16n) - 1n },
  UINT32: { size: 4, kind: "int", npy: "<u4", view: "Uint32", from: 0n, to: (1n << 32n) - 1n },
  UINT64: { size: 8, kind: "int", npy: "<u8", view: "BigUint64", from: 0n, to: (1n << 64n) - 1n },
  INT8: { size: 1, kind: "int", npy: "|i1", view: "Int8", from: -128n, to: 127n },
  INT16: { size: 2, kind: "int", npy: "<i2", view: "Int16", from: -(1n << 15n), to: (1n << 15n) - 1n },
  INT32: { size: 4, kind: "int", npy: "<i4", view: "Int32", from: -(1n << 31n), to: (1n << 31n) - 1n },
  INT64: { size: 8, kind: "int", npy: "<i8", view: "BigInt64", from: -(1n << 63n), to: (1n << 63n) - 1n },
  FP16: { size: 2, kind: "float", npy: "<f2", view: "Uint16", decode: fromHalf, encode: toHalf },
  BF16: { size: 2, kind: "float", view: "Uint16", decode: fromBfloat, encode: toBfloat },
  FP32: { size: 4, kind: "float", npy: "<f4", view: "Float32" },
  FP64: { size: 8, kind: "float", npy: "<f8", view: "Float64" },
  BYTES: { size: 0, kind: "text" },
};

/** The most bytes that a tensor may have here. What a server takes is usually less, and it says so. */
const MAX_BYTES = 64 << 20;

const product = (shape) => shape.reduce((size, axis) => size * axis, 1);
const shapeText = (shape) => "[" + shape.map((axis) => (axis < 0 ? "?" : axis)).join(", ") + "]";

/** What the page can say about a type that it does not know is nothing. */
function typeOf(datatype) {
  const type = TYPES[datatype];
  if (!type) throw new Refusal("This page can’t show this type", `It has no form for ${datatype}.`);
  return type;
}

function roundToEven(x) {
  const floor = Math.floor(x), rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function toHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0, size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundToEven(size * 2 ** 24);
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, size);
  const exponent = ((view.getUint32(0) >>> 20) & 2047) - 1023;
  // A fraction that is rounded up to 2 carries into the exponent by itself.
  return sign | (((exponent + 15) << 10) + roundToEven(size / 2 ** (exponent - 10)) - 1024);
}

function fromBfloat(bits) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits << 16);
  return view.getFloat32(0);
}

function toBfloat(value) {
  if (Number.isNaN(value)) return 0x7fc0;
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  const bits = view.getUint32(0);
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Reads one element as a person writes it. */
function parseValue(datatype, text) {
  const { kind, from, to, size } = typeOf(datatype), word = text.trim();
  if (kind === "text") return text;
  if (kind === "bool") {
    if (/^(true|1)$/i.test(word)) return 1;
    if (/^(false|0)$/i.test(word)) return 0;
    throw new Error(`“${word}” is neither true nor false`);
  }
  if (kind === "int") {
    if (!/^[+-]?\d{1,20}$/.test(word)) throw new Error(`“${word}” is no whole number`);
    const number = BigInt(word.replace("+", ""));
    if (number < from || number > to) throw new Error(`${word} is not within ${from} to ${to}, as ${datatype} is`);
    return size === 8 ? number : Number(number);
  }
  const infinite = /^([+-]?)inf(?:inity)?$/i.exec(word);
  if (infinite) return infinite[1] === "-" ? -Infinity : Infinity;
  if (/^nan$/i.test(word)) return NaN;
  const number = word === "" ? NaN : Number(word);
  if (Number.isNaN(number)) throw new Error(word === "" ? "a number is missing" : `“${word}” is no number`);
  return number;
}

/** The bytes of elements. */
function encode(datatype, values) {
  const { size, kind, view, encode: convert } = typeOf(datatype);
  if (kind === "text") return encodeTexts(values);
  const bytes = new Uint8Array(values.length * size), data = new DataView(bytes.buffer), set = "set" + view;
  values.forEach((value, index) => data[set](index * size, convert ? convert(value) : value, true));
  return bytes;
}

function encodeTexts(values) {
  const texts = values.map((value) => new TextEncoder().encode(value));
  const bytes = new Uint8Array(texts.reduce((size, text) => size + 4 + text.length, 0)), data = new DataView(bytes.buffer);
  let offset = 0;
  for (const text of texts) {
    data.setUint32(offset, text.length, true);
    bytes.set(text, offset + 4);
    offset += 4 + text.length;
  }
  return bytes;
}

/** The elements of bytes, at most the first `limit`. */
function decode(datatype, bytes, limit = Infinity) {
  const { size, kind, view, decode: convert } = typeOf(datatype);
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), values = [];
  if (kind === "text") {
    for (let offset = 0; offset + 4 <= bytes.length && values.length < limit;) {
      const length = data.getUint32(offset, true);
      values.push(new TextDecoder().decode(bytes.subarray(offset + 4, offset + 4 + length)));
      offset += 4 + length;
    }
    return values;
  }
  const count = Math.min(limit, Math.floor(bytes.length / size)), get = "get" + view;
  for (let index = 0; index < count; index++) {
    const value = data[get](index * size, true);
    values.push(convert ? convert(value) : value);
  }
  return values;
}

/** One element for people, in the fewest digits that read back as the same number. */
function valueText(datatype, value) {
  if (datatype === "BOOL") return value ? "true" : "false";
  if (typeof value !== "number" || !Number.isFinite(value) || Number.isInteger(value)) return String(value);
  const same = { FP32: Math.fround, FP16: (x) => fromHalf(toHalf(x)), BF16: (x) => fromBfloat(toBfloat(x)) }[datatype];
  for (let digits = 1; same && digits <= 9; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (same(shorter) === value) return String(shorter);
  }
  return String(value);
}

/** Reads nested lists of JSON, in which integers may have any size and numbers may be NaN or Infinity. */
function parseLists(datatype, text) {
  const quote = (token) => (token[0] === '"' ? token : `"${token}"`);
  const token = /"(?:\\.|[^"\\])*"|[+-]?(?:Infinity|NaN|\d[\d.eE+-]*)/g;
  let lists;
  try {
    lists = JSON.parse(text.replace(token, quote));
  } catch {
    throw new Error("that is not JSON: write numbers in lists, such as [[1, 2], [3, 4]]");
  }
  const shape = [];
  for (let list = lists; Array.isArray(list); list = list[0]) shape.push(list.length);
  if (shape.length > 16) throw new Error("that has more than 16 axes");
  const values = [];
  const visit = (item, axis) => {
    if (axis < shape.length) {
      if (!Array.isArray(item) || item.length !== shape[axis]) throw new Error("lists beside each other must have the same length");
      for (const inner of item) visit(inner, axis + 1);
    } else if (item === null || typeof item === "object") {
      throw new Error("lists hold numbers, words, true and false");
    } else {
      values.push(parseValue(datatype, String(item)));
    }
  };
  visit(lists, 0);
  return { shape, values };
}

/** Lists of JSON from elements: the innermost lists stay on one line. */
function listsText(shape, texts, indent = "") {
  if (shape.length === 0) return texts[0] ?? "0";
  if (shape.length === 1) return "[" + texts.join(", ") + "]";
  const step = texts.length / shape[0], deeper = indent + " ";
  const rows = Array.from({ length: shape[0] }, (_, row) => listsText(shape.slice(1), texts.slice(row * step, (row + 1) * step), deeper));
  return "[" + rows.join(",\n" + deeper) + "]";
}

/** Reads a file of numpy's format. */
function parseNpy(datatype, bytes) {
  const { npy } = typeOf(datatype), data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1, start = wide ? 12 : 10;
  const length = bytes.length < start ? NaN : wide ? data.getUint32(8, true) : data.getUint16(8, true);
  if (!(start + length <= bytes.length)) throw new Error("the .npy file is cut off");
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1], axes = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descr === undefined || axes === undefined) throw new Error("the .npy file has no plain array");
  if (descr.replace(/^[|=]/, "<") !== npy?.replace("|", "<")) throw new Error(`the array’s type is ${descr}; ${datatype} is ${npy ?? "none of numpy’s"}`);
  if (/'fortran_order':\s*True/.test(header)) throw new Error("the array is in Fortran’s order; save np.ascontiguousarray(array)");
  const shape = axes.split(",").filter((axis) => axis.trim()).map(Number);
  return { shape, bytes: bytes.slice(start + length) };
}

const isNpy = (bytes) => bytes[0] === 0x93 && new TextDecoder("latin1").decode(bytes.subarray(1, 6)) === "NUMPY";

/** A file of numpy's format. */
function toNpy({ datatype, shape, bytes }) {
  const axes = shape.length === 1 ? shape[0] + "," : shape.join(", ");
  const header = `{'descr': '${TYPES[datatype].npy}', 'fortran_order': False, 'shape': (${axes}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const start = new Uint8Array([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, padded.length & 255, padded.length >> 8]);
  return new Blob([start, padded, bytes]);
}
