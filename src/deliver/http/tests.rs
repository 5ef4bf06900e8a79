//! Posts over real sockets to servers that behave well, behave badly, or do not answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::units::Millis;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Longer than any exchange here takes, and shorter than a person would wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server for one connection: reads the whole request, passes it on, and gives the answer that the test chose.
struct Server {
    address: SocketAddr,
    requests: mpsc::Receiver<String>,
}

impl Server {
    fn new(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            sender.send(request(&stream)).expect("the test waits");
            answer(&mut stream);
        });
        Self { address, requests }
    }

    fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::new(move |stream| stream.write_all(answer.as_bytes()).expect("the client reads"))
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(&format!("http://{}/services/T/B/secret", self.address))
    }

    fn request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }
}

fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if reader.read_line(&mut text).unwrap_or(0) == 0 {
            return text;
        }
    }
    let length = text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).expect("a whole body");
    text + &String::from_utf8(body).expect("UTF-8")
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint { url: url.to_owned(), timeout: Millis::from_secs(15), ca_pem: vec![], proxy: String::new() }
}

fn post(endpoint: &Endpoint) -> Result<Reply, PostError> {
    Client::default().post(endpoint, r#"{"text":"→"}"#)
}

#[test]
fn the_body_arrives_as_json_and_the_answer_comes_back() {
    let server = Server::answering(OK);
    assert_eq!(post(&server.endpoint()), Ok(Reply { status: 200, body: "ok".into(), retry_after: None }));
    let request = server.request();
    assert!(request.starts_with("POST /services/T/B/secret HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"text\":\"→\"}"), "{request}");
    let head = request.to_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json; charset=utf-8\r\n"), "{request}");
    assert!(head.contains(concat!("\r\nuser-agent: poolwatch/", env!("CARGO_PKG_VERSION"), "\r\n")), "{request}");
}

#[test]
fn a_client_posts_again_on_a_new_connection() {
    let client = Client::default();
    let first = Server::answering(OK);
    let second = Server::answering(OK);
    assert!(client.post(&first.endpoint(), "{}").is_ok());
    assert!(client.post(&second.endpoint(), "{}").is_ok());
    // The first server accepted only one connection.
    assert!(client.post(&first.endpoint(), "{}").is_err());
}

#[test]
fn a_refusal_is_an_answer_with_its_body_and_retry_after() {
    let body = r#"{"retry_after":1,"ok":false,"error":"rate_limited"}"#;
    let head = format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: {}\r\n\r\n", body.len());
    let server = Server::answering(head + body);
    let reply = Reply { status: 429, body: body.into(), retry_after: Some("30".into()) };
    assert_eq!(post(&server.endpoint()), Ok(reply));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let location = elsewhere.local_addr().expect("an address");
    for status in [302, 307] {
        let head = format!("HTTP/1.1 {status} Found\r\nLocation: http://{location}/\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(post(&Server::answering(head).endpoint()).map(|reply| reply.status), Ok(status));
    }
    elsewhere.set_nonblocking(true).expect("a socket option");
    assert!(elsewhere.accept().is_err(), "somebody came");
}

#[test]
fn of_an_endless_body_the_beginning_is_read() {
    let server = Server::new(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    assert_eq!(post(&server.endpoint()).map(|reply| reply.body), Ok("x".repeat(4096)));
}

#[test]
fn a_body_that_breaks_off_leaves_the_status_and_what_came() {
    let server = Server::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\nno_service");
    assert_eq!(post(&server.endpoint()).map(|reply| (reply.status, reply.body)), Ok((404, "no_service".into())));
}

#[test]
fn a_port_without_a_listener_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    assert_eq!(post(&endpoint(&format!("http://{address}/"))), Err(PostError::Connect("connection refused".into())));
}

#[test]
fn a_server_that_never_answers_costs_no_more_than_the_timeout() {
    let (done, wait) = mpsc::channel::<()>();
    let server = Server::new(move |_| _ = wait.recv());
    let begun = Instant::now();
    let endpoint = Endpoint { timeout: Millis(100), ..server.endpoint() };
    assert_eq!(post(&endpoint), Err(PostError::TimedOut));
    assert!(begun.elapsed() < PATIENCE / 2);
    drop(done);
}

#[test]
fn what_is_not_http_is_said_to_be_so() {
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let answer = post(&Server::answering(garbage).endpoint());
        assert!(matches!(answer, Err(PostError::Other(_))), "{garbage:?}: {answer:?}");
    }
    let silent = post(&Server::answering("").endpoint());
    assert!(matches!(silent, Err(PostError::Connect(_))), "{silent:?}");
}

#[test]
fn a_huge_header_is_refused() {
    let answer =
        post(&Server::answering(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\nok", "x".repeat(64 * 1024))).endpoint());
    assert!(matches!(answer, Err(PostError::Other(_))), "{answer:?}");
}

#[test]
fn a_server_that_speaks_no_tls_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"220 mail.example ESMTP\r\n").expect("the client reads");
        // Until the client has closed the connection.
        _ = stream.read_to_end(&mut Vec::new());
    });
    let answer = post(&endpoint(&format!("https://{address}/")));
    assert!(matches!(answer, Err(PostError::Tls(_))), "{answer:?}");
}

#[test]
fn a_ca_file_without_a_certificate_is_said_to_be_so() {
    let with = |pem: &[u8]| post(&Endpoint { ca_pem: pem.to_vec(), ..endpoint("https://127.0.0.1:1/") });
    assert_eq!(with(b"hello"), Err(PostError::Tls("ca_file holds no certificate".into())));
    let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert_eq!(with(broken), Err(PostError::Tls("ca_file is not valid PEM".into())));
}

#[test]
fn no_error_holds_the_url() {
    for url in ["http://[secret", "secret", "ftp://127.0.0.1/secret", "http://127.0.0.1:1/secret", "http:///secret", ""]
    {
        let answer = post(&endpoint(url));
        assert!(!format!("{:?}", answer.expect_err(url)).contains("secret"), "{url}");
    }
    let proxied = Endpoint { proxy: "nonsense://secret".into(), ..endpoint("http://127.0.0.1:1/") };
    assert_eq!(post(&proxied), Err(PostError::Other("invalid proxy URL".into())));
}

#[test]
fn a_proxy_is_asked_instead() {
    let proxy = Server::answering(OK);
    let proxied = Endpoint { proxy: format!("http://{}", proxy.address), ..endpoint("http://hooks.invalid/x") };
    let answer = post(&proxied);
    assert!(proxy.request().starts_with("CONNECT hooks.invalid:80 "), "{answer:?}");
}

#[test]
fn shutdown_frees_a_thread_that_waits_and_refuses_the_next() {
    let (done, wait) = mpsc::channel::<()>();
    let server = Server::new(move |_| _ = wait.recv());
    let client = Arc::new(Client::default());
    let (freed, answer) = mpsc::channel();
    let (poster, endpoint) = (Arc::clone(&client), server.endpoint());
    thread::spawn(move || freed.send(poster.post(&endpoint, "{}")));
    server.request();
    let begun = Instant::now();
    client.shutdown();
    assert_eq!(answer.recv_timeout(PATIENCE).expect("freed"), Err(PostError::Exiting));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(client.post(&server.endpoint(), "{}"), Err(PostError::Exiting));
    drop(done);
}

#[test]
fn a_body_that_breaks_off_counts_unless_the_exit_broke_it_off() {
    struct BreaksOff;
    impl Read for BreaksOff {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let body = || Body::builder().reader(b"ok".chain(BreaksOff));
    let client = Client::default();
    assert_eq!(client.read(body()), Ok("ok".to_owned()));
    client.shutdown();
    assert_eq!(client.read(body()), Err(PostError::Exiting));
}
