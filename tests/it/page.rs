//! The upload page in a real browser: headless Chromium, driven through chromedriver.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Scratch, Server, Setup, root, skip};
use crate::program::Program;

/// A browser that shows one page. Dropping it ends the browser.
///
/// WebDriver is JSON over HTTP. A client library would bring 29 crates for the few commands that are needed here.
struct Browser {
    driver: Program,
    session: String,
    http: reqwest::Client,
    _profile: Scratch,
}

impl Browser {
    /// Opens the function's page in a new browser.
    async fn open(server: &Server) -> Option<Browser> {
        let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if skip(
            !(found("chromium") && found("chromedriver")),
            "there is no chromium with chromedriver; run `make test-tools`",
        ) {
            return None;
        }
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let driver = Program::start(command, "started successfully on port ");
        let profile = Scratch::new();
        let user_data = format!("--user-data-dir={}", profile.path().display());
        // Chromium has no sandbox for root, as in containers. Reduced motion lets a screenshot show bars at full
        // length. The other options keep the browser from calling home.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--force-prefers-reduced-motion",
            "--window-size=1280,1360",
            "--hide-scrollbars",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &user_data,
        ];
        let capabilities =
            json!({ "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" } });
        let mut browser = Browser { driver, session: String::new(), http: server.client.clone(), _profile: profile };
        let session = browser.post("/session", json!({ "capabilities": { "alwaysMatch": capabilities } })).await;
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser.command("url", json!({ "url": server.url("/") })).await;
        Some(browser)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(self.driver.url(path)).json(&body);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{path} {body}: {answer}");
        answer["value"].take()
    }

    async fn command(&self, name: &str, body: Value) -> Value {
        self.post(&format!("{}/{name}", self.session), body).await
    }

    /// The value of a JavaScript expression, in which `$` is the element that `css` selects.
    async fn look(&self, css: &str, expression: &str) -> Value {
        let script = format!("const $ = document.querySelector(arguments[0]); return {expression}");
        self.command("execute/sync", json!({ "script": script, "args": [css] })).await
    }

    /// The visible text of an element.
    async fn text(&self, css: &str) -> String {
        self.look(css, "$.innerText").await.as_str().unwrap().to_owned()
    }

    /// Chooses a file, as the dialog of the button would.
    async fn choose(&self, file: &Path) {
        let input = self.command("element", json!({ "using": "css selector", "value": "#file" })).await;
        let id = input.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.command(&format!("element/{id}/value"), json!({ "text": file })).await;
    }

    /// Types into a field. A line break is the Enter key.
    async fn enter(&self, css: &str, text: &str) {
        let field = self.command("element", json!({ "using": "css selector", "value": css })).await;
        let id = field.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.command(&format!("element/{id}/value"), json!({ "text": text.replace('\n', "\u{e007}") })).await;
    }

    async fn wait_for(&self, css: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.look(css, "$ === null").await == true {
            assert!(Instant::now() < until, "{css} does not appear; the result says: {}", self.text("#result").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wait_for_text(&self, css: &str, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.text(css).await.contains(text) {
            assert!(Instant::now() < until, "{css} does not say {text:?}: {}", self.text(css).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Saves a screenshot for people.
    async fn screenshot(&self, name: &str) {
        let picture = self.command("goog/cdp/execute", json!({ "cmd": "Page.captureScreenshot", "params": {} })).await;
        let scratch = Scratch::new();
        let base64 = scratch.write(name, picture["data"].as_str().unwrap());
        let decoded = Command::new("base64").arg("--decode").arg(base64).output().unwrap();
        assert!(decoded.status.success());
        std::fs::write(root().join("target").join(name), decoded.stdout).unwrap();
    }

    /// Makes the page as narrow as on a phone. A window cannot be that narrow.
    async fn become_a_phone(&self) {
        let metrics = json!({ "width": 390, "height": 1360, "deviceScaleFactor": 2, "mobile": true });
        self.command("goog/cdp/execute", json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics }))
            .await;
    }

    /// The lines of the console since the last call, of the page and of the browser.
    async fn console(&self) -> Vec<Value> {
        self.command("se/log", json!({ "type": "browser" })).await.as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    /// Asks chromedriver to end. If it were killed, the browser would go on.
    fn drop(&mut self) {
        let asked = std::net::TcpStream::connect(&self.driver.address).and_then(|mut driver| {
            driver.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(driver, "GET /shutdown HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.driver.address)?;
            driver.read_to_end(&mut Vec::new())
        });
        if let Err(e) = asked {
            eprintln!("the browser may still run: {e}");
        }
    }
}

/// The page asks for the key when it is needed, and remembers it until the tab is closed.
#[tokio::test]
async fn the_page_asks_for_a_key_where_one_is_needed() {
    let keys = Scratch::new();
    let file = keys.path().join("keys");
    let made = crate::harness::modelfn().args(["key", "visitor", "--file"]).arg(&file).output().unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    let server = Setup::example().args(&["--api-keys", file.to_str().unwrap()]).start();
    let Some(browser) = Browser::open(&server).await else { return };
    let picture = root().join("target/pictures/coffee.png");
    browser.wait_for("#model:not([hidden])").await;
    browser.choose(&picture).await;
    browser.wait_for("#key-form:not([hidden])").await;
    assert!(browser.text("#error").await.contains("This server wants a key"));
    browser.screenshot("page-key.png").await;
    browser.enter("#key", "mfn_wrong\n").await;
    browser.wait_for_text("#error", "That key is not valid here").await;
    browser.enter("#key", &key).await;
    browser.wait_for("#result[data-state=done]").await;
    assert!(browser.text("#class").await.contains("espresso"));
    assert!(browser.text("#curl").await.contains("X-API-Key: $KEY"));

    browser.command("refresh", json!({})).await;
    browser.choose(&picture).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.look("html", "localStorage.length + document.cookie.length").await, 0);
}

#[tokio::test]
async fn the_page_classifies_what_is_chosen_and_says_what_is_wrong() {
    let server = Setup::example().start();
    let Some(browser) = Browser::open(&server).await else { return };
    let pictures = root().join("target/pictures");

    browser.wait_for("#result[data-state=idle]").await;
    browser.wait_for("#model:not([hidden])").await;
    assert_eq!(browser.text("#model-name").await, "efficientnet-lite0-int8");

    browser.choose(&pictures.join("coffee.png")).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.text("#class").await, "espresso");
    let classes = browser
        .look("#predictions", "[...$.querySelectorAll('li[data-class]')].map((item) => item.dataset.class)")
        .await;
    assert_eq!((classes.as_array().unwrap().len(), &classes[0]), (5, &json!("espresso")), "{classes}");
    let timing = browser.text("#timing").await;
    for part in ["in the server", "round trip", "decode", "preprocess", "compute", "postprocess"] {
        assert!(timing.contains(part), "{part:?} is not in {timing:?}");
    }
    browser.wait_for("#form[data-shows=picture]").await;
    browser.screenshot("page.png").await;
    assert!(browser.console().await.is_empty());

    browser.choose(&root().join("LICENSE")).await;
    browser.wait_for("#result[data-state=error]").await;
    let error = browser.text("#error").await;
    for part in ["That picture could not be used", "the bytes are no picture", "415"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    // The browser itself reports the status 415. The page adds nothing, and there is no other error.
    let console = browser.console().await;
    assert!(console.len() == 1 && console[0]["message"].as_str().unwrap().contains("415"), "{console:?}");

    browser.choose(&pictures.join("chelsea.png")).await;
    browser.wait_for("#result[data-state=done]").await;
    assert!(browser.text("#class").await.contains("cat"));

    // The headline has no synonyms: the whole name is in the list.
    browser.choose(&pictures.join("imagenet_17_22.jpg")).await;
    browser.wait_for_text("#class", "bald eagle").await;
    assert_eq!(browser.text("#class").await, "bald eagle");
    assert!(browser.text("#predictions").await.contains("bald eagle, American eagle, Haliaeetus leucocephalus"));

    browser.become_a_phone().await;
    assert_eq!(browser.look("html", "$.scrollWidth").await, 390, "the page is wider than a phone");
    browser.screenshot("page-phone.png").await;
    assert!(browser.console().await.is_empty());
}

/// Where several classes may be right, the page names all that reach the threshold, or says that none does.
#[tokio::test]
async fn the_page_shows_all_classes_that_may_be_right() {
    // Each class is a pixel. The left half is bright, but for one pixel.
    let picture =
        image::GrayImage::from_fn(6, 4, |x, y| image::Luma([if x < 3 && (x, y) != (0, 0) { 250 } else { 20 }]));
    let files = Scratch::new();
    let (bright, dark) = (files.path().join("bright.png"), files.path().join("dark.png"));
    picture.save(&bright).unwrap();
    image::GrayImage::new(6, 4).save(&dark).unwrap();
    let tables = "[preprocessing]\nmean = [128]\nstd = [20]\n[postprocessing]\nscores = \"sigmoid\"\nthreshold = 0.75";
    let server = Setup::classify_pixels("dtype = \"FP32\", shape = [1, 1, 4, 6]", tables).start();
    let Some(browser) = Browser::open(&server).await else { return };
    browser.wait_for("#model:not([hidden])").await;
    browser.choose(&bright).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.text("#class").await, "class 1, class 2, class 6 and 8 more");
    assert_eq!(browser.text("#lead").await, "11 classes of 75.0% or more");
    let listed = browser.look("#predictions", "[...$.children].map((item) => item.dataset.class)").await;
    let names = [1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20].map(|index| format!("class {index}"));
    assert_eq!(listed, json!(names));
    browser.screenshot("page-several.png").await;
    browser.choose(&dark).await;
    browser.wait_for_text("#class", "Nothing it knows").await;
    assert_eq!(browser.text("#lead").await, "No classes of 75.0% or more");
    assert!(browser.console().await.is_empty());
}
