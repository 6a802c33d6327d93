//! Which rows are believed, and how keys follow each other.

use chrono::{DateTime, Utc};
use store::KeyChange;

use super::*;

fn master(byte: u8) -> MasterSecret {
    MasterSecret::new([byte; 32])
}

/// A row as this secret makes it, so old.
fn row(master: &MasterSecret, id: u128, state: KeyState, age: Duration) -> StoredKey {
    let id = Uuid::from_u128(id);
    let public_key = derive(master, id).unwrap().public_key().bytes().unwrap();
    StoredKey { id, state, public_key, since: DateTime::<Utc>::UNIX_EPOCH, age }
}

fn three(next: Duration) -> Vec<StoredKey> {
    let old = Duration::from_secs(1000);
    [(1, KeyState::Signing, old), (2, KeyState::Next, next), (3, KeyState::Former, old)]
        .map(|(id, state, age)| row(&master(1), id, state, age))
        .into()
}

fn kids(keys: &[PublicKey]) -> Vec<&str> {
    keys.iter().map(PublicKey::kid).collect()
}

#[test]
fn a_key_is_the_same_for_ever_for_its_secret_and_id_and_another_for_any_other() {
    // Changed, this would end all sign-ins of every installation.
    let key = |byte, id| derive(&master(byte), Uuid::from_u128(id)).unwrap().public_key().kid().to_owned();
    assert_eq!(key(7, 1), "CEVa-Rbr6zx_s2B0Yhg2JkefmvlU54wHoF8NZn5Ipho");
    assert_ne!(key(7, 1), key(7, 2));
    assert_ne!(key(7, 1), key(8, 1));
    let direct = Signer::from_seed([7; 32]).unwrap();
    assert_ne!(direct.public_key().kid(), key(7, 0), "the secret itself is no key");
}

#[test]
fn rows_of_others_are_not_believed_whatever_they_say() {
    let mut stored = three(Duration::ZERO);
    let ours = Ours::among(&master(1), &stored).unwrap();
    assert_eq!(ours.believed.len(), 3);
    assert_eq!(ours.signer.unwrap().public_key().kid(), kid(&stored[0]).unwrap());

    // Somebody's own public key, under an id of ours and under one of their own.
    let evil = Signer::from_seed([9; 32]).unwrap().public_key().bytes().unwrap();
    stored[2].public_key = evil;
    stored.push(StoredKey { id: Uuid::from_u128(4), state: KeyState::Former, ..stored[2].clone() });
    // One of ours under another id: it can't be derived from that.
    stored.push(StoredKey { id: Uuid::from_u128(5), state: KeyState::Former, ..stored[0].clone() });
    let ours = Ours::among(&master(1), &stored).unwrap();
    assert_eq!(kids(&ours.believed), [kid(&stored[0]).unwrap(), kid(&stored[1]).unwrap()]);

    let ours = Ours::among(&master(2), &stored).unwrap();
    assert!(ours.signer.is_none() && ours.believed.is_empty());
}

#[test]
fn a_node_whose_secret_was_replaced_goes_on_signing_and_believes_what_is_left_of_its_keys() {
    let stored = three(Duration::ZERO);
    let Ours { signer, believed } = Ours::among(&master(1), &stored).unwrap();
    let tokens = Tokens::new("https://convolog.example", KeySet::of(signer.unwrap(), believed));
    let signs = || tokens.keys().signer().public_key().kid().to_owned();
    let mut after: Vec<_> =
        stored[..2].iter().map(|key| StoredKey { state: KeyState::Former, ..key.clone() }).collect();
    after.push(row(&master(2), 8, KeyState::Signing, Duration::ZERO));
    take(&tokens, &master(1), &after);
    assert_eq!(signs(), kid(&stored[0]).unwrap());
    assert_eq!(tokens.keys().jwks().keys.len(), 2);
    take(&tokens, &master(1), &after[1..]);
    assert_eq!(signs(), kid(&stored[0]).unwrap());
    assert_eq!(tokens.keys().jwks().keys.len(), 1);
}

#[test]
fn the_next_key_signs_when_every_node_knows_it_and_a_fresh_one_waits() {
    let stored = three(LEAST_AGE_OF_NEXT);
    let (changes, rotated) = rotate(&master(1), &stored, false).unwrap();
    let [KeyChange::Move(first, KeyState::Former), KeyChange::Move(second, KeyState::Signing), fresh] = changes[..]
    else {
        panic!("{changes:?}")
    };
    assert_eq!((first, second), (stored[0].id, stored[1].id));
    let KeyChange::Add(KeyState::Next, new) = fresh else { panic!("{fresh:?}") };
    assert_eq!(new.public_key, derive(&master(1), new.id).unwrap().public_key().bytes().unwrap());
    assert_eq!((rotated.signing, rotated.former), (kid(&stored[1]).unwrap(), vec![kid(&stored[0]).unwrap()]));
    assert!(!rotated.at_once);

    let new = three(LEAST_AGE_OF_NEXT - Duration::from_millis(1500));
    let refused = rotate(&master(1), &new, false).unwrap_err();
    assert!(refused.to_string().contains("wait 2 s, or use --now"), "{refused}");
    let (changes, rotated) = rotate(&master(1), &new, true).unwrap();
    assert_eq!(changes.len(), 3);
    assert!(rotated.at_once);
}

#[test]
fn a_replaced_secret_makes_both_keys_afresh() {
    for (stored, former) in [(three(Duration::ZERO), 2), (vec![], 0)] {
        let (changes, rotated) = rotate(&master(2), &stored, false).unwrap();
        let moved = changes.iter().filter(|change| matches!(change, KeyChange::Move(_, KeyState::Former)));
        assert_eq!((moved.count(), rotated.former.len()), (former, former));
        let [.., KeyChange::Add(KeyState::Signing, signing), KeyChange::Add(KeyState::Next, next)] = changes[..] else {
            panic!("{changes:?}")
        };
        for new in [signing, next] {
            assert_eq!(new.public_key, derive(&master(2), new.id).unwrap().public_key().bytes().unwrap());
        }
        assert!(rotated.at_once);
    }
}

#[test]
fn only_a_former_key_is_retired() {
    let stored = three(Duration::ZERO);
    let named = |n: usize| retire(&stored, &kid(&stored[n]).unwrap());
    assert!(matches!(named(0), Err(Refused::Signs(_))));
    assert!(matches!(named(1), Err(Refused::IsNext(_))));
    assert_eq!(named(2).unwrap(), (vec![KeyChange::Remove(stored[2].id)], Duration::from_secs(1000)));
    assert!(matches!(retire(&stored, "none"), Err(Refused::Unknown(_))));
}

#[test]
fn no_token_of_a_former_key_is_in_use_after_six_minutes() {
    assert!(IN_USE <= Duration::from_secs(360), "the operators' page says so");
    assert!(LEAST_AGE_OF_NEXT >= KEY_RELOAD * 2);
}

#[test]
fn no_name_of_a_key_looks_like_a_flag() {
    for _ in 0..300 {
        let key = PublicKey::from_bytes(fresh(&master(1)).unwrap().public_key).unwrap();
        assert!(!key.kid().starts_with('-'), "{}", key.kid());
    }
}
