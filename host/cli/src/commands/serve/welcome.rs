//! What a server says once it serves: which models there are, and where people look first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use modelfn_nn::registry::ModelReport;
use modelfn_server::loader::Entrance;

use crate::aligned;
use crate::log::{self, LogFormat};

/// The widest column of inputs or outputs, in characters; longer texts are cut.
const MAX_COLUMN: usize = 48;

/// Host and port for a client on this machine.
pub(super) fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port()).to_string()
}

/// Logs a line for each model: aligned for people, with fields for programs.
pub(super) fn show_models(reports: &[ModelReport]) {
    if log::format() == LogFormat::Human {
        table(reports).iter().for_each(|line| tracing::info!("{line}"));
        return;
    }
    for report in reports {
        let ModelReport { name, version, inputs, outputs, memory_bytes, state } = report;
        tracing::info!(model = name, version, inputs, outputs, memory_bytes, state, "model {name}: {state}");
    }
}

/// Logs where people look first. Programs know it.
pub(super) fn show_entrances(entrances: &[Entrance]) {
    if log::format() == LogFormat::Human {
        entrances.iter().for_each(|Entrance { what, how }| tracing::info!("{what:<8} {how}"));
    }
}

/// The lines of a table with a head, whose columns are as wide as their longest text.
fn table(reports: &[ModelReport]) -> Vec<String> {
    let head = ["MODEL", "VERSION", "INPUTS", "OUTPUTS", "MEMORY", "STATE"].map(str::to_owned);
    let rows = reports.iter().map(|report| {
        let memory =
            if report.memory_bytes == 0 { String::new() } else { format!("{} MiB", report.memory_bytes >> 20) };
        [
            report.name.clone(),
            report.version.map(|version| version.to_string()).unwrap_or_default(),
            shortened(&report.inputs),
            shortened(&report.outputs),
            memory,
            report.state.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = [head].into_iter().chain(rows).collect();
    aligned(&rows)
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_COLUMN {
        return text.to_owned();
    }
    text.chars().take(MAX_COLUMN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, inputs: &str, state: &str) -> ModelReport {
        let (inputs, state) = (inputs.to_owned(), state.to_owned());
        ModelReport {
            name: name.to_owned(),
            version: Some(1),
            inputs,
            outputs: String::new(),
            memory_bytes: 3 << 20,
            state,
        }
    }

    #[test]
    fn the_table_is_aligned_and_long_cells_are_cut() {
        let lines = table(&[report("a", &"x".repeat(60), "served"), report("longer", "é", "left out: why")]);
        assert_eq!(lines.len(), 3);
        let column = |line: &str, word: &str| line[..line.find(word).unwrap()].chars().count();
        assert_eq!(column(&lines[1], "served"), column(&lines[2], "left out"));
        assert_eq!(column(&lines[0], "STATE"), column(&lines[1], "served"));
        assert!(lines[1].contains("xxx…") && lines[1].contains("3 MiB"), "{lines:?}");
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_this_one() {
        let reach = |address: &str| reachable(address.parse().unwrap());
        assert_eq!(reach("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reach("[::]:80"), "[::1]:80");
        assert_eq!(reach("10.0.0.1:80"), "10.0.0.1:80");
    }
}
