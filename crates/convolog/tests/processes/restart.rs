//! The end and the return of a process under load, as clients see it who repeat what was not answered.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::process::{Data, Dev};

const CLIENTS: usize = 4;
/// Commands that are answered before the end, and again after the return.
const COMMANDS: usize = 100;
const SESSION: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// One connection that stays open as long as the other side likes.
struct Client<'a> {
    address: &'a str,
    token: &'a str,
    stream: Option<TcpStream>,
}

impl Client<'_> {
    /// Status and body, when there was an answer.
    fn ask(&mut self, request: &str) -> std::io::Result<(u16, String)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address)?,
        };
        stream.write_all(request.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body)?;
        if !head.contains("connection: close") {
            self.stream = Some(stream);
        }
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap()))
    }

    fn get(&mut self, path: &str) -> String {
        let token = self.token;
        let request = format!("GET {path} HTTP/1.1\r\nhost: convolog\r\nauthorization: Bearer {token}\r\n\r\n");
        let (status, body) = self.ask(&request).unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Posts until it is answered with success; a broken connection and 503 are reasons to repeat it, nothing else is.
    fn say(&mut self, key: &str) -> usize {
        let body = format!(r#"{{"role":"user","content":"{key}"}}"#);
        let request = format!(
            "POST /v1/sessions/{SESSION}/messages HTTP/1.1\r\nhost: convolog\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        let begun = Instant::now();
        let mut repeated = 0;
        loop {
            match self.ask(&request) {
                Ok((201, _)) => return repeated,
                Ok((503, _)) | Err(_) => repeated += 1,
                Ok((status, body)) => panic!("{status} {body}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "never answered: {key}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Clients post while `end` ends the process and it is started again where it was; then everything is there once.
fn through_a_restart(end: impl FnOnce(&mut Dev)) {
    let mut data = Data::new();
    let mut dev = data.start();
    let (address, token) = (dev.address().to_owned(), dev.token());
    let started = dev.post("/v1/sessions", Some(&token), &format!(r#"{{"id":"{SESSION}","mode":"text"}}"#));
    assert!(started.starts_with("HTTP/1.1 201"), "{started}");
    let (answered, repeated, enough) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let wait_for = |count: usize| {
        let begun = Instant::now();
        while answered.load(Ordering::Relaxed) < count {
            assert!(begun.elapsed() < Duration::from_secs(120), "the clients do not get on");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let work = |client: usize| {
        let mut said = Vec::new();
        let mut connection = Client { address: &address, token: &token, stream: None };
        while !enough.load(Ordering::Relaxed) {
            let key = format!("{client}-{}", said.len());
            repeated.fetch_add(connection.say(&key), Ordering::Relaxed);
            said.push(key);
            answered.fetch_add(1, Ordering::Relaxed);
        }
        said
    };
    let work = &work;
    let said: Vec<String> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || work(client))).collect();
        wait_for(COMMANDS);
        end(&mut dev);
        let _again = data.start_at(&address);
        wait_for(answered.load(Ordering::Relaxed) + COMMANDS);
        enough.store(true, Ordering::Relaxed);
        let said = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(repeated.load(Ordering::Relaxed) > 0, "nobody has noticed anything");
        assert_once(&mut Client { address: &address, token: &token, stream: None }, &said);
        said
    });
    assert!(said.len() >= 2 * COMMANDS);
}

/// What was said is in the log once, and the log has no gap.
fn assert_once(client: &mut Client<'_>, said: &Vec<String>) {
    let (mut after, mut times) = (0_usize, HashMap::<String, usize>::new());
    loop {
        let page = client.get(&format!("/v1/events?after={after}&limit=200"));
        for event in page.split(r#""specversion""#).skip(1) {
            let sequence = event.split(r#""sequence":""#).nth(1).unwrap().split('"').next().unwrap();
            after += 1;
            assert_eq!(sequence.parse(), Ok(after), "a gap");
            if let Some(content) = event.split(r#""content":""#).nth(1) {
                *times.entry(content.split('"').next().unwrap().to_owned()).or_default() += 1;
            }
        }
        let head = page.rsplit(r#""head":"#).next().unwrap().trim_end_matches('}');
        if head.parse() == Ok(after) {
            break;
        }
    }
    for key in said {
        assert_eq!(times.get(key), Some(&1), "{key}");
    }
}

#[test]
fn commands_with_keys_happen_once_through_an_orderly_restart() {
    through_a_restart(|dev| {
        // Nobody holds it up: one says nothing, one half a head, one half a body.
        let mut slow: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(dev.address()).unwrap()).collect();
        slow[1].write_all(b"GET /v1/sessions HTTP/1.1\r\nhos").unwrap();
        slow[2].write_all(b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{").unwrap();
        dev.signal("-TERM");
        assert_eq!(dev.process.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn commands_with_keys_happen_once_through_a_crash() {
    through_a_restart(|dev| {
        dev.signal("-KILL");
        dev.process.wait().unwrap();
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut data = Data::new();
    let mut dev = data.start();
    // As long as somebody dawdles, the first signal alone takes its grace.
    let mut slow = TcpStream::connect(dev.address()).unwrap();
    slow.write_all(b"GET /v1/sessions HTTP/1.1\r\nhos").unwrap();
    dev.signal("-TERM");
    let begun = Instant::now();
    while TcpStream::connect(dev.address()).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not begin to stop");
        std::thread::sleep(Duration::from_millis(5));
    }
    dev.signal("-INT");
    assert_eq!(dev.process.wait().unwrap().code(), Some(0));
    drop(slow);
}
