//! Explains why the engine does not load a graph, where a remedy is known.

use std::path::Path;

use super::protobuf::{Fields, Malformed, Value};

/// What a model's file says that it needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    ir_version: u64,
    /// The version of ONNX's own operators.
    opset: u64,
}

/// The engine's message of a graph that it refused, with the remedy where there is one.
pub(super) fn explain(message: &str, graph: &[u8], library: Option<&Path>) -> String {
    let is_newer =
        message.contains("Unsupported model IR version") || message.contains("under development and support");
    if is_newer {
        let Needs { ir_version, opset } = needs(graph).unwrap_or_default();
        let engine = library.and_then(Path::file_name).map_or("the engine".into(), |name| name.to_string_lossy());
        return format!(
            "it needs IR version {ir_version} and opset {opset}, which are newer than what {engine} knows{}; use a newer \
             one, `pip install --upgrade onnxruntime` or --onnxruntime, or export the model again for an older opset",
            known(message).unwrap_or_default()
        );
    }
    if message.contains("is not a registered function/op") {
        return format!("{message}; export the model with ONNX's own operators, since others are not loaded");
    }
    message.to_owned()
}

/// What the engine says that it knows.
fn known(message: &str) -> Option<String> {
    let number = |after: &str| {
        let (_, rest) = message.split_once(after)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(digits).filter(|digits| !digits.is_empty())
    };
    let ir_version = number("max supported IR version: ").map(|n| format!(" (IR version up to {n})"));
    ir_version.or_else(|| number("is till opset ").map(|n| format!(" (opset up to {n})")))
}

fn needs(graph: &[u8]) -> Result<Needs, Malformed> {
    let mut needs = Needs::default();
    for field in Fields::new(graph) {
        match field? {
            (1, Value::Varint(version)) => needs.ir_version = version,
            (8, Value::Bytes(opset)) => {
                let (mut domain, mut version) = (&b""[..], 0);
                for field in Fields::new(opset) {
                    match field? {
                        (1, Value::Bytes(name)) => domain = name,
                        (2, Value::Varint(number)) => version = number,
                        _ => {}
                    }
                }
                if matches!(domain, b"" | b"ai.onnx") {
                    needs.opset = version;
                }
            }
            _ => {}
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IR version 14, ONNX's opset 27, and version 3 of another domain.
    const FILE: &[u8] = b"\x08\x0e\x42\x02\x10\x1b\x42\x05\x0a\x01m\x10\x03";

    #[test]
    fn a_newer_model_is_told_what_it_needs_and_what_to_do() {
        let library = Path::new("/lib/libonnxruntime.so.1.24.4");
        // Messages of ONNX Runtime 1.24.4.
        for (message, known) in [
            ("model.cc:181 Unsupported model IR version: 14, max supported IR version: 13\n", "(IR version up to 13)"),
            (
                "Opset 27 is under development and support for this is limited. The operator schemas and or other \
                 functionality may change before next ONNX release and in this case ONNX Runtime will not guarantee \
                 backward compatibility. Current official support for domain ai.onnx is till opset 25.",
                "(opset up to 25)",
            ),
        ] {
            let said = explain(message, FILE, Some(library));
            for part in ["IR version 14 and opset 27", "libonnxruntime.so.1.24.4", known, "--onnxruntime"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }

    #[test]
    fn other_messages_stay() {
        assert_eq!(explain("no such axis", FILE, None), "no such axis");
        let unknown = "Fatal error: my.ops:Foo(-1) is not a registered function/op";
        assert!(explain(unknown, FILE, None).contains("with ONNX's own operators"));
    }
}
