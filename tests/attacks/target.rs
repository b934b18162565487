//! The server that is attacked: a victim's function, an attacker's, a static response and a model.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Server, Setup, guest};

/// Requests that have an instance at the same time.
pub const INSTANCES: usize = 16;

/// What the process may take, in MiB.
pub const MEMORY_MEBIBYTES: u64 = 400;

/// Paths that belong to the attacker's function; all others are the victim's.
const ATTACKERS: [&str; 8] = ["/spin", "/never", "/wait", "/stream", "/allocate", "/echo", "/fields", "/bodies"];

/// Where an attack goes.
#[derive(Clone)]
pub struct Target {
    pub address: String,
}

/// Starts the server.
pub fn start() -> Server {
    let component = |id: &str| format!("[component.{id}]\nsource = \"{}\"\n", guest("probe").display());
    let route = |path: &str, id: &str| format!("[[trigger.http]]\nroute = \"{path}\"\ncomponent = {id}\n");
    let routes: String = ATTACKERS.iter().map(|path| route(path, "\"attacker\"")).collect();
    let manifest = format!(
        "spin_manifest_version = 2\napplication.name = \"attacked\"\n{}{routes}{}{}{}[component.attacker.tool.modelfn]\n\
         timeout = \"5s\"\n",
        route("/...", "\"victim\""),
        route("/static", "{ static_response = { body = \"static\" } }"),
        component("victim"),
        component("attacker"),
    );
    let model = ("compute = \"echo\"", "max_batch_size = 100000000");
    let setup = Setup::app(&manifest).fake_model("echo", "dtype = \"U8\", shape = [-1]", model);
    let memory = format!("{MEMORY_MEBIBYTES}MiB");
    let arguments =
        ["--max-memory-total", &memory, "--max-instances", &INSTANCES.to_string(), "--unread-timeout", "2s"];
    setup.args(&arguments).start()
}

impl Target {
    pub fn of(server: &Server) -> Target {
        Target { address: server.address.clone() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client with connections of its own.
    pub fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
    }

    /// A connection on which `request` was sent and nothing is read.
    pub fn send(&self, request: &[u8]) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_write_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(request).ok()?;
        Some(stream)
    }
}
