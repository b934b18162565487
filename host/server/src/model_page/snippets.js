// The request of the page as others send it: curl, Python with Triton's client, and JavaScript.

/** The most elements of an input that a snippet spells out; larger ones come from files. */
const MAX_INLINE = 256;
const NO_JSON = ["FP16", "BF16"]; // these travel as binary data only

const LANGUAGES = {
  curl: { label: "curl", write: curlSnippet, note: "" },
  python: { label: "Python", write: pythonSnippet, note: "With Triton’s client: pip install \"tritonclient[http]\"" },
  javascript: { label: "JavaScript", write: javascriptSnippet, note: "For Node 18 or later (as a file .mjs), or a page of this server." },
};

/** What a snippet says of a request. */
function snippetRequest(model, tensors, outputs) {
  const isInline = tensors.every(({ datatype, shape }) => product(shape) <= MAX_INLINE && !NO_JSON.includes(datatype));
  const isBinary = outputs.some(({ datatype }) => NO_JSON.includes(datatype));
  const parameters = isBinary ? { parameters: { binary_data_output: true } } : {};
  return { model, tensors, files: binNames(tensors), outputs, isInline, isBinary, parameters, url: new URL(base + modelPath(model) + "/infer", location.href).href, needsKey: key !== "" };
}

/** The names of the files of inputs: each its own, also where inputs differ only in what no file's name can have. */
function binNames(tensors) {
  const taken = new Set();
  return tensors.map(({ name }) => {
    let unique = fileName(name);
    for (let n = 2; taken.has(unique.toLowerCase()); n++) unique = `${fileName(name)}-${n}`;
    taken.add(unique.toLowerCase());
    return unique + ".bin";
  });
}

const shellQuoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'";

/** The elements in JSON. */
function jsonTexts({ datatype, bytes }) {
  return decode(datatype, bytes).map((value) => (datatype === "BYTES" ? JSON.stringify(value) : valueText(datatype, value)));
}

/** The JSON of a request that spells its inputs out, which JSON.stringify can't write: of large integers and NaN. */
function inlineJson({ tensors, parameters }) {
  const inputs = tensors.map((tensor) => {
    const { name, datatype, shape } = tensor;
    return `{"name": ${JSON.stringify(name)}, "datatype": "${datatype}", "shape": ${shapeText(shape)}, "data": [${jsonTexts(tensor).join(", ")}]}`;
  });
  const rest = parameters.parameters ? `, "parameters": ${JSON.stringify(parameters.parameters)}` : "";
  return `{"inputs": [${inputs.join(", ")}]${rest}}`;
}

function curlSnippet(request) {
  const { tensors, url, needsKey, isBinary } = request;
  const headers = needsKey ? [`-H "X-API-Key: $KEY"`] : [], output = isBinary ? ["-o outputs.bin"] : [];
  if (request.isInline) return ["curl " + shellUrl(url), ...headers, ...output, "-d " + shellQuoted(inlineJson(request))].join(" \\\n  ");
  const json = JSON.stringify(requestHead(tensors, request.parameters)), length = new TextEncoder().encode(json).length;
  const body = `(printf %s ${shellQuoted(json)}\n cat ${request.files.join(" ")}) |\n  `;
  return body + ["curl " + shellUrl(url), ...headers, ...output, `-H 'Inference-Header-Content-Length: ${length}'`, "--data-binary @-"].join(" \\\n  ");
}

const shellUrl = (url) => (/^[\w:/.%~-]+$/.test(url) ? url : shellQuoted(url));

const NUMPY = {
  BOOL: "bool", UINT8: "np.uint8", UINT16: "np.uint16", UINT32: "np.uint32", UINT64: "np.uint64", INT8: "np.int8", INT16: "np.int16",
  INT32: "np.int32", INT64: "np.int64", FP16: "np.float16", FP32: "np.float32", FP64: "np.float64",
  BF16: "ml_dtypes.bfloat16", BYTES: "object",
};

/** An expression of Python that makes the array, from the file `name` where it is not spelled out. */
function pythonArray(tensor, isInline, name) {
  const { datatype, shape, bytes } = tensor, type = NUMPY[datatype], sizes = shape.join(", ") + (shape.length === 1 ? "," : "");
  if (isInline && product(shape) === 0) return `np.zeros((${sizes}), dtype=${type})`;
  if (isInline) {
    const words = { true: "True", false: "False", NaN: "np.nan", Infinity: "np.inf", "-Infinity": "-np.inf" };
    const texts = jsonTexts(tensor).map((text) => (datatype === "BYTES" ? text : words[text] ?? text));
    return `np.array(${listsText(shape, texts, "     ")}, dtype=${type})`;
  }
  const file = JSON.stringify(name);
  if (datatype !== "BYTES") return `np.fromfile(${file}, dtype=${type}).reshape(${sizes})`;
  return `triton_utils.deserialize_bytes_tensor(open(${file}, "rb").read()).reshape(${sizes})`;
}

function pythonSnippet({ model, tensors, files, outputs, isInline, needsKey }) {
  // What numpy has no type for needs one of another package.
  const hasBfloat = tensors.some(({ datatype }) => datatype === "BF16"), hasFiles = !isInline && tensors.some(({ datatype }) => datatype === "BYTES");
  const names = tensors.map((_, index) => (tensors.length === 1 ? "tensor" : "tensor_" + index));
  const server = location.host + base.replace(/\/$/, ""), secure = location.protocol === "https:" ? ", ssl=True" : "";
  const lines = [
    ...(needsKey ? ["import os", ""] : []), ...(hasBfloat ? ["import ml_dtypes"] : []), "import numpy as np", "import tritonclient.http as triton",
    ...(hasFiles ? ["import tritonclient.utils as triton_utils"] : []), "",
    `client = triton.InferenceServerClient(${JSON.stringify(server)}${secure})`,
  ];
  tensors.forEach((tensor, index) => {
    lines.push(`${names[index]} = triton.InferInput(${JSON.stringify(tensor.name)}, ${shapeText(tensor.shape)}, "${tensor.datatype}")`);
    lines.push(`${names[index]}.set_data_from_numpy(${pythonArray(tensor, isInline, files[index])})`);
  });
  const headers = needsKey ? `, headers={"X-API-Key": os.environ["KEY"]}` : "";
  lines.push(`result = client.infer(${JSON.stringify(model)}, [${names.join(", ")}]${headers})`);
  for (const { name } of outputs) lines.push(`print(${JSON.stringify(name)}, result.as_numpy(${JSON.stringify(name)}))`);
  return lines.join("\n");
}

function javascriptSnippet(request) {
  const { tensors, url, needsKey, isInline, isBinary } = request;
  const keyLine = needsKey ? ['    "X-API-Key": process.env.KEY,'] : [], json = JSON.stringify(requestHead(tensors, request.parameters));
  const result = isBinary ? "console.log(new Uint8Array(await response.arrayBuffer()));" : "console.log((await response.json()).outputs ?? response.status);";
  if (isInline) {
    return [
      `const response = await fetch(${JSON.stringify(url)}, {`, '  method: "POST",', ...(needsKey ? ["  headers: {", ...keyLine, "  },"] : []),
      `  body: ${scriptString(inlineJson(request))},`, "});", result,
    ].join("\n");
  }
  return [
    'import { readFile } from "node:fs/promises";', "",
    `const json = new TextEncoder().encode(${JSON.stringify(json)});`,
    `const files = await Promise.all([${request.files.map((name) => `readFile(${JSON.stringify(name)})`).join(", ")}]);`,
    `const response = await fetch(${JSON.stringify(url)}, {`, '  method: "POST",', "  headers: {", ...keyLine,
    '    "Inference-Header-Content-Length": String(json.length),', "  },", "  body: new Blob([json, ...files]),", "});", result,
  ].join("\n");
}

/** A string of JavaScript: as it is where that can be read. */
function scriptString(text) {
  return /[`\\]|\$\{/.test(text) ? JSON.stringify(text) : "`" + text + "`";
}

let language = "curl", shownRequest = null;

function showLanguages() {
  const buttons = Object.entries(LANGUAGES).map(([name, { label }]) => {
    const button = Object.assign(el("button", label), { type: "button" });
    button.addEventListener("click", () => { language = name; showSnippet(shownRequest); });
    button.dataset.language = name;
    return button;
  });
  $("languages").replaceChildren(...buttons);
}

/** Shows how others send this request. */
function showSnippet(request) {
  shownRequest = request;
  for (const button of $("languages").children) button.setAttribute("aria-pressed", button.dataset.language === language);
  if (!request) return;
  $("snippet").textContent = LANGUAGES[language].write(request);
  const keyNote = request.needsKey ? "The key is in the variable KEY. " : "";
  $("snippet-note").textContent = keyNote + LANGUAGES[language].note;
  $("snippet-files").replaceChildren(...(request.isInline ? [] : [el("span", "It reads these files, which hold what is above: "), ...request.tensors.map((tensor, index) => {
    const name = request.files[index], button = Object.assign(el("button", name, "link"), { type: "button" });
    button.addEventListener("click", () => download(name, new Blob([tensor.bytes])));
    return button;
  })]));
}

$("copy").addEventListener("click", async () => {
  getSelection().selectAllChildren($("snippet"));
  // The clipboard API is missing on plain http: (other than localhost); copying the selection works there.
  const copied = await navigator.clipboard?.writeText($("snippet").textContent).then(() => true, () => false) || document.execCommand("copy");
  $("copy").textContent = copied ? "Copied" : "Selected";
  $("status").textContent = copied ? "Copied" : "Selected";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 2000);
});
