//! `modelfn model`: the cards that it writes, and what it says of models.

use std::path::{Path, PathBuf};
use std::process::Output;

use modelfn_card::Card;

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
            assert!(["external", "external-sparse", "recursive"].contains(&name), "{name}: {error}");
            continue;
        }
        let card = Card::parse(&out).unwrap_or_else(|e| panic!("{}: {e}\n{out}", folder.display()));
        let (expected, found) = ((original.inputs, original.outputs), (card.inputs, card.outputs));
        assert_eq!((original.name, expected), (card.name, found), "{out}");
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
    let (code, out, error) = run(&["model", "inspect", "lite", "--models", text(scratch.path())]);
    assert_eq!(code, 0, "{error}");
    for part in ["224 x 224 RGB NCHW, bilinear", "(p - [123.675, ", "top 5 of labels.txt by logits", "agree"] {
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
