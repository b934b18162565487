// What this page asks of its server.

const $ = (id) => document.getElementById(id);

/** A new element. Everything that comes from outside goes through textContent: it can never become markup. */
function el(tag, text = "", className = "") {
  return Object.assign(document.createElement(tag), { textContent: text, className });
}

/** A reason why something did not work, for the visitor: a title, a sentence and a note. */
class Refusal extends Error {
  constructor(title, detail, note = "", status = 0) {
    super(detail);
    Object.assign(this, { title, detail, note, status });
  }

  /** What an error is to the visitor, whatever it is. */
  static of(error) {
    return error instanceof Refusal ? error : new Refusal("That does not work", error.message);
  }

  elements() {
    return [el("h2", this.title), el("p", this.detail), el("p", this.note, "small quiet")];
  }
}

// A list is at the end of the base, and a model at `models/NAME` below it.
const inPath = /^(.*\/)models\/([^/]+)\/?$/.exec(location.pathname);
const base = inPath ? inPath[1] : location.pathname.replace(/\/?$/, "/");

let key = ""; // for a server that wants one; remembered until the tab is closed
try { key = sessionStorage.getItem("modelfn-key") ?? ""; } catch { } // storage may be forbidden

/** An empty key is none. */
function useKey(text) {
  key = text;
  try { sessionStorage.setItem("modelfn-key", key); } catch { }
}

const modelPath = (name) => "v2/models/" + encodeURIComponent(name);

/** Sends a request, and gives the response if it is a success. */
async function ask(path, options = {}) {
  const headers = { ...(key && { "X-API-Key": key }), ...options.headers };
  let response;
  try {
    response = await fetch(base + path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal("No answer from the server", "It may be down, or it refused a request of this size.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { status } = response, text = await response.text().catch(() => "");
  let document = null; // stays null for a proxy's page
  try { document = JSON.parse(text); } catch { }
  const titles = {
    401: key ? "That key is not valid here" : "This server wants a key", 404: "There is no such model", 413: "That is too large", 429: "The server is busy", 503: "The server is busy", 504: "That took too long",
  };
  const title = titles[status] ?? (status >= 500 ? "The server had a problem" : "The model can’t take that");
  const said = document?.error ?? document?.detail ?? "The answer was not one that this page understands.";
  const detail = status === 401 ? "Enter yours to go on. It is kept until this tab is closed." : said;
  const seconds = parseInt(response.headers.get("Retry-After"), 10); // the header may hold a date: not worth a parser
  const when = seconds > 0 ? ` Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.` : "";
  if (status === 401) useKey("");
  return new Refusal(title, detail + when, "HTTP " + status, status);
}

/** Asks for JSON. */
const read = async (path, options) => (await ask(path, options)).json();

/** The JSON of a request, before the binary data of its inputs. */
function requestHead(tensors, extra = {}) {
  const inputs = tensors.map(({ name, datatype, shape, bytes }) => ({ name, datatype, shape, parameters: { binary_data_size: bytes.length } }));
  return { inputs, ...extra };
}

/** Computes. Gives the outputs as tensors, and how long it took. */
async function infer(model, tensors, signal) {
  const head = new TextEncoder().encode(JSON.stringify(requestHead(tensors, { parameters: { binary_data_output: true } })));
  const body = new Blob([head, ...tensors.map(({ bytes }) => bytes)]);
  const headers = { "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": String(head.length) };
  const started = performance.now();
  const response = await ask(modelPath(model) + "/infer", { method: "POST", body, headers, signal });
  const bytes = new Uint8Array(await response.arrayBuffer());
  const roundTrip = performance.now() - started;
  return { outputs: readOutputs(bytes, response.headers.get("Inference-Header-Content-Length")), roundTrip, serverTiming: response.headers.get("Server-Timing") ?? "" };
}

function readOutputs(bytes, headLength) {
  let offset = headLength === null ? bytes.length : Number(headLength);
  const { outputs } = JSON.parse(new TextDecoder().decode(bytes.subarray(0, offset)));
  return outputs.map(({ name, datatype, shape, parameters, data }) => {
    const size = parameters?.binary_data_size;
    if (size === undefined) return { name, datatype, shape, bytes: encode(datatype, (data ?? []).flat(Infinity).map((value) => parseValue(datatype, String(value)))) };
    offset += size;
    return { name, datatype, shape, bytes: bytes.subarray(offset - size, offset) };
  });
}
