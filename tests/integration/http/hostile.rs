//! Requests made to break something: each is refused with its reason, none is a fault of ours, none leaves a trace.

use reqwest::Method;
use tests::{User, World};
use uuid::Uuid;

use super::{assert_problem, head, post_text, raw};

struct Case {
    path: String,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
}

/// What is wrong with any body, around a member that would be fine.
fn broken_json(member: &str) -> Vec<(Vec<u8>, u16, &'static str)> {
    let deep = |depth: usize| format!(r#"{{{member},"metadata":{}1{}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let text = |text: String| text.into_bytes();
    vec![
        (text(format!(r#"{{{member}"#)), 400, "invalid_json"),
        (text(format!(r#"{{{member}}} x"#)), 400, "invalid_json"),
        (text(format!(r#"{{{member},}}"#)), 400, "invalid_json"),
        (text(format!("{{{member},\"metadata\":{{\"a\":\"\0\"}}}}")), 400, "invalid_json"),
        (text(format!("\u{feff}{{{member}}}")), 400, "invalid_json"),
        ([b"{\"metadata\":{\"a\":\"\xff\"},", member.as_bytes(), b"}"].concat(), 400, "invalid_json"),
        ([b"{\"metadata\":{\"a\":\"\xed\xa0\x80\"},", member.as_bytes(), b"}"].concat(), 400, "invalid_json"),
        (text(format!(r#"{{{member},"metadata":{{"a":"\ud800"}}}}"#)), 400, "invalid_json"),
        (text(format!(r#"{{{member},"metadata":{{"\udc00x":1}}}}"#)), 400, "invalid_json"),
        (text(format!(r#"{{{member},"metadata":{{"a":"\u0000"}}}}"#)), 422, "nul_character"),
        (text(format!(r#"{{{member},"metadata":{{"\u0000":1}}}}"#)), 422, "nul_character"),
        (text(deep(64)), 400, "invalid_json"),
        (text(deep(100_000)), 400, "invalid_json"),
        (vec![b'['; 500_000], 400, "invalid_json"),
        (text(format!(r#"{{{member},"metadata":NaN}}"#)), 400, "invalid_json"),
        (text(format!(r#"{{{member},{member}}}"#)), 422, "validation_failed"),
        (text(format!(r#"{{{member},"tenant_id":"{}"}}"#, Uuid::nil())), 422, "validation_failed"),
        (text(format!(r#"{{{member},"__proto__":{{}}}}"#)), 422, "validation_failed"),
        (text(format!(r#"{{{member},"metadata":[]}}"#)), 422, "validation_failed"),
        (text(format!(r#"{{{member},"metadata":"x"}}"#)), 422, "validation_failed"),
        (text(format!("[{{{member}}}]")), 422, "validation_failed"),
        (b"null".to_vec(), 422, "validation_failed"),
        (b"1e400".to_vec(), 422, "validation_failed"),
        (b"[]".to_vec(), 422, "validation_failed"),
        (b"\"x\"".to_vec(), 422, "validation_failed"),
    ]
}

fn cases(session: Uuid) -> Vec<Case> {
    let (sessions, messages) = ("/v1/sessions".to_owned(), format!("/v1/sessions/{session}/messages"));
    let end = format!("/v1/sessions/{session}/end");
    let case = |path: &str, body: &str, status, code| Case { path: path.to_owned(), body: body.into(), status, code };
    let mut cases = Vec::new();
    for (path, member) in [(&sessions, r#""mode":"text""#), (&messages, r#""role":"user","content":"x""#)] {
        let broken = broken_json(member).into_iter();
        cases.extend(broken.map(|(body, status, code)| Case { path: path.clone(), body, status, code }));
    }
    for body in [
        "{}",
        r#"{"mode":null}"#,
        r#"{"mode":"TEXT"}"#,
        r#"{"mode":1}"#,
        r#"{"mode":{"text":null}}"#,
        r#"{"mode":"text","id":"x"}"#,
        r#"{"mode":"text","id":1}"#,
        r#"{"mode":"text","id":[1,2]}"#,
        r#"{"mode":"text","widget_id":""}"#,
        r#"{"mode":"text","started_at":"2020-01-01T00:00:00Z"}"#,
        r#"{"mode":"text","version":9223372036854775808}"#,
        r#"["text"]"#,
    ] {
        cases.push(case(&sessions, body, 422, "validation_failed"));
    }
    for body in [
        r#"{"role":"user"}"#,
        r#"{"content":"x"}"#,
        r#"{"role":"tool","content":"x"}"#,
        r#"{"role":{"user":null},"content":"x"}"#,
        r#"{"role":"user","content":1}"#,
        r#"{"role":"user","content":null}"#,
        r#"{"role":"user","content":["x"]}"#,
        r#"["user","x"]"#,
        r#"{"role":"user","content":"x","attachments":{}}"#,
        r#"{"role":"user","content":"x","attachments":null}"#,
        r#"{"role":"user","content":"x","attachments":[["image","u"]]}"#,
        r#"{"role":"user","content":"x","attachments":[null]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k"}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","extra":1}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","url":"u"}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","size":-1}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","size":1.5}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","size":1e400}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","size":18446744073709551616}]}"#,
        r#"{"role":"user","content":"x","attachments":[{"kind":"k","url":"u","size":"1"}]}"#,
        r#"{"role":"user","content":"x","message_id":"00000000-0000-0000-0000-000000000000"}"#,
    ] {
        cases.push(case(&messages, body, 422, "validation_failed"));
    }
    for (body, status, code) in [
        (r#"{"reason":"x"}"#, 422, "validation_failed"),
        ("[]", 422, "validation_failed"),
        ("null", 422, "validation_failed"),
        ("{", 400, "invalid_json"),
        (" ", 400, "invalid_json"),
    ] {
        cases.push(case(&end, body, status, code));
    }
    cases.push(case(&messages, r#"{"role":"user","content":"\u0000"}"#, 422, "nul_character"));
    cases.push(case(&messages, r#"{"role":"user","content":"\ud83d"}"#, 400, "invalid_json"));
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_refused_with_its_reason_and_leaves_no_trace() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let before = head(&world, user.tenant).await;
    for Case { path, body, status, code } in cases(session) {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let reply = raw(post_text(&user, &path, body)).await.reply();
        assert_eq!((reply.status, reply.code()), (status, code), "{path} {shown}: {}", reply.body);
        assert_problem(&reply, status, code);
        if code == "validation_failed" {
            assert!(reply.body["errors"][0]["pointer"].is_string(), "{shown}: {}", reply.body);
        }
        assert_eq!(head(&world, user.tenant).await, before, "{path} {shown}");
    }
    // Only half of a pair is a half: this is a character.
    let whole = raw(post_text(
        &user,
        &format!("/v1/sessions/{session}/messages"),
        r#"{"role":"user","content":"\ud83d\ude00"}"#,
    ));
    assert_eq!(whole.await.status, 201);
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }
}

async fn garbled(user: &User, session: Uuid, dice: &mut Dice) -> u16 {
    let bodies = [
        (
            format!("/v1/sessions/{session}/messages"),
            r#"{"id":"0193b6c4-8c3a-7d3e-9d5e-2f1a4b5c6d7e","role":"user","content":"ä\u00e4","attachments":[{"kind":"k","url":"u","size":12}],"metadata":{"a":[1,2.5e3,null,true]}}"#,
        ),
        (
            "/v1/sessions".into(),
            r#"{"mode":"text","widget_id":"0193b6c4-8c3a-7d3e-9d5e-2f1a4b5c6d7e","metadata":{"a":{"b":"c"}}}"#,
        ),
        (
            "/v1/auth/login".into(),
            r#"{"email":"a@example.com","password":"nobody guesses","tenant_id":"0193b6c4-8c3a-7d3e-9d5e-2f1a4b5c6d7e"}"#,
        ),
    ];
    let (path, body) = &bodies[dice.roll(bodies.len())];
    let mut body = body.as_bytes().to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(body.len().max(1));
        if body.is_empty() {
            break;
        }
        match dice.roll(4) {
            0 => body[at] = u8::try_from(dice.roll(256)).unwrap(),
            1 => drop(body.remove(at)),
            2 => body.truncate(at.max(1)),
            _ => body.insert(at, b"\"\\{}[]:,0-e.\0\x7f"[dice.roll(14)]),
        }
    }
    let answer = raw(post_text(user, path, body)).await;
    assert!(answer.status < 500, "{path} {}", answer.text);
    if answer.status >= 400 {
        assert_problem(&answer.reply(), answer.status, answer.reply().code());
    }
    answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn garbled_requests_are_never_a_fault_of_ours_and_only_accepted_ones_are_written() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let mut dice = Dice(0x0005_deec_e66d);
    let mut expected = head(&world, user.tenant).await;
    let mut refused = 0;
    for _ in 0..300 {
        match garbled(&user, session, &mut dice).await {
            201 => expected += 1,
            _ => refused += 1,
        }
    }
    assert!(refused > 150, "{refused}");
    assert_eq!(head(&world, user.tenant).await, expected);
    world.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_queries_and_headers_are_refused_and_never_a_fault_of_ours() {
    let world = World::start().await;
    let user = world.tenant().await;
    let session = user.start_session().await;
    let before = head(&world, user.tenant).await;
    for path in [
        "/v1/sessions?status=open%00",
        "/v1/sessions?%00",
        "/v1/sessions?cursor=%ff%fe",
        "/v1/sessions?min_seq=1e400",
        "/v1/sessions?limit=%F0%9F%98%80",
        "/v1/events?after=%00",
        "/v1/events?after=9223372036854775807&limit=200&x",
        "/v1/sessions/%c0%ae%c0%ae/end",
        "/v1/sessions/..%2f..%2fhealth",
        "/v1/sessions/%%",
        "/v1/events?category=session'--",
    ] {
        let reply = user.get(path).await;
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.body);
        assert_problem(&reply, reply.status, reply.code());
    }
    let many: String = (0..500).map(|n| format!("a{n}={n}&")).collect();
    assert_problem(&user.get(&format!("/v1/sessions?{many}")).await, 422, "validation_failed");
    for (name, value) in
        [("if-match", "\u{e4}"), ("idempotency-key", "\u{7f}"), ("traceparent", "garbage"), ("cookie", "sid=1")]
    {
        let request = user.request(Method::POST, &format!("/v1/sessions/{session}/messages"));
        let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes());
        let Ok(value) = value else { continue };
        let reply = raw(request.header(name, value).body("")).await.reply();
        assert!((400..500).contains(&reply.status), "{name}: {}", reply.body);
    }
    assert_eq!(head(&world, user.tenant).await, before);
}
