//! Programs of others that tests start. Each chooses a port and prints it on a line of its output.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A running program. Dropping it ends it, and shows its output if the test is failing.
pub struct Program {
    child: Child,
    pub address: String,
    output: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts `command` and waits for the line that has a port behind the words `listening`.
    pub fn start(mut command: Command, listening: &'static str) -> Program {
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // The command holds the writing end, too. Without this the output would never end.
        drop(command);
        let (found, port) = mpsc::channel();
        let output = Arc::new(Mutex::new(Vec::new()));
        let lines = output.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if let Some((_, behind)) = line.split_once(listening) {
                    let _ = found.send(behind.chars().take_while(char::is_ascii_digit).collect::<String>());
                }
                lines.lock().unwrap().push(line);
            }
        });
        let Ok(port) = port.recv_timeout(Duration::from_secs(60)) else {
            let _ = child.kill();
            panic!("the program did not say \"{listening}<port>\":\n{}", output.lock().unwrap().join("\n"));
        };
        Program { child, address: format!("127.0.0.1:{port}"), output }
    }

    /// Waits until a line of the output contains `text`.
    pub fn wait_for_line(&self, text: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(line) = self.output.lock().unwrap().iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no line has {text:?}");
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- output of the program at {}:\n{}", self.address, self.output.lock().unwrap().join("\n"));
        }
    }
}
