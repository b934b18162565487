//! The plan as a table for people, in which each number stands with its formula or source.

use std::fmt;

use super::coefficients::CoefficientSource;
use super::measure::Measurement;
use super::model_size::ModelSize;
use super::queue::{Fleet, ReplicaQueue};
use super::resources::{BURST, Resources};
use super::{Layout, Plan};

/// The widest line of prose.
const WIDTH: usize = 100;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "model", format_args!("{}: {} parameters", self.model, thousands(self.size.parameters)))?;
        size(f, &self.size)?;
        if let Some(measured) = &self.measurement {
            writeln!(f)?;
            measurement(f, measured)?;
        }
        writeln!(f)?;
        self.replica(f)?;
        if let (Some(rate), Some(fleet)) = (self.rate, &self.fleet) {
            writeln!(f)?;
            self.replicas(f, rate, fleet)?;
        }
        writeln!(f)?;
        resources(f, &self.resources)?;
        writeln!(f)?;
        for (n, sentence) in self.advice.iter().enumerate() {
            wrapped(f, if n == 0 { "advice" } else { "" }, sentence)?;
        }
        Ok(())
    }
}

impl Plan {
    fn replica(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { coefficients: c, layout: Layout { instances, batch, utilisation, .. }, .. } = self;
        let source = match c.source {
            CoefficientSource::Measured => "fitted to the measurement",
            CoefficientSource::Static => "of other models; leave --static out to measure yours",
        };
        row(f, "replica", format_args!("{} of the model; coefficients {source}", count(*instances, "instance")))?;
        if let (Some(service), Some(cores), Some(seconds)) = (&self.service, self.cores, c.seconds_per_row) {
            let ReplicaQueue { capacity, .. } = service;
            row(
                f,
                "capacity",
                format_args!(
                    "{capacity:.1} requests/s, of which {utilisation:.0}% are to be used",
                    utilisation = utilisation * 100.0
                ),
            )?;
            row(
                f,
                "cpu",
                format_args!(
                    "{cores:.2} cores when full = α {:.2} × batch {batch} × {:.2} ms × {capacity:.1}/s",
                    c.alpha,
                    seconds * 1e3
                ),
            )?;
        }
        row(
            f,
            "memory",
            format_args!(
                "{} = β {:.2} × {} × {} + γ {}",
                megabytes(self.memory_bytes),
                c.beta,
                count(*instances, "instance"),
                megabytes(self.size.bytes as f64),
                megabytes(c.gamma_bytes)
            ),
        )
    }

    fn replicas(&self, f: &mut fmt::Formatter<'_>, rate: f64, fleet: &Fleet) -> fmt::Result {
        let Fleet { replicas, utilisation, mean_seconds, p99_seconds, in_flight } = fleet;
        let busy = utilisation * 100.0;
        row(f, "replicas", format_args!("{replicas} for {rate} requests/s: each is {busy:.0}% busy"))?;
        if let Some(cores) = self.coefficients.cores(self.layout.batch, rate) {
            row(f, "cpu of all", format_args!("{cores:.2} cores = α × batch × time × {rate}/s"))?;
        }
        let mean = mean_seconds * 1e3;
        row(
            f,
            "latency",
            format_args!(
                "{mean:.1} ms on average, p99 {:.1} ms: computing, and waiting by Erlang's C",
                p99_seconds * 1e3
            ),
        )?;
        row(f, "in flight", format_args!("{in_flight:.1} requests = {rate}/s × {mean:.1} ms (Little's law)"))
    }
}

fn size(f: &mut fmt::Formatter<'_>, size: &ModelSize) -> fmt::Result {
    for (n, group) in size.weights.groups.iter().enumerate() {
        let (name, bits) = (group.element.name, f64::from(group.element.bits));
        let each = format_args!("{} {name} × {} bytes", thousands(group.elements), bits / 8.0);
        row(f, if n == 0 { "weights" } else { "" }, format_args!("{} = {each}", megabytes(group.bytes as f64)))?;
    }
    if size.bytes_as_int8 < size.bytes {
        let (fp16, int8) = (megabytes(size.bytes_as_fp16 as f64), megabytes(size.bytes_as_int8 as f64));
        row(f, "", format_args!("{fp16} if they were FP16, {int8} if they were INT8"))?;
    }
    if size.weights.external_tensors > 0 {
        let external = size.weights.external_tensors;
        row(f, "", format_args!("{external} tensors lie in other files, whose zeros are not counted"))?;
    }
    if size.parameters == 0 {
        return row(f, "weights", format_args!("none were found"));
    }
    row(f, "zeros", format_args!("{:.2}% of the weights", size.sparsity * 100.0))
}

fn measurement(f: &mut fmt::Formatter<'_>, measured: &Measurement) -> fmt::Result {
    row(f, "measured", format_args!("{} on {}", measured.request, count(measured.machine_cores, "core")))?;
    let alone = measured.alone_seconds * 1e3;
    row(
        f,
        "time",
        format_args!(
            "{alone:.2} ms alone; p99 {:.2} ms of {} while each instance has one",
            measured.busy.p99_seconds * 1e3,
            measured.busy.requests
        ),
    )?;
    for (n, layout) in measured.layouts.iter().enumerate() {
        let (instances, threads) = (count(layout.instances, "instance"), count(layout.threads, "thread"));
        let peak = megabytes(layout.peak_bytes);
        let rate = layout.requests_per_second;
        let key = if n == 0 { "layouts" } else { "" };
        row(f, key, format_args!("{instances} of {threads}: {rate:.1} requests/s, peak {peak}"))?;
    }
    for (n, batch) in measured.batches.iter().enumerate() {
        let (rows, rate, each) = (batch.rows, batch.rows_per_second, batch.cpu_seconds * 1e3 / batch.rows as f64);
        let key = if n == 0 { "batches" } else { "" };
        row(f, key, format_args!("{rows}: {rate:.1} rows/s on one instance, {each:.2} ms of CPU a row"))?;
    }
    let peak = megabytes(measured.peak_concurrency_bytes);
    row(f, "concurrency", format_args!("peak {peak} with {} requests at once", measured.peak_concurrency))
}

fn resources(f: &mut fmt::Formatter<'_>, resources: &Resources) -> fmt::Result {
    let cpu = |millis: Option<u64>| millis.map(|millis| format!("cpu {millis}m, ")).unwrap_or_default();
    let Resources { cpu_request_millis, cpu_limit_millis, memory_request_mib, memory_limit_mib, scaling } = resources;
    row(f, "requests", format_args!("{}memory {memory_request_mib}Mi", cpu(*cpu_request_millis)))?;
    row(f, "limits", format_args!("{}memory {memory_limit_mib}Mi", cpu(*cpu_limit_millis)))?;
    let Some(scaling) = scaling else { return row(f, "scaling", format_args!("give --rate for replicas")) };
    row(
        f,
        "scaling",
        format_args!(
            "{} to {} replicas (the rate, {BURST} times the rate), at {}% of the CPU requests",
            scaling.min_replicas, scaling.max_replicas, scaling.cpu_percent
        ),
    )
}

fn row(f: &mut fmt::Formatter<'_>, key: &str, value: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{key:<12} {value}")
}

fn wrapped(f: &mut fmt::Formatter<'_>, key: &str, text: &str) -> fmt::Result {
    let (mut key, mut line) = (key, "-".to_owned());
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH - 13 {
            row(f, key, format_args!("{line}"))?;
            (key, line) = ("", " ".to_owned());
        }
        line = format!("{line} {word}");
    }
    row(f, key, format_args!("{line}"))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn megabytes(bytes: f64) -> String {
    if bytes < 1e5 { format!("{:.1} kB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([1, 999, 1000, 4_652_008].map(thousands), ["1", "999", "1,000", "4,652,008"]);
        assert_eq!([4000.0, 18.6e6].map(megabytes), ["4.0 kB", "18.6 MB"]);
    }
}
