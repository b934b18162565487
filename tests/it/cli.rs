//! The command line: what each subcommand prints, and what it says when something is wrong.

use std::path::Path;
use std::process::Output;

use crate::harness::{Scratch, app, guest, model_with, modelfn, root};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = modelfn().args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn fails(arguments: &[&str]) -> String {
    let (code, out, error) = run(arguments);
    assert_eq!(code, 1, "{out}{error}");
    error
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

const EXAMPLE: [&str; 2] = ["--load-model", "efficientnet-lite0-int8"];

#[test]
fn invoke_sends_one_request_through_the_whole_path() {
    let picture = root().join("target/pictures/coffee.png");
    let (code, out, error) = run(&["invoke", "/classify?top_k=2", path(&picture), EXAMPLE[0], EXAMPLE[1]]);
    assert_eq!(code, 0, "{error}");
    assert!(out.starts_with("{\"class\":\"espresso\""), "{out}");

    let (code, out, _) = run(&["invoke", "-i", "/model", EXAMPLE[0], EXAMPLE[1]]);
    assert_eq!(code, 0);
    assert!(out.starts_with("200 OK\n") && out.contains("content-type: application/json"), "{out}");

    let (code, out, _) = run(&["invoke", "/nowhere", EXAMPLE[0], EXAMPLE[1]]);
    assert_eq!(code, 1, "an answer that is an error must be seen by a script");
    assert!(out.contains("\"status\":404"), "{out}");
    assert!(fails(&["invoke", "/classify", "no-such.jpg"]).contains("no-such.jpg can't be read"));
}

#[test]
fn inspect_shows_card_and_graph() {
    let (code, out, error) = run(&["model", "inspect", "efficientnet-lite0-int8"]);
    assert_eq!(code, 0, "{error}");
    for part in ["Apache-2.0", "'input' U8 [-1, 224, 224, 3]", "'logits' FP32 [-1, 1000]", "card and graph agree"] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    let (_, out, _) = run(&["model", "inspect", "efficientnet-lite0-int8", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["signature"]["inputs"][0]["shape"], serde_json::json!([-1, 224, 224, 3]));
    assert!(
        fails(&["model", "inspect", "nothing"])
            .contains("no model 'nothing' in models; have: all-minilm-l6-v2, efficientnet-lite0")
    );
}

/// A copy of the example's model whose card is wrong in one place.
fn wrong_card(from: &str, to: &str) -> Scratch {
    model_with("efficientnet-lite0-int8", |card| {
        assert!(card.contains(from), "{card}");
        card.replacen(from, to, 1)
    })
}

#[test]
fn inspect_says_where_card_and_graph_disagree_and_serve_refuses() {
    for (from, to, says) in [
        (
            "[-1, 224, 224, 3]",
            "[-1, 240, 240, 3]",
            "input: the card says 'input' U8 [-1, 240, 240, 3], the graph has 'input' U8 [-1, 224, 224, 3]",
        ),
        ("[-1, 1000]", "[-1, 999]", "output: the card says 'logits' FP32 [-1, 999], the graph has"),
        ("size = [224, 224]", "size = [192, 224]", "preprocessing makes"),
        ("sha256 = \"", "sha256 = \"00", "sha256"),
    ] {
        let models = wrong_card(from, to);
        let (code, out, error) = run(&["model", "inspect", "efficientnet-lite0-int8", "--models", path(models.path())]);
        assert_eq!(code, 1, "{error}");
        assert!(out.contains("WRONG") && out.contains(says), "{out}");
        if says == "sha256" {
            // A damaged file does not stop the start: see tests/it/reload.rs.
            continue;
        }
        let error = fails(&[
            "serve",
            "--models",
            path(models.path()),
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        assert!(error.contains("model 'efficientnet-lite0-int8'"), "{error}");
    }
}

#[test]
fn start_up_errors_tell_the_remedy() {
    let scratch = Scratch::new();
    let serve = |text: &str| {
        let manifest = scratch.write("spin.toml", text);
        fails(&["serve", "--app", path(&manifest), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
    };
    let component = guest("classify");
    assert!(
        fails(&["serve", "--app", "no-such.toml", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .contains("name another with --app")
    );
    assert!(serve(&app(Path::new("missing.wasm"), "")).contains("build it with `modelfn build`"));
    assert!(serve(&app(&scratch.write("text.wasm", "text"), "")).contains("is not a component"));
    assert!(
        serve(&app(&scratch.write("empty.wasm", b"\0asm\x0d\0\x01\0"), ""))
            .contains("must export wasi:http/incoming-handler")
    );
    assert!(
        serve(&app(&component, "sqlite_databases = [\"default\"]"))
            .contains("`sqlite_databases`, which modelfn does not support")
    );
    let wrong = "0".repeat(64);
    assert!(
        serve(&app(&component, &format!("[component.it.tool.modelfn]\ndigest = \"sha256:{wrong}\"")))
            .contains("the manifest says 0000")
    );
    assert!(
        serve(&app(&component, "[component.it.tool.modelfn]\nmodels = [\"resnet\"]"))
            .contains("no model 'resnet' in models; have:")
    );
    assert!(serve(&app(&component, "[component.it.tool.modelfn]\nmemory = \"1TiB\"")).contains("but --max-memory is"));
    assert!(fails(&["serve", "--models", "no-such"]).contains("name another with --models"));
    assert!(fails(&["serve", "--onnxruntime", "no-such.so"]).contains("--onnxruntime no-such.so: no such file"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = fails(&["serve", "--listen", &address, "--admin-listen", "127.0.0.1:0"]);
    assert!(error.contains("choose another with --listen"), "{error}");
}

/// A missing graph file is an error only if the model was named.
#[test]
fn missing_weights_are_left_out_or_refused() {
    let models = Scratch::new();
    let original = root().join("models/efficientnet-lite0-int8");
    for file in ["model.toml", "labels.txt"] {
        models.write(&format!("efficientnet-lite0-int8/{file}"), std::fs::read(original.join(file)).unwrap());
    }
    let error = fails(&["invoke", "/", "--models", path(models.path())]);
    assert!(error.contains("model.onnx is missing") && error.contains("`make models`"), "{error}");

    let manifest = models.write("spin.toml", app(&guest("classify"), ""));
    let (code, out, log) = run(&["invoke", "/", "--models", path(models.path()), "--app", path(&manifest)]);
    assert_eq!(code, 0, "{out}{log}");
    assert!(log.contains("left out: model 'efficientnet-lite0-int8'"), "{log}");
}

#[test]
fn an_error_names_its_cause_once() {
    let error = fails(&["invoke", "/", "--models", "no-such-folder"]);
    assert_eq!(error.matches("No such file").count(), 1, "{error}");
}

#[test]
fn a_component_that_was_compiled_ahead_is_not_compiled_at_the_start() {
    let scratch = Scratch::new();
    let code = scratch.path().join("code");
    let (status, out, error) = run(&["compile", "--out", path(&code)]);
    assert_eq!(status, 0, "{error}");
    assert!(out.starts_with("classify: ") && out.contains("KiB of code"), "{out}");
    let (status, _, log) = run(&["invoke", "/model", "--code-cache", path(&code), EXAMPLE[0], EXAMPLE[1]]);
    assert_eq!(status, 0, "{log}");
    assert!(!log.contains("compiling"), "{log}");

    let (_, _, log) =
        run(&["invoke", "/model", "--code-cache", path(&scratch.path().join("empty")), EXAMPLE[0], EXAMPLE[1]]);
    assert!(log.contains("compiling the component"), "{log}");
}

#[test]
fn help_has_examples() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["invoke", "--help"],
        &["compile", "--help"],
        &["key", "--help"],
        &["plan", "--help"],
        &["completions", "--help"],
        &["model", "inspect", "--help"],
    ] {
        let (code, out, _) = run(command);
        assert_eq!(code, 0);
        assert!(command.len() == 1 || out.contains("Example"), "{command:?}: {out}");
    }
}

#[test]
fn completions_are_scripts_that_name_every_subcommand() {
    let (code, bash, error) = run(&["completions", "bash"]);
    assert_eq!(code, 0, "{error}");
    let scratch = Scratch::new();
    let script = scratch.write("modelfn.bash", &bash);
    let parsed = std::process::Command::new("bash").arg("-n").arg(&script).output().unwrap();
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        for word in ["serve", "invoke", "compile", "key", "plan", "model", "completions", "request-timeout"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let (code, _, error) = run(&["completions", "no-such-shell"]);
    assert_eq!(code, 2);
    assert!(error.contains("possible values: bash"), "{error}");
}
