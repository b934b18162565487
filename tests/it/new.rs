//! `modelfn new`, `build` and `test`: folders that build and answer by themselves, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::functions::{NewFunction, no_rust_for_wasm, run};
use crate::harness::{Scratch, root, skip};

fn fixture(path: &str) -> String {
    let file = root().join("tests/fixtures").join(path);
    assert!(file.is_file(), "{} is missing", file.display());
    file.to_str().unwrap().to_owned()
}

fn golden() -> Value {
    serde_json::from_str(&fs::read_to_string(fixture("tabular/golden.json")).unwrap()).unwrap()
}

/// What the function says to `body`, through `modelfn invoke`.
fn answer(function: &NewFunction, body: &Value) -> Value {
    fs::write(function.folder.join("body.json"), body.to_string()).unwrap();
    serde_json::from_str(&function.succeed(&["invoke", "/", "body.json", "--log", "error"])).unwrap()
}

fn near(a: &Value, b: &Value) -> bool {
    (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-5
}

#[test]
fn a_function_of_each_template_builds_and_passes_its_own_tests() {
    if no_rust_for_wasm() {
        return;
    }
    for template in ["blank", "tabular", "classify", "detect", "embed"] {
        let function = NewFunction::new(&format!("of-{template}"), &["--template", template]);
        let built = function.succeed(&["build"]);
        assert!(built.starts_with(&format!("built of-{template} in ")), "{built}");
        let tested = function.succeed(&["test"]);
        assert!(tested.contains("ok ") && tested.trim_end().ends_with(" 0 failed"), "{tested}");
        let readme = function.read("README.md");
        assert!(readme.starts_with(&format!("# of-{template}\n")) && readme.lines().count() <= 14, "{readme}");
        assert!(function.read(".gitignore").contains("/.modelfn*"));
        assert_eq!(function.run(&["model", "inspect", &format!("of-{template}")]).code, 0);
    }
}

#[test]
fn columns_of_a_pipeline_are_keys_of_rows_and_its_probabilities_are_scikit_learns() {
    if no_rust_for_wasm() {
        return;
    }
    let function = NewFunction::new("columns", &["--model", &fixture("tabular/columns.onnx")]);
    let twice = run(&function.folder, &["new", "again", "--model", &fixture("tabular/columns.onnx")]);
    assert!(twice.out.contains("without the output 'output_label'"), "{twice:?}");
    let card = function.read("models/columns/model.toml");
    assert!(
        !card.contains("output_label") && card.contains("output_probability"),
        "text can't reach functions:\n{card}"
    );
    function.succeed(&["build"]);
    function.succeed(&["test"]);
    let golden = &golden()["columns"];
    let answers = answer(&function, &golden["rows"]);
    for (n, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["label"], golden["labels"][n], "{answers}");
        for (class, expected) in golden["probabilities"][n].as_object().unwrap() {
            assert!(near(&answer["output_probability"][class], expected), "{class}: {answer}");
        }
    }
    assert_eq!(answers.as_array().unwrap().len(), 4);
    // A column that is missing, one too many, and one of another type.
    let row = &golden["rows"][0];
    let changed = |key: &str, value: Option<Value>| {
        let mut row = row.clone();
        match value {
            Some(value) => row[key] = value,
            None => drop(row.as_object_mut().unwrap().remove(key)),
        }
        row
    };
    for wrong in [
        changed("Age", None),
        changed("other", Some(json!(1))),
        changed("Age", Some(json!("x"))),
        changed("last_visits", Some(json!([1]))),
    ] {
        fs::write(function.folder.join("body.json"), json!([wrong]).to_string()).unwrap();
        let printed = function.run(&["invoke", "/", "body.json"]);
        assert!(printed.code == 1 && printed.out.contains("\"status\":400"), "{wrong}: {printed:?}");
    }
}

#[test]
fn a_function_in_python_answers_as_one_in_rust() {
    let pip = std::process::Command::new("python3").args(["-m", "pip", "--version"]).output();
    if skip(!pip.is_ok_and(|pip| pip.status.success()), "there is no pip; run: apt-get install python3-pip") {
        return;
    }
    let arguments = ["--language", "python", "--model", &fixture("tabular/columns.onnx")];
    let function = NewFunction::new("columns-in-python", &arguments);
    function.succeed(&["build", "--install"]);
    let tested = function.succeed(&["test"]);
    assert!(tested.trim_end().ends_with(" 0 failed"), "{tested}");
    let golden = &golden()["columns"];
    let answers = answer(&function, &golden["rows"]);
    for (n, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["label"], golden["labels"][n], "{answers}");
        for (class, expected) in golden["probabilities"][n].as_object().unwrap() {
            assert!(near(&answer["output_probability"][class], expected), "{class}: {answer}");
        }
    }
}

#[test]
fn a_name_that_the_model_does_not_have_does_not_compile() {
    if no_rust_for_wasm() {
        return;
    }
    let function = NewFunction::new("forest", &["--model", &fixture("tabular/forest.onnx")]);
    function.succeed(&["build"]);
    let golden = &golden()["forest"];
    let answers = answer(&function, &golden["rows"]);
    for (n, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["output_label"], golden["labels"][n], "{answers}");
        for class in 0..3 {
            let expected = &golden["probabilities"][n][class];
            assert!(near(&answer["output_probability"][class.to_string()], expected), "{answer}");
        }
    }
    function.edit("src/lib.rs", "outputs.output_label", "outputs.label");
    let printed = function.run(&["build"]);
    assert_eq!(printed.code, 1);
    assert!(printed.error.contains("no field `label` on type `model::Outputs`"), "{}", printed.error);
    assert!(printed.error.contains("the build of \"forest\" failed"), "{}", printed.error);
}

#[test]
fn the_model_decides_which_template_it_is() {
    for (model, template) in [
        ("tabular/regressor.onnx", "tabular"),
        ("tensors/skl-labels/model.onnx", "tabular"),
        ("open/picture.onnx", "classify"),
        ("tensors/past/model.onnx", "blank"),
        ("tensors/scalar/model.onnx", "blank"),
        ("hostile/add/model.onnx", "tabular"),
        ("../../host/cli/templates/embed/model/model.onnx", "embed"),
        ("../../host/cli/templates/detect/model/model.onnx", "detect"),
    ] {
        let scratch = Scratch::new();
        let printed = run(scratch.path(), &["new", "f", "--model", &fixture(model)]);
        assert_eq!(printed.code, 0, "{model}: {printed:?}");
        assert!(printed.out.contains(&format!("of the template {template} in rust")), "{model}: {printed:?}");
        assert!(printed.out.contains("cd f && modelfn dev"), "{printed:?}");
        let inspected = run(&scratch.path().join("f"), &["model", "inspect", "f"]);
        assert_eq!(inspected.code, 0, "{model}: {inspected:?}");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing else is left behind");
    }
}

#[test]
fn weights_in_files_of_their_own_come_along() {
    let scratch = Scratch::new();
    let model = fixture("external/plain/model.onnx");
    let printed = run(scratch.path(), &["new", "f", "--model", &model]);
    assert_eq!(printed.code, 0, "{printed:?}");
    assert!(scratch.path().join("f/models/f/model.onnx.data").is_file());
    let outside = run(scratch.path(), &["new", "g", "--model", &fixture("external/parent/model.onnx")]);
    assert_eq!(outside.code, 1);
    assert!(!scratch.path().join("g").exists(), "nothing is left behind");
}

#[test]
fn what_can_not_be_made_is_refused_with_a_remedy_and_leaves_nothing() {
    let scratch = Scratch::new();
    scratch.write("full/file", "mine");
    scratch.write("a-file", "mine");
    scratch.write("broken.onnx", "no graph");
    fs::create_dir(scratch.path().join("empty")).unwrap();
    let strings = fixture("tensors/skl-strings/model.onnx");
    let words = fixture("tensors/words/model.onnx");
    let forest = fixture("tabular/forest.onnx");
    for (arguments, expected) in [
        (&["full"][..], "full is there already, and is no empty folder"),
        (&["a-file"], "a-file is there already"),
        (&["My_Fn"], "such as my-fn"),
        (&["test"], "try my-test"),
        (&["f", "--model", "no-such.onnx"], "no-such.onnx: no such file; export a model to ONNX"),
        (&["f", "--model", "full"], "full is a folder; name the .onnx file in it"),
        (&["f", "--model", "broken.onnx"], "broken.onnx"),
        (&["f", "--model", &strings], "'city' STRING"),
        (&["f", "--model", &words], "modelfn serve FILE.onnx"),
        (&["f", "--template", "classify", "--model", &forest], "it does not take one picture"),
        (&["f", "--template", "detect", "--model", &forest], "use --template tabular"),
        (&["f", "--template", "embed", "--model", &forest], "input_ids and attention_mask"),
        (&["f", "--template", "tabular", "--model", &fixture("tensors/past/model.onnx")], "use --template blank"),
        (&["f", "--template", "classify", "--language", "python"], "it exists in: rust"),
    ] {
        let printed = run(scratch.path(), &[&["new"], arguments].concat());
        assert_eq!(printed.code, 1, "{arguments:?}: {printed:?}");
        assert!(printed.error.contains(expected), "{arguments:?}: {}", printed.error);
    }
    let there: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there.len(), 4, "{there:?}");
    assert_eq!(fs::read_to_string(scratch.path().join("full/file")).unwrap(), "mine");
    assert_eq!(run(scratch.path(), &["new", "empty"]).code, 0, "an empty folder is as good as none");
    assert_eq!(run(scratch.path(), &["new"]).code, 2);
}

#[test]
fn templates_are_listed() {
    let printed = run(Path::new("/"), &["new", "--list"]);
    assert_eq!(printed.code, 0, "{printed:?}");
    let page = fs::read_to_string(root().join("docs/write-a-function.md")).unwrap();
    let lines: Vec<_> = printed.out.lines().collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    for (line, template) in lines[1..].iter().zip(["classify", "embed", "detect", "tabular", "blank"]) {
        assert!(line.starts_with(template) && line.contains("rust"), "{line}");
        assert!(page.contains(&format!("\n| `{template}` |")), "{template} is not in the page's table");
    }
}

#[test]
fn the_sdk_comes_back_where_it_is_missing() {
    if no_rust_for_wasm() {
        return;
    }
    let function = NewFunction::new("again", &[]);
    fs::remove_dir_all(function.folder.join(".modelfn")).unwrap();
    function.succeed(&["build"]);
    assert!(function.folder.join(".modelfn/guest/sdk/Cargo.toml").is_file());
    assert_eq!(fs::read_dir(function.folder.parent().unwrap()).unwrap().count(), 1);
}
