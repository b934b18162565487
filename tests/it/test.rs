//! `modelfn test`: requests of files, and what is said where a response is not what is expected.

use serde_json::Value;

use crate::functions::run;
use crate::harness::{Scratch, guest};

/// An application of the guest that says hello, with this file of requests.
fn app(requests: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("app/spin.toml", crate::harness::app(&guest("probe"), ""));
    scratch.write("app/models/none", "");
    scratch.write("app/tests/a.toml", requests);
    scratch
}

const GOOD: &str = "[[request]]\npath = \"/hello\"\nexpect.status = 200\nexpect.text = \"hello\"\n\
                    [[request]]\nname = \"no such path\"\npath = \"/nowhere\"\nexpect.status = 404\n";

#[test]
fn requests_that_are_answered_as_expected_pass() {
    let app = app(GOOD);
    let printed = run(app.path(), &["test", "app"]);
    assert_eq!(printed.code, 0, "{printed:?}");
    let lines: Vec<_> = printed.out.lines().collect();
    assert!(lines[0].starts_with("ok      tests/a.toml: GET /hello ("), "{lines:?}");
    assert!(lines[1].starts_with("ok      tests/a.toml: no such path ("), "{lines:?}");
    assert_eq!(lines[2], "2 passed, 0 failed");
}

#[test]
fn a_response_that_is_not_expected_fails_with_the_difference() {
    let app = app(&format!("{GOOD}[[request]]\npath = \"/hello\"\nexpect.status = 201\nexpect.json = {{ a = 1 }}\n"));
    let printed = run(app.path(), &["test", "app"]);
    assert_eq!(printed.code, 1, "{printed:?}");
    for part in [
        "FAILED  tests/a.toml: GET /hello",
        "status: expected 201, got 200",
        "json: the body is no JSON",
        "body: hello",
        "2 passed, 1 failed",
    ] {
        assert!(printed.out.contains(part), "{part}: {}", printed.out);
    }
    let printed = run(&app.path().join("app"), &["test", "--json"]);
    assert_eq!(printed.code, 1, "{printed:?}");
    let results: Value = serde_json::from_str(&printed.out).unwrap();
    let passed: Vec<_> = results.as_array().unwrap().iter().map(|result| result["passed"].as_bool().unwrap()).collect();
    assert_eq!(passed, [true, true, false]);
    assert!(results[2]["differences"][0].as_str().unwrap().starts_with("status: "), "{results}");
}

#[test]
fn what_can_not_be_tested_is_said() {
    for (requests, expected) in [
        ("", "app has no tests/*.toml with a [[request]]"),
        ("[[request]]\npath = \"/\"\nexpect = {}\n", "[[request]] 1: `expect` is empty"),
        ("[[request]]\npath = \"/\"\nfile = \"no-such.png\"\nexpect.status = 200\n", "tests/no-such.png can't be read"),
        ("[[requests]]\n", "unknown field `requests`"),
    ] {
        let app = app(requests);
        let printed = run(app.path(), &["test", "app"]);
        assert_eq!(printed.code, 1, "{printed:?}");
        assert!(printed.error.contains(expected), "{requests}: {}", printed.error);
    }
    let printed = run(std::path::Path::new("/"), &["test", "/no-such-folder"]);
    assert!(printed.code == 1 && printed.error.contains("/no-such-folder is no folder"), "{printed:?}");
}
