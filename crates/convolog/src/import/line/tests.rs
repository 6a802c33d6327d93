//! What a line may look like, and what is said about one that may not.

use domain::session::{MAX_ATTACHMENTS, MAX_CONTENT, MAX_METADATA, Mode, Role};

use super::*;

/// A line with these messages and these other fields.
fn line(messages: &str, rest: &str) -> String {
    format!(r#"{{"messages":[{messages}]{rest}}}"#)
}

const HELLO: &str = r#"{"role":"user","content":"Hello"}"#;

fn good(text: &str) -> Conversation {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn bad(text: impl AsRef<[u8]>) -> (&'static str, String, String) {
    let error = parse(text.as_ref()).unwrap_err();
    (error.code, error.pointer, error.detail)
}

/// Code and pointer.
fn place(text: impl AsRef<[u8]>) -> (&'static str, String) {
    let (code, pointer, _) = bad(text);
    (code, pointer)
}

fn left_out(conversation: &Conversation) -> Vec<(&str, u64)> {
    conversation.left_out.iter().collect()
}

#[test]
fn a_line_needs_nothing_but_messages() {
    let conversation = good(&line(HELLO, ""));
    assert_eq!((conversation.mode, conversation.created, conversation.ended), (Mode::Text, None, None));
    let said: Vec<_> = conversation.messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    assert_eq!(said, [(Role::User, "Hello")]);
    assert_eq!(left_out(&conversation), []);
}

#[test]
fn a_line_may_say_all_that_a_session_has() {
    let text = line(
        r#"{"role":"assistant","content":"Hi","created":"2026-01-02T03:04:06Z","metadata":{"latency_ms":8},
            "attachments":[{"kind":"file","url":"https://example.com/a"}]}"#,
        r#","id":"x","created":"2026-01-02T04:04:05+01:00","ended":1767323047,"model":"m","mode":"meeting",
           "metadata":{"b":1,"a":1e400},"meeting_id":"00000000-0000-0000-0000-000000000001""#,
    );
    let conversation = good(&text);
    assert_eq!(conversation.identity, "id/x");
    assert_eq!(conversation.created.unwrap().to_rfc3339(), "2026-01-02T03:04:05+00:00");
    assert_eq!(conversation.ended.unwrap().to_rfc3339(), "2026-01-02T03:04:07+00:00");
    assert_eq!((conversation.mode, conversation.meeting_id), (Mode::Meeting, Some(Uuid::from_u128(1))));
    assert_eq!(conversation.metadata.unwrap().as_str(), r#"{"b":1,"a":1e400}"#);
    let message = &conversation.messages[0];
    assert_eq!(message.created.unwrap().to_rfc3339(), "2026-01-02T03:04:06+00:00");
    assert_eq!(message.metadata.as_ref().unwrap().as_str(), r#"{"model":"m","latency_ms":8}"#);
    assert_eq!(message.attachments[0].url, "https://example.com/a");
}

#[test]
fn the_model_goes_to_the_assistants_messages_that_name_none() {
    for (own, merged) in [
        ("null", r#"{"model":"a\"b"}"#),
        ("{}", r#"{"model":"a\"b"}"#),
        ("{ }", r#"{"model":"a\"b" }"#),
        (r#"{"x":{"y":{}}}"#, r#"{"model":"a\"b","x":{"y":{}}}"#),
        (r#"{"x":1,"model":"own"}"#, r#"{"x":1,"model":"own"}"#),
    ] {
        let text =
            line(&format!(r#"{HELLO},{{"role":"assistant","content":"","metadata":{own}}}"#), r#","model":"a\"b""#);
        let conversation = good(&text);
        assert_eq!(conversation.messages[0].metadata, None);
        assert_eq!(conversation.messages[1].metadata.as_ref().unwrap().as_str(), merged);
    }
}

#[test]
fn an_identity_is_the_id_or_the_bytes_of_the_line() {
    let of = |text: &str| good(text).identity;
    assert_eq!(of(&line(HELLO, r#","id":17"#)), "id/17");
    assert_eq!(of(&line(HELLO, r#","id":"17""#)), "id/17");
    let plain = line(HELLO, "");
    assert_eq!(of(&format!(" {plain}\t\r")), of(&plain));
    assert_ne!(of(&line(HELLO, r#","created":1"#)), of(&plain));
    assert_eq!(place(line(HELLO, r#","id":"""#)), ("too_short", "/id".into()));
    assert_eq!(place(line(HELLO, &format!(r#","id":"{}""#, "ä".repeat(MAX_NAME + 1)))), ("too_long", "/id".into()));
    assert_eq!(of(&line(HELLO, &format!(r#","id":"{}""#, "ä".repeat(MAX_NAME)))).chars().count(), 3 + MAX_NAME);
}

#[test]
fn a_time_is_rfc_3339_or_seconds_or_milliseconds_from_1970_to_2099() {
    let of = |time: &str| good(&line(HELLO, &format!(r#","created":{time}"#))).created.unwrap().to_rfc3339();
    for (time, expected) in [
        ("1686286924", "2023-06-09T05:02:04+00:00"),
        ("1686286924000", "2023-06-09T05:02:04+00:00"),
        ("1686286924844", "2023-06-09T05:02:04.844+00:00"),
        ("1686286924.844282", "2023-06-09T05:02:04.844282+00:00"),
        ("0", "1970-01-01T00:00:00+00:00"),
        ("4102444799", "2099-12-31T23:59:59+00:00"),
        (r#""2023-06-09T07:02:04.1234567+02:00""#, "2023-06-09T05:02:04.123456+00:00"),
    ] {
        assert_eq!(of(time), expected, "{time}");
    }
    for time in [
        "-1",
        "-0.5",
        "4102444800",
        "4102444800000",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "1e18",
        "1e400",
        "true",
        "{}",
        r#""""#,
        r#""yesterday""#,
        r#""2023-06-09""#,
        r#""1969-12-31T23:59:59Z""#,
        r#""2100-01-01T00:00:00Z""#,
        r#""1686286924""#,
    ] {
        let (code, pointer, _) = bad(line(HELLO, &format!(r#","created":{time}"#)));
        assert!(["invalid_value", "wrong_type"].contains(&code), "{time}: {code}");
        assert_eq!(pointer, "/created", "{time}");
    }
}

#[test]
fn content_may_be_parts_of_text_and_links_to_images() {
    let conversation = good(&line(
        r#"{"role":"user","content":[{"type":"text","text":"Look"},{"type":"image_url","image_url":{"url":"https://e.com/i"}},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}},{"type":"input_audio","input_audio":{"data":"A"}},
            {"type":"input_text","text":"here"}]},{"role":"assistant","content":[{"type":"refusal","refusal":"No"}]}"#,
        "",
    ));
    assert_eq!(conversation.messages[0].content, "Look\nhere");
    assert_eq!(conversation.messages[0].attachments[0].url, "https://e.com/i");
    assert_eq!(conversation.messages[0].attachments.len(), 1);
    assert_eq!(conversation.messages[1].content, "No");
    assert_eq!(
        left_out(&conversation),
        [("messages/*/content/*/input_audio", 1), ("parts of content other than text and links to images", 2)]
    );
}

#[test]
fn what_has_no_place_is_left_out_and_counted() {
    let conversation = good(&line(
        r#"{"role":"developer","content":"Be kind","weight":1},{"role":"assistant","content":null,"tool_calls":[{"a":1}]},
            {"role":"tool","content":"42","tool_call_id":"t"},{"role":"assistant","content":[]}"#,
        r#","tools":[],"usage":{"total_tokens":1}"#,
    ));
    assert_eq!(conversation.messages.len(), 1);
    assert_eq!(conversation.messages[0].role, Role::System);
    assert_eq!(
        left_out(&conversation),
        [
            ("messages of tools", 1),
            ("messages without content", 2),
            ("messages/*/tool_call_id", 1),
            ("messages/*/tool_calls", 1),
            ("messages/*/weight", 1),
            ("tools", 1),
            ("usage", 1)
        ]
    );
    let many: Vec<_> = (0..1000).map(|n| format!(r#""{n}{}":0"#, "x".repeat(500))).collect();
    let names = good(&line(HELLO, &format!(",{}", many.join(",")))).left_out;
    assert!(names.iter().count() <= 21 && names.iter().all(|(name, _)| name.chars().count() <= 61));
    assert_eq!(names.iter().map(|(_, count)| count).sum::<u64>(), 1000);
}

#[test]
fn a_wrong_value_is_named_by_its_place() {
    for (text, code, pointer) in [
        (r#"{}"#.to_owned(), "missing_field", "/messages"),
        (r#"{"messages":{}}"#.to_owned(), "wrong_type", "/messages"),
        (r#"{"messages":[]}"#.to_owned(), "no_messages", "/messages"),
        (r#"[]"#.to_owned(), "wrong_type", ""),
        ("17".to_owned(), "wrong_type", ""),
        (line(r#"["user","Hello"]"#, ""), "wrong_type", "/messages/0"),
        (line(r#"{"content":"a"}"#, ""), "missing_field", "/messages/0/role"),
        (line(r#"{"role":"robot","content":"a"}"#, ""), "invalid_value", "/messages/0/role"),
        (line(r#"{"role":"user","content":17}"#, ""), "wrong_type", "/messages/0/content"),
        (line(r#"{"role":"user","content":["a"]}"#, ""), "wrong_type", "/messages/0/content/0"),
        (line(r#"{"role":"user"}"#, ""), "no_messages", "/messages"),
        (line(r#"{"role":"tool","content":"a"}"#, ""), "no_messages", "/messages"),
        (line(&format!("{HELLO},{HELLO}"), r#","metadata":[]"#), "invalid_value", "/metadata"),
        (line(HELLO, r#","messages":[]"#), "duplicate_field", "/messages"),
        (line(HELLO, r#","id":1.5"#), "wrong_type", "/id"),
        (line(HELLO, r#","mode":"voice""#), "invalid_value", "/mode"),
        (line(HELLO, r#","widget_id":"w""#), "invalid_value", "/widget_id"),
        (
            line(r#"{"role":"user","content":"","attachments":[{"kind":"file"}]}"#, ""),
            "missing_field",
            "/messages/0/attachments/0/url",
        ),
    ] {
        assert_eq!(place(&text), (code, pointer.to_owned()), "{text}");
    }
    let error = parse(line(r#"{"role":"robot","content":"a"}"#, "").as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("/messages/0/role: unknown variant `robot`, expected one of `user`"), "{error}");
}

#[test]
fn hostile_lines_are_errors_that_say_what_is_wrong() {
    let message = |content: &str| line(&format!(r#"{{"role":"user","content":{content}}}"#), "");
    for (text, code, detail) in [
        (String::new(), "empty_line", "the line is empty"),
        (" \t".into(), "empty_line", "the line is empty"),
        ("\u{feff}{}".into(), "invalid_json", "the line begins with a byte order mark (U+FEFF)"),
        ("{".into(), "invalid_json", "EOF while parsing an object at byte 1"),
        (format!("{} {}", line(HELLO, ""), line(HELLO, "")), "invalid_json", "trailing characters at byte"),
        (message(r#""\u0000""#), "nul_character", r"the escape \u0000 at byte"),
        (message("\"\u{0}\""), "invalid_json", "control character"),
        (message(r#""\ud800""#), "invalid_json", "surrogate"),
        (
            line(HELLO, &format!(r#","metadata":{}1{}"#, r#"{"a":"#.repeat(100), "}".repeat(100))),
            "invalid_json",
            "nested deeper than 64",
        ),
        ("[".repeat(1_000_000), "invalid_json", "EOF"),
    ] {
        let (found, pointer, sentence) = bad(&text);
        assert_eq!((found, pointer.as_str()), (code, ""), "{sentence}");
        assert!(sentence.contains(detail), "{sentence}");
        assert!(!sentence.contains("line 1"), "{sentence}");
    }
    assert_eq!(bad(b"{\"a\":\"\xff\"}").2, "not UTF-8 at byte 7");
}

#[test]
fn the_limits_are_those_of_the_api() {
    let message = |content: &str, rest: &str| line(&format!(r#"{{"role":"user","content":"{content}"{rest}}}"#), "");
    let metadata = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    let files = |count: usize| vec![r#"{"kind":"file","url":"u"}"#; count].join(",");

    good(&message(&"x".repeat(MAX_CONTENT), ""));
    assert_eq!(place(message(&"x".repeat(MAX_CONTENT + 1), "")), ("too_long", "/messages/0/content".into()));
    good(&message("", &format!(r#","metadata":{}"#, metadata(MAX_METADATA))));
    let large = message("", &format!(r#","metadata":{}"#, metadata(MAX_METADATA + 1)));
    assert_eq!(place(large), ("too_long", "/messages/0/metadata".into()));
    good(&line(HELLO, &format!(r#","metadata":{}"#, metadata(MAX_METADATA))));
    let large = line(HELLO, &format!(r#","metadata":{}"#, metadata(MAX_METADATA + 1)));
    assert_eq!(place(large), ("too_long", "/metadata".into()));
    good(&message("", &format!(r#","attachments":[{}]"#, files(MAX_ATTACHMENTS))));
    let many = message("", &format!(r#","attachments":[{}]"#, files(MAX_ATTACHMENTS + 1)));
    assert_eq!(place(many), ("too_long", "/messages/0/attachments".into()));
    let model =
        |length: usize| line(r#"{"role":"assistant","content":""}"#, &format!(r#","model":"{}""#, "x".repeat(length)));
    good(&model(MAX_NAME));
    assert_eq!(place(model(MAX_NAME + 1)), ("too_long", "/model".into()));
    // Short enough as text, too long where each character takes six bytes.
    assert_eq!(place(message(&r"\u0001".repeat(100_000), "")), ("event_too_large", "/messages/0".into()));
    let url = format!(r#","attachments":[{{"kind":"file","url":"{}"}}]"#, "x".repeat(MAX_ENCODED_EVENT));
    assert_eq!(place(message("", &url)), ("event_too_large", "/messages/0".into()));
    assert_eq!(place("x".repeat(MAX_LINE + 1)), ("line_too_long", String::new()));
}
