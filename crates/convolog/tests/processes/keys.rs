//! `convolog keys` as a process beside a running `convolog dev`: what it says, what it does, and exit codes.

use std::path::Path;
use std::process::Command;

use crate::process::Data;

/// Runs `convolog keys`: exit code, standard output, standard error.
fn keys_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convolog"));
    command.arg("keys").args(arguments).arg("--data-dir").arg(folder);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The `kid`s of this state, as `list` shows them.
fn of(table: &str, state: &str) -> Vec<String> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1] == state).map(|row| row[0].to_owned()).collect()
}

#[test]
fn keys_are_listed_rotated_and_retired() {
    let mut data = Data::new();
    let dev = data.start();
    let folder = data.directory.path().to_owned();
    let keys = |arguments: &[&str]| keys_in(&folder, arguments);
    let (code, first, err) = keys(&["list"]);
    assert_eq!((code, first.lines().count()), (0, 3), "{first}{err}");
    assert!(first.starts_with("KID ") && !first.contains("another"), "{first}");
    let [signing, next] = ["signing", "next"].map(|state| of(&first, state).remove(0));
    let published = dev.get("/.well-known/jwks.json", "");
    assert!(published.contains(&signing) && published.contains(&next), "{published}");

    // A node that has just missed a reading may not know the next one.
    let (code, out, err) = keys(&["rotate"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("wait ") && err.contains("--now"), "{err}");
    let (code, out, err) = keys(&["rotate", "--now"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains(&format!("signing  {next}\n")) && out.contains(&format!("convolog keys retire {signing}\n")),
        "{out}"
    );
    assert!(out.contains("in 6 minutes") && out.contains("up to 30 s"), "{out}");
    let table = keys(&["list"]).1;
    assert_eq!((of(&table, "signing"), of(&table, "former")), (vec![next.clone()], vec![signing.clone()]));
    let waiting = of(&table, "next").remove(0);

    for (named, says) in
        [(&next, "rotate` first"), (&waiting, "before it has signed"), (&"nothing".to_owned(), "list`")]
    {
        let (code, out, err) = keys(&["retire", named]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(says), "{err}");
    }
    assert_eq!(keys(&["list"]).1, table, "what is refused changes nothing");
    let (code, out, _) = keys(&["retire", &signing]);
    assert_eq!(code, 0);
    assert!(out.contains("refused within 30 s") && out.contains("s more"), "{out}");
    assert_eq!(keys(&["retire", &signing]).0, 2);

    let other = "ab".repeat(32);
    let (code, out, _) = keys(&["list", "--signing-key", &other]);
    assert_eq!((code, out.matches("made with another CONVOLOG_SIGNING_KEY").count()), (1, 2), "{out}");
    let (code, out, _) = keys(&["rotate", "--signing-key", &other]);
    assert_eq!((code, out.matches("former").count()), (0, 2), "{out}");
    assert_eq!(keys(&["list", "--signing-key", &other]).0, 0, "former ones are nobody's trouble");
    let mut api = Command::new(env!("CARGO_BIN_EXE_convolog"));
    let api = api.args(["api", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&folder).output().unwrap();
    let err = String::from_utf8_lossy(&api.stderr);
    assert!(api.status.code() == Some(3) && err.contains("`convolog keys rotate`"), "{err}");
    // Back to the secret of the folder. The next key is another secret's, so there is nothing to wait for.
    assert_eq!(keys(&["rotate"]).0, 0);
    assert!(dev.token().len() > 100);
    drop(dev);
    data.start();
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |arguments: &[&str]| keys_in(folder.path(), arguments);
    let nowhere = "postgres://nobody@127.0.0.1:1/none";
    for (arguments, code, says) in [
        (&["list"][..], 3, "set DATABASE_URL"),
        (&["rotate"], 2, "set CONVOLOG_SIGNING_KEY"),
        (&["rotate", "--signing-key", "12"], 2, "64 hexadecimal digits"),
        (&["list", "--database-url", nowhere], 3, "DATABASE_URL: the database cannot be used"),
        (&["retire"], 2, "<KID>"),
        (&["retire", "-x", "--database-url", nowhere], 3, "cannot be used"),
    ] {
        let (found, out, err) = keys(arguments);
        assert!((found, out.as_str()) == (code, "") && err.contains(says), "{arguments:?}: {found} {out}{err}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}
