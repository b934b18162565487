//! An HTTP/1.1 client on one kept-alive connection, for one request at a time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HOST, HeaderName};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// The longest that a connection or a whole response may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most characters of an error response that are quoted.
const MAX_QUOTE: usize = 300;

/// The header of the Open Inference Protocol that says where the JSON ends and the binary tensors begin.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// A request that can be sent as often as wanted: clones share the body.
pub(super) type Request = http::Request<Full<Bytes>>;

/// `GET path`.
pub(super) fn get(path: &str) -> http::Result<Request> {
    http::Request::get(path).header(HOST, "localhost").body(Full::default())
}

/// `POST path` with a body.
pub(super) fn post(path: &str, body: Vec<u8>) -> http::Result<Request> {
    http::Request::post(path).header(HOST, "localhost").body(Full::from(body))
}

/// `POST path` with JSON of `json_length` bytes and binary tensors behind it.
pub(super) fn post_tensors(path: &str, body: Vec<u8>, json_length: usize) -> http::Result<Request> {
    let mut request = post(path, body)?;
    request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/octet-stream"));
    request.headers_mut().insert(JSON_LENGTH, json_length.into());
    Ok(request)
}

/// A runtime of one thread, which all clients of a load share.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// One connection. It is kept alive between requests.
pub(super) struct Client(SendRequest<Full<Bytes>>);

impl Client {
    /// Connects to a server. Must be called on a runtime, which drives the connection.
    ///
    /// # Errors
    ///
    /// The server is not there, or does not accept in time.
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Client> {
        within_timeout(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            // Its end, with or without an error, is the error of the request that it interrupts.
            tokio::spawn(connection);
            Ok(Client(sender))
        })
        .await
    }

    /// Sends a request and reads the response's body to its end.
    ///
    /// # Errors
    ///
    /// The connection broke, the response took too long, or its status is not 200: then with its beginning.
    pub(super) async fn send(&mut self, request: &Request) -> io::Result<Bytes> {
        let (status, body) = within_timeout(async {
            self.0.ready().await.map_err(io::Error::other)?;
            let response = self.0.send_request(request.clone()).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(io::Error::other)?;
            Ok((status, body.to_bytes()))
        })
        .await?;
        if status != StatusCode::OK {
            let text: String = String::from_utf8_lossy(&body).trim().chars().take(MAX_QUOTE).collect();
            return Err(io::Error::other(format!("the server answered {}: {text}", status.as_u16())));
        }
        Ok(body)
    }
}

async fn within_timeout<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(RESPONSE_TIMEOUT, work)
        .await
        .unwrap_or_else(|elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Sends one request for each of `responses`, all on one connection, to a server that gives these bytes and then
    /// closes the connection.
    fn send_each(responses: Vec<Vec<u8>>) -> io::Result<Vec<Bytes>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let count = responses.len();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            for response in responses {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                assert!(head.starts_with(b"GET /x HTTP/1.1\r\nhost: localhost\r\n"), "{head:?}");
                stream.write_all(&response).unwrap();
            }
        });
        let bodies = runtime().unwrap().block_on(async {
            let mut client = Client::connect(address).await?;
            let mut bodies = Vec::new();
            for _ in 0..count {
                bodies.push(client.send(&get("/x").unwrap()).await?);
            }
            Ok(bodies)
        });
        server.join().unwrap();
        bodies
    }

    #[test]
    fn a_connection_is_kept_alive_whatever_the_framing_of_its_responses() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\nhi".to_vec();
        let chunked =
            b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nA;x\r\n0123456789\r\n0\r\n\r\n".to_vec();
        let bodies = send_each(vec![plain.clone(), chunked, plain]).unwrap();
        assert_eq!(bodies, ["hi", "hi0123456789", "hi"]);
    }

    #[test]
    fn a_status_other_than_200_is_an_error_that_quotes_the_body() {
        let error = send_each(vec![b"HTTP/1.1 503 x\r\nContent-Length: 5\r\n\r\nbusy\n".to_vec()]).unwrap_err();
        assert_eq!(error.to_string(), "the server answered 503: busy");
        let error = send_each(vec![b"HTTP/1.1 204 x\r\n\r\n".to_vec()]).unwrap_err();
        assert_eq!(error.to_string(), "the server answered 204: ");
    }

    #[test]
    fn responses_that_break_off_are_errors() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        for length in 0..whole.len() {
            assert!(send_each(vec![whole[..length].to_vec()]).is_err(), "{length}");
        }
        assert!(send_each(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi".to_vec()]).is_err());
        assert!(send_each(vec![vec![b'x'; 1 << 16]]).is_err());
    }
}
