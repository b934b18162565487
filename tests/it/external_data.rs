//! Weights that a graph keeps in other files: read from its folder and from nowhere else, and part of its version.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Server, Setup, modelfn, place, root};
use crate::plan::children_of;

fn fixture(file: &str) -> PathBuf {
    root().join("tests/fixtures/external").join(file)
}

/// Adds the model `name`, without a card, with these of its files.
fn with(setup: Setup, name: &str, files: &[&str]) -> Setup {
    for file in ["model.onnx"].iter().chain(files) {
        let to = setup.path("models").join(name).join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        place(&fixture(name).join(file), &to);
    }
    setup
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("golden.json")).unwrap()).unwrap()
}

/// What the model answers to the input of `golden.json`.
async fn output(server: &Server, model: &str) -> Value {
    let x = json!({ "name": "x", "shape": [2, 4], "datatype": "FP32", "data": golden()["x"] });
    let answer = server.post(&format!("/v2/models/{model}/infer"), json!({ "inputs": [x] }).to_string()).await;
    assert_eq!(answer.status, 200, "{model}: {answer:?}");
    answer.json()["outputs"][0]["data"].clone()
}

#[tokio::test]
async fn weights_in_other_files_are_served_as_onnxruntime_does() {
    for isolation in ["process", "thread"] {
        let setup = with(Setup::models_only(), "plain", &["model.onnx.data"]);
        let setup = with(with(setup, "two-files", &["w.bin", "b.bin"]), "inner", &["inner/w"]);
        let server = setup.args(&["--model-isolation", isolation]).start();
        for model in ["plain", "two-files", "inner"] {
            assert_eq!(output(&server, model).await, golden()["y"], "{isolation}, {model}");
        }
    }
}

/// What a graph may not name, and files that are not what it says, leave its model out with a sentence.
#[tokio::test]
async fn files_that_may_not_be_read_or_do_not_fit_are_refused() {
    for isolation in ["process", "thread"] {
        let names = ["absolute", "parent", "address", "offset", "length", "overflow"];
        let setup = names.iter().fold(Setup::models_only(), |setup, name| with(setup, name, &["w.bin"]));
        let setup = with(with(setup, "plain", &["model.onnx.data"]), "two-files", &["w.bin"]);
        let address = setup.path("models/address/*/_ORT_MEM_ADDR_/*");
        std::fs::create_dir_all(address.parent().unwrap()).unwrap();
        std::fs::write(address, [0; 8192]).unwrap();
        let server = setup.args(&["--model-isolation", isolation]).start();
        for (model, says) in [
            ("absolute", "not a file below the model's own folder"),
            ("parent", "not a file below the model's own folder"),
            ("address", "not a file below the model's own folder"),
            ("offset", "which has only 128"),
            ("length", "does not fit its shape"),
            ("overflow", "which has only 128"),
            ("two-files", "'b.bin', which is missing"),
        ] {
            let line = server.wait_for_log(&format!("left out: model '{model}'"));
            assert!(line.contains(says), "{isolation}, {model}: {line}");
        }
        assert_eq!(output(&server, "plain").await, golden()["y"]);
    }
}

/// Only regular files of the model's folder are read, and whole ones.
#[tokio::test]
async fn what_is_no_regular_file_of_the_folder_is_refused() {
    for isolation in ["process", "thread"] {
        for (kind, says) in [
            ("link", "which is not below"),
            ("device", "which is not below"),
            ("pipe", "not a regular file"),
            ("folder", "not a regular file"),
            ("short", "which has only 100"),
        ] {
            let setup = with(Setup::models_only(), "plain", &[]);
            let path = setup.path("models/plain/model.onnx.data");
            match kind {
                "link" => symlink(fixture("plain/model.onnx.data"), &path).unwrap(),
                "device" => symlink("/dev/zero", &path).unwrap(),
                "pipe" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
                "folder" => std::fs::create_dir(&path).unwrap(),
                _ => std::fs::write(&path, &std::fs::read(fixture("plain/model.onnx.data")).unwrap()[..100]).unwrap(),
            }
            let server = setup.args(&["--model-isolation", isolation]).start();
            let line = server.wait_for_log("left out: model 'plain'");
            assert!(line.contains(says), "{isolation}, {kind}: {line}");
        }
    }
}

/// A link of a person's own: the weights are beside the link, or beside what it leads to.
#[tokio::test]
async fn a_named_file_may_be_a_link_into_a_cache() {
    for beside_link in [true, false] {
        let setup = Setup::models_only();
        let (blobs, snapshot) = (setup.path("blobs"), setup.path("snapshot"));
        std::fs::create_dir(&blobs).unwrap();
        std::fs::create_dir(&snapshot).unwrap();
        place(&fixture("plain/model.onnx"), &blobs.join("aaaa.onnx"));
        symlink("../blobs/aaaa.onnx", snapshot.join("plain.onnx")).unwrap();
        let data = fixture("plain/model.onnx.data");
        if beside_link {
            place(&data, &blobs.join("bbbb"));
            symlink("../blobs/bbbb", snapshot.join("model.onnx.data")).unwrap();
        } else {
            place(&data, &blobs.join("model.onnx.data"));
        }
        let server = Setup::of_models(&[snapshot.join("plain.onnx")]).start();
        assert_eq!(output(&server, "plain").await, golden()["y"], "beside the link: {beside_link}");
        drop(setup);
    }
}

/// A file of weights that changed is a changed model; one that did not is not loaded again.
#[tokio::test]
async fn a_reload_sees_that_weights_changed() {
    for isolation in ["process", "thread"] {
        let setup = with(Setup::models_only(), "plain", &["model.onnx.data"]).args(&["--model-isolation", isolation]);
        let data = setup.path("models/plain/model.onnx.data");
        let server = setup.start();
        let loads = || server.log().iter().filter(|line| line.contains("model loaded")).count();
        assert_eq!(server.admin_post("/reload").await.status, 200);
        assert_eq!((output(&server, "plain").await, loads()), (golden()["y"].clone(), 1));
        let mut bytes = std::fs::read(&data).unwrap();
        bytes.fill(0);
        replace(&data, &bytes);
        assert_eq!(server.admin_post("/reload").await.status, 200);
        assert_eq!(output(&server, "plain").await, json!(vec![0.0; 16]), "{isolation}");
        std::fs::remove_file(&data).unwrap();
        assert_ne!(server.admin_post("/reload").await.status, 200);
        assert_eq!(output(&server, "plain").await, json!(vec![0.0; 16]), "what serves goes on");
    }
}

/// Puts another file in the place of one, which the harness may have linked to its fixture.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// An engine process that takes another's place loads the weights that the first one had.
#[tokio::test]
async fn a_process_that_is_started_again_has_the_same_weights() {
    let setup = with(Setup::models_only(), "plain", &["model.onnx.data"]);
    let data = setup.path("models/plain/model.onnx.data");
    let server = setup.start();
    replace(&data, b"another file");
    let engine = children_of(server.pid().cast_unsigned())[0];
    assert!(std::process::Command::new("kill").args(["-KILL", &engine.to_string()]).status().unwrap().success());
    server.wait_for_log("another one starts");
    server.wait_for_metric("modelfn_engine_restarts_total{model=\"plain\"}", |restarts| restarts >= 1.0).await;
    assert_eq!(output(&server, "plain").await, golden()["y"]);
}

/// A model that can't be loaded again is down as one that could not be loaded at the start: whoever must have it is unready.
#[tokio::test]
async fn weights_that_changed_in_place_make_who_must_have_them_unready() {
    for must_have in [true, false] {
        let setup = with(Setup::models_only(), "plain", &["model.onnx.data"]);
        let data = setup.path("models/plain/model.onnx.data");
        let bytes = std::fs::read(&data).unwrap();
        // The harness may have linked it to its fixture.
        replace(&data, &bytes);
        let setup = if must_have { setup.args(&["--load-model", "plain"]) } else { setup };
        let server = setup.start();
        std::fs::write(&data, vec![0; bytes.len()]).unwrap();
        let engine = children_of(server.pid().cast_unsigned())[0];
        assert!(std::process::Command::new("kill").args(["-KILL", &engine.to_string()]).status().unwrap().success());
        server.wait_for_log("unready for ");
        let readyz = server.admin("/readyz").await;
        if must_have {
            assert_eq!(readyz.status, 503);
            assert!(
                readyz.text().contains("not served: model 'plain': the engine's process does not start"),
                "{readyz:?}"
            );
        } else {
            assert!(readyz.status == 200 && readyz.text().contains("plain"), "{}", readyz.text());
        }
        assert_eq!(server.get("/v2/models/plain/ready").await.status, 503);
        assert_eq!(server.admin_post("/reload").await.status, 200);
        let readyz = server.admin("/readyz").await;
        assert!(readyz.status == 200 && !readyz.text().contains("plain"), "{}", readyz.text());
        assert_eq!(output(&server, "plain").await, json!(vec![0.0; 16]));
    }
}

/// A card may pin the files by their digests.
#[tokio::test]
async fn a_card_pins_files_of_weights() {
    let sha256 = |file: &str| {
        let output = std::process::Command::new("sha256sum").arg(fixture(file)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()[..64].to_owned()
    };
    for (file, digest, says) in [
        ("model.onnx.data", sha256("plain/model.onnx.data"), None),
        ("model.onnx.data", sha256("plain/model.onnx"), Some("is expected")),
        ("other", sha256("plain/model.onnx"), Some("remove it from graph.external")),
    ] {
        let setup = with(Setup::models_only(), "plain", &["model.onnx.data"]);
        let card = format!("[graph.external]\n\"{file}\" = \"{digest}\"\n");
        std::fs::write(setup.path("models/plain/model.toml"), card).unwrap();
        let server = setup.start();
        match says {
            None => assert_eq!(output(&server, "plain").await, golden()["y"]),
            Some(says) => {
                let line = server.wait_for_log("left out: model 'plain'");
                assert!(line.contains(says), "{line}");
            }
        }
    }
}

/// Tools know these files, too.
#[test]
fn inspect_knows_weights_in_other_files() {
    let setup = with(Setup::models_only(), "plain", &["model.onnx.data"]);
    let inspected =
        modelfn().args(["model", "inspect", "plain", "--models"]).arg(setup.path("models")).output().unwrap();
    let shown = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(inspected.status.success() && shown.contains("FP32"), "{shown}{inspected:?}");
}
