//! The log: it is bounded, JSON wherever that was asked for, and never costs a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Scratch, Setup, app, guest, modelfn, root};

/// A server whose stderr the test chose. Dropping it ends it.
struct Silent {
    child: Child,
    address: String,
    admin: String,
    _scratch: Scratch,
}

/// Two addresses that were free a moment ago: a server whose log can't be read can't say which it took.
fn free_addresses() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

impl Silent {
    async fn start(log: Stdio) -> Silent {
        let scratch = Scratch::new();
        let manifest = scratch.write("spin.toml", app(&guest("probe"), ""));
        std::fs::create_dir(scratch.path().join("models")).unwrap();
        let [address, admin] = free_addresses();
        let mut command = modelfn();
        command
            .args(["serve", "--log", "trace", "--listen", &address, "--admin-listen", &admin, "--app"])
            .arg(manifest);
        command.arg("--models").arg(scratch.path().join("models")).stdout(Stdio::null()).stderr(log);
        let server = Silent { child: command.spawn().unwrap(), address, admin, _scratch: scratch };
        let until = Instant::now() + Duration::from_secs(60);
        while server.get(&server.admin, "/readyz").await.is_none_or(|(status, _)| status != 200) {
            assert!(Instant::now() < until, "it does not get ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
    }

    async fn get(&self, address: &str, path: &str) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        let response = client.get(format!("http://{address}{path}")).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    async fn lost_lines(&self) -> f64 {
        let (_, text) = self.get(&self.admin, "/metrics").await.unwrap();
        let line = text.lines().find(|line| line.starts_with("modelfn_log_lines_lost_total ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Serves until lines are lost, then ends at SIGTERM.
    async fn serves_and_ends(mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.lost_lines().await < 0.5 {
            for _ in 0..100 {
                assert_eq!(self.get(&self.address, "/hello").await, Some((200, "hello".to_owned())));
            }
            assert!(Instant::now() < until, "no line was lost");
        }
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let told = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(told.elapsed() < Duration::from_secs(10), "SIGTERM does not end it");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_request() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    Silent::start(full.into()).await.serves_and_ends().await;
}

#[tokio::test]
async fn a_reader_that_left_costs_lines_and_no_request() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Silent::start(writer.into()).await.serves_and_ends().await;
}

#[tokio::test]
async fn a_reader_that_stalls_costs_lines_and_no_request() {
    let (reader, writer) = std::io::pipe().unwrap();
    Silent::start(writer.into()).await.serves_and_ends().await;
    drop(reader);
}

/// A filter hides no reason for an end, and a person gets a sentence.
#[test]
fn what_ends_the_program_is_json_where_the_log_is() {
    for (arguments, says) in [
        (
            &["serve", "--app", "/nowhere.toml", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"][..],
            "/nowhere.toml",
        ),
        (&["serve", "--log", "[[["], "--log"),
        (&["invoke", "/", "--app", "/nowhere.toml", "--log", "off"], "/nowhere.toml"),
    ] {
        let run = |format: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
            command.current_dir(root()).args(["--log-format", format]).args(arguments).stdin(Stdio::null());
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        let json = run("json");
        let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert!(last["level"] == "ERROR" && last["message"].as_str().unwrap().contains(says), "{json}");
        for line in json.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
        let human = run("human");
        assert!(human.lines().any(|line| line.starts_with("modelfn: ") && line.contains(says)), "{human}");
    }
}

/// The engine and its own log are another matter.
/// Where stderr is no terminal, a person's command still speaks to that person, and a server to what collects its log.
#[test]
fn commands_speak_to_people_unless_they_print_json() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfn"));
        let output = command.current_dir(root()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap().lines().last().unwrap().to_owned()
    };
    let json: [&[&str]; 4] = [
        &["serve", "--app", "/nowhere.toml", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
        &["model", "inspect", "/nowhere", "--json"],
        &["plan", "/nowhere", "--format", "json"],
        &["model", "inspect", "/nowhere", "--log-format", "json"],
    ];
    for arguments in json {
        let line: Value = serde_json::from_str(&run(arguments)).unwrap();
        assert!(line["message"].as_str().unwrap().contains("/nowhere"), "{line}");
    }
    let human: [&[&str]; 3] =
        [&["model", "inspect", "/nowhere"], &["plan", "/nowhere"], &["invoke", "/", "--app", "/nowhere"]];
    for arguments in human {
        let line = run(arguments);
        assert!(line.starts_with("modelfn: ") && line.contains("/nowhere"), "{line}");
    }
}

#[tokio::test]
async fn every_line_of_a_server_is_json() {
    let server = Setup::probe("").args(&["--log", "trace", "--request-timeout", "300ms"]).start();
    for path in ["/hello", "/panic", "/never", "/log?bytes=1000", "/v2/nothing", "/nn/compute?model=none"] {
        server.get(path).await;
    }
    let mut broken = server.connect();
    broken.write_all(b"\x16\x03\x01 no HTTP\r\n\r\n").unwrap();
    let _ = broken.read_to_end(&mut Vec::new());
    server.signal("TERM");
    server.wait_for_log("goodbye");
    for line in server.log() {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }
}

/// The last lines are written before the program ends, also where it ends in the middle of something.
#[test]
fn the_last_line_is_written_before_the_end() {
    let mut command = modelfn();
    command.current_dir(root()).args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let scratch = Scratch::new();
    let manifest = scratch.write("spin.toml", app(&guest("probe"), ""));
    std::fs::create_dir(scratch.path().join("models")).unwrap();
    command.arg("--app").arg(manifest).arg("--models").arg(scratch.path().join("models"));
    let mut child = command.args(["--request-timeout", "1h"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let serving = log.find(|line| line.contains("serving on")).unwrap();
    let address = serde_json::from_str::<Value>(&serving).unwrap()["address"].as_str().unwrap().to_owned();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"GET /never HTTP/1.1\r\nhost: it\r\n\r\n").unwrap();
    let kill = || assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    kill();
    assert!(log.any(|line| line.contains("draining")));
    kill();
    assert!(log.any(|line| line.contains("second signal")));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
