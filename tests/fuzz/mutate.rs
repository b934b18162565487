//! Changes to a request: its bytes, its words and its numbers.

use crate::input::Input;
use crate::random::Random;

/// Words that the parsers look for, and numbers at the edges of types.
const WORDS: &[&str] = &[
    "\"inputs\"",
    "\"outputs\"",
    "\"name\"",
    "\"x\"",
    "\"n\"",
    "\"y\"",
    "\"h\"",
    "\"shape\"",
    "\"datatype\"",
    "\"data\"",
    "\"parameters\"",
    "\"binary_data_size\"",
    "\"binary_data\"",
    "\"binary_data_output\"",
    "\"classification\"",
    "\"timeout\"",
    "\"shared_memory_region\"",
    "\"id\"",
    "\"FP16\"",
    "\"BF16\"",
    "\"FP32\"",
    "\"FP64\"",
    "\"UINT8\"",
    "\"INT32\"",
    "\"INT64\"",
    "\"BYTES\"",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    ",",
    ":",
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "-0",
    "0.5",
    "1e5",
    "1e400",
    "-1e-400",
    "255",
    "256",
    "2147483648",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"",
    "\\",
    "\u{e9}",
    "\u{feff}",
    "NaN",
    "-Infinity",
    // Of cards and manifests.
    "=",
    "\n",
    ".",
    "...",
    "/",
    "shape",
    "inputs",
    "route",
    "component",
    "source",
];

/// Lengths that a header may claim.
const LENGTHS: [usize; 6] = [0, 1, 2, 1 << 31, usize::MAX - 1, usize::MAX];

/// Pieces of paths.
const SEGMENTS: &[&str] = &[
    "/v2",
    "/",
    "//",
    "models",
    "m",
    "versions",
    "1",
    "2",
    "infer",
    "ready",
    "stats",
    "health",
    "live",
    "%20",
    "%2f",
    "%ff",
    "%",
    "%e2%82",
    "\u{20ac}",
    "repository/index",
    "-1",
    "18446744073709551616",
];

/// One of `all`, at random.
fn pick<'a, T>(all: &'a [T], random: &mut Random) -> &'a T {
    &all[random.below(all.len())]
}

/// Changes one thing of `input`. Some changes take bytes of `other`.
pub(crate) fn change(input: &mut Input, other: &Input, random: &mut Random) {
    match random.below(16) {
        0 => change_length(input, random),
        1 => change_path(&mut input.path, random),
        _ => change_body(input, other, random),
    }
}

fn change_length(input: &mut Input, random: &mut Random) {
    input.json_length = match random.below(5) {
        0 => None,
        1 => Some(*pick(&LENGTHS, random)),
        2 => Some(input.body.len()),
        3 => Some(random.below(input.body.len() + 2)),
        _ => input.json_length.map(|length| length.wrapping_add(random.below(3)).wrapping_sub(1)),
    };
}

fn change_path(path: &mut String, random: &mut Random) {
    let at = path.floor_char_boundary(random.below(path.len() + 1));
    let end = path.floor_char_boundary((at + random.below(12)).min(path.len()));
    let segment = *pick(SEGMENTS, random);
    path.replace_range(at..end.max(at), segment);
    path.truncate(path.floor_char_boundary(300));
}

/// Changes the body. Where that moves the end of the JSON, the announced length moves with it, most of the time.
fn change_body(input: &mut Input, other: &Input, random: &mut Random) {
    let body = &mut input.body;
    let before = body.len();
    let at = random.below(before + 1);
    let span = random.below(24).min(before - at);
    match random.below(10) {
        0 if before > 0 => body[at.min(before - 1)] ^= 1 << random.below(8),
        1 if before > 0 => body[at.min(before - 1)] = random.below(256).to_le_bytes()[0],
        2 => drop(body.drain(at..at + span)),
        3 => {
            let again = body[at..at + span].repeat(1 + random.below(4));
            body.splice(at..at, again);
        }
        4 => splice(body, (at, span), pick(WORDS, random).as_bytes()),
        5 => splice(body, (at, 0), pick(WORDS, random).as_bytes()),
        6 => replace_number(body, at, random),
        8 => replace_word(body, at, random),
        7 => {
            let from = random.below(other.body.len() + 1);
            let length = random.below(60).min(other.body.len() - from);
            splice(body, (at, span), &other.body[from..from + length]);
        }
        _ => {
            let nested = [b"[".repeat(1 + random.below(200)), b"]".repeat(random.below(200))].concat();
            splice(body, (at, 0), &nested);
        }
    }
    body.truncate(20_000);
    if let Some(length) = input.json_length
        && at <= length
        && random.below(4) > 0
    {
        let moved = body.len() as isize - before as isize;
        input.json_length = length.checked_add_signed(moved);
    }
}

fn splice(body: &mut Vec<u8>, (at, span): (usize, usize), by: &[u8]) {
    body.splice(at..at + span, by.iter().copied());
}

/// Replaces the next string after `at` by another word, so that the rest stays valid.
fn replace_word(body: &mut Vec<u8>, at: usize, random: &mut Random) {
    let quote = |from: usize| body[from..].iter().position(|byte| *byte == b'"').map(|found| from + found);
    let Some(start) = quote(at) else { return };
    let Some(end) = quote(start + 1) else { return };
    splice(body, (start, end + 1 - start), pick(WORDS, random).as_bytes());
}

/// Replaces the next number after `at` by another one, so that the rest stays valid.
fn replace_number(body: &mut Vec<u8>, at: usize, random: &mut Random) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = body[at..].iter().position(is_digit).map(|start| at + start) else { return };
    let length = body[start..].iter().take_while(|byte| is_digit(byte)).count();
    let number = match random.below(3) {
        0 => random.below(20).to_string(),
        1 => (1_u128 << random.below(66)).to_string(),
        _ => (*pick(&LENGTHS, random)).to_string(),
    };
    splice(body, (start, length), number.as_bytes());
}
