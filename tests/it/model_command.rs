//! `modelfn model`: the cards that it writes, and what it says of models.

use std::path::{Path, PathBuf};
use std::process::Output;

use modelfn_card::Card;
use serde_json::json;

use crate::harness::{Scratch, modelfn, place, root};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = modelfn().args(["--log", "error"]).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every folder of this repository that has a graph and a card which this program did not write.
fn models() -> Vec<PathBuf> {
    let parents = ["models", "tests/fixtures/models", "tests/fixtures/hostile"].map(|parent| root().join(parent));
    let folders =
        parents.iter().flat_map(|parent| std::fs::read_dir(parent).unwrap()).map(|entry| entry.unwrap().path());
    folders.filter(|folder| folder.join("model.onnx").exists() && folder.join("model.toml").exists()).collect()
}

#[test]
fn the_card_of_every_graph_says_what_the_card_says_that_was_written_by_hand() {
    let models = models();
    assert!(models.len() >= 9, "{models:?}");
    for folder in models {
        let original = Card::parse(&std::fs::read_to_string(folder.join("model.toml")).unwrap()).unwrap();
        let (code, out, error) = run(&["model", "card", text(&folder.join("model.onnx"))]);
        if code != 0 {
            let name = folder.file_name().unwrap().to_str().unwrap();
            assert!(["external", "external-sparse", "recursive", "twice"].contains(&name), "{name}: {error}");
            continue;
        }
        let card = Card::parse(&out).unwrap_or_else(|e| panic!("{}: {e}\n{out}", folder.display()));
        let (expected, found) = ((original.inputs, original.outputs), (card.inputs, card.outputs));
        assert_eq!(expected, found, "{out}");
    }
}

/// A graph has a card, whatever it takes and returns, or a reason why not that is the graph's.
#[test]
fn graphs_out_of_the_ordinary_have_cards_too() {
    let graphs = std::fs::read_dir(root().join("tests/fixtures/tensors")).unwrap();
    let graphs: Vec<_> =
        graphs.map(|entry| entry.unwrap().path().join("model.onnx")).filter(|path| path.exists()).collect();
    assert!(graphs.len() >= 18, "{graphs:?}");
    for graph in graphs {
        let (code, out, error) = run(&["model", "card", text(&graph)]);
        if code == 0 {
            Card::parse(&out).unwrap_or_else(|e| panic!("{}: {e}\n{out}", graph.display()));
        } else {
            let is_explained = error.contains("can't carry") || error.contains("its ZipMap has names for");
            assert!(is_explained, "{}: {error}", graph.display());
        }
    }
}

/// The commands of somebody who has an image classifier and the names of its classes.
#[test]
fn a_card_of_an_image_classifier_is_written_once_and_right() {
    let scratch = Scratch::new();
    let (folder, original) = (scratch.path().join("lite"), root().join("models/efficientnet-lite0"));
    std::fs::create_dir(&folder).unwrap();
    for file in ["model.onnx", "labels.txt"] {
        place(&original.join(file), &folder.join(file));
    }
    let (graph, labels) = (folder.join("model.onnx"), folder.join("labels.txt"));
    let write = ["model", "card", text(&graph), "--labels", text(&labels), "--preset", "imagenet"];
    let to_folder = [&write[..], &["--output", text(&folder)]].concat();
    let (code, out, error) = run(&to_folder);
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("lite/model.toml") && out.contains("modelfn model inspect"), "{out}");
    let (code, out, error) = run(&["model", "inspect", text(&folder)]);
    assert_eq!(code, 0, "{error}");
    for part in ["224 x 224 RGB NCHW, bilinear", "(p - [0.485, ", "top 5 of labels.txt by logits", "agree"] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }

    let (code, _, error) = run(&to_folder);
    assert_eq!(code, 1);
    assert!(error.contains("is there already; overwrite it with --force"), "{error}");
    let (code, _, error) = run(&[&to_folder[..], &["--force", "--name", "lite"]].concat());
    assert_eq!(code, 0, "{error}");
}

#[test]
fn a_card_that_would_be_wrong_is_not_written() {
    let scratch = Scratch::new();
    let graph = root().join("models/efficientnet-lite0/model.onnx");
    let (add, output) = (root().join("tests/fixtures/hostile/add/model.onnx"), scratch.path().join("model.toml"));
    let labels = scratch.write("nine.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\n");
    place(&graph, &scratch.path().join("model.onnx"));
    let own = scratch.path().join("model.onnx");
    for (arguments, says) in [
        (&[text(&graph), "--output", text(&output)][..], "lies outside of the card's folder"),
        (
            &[text(&own), "--labels", text(&labels), "--output", text(&output)],
            "nine.txt names 9 classes, but the graph's",
        ),
        (&[text(&own), "--labels", "no-such.txt"], "no-such.txt can't be read"),
        (&[text(&add), "--task", "image-classification"], "takes 2 inputs"),
        (&["no-such.onnx"], "no-such.onnx can't be read"),
        (&[text(&labels)], "not a graph that the engine can run"),
    ] {
        let (code, out, error) = run(&[&["model", "card"], arguments].concat());
        assert_eq!(code, 1, "{out}");
        assert!(error.contains(says), "{says} is not in {error}");
        assert!(!output.exists());
    }
}

/// The models of `tests/fixtures/hostile` by what is said of them.
#[test]
fn a_list_says_which_models_are_broken_and_why() {
    let hostile = root().join("tests/fixtures/hostile");
    let (code, out, error) = run(&["model", "list", "--models", text(&hostile)]);
    assert_eq!(code, 1, "{error}");
    let row =
        |name: &str| out.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("{out}"));
    assert!(out.starts_with("name ") && row("add").ends_with("  ok"), "{out}");
    assert!(row("add").contains("'a' FP32 [-1, 2], 'b' FP32 [-1, 2]  'sum' FP32 [-1, 2]  "), "{out}");
    assert!(row("recursive").contains("  broken: ") && row("recursive").contains("calls itself"), "{out}");
    assert!(row("division-at-start").contains("SIGFPE") && row("division-at-start").contains("I32 [-1]"), "{out}");

    let graph = hostile.join("add/model.onnx");
    let (code, out, error) = run(&["model", "list", text(&graph), text(&hostile.join("recursive")), "--json"]);
    assert_eq!(code, 1, "{error}");
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&rows[0]["name"], &rows[0]["state"]), (&json!("model"), &json!("ok")), "{rows}");
    assert_eq!(rows[0]["signature"]["inputs"][1], json!({ "name": "b", "dtype": "FP32", "shape": [-1, 2] }), "{rows}");
    assert_eq!((&rows[1]["state"], &rows[1]["version"]), (&json!("broken"), &json!(1)), "{rows}");
    assert_eq!(run(&["model", "list", text(&graph)]).0, 0);
}

#[test]
fn mean_and_deviation_of_the_other_scale_are_doubted_and_not_refused() {
    let scratch = Scratch::new();
    let graph = root().join("tests/fixtures/open/picture.onnx");
    place(&graph, &scratch.write("net/labels.txt", "a\n").with_file_name("model.onnx"));
    let folder = scratch.path().join("net");
    for (values, doubt) in [
        (
            "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]",
            Some("scale is 255; if they are, write scale = 1"),
        ),
        ("scale = 1\nmean = [123.7, 116.3, 103.5]\nstd = [58.4, 57.1, 57.4]", Some("write scale = 255")),
        ("scale = 1\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]", None),
        ("mean = [123.7, 116.3, 103.5]\nstd = [58.4, 57.1, 57.4]", None),
        ("scale = 1", None),
        ("", None),
    ] {
        scratch.write("net/model.toml", format!("[preprocessing]\nsize = [8, 8]\nlayout = \"NCHW\"\n{values}\n"));
        let (code, out, error) = run(&["model", "inspect", text(&folder)]);
        assert_eq!(code, 0, "{out}{error}");
        let doubtful = out.lines().find(|line| line.starts_with("DOUBTFUL "));
        match doubt {
            Some(says) => assert!(doubtful.is_some_and(|line| line.contains(says)), "{values}: {out}"),
            None => assert_eq!(doubtful, None, "{values}"),
        }
    }
}

#[test]
fn a_card_is_made_of_the_graph_of_a_folder() {
    let scratch = Scratch::new();
    let graph = root().join("tests/fixtures/open/add.onnx");
    place(&graph, &scratch.write("net/notes.txt", "").with_file_name("net.onnx"));
    let folder = scratch.path().join("net");
    let (code, out, error) = run(&["model", "card", text(&folder), "--output", text(&folder)]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(std::fs::read_to_string(folder.join("model.toml")).unwrap().contains("file = \"net.onnx\""));
    assert_eq!(run(&["model", "inspect", text(&folder)]).0, 0);

    place(&graph, &folder.join("other.onnx"));
    let (code, _, error) = run(&["model", "card", text(&folder)]);
    assert!(code == 1 && error.contains("net.onnx, other.onnx could each be the graph"), "{error}");
    let (code, _, error) = run(&["model", "card", text(&root().join("docs"))]);
    assert!(code == 1 && error.contains("has no .onnx file; name the graph itself"), "{error}");
}

#[test]
fn all_that_is_wrong_with_a_model_is_said_at_once() {
    let scratch = Scratch::new();
    let graph = root().join("tests/fixtures/hostile/add/model.onnx");
    place(&graph, &scratch.write("add/notes.txt", "").with_file_name("model.onnx"));
    scratch.write(
        "add/model.toml",
        "name = \"sum\"\nlicence = \"MIT\"\ngraph = { file = \"model.onnx\", sha256 = \"00\" }\n\
         serving = { threads = \"two\" }\n\
         inputs = [{ name = \"a\", dtype = \"FP32\", shape = [-1, 3] }, { name = \"b\", dtype = \"FP32\", shape = [-1, 2] }]\n\
         postprocessing = { labels = \"no.txt\", scores = \"logits\", top_k = 2 }\n",
    );
    let (code, out, _) = run(&["model", "inspect", text(&scratch.path().join("add"))]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("inputs       'a' FP32 [-1, 2]\n"), "the graph's signature is shown all the same: {out}");
    for says in [
        "card: licence: unknown field",
        "card: serving.threads: invalid type",
        "name = \"sum\" must be the folder's name",
        "no.txt can't be read",
        "input: the card says 'a' FP32 [-1, 3], the graph has 'a' FP32 [-1, 2]",
        "sha256: the card says 00",
    ] {
        assert_eq!(
            out.lines().filter(|line| line.starts_with("WRONG ") && line.contains(says)).count(),
            1,
            "{says}: {out}"
        );
    }
    assert_eq!(out.matches("WRONG").count(), 6, "{out}");
}

#[test]
fn a_model_is_found_by_its_path_too() {
    let hostile = root().join("tests/fixtures/hostile");
    let (graph, folder) = (hostile.join("add/model.onnx"), hostile.join("add"));
    for model in [text(&graph), text(&folder)] {
        let (code, out, error) = run(&["model", "inspect", model]);
        assert_eq!(code, 0, "{error}");
        assert!(out.contains("'sum' FP32 [-1, 2]") && out.contains("ms to load it and to warm it up"), "{out}");
    }
    let (code, _, error) = run(&["model", "inspect", text(&hostile)]);
    assert!(code == 1 && error.contains("has several models; name one of them: "), "{error}");
    let scratch = Scratch::new();
    let (code, _, error) = run(&["model", "inspect", text(scratch.path())]);
    assert!(code == 1 && error.contains("has no model: neither a card nor an .onnx file"), "{error}");
    // Without a card the graph says it all.
    place(&graph, &scratch.path().join("plain.onnx"));
    let (code, out, error) = run(&["model", "inspect", text(scratch.path()), "--json"]);
    assert_eq!(code, 0, "{error}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["has_card"], &found["problems"]), (&json!(false), &json!([])), "{found}");
}
