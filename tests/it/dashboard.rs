//! The Grafana dashboard asks for nothing that `/metrics` does not have: each metric and label of each query is looked
//! for on a real server that has had real traffic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{Setup, root};

/// What Prometheus adds when it scrapes.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// One selector of a query: `metric{label=~"value"}`.
#[derive(Debug)]
struct Selector {
    metric: String,
    matchers: Vec<(String, String)>,
}

/// What `/metrics` has: series name to label to values; family to what is said of it.
struct Measured {
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    text: String,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `a="1", b=~"2"` as pairs. No value of ours has a comma or a brace in it.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim_matches(['~', '"']).to_owned())).collect()
}

fn selectors(query: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    for (brace, _) in query.match_indices('{') {
        let start = query[..brace].rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
        let end = brace + query[brace..].find('}').unwrap();
        found.push(Selector { metric: query[start..brace].to_owned(), matchers: pairs(&query[brace + 1..end]) });
    }
    found
}

/// The labels in `by (a, b)`.
fn grouped_by(query: &str) -> BTreeSet<String> {
    let lists = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
    lists.flat_map(|list| list.split(',')).map(|label| label.trim().to_owned()).collect()
}

impl Measured {
    fn parse(text: String) -> Measured {
        let mut series = BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name: String = line.chars().take_while(|c| is_word(*c)).collect();
            let labels =
                line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let known = series.entry(name).or_default();
            for (label, value) in pairs(labels) {
                known.entry(label).or_default().insert(value);
            }
        }
        Measured { series, text }
    }

    fn kind(&self, family: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {family} ")))
    }

    /// The mistakes of a query.
    fn faults(&self, query: &str) -> Vec<String> {
        let selectors = selectors(query);
        let mut faults = Vec::new();
        if selectors.is_empty() {
            faults.push("it selects nothing".to_owned());
        }
        for Selector { metric, matchers } in &selectors {
            let Some(labels) = self.series.get(metric) else {
                faults.push(format!("no {metric}"));
                continue;
            };
            let wanted = matchers.iter().map(|(label, _)| label).chain(&grouped_by(query)).cloned().collect::<Vec<_>>();
            let missing =
                wanted.iter().filter(|label| !SCRAPED.contains(&label.as_str()) && !labels.contains_key(*label));
            faults.extend(missing.map(|label| format!("{metric} has no label {label}")));
            for (label, values) in matchers.iter().filter(|(_, values)| !values.starts_with('$')) {
                let have = labels.get(label).cloned().unwrap_or_default();
                let unknown = values.split('|').filter(|value| !have.contains(*value));
                faults.extend(unknown.map(|value| format!("{metric} has no {label}={value}, but {have:?}")));
            }
            faults.extend(self.described(metric, query));
        }
        faults
    }

    /// Checks that a metric has a help text and a unit, and that the query uses it as its type allows.
    fn described(&self, metric: &str, query: &str) -> Vec<String> {
        let suffixes = ["_total", "_bucket", "_sum", "_count", "_info"];
        let series_of = suffixes.iter().find_map(|suffix| metric.strip_suffix(suffix));
        // A gauge may be called a count.
        let family = series_of.filter(|family| self.kind(family).is_some()).unwrap_or(metric);
        let mut faults = Vec::new();
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{family}: {what}"));
            }
        };
        demand(self.text.contains(&format!("# HELP {family} ")), "no help text");
        for unit in ["seconds", "bytes"] {
            let named = family.ends_with(&format!("_{unit}"));
            demand(named == self.text.contains(&format!("# UNIT {family} {unit}\n")), "name and unit disagree");
        }
        let rated = query.contains(&format!("rate({metric}"));
        demand(rated == matches!(self.kind(family), Some("counter" | "histogram")), "rate is for what only grows");
        faults
    }
}

fn dashboard() -> Value {
    let path = root().join("k8s/grafana/dashboard.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().unwrap();
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

#[tokio::test]
async fn each_query_finds_what_it_asks_for() {
    let setup = Setup::probe("[component.it.tool.modelfn]\nmodels = [\"m\"]");
    let server = setup.fake_model("m", "dtype = \"U8\", shape = [-1, 4]", ("compute = \"echo\"", "")).start();
    server.get("/nn/compute?model=m&input=x&dtype=U8&shape=1,4&bytes=4").await;
    server.get("/v2/models/none").await;
    server.wait_for_in_flight(|n| n < 0.5).await;
    let leaving = server.start_get("/never");
    server.wait_for_in_flight(|n| n > 0.5).await;
    leaving.abort();
    server.wait_for_metric("modelfn_requests_total{function=\"it\",outcome=\"ClientLeft\"}", |n| n > 0.5).await;
    server.wait_for_metric("modelfn_guest_cpu_seconds_count{function=\"it\"}", |n| n > 0.5).await;
    let measured = Measured::parse(server.admin("/metrics").await.text());

    let dashboard = dashboard();
    let mut faults = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let faulty = measured.faults(query);
            faults.extend(faulty.into_iter().map(|fault| format!("{}: {query}: {fault}", panel["title"])));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Each panel has what Grafana 10 needs to draw it, and what a person needs to read it.
#[test]
fn each_panel_has_a_place_a_unit_and_the_data_source_that_is_chosen() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 38);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "instance"]);
    assert_eq!(variables[0]["type"], "datasource");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24 && taken.insert((place("x"), place("y"))), "{title}");
        assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{title}");
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "").replace("$instance", "");
            assert!(!query.contains('$'), "{title}: {query}");
        }
    }
    assert!(ids.len() > 15, "panels are missing");
}

/// Tests the check itself: it finds each kind of mistake.
#[test]
fn a_query_that_asks_for_what_is_not_there_is_found() {
    let text = "# HELP a_seconds Help.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                a_seconds_sum{f=\"x\"} 1\n# TYPE b gauge\nb 1\n";
    let measured = Measured::parse(text.to_owned());
    assert!(measured.faults("sum by (f) (rate(a_seconds_sum{instance=~\"$instance\", f=\"x\"}[1m]))").is_empty());
    for (query, fault) in [
        ("rate(c_total{}[1m])", "no c_total"),
        ("sum by (g) (rate(a_seconds_sum{f=\"x\"}[1m]))", "no label g"),
        ("rate(a_seconds_sum{f=~\"x|y\"}[1m])", "no f=y"),
        ("rate(b{}[1m])", "only grows"),
        ("b{}", "no help text"),
        ("a_seconds_sum{}", "only grows"),
        ("1", "selects nothing"),
    ] {
        let faults = measured.faults(query);
        assert!(faults.iter().any(|found| found.contains(fault)), "{query}: {faults:?}");
    }
}
