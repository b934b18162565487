//! The example function as its users see it: it classifies pictures with the real model.

use reqwest::multipart::{Form, Part};
use serde_json::Value;

use crate::harness::{Answer, Server, Setup, app, guest, picture, root};

/// The largest and the average difference of a probability from the independent reference
/// (`tests/fixtures/golden/README.md`). The reference has another decoder and another resize, which crops to whole
/// pixels where the function crops to fractions of pixels.
const FLOAT: (f64, f64) = (0.06, 0.015);

/// The same for int8, which is more sensitive to small changes of pixels: changing each pixel by -1, 0 or 1 at random
/// moved a probability of these pictures by up to 0.25, and by up to 0.09 in float. So the average says more than the
/// largest difference.
const INT8: (f64, f64) = (0.25, 0.03);

fn example() -> Server {
    Setup::example().start()
}

fn pictures(prefix: &str) -> Vec<String> {
    let folder = root().join("target/pictures");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}; run `make pictures`", folder.display()));
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

/// The label is the last number of the name.
fn label(name: &str) -> u64 {
    name.rsplit_once('_').unwrap().1.split_once('.').unwrap().0.parse().unwrap()
}

fn top(answer: &Answer) -> (u64, f64) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let best = &answer.json()["predictions"][0];
    (best["index"].as_u64().unwrap(), best["probability"].as_f64().unwrap())
}

async fn count_right(server: &Server, prefix: &str) -> usize {
    let mut right = 0;
    for name in pictures(prefix) {
        let found = top(&server.post("/classify", picture(&name)).await).0;
        right += usize::from(found == label(&name));
    }
    right
}

async fn compare_with_golden(server: &Server, model: &str, (most, mean): (f64, f64)) {
    let file = root().join("tests/fixtures/golden").join(format!("{model}.json"));
    let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let pictures = golden["pictures"].as_object().unwrap();
    assert!(pictures.len() >= 8);
    let mut apart = Vec::new();
    for (name, expected) in pictures {
        let answer = server.post("/classify?top_k=10", picture(name)).await.json();
        for class in expected["top"].as_array().unwrap() {
            let (index, probability) = (&class["index"], class["probability"].as_f64().unwrap());
            let ours = answer["predictions"].as_array().unwrap().iter().find(|p| p["index"] == *index);
            let ours = ours.map_or(0.0, |p| p["probability"].as_f64().unwrap());
            apart.push((ours - probability).abs());
            assert!(
                (ours - probability).abs() <= most,
                "{model} {name}: class {index} is {ours}, the reference has {probability}"
            );
        }
    }
    let average = apart.iter().sum::<f64>() / apart.len() as f64;
    eprintln!("{model}: {average:.4} from the reference on average");
    assert!(average <= mean, "{model}: {average} from the reference on average");
}

#[tokio::test]
async fn a_photograph_gets_its_class() {
    let server = example();
    let answer = server.post("/classify", picture("coffee.png")).await;
    let json = answer.json();
    assert_eq!(json["class"], "espresso");
    assert_eq!(json["model"], "efficientnet-lite0-int8");
    let predictions = json["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 5);
    assert_eq!(predictions[0]["index"], 967);
    assert!(predictions[0]["probability"].as_f64().unwrap() > 0.9);
    let falling = predictions.windows(2).all(|pair| pair[0]["probability"].as_f64() >= pair[1]["probability"].as_f64());
    assert!(falling, "{json}");
    let timing: Vec<_> = answer.headers.get_all("server-timing").iter().map(|value| value.to_str().unwrap()).collect();
    let timing = timing.join(", ");
    for phase in ["decode", "preprocess", "compute", "sandbox"] {
        assert!(timing.contains(&format!("{phase};dur=")), "{timing}");
    }
}

#[tokio::test]
async fn answers_agree_with_an_independent_reference() {
    compare_with_golden(&example(), "efficientnet-lite0-int8", INT8).await;
}

/// Another folder is another model, without a change to guest or host. This one has channels first, and floats that the
/// function normalises.
#[tokio::test]
async fn the_float_model_works_too() {
    let server = Setup::classify("models", "efficientnet-lite0").start();
    compare_with_golden(&server, "efficientnet-lite0", FLOAT).await;
    let right = count_right(&server, "imagenet_").await;
    assert!(right >= 17, "{right} of 20");
}

/// This model takes pictures of 240 pixels.
#[tokio::test]
async fn another_size_works_too() {
    let server = Setup::classify("models", "efficientnet-lite1").start();
    compare_with_golden(&server, "efficientnet-lite1", FLOAT).await;
    let right = count_right(&server, "imagenet_").await;
    assert!(right >= 17, "{right} of 20");
}

/// The int8 model has a quarter of the bytes. It must find the right classes, and mostly those of the float model.
#[tokio::test]
async fn int8_recognises_what_float_does() {
    let (float, int8) = (Setup::classify("models", "efficientnet-lite0").start(), example());
    let (mut right, mut alike) = (0, 0);
    for name in pictures("imagenet_") {
        let found = top(&int8.post("/classify", picture(&name)).await).0;
        right += usize::from(found == label(&name));
        alike += usize::from(found == top(&float.post("/classify", picture(&name)).await).0);
    }
    eprintln!("int8: {right} of 20 right, {alike} of 20 as float");
    assert!(right >= 17 && alike >= 18, "{right} of 20 right, {alike} of 20 as float");
}

/// This model has channels last, floats with the values of pixels, and ten classes.
#[tokio::test]
async fn a_model_of_another_layout_works_too() {
    let server = Setup::classify("tests/fixtures/models", "cifar10").start();
    compare_with_golden(&server, "cifar10", FLOAT).await;
    let right = count_right(&server, "cifar10_").await;
    assert!(right >= 19, "{right} of 20");
    let answer = server.post("/classify?top_k=10", picture("cifar10_00_3.png")).await.json();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 10);
    let too_many = server.post("/classify?top_k=11", picture("cifar10_00_3.png")).await.problem(400);
    assert!(too_many.contains("10"), "{too_many}");
}

#[tokio::test]
async fn a_form_and_raw_bytes_get_the_same_answer() {
    let server = example();
    let raw = server.post("/classify", picture("rocket.jpg")).await;
    let part = Part::bytes(picture("rocket.jpg")).file_name("rocket.jpg").mime_str("image/jpeg").unwrap();
    let form = Form::new().text("comment", "ignored").part("image", part);
    let sent = server.send(server.client.post(server.url("/classify")).multipart(form)).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(sent.body, raw.body);

    let form = Form::new().text("file", "no image here");
    let problem = server.send(server.client.post(server.url("/classify")).multipart(form)).await.problem(400);
    assert!(problem.contains("image"), "{problem}");
}

/// curl sends a content type of its own with --data-binary, and people send others.
#[tokio::test]
async fn the_content_type_need_not_be_right() {
    let server = example();
    for content_type in ["image/jpeg", "image/png", "application/octet-stream", "application/x-www-form-urlencoded", ""]
    {
        let mut request = server.client.post(server.url("/classify")).body(picture("rocket.jpg"));
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        assert_eq!(top(&server.send(request).await).0, 657, "{content_type}");
    }
    let request = server
        .client
        .post(server.url("/classify"))
        .header("content-type", "application/pdf")
        .body(picture("rocket.jpg"));
    assert!(!server.send(request).await.problem(415).is_empty());
}

#[tokio::test]
async fn top_k_is_obeyed_and_checked() {
    let server = example();
    for k in [1, 3, 1000] {
        let answer = server.post(&format!("/classify?top_k={k}"), picture("coffee.png")).await.json();
        assert_eq!(answer["predictions"].as_array().unwrap().len(), k);
    }
    for k in ["0", "1001", "-1", "many", ""] {
        let problem = server.post(&format!("/classify?top_k={k}"), picture("coffee.png")).await.problem(400);
        assert!(problem.contains("top_k"), "{problem}");
    }
}

#[tokio::test]
async fn bad_pictures_get_a_clear_error_and_harm_nothing() {
    let server = example();
    assert!(!server.post("/classify", "").await.problem(400).is_empty());
    assert!(!server.post("/classify", "just some text").await.problem(415).is_empty());
    let part = Part::bytes(Vec::new()).file_name("empty.jpg");
    let form = Form::new().part("image", part);
    let empty = server.send(server.client.post(server.url("/classify")).multipart(form)).await.problem(400);
    assert!(empty.contains("is empty"), "{empty}");
    let whole = picture("imagenet_00_243.jpg");
    let compressed = server.client.post(server.url("/classify")).header("content-encoding", "br").body(whole.clone());
    let compressed = server.send(compressed).await.problem(415);
    assert!(compressed.contains("Content-Encoding"), "{compressed}");
    for cut in [20, 200, whole.len() / 2] {
        assert!(!server.post("/classify", whole[..cut].to_vec()).await.problem(400).is_empty());
    }
    // A PNG whose header promises 65,000 x 65,000 pixels.
    let mut bomb = picture("coffee.png");
    bomb[16..20].copy_from_slice(&65_000_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&65_000_u32.to_be_bytes());
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    // A BMP whose number of pixels does not fit 32 bits.
    let mut larger = b"BM".to_vec();
    larger.extend([62, 0, 54, 40, 65_000, 65_000, 1 | 24 << 16, 0, 8, 0, 0, 0, 0].map(u32::to_le_bytes).concat());
    for bomb in [bomb, larger] {
        let problem = server.post("/classify", bomb).await.problem(413);
        assert!(problem.contains("96 MiB"), "{problem}");
    }
    assert_eq!(top(&server.post("/classify", picture("coffee.png")).await).0, 967);
}

/// The checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[tokio::test]
async fn paths_and_methods_are_checked() {
    let server = example();
    assert!(!server.get("/nowhere").await.problem(404).is_empty());
    let answer = server.get("/classify").await;
    answer.problem(405);
    assert!(answer.header("allow").contains("POST"), "{:?}", answer.headers);
    let answer = server.post("/", "x").await;
    answer.problem(405);
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
}

#[tokio::test]
async fn the_page_comes_from_the_function_and_uses_nothing_from_outside() {
    let server = example();
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(!page.text().contains("src=\"http") && !page.text().contains("href=\"http"));
    let head = server.send(server.client.head(server.url("/"))).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let model = server.get("/model").await.json();
    assert_eq!((&model["name"], &model["classes"]), (&"efficientnet-lite0-int8".into(), &1000.into()));
}

/// Under a prefix the function sees its own paths, whatever the client claims.
#[tokio::test]
async fn a_function_can_be_mounted_anywhere() {
    let model = root().join("models/efficientnet-lite0-int8");
    let manifest = app(
        &guest("classify"),
        &format!(
            "files = [{{ source = \"{}\", destination = \"/model\" }}]\n[component.it.tool.modelfn]\nmodels = [\"efficientnet-lite0-int8\"]",
            model.display()
        ),
    )
    .replace("\"/...\"", "\"/vision/:tenant/...\"");
    let server =
        Setup::app(&manifest).models(root().join("models")).args(&["--load-model", "efficientnet-lite0-int8"]).start();
    assert_eq!(top(&server.post("/vision/acme/classify", picture("coffee.png")).await).0, 967);
    assert_eq!(server.get("/vision/acme/").await.status, 200);
    assert!(server.post("/classify", picture("coffee.png")).await.problem(404).contains("/classify"));
}

#[tokio::test]
async fn two_hundred_requests_at_once_are_answered_like_single_ones() {
    // A slow machine must not refuse any of them.
    let server = Setup::example().args(&["--target-latency", "60s", "--request-timeout", "60s"]).start();
    let names = ["coffee.png", "rocket.jpg", "chelsea.png", "imagenet_00_243.jpg", "imagenet_05_853.jpg"];
    let mut alone = Vec::new();
    for name in names {
        alone.push(server.post("/classify", picture(name)).await.body);
    }
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let requests = (0..200).map(|n| {
        let client = if n % 2 == 0 { &server.client } else { &http2 };
        let request = client.post(server.url("/classify")).body(picture(names[n % names.len()]));
        async move { (n, Answer::read(request.send().await.unwrap()).await.unwrap()) }
    });
    for (n, answer) in futures::future::join_all(requests).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.body, alone[n % names.len()], "request {n}");
    }
}

/// A response to HEAD names the length of GET's, or none.
#[tokio::test]
async fn head_does_not_say_that_there_is_nothing() {
    let server = Setup::example().start();
    for path in ["/", "/model"] {
        let length = server.get(path).await.body.len().to_string();
        let answer = server.send(server.client.head(server.url(path))).await;
        let said = answer.header("content-length");
        assert!(answer.status == 200 && (said.is_empty() || said == length), "{path}: {said} of {length}");
    }
}
