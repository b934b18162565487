//! A client that loads a server and checks every answer: closed loop (each connection sends when it has its
//! answer) or open loop (requests are due at a fixed rate, whatever the server does).
//!
//! `cargo bench -p modelfn --bench load -- --help`. Prints one JSON object for each `--path`.
//!
//! In an open loop a request's time counts from when it was due, so that a server that stalls can't hide it. It
//! takes a free connection, or opens one, up to `--connections`; beyond them it waits, which counts too.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

/// What is asked, how often, and for how long.
#[derive(Parser)]
struct Args {
    /// The server, HOST:PORT.
    #[arg(long)]
    address: String,
    /// Where to; when given more than once, each connection asks them in turns.
    #[arg(long, required = true)]
    path: Vec<String>,
    /// A request's body; several are sent in turns. Without one it is a GET.
    #[arg(long, value_name = "FILE")]
    body: Vec<std::path::PathBuf>,
    /// A header of each request, `NAME: VALUE`.
    #[arg(long)]
    header: Vec<String>,
    /// Connections; in an open loop the most of them.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests a second in an open loop.
    #[arg(long)]
    rate: Option<f64>,
    /// How long requests are sent.
    #[arg(long, default_value_t = f64::INFINITY)]
    seconds: f64,
    /// How many requests are sent.
    #[arg(long, default_value_t = u64::MAX)]
    requests: u64,
    /// How far a number of an answer of FP32 tensors may be from the first answer's, as a part of the largest; without
    /// it, answers must be the same to the byte.
    #[arg(long)]
    tolerance: Option<f32>,
    /// `cargo bench` adds this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is sent, and what must come back.
struct Ask {
    path: usize,
    request: Request<Full<Bytes>>,
    expected: Answer,
}

#[derive(PartialEq)]
struct Answer {
    status: u16,
    body: Bytes,
    /// Where the JSON of the body ends and its tensors start.
    json: usize,
}

/// What happened on one path.
#[derive(Default)]
struct Tally {
    sent: u64,
    /// Answers with 200 that were not the right one.
    wrong: u64,
    /// Requests without an answer.
    lost: u64,
    statuses: BTreeMap<u16, u64>,
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    /// Right answers within `--seconds`, not those of the requests that were then under way.
    in_time: u64,
}

struct Load {
    args: Args,
    asks: Vec<Ask>,
    tallies: RefCell<Vec<Tally>>,
    started: Instant,
    sent: std::cell::Cell<u64>,
}

type Connection = SendRequest<Full<Bytes>>;
type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(args))
}

async fn run(args: Args) -> Result<(), Failure> {
    let asks = prepare(&args).await?;
    let tallies = RefCell::new(args.path.iter().map(|_| Tally::default()).collect());
    let load = Rc::new(Load { args, asks, tallies, started: Instant::now(), sent: std::cell::Cell::new(0) });
    match load.args.rate {
        Some(rate) => open_loop(&load, rate).await,
        None => closed_loop(&load).await,
    }
    let seconds = load.started.elapsed().as_secs_f64();
    for (path, tally) in load.args.path.iter().zip(load.tallies.borrow_mut().iter_mut()) {
        println!("{}", tally.report(path, seconds.min(load.args.seconds)));
    }
    Ok(())
}

/// Asks everything once, one at a time: what comes back then is what must come back later.
async fn prepare(args: &Args) -> Result<Vec<Ask>, Failure> {
    let mut bodies = args.body.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let method = if bodies.is_empty() { "GET" } else { "POST" };
    if bodies.is_empty() {
        bodies.push(Vec::new());
    }
    let mut asks = Vec::new();
    let mut connection = connect(&args.address).await?;
    for body in bodies {
        let body = Bytes::from(body);
        for (path, uri) in args.path.iter().enumerate() {
            let mut request = Request::builder().method(method).uri(uri).header("host", &args.address);
            for header in &args.header {
                let (name, value) = header.split_once(':').ok_or("a header is NAME: VALUE")?;
                request = request.header(name.parse::<HeaderName>()?, value.trim().parse::<HeaderValue>()?);
            }
            let request = request.body(Full::new(body.clone()))?;
            let expected = ask(&mut connection, request.clone()).await?;
            if expected.status != 200 {
                return Err(format!("{uri}: {} {}", expected.status, String::from_utf8_lossy(&expected.body)).into());
            }
            asks.push(Ask { path, request, expected });
        }
    }
    Ok(asks)
}

async fn closed_loop(load: &Rc<Load>) {
    let clients = (0..load.args.connections).map(|n| {
        let load = load.clone();
        tokio::task::spawn_local(async move {
            let mut connection = None;
            // Each starts with another one.
            let mut turn = n;
            while load.goes_on() {
                load.exchange(&mut connection, turn, Instant::now()).await;
                turn += 1;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("a client does not panic");
    }
}

async fn open_loop(load: &Rc<Load>, rate: f64) {
    let permits = Rc::new(Semaphore::new(load.args.connections));
    let free: Rc<RefCell<Vec<Option<Connection>>>> = Rc::default();
    let mut running = tokio::task::JoinSet::new();
    let mut turn = 0;
    while load.goes_on() {
        #[expect(clippy::cast_precision_loss, reason = "requests of a measurement")]
        let due = load.started + Duration::from_secs_f64(turn as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let (load, permits, free) = (load.clone(), permits.clone(), free.clone());
        running.spawn_local(async move {
            let _permit = permits.acquire().await;
            let mut connection = free.borrow_mut().pop().flatten();
            load.exchange(&mut connection, turn, due).await;
            free.borrow_mut().push(connection);
        });
        turn += 1;
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

impl Load {
    /// Whether another request is to be sent; counts it.
    fn goes_on(&self) -> bool {
        let sent = self.sent.get();
        let goes_on = sent < self.args.requests && self.started.elapsed().as_secs_f64() < self.args.seconds;
        self.sent.set(sent + u64::from(goes_on));
        goes_on
    }

    /// One request and its answer, on a connection that is made where there is none.
    async fn exchange(&self, connection: &mut Option<Connection>, turn: usize, due: Instant) {
        let wanted = &self.asks[turn % self.asks.len()];
        self.tallies.borrow_mut()[wanted.path].sent += 1;
        let answer = async {
            let mut open = match connection.take() {
                Some(open) if open.is_ready() => open,
                _ => connect(&self.args.address).await?,
            };
            let answer = ask(&mut open, wanted.request.clone()).await?;
            *connection = Some(open);
            Ok::<_, Failure>(answer)
        };
        let answer = answer.await;
        let tally = &mut self.tallies.borrow_mut()[wanted.path];
        match answer {
            Ok(answer) => {
                *tally.statuses.entry(answer.status).or_default() += 1;
                let good = answer.status == 200;
                let times = if good { &mut tally.accepted } else { &mut tally.refused };
                times.push(due.elapsed());
                let right = good && same(&answer, &wanted.expected, self.args.tolerance);
                tally.wrong += u64::from(good && !right);
                tally.in_time += u64::from(right && self.started.elapsed().as_secs_f64() <= self.args.seconds);
            }
            Err(_) => tally.lost += 1,
        }
    }
}

impl Tally {
    fn report(&mut self, path: &str, seconds: f64) -> serde_json::Value {
        let good = self.accepted.len() as u64 - self.wrong;
        let milliseconds = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            let at = |part: usize| times.get(times.len() * part / 1000).or(times.last()).map(|t| t.as_secs_f64() * 1e3);
            serde_json::json!({ "p50": at(500), "p90": at(900), "p99": at(990), "max": at(1000) })
        };
        #[expect(clippy::cast_precision_loss, reason = "requests of a measurement")]
        let goodput = self.in_time as f64 / seconds;
        serde_json::json!({
            "path": path, "sent": self.sent, "good": good, "wrong": self.wrong, "lost": self.lost, "seconds": seconds,
            "goodput": goodput, "statuses": self.statuses,
            "accepted_ms": milliseconds(&mut self.accepted), "refused_ms": milliseconds(&mut self.refused),
        })
    }
}

async fn connect(address: &str) -> Result<Connection, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Its end shows in the sender.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

async fn ask(connection: &mut Connection, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    let json = response.headers().get("inference-header-content-length").map(HeaderValue::to_str).transpose()?;
    let (json, status) = (json.map(str::parse).transpose()?, response.status().as_u16());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer { status, json: json.unwrap_or(body.len()), body })
}

/// Whether an answer is the expected one. With a tolerance the numbers of its tensors may differ, nothing else.
fn same(answer: &Answer, expected: &Answer, tolerance: Option<f32>) -> bool {
    let Some(tolerance) = tolerance else { return answer == expected };
    let parts = |answer: &Answer| (answer.body.len(), answer.body.slice(..answer.json));
    if parts(answer) != parts(expected) {
        return false;
    }
    let numbers = |answer: &Answer| -> Vec<f32> {
        let floats = answer.body[answer.json..].chunks_exact(4);
        floats.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
    };
    let (ours, theirs) = (numbers(answer), numbers(expected));
    let largest = theirs.iter().fold(0.0, |most: f32, number| most.max(number.abs()));
    ours.iter().zip(&theirs).all(|(our, their)| (our - their).abs() <= tolerance * largest)
}
