//! Forms: bodies of the type `multipart/form-data` (RFC 7578), whose parts are found without copying them.
//!
//! Only the delimiters and the parameters of Content-Type and Content-Disposition are parsed. Nested multiparts and
//! transfer encodings are deliberately not supported: neither browsers nor curl send them.

use memchr::memmem;

use crate::problem::Problem;

/// A part may carry this many header lines; browsers send two.
const MAX_HEADERS: usize = 16;

/// A form that was sent.
#[derive(Debug)]
pub struct Form {
    body: Vec<u8>,
    /// What separates the parts: `--` and the boundary.
    delimiter: String,
}

/// The fields of a form, in their order. Each is an error, 400, where the form is broken or cut off.
#[derive(Debug)]
pub struct Parts<'a> {
    next_delimiter: memmem::Finder<'static>,
    /// What follows the last delimiter that was found; `None` behind the last part.
    rest: Result<Option<&'a [u8]>, Problem>,
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// The field's name; empty where it has none.
    pub name: String,
    /// The name of the file that was chosen, as the client wrote it; never a path to trust.
    pub file_name: Option<String>,
    /// The type that the client declared.
    pub content_type: Option<String>,
    /// The field's bytes.
    pub content: &'a [u8],
}

impl Form {
    /// `content_type` is the request's header, which carries the boundary.
    pub(crate) fn new(body: Vec<u8>, content_type: &str) -> Result<Self, Problem> {
        let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
        let boundary = boundary.ok_or_else(|| {
            Problem::bad_request("the multipart Content-Type has no boundary; let the HTTP client set it")
        })?;
        Ok(Self { body, delimiter: format!("--{boundary}") })
    }

    /// The fields in their order. Nothing follows one that is broken.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            next_delimiter: memmem::Finder::new(format!("\r\n{}", self.delimiter).as_bytes()).into_owned(),
            rest: after_first_delimiter(&self.body, self.delimiter.as_bytes()).map(Some),
        }
    }

    /// The bytes of the first field of that name, which must not be empty.
    ///
    /// # Errors
    ///
    /// 400 for a form that is broken, cut off, lacks the field, or has no file in it.
    pub fn file(&self, name: &str) -> Result<&[u8], Problem> {
        match self.find(name)? {
            Some(Part { content: [], .. }) => {
                Err(Problem::bad_request(format!("the file in the form's field '{name}' is empty; choose another")))
            }
            Some(part) => Ok(part.content),
            None => Err(Problem::bad_request(format!("the form has no field '{name}'; try: curl -F {name}=@FILE URL"))),
        }
    }

    /// The text of the first field of that name; `None` where the form has no such field.
    ///
    /// # Errors
    ///
    /// 400 for a form that is broken or cut off, and for a field that is not UTF-8 text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(part) = self.find(name)? else { return Ok(None) };
        let text = std::str::from_utf8(part.content);
        text.map(Some).map_err(|_| Problem::bad_request(format!("the form's field '{name}' is not UTF-8 text")))
    }

    fn find(&self, name: &str) -> Result<Option<Part<'_>>, Problem> {
        self.parts().find(|part| part.as_ref().map_or(true, |part| part.name == name)).transpose()
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        std::mem::replace(&mut self.rest, Ok(None)).and_then(|rest| self.part(rest)).transpose()
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self, rest: Option<&'a [u8]>) -> Result<Option<Part<'a>>, Problem> {
        let Some((rest, start)) = rest.and_then(|rest| Some((rest, part_start(rest)?))) else { return Ok(None) };
        let end = self.next_delimiter.find(&rest[start..]).map(|length| start + length).ok_or_else(cut_off)?;
        let part = part(&rest[start..end])?;
        self.rest = Ok(Some(&rest[end + self.next_delimiter.needle().len()..]));
        Ok(Some(part))
    }
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

/// A part, of its header lines and its content.
fn part(bytes: &[u8]) -> Result<Part<'_>, Problem> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let Ok(httparse::Status::Complete((length, headers))) = httparse::parse_headers(bytes, &mut headers) else {
        return Err(Problem::bad_request("a part of the form has broken header lines"));
    };
    let header = |name: &str| {
        let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(header.value).into_owned())
    };
    let disposition = header("content-disposition").unwrap_or_default();
    Ok(Part {
        name: parameter(&disposition, "name").unwrap_or_default(),
        file_name: parameter(&disposition, "filename"),
        content_type: header("content-type"),
        content: &bytes[length..],
    })
}

fn cut_off() -> Problem {
    Problem::bad_request("the form is cut off: its closing boundary is missing; send it again")
}

#[cfg(test)]
mod tests;
