//! A fuzzer of what reads requests below `/v2`, cards, manifests and graphs, which mutates valid ones.
//!
//! `make fuzz` runs it for FUZZ_SECONDS (60) with the seed FUZZ_SEED (the time) for each FUZZ_TARGET: `infer` (the
//! default), `card`, `manifest` and `graph`. It checks that nothing panics, and that tensors are parsed as the request describes
//! them. Inputs that fail are written to `target/fuzz/`, and `FUZZ_INPUT=<file>` tries one of them again.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "its output is its result, and it ends where it stands")]

mod input;
mod mutate;
mod protobuf;
#[path = "../random.rs"]
mod random;
mod targets;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::input::Input;
use self::random::Random;
use self::targets::Target;

/// Rounds between two readings of the clock.
const ROUNDS: u64 = 1000;

/// The most changes that make a case from a seed.
const MAX_CHANGES: usize = 12;

/// The most cases that are kept: those with a new outcome, which are changed further.
const MAX_KEPT: usize = 2000;

fn main() -> ExitCode {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_else(|_| "infer".to_owned());
    let target = Target::named(&name).expect("FUZZ_TARGET is infer, card, manifest or graph");
    if let Ok(path) = std::env::var("FUZZ_INPUT") {
        let input = Input::read(&std::fs::read(&path).expect("FUZZ_INPUT names a file that can be read"));
        println!("{path}: {:?}", target.run(&input));
        return ExitCode::SUCCESS;
    }
    let seconds = number("FUZZ_SECONDS").unwrap_or(60);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("FUZZ_SEED").unwrap_or_else(|| u64::from(since.subsec_nanos()) ^ since.as_secs());
    println!("fuzz: {name} for {seconds} s from FUZZ_SEED={seed}");
    fuzz(target, Duration::from_secs(seconds), Random::new(seed))
}

fn fuzz(target: Target, time: Duration, mut random: Random) -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
    let mut kept = target.seeds();
    let (seeds, mut kinds) = (kept.len(), HashSet::new());
    assert!(kept.iter().all(|seed| target.run(seed).taken), "each seed is right as it is");
    let (started, mut executions, mut taken, mut slowest) = (Instant::now(), 0_u64, 0_u64, Duration::ZERO);
    while started.elapsed() < time {
        for _ in 0..ROUNDS {
            let from = if random.below(2) == 0 { seeds } else { kept.len() };
            let mut input = kept[random.below(from)].clone();
            for _ in 0..=random.below(MAX_CHANGES) {
                let other = &kept[random.below(kept.len())];
                target.change(&mut input, other, &mut random);
            }
            let before = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(|| target.run(&input)));
            let elapsed = before.elapsed();
            if result.is_ok() && elapsed > slowest {
                slowest = slowest.max(elapsed.min(again(target, &input)));
            }
            executions += 1;
            match result {
                Err(_) => {
                    let path = save(&folder, &input);
                    println!(
                        "fuzz: CRASH after {executions} executions; try it again with FUZZ_INPUT={}",
                        path.display()
                    );
                    return ExitCode::FAILURE;
                }
                Ok(run) => {
                    taken += u64::from(run.taken);
                    // There are more kinds of errors than of successes, and they lead less far.
                    let room = if run.taken { MAX_KEPT } else { MAX_KEPT / 4 };
                    if kept.len() < room && kinds.insert(run.kind) {
                        kept.push(input);
                    }
                }
            }
        }
    }
    let each = executions as f64 / started.elapsed().as_secs_f64();
    println!(
        "fuzz: {executions} executions ({each:.0} a second), {taken} of them right, {} kinds; the slowest took {slowest:?}",
        kinds.len()
    );
    println!("fuzz: no crash");
    ExitCode::SUCCESS
}

/// Runs `input` once more and measures how long it takes.
fn again(target: Target, input: &Input) -> Duration {
    let before = Instant::now();
    target.run(input);
    before.elapsed()
}

fn save(folder: &Path, input: &Input) -> PathBuf {
    std::fs::create_dir_all(folder).expect("target/ can be written");
    let bytes = input.write();
    let path = folder.join(format!("crash-{}", &modelfn_artifact::digest::sha256_hex(&bytes)[..16]));
    std::fs::write(&path, bytes).expect("target/fuzz/ can be written");
    path
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
