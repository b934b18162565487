//! The victim: a client of another function, and probes. Both say how long they waited and what was wrong.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::harness::Server;

/// Between two requests of the victim, and two probes.
const PAUSE: Duration = Duration::from_millis(4);

/// The longest that a client of the victim waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the victim and the probes saw during some time.
#[derive(Default)]
pub struct Observation {
    pub victim: Latencies,
    pub probes: Latencies,
    /// Answers that were wrong or did not come.
    pub wrong: Vec<String>,
}

/// How long requests took.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The latency below which this part of the requests stayed, from 0 to 1.
    pub fn quantile(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() as f64 * part) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Observation {
    /// Asks the server as victim and as prober for `time`.
    pub async fn during(server: &Server, time: Duration) -> Observation {
        let client = || reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let until = Instant::now() + time;
        let probed = [
            (format!("http://{}/livez", server.admin), None),
            (server.url("/v2/health/live"), None),
            (server.url("/static"), Some("static")),
        ];
        let url = server.url("/header?name=x-mark");
        let victim = on_own_thread(move || ask_as_victim(client(), url, until));
        let probes = on_own_thread(move || probe(client(), probed, until));
        let ((victim, wrong), (probes, also_wrong)) = (victim.await.unwrap(), probes.await.unwrap());
        Observation { victim, probes, wrong: [wrong, also_wrong].concat() }
    }
}

/// Runs a client where it does not wait for the attackers' clients.
fn on_own_thread<T: Future<Output = Seen>>(client: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<Seen> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = sender.send(runtime.block_on(client()));
    });
    receiver
}

type Seen = (Latencies, Vec<String>);

/// Sends a different header each time, which the function gives back.
async fn ask_as_victim(client: reqwest::Client, url: String, until: Instant) -> Seen {
    let mut seen = Seen::default();
    for n in 0_u64.. {
        if Instant::now() >= until {
            break;
        }
        let mark = format!("mark-{n}");
        ask(client.get(&url).header("x-mark", &mark), Some(&mark), &mut seen).await;
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

async fn probe(client: reqwest::Client, probed: [(String, Option<&'static str>); 3], until: Instant) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < until {
        for (url, text) in &probed {
            ask(client.get(url), *text, &mut seen).await;
            tokio::time::sleep(PAUSE).await;
        }
    }
    seen
}

async fn ask(request: reqwest::RequestBuilder, expected: Option<&str>, (latencies, wrong): &mut Seen) {
    let started = Instant::now();
    let answer = async {
        let response = request.send().await?;
        let status = response.status();
        Ok::<_, reqwest::Error>((status, response.text().await?))
    };
    match answer.await {
        Ok((status, text)) if status == 200 && expected.is_none_or(|expected| text == expected) => {
            latencies.0.push(started.elapsed());
        }
        Ok((status, text)) => wrong.push(format!("{status}: {text}")),
        Err(error) => wrong.push(format!("{error:?} after {:?}", started.elapsed())),
    }
}
