//! What is no file in a mounted folder, and a folder that hangs, harm the function that opens them and nobody else.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Setup, app, guest, root, skip};

const MOUNT: &str = "files = [{ source = \"data\", destination = \"/data\" }]";

/// A FIFO would keep the thread that opens it, and so would reading a device.
#[tokio::test]
async fn a_guest_opens_files_and_folders_only() {
    for launcher in [None, Some("without_openat2.py")] {
        let setup = launcher.into_iter().fold(Setup::probe(MOUNT), Setup::launched_by);
        let folder = setup.path("data");
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        for name in ["file", "inner/file"] {
            std::fs::write(folder.join(name), "inside").unwrap();
        }
        make_fifo(&folder.join("fifo"));
        std::os::unix::fs::symlink("fifo", folder.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        let mut waited_for = vec!["fifo", "link", "inner/../fifo"];
        // Root alone can make a device.
        waited_for.extend(make_device(&folder.join("device")).then_some("device"));
        let server = setup.start();
        let read = |name: &str| server.start_get(&format!("/read?mount=/data&path={name}"));
        assert_eq!(read("inner/file").await.unwrap().text(), "inside");
        for name in waited_for {
            // More of them than there are threads for guests.
            let answers: Vec<_> = (0..16).map(|_| read(name)).collect();
            for answer in answers {
                let answer = answer.await.unwrap();
                assert_eq!((answer.status, answer.text().as_str()), (403, "not-permitted"), "{launcher:?} {name}");
            }
        }
        assert_eq!(read("socket").await.unwrap().status, 403);
        server.wait_for_log("functions open regular files only");

        assert_eq!(read("file").await.unwrap().text(), "inside");
        std::fs::rename(folder.join("fifo"), folder.join("file")).unwrap();
        assert_eq!(read("file").await.unwrap().text(), "not-permitted", "{launcher:?}");
        assert_eq!(read("inner").await.unwrap().status, 403);
        assert_eq!(server.get("/hello").await.text(), "hello");
    }
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Makes /dev/zero, if this user may.
fn make_device(path: &Path) -> bool {
    Command::new("mknod").arg(path).args(["c", "1", "5"]).stderr(Stdio::null()).status().unwrap().success()
}

/// A folder that hangs as a network's may: requests that need it end by their timeout, and nobody else waits.
#[tokio::test]
async fn a_folder_that_hangs_holds_its_own_function_only() {
    let other = format!(
        "[[trigger.http]]\nroute = \"/hello\"\ncomponent = \"other\"\n[component.other]\nsource = \"{}\"\n",
        guest("probe").display()
    );
    let setup = Setup::app(&format!("{}{other}", app(&guest("probe"), MOUNT)));
    let folder = setup.path("data");
    std::fs::create_dir(&folder).unwrap();
    // The folder is unmounted before the server and its files are dropped.
    let server;
    let Ok(mut filesystem) = HangingFolder::mount(&folder) else {
        skip(true, "a filesystem can be mounted by root only, and needs /dev/fuse");
        return;
    };
    server = setup.args(&["--request-timeout", "3s"]).start();
    let read = || server.start_get("/read?mount=/data&path=card");
    assert_eq!(read().await.unwrap().text(), "inside");
    let threads = || std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    let before = threads();

    filesystem.tell("hangs");
    for _ in 0..2 {
        let waiting: Vec<_> = (0..16).map(|_| read()).collect();
        let asked = Instant::now();
        for _ in 0..20 {
            assert_eq!(server.get("/hello").await.text(), "hello");
        }
        assert!(asked.elapsed() < Duration::from_millis(2500), "{:?}", asked.elapsed());
        for answer in waiting {
            let status = answer.await.unwrap().status;
            assert!(matches!(status, 503 | 504), "{status}");
        }
    }
    // Eight threads wait for the folder, and others may have begun meanwhile for what others do.
    assert!(threads() <= before + 12, "{before} threads became {}", threads());
    server.wait_for_log("did not answer in time");

    filesystem.tell("answers");
    assert_eq!(
        server.ask_while(504, server.client.get(server.url("/read?mount=/data&path=card"))).await.text(),
        "inside"
    );
}

/// `tests/hanging_folder.py`.
struct HangingFolder {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl HangingFolder {
    /// Fails where this user or this system can't mount.
    fn mount(folder: &Path) -> Result<HangingFolder, String> {
        let program = root().join("tests/hanging_folder.py");
        let mut command = Command::new(program);
        command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|e| e.to_string())?;
        let said = BufReader::new(process.stdout.take().unwrap());
        let mut mounted = HangingFolder { process, said };
        if mounted.line() == "ready" { Ok(mounted) } else { Err("not mounted".to_owned()) }
    }

    fn tell(&mut self, becomes: &str) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.line(), becomes);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for HangingFolder {
    fn drop(&mut self) {
        // It unmounts when its input ends.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
