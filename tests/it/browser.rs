//! A real browser: headless Chromium, driven through chromedriver.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Scratch, Server, root, skip};
use crate::program::Program;

/// A browser that shows one page. Dropping it ends the browser.
///
/// WebDriver is JSON over HTTP. A client library would bring 29 crates for the few commands that are needed here.
pub struct Browser {
    driver: Program,
    session: String,
    http: reqwest::Client,
    _profile: Scratch,
}

impl Browser {
    /// Opens the page at `path` in a new browser.
    pub async fn open(server: &Server, path: &str) -> Option<Browser> {
        Browser::open_url(&server.client, &server.url(path)).await
    }

    /// Opens a page in a new browser, which the client `http` drives.
    pub async fn open_url(http: &reqwest::Client, url: &str) -> Option<Browser> {
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
        let mut browser = Browser { driver, session: String::new(), http: http.clone(), _profile: profile };
        let session = browser.post("/session", json!({ "capabilities": { "alwaysMatch": capabilities } })).await;
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser.command("url", json!({ "url": url })).await;
        Some(browser)
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(self.driver.url(path)).json(&body);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{path} {body}: {answer}");
        answer["value"].take()
    }

    pub async fn command(&self, name: &str, body: Value) -> Value {
        self.post(&format!("{}/{name}", self.session), body).await
    }

    /// The value of a JavaScript expression, in which `$` is the element that `css` selects.
    pub async fn look(&self, css: &str, expression: &str) -> Value {
        let script = format!("const $ = document.querySelector(arguments[0]); return {expression}");
        self.command("execute/sync", json!({ "script": script, "args": [css] })).await
    }

    /// The visible text of an element.
    pub async fn text(&self, css: &str) -> String {
        self.look(css, "$.innerText").await.as_str().unwrap().to_owned()
    }

    /// Chooses a file in the field that `css` selects, as the dialog of the button would.
    pub async fn choose(&self, css: &str, file: &Path) {
        self.keys(css, &file.display().to_string()).await;
    }

    async fn keys(&self, css: &str, text: &str) {
        let field = self.command("element", json!({ "using": "css selector", "value": css })).await;
        let id = field.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.command(&format!("element/{id}/value"), json!({ "text": text })).await;
    }

    /// Types into a field. A line break is the Enter key.
    pub async fn enter(&self, css: &str, text: &str) {
        self.keys(css, &text.replace('\n', "\u{e007}")).await;
    }

    /// Writes into a field, instead of what is there.
    pub async fn fill(&self, css: &str, text: &str) {
        self.look(css, "($.value = '', null)").await;
        self.keys(css, text).await;
    }

    /// Clicks on an element.
    pub async fn click(&self, css: &str) {
        self.look(css, "($.click(), null)").await;
    }

    /// Chooses light or dark.
    pub async fn prefer(&self, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("goog/cdp/execute", json!({ "cmd": "Emulation.setEmulatedMedia", "params": media })).await;
    }

    pub async fn wait_for(&self, css: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.look(css, "$ === null").await == true {
            assert!(Instant::now() < until, "{css} does not appear; the page says: {}", self.text("body").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn wait_for_text(&self, css: &str, text: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.text(css).await.contains(text) {
            assert!(Instant::now() < until, "{css} does not say {text:?}: {}", self.text(css).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Saves a screenshot for people.
    pub async fn screenshot(&self, name: &str) {
        let picture = self.command("goog/cdp/execute", json!({ "cmd": "Page.captureScreenshot", "params": {} })).await;
        let scratch = Scratch::new();
        let base64 = scratch.write(name, picture["data"].as_str().unwrap());
        let decoded = Command::new("base64").arg("--decode").arg(base64).output().unwrap();
        assert!(decoded.status.success());
        std::fs::write(root().join("target").join(name), decoded.stdout).unwrap();
    }

    /// Makes the page as narrow as on a phone. A window cannot be that narrow.
    pub async fn become_a_phone(&self) {
        let metrics = json!({ "width": 390, "height": 1360, "deviceScaleFactor": 2, "mobile": true });
        self.command("goog/cdp/execute", json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics }))
            .await;
    }

    /// The lines of the console since the last call, of the page and of the browser.
    pub async fn console(&self) -> Vec<Value> {
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
