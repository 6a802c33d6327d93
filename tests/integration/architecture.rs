//! The house's rules that the compiler does not hold: which crate may know which, and who may use what.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Who may depend on whom within the workspace.
const ARROWS: [(&str, &[&str]); 10] = [
    ("garble", &[]),
    ("domain", &["garble"]),
    ("store", &["domain"]),
    ("bus", &["domain"]),
    ("local", &[]),
    ("api", &["bus", "domain", "garble", "store"]),
    ("projector", &["bus", "domain", "store"]),
    ("convolog", &["api", "bus", "domain", "garble", "local", "projector", "store"]),
    ("tests", &["api", "bus", "convolog", "domain", "local", "projector", "store"]),
    ("bench", &["api", "bus", "convolog", "domain", "local", "projector", "store"]),
];

/// Libraries that only these crates may know.
const CONFINED: [(&str, &[&str]); 4] = [
    ("async-nats", &["bus", "tests", "bench"]),
    ("axum", &["api", "tests"]),
    ("jsonwebtoken", &["api"]),
    ("sqlx", &["api", "projector", "store", "tests", "bench"]),
];

fn packages() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata.packages
}

#[test]
fn the_dependency_arrows_go_one_way() {
    let packages = packages();
    let names: BTreeSet<String> = packages.iter().map(|package| package.name.to_string()).collect();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    assert_eq!(names, arrows.keys().map(|name| (*name).to_owned()).collect(), "a crate has no place in the house");
    for package in &packages {
        for dependency in package.dependencies.iter().filter(|d| names.contains(&d.name)) {
            let allowed = arrows[package.name.as_str()].contains(&dependency.name.as_str());
            assert!(allowed, "{} must not depend on {}", package.name, dependency.name);
        }
    }
}

#[test]
fn a_library_is_known_to_the_crates_it_is_for() {
    for package in packages() {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            let confined = CONFINED.iter().find(|(name, _)| *name == dependency.name);
            let allowed = confined.is_none_or(|(_, crates)| crates.contains(&package.name.as_str()));
            assert!(allowed, "{} must not depend on {}", package.name, dependency.name);
        }
    }
}

#[test]
fn every_dependency_is_named_once_in_the_workspace() {
    for package in packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        for line in manifest.lines().skip_while(|line| !line.contains("dependencies]")) {
            let own_version = line.contains("version =") || line.contains("path = \"..");
            assert!(!own_version, "{}: {line}", package.name);
        }
    }
}
