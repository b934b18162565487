//! The pages of models, in a real browser: what is filled in is what a model gets, and what it says is shown.
//!
//! The models are echoes, so that what is sent is what comes back.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Scratch, Setup, modelfn, picture, place, root, skip};
use crate::wasi_nn::no_engine;

const PAGES: &str = "spin_manifest_version = 2\n[application]\nname = \"test\"\ntool.modelfn.model_pages = true\n";
const ECHO: (&str, &str) = ("compute = \"echo\"", "max_batch_size = 64");

/// A server of pages with an echo for each `(name, dtype, shape)`.
fn echoes(models: &[(&str, &str, &str)]) -> Setup {
    models.iter().fold(Setup::app(PAGES), |setup, (name, dtype, shape)| {
        setup.fake_model(name, &format!("dtype = \"{dtype}\", shape = {shape}"), ECHO)
    })
}

/// A picture of 16 pixels squared in one color.
fn bmp(folder: &Scratch, [red, green, blue]: [u8; 3]) -> PathBuf {
    let mut bytes = b"BM".to_vec();
    for number in [54 + 768_u32, 0, 54, 40, 16, 16] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend([blue, green, red].repeat(256));
    folder.write("color.bmp", bytes)
}

impl Browser {
    async fn way(&self, input: &str, label: &str) {
        let script = format!(
            "[...$.querySelectorAll('[data-input=\"{input}\"] .choice button')].find((b) => b.innerText === '{label}').click(), null"
        );
        self.look("body", &format!("({script})")).await;
    }

    /// Runs the model, and gives the text of its output.
    async fn run(&self) -> String {
        self.look("#result", "($.dataset.state = 'idle', null)").await;
        self.click("#run").await;
        self.wait_for("#result[data-state=done]").await;
        self.text("#outputs").await
    }

    /// The words of the output's elements, without their indices.
    async fn elements(&self) -> Vec<String> {
        let elements = self.look("#outputs", "[...$.querySelectorAll('.values b, td')].map((b) => b.innerText)").await;
        serde_json::from_value(elements).unwrap()
    }

    async fn fill_all(&self, input: &str, values: &[&str]) {
        for (position, value) in values.iter().enumerate() {
            let script = format!(
                "{{ const f = $.querySelectorAll('[data-input=\"{input}\"] .fields input')[{position}]; \
                 f.value = {}; f.dispatchEvent(new Event('input', {{ bubbles: true }})); }}",
                json!(value)
            );
            self.look("body", &format!("(() => {script})()")).await;
        }
    }
}

#[tokio::test]
async fn numbers_in_fields_become_a_tensor_and_come_back_as_scores() {
    let server = echoes(&[("scores", "FP32", "[-1, 4]")]).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("[data-view=model]").await;
    assert_eq!(browser.text("#title").await, "scores");
    browser.fill_all("x", &["0.1", "0.125", "0.7", "0.075"]).await;
    let output = browser.run().await;
    assert!(output.contains("class 2") && output.contains("70.0%"), "{output}");
    assert_eq!(browser.elements().await, ["0.1", "0.125", "0.7", "0.075"]);
    let timing = browser.text("#timing").await;
    for part in ["in the server", "round trip", "queue", "compute"] {
        assert!(timing.contains(part), "{part:?} is not in {timing:?}");
    }
    browser.screenshot("page-model.png").await;

    browser.fill(".axes input", "2").await;
    browser.fill_all("x", &["1", "-2", "3.5", "NaN", "-inf", "1e-3", "0", "16777216"]).await;
    browser.run().await;
    assert_eq!(browser.elements().await, ["1", "-2", "3.5", "NaN", "-Infinity", "0.001", "0", "16777216"]);

    browser.fill_all("x", &["one"]).await;
    browser.click("#run").await;
    browser.wait_for("#result[data-state=error]").await;
    let error = browser.text("#error").await;
    assert!(error.contains("Input “x”") && error.contains("“one” is no number"), "{error}");
    assert!(browser.console().await.is_empty());
}

#[tokio::test]
async fn what_the_server_says_of_a_wrong_request_is_shown() {
    let server = echoes(&[("rows", "I64", "[-1, 2]")]).start();
    let Some(browser) = Browser::open(&server, "/models/rows").await else { return };
    browser.wait_for("[data-view=model]").await;
    browser.way("x", "JSON").await;
    // 2^53 + 1 is no number of JavaScript.
    browser.fill("textarea", "[[9007199254740993, -9223372036854775808]]").await;
    browser.run().await;
    assert_eq!(browser.elements().await, ["9007199254740993", "-9223372036854775808"]);
    browser.fill("textarea", "[[1, 2, 3]]").await;
    browser.click("#run").await;
    browser.wait_for("#result[data-state=error]").await;
    let error = browser.text("#error").await;
    let said = "Input 'x' is INT64 [1, 3]; the model wants 'x' INT64 [-1, 2].";
    assert!(error.contains(said) && error.contains("HTTP 400"), "{error}");
    for wrong in ["[[1, 2], [3]]", "[1.5, 2]", "[[1, 2", "[[null, 1]]"] {
        browser.fill("textarea", wrong).await;
        browser.click("#run").await;
        browser.wait_for_text("#error", "Input “x”").await;
    }
}

#[tokio::test]
async fn a_picture_becomes_the_tensor_that_was_chosen() {
    let models = [("planes", "FP32", "[-1, 3, 16, 16]"), ("pixels", "U8", "[1, 16, 16, 3]")];
    let (server, files) = (echoes(&models).start(), Scratch::new());
    let Some(browser) = Browser::open(&server, "/models/planes").await else { return };
    let picture = bmp(&files, [200, 100, 50]);
    browser.wait_for("[data-view=model]").await;
    browser.choose(".drop input", &picture).await;
    browser.wait_for(".drop canvas").await;
    // (value - mean) / std as torchvision's documentation has them, computed in 64 bits.
    for (scaling, expected) in [
        ("byte", [200.0, 100.0, 50.0]),
        ("unit", [0.784_313_725_5, 0.392_156_862_7, 0.196_078_431_4]),
        ("imagenet", [1.307_046_835_9, -0.285_014_005_6, -0.932_984_749_5]),
    ] {
        browser
            .look(".options select", &format!("($.value = '{scaling}', $.dispatchEvent(new Event('change')))"))
            .await;
        browser.run().await;
        browser
            .look(
                "#outputs",
                "([...$.querySelectorAll('button')].find((b) => b.innerText.startsWith('Show')).click(), null)",
            )
            .await;
        let values: Vec<f64> = browser.elements().await.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(values.len(), 768);
        for (plane, expected) in values.chunks(256).zip(expected) {
            assert!(plane.iter().all(|value| (value - expected).abs() < 1e-5), "{scaling}: {} {expected}", plane[0]);
        }
    }
    // The output looks like a picture, too.
    let sides = browser.look("#outputs canvas", "[$.width, $.height]").await;
    assert_eq!(sides, json!([16, 16]));
    assert!(browser.console().await.is_empty());

    browser.command("url", json!({ "url": server.url("/models/pixels") })).await;
    browser.wait_for("[data-view=model]").await;
    browser.choose(".drop input", &picture).await;
    browser.wait_for(".drop canvas").await;
    browser.run().await;
    assert_eq!(browser.elements().await[..6], ["200", "100", "50", "200", "100", "50"]);
    browser.choose(".drop input", &root().join("LICENSE")).await;
    browser.wait_for_text(".drop", "can’t show that file as a picture").await;
}

/// What a card says of pictures is what the page does with them, unless its visitor chooses something else.
#[tokio::test]
async fn a_card_says_how_a_picture_becomes_a_tensor() {
    let card = "[preprocessing]\nsize = [16, 16]\ncrop = 1.0\nfilter = \"bilinear\"\nlayout = \"NCHW\"\ncolor = \"BGR\"\n\
                mean = [10.0, 20.0, 40.0]\nstd = [2.0, 4.0, 8.0]";
    let tensor = "dtype = \"FP32\", shape = [-1, 3, -1, -1]";
    let server = Setup::app(PAGES).fake_model("bgr", tensor, (ECHO.0, card)).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("[data-view=model]").await;
    browser.choose(".drop input", &bmp(&Scratch::new(), [200, 100, 50])).await;
    browser.wait_for(".drop canvas").await;
    browser.run().await;
    let ends = browser
        .look("body", "[...decode('FP32', shownRequest.tensors[0].bytes)].filter((_, at) => at % 256 === 0)")
        .await;
    assert_eq!(ends, json!([20, 20, 20]), "(50 - 10) / 2, (100 - 20) / 4 and (200 - 40) / 8");
    assert_eq!(browser.look(".options select", "$.value").await, "card");
}

#[tokio::test]
async fn words_and_truths_are_fields_too() {
    let server = echoes(&[("words", "STRING", "[-1, 2]"), ("truths", "BOOL", "[3]")]).start();
    let Some(browser) = Browser::open(&server, "/models/words").await else { return };
    let folder = Scratch::new();
    browser.wait_for("[data-view=model]").await;
    browser.fill_all("x", &["déjà <b>vu</b>", ""]).await;
    browser.run().await;
    assert_eq!(browser.elements().await, ["déjà <b>vu</b>", ""]);
    let answer = run_snippets(&browser, folder.path(), "y [[").await;
    assert_eq!(answer["outputs"][0]["data"], json!(["déjà <b>vu</b>", ""]));
    browser.way("x", "JSON").await;
    browser.fill("textarea", r#"[["a\"b", "1, 2"], ["NaN", 7]]"#).await;
    browser.run().await;
    assert_eq!(browser.elements().await, ["a\"b", "1, 2", "NaN", "7"]);

    browser.command("url", json!({ "url": server.url("/models/truths") })).await;
    browser.wait_for("[data-view=model]").await;
    browser.click("[data-input=x] .fields label:nth-child(2) input").await;
    browser.run().await;
    assert_eq!(browser.elements().await, ["false", "true", "false"]);
    let answer = run_snippets(&browser, folder.path(), "y [False").await;
    assert_eq!(answer["outputs"][0]["data"], json!([false, true, false]));
}

#[tokio::test]
async fn files_of_numbers_are_taken_in_three_forms() {
    let server = echoes(&[("rows", "FP32", "[-1, 3]")]).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    let files = Scratch::new();
    browser.wait_for("[data-view=model]").await;
    browser.way("x", "File").await;
    let floats: Vec<u8> = [1.5_f32, -2.0, 3.25, 4.0, 5.0, 6.0].iter().flat_map(|n| n.to_le_bytes()).collect();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    let padded = format!("{header:<117}\n");
    let npy = [b"\x93NUMPY\x01\x00\x76\x00", padded.as_bytes(), &floats].concat();
    for (name, bytes) in
        [("x.bin", floats.clone()), ("x.npy", npy.clone()), ("x.json", b"[[1.5, -2, 3.25], [4, 5, 6]]".to_vec())]
    {
        browser.choose(".drop input", &files.write(name, bytes)).await;
        browser.wait_for_text(".drop", name).await;
        browser.run().await;
        assert_eq!(browser.elements().await, ["1.5", "-2", "3.25", "4", "5", "6"], "{name}");
    }
    let double = [&npy[..10], padded.replace("<f4", "<f8").as_bytes(), &floats, &floats].concat();
    for (name, bytes, says) in
        [("odd.bin", floats[..20].to_vec(), "has 20 bytes"), ("double.npy", double, "<f8; FP32 is <f4")]
    {
        browser.choose(".drop input", &files.write(name, bytes)).await;
        browser.wait_for_text(".drop", name).await;
        browser.click("#run").await;
        browser.wait_for_text("#error", says).await;
    }
}

/// Against numpy and `ml_dtypes`: `np.array(values, dtype).view(np.uint16)`.
#[tokio::test]
async fn halves_are_rounded_as_numpy_rounds_them() {
    let server = echoes(&[("half", "FP16", "[-1]"), ("bfloat", "BF16", "[-1]")]).start();
    let Some(browser) = Browser::open(&server, "/models/half").await else { return };
    browser.wait_for("[data-view=model]").await;
    let values =
        "[0.1, 65504, 65519.99, 65520, 6e-8, 2.9e-8, 1e-5, -0.0, NaN, -Infinity, 1.0013769531249999, 2049, 2051]";
    let halves = [0x2e66, 0x7bff, 0x7bff, 0x7c00, 0x0001, 0, 0x00a8, 0x8000, 0x7e00, 0xfc00, 0x3c01, 0x6800, 0x6802];
    let bfloats =
        [0x3dcd, 0x4780, 0x4780, 0x4780, 0x3381, 0x32f9, 0x3728, 0x8000, 0x7fc0, 0xff80, 0x3f80, 0x4500, 0x4500];
    for (datatype, expected) in [("FP16", halves), ("BF16", bfloats)] {
        let bits = browser.look("body", &format!("[...new Uint16Array(encode('{datatype}', {values}).buffer)]")).await;
        assert_eq!(bits, json!(expected), "{datatype}");
    }
    for (model, expected) in [("half", ["0.1", "Infinity", "6e-8"]), ("bfloat", ["0.1", "65536", "6e-8"])] {
        browser.command("url", json!({ "url": server.url(&format!("/models/{model}")) })).await;
        browser.wait_for("[data-view=model]").await;
        browser.way("x", "JSON").await;
        browser.fill("textarea", "[0.1, 65520, 6e-8]").await;
        browser.run().await;
        assert_eq!(browser.elements().await, expected, "{model}");
    }
}

#[tokio::test]
async fn scores_have_the_names_that_the_card_gives_them() {
    let card = "[postprocessing]\nlabels = \"labels.txt\"\nscores = \"logits\"\ntop_k = 2";
    let setup = Setup::app(PAGES).fake_model("named", "dtype = \"FP32\", shape = [-1, 3]", (ECHO.0, card));
    std::fs::write(setup.path("models/named/labels.txt"), "tench, Tinca tinca\n<b>goldfish</b>\nshark\n").unwrap();
    let server = setup.start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("[data-view=model]").await;
    browser.fill_all("x", &["7.5", "-1", "3"]).await;
    browser.run().await;
    assert_eq!(browser.text("#outputs .large").await, "tench");
    let scores = browser.text(".scores").await;
    let places =
        ["tench, Tinca tinca", "7.5", "shark", "3", "<b>goldfish</b>", "-1"].map(|word| scores.find(word).unwrap());
    assert!(places.is_sorted(), "{scores}");
    assert_eq!(browser.look("body", "document.querySelectorAll('#outputs b b, .scores b').length").await, 0);
}

#[tokio::test]
async fn several_inputs_have_a_panel_each() {
    if no_engine() {
        return;
    }
    let models = root().join("tests/fixtures/hostile");
    let server = Setup::app(PAGES).models(models).args(&["--load-model", "add"]).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    let folder = Scratch::new();
    browser.wait_for("[data-view=model]").await;
    browser.fill_all("a", &["1.5", "-2"]).await;
    browser.fill_all("b", &["0.25", "7"]).await;
    browser.run().await;
    assert_eq!(browser.elements().await, ["1.75", "5"]);
    let answer = run_snippets(&browser, folder.path(), "sum [[").await;
    assert_eq!(answer["outputs"][0]["data"], json!([1.75, 5.0]));
    browser.fill("[data-input=b] .axes input", "2").await;
    browser.click("#run").await;
    browser.wait_for("#result[data-state=error]").await;
}

#[tokio::test]
async fn sizes_are_bounded_where_they_are_typed() {
    let server = echoes(&[("rows", "FP32", "[-1, 8]")]).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("[data-view=model]").await;
    let fields = "[data-input=x] .fields";
    for (rows, shown) in [("32", 256), ("33", 0), ("2", 16), ("0", 0)] {
        browser.fill(".axes input", rows).await;
        assert_eq!(browser.look(fields, "$.querySelectorAll('input').length").await, shown, "{rows} rows");
    }
    browser.run().await;
    browser.wait_for_text("#outputs", "It is empty.").await;
    for (rows, says) in
        [("33", "too many elements"), ("100001", "Axis 0 must be 0 to 100000"), ("1.5", "Axis 0 must be")]
    {
        browser.fill(".axes input", rows).await;
        browser.click("#run").await;
        browser.wait_for_text("#error", says).await;
    }
    browser.way("x", "JSON").await;
    browser.fill("textarea", &format!("{}1{}", "[".repeat(17), "]".repeat(17))).await;
    browser.click("#run").await;
    browser.wait_for_text("#error", "more than 16 axes").await;
}

/// What the page shows as its request, in `language`.
async fn snippet(browser: &Browser, language: &str) -> String {
    browser.click(&format!("[data-language={language}]")).await;
    browser.look("#snippet", "$.textContent").await.as_str().unwrap().to_owned()
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the page's snippets in `folder`, each as its readers would, and gives what curl printed. What Python prints
/// starts with `python_prints`.
async fn run_snippets(browser: &Browser, folder: &Path, python_prints: &str) -> Value {
    let curl = snippet(browser, "curl").await;
    let printed =
        succeeds(Command::new("bash").args(["-c", &format!("set -euo pipefail\n{curl}")]).current_dir(folder));
    let packages = root().join("target/tritonclient");
    if !skip(!packages.exists(), "tritonclient is not installed; run `make test-tools`") {
        let python = snippet(browser, "python").await;
        let mut command = Command::new("python3");
        command.args(["-c", &python]).env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
        let printed = succeeds(command.current_dir(folder));
        assert!(printed.starts_with(python_prints), "{printed}");
    }
    serde_json::from_str(&printed).unwrap()
}

#[tokio::test]
async fn the_request_works_from_elsewhere_as_it_is_shown() {
    let server = echoes(&[("it's", "I64", "[-1, 3]"), ("large", "FP32", "[1, 300]")]).start();
    let Some(browser) = Browser::open(&server, "/models/it's").await else { return };
    let folder = Scratch::new();
    browser.wait_for("[data-view=model]").await;
    browser.fill_all("x", &["1", "-2", "9007199254740993"]).await;
    browser.run().await;
    let answer = run_snippets(&browser, folder.path(), "y [[").await;
    assert_eq!(answer["outputs"][0]["data"].to_string(), "[1,-2,9007199254740993]");
    // The page's own policy forbids to evaluate text, the browser's driver may.
    let javascript = snippet(&browser, "javascript").await;
    let script = format!(
        "const done = arguments[0], console = {{ log: done }}; (async () => {{ {javascript} }})().catch((e) => done(String(e)))"
    );
    let outputs = browser.command("execute/async", json!({ "script": script, "args": [] })).await;
    assert_eq!(outputs[0]["shape"], json!([1, 3]), "{javascript}: {outputs}");

    browser.command("url", json!({ "url": server.url("/models/large") })).await;
    browser.wait_for("[data-view=model]").await;
    browser.way("x", "File").await;
    let values: Vec<f32> = (0_u8..100).cycle().take(300).map(|n| f32::from(n) / 4.0).collect();
    let file = folder.write("x.bin", values.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
    browser.choose(".drop input", &file).await;
    browser.wait_for_text("#snippet-files", "x.bin").await;
    let answer = run_snippets(&browser, folder.path(), "y [[").await;
    assert_eq!(answer["outputs"][0]["data"], json!(values));
}

/// Inputs whose names differ only in what no file's name can have.
#[tokio::test]
async fn each_input_has_a_file_of_its_own() {
    let setup = Setup::app(PAGES);
    let spec = |name| format!("{{ name = \"{name}\", dtype = \"FP32\", shape = [1, 300] }}");
    let inputs = format!("[{}, {}, {}]", spec("a:0"), spec("a/0"), spec("A 0"));
    let folder = setup.path("models/two");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.toml"), "graph = { file = \"graph\", engine = \"fake\" }\n").unwrap();
    let graph = format!("compute = \"echo\"\ninputs = {inputs}\noutputs = [{}]\n", spec("y"));
    std::fs::write(folder.join("graph"), graph).unwrap();
    let server = setup.start();
    let Some(browser) = Browser::open(&server, "/models/two").await else { return };
    browser.wait_for("[data-view=model]").await;
    for file in ["a_0.bin", "a_0-2.bin", "A_0-3.bin"] {
        browser.wait_for_text("#snippet-files", file).await;
    }
    for language in ["curl", "python", "javascript"] {
        let shown = snippet(&browser, language).await;
        for file in ["a_0.bin", "a_0-2.bin", "A_0-3.bin"] {
            assert_eq!(shown.matches(file).count(), 1, "{shown}");
        }
    }
}

#[tokio::test]
async fn the_list_shows_what_there_is_and_changes_with_it() {
    let setup = echoes(&[("one", "FP32", "[-1, 4]"), ("a b%", "U8", "[-1]")]);
    let models = setup.path("models");
    let server = setup.start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("[data-view=index]").await;
    browser.wait_for_text("#models", "FP32 [?, 4] → FP32 [?, 4]").await;
    browser.screenshot("page-index.png").await;
    let card = std::fs::read_to_string(models.join("one/model.toml")).unwrap();
    let graph = std::fs::read(models.join("one/graph")).unwrap();
    assert_eq!(server.get("/models/two").await.status, 404);
    std::fs::create_dir(models.join("two")).unwrap();
    std::fs::write(models.join("two/model.toml"), card.replace("\"one\"", "\"two\"")).unwrap();
    std::fs::write(models.join("two/graph"), graph).unwrap();
    std::fs::remove_dir_all(models.join("one")).unwrap();
    assert_eq!(server.admin_post("/reload").await.status, 200);
    assert_eq!((server.get("/models/two").await.status, server.get("/models/one").await.status), (200, 404));
    browser.command("refresh", json!({})).await;
    browser.wait_for_text("#models", "two").await;
    assert!(!browser.text("#models").await.contains("one"));
    browser.click("#models li:last-child a").await;
    browser.wait_for("[data-view=model]").await;
    assert_eq!(browser.text("#title").await, "two");
    assert!(browser.console().await.is_empty());
}

#[tokio::test]
async fn a_page_is_public_and_what_it_shows_is_not() {
    let keys = Scratch::new();
    let file = keys.path().join("keys");
    let made = crate::harness::modelfn().args(["key", "visitor", "--file"]).arg(&file).output().unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    let setup = echoes(&[("quince", "FP32", "[-1, 4]")]);
    let server = setup.args(&["--api-keys", file.to_str().unwrap()]).start();
    for path in ["/", "/models/quince"] {
        let page = server.get(path).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert!(!page.text().contains("quince"), "a page says nothing of models");
    }
    assert_eq!(server.get("/models/quince/card").await.status, 401);
    assert_eq!(server.post("/models/quince", "").await.status, 405);
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("#key-form:not([hidden])").await;
    assert!(browser.text("#trouble").await.contains("This server wants a key"));
    browser.enter("#key", "mfn_wrong\n").await;
    browser.wait_for_text("#trouble", "That key is not valid here").await;
    browser.enter("#key", &key).await;
    browser.wait_for("[data-view=model]").await;
    browser.run().await;
    browser.wait_for_text("#snippet", "X-API-Key: $KEY").await;
    let text = browser.text("body").await;
    assert!(!text.contains(key.trim()), "the key is not shown");
    assert_eq!(browser.look("html", "localStorage.length + document.cookie.length").await, 0);
}

#[tokio::test]
async fn the_page_fits_a_phone_and_the_dark() {
    let models = [
        ("scores", "FP32", "[-1, 10]"),
        ("a-model-with-a-long-name-that-nobody-would-give-it", "FP32", "[1, 3, 64, 64]"),
    ];
    let server = echoes(&models).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.become_a_phone().await;
    browser.wait_for("[data-view=index]").await;
    assert_eq!(browser.look("html", "$.scrollWidth").await, 390, "the list is wider than a phone");
    for (name, _, _) in models {
        browser.command("url", json!({ "url": server.url(&format!("/models/{name}")) })).await;
        browser.wait_for("[data-view=model]").await;
        if name != "scores" {
            browser.choose(".drop input", &root().join("target/pictures/coffee.png")).await;
            browser.wait_for(".drop canvas").await;
        }
        browser.run().await;
        assert_eq!(browser.look("html", "$.scrollWidth").await, 390, "{name} is wider than a phone");
        browser.screenshot(&format!("page-phone-{name:.6}.png")).await;
        browser.prefer("dark").await;
        let paper = browser.look("body", "getComputedStyle($).backgroundColor").await;
        assert_eq!(paper, "rgb(14, 19, 18)");
        browser.screenshot(&format!("page-dark-{name:.6}.png")).await;
        browser.prefer("light").await;
    }
    assert!(browser.console().await.is_empty());
}

/// The folders of models of this repository.
fn shipped(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| root().join("models").join(name)).collect()
}

#[tokio::test]
async fn an_image_classifier_gets_its_function_without_a_build() {
    let model = "efficientnet-lite0-int8";
    let server = Setup::of_models(&shipped(&[model])).start();
    for base in ["/", &format!("/models/{model}/")] {
        let page = server.get(base).await;
        assert!(page.text().contains("What is in the picture?"), "{base}: {}", page.text());
        assert_eq!(server.get(&format!("{base}model")).await.json()["name"], model);
        let answer = server.post(&format!("{base}classify?top_k=1"), picture("coffee.png")).await;
        assert_eq!(answer.json()["class"], "espresso", "{base}");
    }
    assert_eq!(server.post(&format!("/v2/models/{model}/infer"), "{}").await.status, 400);
}

/// Graph, labels and one word: the card is written once, and never over one that is there.
#[tokio::test]
async fn a_preset_makes_a_classifier_of_graph_and_labels() {
    let scratch = Scratch::new();
    let original = root().join("models/efficientnet-lite0");
    let folder = scratch.path().join("lite");
    std::fs::create_dir(&folder).unwrap();
    for file in ["model.onnx", "labels.txt"] {
        place(&original.join(file), &folder.join(file));
    }
    let setup = || Setup::of_models(std::slice::from_ref(&folder)).args(&["--preset", "imagenet"]);
    let answer = setup().start().post("/classify", picture("coffee.png")).await;
    assert_eq!(answer.json()["class"], "espresso");

    let written = std::fs::read_to_string(folder.join("model.toml")).unwrap();
    let changed = written.replace("# top_k = 5", "top_k = 2");
    assert_ne!(changed, written);
    scratch.write("lite/model.toml", &changed);
    let server = setup().start();
    server.wait_for_log("model.toml is there already");
    assert_eq!(
        server.post("/classify", picture("coffee.png")).await.json()["predictions"].as_array().unwrap().len(),
        2
    );

    let add = scratch.path().join("add.onnx");
    for copy in [&add, &folder.join("other.onnx")] {
        place(&root().join("tests/fixtures/hostile/add/model.onnx"), copy);
    }
    std::fs::remove_file(folder.join("model.toml")).unwrap();
    std::fs::rename(folder.join("model.onnx"), folder.join("lite.onnx")).unwrap();
    for (path, says) in [(&add, "takes 2 inputs"), (&folder, "could each be the graph")] {
        let output = modelfn().arg("serve").arg(path).args(["--preset", "raw"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn several_models_have_their_functions_and_pages_side_by_side() {
    let models = ["efficientnet-lite0-int8", "efficientnet-lite0"];
    let server = Setup::of_models(&shipped(&models)).start();
    assert!(server.get("/").await.text().contains("id=\"models\""));
    assert_eq!(server.post("/classify", picture("coffee.png")).await.status, 404);
    for model in models {
        let answer = server.post(&format!("/models/{model}/classify"), picture("coffee.png")).await.json();
        assert_eq!((answer["class"].as_str(), answer["model"].as_str()), (Some("espresso"), Some(model)));
    }
}

/// A card that leaves to the graph what the graph says: the function gets the rest from the server.
#[tokio::test]
async fn a_short_card_makes_a_classifier_of_a_version_and_of_a_folder() {
    let original = root().join("models/efficientnet-lite0-int8");
    let card: toml::Table = std::fs::read_to_string(original.join("model.toml")).unwrap().parse().unwrap();
    let tables = ["preprocessing", "postprocessing"].map(|name| (name.to_owned(), card[name].clone()));
    let short = toml::to_string(&toml::Table::from_iter(tables)).unwrap();
    for version in ["", "2/"] {
        let folder = Scratch::new();
        let card = folder.write(&format!("flowers/{version}model.toml"), &short);
        for file in ["labels.txt", "model.onnx"] {
            place(&original.join(file), &card.with_file_name(file));
        }
        let server = Setup::of_models(&[folder.path().join("flowers")]).start();
        let answer = server.post("/classify?top_k=1", picture("coffee.png")).await;
        assert_eq!(answer.json()["class"], "espresso", "{version}: {}", answer.text());
        assert_eq!(answer.json()["model"], "flowers");
        assert_eq!(server.get("/model").await.json()["name"], "flowers");
    }
}

/// A file that a card beside it describes is a classifier whose function sees card and labels, and not what lies around.
#[tokio::test]
async fn a_file_is_given_to_its_function_without_its_neighbours() {
    let graph = root().join("models/efficientnet-lite0-int8/model.onnx");
    let temporary = Scratch::new();
    let setup = Setup::of_models(&[graph]).env("TMPDIR", temporary.path().to_str().unwrap());
    let mut server = setup.start();
    let answer = server.post("/classify?top_k=1", picture("coffee.png")).await;
    assert_eq!(answer.json()["class"], "espresso", "{}", answer.text());
    let folders =
        || std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let seen = |folder: &Path| {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        std::collections::BTreeSet::from_iter(names)
    };
    let before = folders();
    assert_eq!(before.len(), 1);
    assert_eq!(seen(&before[0]), ["labels.txt", "model.toml"].map(String::from).into());
    assert_eq!(server.admin_post("/reload").await.status, 200);
    assert_eq!(server.post("/classify", picture("coffee.png")).await.status, 200);
    assert!(folders().len() == 1 && folders() != before, "the folder of what served before is gone");
    server.signal("TERM");
    assert!(server.wait(std::time::Duration::from_secs(20)).success());
    assert!(folders().is_empty());
}

/// A graph beside another's card is a model of its own: it has a page of tensors.
#[tokio::test]
async fn a_file_that_no_card_means_has_a_page_of_tensors() {
    let original = root().join("models/efficientnet-lite0-int8");
    let folder = Scratch::new();
    place(&original.join("model.onnx"), &folder.path().join("other.onnx"));
    for file in ["model.onnx", "model.toml", "labels.txt"] {
        place(&original.join(file), &folder.path().join(file));
    }
    let server = Setup::of_models(&[folder.path().join("other.onnx")]).start();
    assert!(server.get("/").await.text().contains("id=\"inputs\""));
    assert_eq!(server.post("/classify", picture("coffee.png")).await.status, 404);
    assert_eq!(server.get("/models/other/card").await.json()["labels"], json!([]));
}
