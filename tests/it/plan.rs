//! `modelfn plan`: what it prints, what it refuses, and whether its numbers are those of a real server.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{Scratch, Server, Setup, modelfn, picture, root};

/// Exit code, stdout, stderr.
fn plan(arguments: &[&str]) -> (i32, String, String) {
    let output = modelfn().arg("plan").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn plan_json(arguments: &[&str]) -> Value {
    let (code, out, error) = plan(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

fn fails(arguments: &[&str]) -> String {
    let (code, out, error) = plan(arguments);
    assert_ne!(code, 0, "{out}");
    assert_eq!(out, "");
    error
}

/// The documents of a YAML file.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

const STATIC: [&str; 6] = ["efficientnet-lite0", "--static", "--time", "10ms", "--instances", "2"];

fn close(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() < 1e-9 * expected.abs().max(1.0)
}

/// A model folder of the fake engine, and the folder's name.
fn fake(model: &str, compute: &str) -> Scratch {
    let scratch = Scratch::new();
    let spec = |name: &str| format!("[{{ name = \"{name}\", dtype = \"FP32\", shape = [-1, 4] }}]");
    let (inputs, outputs) = (spec("x"), spec("y"));
    let card = format!(
        "name = \"{model}\"\ndescription = \"\"\nlicense = \"MIT\"\nsource = \"\"\n\
         graph = {{ file = \"graph\", engine = \"fake\" }}\ninputs = {inputs}\noutputs = {outputs}\n\
         [serving]\ninstances = 3\nmax_batch_size = 2\nqueue_size = 1\n"
    );
    scratch.write(&format!("{model}/model.toml"), card);
    scratch
        .write(&format!("{model}/graph"), format!("compute = \"{compute}\"\ninputs = {inputs}\noutputs = {outputs}\n"));
    scratch
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The model is a file among others, or a folder, and there is no manifest.
#[test]
fn a_model_is_planned_by_its_path() {
    let scratch = Scratch::new();
    let external = root().join("tests/fixtures/external/plain");
    for entry in std::fs::read_dir(&external).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), scratch.path().join(entry.file_name())).unwrap();
    }
    scratch.write("notes.txt", "not the model's");
    for model in [scratch.path().join("model.onnx"), scratch.path().to_owned()] {
        let planned = plan_json(&[path(&model), "--seconds", "1", "--instances", "1"]);
        assert_eq!(planned["model"].as_str(), model.file_stem().unwrap().to_str(), "{planned}");
        assert!(planned["service"]["capacity"].as_f64().unwrap() > 1.0, "{planned}");
    }
    let error = fails(&[path(&scratch.path().join("nowhere")), "--static"]);
    assert!(error.contains("a file or folder of that name is not here, either"), "{error}");
}

#[test]
fn a_static_plan_runs_nothing_and_says_so() {
    let (code, out, error) = plan(&[&STATIC[..], &["--rate", "200"]].concat());
    assert_eq!((code, error.as_str()), (0, ""), "there is no progress where nothing is measured");
    assert!(out.contains("coefficients of other models") && !out.contains("measured  "), "{out}");
    // It needs neither engine nor application, only the files of the model.
    let json = plan_json(&[&STATIC[..], &["--app", "no-such.toml"]].concat());
    assert_eq!(json["measurement"], Value::Null);
    assert_eq!(json["coefficients"]["source"], "static");
    assert_eq!(json["resources"]["scaling"], Value::Null, "without a rate there are no replicas");
}

/// The size is compared with one that is counted without this project's code: models/convert writes an FP32 tensor for
/// each weight.
#[test]
fn the_size_is_that_of_the_graph() {
    let json = plan_json(&STATIC);
    let size = &json["size"];
    let group = &size["weights"]["groups"][0];
    assert_eq!((&group["element"]["name"], &group["bytes"]), (&json!("FP32"), &size["bytes"]));
    let parameters = size["parameters"].as_u64().unwrap();
    assert_eq!(size["bytes"], parameters * 4);
    assert_eq!(size["bytes_as_fp16"], parameters * 2);
    assert_eq!(size["bytes_as_int8"], parameters);
    // Only little of the file is no weight: nodes and names.
    let file = std::fs::metadata(root().join("models/efficientnet-lite0/model.onnx")).unwrap().len();
    let overhead = file - parameters * 4;
    assert!(overhead < 100_000, "{overhead} bytes of {file} are no weights");
}

/// Quantised weights have scales, zero points and biases of other types. Each type counts with its own bytes.
#[test]
fn the_size_of_an_int8_model_is_that_of_its_graph() {
    let json = plan_json(&["efficientnet-lite0-int8", "--static"]);
    let (size, groups) = (&json["size"], json["size"]["weights"]["groups"].as_array().unwrap());
    let bytes = |group: &Value| group["bytes"].as_u64().unwrap();
    let total = size["bytes"].as_u64().unwrap();
    assert_eq!(groups.iter().map(bytes).sum::<u64>(), total);
    let int8: u64 = groups.iter().filter(|group| group["element"]["name"] == "INT8").map(bytes).sum();
    assert!(int8 > total * 9 / 10, "{int8} of {total} bytes");
    let file = std::fs::metadata(root().join("models/efficientnet-lite0-int8/model.onnx")).unwrap().len();
    assert!(file - total < 100_000, "{total} of {file} bytes are weights");
}

/// Computes each number of a static plan again by the formulas.
#[test]
fn the_plan_follows_the_formulas() {
    let json = plan_json(&[&STATIC[..], &["--rate", "200", "--batch", "4"]].concat());
    let number =
        |pointer: &str| json.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {json}"));
    let (alpha, beta, gamma) =
        (number("/coefficients/alpha"), number("/coefficients/beta"), number("/coefficients/gamma_bytes"));
    // Two instances, each of which takes 40 ms for a request of 4 rows.
    assert!(close(&json["service"]["capacity"], 50.0));
    assert!(close(&json["cores"], alpha * 4.0 * 0.010 * 50.0));
    assert!(close(&json["memory_bytes"], beta * 2.0 * number("/size/bytes") + gamma));
    // 200/s divided by 35/s, which is 70 % of 50/s.
    assert_eq!(json["fleet"]["replicas"], 6);
    assert!(close(&json["fleet"]["in_flight"], 200.0 * number("/fleet/mean_seconds")), "Little's law");
    assert_eq!(json["resources"]["scaling"], json!({ "min_replicas": 6, "max_replicas": 12, "cpu_percent": 70 }));
}

#[test]
fn the_patch_is_yaml_for_deployment_and_autoscaler() {
    let (code, text, _) = plan(&[&STATIC[..], &["--rate", "200", "--kustomize"]].concat());
    assert_eq!(code, 0);
    let (_, same, _) = plan(&[&STATIC[..], &["--rate", "200", "--format", "patch"]].concat());
    assert_eq!(text, same);
    let all = documents(&text);
    let [deployment, autoscaler] = all.as_slice() else { panic!("{text}") };
    for (document, version, kind) in
        [(deployment, "apps/v1", "Deployment"), (autoscaler, "autoscaling/v2", "HorizontalPodAutoscaler")]
    {
        assert_eq!(document["apiVersion"], version);
        assert_eq!(document["kind"], kind);
        assert_eq!(document["metadata"], json!({ "name": "modelfn" }));
    }
    let wanted = &plan_json(&[&STATIC[..], &["--rate", "200"]].concat())["resources"];
    let amounts = |cpu: &str, memory: &str| json!({ "cpu": format!("{}m", wanted[cpu]), "memory": format!("{}Mi", wanted[memory]) });
    // An environment variable is a string.
    let env = json!([{ "name": "MODELFN_MODEL_INSTANCES", "value": "2" }]);
    let resources = json!({
        "requests": amounts("cpu_request_millis", "memory_request_mib"),
        "limits": amounts("cpu_limit_millis", "memory_limit_mib"),
    });
    let container = json!({ "name": "modelfn", "env": env, "resources": resources });
    assert_eq!(deployment["spec"], json!({ "template": { "spec": { "containers": [container] } } }));
    let scaling = &wanted["scaling"];
    let target = json!({ "type": "Utilization", "averageUtilization": scaling["cpu_percent"] });
    let metric = json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
    let (min, max) = (&scaling["min_replicas"], &scaling["max_replicas"]);
    assert_eq!(autoscaler["spec"], json!({ "minReplicas": min, "maxReplicas": max, "metrics": [metric] }));

    let (_, text, _) = plan(&["efficientnet-lite0", "--static", "--kustomize"]);
    let all = documents(&text);
    assert_eq!(all.len(), 1, "without a rate nothing is said of replicas");
    let requests = &all[0]["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    assert!(requests["cpu"].is_null() && requests["memory"].is_string(), "{text}");
}

#[test]
fn a_measured_plan_has_what_it_was_computed_from() {
    let models = fake("m", "echo");
    let arguments =
        ["m", "--models", path(models.path()), "--no-app", "--seconds", "1", "--rate", "10", "--batch", "3"];
    let (code, out, progress) = plan(&[&arguments[..], &["--json"]].concat());
    assert_eq!(code, 0, "{progress}");
    for step in ["measuring 3 instances of 1 thread", "requests at once", "batches of [1, 2, 3, 4, 8]"] {
        assert!(progress.contains(step), "{step} is not in:\n{progress}");
    }
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["layout"], json!({ "instances": 3, "threads": 1, "batch": 3, "utilisation": 0.7 }));
    let measured = &json["measurement"];
    let rows: Vec<_> =
        measured["batches"].as_array().unwrap().iter().map(|batch| batch["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [1, 2, 3, 4, 8], "the card's max_batch_size is no limit to what is compared");
    assert_eq!((&measured["layouts"][0]["instances"], &measured["layouts"][1]["instances"]), (&json!(3), &json!(1)));
    assert_eq!(measured["layouts"][0]["requests_per_second"], json["service"]["capacity"]);
    // Without weights no memory grows with them.
    assert_eq!(json["coefficients"]["beta"], 0.0);
    assert_eq!(json["memory_bytes"], measured["layouts"][0]["peak_bytes"]);
    assert!(measured["peak_concurrency_bytes"].as_f64() >= json["memory_bytes"].as_f64());
    assert_eq!(json["fleet"]["replicas"], 1);
    let advice = json["advice"].as_array().unwrap();
    let said = |what: &str| advice.iter().any(|sentence| sentence.as_str().unwrap().starts_with(what));
    assert!(
        said("batches: ") && said("layout: ") && said("hardware: the fake engine of this build computes on cpu only")
    );

    let (_, table, _) = plan(&arguments);
    for key in
        ["measured", "layouts", "concurrency", "replicas", "in flight", "requests", "limits", "scaling", "advice"]
    {
        assert!(table.lines().any(|line| line.starts_with(key)), "{key} is not in:\n{table}");
    }
}

#[test]
fn errors_tell_the_remedy() {
    let models = fake("broken", "fail");
    let folder = ["--models", path(models.path()), "--no-app", "--seconds", "1"];
    let broken = [&["broken"][..], &folder].concat();
    assert!(fails(&["nothing"]).contains("no model 'nothing' in models; have: all-minilm-l6-v2, efficientnet-lite0"));
    assert!(fails(&["nothing", "--models", "no-such"]).contains("name another with --models"));
    assert!(fails(&broken).contains("the server answered"), "a model that fails can't be planned");
    let lite0 = |more: &[&str]| fails(&[&["efficientnet-lite0"], more].concat());
    assert!(lite0(&["--app", "no-such.toml"]).contains("name the application with --app"));
    assert!(lite0(&["--static", "--rate", "5"]).contains("give --time, or leave --static out"));
    assert!(lite0(&["--rate", "0"]).contains("write 50 or 0.5"));
    assert!(lite0(&["--utilisation", "70"]).contains("write 0.7"));
    assert!(lite0(&["--seconds", "0"]).contains("1..=600"));
    assert!(lite0(&["--p99", "50ms"]).contains("--rate"), "a latency without a rate has no meaning");
    assert!(lite0(&["--route", "classify", "--body", "spin.toml"]).contains("must be a path, such as /classify"));
    assert!(lite0(&["--route", "/classify", "--body", "no-such.jpg"]).contains("no-such.jpg can't be read"));
    let unreachable = fails(&[&STATIC[..], &["--rate", "1", "--p99", "9ms"]].concat());
    assert!(unreachable.contains("computing alone takes 10.0 ms") && unreachable.contains("allow a longer --p99"));
    assert!(fails(&[&STATIC[..], &["--rate", "1e8"]].concat()).contains("check --rate"));
}

/// The route computes with another model than the planned one, so that the numbers would be those of the other model.
#[test]
fn a_route_that_does_not_use_the_model_is_refused() {
    let body = root().join("target/pictures/rocket.jpg");
    let error = fails(&["efficientnet-lite1", "--route", "/classify", "--body", path(&body), "--seconds", "1"]);
    assert!(error.contains("does not use the model 'efficientnet-lite1'"), "{error}");
}

/// A signal that ends the plan also ends the servers that it started.
#[test]
fn no_server_is_left_behind_when_it_is_interrupted() {
    use std::io::BufRead;
    let models = fake("m", "echo");
    let mut command = modelfn();
    command.args(["plan", "m", "--no-app", "--seconds", "600", "--models", path(models.path())]);
    let mut child = Ended(command.stderr(std::process::Stdio::piped()).spawn().unwrap());
    let mut lines = std::io::BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("measuring 3 instances"));
    let until = Instant::now() + Duration::from_secs(20);
    let server = loop {
        if let Some(pid) = children_of(child.0.id()).first() {
            break *pid;
        }
        assert!(Instant::now() < until, "no server was started");
        std::thread::sleep(Duration::from_millis(5));
    };
    let status = std::process::Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(1));
    assert!(lines.any(|line| line.unwrap().contains("interrupted")));
    assert!(!Path::new(&format!("/proc/{server}")).exists(), "the server that was measured is still there");
}

/// A process that ends with the test, whatever happens.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child processes of `parent`, started by any of its threads.
pub fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.flat_map(|entry| entry.file_name().to_string_lossy().parse::<u32>());
    let line = format!("PPid:\t{parent}");
    let is_child = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.lines().any(|l| l == line))
    };
    numbers.filter(is_child).collect()
}

const CLIENTS: usize = 4;

/// The route that is planned and loaded, which takes the whole path of a request.
const ROUTE: &str = "/classify?top_k=1";

/// The plan of the route with two instances, as JSON. The runtime of the test goes on meanwhile.
async fn plan_of_the_route(seconds: &'static str) -> Value {
    let plan = move || {
        let body = root().join("target/pictures/rocket.jpg");
        let arguments = ["--instances", "2", "--route", ROUTE, "--body", path(&body), "--seconds", seconds];
        plan_json(&[&["efficientnet-lite0-int8"][..], &arguments].concat())
    };
    tokio::task::spawn_blocking(plan).await.unwrap()
}

/// Requests a second of [`CLIENTS`] clients within `time`.
async fn load(server: &Server, time: Duration) -> f64 {
    let (started, body) = (Instant::now(), picture("rocket.jpg"));
    let clients = (0..CLIENTS).map(|_| async {
        let mut answered = 0;
        while answered == 0 || started.elapsed() < time {
            assert_eq!(server.post(ROUTE, body.clone()).await.status, 200);
            answered += 1;
        }
        answered
    });
    let answered: usize = futures::future::join_all(clients).await.into_iter().sum();
    answered as f64 / started.elapsed().as_secs_f64()
}

/// The server's peak, and what its engine processes have in proportion, in bytes.
fn peak_bytes(server: &Server) -> f64 {
    let kibibytes = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
    };
    let engines = children_of(server.pid().cast_unsigned()).into_iter();
    let engines: f64 = engines.map(|pid| kibibytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum();
    (kibibytes(&format!("/proc/{}/status", server.pid()), "VmHWM:") + engines) * 1024.0
}

#[tokio::test]
async fn the_memory_is_that_of_a_real_server_within_a_fifth() {
    let planned = plan_of_the_route("2").await["memory_bytes"].as_f64().unwrap();
    let server = Setup::example().args(&["--model-instances", "2"]).start();
    load(&server, Duration::from_secs(1)).await;
    let real = peak_bytes(&server);
    assert!((planned / real - 1.0).abs() <= 0.2, "planned {planned} bytes, and there were {real}");
}

/// The throughput of a machine changes from second to second while other programs use it, such as other tests. So plan
/// and server take turns: a plan is compared with the throughput of the server just before and just after it, and there
/// are a few tries. A plan that is wrong by itself is wrong in every try.
#[tokio::test]
async fn the_throughput_is_that_of_a_real_server_within_a_fifth() {
    let server = Setup::example().args(&["--model-instances", "2"]).start();
    let time = Duration::from_millis(1500);
    let mut before = load(&server, time).await;
    let mut tried = Vec::new();
    for _ in 0..6 {
        let planned = plan_of_the_route("6").await["service"]["capacity"].as_f64().unwrap();
        let after = load(&server, time).await;
        let real = f64::midpoint(before, after);
        if (planned / real - 1.0).abs() <= 0.2 {
            return;
        }
        tried.push((planned, before, after));
        before = after;
    }
    panic!("requests/s, planned and real before and after: {tried:?}");
}
