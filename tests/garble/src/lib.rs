//! Inputs that are nearly right: the seeds of a fuzz target, each as it is and changed in a few places, the same ones in
//! every run. Long runs are libFuzzer's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use std::fmt;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// What readers of JSON, tokens, query strings and headers treat specially.
const PIECES: [&[u8]; 34] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\\u0000",
    b"\\ud800",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"-",
    b"0",
    b"1e400",
    b"9223372036854775808",
    b"18446744073709551616",
    b"null",
    b"true",
    b"%",
    b"%00",
    b"&",
    b"=",
    b".",
    b"\n",
    b"\r\n",
    b" ",
    b"+",
    b"W/",
    b"{\"a\":1,\"a\":2}",
    b"\xd9\xa3",
    b"23:59:60",
    b"[[[[[[[[[[[[[[[[",
];

/// One change.
#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, &'static [u8]),
    Replace(Index, usize, &'static [u8]),
    Repeat(Index, usize, usize),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, length, piece) = (any::<Index>, 0..24_usize, || select(PIECES.as_slice()));
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, 1 << bit)),
        (at(), length.clone()).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at(), piece()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (at(), length.clone(), piece()).prop_map(|(at, length, piece)| Edit::Replace(at, length, piece)),
        (at(), length, 1..80_usize).prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        at().prop_map(Edit::Cut),
    ]
}

impl Edit {
    fn change(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index, length: usize, bytes: &[u8]| {
            let begin = at.index(bytes.len() + 1);
            begin..(begin + length).min(bytes.len())
        };
        match self {
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len() + 1);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
            }
            Self::Remove(at, length) => drop(bytes.drain(place(at, *length, bytes))),
            Self::Insert(at, piece) => drop(bytes.splice(place(at, 0, bytes), piece.iter().copied())),
            Self::Replace(at, length, piece) => drop(bytes.splice(place(at, *length, bytes), piece.iter().copied())),
            Self::Repeat(at, length, times) => {
                let place = place(at, *length, bytes);
                let again = bytes[place.clone()].repeat(*times);
                drop(bytes.splice(place, again));
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
        }
    }
}

/// Shown as Rust and `printf` write bytes, so that nothing of a failing input is lost.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Calls the target with the files of `fuzz/seeds/<name>` and with `cases` inputs made of them; panics with the smallest
/// input that it finds when the target panics.
pub fn try_out(name: &str, cases: u32, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty(), "{} has no seeds", folder.display());
    seeds.iter().for_each(|seed| target(seed));

    let garbled = (select(seeds), vec(edit(), 1..6)).prop_map(|(mut bytes, edits)| {
        edits.iter().for_each(|edit| edit.change(&mut bytes));
        Input(bytes)
    });
    let config = Config { cases, rng_seed: RngSeed::Fixed(0x5eed), failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&garbled, |Input(bytes)| {
        target(&bytes);
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{name}: {failed}\nKeep the input as a file of {}.", folder.display()));
}
