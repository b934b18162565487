//! The upload page of the example's function, in a real browser.

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Scratch, Setup, root};

/// The page asks for the key when it is needed, and remembers it until the tab is closed.
#[tokio::test]
async fn the_page_asks_for_a_key_where_one_is_needed() {
    let keys = Scratch::new();
    let file = keys.path().join("keys");
    let made = crate::harness::modelfn().args(["key", "visitor", "--file"]).arg(&file).output().unwrap();
    let key = String::from_utf8(made.stdout).unwrap();
    let server = Setup::example().args(&["--api-keys", file.to_str().unwrap()]).start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    let picture = root().join("target/pictures/coffee.png");
    browser.wait_for("#model:not([hidden])").await;
    browser.choose("#file", &picture).await;
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
    browser.choose("#file", &picture).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.look("html", "localStorage.length + document.cookie.length").await, 0);
}

#[tokio::test]
async fn the_page_classifies_what_is_chosen_and_says_what_is_wrong() {
    let server = Setup::example().start();
    let Some(browser) = Browser::open(&server, "/").await else { return };
    let pictures = root().join("target/pictures");

    browser.wait_for("#result[data-state=idle]").await;
    browser.wait_for("#model:not([hidden])").await;
    assert_eq!(browser.text("#model-name").await, "efficientnet-lite0-int8");

    browser.choose("#file", &pictures.join("coffee.png")).await;
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

    browser.choose("#file", &root().join("LICENSE")).await;
    browser.wait_for("#result[data-state=error]").await;
    let error = browser.text("#error").await;
    for part in ["That picture could not be used", "the bytes are no picture", "415"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    // The browser itself reports the status 415. The page adds nothing, and there is no other error.
    let console = browser.console().await;
    assert!(console.len() == 1 && console[0]["message"].as_str().unwrap().contains("415"), "{console:?}");

    browser.choose("#file", &pictures.join("chelsea.png")).await;
    browser.wait_for("#result[data-state=done]").await;
    assert!(browser.text("#class").await.contains("cat"));

    browser.become_a_phone().await;
    assert_eq!(browser.look("html", "$.scrollWidth").await, 390, "the page is wider than a phone");
    browser.screenshot("page-phone.png").await;
    assert!(browser.console().await.is_empty());
}
