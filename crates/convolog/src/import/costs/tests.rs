//! What a row may look like, in both formats, and what is said about one that may not.

use domain::TenantId;
use domain::ledger::Service;
use uuid::Uuid;

use super::super::line::MAX_LINE;
use super::*;

const NOW: &str = "2026-11-22T20:00:00Z";

fn all(text: impl AsRef<[u8]>, format: Format) -> Vec<(u64, Result<Row, LineError>)> {
    read_all(text.as_ref(), format, NOW.parse().unwrap())
}

/// The rows of a table that are all good.
fn rows(text: &str) -> Vec<Row> {
    let rows = all(text, Format::Csv).into_iter();
    rows.map(|(number, row)| row.unwrap_or_else(|error| panic!("line {number}: {error}"))).collect()
}

fn object(text: &str) -> Result<Row, LineError> {
    all(text, Format::Jsonl).remove(0).1
}

/// Service, provider, model, amount, currency and usage.
fn told(row: &Row) -> String {
    let charge = &row.charge;
    let amount = charge.amount.map_or_else(|| "unpriced".to_owned(), |amount| amount.to_string());
    let currency = charge.currency.map(|currency| currency.as_str().to_owned()).unwrap_or_default();
    let lines: Vec<_> =
        charge.usage.iter().map(|line| format!("{} {} {}", line.r#type, line.quantity, line.unit)).collect();
    let (service, model) = (charge.service.as_str(), charge.model.as_deref().unwrap_or("-"));
    format!("{service} {} {model} {amount}{currency} {}", charge.provider, lines.join(", "))
}

#[test]
fn a_table_in_the_apis_own_names_is_read_in_any_order_of_columns() {
    let rows = rows(
        "\u{feff}currency,amount,occurred_at,id,service,provider,model,input_uncached,images,session_id,metadata\r\n\
         EUR,-0.10,2026-11-02T09:30:00Z,req-1,vision,acme,\"big, bold\",,2,01a2046a-b446-7000-8000-000000000003,\"{\"\"a\"\": 1}\"\r\n\
         \r\n\
         ,,1762075800,,,,gpt-4o,9.0,,chat-17,-\r\n",
    );
    assert_eq!(told(&rows[0]), "vision acme big, bold -0.1EUR images 2 images");
    assert_eq!(rows[0].identity, Identity::Name("req-1".into()));
    assert_eq!(rows[0].charge.session_id.unwrap().to_string(), "01a2046a-b446-7000-8000-000000000003");
    assert_eq!(rows[0].metadata.as_ref().unwrap().as_str(), "{\"a\": 1}");
    assert_eq!(told(&rows[1]), "llm openai gpt-4o unpriced input_uncached 9 tokens");
    assert_eq!((rows[1].session.as_deref(), rows[1].period.to_string()), (Some("chat-17"), "2025-11".into()));
    assert_eq!(rows[1].left_out.iter().collect::<Vec<_>>(), [("metadata that is no object", 1)]);
}

#[test]
fn a_gateways_spend_log_is_read_by_its_own_names() {
    let rows = rows(
        "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,model,custom_llm_provider\n\
         chatcmpl-1,acompletion,k,0.00012300000000000001,120,100,20,2026-11-02 09:30:00.123,2026-11-02 09:30:01,gpt-4o,azure\n\
         01a2046a-b446-7000-8000-000000000003,aembedding,k,4.2e-07,21,21,0,2026-11-02 09:30:00,,text-embedding-3-small,\n",
    );
    assert_eq!(told(&rows[0]), "llm azure gpt-4o 0.000123USD input_uncached 100 tokens, output_text 20 tokens");
    assert_eq!(rows[0].occurred_at.to_rfc3339(), "2026-11-02T09:30:00.123+00:00");
    assert_eq!(told(&rows[1]), "embedding openai text-embedding-3-small 0.00000042USD input_uncached 21 tokens");
    assert_eq!(rows[1].identity, Identity::Id("01a2046a-b446-7000-8000-000000000003".parse().unwrap()));
    // Once for the table.
    assert_eq!(rows[0].left_out.iter().collect::<Vec<_>>(), [("column api_key", 1), ("column endTime", 1)]);
    assert_eq!(rows[1].left_out.iter().count(), 0);
}

#[test]
fn usage_is_told_by_columns_by_lines_or_by_counts_of_tokens() {
    for (members, expected) in [
        (
            r#""usage":[{"type":"frames","quantity":"1.5","unit":"frames"},{"type":"images","quantity":2}]"#,
            "frames 1.5 frames, images 2 images",
        ),
        (
            r#""usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}"#,
            "input_cache_read 4 tokens, input_uncached 5 tokens",
        ),
        (
            r#""prompt_tokens":9,"completion_tokens":5,"cached_tokens":4,"reasoning_tokens":5"#,
            "input_cache_read 4 tokens, input_uncached 5 tokens, output_reasoning 5 tokens",
        ),
        (
            r#""input_tokens":9,"cache_read_input_tokens":4,"images":1"#,
            "images 1 images, input_cache_read 4 tokens, input_uncached 9 tokens",
        ),
        (
            r#""input_uncached":9,"input_cache_read":4,"usage_convention":"inclusive""#,
            "input_cache_read 4 tokens, input_uncached 5 tokens",
        ),
        (
            r#""input_uncached":9,"input_cache_read":4,"usage_convention":"disjoint""#,
            "input_cache_read 4 tokens, input_uncached 9 tokens",
        ),
    ] {
        let row = object(&format!(r#"{{"date":"2026-11-02",{members}}}"#)).unwrap_or_else(|e| panic!("{members}: {e}"));
        assert_eq!(told(&row), format!("llm unknown - unpriced {expected}"), "{members}");
    }
    let cell = rows("date,usage\n2026-11-02,\"[{\"\"type\"\":\"\"requests\"\",\"\"quantity\"\":3}]\"\n");
    assert_eq!(told(&cell[0]), "llm unknown - unpriced requests 3 requests");
}

#[test]
fn amounts_are_exact_in_both_formats() {
    for (written, exact) in [
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.3"),
        ("1.2e-05", "0.000012"),
        ("0.0000000000025", "0.000000000002"),
        ("0.0000000000035", "0.000000000004"),
        ("0.00000000000250000000000000000000000000000000001", "0.000000000003"),
        ("999999999999.999999999999", "999999999999.999999999999"),
        ("0", "0"),
    ] {
        let amount = |row: &Row| row.charge.amount.unwrap().to_string();
        assert_eq!(amount(&rows(&format!("date,cost\n2026-11-02,{written}\n"))[0]), exact);
        for json in [written.to_owned(), format!("\"{written}\"")] {
            assert_eq!(amount(&object(&format!(r#"{{"date":"2026-11-02","cost":{json}}}"#)).unwrap()), exact);
        }
    }
}

#[test]
fn a_row_is_the_same_cost_by_its_id_or_by_its_content_and_number() {
    let ids = |text: &str, format| -> Vec<Uuid> {
        let tenant = TenantId(Uuid::from_u128(1));
        all(text, format).into_iter().map(|(_, row)| row.unwrap().identity.cost_id(tenant)).collect()
    };
    let table = "date,cost,id\n2026-11-02,1,\n2026-11-02,1,\n2026-11-02,1,a\n2026-11-02,2,a\n";
    let first = ids(table, Format::Csv);
    assert_eq!(first, ids(table, Format::Csv));
    assert_ne!(first[0], first[1]);
    assert_eq!(first[2], first[3]);
    assert_eq!(first[2], Uuid::new_v5(&Uuid::from_u128(1), b"import/cost/a"));
    // Quotes and columns that are empty or in another place are not part of the content… but the names are.
    assert_eq!(ids("date,cost,x\n\"2026-11-02\",1,\n", Format::Csv)[0], first[0]);
    assert_ne!(ids("date,spend\n2026-11-02,1\n", Format::Csv)[0], first[0]);
    let line = r#"{"date":"2026-11-02","cost":1}"#;
    let lines = ids(&format!("{line}\n {line}\r\n{}", line.replace(':', ": ")), Format::Jsonl);
    assert!(lines[0] != lines[1] && lines[1] != lines[2] && lines[0] != lines[2]);
    assert_eq!(ids(line, Format::Jsonl)[0], lines[0]);
}

#[test]
fn a_bad_row_is_named_by_its_line_and_its_column_and_the_others_are_read() {
    let table = "date,cost,id\n\
                 2026-11-02,a lot,1\n\
                 yesterday,1,2\n\
                 ,1,3\n\
                 2026-11-02,,4\n\
                 2026-11-02,1\n\
                 2026-11-24,1,5\n\
                 1999-12-31,1,6\n\
                 2026-11-02,NaN,7\n\
                 2026-11-02,\"1\n\",8\n\
                 2026-11-02,1e12,9\n";
    let found: Vec<(u64, String)> = all(table, Format::Csv)
        .into_iter()
        .map(|(line, row)| {
            (line, row.map_or_else(|error| format!("{} {}", error.code, error.pointer), |row| told(&row)))
        })
        .collect();
    let expected = [
        (2, "invalid_value cost"),
        (3, "invalid_value date"),
        (4, "missing_field occurred_at"),
        (5, "missing_field "),
        (6, "wrong_columns "),
        (7, "invalid_value date"),
        (8, "invalid_value date"),
        (9, "invalid_value cost"),
        (10, "llm unknown - 1USD "),
        (12, "invalid_value cost"),
    ];
    assert_eq!(found, expected.map(|(line, what)| (line, what.to_owned())));
}

#[test]
fn a_wrong_member_is_named() {
    let with = |members: &str| object(&format!(r#"{{"date":"2026-11-02","cost":1,{members}}}"#));
    for (members, code, name) in [
        (r#""service":"magic""#, "invalid_value", "service"),
        (r#""currency":"dollars""#, "invalid_value", "currency"),
        (r#""id":[1]"#, "wrong_type", "id"),
        (r#""provider":"P","Provider":"p""#, "duplicate_field", "provider"),
        (r#""prompt_tokens":-1"#, "invalid_value", "prompt_tokens"),
        (r#""prompt_tokens":1,"cached_tokens":2"#, "invalid_value", ""),
        (r#""input_uncached":1,"prompt_tokens":1"#, "invalid_value", "usage"),
        (r#""input_uncached":1,"input_cache_read":2,"usage_convention":"inclusive""#, "invalid_value", "usage"),
        (r#""usage_convention":"both""#, "invalid_value", "usage_convention"),
        (r#""usage":7"#, "invalid_value", "usage"),
        (r#""usage":[{"type":"Frames","quantity":1,"unit":"x"}]"#, "invalid_value", "usage"),
        (r#""usage":"[{]""#, "invalid_value", "usage"),
        (r#""metadata":"{\"a\":\"\\u0000\"}""#, "invalid_value", "metadata"),
    ] {
        let error = with(members).unwrap_err();
        assert_eq!((error.code, error.pointer.to_ascii_lowercase().as_str()), (code, name), "{members}: {error}");
    }
    for (name, length) in [("model", 201), ("provider", 201), ("id", 201)] {
        let error = with(&format!(r#""{name}":"{}""#, "x".repeat(length))).unwrap_err();
        assert_eq!(error.pointer, name);
    }
    let metadata = with(&format!(r#""metadata":{{"a":"{}"}}"#, "x".repeat(16 * 1024))).unwrap_err();
    assert_eq!((metadata.code, metadata.pointer.as_str()), ("too_long", "metadata"));
    for (text, code) in [
        ("", "empty_line"),
        ("[]", "wrong_type"),
        ("{", "invalid_json"),
        (r#"{"cost":NaN}"#, "invalid_json"),
        (r#"{"cost":"\u0000"}"#, "nul_character"),
    ] {
        assert_eq!(object(text).unwrap_err().code, code, "{text}");
    }
    let row = with(r#""message_id":"m","meeting_id":7,"x":1,"y":null,"created":1762075800"#).unwrap();
    let left_out: Vec<_> = row.left_out.iter().map(|(name, _)| name).collect();
    assert_eq!(left_out, ["date", "meeting_id that is no UUID", "message_id that is no UUID", "x"]);
    assert_eq!((row.charge.service, row.occurred_at.timestamp()), (Service::Llm, 1_762_075_800));
}

#[test]
fn a_table_without_the_columns_that_matter_is_refused_at_once() {
    for (text, expected) in [
        ("", "when a cost occurred"),
        ("{\"date\":1}\n", "when a cost occurred"),
        ("date;cost\n2026-11-02;1\n", "when a cost occurred"),
        ("date,price\n2026-11-02,1\n", "what it comes to"),
        ("date,cost,Cost\n", "`cost` twice"),
        ("date,c\u{f6}st\n", "what it comes to"),
    ] {
        let error = table::Table::open(std::io::Cursor::new(text.as_bytes().to_vec())).err().unwrap().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(table::Table::open(std::io::Cursor::new(b"date,c\xf6st\n".to_vec())).is_err());
}

#[test]
fn quotes_that_never_end_are_one_bad_row_and_not_held_in_memory() {
    let table =
        [b"date,cost,id\n2026-11-02,1,a\n2026-11-02,2,\"".to_vec(), b"2026-11-02,1,b\n".repeat(MAX_LINE / 8)].concat();
    let rows = all(&table, Format::Csv);
    assert_eq!(rows.len(), 2);
    assert!(rows[0].1.is_ok());
    let (line, Err(error)) = &rows[1] else { panic!("{rows:?}") };
    assert_eq!((*line, error.code), (3, "line_too_long"));
}

#[test]
fn a_cell_that_postgresql_cannot_keep_is_refused() {
    let rows = all(b"date,cost,model\n2026-11-02,1,a\0b\n2026-11-02,1,\xff\n2026-11-02,1,ok\n", Format::Csv);
    let codes: Vec<_> = rows.iter().map(|(_, row)| row.as_ref().err().map(|error| error.code)).collect();
    assert_eq!(codes, [Some("nul_character"), Some("invalid_value"), None]);
}
