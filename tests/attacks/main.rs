//! Attacks on the real program, each beside a victim: another function's client and probes, who must not notice.
//!
//! `make test` runs every attack for a moment, with bounds that hold on a busy machine. `make attacks` runs all in turn for
//! `ATTACK_MINUTES`, on one server, with the bounds that the project promises (`ATTACK_BOUNDS=strict`).
//!
//! An attack is a function that starts tasks and a line in [`ATTACKS`]. Its module is its topic.

#![expect(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, reason = "a test harness fails where it stands")]

#[path = "../it/harness.rs"]
#[expect(dead_code, reason = "shared with the other black-box tests, which use more of it")]
mod harness;

mod memory;
mod neighbours;
mod target;
mod trial;
mod unread;
mod victim;

use std::time::{Duration, Instant};

use self::trial::{Bounds, Trial};

/// Something that one client or one function does to a server.
pub struct Attack {
    /// For people.
    pub name: &'static str,
    /// Starts the attack, which lasts until the tasks are dropped.
    pub start: fn(&target::Target) -> tokio::task::JoinSet<()>,
}

const ATTACKS: &[Attack] = &[
    Attack { name: "a function's guests spin", start: neighbours::spin },
    Attack { name: "a function's guests wait for ever", start: neighbours::wait },
    Attack { name: "a function is asked far more than it can do", start: neighbours::overload },
    Attack { name: "HTTP/2 streams with window 0", start: unread::closed_windows },
    Attack { name: "HTTP/1.1 clients that do not read", start: unread::deaf_clients },
    Attack { name: "inferences whose outputs nobody reads", start: unread::deaf_inferences },
    Attack { name: "large bodies", start: memory::bodies },
    Attack { name: "guests that grow", start: memory::guests },
    Attack { name: "guests that fill the host with fields", start: memory::fields },
    Attack { name: "guests that fill the host with bodies", start: memory::unsent_bodies },
];

/// A number of the environment, for `make attacks`.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_victim_of_an_attack_does_not_notice_it() {
    let seconds = number("ATTACK_SECONDS").unwrap_or(1);
    let until = number("ATTACK_MINUTES").map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let bounds = Bounds::of_environment();
    let only = std::env::var("ATTACK").unwrap_or_default();
    let server = target::start();
    let (mut faults, mut rested) = (Vec::new(), Vec::new());
    trial::warm(&server).await;
    let quiet = trial::resident_mebibytes(&server);
    loop {
        for attack in ATTACKS.iter().filter(|attack| attack.name.contains(&only)) {
            let trial = Trial::run(&server, attack, Duration::from_secs(seconds)).await;
            eprintln!("{trial}");
            faults.extend(trial.faults(&bounds));
            rested.push(trial.rested_mebibytes());
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    let end = rested.last().copied().unwrap_or(quiet);
    eprintln!("memory at rest: {quiet} MiB before, {end} MiB at the end");
    faults.extend(bounds.memory_fault(quiet, end));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
