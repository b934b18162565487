//! Finds one part of a `multipart/form-data` body (RFC 7578) without copying it.
//!
//! Only the delimiters and the parameters of Content-Type and Content-Disposition are parsed. Nested multiparts and
//! transfer encodings are deliberately not supported: neither browsers nor curl send them.

use memchr::memmem;

use crate::problem::Problem;

/// A part may carry this many header lines; browsers send two.
const MAX_HEADERS: usize = 16;

/// The bytes of the first part named `name`.
///
/// `content_type` is the request's header, which carries the boundary.
///
/// # Errors
///
/// 400 where the form is broken, cut off, or has no such part.
pub(crate) fn part<'a>(body: &'a [u8], content_type: &str, name: &str) -> Result<&'a [u8], Problem> {
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty()).ok_or_else(|| {
        Problem::bad_request("the multipart Content-Type has no boundary; let the HTTP client set it")
    })?;
    let delimiter = format!("--{boundary}");
    let mut rest = after_first_delimiter(body, delimiter.as_bytes())?;
    let next = format!("\r\n{delimiter}");
    let next = memmem::Finder::new(next.as_bytes());
    while let Some(start) = part_start(rest) {
        let end = next.find(&rest[start..]).map(|length| start + length).ok_or_else(cut_off)?;
        let (part_name, content) = split_headers(&rest[start..end])?;
        if part_name == name {
            return Ok(content);
        }
        rest = &rest[end + next.needle().len()..];
    }
    Err(Problem::bad_request(format!("the form has no field '{name}'; try: curl -F {name}=@cat.jpg URL")))
}

/// The value of a parameter such as `boundary` in `multipart/form-data; boundary=x`.
///
/// Quoted strings are parsed, so a file called `a; name="b"` does not add a parameter.
pub(crate) fn parameter(header: &str, name: &str) -> Option<String> {
    let (_, mut rest) = header.split_once(';')?;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        (_, rest) = after.split_once(';')?;
    }
}

/// Splits off a token or a quoted string, and returns its value and the text that follows.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(char),
        }
    }
    (value, "")
}

/// The body behind its first delimiter. A preamble before it is allowed (RFC 2046, section 5.1.1).
fn after_first_delimiter<'a>(body: &'a [u8], delimiter: &[u8]) -> Result<&'a [u8], Problem> {
    memmem::find_iter(body, delimiter)
        .find(|&at| at == 0 || body[..at].ends_with(b"\r\n"))
        .map(|at| &body[at + delimiter.len()..])
        .ok_or_else(|| Problem::bad_request("the form does not hold the boundary that its Content-Type names"))
}

/// Where a part begins behind its delimiter; `None` behind the closing one.
fn part_start(after_delimiter: &[u8]) -> Option<usize> {
    let line = memmem::find(after_delimiter, b"\r\n")?;
    (!after_delimiter.starts_with(b"--")).then_some(line + 2)
}

/// The part's name ("" where it has none) and its content.
fn split_headers(part: &[u8]) -> Result<(String, &[u8]), Problem> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(part, &mut headers) {
        Ok(httparse::Status::Complete((length, headers))) => {
            let disposition = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-disposition"));
            let name = disposition
                .and_then(|header| parameter(&String::from_utf8_lossy(header.value), "name"))
                .unwrap_or_default();
            Ok((name, &part[length..]))
        }
        _ => Err(Problem::bad_request("a part of the form has broken header lines")),
    }
}

fn cut_off() -> Problem {
    Problem::bad_request("the form is cut off: its closing boundary is missing; send it again")
}

#[cfg(test)]
mod tests;
