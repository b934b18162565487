// The page: what is shown at first, and what the buttons do.

let running = null; // AbortController of the request in flight
let model = null;   // { name, metadata, labels, panels }

function view(name) {
  document.body.dataset.view = name;
  $("trouble").hidden = name !== "trouble";
}

/** Says why there is nothing to show, and asks for a key where that is the reason. */
function trouble(error) {
  const refusal = Refusal.of(error);
  view("trouble");
  $("trouble-text").replaceChildren(...refusal.elements());
  $("key-form").hidden = refusal.status !== 401;
  $("reload").hidden = refusal.status === 401;
  if (refusal.status === 401) $("key").focus();
}

async function start() {
  try {
    await openPage();
  } catch (error) {
    trouble(error);
  }
}

/** Shows the model that the path names, else the only one, else the list. */
async function openPage() {
  if (inPath) return showModel(decodeURIComponent(inPath[2]));
  const models = await read("v2/repository/index", { method: "POST" });
  if (models.length === 1) return showModel(models[0].name);
  return showIndex(models);
}

function showIndex(models) {
  document.title = "Models · modelfn";
  $("title").textContent = models.length ? "Models" : "No models";
  $("subtitle").textContent = models.length ? `This server has ${models.length}. Each has a page to try it on.`
    : "This server has no model yet. Name one when you start it: modelfn serve model.onnx";
  $("models").replaceChildren(...models.map(({ name, version, state, reason }) => {
    const item = el("li"), title = el("a", name), tensors = el("div", "", "type");
    item.append(title);
    if (state !== "READY") {
      item.append(el("p", "Not served: " + (reason || state), "small bad"));
      return item;
    }
    title.href = base + "models/" + encodeURIComponent(name);
    item.append(tensors, el("p", "version " + version, "small quiet"));
    describe(name, tensors);
    return item;
  }));
  view("index");
}

/** Inputs and outputs of a model of the list. They are an extra: a failure is silent. */
async function describe(name, place) {
  try {
    const { inputs, outputs } = await read(modelPath(name));
    const list = (specs) => specs.slice(0, 4).flatMap(({ datatype, shape }, index) => [index ? ", " : "", el("span", `${datatype} ${shapeText(shape)}`)]).concat(specs.length > 4 ? ", …" : "");
    place.append(...list(inputs), " → ", ...list(outputs));
  } catch { }
}

async function showModel(name) {
  const metadata = await read(modelPath(name));
  const card = await read("models/" + encodeURIComponent(name) + "/card").catch(() => ({}));
  document.title = name + " · modelfn";
  $("title").textContent = name;
  $("subtitle").textContent = card.description || "Give it inputs, and see what it computes and how long that takes.";
  $("where").textContent = `version ${metadata.versions.at(-1)}`;
  // The card's preprocessing is that of the first input.
  const panels = metadata.inputs.map((spec, index) => inputPanel({ ...spec, preprocessing: index === 0 ? card.preprocessing : null }, changed));
  model = { name, metadata, labels: card.labels ?? [], panels };
  $("inputs").replaceChildren(...panels.map(({ element }) => element));
  $("expected").replaceChildren(...metadata.outputs.map(({ name, datatype, shape }) => {
    const item = el("li");
    item.append(el("b", name), el("span", `${datatype} ${shapeText(shape)}`, "type"));
    return item;
  }));
  showLanguages();
  view("model");
  for (const panel of panels) panel.start();
}

let changes = 0;

/** Keeps the snippet in step with the inputs. What can't be read yet leaves it as it is. */
async function changed() {
  const change = ++changes;
  await new Promise((later) => { setTimeout(later, 150); });
  if (change !== changes) return;
  const tensors = await tensorsOf(model).catch(() => null);
  if (tensors && change === changes) showSnippet(snippetRequest(model.name, tensors, model.metadata.outputs));
}

const tensorsOf = async ({ panels }) => Promise.all(panels.map((panel) => panel.read()));

function show(state, announcement) {
  $("result").dataset.state = state;
  $("result").setAttribute("aria-busy", state === "busy");
  $("status").textContent = announcement;
  if (state !== "error") $("error").replaceChildren(); // so that the same error twice is read out twice
  // On a phone the answer is below the inputs: bring it into view, without moving what is visible already.
  if (state === "done" || state === "error") $("result").scrollIntoView({ block: "nearest" });
}

async function run() {
  running?.abort(); // the newest request wins
  const { signal } = running = new AbortController();
  $("busy-text").textContent = "Computing…";
  show("busy", "Computing");
  const slow = setTimeout(() => { $("busy-text").textContent = "Still waiting. A large model or a slow connection takes a while…"; }, 4000);
  try {
    const tensors = await tensorsOf(model);
    showSnippet(snippetRequest(model.name, tensors, model.metadata.outputs));
    const { outputs, roundTrip, serverTiming } = await infer(model.name, tensors, signal);
    if (signal.aborted) return;
    $("outputs").replaceChildren(...outputs.map((output, index) => outputView(output, index === 0 ? model.labels : [])));
    showTiming(serverTiming, roundTrip);
    show("done", "Computed");
  } catch (error) {
    if (signal.aborted) return;
    const refusal = Refusal.of(error);
    if (refusal.status === 401) return trouble(refusal);
    show("error", "");
    $("error").replaceChildren(...refusal.elements());
  } finally {
    clearTimeout(slow);
  }
}

$("home").href = base;
$("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
$("form").noValidate = true;
$("cancel").addEventListener("click", () => { running.abort(); $("result").focus(); show("idle", "Cancelled"); });
$("reload").addEventListener("click", start);
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim());
  $("key").value = "";
  if (model) view("model"); // what was filled in stays
  model ? run() : start();
});
document.addEventListener("paste", ({ clipboardData }) => {
  const file = clipboardData.files[0];
  if (file && model?.panels.length === 1) model.panels[0].take(file);
});
// A file that is dropped beside an area would make the browser leave the page.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0], inArea = event.target.closest?.(".drop");
  if (file && !inArea && model?.panels.length === 1) model.panels[0].take(file);
});

start();
