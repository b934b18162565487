//! API keys: what needs a key, how many requests a key may have in flight, and how keys change while the server runs.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::{Answer, Scratch, Server, Setup, app, guest, http2_client, modelfn, read_head};

const X: &str = "dtype = \"U8\", shape = [-1, 4]";
const FOUR: &str = r#"{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,4],"data":[1,2,3,4]}]}"#;

/// Makes a key as a person would, and adds it to `file`.
fn new_key(name: &str, more: &[&str], file: &Path) -> String {
    let output = modelfn().args(["key", name, "--file"]).arg(file).args(more).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The probe and a model behind the keys of the file `keys`, and alice's key.
fn guarded(settings: &str) -> (Setup, String) {
    let setup = Setup::probe(settings).fake_model("m", X, ("compute = \"echo\"", ""));
    let file = setup.path("keys");
    let key = new_key("alice", &[], &file);
    let setup = setup.args(&["--api-keys", file.to_str().unwrap()]);
    (setup, key)
}

async fn get(server: &Server, path: &str, key: &str) -> Answer {
    server.send(server.client.get(server.url(path)).header("X-API-Key", key)).await
}

fn assert_unauthorized(answer: &Answer, says: &str) {
    assert_eq!(answer.problem(401), says);
    assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
}

const NO_KEY: &str = "This needs an API key; send it as X-API-Key: KEY or Authorization: Bearer KEY.";
const WRONG_KEY: &str = "This API key is not valid here.";

/// The client waits for `100 Continue` and is refused instead. No instance is made for it.
#[tokio::test]
async fn a_request_without_a_key_is_refused_before_its_body_is_read() {
    let (setup, key) = guarded("");
    let server = setup.start();
    let made = server.metric("modelfn_guest_instantiate_seconds_count").await;
    for (header, challenge) in [
        ("", "www-authenticate: Bearer realm=\"modelfn\"\r\n"),
        ("x-api-key: mfn_wrong\r\n", "error=\"invalid_token\"\r\n"),
        ("authorization: Bearer mfn_wrong\r\n", "error=\"invalid_token\"\r\n"),
        ("authorization: Basic bWZu\r\n", "www-authenticate: Bearer realm=\"modelfn\"\r\n"),
    ] {
        for path in ["/echo", "/v2/models/m/infer"] {
            let mut client = server.connect();
            write!(
                client,
                "POST {path} HTTP/1.1\r\nhost: it\r\n{header}content-length: 9\r\nexpect: 100-continue\r\n\r\n"
            )
            .unwrap();
            let head = read_head(&mut client);
            assert!(head.starts_with("HTTP/1.1 401 ") && head.contains(challenge), "{path} {header}: {head}");
        }
    }
    for (metric, value) in [
        ("modelfn_guest_instantiate_seconds_count", made),
        ("modelfn_request_bytes_total", 0.0),
        ("modelfn_rejections_total{reason=\"NoKey\"}", 4.0),
        ("modelfn_rejections_total{reason=\"WrongKey\"}", 4.0),
        ("modelfn_requests_total{function=\"it\",outcome=\"ClientError\"}", 4.0),
        ("modelfn_requests_total{function=\"(v2)\",outcome=\"ClientError\"}", 4.0),
    ] {
        server.expect_metric(metric, value).await;
    }
    assert_unauthorized(&server.get("/hello").await, NO_KEY);
    // Keys of the greatest length and longer, a key that is nearly right, and a key that nobody has.
    for wrong in ["x".repeat(512), "x".repeat(513), key[..67].to_owned(), format!("{key}0"), String::new()] {
        assert_unauthorized(&get(&server, "/hello", &wrong).await, WRONG_KEY);
    }
}

#[tokio::test]
async fn a_key_opens_functions_and_models_in_either_header_and_protocol() {
    let (setup, key) = guarded("");
    let server = setup.start();
    for client in [server.client.clone(), http2_client()] {
        for (name, value) in [
            ("X-API-Key", key.clone()),
            ("Authorization", format!("Bearer {key}")),
            ("Authorization", format!("bearer {key}")),
        ] {
            let answer = server.send(client.post(server.url("/echo")).header(name, &value).body("body")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
            let infer = client.post(server.url("/v2/models/m/infer")).header(name, &value).body(FOUR);
            let answer = server.send(infer).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["outputs"][0]["data"], json!([1, 2, 3, 4]));
        }
    }
    server.wait_for_metric("modelfn_key_requests_total{key=\"alice\",outcome=\"Answered\"}", |n| n > 11.5).await;
}

#[tokio::test]
async fn below_v2_only_health_is_open_and_errors_are_the_protocols() {
    let (setup, key) = guarded("");
    let server = setup.start();
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for path in ["/v2", "/v2/models", "/v2/models/m", "/v2/models/m/ready", "/v2/health", "/v2/nothing"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.json()), (401, json!({ "error": NO_KEY })), "{path}");
        assert!(answer.header("www-authenticate").starts_with("Bearer "));
    }
    assert_eq!(get(&server, "/v2/models/m", &key).await.status, 200);
    assert_eq!(get(&server, "/v2/nothing", &key).await.status, 404);
}

/// A guest does not see the key of a public request either.
#[tokio::test]
async fn no_guest_and_no_log_sees_a_key_and_the_log_has_its_name() {
    let (setup, key) = guarded("[component.it.tool.modelfn]\npublic = [\"GET /header\"]");
    let server = setup.args(&["--log", "trace"]).start();
    for client in [server.client.clone(), http2_client()] {
        for header in ["x-api-key", "authorization"] {
            for method in [reqwest::Method::GET, reqwest::Method::POST] {
                let request = client.request(method, server.url(&format!("/header?name={header}")));
                let request = request.header("x-api-key", &key).header("authorization", format!("Bearer {key}"));
                let answer = server.send(request).await;
                assert_eq!((answer.status, answer.text().as_str()), (200, ""));
            }
        }
    }
    let line = server.wait_for_log("\"key\":\"alice\"");
    assert!(line.contains("\"method\":\"POST\""), "{line}");
    server.wait_for_metric("modelfn_key_requests_total{key=\"alice\",outcome=\"Answered\"}", |n| n > 3.5).await;
    let secret = key.strip_prefix("mfn_").unwrap();
    assert!(!server.log().iter().any(|line| line.contains(secret)), "the key is in the log");
    let metrics = server.admin("/metrics").await.text();
    assert!(!metrics.contains(secret));
}

/// Without keys the headers belong to the guest.
#[tokio::test]
async fn without_keys_a_guest_sees_every_header() {
    let server = Setup::probe("").start();
    for name in ["x-api-key", "authorization"] {
        let request = server.client.get(server.url(&format!("/header?name={name}"))).header(name, "Bearer its-own");
        assert_eq!(server.send(request).await.text(), "Bearer its-own");
    }
}

#[tokio::test]
async fn only_public_routes_need_no_key() {
    let probe = guest("probe");
    let settings = "[component.it.tool.modelfn]\npublic = [\"GET /hello\", \"GET /list/...\"]";
    let mounted = app(&probe, settings).replace("\"/...\"", "\"/a/...\"");
    let fixed = "[[trigger.http]]\nroute = \"/static\"\ncomponent = { static_response = { body = \"same\" } }\n";
    let setup = Setup::app(&format!("{mounted}{fixed}"));
    let file = setup.path("keys");
    let key = new_key("alice", &[], &file);
    let server = setup.args(&["--api-keys", file.to_str().unwrap()]).start();
    // The probe looks at the whole path, and responds that it does not know it.
    for path in ["/a/hello", "/a/hello?x=1", "/a/list", "/a/list/a/b"] {
        assert_eq!(server.get(path).await.text(), "the probe has no such path", "{path}");
    }
    assert_eq!(get(&server, "/a/hello", "mfn_wrong").await.text(), "the probe has no such path");
    assert_eq!(server.send(server.client.head(server.url("/a/hello"))).await.status, 404);
    assert_eq!(server.get("/static").await.text(), "same");
    for path in ["/a", "/a/count", "/hello", "/nowhere"] {
        assert_unauthorized(&server.get(path).await, NO_KEY);
    }
    assert_unauthorized(&server.post("/a/hello", "").await, NO_KEY);
    get(&server, "/nowhere", &key).await.problem(404);

    // reqwest would normalise such a path.
    for path in ["/a/list/../count", "/a/list/%2e%2e/count", "/a/list//count"] {
        let mut client = server.connect();
        write!(client, "GET {path} HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 401 "), "{path}: {head}");
    }
}

/// What exists must look like what does not to those who may not know.
#[tokio::test]
async fn without_a_key_nobody_learns_which_models_there_are() {
    let pages = "spin_manifest_version = 2\n[application]\nname = \"test\"\ntool.modelfn.model_pages = true\n";
    let echo = ("compute = \"echo\"", "");
    let pictures = (
        "compute = \"echo\"",
        "[preprocessing]\nlayout = \"NCHW\"\nsize = [2, 2]\n[postprocessing]\nscores = \"logits\"\n",
    );
    let setup = Setup::app(pages).fake_model("rows-7", X, echo);
    let setup = setup.fake_model("pictures-7", "dtype = \"FP32\", shape = [1, 3, 2, 2]", pictures);
    let file = setup.path("keys");
    let key = new_key("alice", &[], &file);
    let server = setup.args(&["--api-keys", file.to_str().unwrap()]).start();
    for below in ["", "/", "/card", "/classify", "/model", "/x/y"] {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD, reqwest::Method::POST] {
            let ask = async |name: &str| {
                let url = server.url(&format!("/models/{name}{below}"));
                let answer = server.send(server.client.request(method.clone(), url)).await;
                let text = answer.text().replace(name, "NAME");
                let kind = answer.header("content-type").to_owned();
                (answer.status, kind, answer.header("content-security-policy").to_owned(), text)
            };
            let nothing = ask("nothing-7").await;
            for name in ["rows-7", "pictures-7"] {
                assert!(ask(name).await == nothing, "{method} /models/{name}{below} differs from what is not there");
            }
        }
    }
    // Who has a key learns it, by the page as well.
    get(&server, "/models/nothing-7/card", &key).await.problem(404);
    for name in ["rows-7", "pictures-7"] {
        assert_eq!(get(&server, &format!("/models/{name}/card"), &key).await.json()["name"], name);
    }
}

#[tokio::test]
async fn requests_in_flight_of_a_name_are_limited() {
    let setup = Setup::probe("");
    let file = setup.path("keys");
    let alice = new_key("alice", &["--max-in-flight", "1"], &file);
    let other_key = new_key("alice", &["--max-in-flight", "1"], &file);
    let bob = new_key("bob", &[], &file);
    let server = setup.args(&["--api-keys", file.to_str().unwrap(), "--request-timeout", "1h"]).start();

    let never = server.client.get(server.url("/never")).header("x-api-key", &alice);
    let holder = tokio::spawn(never.send());
    server.wait_for_in_flight(|n| n > 0.5).await;
    for key in [&alice, &other_key] {
        let answer = get(&server, "/hello", key).await;
        assert!(answer.problem(429).contains("1 requests with keys of this name are in flight"), "{answer:?}");
        assert_eq!(answer.header("retry-after"), "1");
        let answer = get(&server, "/v2/models", key).await;
        assert!(answer.status == 429 && answer.json()["error"].as_str().unwrap().contains("share"), "{answer:?}");
    }
    assert_eq!(get(&server, "/hello", &bob).await.status, 200);
    server.expect_metric("modelfn_rejections_total{reason=\"KeyShare\"}", 4.0).await;
    server.expect_metric("modelfn_key_requests_total{key=\"alice\",outcome=\"Shed\"}", 4.0).await;

    holder.abort();
    server.wait_for_metric("modelfn_key_requests_total{key=\"alice\",outcome=\"ClientLeft\"}", |n| n > 0.5).await;
    // One after the other, with every kind of body and every way of ending it.
    for client in [server.client.clone(), http2_client()] {
        for path in ["/hello", "/stream?bytes=100000", "/stream?bytes=0", "/v2/models", "/v2/none"].repeat(10) {
            for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
                let request = client.request(method.clone(), server.url(path)).header("x-api-key", &other_key);
                let status = server.send(request).await.status;
                assert_ne!(status, 429, "{method} {path}");
            }
        }
    }
}

/// The head was sent, and the client does not read the rest.
#[tokio::test]
async fn a_response_that_is_not_read_is_in_flight() {
    let setup = Setup::probe("");
    let file = setup.path("keys");
    let key = new_key("alice", &["--max-in-flight", "1"], &file);
    let server = setup.args(&["--api-keys", file.to_str().unwrap(), "--request-timeout", "1h"]).start();
    let shut = reqwest::Client::builder().no_proxy().http2_prior_knowledge().http2_initial_stream_window_size(1);
    let request = shut.build().unwrap().get(server.url("/stream?bytes=1000000")).header("x-api-key", &key);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    get(&server, "/hello", &key).await.problem(429);
    drop(answer);
    let again = server.client.get(server.url("/hello")).header("x-api-key", &key);
    assert_eq!(server.ask_while(429, again).await.status, 200);
}

/// In a mounted Secret the file is a link through `..data`, which Kubernetes replaces.
fn mount_secret(mount: &Path, version: &str, keys: &Path) {
    let folder = mount.join(version);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(keys, folder.join("keys")).unwrap();
    symlink(version, mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    if !mount.join("keys").exists() {
        symlink("..data/keys", mount.join("keys")).unwrap();
    }
}

/// `change` adds and removes keys while requests with another key go on.
async fn change_under_load(change: impl Fn(&Path, &str, &Path)) {
    let (scratch, setup) = (Scratch::new(), Setup::probe(""));
    let (first, second, watched) = (scratch.path().join("1"), scratch.path().join("2"), scratch.path().join("mount"));
    std::fs::create_dir(&watched).unwrap();
    let steady = new_key("steady", &[], &first);
    std::fs::copy(&first, &second).unwrap();
    let (old, new) = (new_key("alice", &[], &first), new_key("alice", &[], &second));
    change(&watched, "..v1", &first);
    let server = setup.args(&["--api-keys", watched.join("keys").to_str().unwrap()]).start();
    assert_eq!((get(&server, "/hello", &old).await.status, get(&server, "/hello", &new).await.status), (200, 401));

    let stop = Arc::new(AtomicBool::new(false));
    let load = (0..4).map(|_| {
        let request = server.client.get(server.url("/hello")).header("x-api-key", &steady);
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                statuses.push(request.try_clone().unwrap().send().await.unwrap().status().as_u16());
            }
            statuses
        })
    });
    let load: Vec<_> = load.collect();
    for (round, (version, file)) in [("..v2", &second), ("..v3", &first), ("..v4", &second)].into_iter().enumerate() {
        let taken = round as f64 + 0.5;
        change(&watched, version, file);
        server.wait_for_metric("modelfn_key_files_total{outcome=\"Taken\"}", |n| n > taken).await;
        let expected = if file == &second { (401, 200) } else { (200, 401) };
        assert_eq!((get(&server, "/hello", &old).await.status, get(&server, "/hello", &new).await.status), expected);
    }
    stop.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for client in load {
        let statuses = client.await.unwrap();
        assert!(statuses.iter().all(|&status| status == 200), "{statuses:?}");
        answers += statuses.len();
    }
    assert!(answers > 20, "only {answers} requests were made meanwhile");
    assert!(server.metric("modelfn_key_files_total{outcome=\"Refused\"}").await < 0.5);
}

#[tokio::test]
async fn a_replaced_file_is_read_again_under_load() {
    change_under_load(|mount, version, keys| {
        std::fs::copy(keys, mount.join(version)).unwrap();
        std::fs::rename(mount.join(version), mount.join("keys")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_kubernetes_exchanges_is_read_again_under_load() {
    change_under_load(mount_secret).await;
}

#[tokio::test]
async fn a_file_with_a_mistake_changes_nothing_until_it_is_corrected() {
    let (setup, key) = guarded("");
    let file = setup.path("keys");
    let server = setup.start();
    let right = std::fs::read_to_string(&file).unwrap();
    // A pipe that nobody writes to must not hold up the thread that looks at the file.
    let pipe = String::new();
    for (n, (broken, says)) in [
        (format!("{right}bob {key}\n"), "line 2: after the name comes sha256:"),
        (pipe, "is no regular file"),
        (right.clone(), "everyone can write"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::remove_file(&file).unwrap();
        if broken.is_empty() {
            assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        } else {
            std::fs::write(&file, broken).unwrap();
        }
        if says == "everyone can write" {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o646)).unwrap();
        }
        let refused = n as f64 + 0.5;
        server.wait_for_metric("modelfn_key_files_total{outcome=\"Refused\"}", |n| n > refused).await;
        let line = server.wait_for_log(says);
        assert!(line.contains("ERROR") && line.contains("the keys stay as they were"), "{line}");
        assert_eq!(get(&server, "/hello", &key).await.status, 200, "{says}");
        assert_unauthorized(&server.get("/hello").await, NO_KEY);
    }
    assert!(!server.log().iter().any(|line| line.contains(&key)), "the key is in the log");
    std::fs::remove_file(&file).unwrap();
    let bob = new_key("bob", &[], &file);
    server.wait_for_metric("modelfn_key_files_total{outcome=\"Taken\"}", |n| n > 0.5).await;
    assert_eq!(get(&server, "/hello", &bob).await.status, 200);
    assert_unauthorized(&get(&server, "/hello", &key).await, WRONG_KEY);
}

/// The log says so loudly, and a file with keys opens the server again.
#[tokio::test]
async fn a_file_that_is_emptied_or_deleted_revokes_all_keys() {
    let (setup, key) = guarded("");
    let file = setup.path("keys");
    let server = setup.start();
    let right = std::fs::read_to_string(&file).unwrap();
    let revocations: [fn(&Path); 2] =
        [|file| std::fs::write(file, "").unwrap(), |file| std::fs::remove_file(file).unwrap()];
    for (n, revoke) in revocations.into_iter().enumerate() {
        assert_eq!(get(&server, "/hello", &key).await.status, 200);
        revoke(&file);
        server.wait_for_metric("modelfn_key_files_total{outcome=\"Revoked\"}", |times| times > n as f64 + 0.5).await;
        assert_unauthorized(&get(&server, "/hello", &key).await, WRONG_KEY);
        let line = server.wait_for_log("all keys are revoked");
        assert!(line.contains("ERROR"), "{line}");
        std::fs::write(&file, &right).unwrap();
        server.wait_for_metric("modelfn_key_files_total{outcome=\"Taken\"}", |times| times > n as f64 + 0.5).await;
    }
}

fn does_not_start(keys: &Path) -> String {
    let mut command = modelfn();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--api-keys"]).arg(keys);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The server refuses to start, since it must not serve everyone.
#[test]
fn a_server_whose_keys_are_wrong_does_not_start() {
    let scratch = Scratch::new();
    let error = does_not_start(&scratch.path().join("none"));
    assert!(error.contains("there is no key file") && error.contains("none"), "{error}");
    let error = does_not_start(&scratch.write("keys", "# keys\nalice mfn_1234\n"));
    assert!(error.contains("keys: line 2: after the name comes sha256:") && !error.contains("mfn_1234"), "{error}");
    let open = scratch.write("open", "");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o666)).unwrap();
    assert!(does_not_start(&open).contains("`chmod o-w` it"));
    assert!(does_not_start(Path::new("/dev/null")).contains("no regular file"));
    let error = does_not_start(&scratch.write("keys", "# none yet\n"));
    assert!(error.contains("make one with `modelfn key NAME`"), "{error}");
}

#[test]
fn a_key_is_printed_once_with_the_line_for_the_file() {
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| modelfn().args(arguments).output().unwrap();
    let output = run(&["key", "alice", "--max-in-flight", "4"]);
    let out = String::from_utf8(output.stdout).unwrap();
    let (key, line) = out.trim().split_once('\n').unwrap();
    let (key, line) = (key.strip_prefix("key   ").unwrap(), line.strip_prefix("line  ").unwrap());
    let hash = line.strip_prefix("alice sha256:").unwrap().strip_suffix(" max_in_flight=4").unwrap();
    let mut sha256sum = std::process::Command::new("sha256sum");
    let sha256sum = sha256sum.arg(scratch.write("key", key)).output().unwrap();
    assert_eq!(String::from_utf8(sha256sum.stdout).unwrap().split(' ').next().unwrap(), hash);

    // The last line of the file has no line break.
    let file = scratch.write("keys", format!("# ours\n{line}"));
    let bob = new_key("bob", &[], &file);
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[..2] == ["# ours", line] && lines[2].starts_with("bob sha256:") && text.ends_with('\n'), "{text}");
    assert!(!text.contains(&bob));

    let output = run(&["key", "alice smith"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("a key's name has"));
    let file = file.to_str().unwrap();
    // Both keys of alice must have the same limit in the file.
    let output = run(&["key", "alice", "--max-in-flight", "5", "--file", file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && std::fs::read_to_string(file).unwrap() == text);
}
