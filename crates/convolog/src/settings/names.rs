//! The names of environment variables: those that the command line knows, and what to say about others.

use clap::Command;

/// The beginning of every variable that is ours alone.
const PREFIX: &str = "CONVOLOG_";

/// Every variable of ours that some subcommand reads.
pub(super) fn known(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = own.filter(|name| name.starts_with(PREFIX)).collect();
    names.extend(command.get_subcommands().flat_map(known));
    names.sort();
    names.dedup();
    names
}

/// Fails for a variable of ours that is not known, and names the nearest that is.
pub(super) fn check(known: &[String], names: impl IntoIterator<Item = String>) -> Result<(), String> {
    for name in names {
        if !name.starts_with(PREFIX) || known.contains(&name) {
            continue;
        }
        let nearest = known.iter().min_by_key(|known| distance(known, &name)).map_or("", String::as_str);
        return Err(format!("unknown setting {name}: did you mean {nearest}?"));
    }
    Ok(())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Cli, check_names};

    #[test]
    fn an_unknown_setting_is_an_error_that_names_the_nearest() {
        let error = check_names(["PATH".into(), "CONVOLOG_LISTN".into()]).unwrap_err();
        assert_eq!(error, "unknown setting CONVOLOG_LISTN: did you mean CONVOLOG_LISTEN?");
    }

    #[test]
    fn the_settings_of_all_subcommands_are_known() {
        let known = known(&<Cli as clap::CommandFactory>::command());
        assert!(known.contains(&"CONVOLOG_DATA_DIR".into()) && known.contains(&"CONVOLOG_LOG".into()), "{known:?}");
        check_names(known).unwrap();
    }
}
