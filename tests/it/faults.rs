//! Faults around the program: disks, caches, engines, and the process itself.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Scratch, Setup, guest, modelfn};

/// Starts the server once with `code` as the cache, on a full disk if `full`. Returns the log.
fn invoke_hello(code: &str, full: bool) -> String {
    let scratch = Scratch::new();
    let manifest = scratch.write("spin.toml", crate::harness::app(&guest("probe"), ""));
    std::fs::create_dir(scratch.path().join("models")).unwrap();
    let mut program = modelfn();
    program.args(["invoke", "/hello", "--code-cache", code, "--app"]).arg(&manifest);
    program.arg("--models").arg(scratch.path().join("models"));
    let mut command = program;
    if full {
        // A file that must not grow fails in the middle of a write, as on a full disk.
        let mut shell = Command::new("bash");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""]).arg(command.get_program());
        shell.args(command.get_args()).current_dir(crate::harness::root());
        command = shell;
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    assert_eq!(output.stdout, b"hello");
    log
}

#[test]
fn a_cache_that_cannot_be_used_costs_time_and_nothing_else() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name).display().to_string();

    let log = invoke_hello(&path("full"), true);
    assert!(log.contains("could not be kept"), "{log}");
    let left = std::fs::read_dir(path("full")).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    assert!(left.is_empty(), "half a file is left: {left:?}");

    let file = scratch.write("file", "");
    assert!(invoke_hello(file.to_str().unwrap(), false).contains("could not be kept"));

    assert!(invoke_hello(&path("good"), false).contains("compiling the component"));
    assert!(!invoke_hello(&path("good"), false).contains("compiling the component"), "the cache is not used");
    let code = std::fs::read_dir(path("good")).unwrap().flatten().next().unwrap().path();
    let whole = std::fs::read(&code).unwrap();
    for spoilt in [&whole[..whole.len() / 2], &b"garbage"[..], &b""[..]] {
        std::fs::write(&code, spoilt).unwrap();
        let log = invoke_hello(&path("good"), false);
        assert!(log.contains("is not usable"), "{log}");
        assert_eq!(std::fs::read(&code).unwrap().len(), whole.len(), "it is mended");
    }
    std::fs::remove_file(&code).unwrap();
    std::fs::create_dir(&code).unwrap();
    assert!(invoke_hello(&path("good"), false).contains("is not used"));
}

/// There are more components than stay in memory. Each is tried at the start and serves requests later, even if the
/// cache has been emptied meanwhile.
#[tokio::test]
async fn evicted_code_is_loaded_again_when_it_is_needed() {
    let code = Scratch::new();
    let cache = code.path().join("code");
    let part = |id: &str, guest: &Path| {
        format!(
            "[[trigger.http]]\nroute = \"/{id}\"\ncomponent = \"{id}\"\n[component.{id}]\nsource = \"{}\"\n",
            guest.display()
        )
    };
    let probe = std::fs::read(guest("probe")).unwrap();
    let other = code.write("other.wasm", [&probe[..], b"\0\x02\x01x"].concat());
    let head = "spin_manifest_version = 2\napplication.name = \"test\"\n";
    let manifest = [head, &part("hello", &guest("probe")), &part("env", &other), &part("list", &other)].concat();
    for ready in ["0", "1", "2"] {
        let arguments = ["--code-cache", cache.to_str().unwrap(), "--ready-components", ready];
        let server = Setup::app(&manifest).args(&arguments).start();
        if ready == "1" {
            std::fs::remove_dir_all(&cache).unwrap();
        }
        for id in ["hello", "env", "list", "env"] {
            assert_eq!(server.get(&format!("/{id}")).await.status, 200, "{ready} {id}");
        }
    }
    let broken = code.write("broken.wasm", "no component");
    let manifest = code.write("spin.toml", [&manifest, &part("broken", &broken)[..]].concat());
    let mut program = modelfn();
    program.args(["invoke", "/hello", "--ready-components", "1", "--app"]).arg(manifest).arg("--code-cache").arg(cache);
    let output = program.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("component 'broken'"), "{log}");
}

/// The process may be killed at any moment of its start. The next process must start.
#[tokio::test]
async fn a_server_starts_after_one_that_was_killed_while_loading() {
    let code = Scratch::new();
    let code_cache = code.path().join("code").display().to_string();
    for after in [5, 40, 120, 300, 700] {
        let mut command = modelfn();
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--load-model", "efficientnet-lite0-int8", "--code-cache", &code_cache]);
        let mut child = command.stderr(Stdio::null()).process_group(0).spawn().unwrap();
        // The moment is random on purpose, so that there is no state to wait for.
        tokio::time::sleep(Duration::from_millis(after)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = Setup::example().args(&["--code-cache", &code_cache]).start();
    let answer = server.post("/classify", crate::harness::picture("coffee.png")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// One engine call fails. Every request of that batch fails, and no other.
#[tokio::test]
async fn a_failing_engine_fails_its_batch_and_no_other() {
    let setup = Setup::probe("");
    let gate = setup.path("gate");
    let tensor = "dtype = \"U8\", shape = [-1]";
    let serving = "instances = 1\ndynamic_batching = true\nmax_batch_size = 4";
    let failing = format!("compute = \"fail\"\ngate = \"{}\"", gate.display());
    let setup = setup.fake_model("failing", tensor, (&failing, serving));
    let server = setup.fake_model("sound", tensor, ("compute = \"echo\"", serving)).start();
    let body = r#"{ "inputs": [{ "name": "x", "shape": [1], "datatype": "UINT8", "data": [7] }] }"#;
    let infer = |model: &str| {
        let request = server.client.post(server.url(&format!("/v2/models/{model}/infer"))).body(body);
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        })
    };
    let in_batches: Vec<_> = (0..9).map(|_| infer("failing")).collect();
    server.wait_for_in_flight(|n| n >= 9.0).await;
    let sound = infer("sound").await.unwrap();
    assert_eq!(sound.0, 200, "{}", sound.1);
    std::fs::write(&gate, "").unwrap();
    for request in in_batches {
        let (status, text) = request.await.unwrap();
        assert!(status == 500 && text.contains("The model failed on this request."), "{status} {text}");
    }
    assert_eq!(infer("sound").await.unwrap().0, 200);
    let failed = "modelfn_computations_total{model=\"failing\",succeeded=\"False\"}";
    server.expect_metric(failed, 9.0).await;
}
