//! What is made for Spin runs here as it is: the headers that its components rely on, a file server like its own, and its
//! manifest, whose values are checked before anything is served.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Output;

use crate::harness::{Scratch, Server, Setup, app, guest, http2_client, modelfn, read_head};

/// The probe on `route`.
fn probe_at(route: &str) -> Server {
    Setup::app(&app(&guest("probe"), "").replace("\"/...\"", &format!("\"{route}\""))).start()
}

/// The value of a header as the guest sees it.
async fn header(server: &Server, client: &reqwest::Client, (path, name): (&str, &str)) -> String {
    let answer = client.get(server.url(&format!("{path}?name={name}"))).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

/// The values are those of Spin's own tests (crates/routes and crates/trigger-http) and of its `Router` for other slashes.
#[tokio::test]
async fn a_guest_is_told_what_spin_tells_it() {
    // Route and path; then the header's names without `spin-`, and their values.
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(&str, &str, Headers); 5] = [
        (
            "/:User_Id/...",
            "/header",
            &[
                ("path-info", ""),
                ("component-route", "/:User_Id"),
                ("raw-component-route", "/:User_Id/..."),
                ("matched-route", "/:User_Id/..."),
                ("path-match-user-id", "header"),
            ],
        ),
        ("/...", "/header", &[("path-info", "/header"), ("component-route", ""), ("raw-component-route", "/...")]),
        ("/header/...", "/header/", &[("path-info", "/"), ("component-route", "/header")]),
        (
            "/header/",
            "/header",
            &[
                ("path-info", ""),
                ("component-route", "/header/"),
                ("raw-component-route", "/header/"),
                ("matched-route", "/header"),
            ],
        ),
        ("/:a/:b/...", "/x/header/c/", &[("path-info", "/c/"), ("path-match-a", "x"), ("path-match-b", "header")]),
    ];
    for (route, path, expected) in cases {
        let server = probe_at(route);
        for (protocol, client) in [("HTTP/1.1", &server.client), ("HTTP/2", &http2_client())] {
            for (name, value) in expected {
                let seen = header(&server, client, (path, &format!("spin-{name}"))).await;
                assert_eq!(seen, *value, "{protocol} {route} {path}: {name}");
            }
            assert_eq!(header(&server, client, (path, "spin-base-path")).await, "/");
            let url = server.url(&format!("{path}?name=spin-full-url"));
            assert_eq!(header(&server, client, (path, "spin-full-url")).await, url, "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_guest_is_told_whose_request_it_is_by_address_and_host() {
    let server = probe_at("/...");
    let mut stream = server.connect();
    let head = "GET /header?name=spin-client-addr HTTP/1.1\r\nHost: example.org:81\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    read_head(&mut stream);
    let mut body = String::new();
    stream.read_to_string(&mut body).unwrap();
    assert_eq!(body, stream.local_addr().unwrap().to_string());

    let request = server.client.get(server.url("/header?name=spin-full-url&a=%20b")).header("host", "example.org:81");
    assert_eq!(server.send(request).await.text(), "http://example.org:81/header?name=spin-full-url&a=%20b");
}

/// The probe's `/static` does what Spin's file server does: without the headers it panics, and its files are in `/`.
#[tokio::test]
async fn a_file_server_made_for_spin_answers() {
    let settings = "files = [{ source = \"www\", destination = \"/\" }]";
    let setup = Setup::app(&app(&guest("probe"), settings).replace("\"/...\"", "\"/static/...\""));
    let folder = setup.path("www");
    std::fs::create_dir_all(folder.join("css")).unwrap();
    std::fs::write(folder.join("index.html"), "<p>hello").unwrap();
    std::fs::write(folder.join("css/a.css"), "p {}").unwrap();
    let server = setup.start();
    for (path, status, body) in [
        ("/static/index.html", 200, "<p>hello"),
        ("/static/css/a.css", 200, "p {}"),
        ("/static", 200, "<p>hello"),
        ("/static/", 200, "<p>hello"),
        ("/static/nowhere", 404, "no-entry"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{path}");
    }
}

/// What `modelfn serve` says of a manifest that it refuses.
fn refused(manifest: &Path) -> String {
    let mut command = modelfn();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--app"]);
    let Output { status, stderr, .. } = command.arg(manifest).output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{error}");
    error
}

#[test]
fn values_that_can_not_be_served_are_refused_at_the_start() {
    let scratch = Scratch::new();
    let route = |handler: &str| format!("[[trigger.http]]\nroute = \"/x\"\n{handler}\n");
    let component = |keys: &str| format!("{}[component.c]\n{keys}\n", route("component = \"c\""));
    let cases = [
        (route("static_response = { status_code = 1000 }"), "status_code = 1000 is no status"),
        (route("component = { static_response = { status_code = 100 } }"), "200 to 599 are"),
        (route("static_response = { headers = { 'bad name' = '1' } }"), "'bad name' is no name"),
        (route("static_response = { headers = { x = \"a\\nb\" } }"), "'x' has a value that no header can have"),
        (route("static_response = { headers = { content-length = '9' } }"), "'content-length' is set by the server"),
        (component("source = { package = 'a:b', version = '1.0.0' }"), "write source = '<file>'"),
        (component("source = { registry = 'ghcr.io', package = 'a:b', version = '1' }"), "modelfn fetches nothing"),
        (component("source = 'c.wasm'\nenvironment = { '' = 'x' }"), "is no name of a variable"),
        (component("source = 'c.wasm'\nfiles = [{ source = '/', destination = '/../a' }]"), "must be an absolute path"),
        (component("source = 'c.wasm'\nkey_value_stores = ['default']"), "`key_value_stores`"),
    ];
    for (n, (rest, says)) in cases.into_iter().enumerate() {
        let text = format!("spin_manifest_version = 2\napplication.name = \"a\"\n{rest}");
        let error = refused(&scratch.write(&format!("{n}/spin.toml"), text)).replace("\\\"", "'");
        assert!(error.contains(says), "{rest}\n{error}\ndoes not say {says:?}");
    }
}

/// A component that only imports interfaces of these names, which have nothing in them: its sections of types and imports.
fn importing(names: &[&str]) -> Vec<u8> {
    let section = |id: u8, items: Vec<u8>| [vec![id, u8::try_from(items.len()).unwrap()], items].concat();
    let import = |name: &&str| {
        let length = u8::try_from(name.len()).unwrap();
        [&[0, length][..], name.as_bytes(), &[5, 0]].concat()
    };
    let imports = [vec![u8::try_from(names.len()).unwrap()], names.iter().flat_map(import).collect()].concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(7, vec![1, 0x42, 0]), section(10, imports)].concat()
}

#[test]
fn a_component_that_needs_more_than_there_is_is_refused_by_name() {
    let scratch = Scratch::new();
    for (name, wasm, says) in [
        (
            "spin",
            importing(&["fermyon:spin/llm@2.0.0", "wasi:random/random@0.2.0", "wasi:keyvalue/store@0.2.0-draft2"]),
            "it imports fermyon:spin/llm@2.0.0, wasi:keyvalue/store@0.2.0-draft2, which this host does not have",
        ),
        ("module", b"\0asm\x01\0\0\0".to_vec(), "build it for the target wasm32-wasip2"),
    ] {
        let component = scratch.write(&format!("{name}.wasm"), wasm);
        let manifest = scratch.write(&format!("{name}/spin.toml"), app(&component, ""));
        let error = refused(&manifest);
        assert!(error.contains(says), "{error}\ndoes not say {says:?}");
    }
}
