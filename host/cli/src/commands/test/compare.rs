//! Where a response is not what is expected.

use http::{HeaderMap, StatusCode};
use serde_json::{Number, Value};

use super::request_file::Expectation;

/// The most characters of a body that are shown.
const MAX_SHOWN: usize = 400;

/// The most differences of one body that are told.
const MAX_DIFFERENCES: usize = 20;

/// A response that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A line for each difference, and then the body; nothing where the response is what is expected.
pub(super) fn differences(expect: &Expectation, answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(status) = expect.status.filter(|status| *status != answer.status.as_u16()) {
        found.push(format!("status: expected {status}, got {}", answer.status.as_u16()));
    }
    for (name, value) in &expect.headers {
        let got = answer.headers.get(name).map(|got| String::from_utf8_lossy(got.as_bytes()));
        match got {
            Some(got) if got == value.as_str() => {}
            Some(got) => found.push(format!("header {name}: expected {value:?}, got {got:?}")),
            None => found.push(format!("header {name}: expected {value:?}, there is none")),
        }
    }
    let body = String::from_utf8_lossy(&answer.body);
    if let Some(text) = expect.text.as_ref().filter(|text| !body.contains(text.as_str())) {
        found.push(format!("text: expected {text:?} somewhere in it"));
    }
    if let Some(expected) = &expect.json {
        match serde_json::from_slice(&answer.body) {
            Ok(got) => compare(expected, &got, &Place { path: "json", tolerance: expect.tolerance }, &mut found),
            Err(error) => found.push(format!("json: the body is no JSON: {error}")),
        }
    }
    if !found.is_empty() {
        if found.len() > MAX_DIFFERENCES {
            let more = found.len() - MAX_DIFFERENCES;
            found.truncate(MAX_DIFFERENCES);
            found.push(format!("and {more} more"));
        }
        found.push(format!("body: {}", shortened(body.trim_end())));
    }
    found
}

/// Where two values are compared, and how exactly.
struct Place<'a> {
    path: &'a str,
    tolerance: f64,
}

impl Place<'_> {
    fn compare_below(&self, path: &str, expected: &Value, got: &Value, found: &mut Vec<String>) {
        compare(expected, got, &Place { path, tolerance: self.tolerance }, found);
    }
}

fn compare(expected: &Value, got: &Value, place: &Place<'_>, found: &mut Vec<String>) {
    let path = place.path;
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            for (key, expected) in expected {
                let path = format!("{path}.{key}");
                match got.get(key) {
                    Some(got) => place.compare_below(&path, expected, got, found),
                    None => found.push(format!("{path}: expected {}, there is none", short(expected))),
                }
            }
        }
        (Value::Array(expected), Value::Array(got)) => {
            if expected.len() != got.len() {
                found.push(format!("{path}: expected {} elements, got {}", expected.len(), got.len()));
            }
            for (n, (expected, got)) in expected.iter().zip(got).enumerate() {
                place.compare_below(&format!("{path}[{n}]"), expected, got, found);
            }
        }
        (Value::Number(expected), Value::Number(got)) if are_near(expected, got, place.tolerance) => {}
        (expected, got) if expected == got => {}
        (expected, got) => found.push(format!("{path}: expected {}, got {}", short(expected), short(got))),
    }
}

/// Whether two numbers are equal, or, unless both are integers, nearly so.
fn are_near(expected: &Number, got: &Number, tolerance: f64) -> bool {
    if !expected.is_f64() && !got.is_f64() {
        return expected == got;
    }
    let (Some(expected), Some(got)) = (expected.as_f64(), got.as_f64()) else { return false };
    (expected - got).abs() <= tolerance * expected.abs().max(1.0)
}

fn short(value: &Value) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of_json(expected: Value, got: &Value, tolerance: f64) -> Vec<String> {
        let mut found = Vec::new();
        compare(&expected, got, &Place { path: "json", tolerance }, &mut found);
        found
    }

    #[test]
    fn objects_may_have_more_keys_and_numbers_may_be_near() {
        let got = json!({ "a": 1.00001, "b": [1, 2], "c": { "d": "x", "e": 1 } });
        assert_eq!(of_json(json!({ "a": 1, "c": { "d": "x" } }), &got, 1e-4), [""; 0]);
        assert_eq!(of_json(json!({ "a": 1 }), &got, 1e-6), ["json.a: expected 1, got 1.00001"]);
        assert_eq!(of_json(json!(1_000_000.0), &json!(1_000_050.0), 1e-4), [""; 0], "of the number's own size");
        assert_eq!(of_json(json!(0.0), &json!(0.00005), 1e-4), [""; 0]);
        assert_eq!(of_json(json!(10_000), &json!(10_001), 1e-1).len(), 1, "integers are counts and classes");
    }

    #[test]
    fn each_difference_is_told_with_its_place() {
        let got = json!({ "rows": [{ "label": 1 }, { "label": 2 }], "n": null });
        let found = of_json(json!({ "rows": [{ "label": 1 }, { "label": 3 }, {}], "n": 0, "m": true }), &got, 0.0);
        assert_eq!(
            found,
            [
                "json.m: expected true, there is none",
                "json.n: expected 0, got null",
                "json.rows: expected 3 elements, got 2",
                "json.rows[1].label: expected 3, got 2",
            ]
        );
        assert_eq!(of_json(json!([]), &json!({}), 0.0), ["json: expected [], got {}"]);
        assert_eq!(of_json(json!("1"), &json!(1), 0.0), ["json: expected \"1\", got 1"]);
    }

    #[test]
    fn status_headers_and_text_are_compared_and_the_body_is_shown() {
        let headers = HeaderMap::from_iter([(http::header::ALLOW, http::HeaderValue::from_static("GET"))]);
        let answer = Answer { status: StatusCode::OK, headers, body: "y".repeat(1000).into_bytes() };
        let expectation = |text: &str| toml::from_str::<Expectation>(text).unwrap();
        assert_eq!(differences(&expectation("status = 200\ntext = \"yy\"\nheaders.allow = \"GET\""), &answer), [""; 0]);
        let wrong = "status = 404\ntext = \"z\"\nheaders = { allow = \"PUT\", x = \"\" }\njson = 1";
        let found = differences(&expectation(wrong), &answer);
        let starts = ["status: expected 404, got 200", "header allow: ", "header x: ", "text: ", "json: ", "body: yyy"];
        assert_eq!(found.len(), starts.len(), "{found:?}");
        for (line, start) in found.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        assert!(found[5].chars().count() < 500 && found[5].ends_with('…'));
    }
}
