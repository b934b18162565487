//! The same component on another host, stock `wasmtime serve`, whose wasi-nn runs the model with OpenVINO. The
//! component depends only on `guest/wit` and its card, and not on this host.
//!
//! The test uses the float model, since it compares hosts and not engines. OpenVINO rounds INT8 at other places than
//! ONNX Runtime: with `efficientnet-lite0-int8` the probabilities of the sample pictures differed by up to 0.06 on
//! every instruction set, and the first class differed for 5 of 46 pictures.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Setup, guest, picture, root, skip};
use crate::program::Program;

/// The largest difference between probabilities of the two engines. On all 46 sample pictures it was at most 3e-6.
const TOLERANCE: f64 = 1e-4;

/// The stock command line, which `tests/setup.sh` installs.
fn wasmtime() -> PathBuf {
    let cache = std::env::var_os("MODELFN_CACHE")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/modelfn"), PathBuf::from);
    cache.join("tools/bin/wasmtime")
}

/// Starts `wasmtime serve` with the example's component and the float model, if the prerequisites are there.
fn start() -> Option<Program> {
    let (model, openvino) = (root().join("models/efficientnet-lite0"), root().join("target/openvino"));
    for file in [wasmtime(), openvino.join("libopenvino_c.so"), model.join("model.xml")] {
        if skip(!file.exists(), &format!("{} is missing; run `make test-models test-tools`", file.display())) {
            return None;
        }
    }
    let mut command = Command::new(wasmtime());
    command.args(["serve", "--addr", "127.0.0.1:0"]);
    command.arg("-S").arg(format!("cli,nn,nn-graph=openvino::{}", model.display()));
    command.arg("--dir").arg(format!("{}::/model", model.display())).arg(guest("classify"));
    command.env("LD_LIBRARY_PATH", openvino);
    // On a processor with BF16 OpenVINO computes float models in BF16, and probabilities differ by 0.05. This limits it
    // to instructions of float32.
    command.env("OV_CPU_MAX_ISA", "AVX2");
    Some(Program::start(command, "Serving HTTP on http://127.0.0.1:"))
}

#[tokio::test]
async fn stock_wasmtime_serves_the_same_function() {
    let Some(stock) = start() else { return };
    let server = Setup::classify("models", "efficientnet-lite0").start();
    let there = |path: &str| server.send(server.client.get(stock.url(path)));

    for name in ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "imagenet_04_949.jpg", "cifar10_08_3.png"]
    {
        let ours = server.post("/classify", picture(name)).await;
        let theirs = server.send(server.client.post(stock.url("/classify")).body(picture(name))).await;
        for answer in [&ours, &theirs] {
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, "application/json"),
                "{name}: {}",
                answer.text()
            );
            assert!(
                answer.header("server-timing").contains("compute;dur="),
                "{name}: {}",
                answer.header("server-timing")
            );
        }
        let (ours, theirs) = (ours.json(), theirs.json());
        assert_eq!((&ours["class"], &ours["model"]), (&theirs["class"], &theirs["model"]), "{name}");
        let (ours, theirs) = (ours["predictions"].as_array().unwrap(), theirs["predictions"].as_array().unwrap());
        assert_eq!((ours.len(), theirs.len()), (5, 5), "{name}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(
                (&ours["index"], &ours["class"]),
                (&theirs["index"], &theirs["class"]),
                "{name}: {ours} {theirs}"
            );
            let apart = ours["probability"].as_f64().unwrap() - theirs["probability"].as_f64().unwrap();
            assert!(apart.abs() <= TOLERANCE, "{name}: {ours} {theirs}");
        }
    }

    let (ours, theirs) = (server.get("/").await, there("/").await);
    assert_eq!((ours.status, ours.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!((theirs.status, theirs.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(ours.body == theirs.body, "the pages differ");

    assert_eq!(server.get("/model").await.json(), there("/model").await.json());

    let text = "This is no picture.";
    let theirs = server.send(server.client.post(stock.url("/classify")).body(text)).await;
    assert_eq!(server.post("/classify", text).await.problem(415), theirs.problem(415));
}
