//! What one process revokes, another believes for a few seconds at the most, also while NATS is away.

use std::io::Write as _;
use std::time::{Duration, Instant};

use api::tokens::TRUST;

use crate::process::request;
use crate::process::servers::{Client, Process, field};
use crate::process::system::Servers;

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);

fn status(api: &Process, token: &str) -> u16 {
    let answer = request(&api.address, "GET", "/v1/sessions", Some(token), "");
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_revokes_another_refuses_within_the_time_that_it_believes() {
    let mut servers = Servers::start().await;
    assert_eq!(servers.migrate().status().unwrap().code(), Some(0));
    let (here, there) = (Process::start(servers.api()), Process::start(servers.api()));
    let ada = Client::register(&here, "ada");
    let body = r#"{"email":"ada@example.com","password":"correct horse battery"}"#;
    let signed_in = request(&here.address, "POST", "/v1/auth/login", None, body);
    let body = r#"{"name":"Reports","scopes":["read"]}"#;
    let key = request(&here.address, "POST", "/v1/api-keys", Some(&ada.token), body);
    servers.nats.kill().await.unwrap();

    let (token, id) = (field(&signed_in, "access_token"), field(&key, "id"));
    let revoke_key = ("DELETE", format!("/v1/api-keys/{id}"), ada.token.as_str());
    let log_out = ("POST", "/v1/auth/logout".to_owned(), token);
    for (credential, (method, path, by)) in [(field(&key, "key"), revoke_key), (token, log_out)] {
        assert_eq!((status(&here, credential), status(&there, credential)), (200, 200));
        let answer = request(&here.address, method, &path, Some(by), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let revoked = Instant::now();
        assert_eq!(status(&here, credential), 401, "it forgets at once what it has revoked");
        while status(&there, credential) == 200 {
            assert!(revoked.elapsed() < TRUST + SLACK, "{path}: it is believed for too long");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(status(&there, credential), 401);
        writeln!(std::io::stdout(), "{method} {path}: refused elsewhere after {:?}", revoked.elapsed()).unwrap();
    }
    assert_eq!(status(&there, &ada.token), 200);
}
