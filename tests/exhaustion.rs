//! Thousands of posts that fail in every way leave nothing behind: no descriptor, no thread, no growing memory. This is
//! a program of its own, because it counts what the whole process holds.

#![expect(clippy::disallowed_methods, reason = "a real socket, and a thread that waits")]

mod memory;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use memory::resident;
use ngx_http_poolwatch_module::config::receiver::Endpoint;
use ngx_http_poolwatch_module::deliver::Post;
use ngx_http_poolwatch_module::deliver::http::Client;
use ngx_http_poolwatch_module::units::Millis;

/// Posts to each endpoint.
const POSTS: usize = 500;

/// Pages of memory that an allocator may keep: 8 MiB.
const PAGES: usize = 2048;

/// A server that gives this answer to each connection, one after the other.
fn server(answer: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || listener.incoming().flatten().for_each(|mut stream| answer(&mut stream)));
    address.to_string()
}

fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(1..) => request.extend_from_slice(&piece),
            _ => return,
        }
    }
}

/// Waits until the client has closed the connection.
fn wait(stream: &mut TcpStream) {
    _ = stream.read_to_end(&mut Vec::new());
}

#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
}

fn held() -> Held {
    let count = |folder| std::fs::read_dir(folder).expect("a folder of procfs").count();
    Held { descriptors: count("/proc/self/fd"), threads: count("/proc/self/task") }
}

#[test]
fn failed_posts_leave_nothing_behind() {
    let refused = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").to_string();
    let never = server(wait);
    let closes = server(|_| {});
    let garbage = server(|stream| {
        read_request(stream);
        _ = stream.write_all(b"\0\x01garbage\r\n\r\n");
    });
    let endless = server(|stream| {
        read_request(stream);
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    let mail = server(|stream| {
        _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        wait(stream);
    });
    let endpoint = |scheme: &str, address: &str| Endpoint {
        url: format!("{scheme}://{address}/services/T/B/secret"),
        timeout: Millis(if address == never { 5 } else { 2000 }),
        ca_pem: vec![],
        proxy: String::new(),
    };
    let endpoints = [
        endpoint("http", &refused),
        endpoint("http", &never),
        endpoint("http", &closes),
        endpoint("http", &garbage),
        endpoint("http", &endless),
        endpoint("https", &mail),
    ];
    let client = Client::default();
    let post_all = |times: usize| {
        for _ in 0..times {
            for endpoint in &endpoints {
                let is_endless = endpoint.url.contains(&endless);
                assert_eq!(client.post(endpoint, "{}").is_ok(), is_endless, "{endpoint}");
            }
        }
    };
    // The first posts allocate what is kept: agents, roots, arenas.
    post_all(20);
    let (before, pages) = (held(), resident());
    post_all(POSTS);
    // The servers' ends of the connections take a moment to close.
    let is_calm = || held().descriptors <= before.descriptors && held().threads <= before.threads;
    for _ in 0..1000 {
        if is_calm() {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(is_calm(), "{before:?} -> {:?}", held());
    assert!(resident() < pages + PAGES, "{pages} -> {} pages", resident());
}
