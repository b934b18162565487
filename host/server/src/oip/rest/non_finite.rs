//! Numbers that JSON has no words for: `NaN`, `Infinity` and `-Infinity`.
//!
//! Triton's clients write them as Python does, without quotes, and read them so. The strings of the same text, which are
//! those of Protocol Buffers (<https://protobuf.dev/programming-guides/json/>), are read here as well.

/// Each word without quotes, and the string that stands for it.
const WORDS: [(&[u8], &str); 5] = [
    (b"NaN", "NaN"),
    (b"Infinity", "Infinity"),
    (b"-Infinity", "-Infinity"),
    // What RapidJSON, and so Triton, takes as well.
    (b"Inf", "Infinity"),
    (b"-Inf", "-Infinity"),
];

/// The number that a string stands for.
pub(super) fn parse(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The word for a number that is not finite.
pub(super) fn word(number: f64) -> &'static str {
    match number {
        number if number.is_nan() => "NaN",
        number if number > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// `json` with quotes around these words; `None` if it has none of them.
pub(super) fn quote(json: &[u8]) -> Option<Vec<u8>> {
    let mut quoted = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_string(json, at),
            b'N' | b'I' | b'-' => match word_at(&json[at..]) {
                Some((length, string)) => {
                    quoted.extend_from_slice(&json[copied..at]);
                    quoted.extend_from_slice(format!("\"{string}\"").as_bytes());
                    at += length;
                    copied = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    if copied == 0 {
        return None;
    }
    quoted.extend_from_slice(&json[copied..]);
    Some(quoted)
}

/// Where the string that begins at `start` is over.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// The word that `json` begins with: its length, and the string that stands for it.
fn word_at(json: &[u8]) -> Option<(usize, &'static str)> {
    WORDS.iter().find_map(|(word, string)| {
        let rest = json.strip_prefix(*word)?;
        rest.first().is_none_or(|next| !next.is_ascii_alphanumeric()).then_some((word.len(), *string))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outside_of_strings_are_quoted() {
        for (json, expected) in [
            ("[NaN,-Infinity, Infinity ]", r#"["NaN","-Infinity", "Infinity" ]"#),
            ("[Inf,-Inf]", r#"["Infinity","-Infinity"]"#),
            ("NaN", r#""NaN""#),
            (r#"{"NaN":NaN,"a\"NaN":1,"b\\":NaN}"#, r#"{"NaN":"NaN","a\"NaN":1,"b\\":"NaN"}"#),
        ] {
            assert_eq!(quote(json.as_bytes()).as_deref(), Some(expected.as_bytes()), "{json}");
        }
        for json in ["", "[1,-2,null]", r#"["NaN"]"#, r#"["NaN"#, r#"["\"#, "[NaNs, Infinit, -In, Nan, --]"] {
            assert_eq!(quote(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn words_and_numbers_are_the_same() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let parsed = parse(word(number)).unwrap();
            assert!(parsed.to_bits() == number.to_bits(), "{number}");
        }
        assert_eq!(parse("nan"), None);
    }
}
