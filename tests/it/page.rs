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

    // The headline has no synonyms: the whole name is in the list.
    browser.choose("#file", &pictures.join("imagenet_17_22.jpg")).await;
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
    let Some(browser) = Browser::open(&server, "/").await else { return };
    browser.wait_for("#model:not([hidden])").await;
    browser.choose("#file", &bright).await;
    browser.wait_for("#result[data-state=done]").await;
    assert_eq!(browser.text("#class").await, "class 1, class 2, class 6 and 8 more");
    assert_eq!(browser.text("#lead").await, "11 classes of 75.0% or more");
    let listed = browser.look("#predictions", "[...$.children].map((item) => item.dataset.class)").await;
    let names = [1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20].map(|index| format!("class {index}"));
    assert_eq!(listed, json!(names));
    browser.screenshot("page-several.png").await;
    browser.choose("#file", &dark).await;
    browser.wait_for_text("#class", "Nothing it knows").await;
    assert_eq!(browser.text("#lead").await, "No classes of 75.0% or more");
    assert!(browser.console().await.is_empty());
}
