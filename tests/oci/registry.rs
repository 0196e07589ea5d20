//! A registry that does what a test tells it: one thread for each connection, one request on each.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::image::Image;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    /// What came with it.
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Where the range begins that is asked for.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// What happens after the last byte that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Close,
    Reset,
    /// Nothing until the client goes.
    Stall,
    /// The body again and again, until the client goes.
    Repeat,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub then: Then,
    /// Said in Content-Length, if anything.
    pub length: Option<usize>,
    pub chunked: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref().to_vec();
        let length = Some(body.len());
        Reply { status, headers: Vec::new(), body, then: Then::Close, length, chunked: false }
    }

    pub fn ok(body: impl AsRef<[u8]>) -> Reply {
        Reply::new(200, body)
    }

    pub fn redirect(to: &str) -> Reply {
        Reply::new(307, "").with("Location", to)
    }

    pub fn unauthorized(challenge: &str) -> Reply {
        Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#).with("WWW-Authenticate", challenge)
    }

    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn then(self, then: Then) -> Reply {
        Reply { then, ..self }
    }

    pub fn length(self, length: Option<usize>) -> Reply {
        Reply { length, ..self }
    }

    /// Send only the first bytes, whatever is said about the length.
    pub fn cut(mut self, at: usize) -> Reply {
        self.body.truncate(at);
        self
    }

    pub fn chunked(self) -> Reply {
        Reply { chunked: true, length: None, ..self }
    }

    /// The part of the body that a range asks for.
    pub fn ranged(self, request: &Request) -> Reply {
        match request.from() {
            Some(from) if self.status == 200 && from < self.body.len() => {
                let range = format!("bytes {from}-{}/{}", self.body.len() - 1, self.body.len());
                Reply { headers: self.headers, ..Reply::new(206, &self.body[from..]) }.with("Content-Range", &range)
            }
            _ => self,
        }
    }

    fn send(&self, stream: &mut TcpStream, without_body: bool) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = self.length {
            head += &format!("Content-Length: {length}\r\n");
        }
        if self.chunked {
            head += "Transfer-Encoding: chunked\r\n";
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if without_body {
            return stream.flush();
        }
        loop {
            self.send_body(stream)?;
            if self.then != Then::Repeat {
                break;
            }
        }
        if self.chunked {
            stream.write_all(b"0\r\n\r\n")?;
        }
        stream.flush()?;
        match self.then {
            Then::Reset => rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?,
            Then::Stall => drop(std::io::copy(stream, &mut std::io::sink())),
            _ => {}
        }
        Ok(())
    }

    fn send_body(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        if !self.chunked {
            return stream.write_all(&self.body);
        }
        for chunk in self.body.chunks(10_000) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            stream.write_all(chunk)?;
            stream.write_all(b"\r\n")?;
        }
        Ok(())
    }
}

type Answer = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// A registry on a port of its own, and what it was asked.
pub struct Registry {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Registry {
    /// An honest one.
    pub fn of(image: &Image) -> Registry {
        Registry::start(image.content(), |_| None)
    }

    /// One whose `answer` comes before its content.
    pub fn with(image: &Image, answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Registry {
        Registry::start(image.content(), answer)
    }

    pub fn start(
        content: Vec<(String, Reply)>,
        answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Registry {
        Registry::on(Ipv4Addr::LOCALHOST.into(), content, answer)
    }

    pub fn on(
        address: IpAddr,
        content: Vec<(String, Reply)>,
        answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Registry {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, content): (Arc<Answer>, _) = (Arc::new(answer), Arc::new(content));
        let served = log.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, content, log) = (answer.clone(), content.clone(), served.clone());
                std::thread::spawn(move || serve(stream, &*answer, &content, &log));
            }
        });
        Registry { address, log }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn name(&self) -> String {
        format!("{}/test", self.host())
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Where the ranges began that were asked of a blob.
    pub fn ranges(&self, blob: &[u8]) -> Vec<Option<usize>> {
        let digest = crate::content::digest(blob);
        self.asked().iter().filter(|request| request.path.ends_with(&digest)).map(Request::from).collect()
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, content: &[(String, Reply)], log: &Mutex<Vec<Request>>) {
    let Some(request) = read(&stream) else { return };
    log.lock().unwrap().push(request.clone());
    let known = || content.iter().find(|(path, _)| *path == request.path).map(|(_, reply)| reply.clone());
    let reply = answer(&request).or_else(|| known().map(|reply| reply.ranged(&request)));
    let ping = || if request.path == "/v2/" { Reply::ok("{}") } else { Reply::new(404, "{}") };
    // A client that has seen enough closes the connection.
    let _ = reply.unwrap_or_else(ping).send(&mut stream, request.method == "HEAD");
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.take(256 << 20));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut request = Request { method, path, headers: Vec::new(), body: Vec::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => request.headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
