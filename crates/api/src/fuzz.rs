//! What any bytes must do to this crate's readers, each as a function of bytes that panics when what was accepted is not
//! sound; only in tests and under a fuzzer.
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

mod credentials;
mod requests;

pub use credentials::{api_key, cursor, signed_token, token};
pub use requests::{body, headers, query};

#[cfg(test)]
mod tests {
    use garble::try_out;

    #[test]
    fn no_bytes_surprise_the_reader_of_cursors() {
        try_out("cursor", 3_000, super::cursor);
    }

    #[test]
    fn no_bytes_surprise_the_reader_of_tokens() {
        try_out("token", 3_000, super::token);
        try_out("signed_token", 3_000, super::signed_token);
    }

    #[test]
    fn no_bytes_surprise_the_reader_of_api_keys() {
        try_out("api_key", 3_000, super::api_key);
    }

    #[test]
    fn no_bytes_surprise_the_reader_of_bodies() {
        try_out("body", 3_000, super::body);
    }

    #[test]
    fn no_bytes_surprise_the_reader_of_query_strings() {
        try_out("query", 3_000, super::query);
    }

    #[test]
    fn no_bytes_surprise_the_readers_of_headers() {
        try_out("headers", 3_000, super::headers);
    }
}
