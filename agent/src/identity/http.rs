//! Small documents by plain HTTP, from services of the machine itself. The only place that knows ureq.
//!
//! A server is an address, never a name: no query is sent to find it. No redirect is followed and no proxy of the
//! environment is asked, a call takes a second at most, and an answer is as large as [`MAX_BODY`] at most. Deliberately
//! absent: TLS, and what a document means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

/// The longest that a whole call takes.
const CALL: Duration = Duration::from_secs(1);
/// The largest answer that is read, in octets.
const MAX_BODY: u64 = 1 << 20;
/// Characters of somebody else's text that are shown in a line.
const SHOWN: usize = 80;

/// Why there is no document.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Nobody listens there, or no way leads there.
    #[error("failed to reach {url}: {why}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the kernel said.
        why: io::Error,
    },
    /// The connection was made or not, and then nothing came.
    #[error("{url} did not answer within {} s", CALL.as_secs())]
    TimedOut {
        /// What was asked for.
        url: String,
    },
    /// Another status than 200.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Its status (RFC 9110 section 15).
        status: u16,
    },
    /// The answer is larger than is read.
    #[error("the answer of {url} has more than {} KiB", MAX_BODY / 1024)]
    TooLarge {
        /// What was asked for.
        url: String,
    },
    /// No answer by HTTP, or no text.
    #[error("{url} did not answer as HTTP: {why}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// What was wrong with it.
        why: String,
    },
}

/// A server, to which one connection is kept open between calls that follow one another.
pub struct Server {
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Server {
    /// The server at this address; nothing is sent yet.
    pub fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .http_status_as_error(false)
            .user_agent(concat!("nslookout/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { address, agent: config.new_agent() }
    }

    /// Where a path of it is.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The document at `path`, which begins with a slash.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<String, HttpError> {
        let request = self.agent.get(self.url(path));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.read(path, request.call())
    }

    /// What the server says to an empty PUT.
    pub fn put(&self, path: &str, headers: &[(&str, &str)]) -> Result<String, HttpError> {
        let request = self.agent.put(self.url(path));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.read(path, request.send_empty())
    }

    fn read(
        &self,
        path: &str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, HttpError> {
        let mut answer = answer.map_err(|error| self.error(path, error))?;
        // The body of an error is read too, so that its connection can be used again.
        let text = answer.body_mut().with_config().limit(MAX_BODY).read_to_string();
        match answer.status().as_u16() {
            200 => text.map_err(|error| self.error(path, error)),
            status => Err(HttpError::Status { url: self.url(path), status }),
        }
    }

    fn error(&self, path: &str, error: ureq::Error) -> HttpError {
        let url = self.url(path);
        match error {
            ureq::Error::Timeout(_) => HttpError::TimedOut { url },
            ureq::Error::BodyExceedsLimit(_) => HttpError::TooLarge { url },
            ureq::Error::Io(why) => match why.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => HttpError::TimedOut { url },
                io::ErrorKind::InvalidData => HttpError::Malformed { url, why: "no text".into() },
                io::ErrorKind::UnexpectedEof => HttpError::Malformed { url, why: "cut off".into() },
                _ => HttpError::Unreachable { url, why },
            },
            other => HttpError::Malformed { url, why: shown(&other.to_string()) },
        }
    }
}

/// Somebody else's text as it may stand in a line: on one line, without control characters, not too long.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that reads a request and says `answers` one after another, each on a connection of its own.
    fn server(answers: Vec<Vec<u8>>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut connection, _) = listener.accept().unwrap();
                let _ = connection.read(&mut [0; 2048]);
                // Whoever has read enough hangs up.
                let _ = connection.write_all(&answer);
            }
        });
        Server::new(address)
    }

    fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[track_caller]
    fn check(said: Vec<u8>, expected: &str) {
        let server = server(vec![said]);
        let found = server.get("/a", &[]).map_err(|error| error.to_string());
        let found = found.unwrap_or_else(|error| error).replace(&server.address.to_string(), "S");
        assert_eq!(found, expected);
    }

    #[test]
    fn a_document_is_read() {
        check(answer("200 OK", "", b"eni-1"), "eni-1");
        check(answer("404 Not Found", "", b"<html>"), "http://S/a answered with status 404");
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let elsewhere = answer("302 Found", "location: http://127.0.0.1:1/b\r\n", b"");
        check(elsewhere, "http://S/a answered with status 302");
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        check(
            answer("200 OK", "", &vec![b'x'; (1 << 20) + 1]),
            "the answer of http://S/a has more than 1024 KiB",
        );
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 3 << 20]].concat();
        check(endless, "the answer of http://S/a has more than 1024 KiB");
        for (said, begin) in [
            (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "http://S/a did not answer as HTTP"),
            (b"", ""),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", ""),
        ] {
            let server = server(vec![said.to_vec()]);
            let error = server.get("/a", &[]).unwrap_err().to_string();
            let error = error.replace(&server.address.to_string(), "S");
            assert!(error.starts_with(begin) && error.contains("http://S/a"), "{error}");
        }
    }

    #[test]
    fn nobody_and_silence_are_told_apart() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Server::new(closed).get("/a", &[]).unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = Server::new(silent.local_addr().unwrap()).put("/a", &[]).unwrap_err();
        assert!(matches!(error, HttpError::TimedOut { .. }), "{error}");
        assert!(error.to_string().ends_with("did not answer within 1 s"), "{error}");
    }

    #[test]
    fn a_foreign_text_is_one_short_line() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), SHOWN + 1);
    }
}
