//! The upload page in a real browser: Chromium without a window, led through chromedriver.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::harness::{Scratch, Server, Setup, root, skip};
use crate::program::Program;

/// A browser that shows one page. Dropping it ends the browser.
struct Browser {
    driver: Program,
    page: Client,
    session: String,
    http: reqwest::Client,
    _profile: Scratch,
}

impl Browser {
    /// Opens the function's page, in a browser that is there for this alone.
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
        // Root, as in containers, has no sandbox; reduced motion, so that a screenshot shows bars at their length;
        // the rest keeps the browser from calling home.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--force-prefers-reduced-motion",
            "--window-size=1280,1100",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &user_data,
        ];
        let Value::Object(capabilities) = json!({
            "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" }
        }) else {
            unreachable!("it is an object")
        };
        let connect =
            ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&driver.url("")).await;
        let page = connect.unwrap();
        page.goto(&server.url("/")).await.unwrap();
        let session = page.session_id().await.unwrap().unwrap();
        Some(Browser { driver, page, session, http: server.client.clone(), _profile: profile })
    }

    /// The text of an element, as it is seen.
    async fn text(&self, css: &str) -> String {
        self.page.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
    }

    /// Chooses a file, as the dialog behind the button would.
    async fn choose(&self, file: &Path) {
        self.page.find(Locator::Css("#file")).await.unwrap().send_keys(file.to_str().unwrap()).await.unwrap();
    }

    async fn wait_for(&self, css: &str) {
        let found = self.page.wait().at_most(Duration::from_secs(20)).for_element(Locator::Css(css)).await;
        if let Err(e) = found {
            panic!("{css} does not appear: {e}; the result says: {}", self.text("#result").await);
        }
    }

    async fn screenshot(&self, name: &str) {
        std::fs::write(root().join("target").join(name), self.page.screenshot().await.unwrap()).unwrap();
    }

    /// What only Chromium's driver has, which the standard, and so `fantoccini`, does not know.
    async fn chromium(&self, command: &str, body: Value) -> Value {
        let url = self.driver.url(&format!("/session/{}/{command}", self.session));
        let answer: Value = self.http.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{command}: {answer}");
        answer["value"].clone()
    }

    /// Makes the page as wide as a phone's, in a window that cannot be so narrow.
    async fn become_a_phone(&self) {
        let metrics = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.chromium("goog/cdp/execute", json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics }))
            .await;
    }

    /// What the page, or the browser about it, wrote into the console.
    async fn console(&self) -> Vec<Value> {
        self.chromium("se/log", json!({ "type": "browser" })).await.as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    /// Asks chromedriver to end, since it would leave the browser behind if it were killed.
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

#[tokio::test]
async fn the_page_classifies_what_is_chosen_and_says_what_is_wrong() {
    let server = Setup::example().start();
    let Some(browser) = Browser::open(&server).await else { return };
    let pictures = root().join("target/pictures");

    browser.wait_for("#result[data-state=idle]").await;
    browser.wait_for("#model:not([hidden])").await;
    assert_eq!(browser.text("#model-name").await, "efficientnet-lite0");

    browser.choose(&pictures.join("coffee.png")).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.text("#class").await, "espresso");
    let predictions = browser.page.find_all(Locator::Css("#predictions li[data-class]")).await.unwrap();
    assert_eq!(predictions.len(), 5);
    assert_eq!(predictions[0].attr("data-class").await.unwrap().unwrap(), "espresso");
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
    // The browser itself reports an answer of 415; the page has nothing to add, and there's no other error.
    let console = browser.console().await;
    assert!(console.len() == 1 && console[0]["message"].as_str().unwrap().contains("415"), "{console:?}");

    browser.choose(&pictures.join("chelsea.png")).await;
    browser.wait_for("#result[data-state=done]").await;
    assert!(browser.text("#class").await.contains("cat"));

    browser.become_a_phone().await;
    let width = browser.page.execute("return document.documentElement.scrollWidth", vec![]).await.unwrap();
    assert_eq!(width, 390, "the page is wider than a phone");
    browser.screenshot("page-phone.png").await;
    assert!(browser.console().await.is_empty());
}
