//! A client that keeps one connection busy: one HTTP/1.1 request after the other, on a socket of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A request, ready to be sent as often as wanted.
#[derive(Clone, Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// `POST path` with further header lines (each ends with CR LF) and a body.
    pub(super) fn post(path: &str, headers: &str, body: &[u8]) -> Request {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n");
        Request([head.as_bytes(), body].concat())
    }

    /// `GET path`.
    pub(super) fn get(path: &str) -> Request {
        Request(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes())
    }
}

/// One connection.
pub(super) struct Client(BufReader<TcpStream>);

impl Client {
    pub(super) fn connect(address: SocketAddr, patience: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Sends a request and reads the answer's body to its end.
    ///
    /// # Errors
    ///
    /// The connection, or an answer that is not 200, with its beginning.
    pub(super) fn send(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        self.0.get_mut().write_all(&request.0)?;
        let (status, body) = read_answer(&mut self.0)?;
        if status != 200 {
            let text: String = String::from_utf8_lossy(&body).trim().chars().take(300).collect();
            return Err(io::Error::other(format!("the server answered {status}: {text}")));
        }
        Ok(body)
    }
}

fn read_answer(stream: &mut impl BufRead) -> io::Result<(u16, Vec<u8>)> {
    let line = read_line(stream)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {line:?}")))?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = read_line(stream)?.to_ascii_lowercase();
        match line.split_once(':').map(|(name, value)| (name, value.trim())) {
            _ if line.is_empty() => break,
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", "chunked")) => chunked = true,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if !chunked {
        read_exactly(stream, length, &mut body)?;
        return Ok((status, body));
    }
    loop {
        let line = read_line(stream)?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or(""), 16).map_err(io::Error::other)?;
        read_exactly(stream, size, &mut body)?;
        read_line(stream)?;
        if size == 0 {
            return Ok((status, body));
        }
    }
}

fn read_exactly(stream: &mut impl BufRead, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let read = stream.take(length).read_to_end(into)? as u64;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    // A line is short; a server that sends none may not fill the memory.
    stream.take(16 << 10).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<(u16, String, usize)> {
        let (status, body) = read_answer(&mut bytes)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned(), bytes.len()))
    }

    #[test]
    fn answers_end_where_they_say() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\nhiHTTP";
        assert_eq!(read(plain).unwrap(), (200, "hi".to_owned(), 4));
        let chunked = b"HTTP/1.1 503 x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nA;x\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap(), (503, "hi0123456789".to_owned(), 0));
        assert_eq!(read(b"HTTP/1.1 204 x\r\n\r\n").unwrap(), (204, String::new(), 0));
    }

    #[test]
    fn answers_that_break_off_are_errors() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        assert!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi").is_err());
        assert!(read(&[b'x'; 1 << 20]).is_err());
    }
}
