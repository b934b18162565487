//! `modelfn model check`: labelled pictures through the real function, and mistakes in a card that nobody else would find.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Scratch, guest, model_with, modelfn, root};

const LITE: &str = "efficientnet-lite0";

/// What a check prints, and its exit code.
struct Check {
    code: i32,
    out: String,
    error: String,
}

impl Check {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.error))
    }
}

fn check(arguments: &[&str]) -> Check {
    let mut command = modelfn();
    command.args(["model", "check", "--function"]).arg(guest("classify")).args(arguments).current_dir(root());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Check { code: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
}

fn refused(arguments: &[&str]) -> String {
    let Check { code, out, error } = check(arguments);
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    // A line of JSON, whose text has line breaks of its own.
    let line: Value = serde_json::from_str(error.lines().last().unwrap()).unwrap();
    line["message"].as_str().unwrap().to_owned()
}

/// The sample pictures of a kind with the number of their class, the last one of their name.
fn labelled(prefix: &str) -> Vec<(PathBuf, usize)> {
    let files = std::fs::read_dir(root().join("target/pictures")).expect("run `make pictures`");
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let class = |path: &Path| path.file_stem()?.to_str()?.strip_prefix(prefix)?.rsplit_once('_')?.1.parse().ok();
    files.into_iter().filter_map(|path| class(&path).map(|class| (path, class))).collect()
}

/// A folder for each class, called by its label, by the first name of its label, or by its index.
fn folders(prefix: &str, model: &Path) -> Scratch {
    let labels = std::fs::read_to_string(model.join("labels.txt")).unwrap();
    let labels: Vec<&str> = labels.lines().collect();
    let folder = Scratch::new();
    for (n, (path, class)) in labelled(prefix).into_iter().enumerate() {
        let first = labels[class].split(',').next().unwrap().to_uppercase().replace(' ', "_");
        let name = [labels[class].to_owned(), first, class.to_string()][n % 3].clone();
        folder.write(&format!("{name}/{n}.{}", path.extension().unwrap().display()), std::fs::read(&path).unwrap());
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The numbers are those of `tests/fixtures/golden/README.md`, which Pillow and ONNX Runtime's own package give.
#[test]
fn a_right_card_gets_what_the_reference_gets() {
    let pictures = folders("imagenet_", &root().join("models").join(LITE));
    let table = check(&[LITE, text(pictures.path())]);
    assert_eq!(table.code, 0, "{}", table.error);
    for part in ["efficientnet-lite0 (version 1)", "20, of 19 classes", "90.0 %  18 of 20", "None of 11 other usual"] {
        assert!(table.out.contains(part), "{part:?} is not in {}", table.out);
    }
    assert!(!table.error.contains("answered"), "no line for each picture: {}", table.error);
    let exit = |least: &str| check(&[LITE, text(pictures.path()), "--tries", "0", "--json", "--min-top1", least]);
    assert_eq!((exit("0.9").code, exit("0.91").code), (0, 1));
    let json = exit("1").json();
    assert_eq!(
        (&json["read"], &json["top1"], &json["tried"], &json["suggestion"]),
        (&json!(20), &json!(18), &json!([]), &Value::Null)
    );
}

/// Mean and deviation for values of 0 to 1 are taken for those of 0 to 255: card and graph agree, and the model is wrong.
#[test]
fn mean_and_std_of_the_wrong_scale_are_found_out() {
    let wrong = |card: &str| card.replace("[127.0, 127.0, 127.0]", "[0.5]").replace("[128.0, 128.0, 128.0]", "[0.5]");
    let models = model_with(LITE, wrong);
    let pictures = folders("imagenet_", &models.path().join(LITE));
    let arguments = [LITE, text(pictures.path()), "--models", text(models.path())];
    let found = check(&[&arguments[..], &["--json"]].concat());
    assert_eq!(found.code, 0, "{}", found.error);
    let json = found.json();
    assert!(json["top1"].as_u64().unwrap() < 5, "{json}");
    let suggestion = &json["suggestion"];
    assert_eq!(suggestion["card"], json!(["scale = 1", "mean = [0.5]", "std = [0.5]"]), "{json}");
    let change = &suggestion["changes"][0];
    assert!(change["right"] == 18 && change["worse"] == 0 && change["p"].as_f64().unwrap() < 0.001, "{change}");

    // The lines do what was promised.
    let models = model_with(LITE, |card| wrong(card).replace("mean =", "scale = 1\nmean ="));
    let mended = check(&[LITE, text(pictures.path()), "--models", text(models.path()), "--tries", "0", "--json"]);
    assert_eq!(mended.json()["top1"], 18);
}

/// The card is named by its path, and says nothing of inputs and outputs: the graph does. Its model takes RGB.
#[test]
fn the_order_of_the_channels_is_found_out() {
    let original = root().join("tests/fixtures/models/cifar10");
    let folder = Scratch::new();
    let card =
        "[preprocessing]\ncolor = \"BGR\"\n[postprocessing]\nlabels = \"labels.txt\"\nscores = \"probabilities\"\n";
    folder.write("colors/model.toml", card);
    for file in ["labels.txt", "model.onnx"] {
        crate::harness::place(&original.join(file), &folder.path().join("colors").join(file));
    }
    let list: String = labelled("cifar10_").iter().map(|(path, class)| format!("{},{class}\n", text(path))).collect();
    let list = folder.write("list.csv", format!("path,label\n{list}"));
    let model = folder.path().join("colors");
    let json = check(&[text(&model), "--csv", text(&list), "--json"]).json();
    assert!(json["top1"].as_u64().unwrap() < 20, "{json}");
    let tried = json["tried"].as_array().unwrap();
    let rgb = tried.iter().find(|tried| tried["what"] == "channels in the order RGB").unwrap();
    assert_eq!((&rgb["right"], &rgb["worse"]), (&json!(20), &json!(0)), "{json}");
}

#[test]
fn unreadable_pictures_are_counted_and_named() {
    let pictures = Scratch::new();
    let (path, class) = labelled("imagenet_").remove(0);
    pictures.write(&format!("{class}/right.jpg"), std::fs::read(&path).unwrap());
    pictures.write(&format!("{class}/notes.txt"), "no picture");
    pictures.write(&format!("{class}/deeper/cut.jpg"), &std::fs::read(&path).unwrap()[..3000]);
    pictures.write(&format!("{class}/.hidden"), "passed over");
    pictures.write("beside.txt", "passed over");
    let found = check(&[LITE, text(pictures.path()), "--tries", "0", "--json"]);
    let json = found.json();
    assert_eq!((&json["read"], found.code), (&json!(1), 0));
    let unreadable = json["unreadable"].as_array().unwrap();
    let of = |name: &str| unreadable.iter().find(|of| of["picture"].as_str().unwrap().ends_with(name)).unwrap();
    assert_eq!(unreadable.len(), 2, "{json}");
    assert!(of("notes.txt")["reason"].as_str().unwrap().contains("the bytes are no picture"), "{json}");
    assert!(of("cut.jpg")["reason"].as_str().unwrap().contains("broken or cut off"), "{json}");
    let small = check(&[LITE, text(pictures.path()), "--tries", "0", "--json", "--max-body", "5KiB"]);
    assert!(small.code == 1 && small.error.contains("none of the 3 pictures can be read"), "{}", small.error);
}

#[test]
fn what_is_no_class_is_told_before_anything_is_measured() {
    let pictures = Scratch::new();
    for name in ["golden_retriver/1.jpg", "crane/1.jpg", "1000/1.jpg", "tench/1.jpg"] {
        pictures.write(name, "");
    }
    let said = refused(&[LITE, text(pictures.path())]);
    for part in [
        "3 folders are of no class",
        "'golden_retriver' is no class of the model; did you mean 'golden retriever'?",
        "'crane' is the name of several classes",
        "'1000' is no class of the model",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let list = |text: &str| pictures.write("list.csv", text);
    assert!(refused(&[LITE, "--csv", text(&list("a.jpg,tench\nb.jpg,tensh\n"))]).contains("line 2: 'tensh'"));
    assert!(refused(&[LITE, "--csv", text(&list("a.jpg,tench,Tinca tinca\n"))]).contains("needs quotes"));
    assert!(refused(&[LITE, "--csv", text(&list(""))]).contains("names no picture"));
    assert!(refused(&[LITE, "--csv", "no-such.csv"]).contains("no-such.csv can't be read"));
    let empty = Scratch::new();
    assert!(refused(&[LITE, text(empty.path())]).contains("must have a folder for each class"));
    assert!(refused(&["no-such-model", text(empty.path())]).contains("no model 'no-such-model'"));
    let plain = root().join("tests/fixtures/hostile/add");
    assert!(refused(&[text(&plain), text(pictures.path())]).contains("not that of an image classifier"));
}
