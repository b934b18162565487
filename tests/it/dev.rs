//! `modelfn dev`: changes are built and served, failures are shown, and no request is lost meanwhile.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::functions::{NewFunction, command, no_rust_for_wasm};
use crate::harness::{Answer, Scratch, guest, place, root};
use crate::program::Program;

/// How long a change may take until it is seen. The machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// A running `modelfn dev`.
struct Dev {
    program: Program,
    client: reqwest::Client,
}

impl Dev {
    fn start(folder: &std::path::Path, arguments: &[&str]) -> Dev {
        let listen = ["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let command = command(folder, &[&listen[..], arguments].concat());
        let program = Program::start(command, "serving on http://127.0.0.1:");
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Dev { program, client }
    }

    async fn get(&self, path: &str, accept: &str) -> Answer {
        let request = self.client.get(self.program.url(path)).header("accept", accept);
        Answer::read(request.send().await.unwrap()).await.unwrap()
    }

    /// Asks until the answer is as `wanted`.
    async fn wait_for(&self, (path, accept): (&str, &str), wanted: impl Fn(&Answer) -> bool) -> Answer {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path, accept).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < until, "still {}: {}", answer.status, answer.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An application whose build is a script: what it copies is served.
struct Scripted(Scratch);

impl Scripted {
    fn new() -> Scripted {
        let scratch = Scratch::new();
        let app = Scripted(scratch);
        app.serve("probe");
        app.0.write(
            "spin.toml",
            "spin_manifest_version = 2\napplication.name = \"scripted\"\n[[trigger.http]]\nroute = \"/...\"\n\
             component = \"f\"\n[component.f]\nsource = \"out/f.wasm\"\nfiles = [{ source = \"models/m\", destination = \"/model\" }]\n\
             [component.f.build]\ncommand = \"sh src/build.sh\"\n[component.f.tool.modelfn]\nmodels = [\"m\"]\n",
        );
        app.model("skl-labels");
        fs::create_dir(app.0.path().join("out")).unwrap();
        app
    }

    /// The function is this guest from now on.
    fn serve(&self, name: &str) {
        self.script(&format!("cp {} out/f.wasm", guest(name).display()));
    }

    fn script(&self, text: &str) {
        self.0.write("src/build.sh", text);
    }

    /// The model is this one of the fixtures, with a card of its own.
    fn model(&self, fixture: &str) {
        let folder = root().join("tests/fixtures/tensors").join(fixture);
        self.0.write("models/m/model.toml", "");
        fs::remove_file(self.0.path().join("models/m/model.toml")).unwrap();
        let graph = self.0.path().join("models/m/model.onnx");
        let _ = fs::remove_file(&graph);
        place(&folder.join("model.onnx"), &graph);
    }

    fn start(&self) -> Dev {
        Dev::start(self.0.path(), &[])
    }
}

#[tokio::test]
async fn a_change_is_built_and_served_and_a_failure_is_shown_until_it_is_mended() {
    let app = Scripted::new();
    let dev = app.start();
    let hello = dev.get("/hello", "*/*").await;
    assert_eq!(hello.status, 200, "{}", hello.text());

    app.script("echo 'error: <b>no such thing</b>' >&2; exit 1");
    let page = dev.wait_for(("/hello", BROWSER), |answer| answer.status == 500).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("error: &lt;b&gt;no such thing&lt;/b&gt;"), "{}", page.text());
    assert!(
        page.text().contains("the build of &quot;f&quot; failed: `sh src/build.sh` (exit status: 1)"),
        "{}",
        page.text()
    );
    assert_eq!(dev.get("/hello", "*/*").await.text(), hello.text(), "others are served by the last build");
    dev.program.wait_for_line("no such thing");

    app.serve("classify");
    let other = dev.wait_for(("/", BROWSER), |answer| answer.status == 200).await;
    assert!(other.text().contains("<!doctype html>"), "{}", other.text());
    assert_eq!(dev.get("/hello", "*/*").await.status, 404, "the new function has no such path");
}

/// A person who looks at the page while a build is broken sees why, and then the function, without doing anything.
#[tokio::test]
async fn the_page_of_a_failure_goes_by_itself_when_it_is_mended() {
    let app = Scripted::new();
    let dev = app.start();
    app.script("echo 'error[E0425]: cannot find value `labels` in this scope'; exit 101");
    dev.wait_for(("/", BROWSER), |answer| answer.status == 500).await;
    let Some(browser) = Browser::open_url(&dev.client, &dev.program.url("/")).await else { return };
    browser.wait_for_text("h1", "the build of \"f\" failed").await;
    assert!(browser.text("pre").await.contains("cannot find value `labels`"));
    browser.screenshot("page-build-failure.png").await;
    app.script("echo 'error: another one'; exit 101");
    browser.wait_for_text("body", "another one").await;
    app.serve("classify");
    browser.wait_for("#file").await;
}

#[tokio::test]
async fn a_manifest_that_is_wrong_is_shown_and_one_that_is_mended_is_served() {
    let app = Scripted::new();
    let dev = app.start();
    let manifest = app.0.path().join("spin.toml");
    let good = fs::read_to_string(&manifest).unwrap();
    for (wrong, says) in [
        (good.replace("spin_manifest_version = 2", "spin_manifest_version = ["), "TOML parse error"),
        (good.replace("command", "comand"), "comand"),
    ] {
        fs::write(&manifest, &wrong).unwrap();
        dev.wait_for(("/hello", BROWSER), |answer| answer.status == 500).await;
        dev.program.wait_for_line(says);
        assert_eq!(dev.get("/hello", "*/*").await.status, 200);
        fs::write(&manifest, &good).unwrap();
        dev.wait_for(("/hello", BROWSER), |answer| answer.status == 200).await;
    }
    fs::write(&manifest, good.replace("\"/...\"", "\"/below/...\"")).unwrap();
    dev.wait_for(("/hello", "*/*"), |answer| answer.status == 404).await;
    assert_eq!(dev.get("/below/hello", "*/*").await.text(), "the probe has no such path");
}

#[tokio::test]
async fn a_model_that_is_replaced_is_loaded() {
    let app = Scripted::new();
    let dev = app.start();
    let metadata = "/v2/models/m";
    assert!(dev.get(metadata, "*/*").await.text().contains("\"label\""));
    app.model("zipmap-ints");
    dev.wait_for((metadata, "*/*"), |answer| {
        answer.text().contains("\"probabilities\"") && !answer.text().contains("\"X\"")
    })
    .await;
}

#[tokio::test]
async fn no_request_is_lost_while_functions_are_replaced() {
    let app = Scripted::new();
    let dev = app.start();
    let client = dev.client.clone();
    let url = dev.program.url("/hello");
    let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut count = 0;
        while end.try_recv().is_err() {
            let answer = client.get(&url).send().await.expect("no connection breaks");
            // The one guest says hello, and the other has no such path.
            assert!([200, 404].contains(&answer.status().as_u16()), "{}", answer.status());
            answer.bytes().await.expect("no response breaks off");
            count += 1;
        }
        count
    });
    for round in 0..6 {
        let (name, status) = if round % 2 == 0 { ("classify", 404) } else { ("probe", 200) };
        app.serve(name);
        dev.wait_for(("/hello", "*/*"), |answer| answer.status == status).await;
    }
    ended.send(()).unwrap();
    assert!(load.await.unwrap() > 20);
}

#[tokio::test]
async fn a_change_while_a_build_runs_ends_it_and_begins_another() {
    let app = Scripted::new();
    let dev = app.start();
    app.script("echo $$ > pid; sleep 600");
    let pid = app.0.path().join("pid");
    let until = Instant::now() + PATIENCE;
    while !fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    app.serve("classify");
    dev.wait_for(("/hello", "*/*"), |answer| answer.status == 404).await;
    let status = PathBuf::from("/proc").join(fs::read_to_string(&pid).unwrap().trim()).join("status");
    // Who adopts processes need not be quick to bury them.
    let has_ended = fs::read_to_string(status).map_or(true, |status| status.contains("(zombie)"));
    assert!(has_ended, "the build that nobody wants any more has ended");
}

/// The blocks of a language in a page of the documents.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// The commands of the page for those who write functions, one after the other.
#[tokio::test]
async fn the_commands_of_the_page_do_what_it_says() {
    if no_rust_for_wasm() {
        return;
    }
    let page = "docs/write-a-function.md";
    let commands = blocks(page, "sh");
    assert_eq!(commands[0], "modelfn new flowers --model model.onnx\ncd flowers\nmodelfn dev\n");
    let model = root().join("host/cli/templates/tabular/model/model.onnx");
    let function = NewFunction::new("flowers", &["--model", model.to_str().unwrap()]);
    for file in blocks(page, "text")[0].lines().map(|line| line.split_whitespace().next().unwrap()) {
        assert!(function.folder.join(file).exists(), "{file}");
    }
    function.succeed(&["build"]);
    let dev = Dev::start(&function.folder, &[]);
    let curl = commands[1].replace("127.0.0.1:8080", &dev.program.address).replace("curl ", "curl -sS ");
    let output = std::process::Command::new("bash").args(["-c", &curl]).output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("[{\"label\":\"setosa\""), "{curl}: {answer} {output:?}");
    drop(dev);
    assert_eq!(commands[2], "modelfn test\n");
    fs::write(function.folder.join("tests/of-the-page.toml"), &blocks(page, "toml")[0]).unwrap();
    let tested = function.succeed(&["test"]);
    assert!(tested.contains("ok      tests/of-the-page.toml: two flowers"), "{tested}");
    fs::write(function.folder.join("body.json"), "[[5.1, 3.5, 1.4, 0.2]]").unwrap();
    assert!(function.succeed(&["invoke", "/", "body.json"]).contains("setosa"));
    function.succeed(&["compile", "--out", "code"]);
    function.succeed(&["model", "inspect", "flowers"]);
}

/// The whole way of a person who writes a function in Rust.
#[tokio::test]
async fn a_function_in_rust_is_built_again_when_it_is_saved() {
    if no_rust_for_wasm() {
        return;
    }
    let function = NewFunction::new("saved", &[]);
    function.succeed(&["build"]);
    let dev = Dev::start(&function.folder, &[]);
    // The model computes 2 x + 1.
    let ask = async || {
        let request = dev.client.post(dev.program.url("/")).body("{\"x\":{\"shape\":[1,2],\"data\":[1,2]}}");
        let answer = Answer::read(request.send().await.unwrap()).await.unwrap().json();
        answer["y"]["data"][0].as_f64().unwrap() as i64
    };
    assert_eq!(ask().await, 3);
    let until = Instant::now() + PATIENCE;
    function.edit("src/lib.rs", "&outputs.y, |value| value", "&outputs.y, |value| value + 40.0");
    while ask().await != 43 {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    function.edit("src/lib.rs", "value + 40.0", "values");
    let page = dev.wait_for(("/", BROWSER), |answer| answer.status == 500).await;
    assert!(page.text().contains("cannot find value `values` in this scope"), "{}", page.text());
    assert!(!page.text().contains('\u{1b}'), "the page has no colors of terminals");
    assert_eq!(ask().await, 43, "programs are served by the last build");
    fs::remove_dir_all(function.folder.join(".modelfn")).unwrap();
    function.edit("src/lib.rs", "|value| values", "|value| -value");
    dev.wait_for(("/", BROWSER), |answer| answer.status == 405).await;
    assert_eq!(ask().await, -3);
}
