//! Models of other people: files and folders without cards or with cards that say little, graphs whose axes are open, and
//! what the server says of those that it can't load.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{Scratch, Server, Setup, app, guest, modelfn, place, root};
use crate::program::Program;

/// A graph of `tests/fixtures/open`.
fn graph(name: &str) -> PathBuf {
    root().join("tests/fixtures/open").join(format!("{name}.onnx"))
}

/// A folder `name` in `scratch`, with that graph and a card, which may say nothing.
fn model(scratch: &Scratch, name: &str, of: &str, card: &str) -> PathBuf {
    scratch.write(&format!("{name}/model.toml"), format!("# A card.\n{card}"));
    scratch.write(&format!("{name}/model.onnx"), std::fs::read(graph(of)).unwrap());
    scratch.path().join(name)
}

/// Why `modelfn serve` with these arguments, in this folder, does not start.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let mut command = modelfn();
    command.current_dir(folder).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let Output { status, stderr, .. } = command.args(arguments).output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{error}");
    error
}

/// The input `image` of ones.
fn ones(shape: &[usize]) -> String {
    let data = vec![1; shape.iter().product()];
    json!({ "inputs": [{ "name": "image", "shape": shape, "datatype": "FP32", "data": data }] }).to_string()
}

async fn infer(server: &Server, model: &str, body: String) -> (u16, Value) {
    let answer = server.post(&format!("/v2/models/{model}/infer"), body).await;
    (answer.status, answer.json())
}

async fn input_shape(server: &Server, model: &str) -> Value {
    server.get(&format!("/v2/models/{model}")).await.json()["inputs"][0]["shape"].clone()
}

#[tokio::test]
async fn files_and_folders_without_cards_are_served_as_their_graphs_say() {
    let scratch = Scratch::new();
    let versions = ["versioned/1/model.onnx", "versioned/2/model.onnx"];
    for file in ["plain/net.onnx", "many/one.onnx", "many/three/net.onnx", "many/two.onnx"].iter().chain(&versions) {
        scratch.write(file, std::fs::read(graph("add")).unwrap());
    }
    for hidden in ["many/..data/model.onnx", "many/.one.onnx"] {
        scratch.write(hidden, std::fs::read(graph("add")).unwrap());
    }
    let folder = |name: &str| scratch.path().join(name);
    let server = Setup::of_models(&[graph("picture"), folder("plain"), folder("versioned"), folder("many")]).start();
    let models = server.get("/v2/models").await.json();
    assert_eq!(models["models"], json!(["one", "picture", "plain", "three", "two", "versioned"]));
    assert_eq!(input_shape(&server, "picture").await, json!([-1, 3, -1, -1]));
    assert_eq!(server.get("/v2/models/versioned").await.json()["versions"], json!(["2"]));
    for side in [5, 9] {
        let (status, answer) = infer(&server, "picture", ones(&[2, 3, side, side])).await;
        assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([75.0, 75.0])), "{answer}");
    }
    assert_eq!(server.admin_post("/reload").await.status, 200);
    assert_eq!(input_shape(&server, "plain").await, json!([-1, 2]));

    // A graph that is missing is a mistake, a folder that is gone is none.
    std::fs::remove_file(folder("many/one.onnx")).unwrap();
    std::fs::remove_file(folder("many/three/net.onnx")).unwrap();
    let refused = server.admin_post("/reload").await;
    assert!(refused.status == 400 && refused.text().contains("has no model any more"), "{}", refused.text());
    for name in ["one", "three"] {
        assert_eq!(input_shape(&server, name).await, json!([-1, 2]));
    }
    std::fs::remove_dir(folder("many/three")).unwrap();
    assert_eq!(server.admin_post("/reload").await.status, 200);
    assert_eq!(server.get("/v2/models").await.json()["models"], json!(["picture", "plain", "two", "versioned"]));
}

#[test]
fn a_path_without_a_model_or_a_name_twice_is_an_error() {
    let scratch = Scratch::new();
    model(&scratch, "a/add", "add", "");
    model(&scratch, "b/add", "add", "");
    scratch.write("weights.pt", "");
    scratch.write("empty/readme.txt", "");
    let in_scratch = |arguments: &[&str]| refused(scratch.path(), arguments);
    let twice = in_scratch(&["a/add", "b/add"]);
    assert!(
        twice.contains("two models are called 'add'") && twice.contains("a/add") && twice.contains("b/add"),
        "{twice}"
    );
    assert!(in_scratch(&["weights.pt"]).contains("export the model to ONNX"));
    assert!(in_scratch(&["nowhere.onnx"]).contains("neither a file nor a folder"));
    assert!(in_scratch(&["empty"]).contains("there is no model in empty"));
    assert!(in_scratch(&["a", "--load-model", "b"]).contains("no model 'b' in a; have: add"));
}

#[test]
fn a_folder_without_a_manifest_is_told_what_to_type() {
    let scratch = Scratch::new();
    assert!(refused(scratch.path(), &[]).contains("type `modelfn serve model.onnx`"));
    model(&scratch, "models/add", "add", "");
    assert!(refused(scratch.path(), &[]).contains("`modelfn serve models`"));
    scratch.write("net.onnx", std::fs::read(graph("add")).unwrap());
    assert!(refused(scratch.path(), &[]).contains("`modelfn serve net.onnx`"));
}

#[tokio::test]
async fn a_card_may_fix_what_its_graph_leaves_open_and_not_open_what_it_fixes() {
    let scratch = Scratch::new();
    let card = |shape: &str| format!("inputs = [{{ name = \"image\", dtype = \"FP32\", shape = {shape} }}]");
    let fixed = model(&scratch, "fixed", "only-96", &card("[1, 3, 96, 96]"));
    let server = Setup::of_models(&[fixed]).start();
    assert_eq!(input_shape(&server, "fixed").await, json!([1, 3, 96, 96]));
    let (status, answer) = infer(&server, "fixed", ones(&[1, 3, 96, 96])).await;
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([27648.0])), "{answer}");
    let (status, answer) = infer(&server, "fixed", ones(&[1, 3, 48, 192])).await;
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("[1, 3, 96, 96]"), "{answer}");

    model(&scratch, "opened", "only-96", &card("[1, -1, -1, -1]"));
    assert!(refused(scratch.path(), &["opened"]).contains("card and graph disagree"));
}

#[tokio::test]
async fn a_warm_up_on_shapes_that_nobody_stated_refuses_no_model() {
    let server = Setup::of_models(&[graph("only-96"), graph("division"), graph("past"), graph("picture")]).start();
    let warning = server.wait_for_log("no warm-up: it computed none of the shapes");
    assert!(warning.contains("only-96") && warning.contains("warmup = {"), "{warning}");
    let warning = server.wait_for_log("no warm-up: the engine's process ended by signal");
    assert!(warning.contains("division"), "{warning}");
    let (status, answer) = infer(&server, "only-96", ones(&[1, 3, 96, 96])).await;
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([27648.0])), "{answer}");
    let sixes =
        json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "INT32", "data": [6, 6] }] }).to_string();
    let (status, answer) = infer(&server, "division", sixes).await;
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([1, 1])), "{answer}");
    let warnings: Vec<_> = server.log().into_iter().filter(|line| line.contains("no warm-up")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[tokio::test]
async fn a_warm_up_on_shapes_that_the_card_states_must_succeed() {
    let scratch = Scratch::new();
    let card = |shape: &str| format!("[serving]\nwarmup = {{ image = {shape} }}");
    let right = model(&scratch, "right", "only-96", &card("[1, 3, 96, 96]"));
    let server = Setup::of_models(&[right]).start();
    assert!(!server.log().iter().any(|line| line.contains("no warm-up")));
    assert_eq!(infer(&server, "right", ones(&[1, 3, 48, 192])).await.0, 200, "other shapes are still open");
    for (shape, says) in [
        ("[1, 3, 32, 32]", "the warm-up failed"),
        ("[1, 4, 96, 96]", "serving.warmup says [1, 4, 96, 96], but the input is"),
        ("[1, 3, 96]", "serving.warmup says [1, 3, 96]"),
    ] {
        model(&scratch, "wrong", "only-96", &card(shape));
        let error = refused(scratch.path(), &["wrong"]);
        assert!(error.contains(says), "{error}");
    }
    model(&scratch, "unknown", "only-96", "[serving]\nwarmup = { picture = [1, 3, 96, 96] }");
    assert!(refused(scratch.path(), &["unknown"]).contains("names 'picture', but the inputs are image"));
    model(&scratch, "crash", "division", "[serving]\nwarmup = { x = [1, 2] }");
    assert!(refused(scratch.path(), &["crash"]).contains("ended by signal"));
}

#[tokio::test]
async fn what_is_left_out_is_told_apart_from_what_is_unknown() {
    let scratch = Scratch::new();
    model(&scratch, "models/whole", "add", "");
    scratch.write("models/broken/model.onnx", "no graph");
    scratch.write("models/empty/notes.txt", "");
    let server = Setup::models_only().models(scratch.path().join("models")).start();
    let broken = server.get("/v2/models/broken").await;
    let unknown = server.get("/v2/models/nothing").await;
    assert_eq!((broken.status, unknown.status), (503, 404));
    assert!(broken.text().contains("could not be loaded, and is left out"), "{}", broken.text());
    let ready = server.admin("/readyz").await;
    assert_eq!((ready.status, ready.text().as_ref()), (200, "ready\nleft out: broken\n"));
    let index = server.post("/v2/repository/index", "").await.json();
    let states: Vec<_> = index.as_array().unwrap().iter().map(|entry| (&entry["name"], &entry["state"])).collect();
    assert_eq!(states, [(&json!("whole"), &json!("READY")), (&json!("broken"), &json!("UNAVAILABLE"))]);
    for (name, state) in [("whole", "served"), ("broken", "left out: not a graph"), ("empty", "no model: neither")] {
        let line: Value = serde_json::from_str(&server.wait_for_log(&format!("model {name}: {state}"))).unwrap();
        assert_eq!(line["model"], name);
        assert_eq!(line["version"].is_u64(), name == "whole", "{line}");
    }

    scratch.write("models/broken/model.onnx", std::fs::read(graph("add")).unwrap());
    assert_eq!(server.admin_post("/reload").await.status, 200);
    assert_eq!(server.get("/v2/models/broken").await.status, 200);
    assert_eq!(server.admin("/readyz").await.text(), "ready\n");
}

/// Routes of a manifest are something to serve, whatever its pages have to show.
#[tokio::test]
async fn routes_are_served_beside_pages_without_a_model() {
    let manifest = "spin_manifest_version = 2\n[application]\nname = \"test\"\ntool.modelfn.model_pages = true\n\
        [[trigger.http]]\nroute = \"/hello\"\ncomponent = { static_response = { body = \"hello\" } }\n";
    let server = Setup::app(manifest).start();
    assert_eq!(server.get("/hello").await.text(), "hello");
    assert_eq!(server.get("/").await.status, 200);
}

/// A manifest whose functions use no model needs no folder of models; one that was named must be there.
#[test]
fn the_folder_of_models_may_be_missing_where_none_is_used() {
    let scratch = Scratch::new();
    let invoke = |settings: &str, arguments: &[&str]| {
        scratch.write("spin.toml", app(&guest("probe"), settings));
        let output = modelfn().current_dir(scratch.path()).args(["invoke", "/hello"]).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(invoke("", &[]).0);
    let (succeeded, error) = invoke("[component.it.tool.modelfn]\nmodels = [\"add\"]", &[]);
    assert!(!succeeded && error.contains("no model 'add' in models; have: none"), "{error}");
    let (succeeded, error) = invoke("", &["--models", "models"]);
    assert!(!succeeded && error.contains("the model folder models can't be read"), "{error}");
}

#[test]
fn a_server_with_nothing_to_serve_does_not_start() {
    let scratch = Scratch::new();
    scratch.write("models/broken/model.onnx", "no graph");
    for path in ["models", "models/broken", "models/broken/model.onnx"] {
        let error = refused(scratch.path(), &[path]);
        assert!(error.contains("nothing to serve: model '") && error.contains("not a graph"), "{path}: {error}");
    }
}

#[test]
fn an_application_loads_what_its_manifest_names_unless_models_are_named() {
    let scratch = Scratch::new();
    model(&scratch, "models/add", "add", "");
    scratch.write("models/broken/model.onnx", "no graph");
    let settings = "[component.it.tool.modelfn]\nmodels = [\"add\"]";
    scratch.write("spin.toml", app(&guest("probe"), settings));
    let log = |arguments: &[&str]| {
        let output = modelfn().current_dir(scratch.path()).args(["invoke", "/"]).args(arguments).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!log(&[]).contains("left out"));
    assert!(log(&["--models", "models"]).contains("left out: model 'broken'"));
}

#[test]
fn without_an_engine_the_start_says_where_to_get_it() {
    let scratch = Scratch::new();
    scratch.write("bin/python3", "");
    let program = scratch.path().join("bin/modelfn");
    place(Path::new(env!("CARGO_BIN_EXE_modelfn")), &program);
    let graph = graph("add");
    for arguments in [&[graph.as_path()][..], &[Path::new("--models"), graph.parent().unwrap()]] {
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(arguments);
        let output = command.current_dir(scratch.path()).env_remove("MODELFN_ONNXRUNTIME").output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("libonnxruntime") && error.contains("`pip install onnxruntime`"), "{error}");
    }
}

#[test]
fn the_request_that_a_person_is_shown_works() {
    for name in ["add", "picture", "past"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
        command.current_dir(root()).args(["--log-format", "human", "serve"]).arg(graph(name));
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let server = Program::start(command, "serving on http://127.0.0.1:");
        let line = server.wait_for_line("try      ");
        let shown = line.split_once("try      ").unwrap().1;
        let shell = Command::new("sh").args(["-c", &format!("{shown} -sS --noproxy '*'")]).output().unwrap();
        let answer: Value = serde_json::from_slice(&shell.stdout)
            .unwrap_or_else(|e| panic!("{shown}: {e}: {}", String::from_utf8_lossy(&shell.stderr)));
        assert_eq!(answer["model_name"], name, "{shown}: {answer}");
        assert!(answer["outputs"][0]["data"].as_array().unwrap().iter().all(|value| value == 0 || value == 0.0));
        assert!(server.wait_for_line("page     ").contains(&server.url("/")));
    }
}

#[test]
fn a_plan_measures_shapes_that_the_model_computes() {
    let plan = |name: &str, arguments: &[&str]| {
        let mut command = modelfn();
        command.args(["plan", name, "--no-app", "--seconds", "1", "--json", "--models", "tests/fixtures/open"]);
        let output = command.args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (succeeds, said) = plan("only-96", &[]);
    assert!(!succeeds && said.contains("--shape"), "{said}");
    let (succeeds, said) = plan("only-96", &["--shape", "image=1x3x48x97"]);
    assert!(!succeeds, "{said}");
    let (succeeds, said) = plan("only-96", &["--shape", "image=1x3x48x192"]);
    assert!(succeeds && said.contains("[1, 3, 48, 192]"), "{said}");
    let (succeeds, said) = plan("picture", &[]);
    assert!(succeeds && said.contains("[1, 3, 224, 224]"), "{said}");
}

#[tokio::test]
async fn who_sends_a_picture_to_a_model_without_a_card_is_told_how_to_write_one() {
    let scratch = Scratch::new();
    scratch.write("net/net.onnx", std::fs::read(graph("picture")).unwrap());
    scratch.write("net/labels.txt", "cat\ndog\n");
    let server = Setup::of_models(&[scratch.path().join("net")]).start();
    let told = server.post("/classify", "picture").await.problem(404);
    assert!(told.contains("/classify: model 'net' does not classify pictures: it has no card"), "{told}");
    assert!(told.contains("`modelfn model card net.onnx --task image-classification"), "{told}");
    assert_eq!(server.post("/models/net/classify", "picture").await.problem(404).replace("/models/net", ""), told);
    assert_eq!(server.get("/nowhere").await.problem(404), "No function answers /nowhere.");

    let of_two = Setup::of_models(&[scratch.path().join("net"), model(&scratch, "add", "add", "")]).start();
    assert_eq!(of_two.post("/classify", "picture").await.problem(404), "No function answers /classify.");
    let told = of_two.post("/models/add/classify", "picture").await.problem(404);
    assert!(told.contains("the card does not say how a picture becomes"), "{told}");
}

/// As the caches of hubs have them: what is called by its name is a link to what is called by its digest.
#[tokio::test]
async fn a_graph_that_is_a_link_is_served_where_a_person_named_it_or_its_folder() {
    let scratch = Scratch::new();
    let link = |to: &str, name: &str| {
        let place = scratch.path().join(name);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, place).unwrap();
    };
    let external = root().join("tests/fixtures/external/plain");
    let mut files =
        std::fs::read_dir(&external).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let weights = files.find(|name| name != "model.onnx").unwrap();
    for (blob, file) in [("1f", "model.onnx"), ("2f", weights.as_str())] {
        scratch.write(&format!("hub/blobs/{blob}"), std::fs::read(external.join(file)).unwrap());
        link(&format!("../../blobs/{blob}"), &format!("hub/snapshots/main/{file}"));
    }
    let folder = scratch.path().join("hub/snapshots/main");
    let setup = Setup::of_models(std::slice::from_ref(&folder));
    let server = setup.start();
    assert_eq!(server.get("/v2/models/main/ready").await.status, 200);
    assert_eq!(server.admin_post("/reload").await.status, 200);

    // Weights elsewhere than beside the graph or its link are nobody's to vouch for, nor is a folder of models.
    scratch.write("elsewhere/weights", std::fs::read(external.join(&weights)).unwrap());
    std::fs::remove_file(folder.join(&weights)).unwrap();
    link("../../../elsewhere/weights", &format!("hub/snapshots/main/{weights}"));
    let error = refused(scratch.path(), &["hub/snapshots/main"]);
    assert!(error.contains("which is not below"), "{error}");
    let error = refused(scratch.path(), &["hub/snapshots"]);
    assert!(error.contains("name it by its real path"), "{error}");
    let versions = scratch.path().join("versions/1");
    std::fs::create_dir_all(&versions).unwrap();
    std::os::unix::fs::symlink(graph("add"), versions.join("model.onnx")).unwrap();
    assert!(refused(scratch.path(), &["versions"]).contains("which is not below"));
}

#[test]
fn cards_that_say_nothing_or_nonsense_are_refused() {
    let scratch = Scratch::new();
    let of = |name: &str, card: &str| {
        scratch.write(&format!("{name}/model.onnx"), std::fs::read(graph("add")).unwrap());
        scratch.write(&format!("{name}/model.toml"), card);
        refused(scratch.path(), &[name])
    };
    for (name, card, says) in [
        ("empty", "", "it is empty; write one with `modelfn model card"),
        ("blank", " \n\n", "it is empty"),
        (
            "sizes",
            "inputs = [{ name = \"x\", dtype = \"FP32\", shape = [-2, 2] }]",
            "-2 is no size of an axis; write -1",
        ),
    ] {
        let error = of(name, card);
        assert!(error.contains(says), "{error}");
    }
}
