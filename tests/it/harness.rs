//! Starts the program under test, talks to it, and shows its log when a test fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// A picture that `make pictures` produced.
pub fn picture(name: &str) -> Vec<u8> {
    let path = root().join("target/pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `make pictures`", path.display()))
}

/// A component that `make guest` produced.
pub fn guest(name: &str) -> PathBuf {
    let path = root().join("target/guest").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing; run `make test-guests`", path.display());
    path
}

/// Whether to skip a test because a prerequisite is missing. Prints the reason; in CI this is a failure.
pub fn skip(missing: bool, reason: &str) -> bool {
    assert!(!(missing && std::env::var_os("CI").is_some()), "missing in CI: {reason}");
    if missing {
        // The test runner hides what `eprintln!` prints in a test that passes.
        let _ = writeln!(std::io::stderr(), "skipped: {reason}");
    }
    missing
}

/// A folder that is removed with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("modelfn-it-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A model folder with one model of `models/`, whose card is changed.
pub fn model_with(name: &str, change: impl FnOnce(&str) -> String) -> Scratch {
    let (scratch, original) = (Scratch::new(), root().join("models").join(name));
    let card = std::fs::read_to_string(original.join("model.toml")).unwrap();
    scratch.write(&format!("{name}/model.toml"), change(&card));
    for file in ["labels.txt", "model.onnx"] {
        place(&original.join(file), &scratch.path().join(name).join(file));
    }
    scratch
}

/// Makes the file `from` a file of another folder as well. A symbolic link would lead out of that folder.
pub fn place(from: &Path, to: &Path) {
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).unwrap();
    }
}

/// The program, with a log that a test can read, and without the settings in the developer's environment.
pub fn modelfn() -> Command {
    modelfn_by(None)
}

fn modelfn_by(launcher: Option<&str>) -> Command {
    let program = env!("CARGO_BIN_EXE_modelfn");
    let mut command = Command::new(launcher.map_or(PathBuf::from(program), |name| root().join("tests").join(name)));
    command.args(launcher.map(|_| program));
    command.current_dir(root());
    for (name, _) in std::env::vars_os().filter(|(name, _)| {
        name.to_string_lossy().starts_with("MODELFN_") || name.to_string_lossy().starts_with("OTEL_")
    }) {
        command.env_remove(name);
    }
    command.args(["--log-format", "json"]);
    command
}

/// The manifest of one component at `/...`. `settings` are further lines of its table.
pub fn app(component: &Path, settings: &str) -> String {
    format!(
        "spin_manifest_version = 2\napplication.name = \"test\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"it\"\n\
         [component.it]\nsource = \"{}\"\n{settings}\n",
        component.display()
    )
}

/// The models of the function that reads text.
pub const OCR_MODELS: [&str; 3] = ["ocr-detection", "ocr-direction", "ocr-recognition"];

/// The manifest of that function as it is shipped, with the files of this checkout.
pub fn ocr_manifest() -> String {
    guest("ocr");
    let text = std::fs::read_to_string(root().join("guest/ocr/spin.toml")).unwrap();
    text.replace("\"../../", &format!("\"{}/", root().display()))
}

/// What to start. The default is the application of this repository with `efficientnet-lite0-int8`.
pub struct Setup {
    scratch: Scratch,
    app: PathBuf,
    models: PathBuf,
    /// Models that are named by their paths, instead of a manifest and a folder.
    paths: Vec<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// A program of `tests/` that starts the server.
    launcher: Option<&'static str>,
}

impl Setup {
    /// The example: `spin.toml` and `models/`.
    pub fn example() -> Setup {
        let arguments = vec!["--load-model".to_owned(), "efficientnet-lite0-int8".to_owned()];
        Setup {
            scratch: Scratch::new(),
            app: root().join("spin.toml"),
            models: root().join("models"),
            paths: Vec::new(),
            arguments,
            environment: Vec::new(),
            launcher: None,
        }
    }

    /// The manifest `text`, with no models.
    pub fn app(text: &str) -> Setup {
        let scratch = Scratch::new();
        let app = scratch.write("spin.toml", text);
        std::fs::create_dir(scratch.path().join("models")).unwrap();
        let models = scratch.path().join("models");
        let (paths, arguments, environment) = (Vec::new(), Vec::new(), Vec::new());
        Setup { models, app, scratch, paths, arguments, environment, launcher: None }
    }

    /// Nothing but the models at `paths`: no manifest.
    pub fn of_models(paths: &[PathBuf]) -> Setup {
        Setup { paths: paths.to_vec(), ..Setup::models_only() }
    }

    /// No function of a component, and no models yet: for tests of models below `/v2`.
    pub fn models_only() -> Setup {
        Setup::app(
            "spin_manifest_version = 2\napplication.name = \"test\"\n\
             [[trigger.http]]\nroute = \"/static\"\ncomponent = { static_response = { body = \"\" } }\n",
        )
    }

    /// The example's function for another model: `name` of `folder`, mounted as the function expects it.
    pub fn classify(folder: &str, name: &str) -> Setup {
        let card = root().join(folder).join(name);
        let settings = format!(
            "files = [{{ source = \"{}\", destination = \"/model\" }}]\n[component.it.tool.modelfn]\nmodels = [\"{name}\"]",
            card.display()
        );
        Setup::app(&app(&guest("classify"), &settings)).models(root().join(folder)).args(&["--load-model", name])
    }

    /// The example's function for a model that returns its input, `inputs`, as scores; `tables` are those of its card.
    pub fn classify_pixels(inputs: &str, tables: &str) -> Setup {
        let settings = "files = [{ source = \"models/pixels\", destination = \"/model\" }]\n\
            [component.it.tool.modelfn]\nmodels = [\"pixels\"]";
        Setup::app(&app(&guest("classify"), settings))
            .fake_model("pixels", inputs, ("compute = \"echo\"", tables))
            .args(&["--load-model", "pixels"])
    }

    /// The function that reads text, with its models.
    pub fn ocr() -> Setup {
        let arguments: Vec<&str> = OCR_MODELS.iter().flat_map(|model| ["--load-model", model]).collect();
        Setup::app(&ocr_manifest()).models(root().join("models")).args(&arguments)
    }

    /// The misbehaving guest of `tests/guests`, with further settings of its component.
    pub fn probe(settings: &str) -> Setup {
        Setup::app(&app(&guest("probe"), settings))
    }

    /// Takes models from `folder`.
    pub fn models(mut self, folder: impl Into<PathBuf>) -> Setup {
        self.models = folder.into();
        self
    }

    /// Adds a model of the fake engine: `x` to `y`, both of `tensor`, as `graph` says (see `nn/backend/fake.rs`).
    pub fn fake_model(self, name: &str, tensor: &str, (graph, serving): (&str, &str)) -> Setup {
        let spec = |name| format!("[{{ name = \"{name}\", {tensor} }}]");
        let graph = format!("{graph}\ninputs = {}\noutputs = {}\n", spec("x"), spec("y"));
        self.model(name, tensor, ("fake", graph.as_bytes(), serving))
    }

    /// Adds a model of the fake engine that echoes its input as soon as the returned file, its gate, exists.
    pub fn gated_model(self, name: &str, tensor: &str, serving: &str) -> (Setup, PathBuf) {
        let gate = self.path("gate");
        let graph = format!("compute = \"echo\"\ngate = \"{}\"", gate.display());
        (self.fake_model(name, tensor, (&graph, serving)), gate)
    }

    /// Adds a model: `x` to `y`, both of `tensor`, by an engine, the bytes of its graph, and its `[serving]`.
    pub fn model(self, name: &str, tensor: &str, (engine, graph, serving): (&str, &[u8], &str)) -> Setup {
        let spec = |name| format!("[{{ name = \"{name}\", {tensor} }}]");
        let card = format!(
            "name = \"{name}\"\ndescription = \"\"\nlicense = \"MIT\"\nsource = \"\"\n\
             graph = {{ file = \"graph\", engine = \"{engine}\" }}\ninputs = {}\noutputs = {}\n[serving]\n{serving}\n",
            spec("x"),
            spec("y")
        );
        self.scratch.write(&format!("models/{name}/model.toml"), card);
        self.scratch.write(&format!("models/{name}/graph"), graph);
        self
    }

    /// Adds arguments of `modelfn serve`.
    pub fn args(mut self, arguments: &[&str]) -> Setup {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Adds a variable of the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets this program of `tests/` start the server.
    pub fn launched_by(mut self, program: &'static str) -> Setup {
        self.launcher = Some(program);
        self
    }

    /// A path in the folder that the server's files are in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Starts the server and waits until it is ready.
    pub fn start(self) -> Server {
        let mut command = modelfn_by(self.launcher);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        if self.paths.is_empty() {
            command.arg("--app").arg(&self.app).arg("--models").arg(&self.models);
        }
        command.args(&self.paths).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, on_ready) = std::sync::mpsc::channel();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Ok(Value::Object(entry)) = serde_json::from_str(&line)
                    && let (Some(address), Some(admin)) = (entry.get("address"), entry.get("admin"))
                {
                    let _ = ready.send((address.as_str().unwrap().to_owned(), admin.as_str().unwrap().to_owned()));
                }
                lines.lock().unwrap().push(line);
            }
        });
        let Ok((address, admin)) = on_ready.recv_timeout(Duration::from_secs(60)) else {
            let _ = child.kill();
            panic!("the server did not start:\n{}", log.lock().unwrap().join("\n"));
        };
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Server { child, address, admin, log, client, _scratch: self.scratch }
    }
}

/// A running server. Dropping it ends it, and shows its log if the test is failing.
pub struct Server {
    child: Child,
    pub address: String,
    pub admin: String,
    log: Arc<Mutex<Vec<String>>>,
    pub client: reqwest::Client,
    _scratch: Scratch,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Server {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.client.post(self.url(path)).body(body)).await
    }

    pub async fn admin(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("http://{}{path}", self.admin))).await
    }

    /// A request that changes the server.
    pub async fn admin_post(&self, path: &str) -> Answer {
        self.send(self.client.post(format!("http://{}{path}", self.admin)).header("x-modelfn-admin", "1")).await
    }

    /// Starts a request for `path`, which runs while the test does something else.
    pub fn start_get(&self, path: &str) -> tokio::task::JoinHandle<Answer> {
        let request = self.client.get(self.url(path));
        tokio::spawn(async move { Answer::read(request.send().await.unwrap()).await.unwrap() })
    }

    /// A connection on which the test writes every byte itself.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::read(request.send().await.unwrap()).await.unwrap()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, at_most: Duration) -> ExitStatus {
        let until = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the server did not end within {at_most:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a line of the log contains `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(line) = self.log.lock().unwrap().iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no log line has {text:?}");
    }

    /// The value of a metric line that starts with `name` (labels included), 0 when it's not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.admin("/metrics").await.body).unwrap();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until a metric is `value`. What a request leaves behind is counted a moment after its response was read.
    pub async fn expect_metric(&self, name: &str, value: f64) {
        self.wait_for_metric(name, |n| (n - value).abs() < 1e-9).await;
    }

    /// Waits until a metric has the value `wanted`. Clients of the test go on meanwhile.
    pub async fn wait_for_metric(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let value = self.metric(name).await;
            if wanted(value) {
                return;
            }
            assert!(Instant::now() < until, "{name} is {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Repeats a request until the status changes, and returns that response.
    pub async fn ask_while(&self, status: u16, request: reqwest::RequestBuilder) -> Answer {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.send(request.try_clone().unwrap()).await;
            if answer.status != status {
                return answer;
            }
            assert!(Instant::now() < until, "still {status}: {}", answer.text());
        }
    }

    /// Waits until `wanted` requests have an instance.
    pub async fn wait_for_in_flight(&self, wanted: impl Fn(f64) -> bool) {
        self.wait_for_metric("modelfn_requests_in_flight", wanted).await;
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// A body whose length the client does not announce.
pub fn unannounced(bytes: usize) -> reqwest::Body {
    let chunks = vec![bytes::Bytes::from(vec![b'x'; bytes / 2]), bytes::Bytes::from(vec![b'x'; bytes - bytes / 2])];
    let frames = chunks.into_iter().map(|chunk| Ok::<_, std::convert::Infallible>(http_body::Frame::data(chunk)));
    reqwest::Body::wrap(http_body_util::StreamBody::new(futures::stream::iter(frames)))
}

/// A client that speaks HTTP/2 without an upgrade (prior knowledge).
pub fn http2_client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60));
    builder.http2_prior_knowledge().build().unwrap()
}

/// Reads the status line and the headers of a response, and not a byte more.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&head)));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server:\n{}", self.log.lock().unwrap().join("\n"));
        }
    }
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> reqwest::Result<Answer> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem document with `status`, and gives its detail.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}
