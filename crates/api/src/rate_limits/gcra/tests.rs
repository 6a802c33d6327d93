//! The algorithm, at moments of the tests' own choice.

use super::*;

const QUOTA: Quota = Quota { burst: 3, every: Duration::from_secs(10) };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(number: usize) -> Key {
    Key(u128::try_from(number).unwrap().to_be_bytes())
}

fn room(remaining: u32, next: u64) -> Outcome {
    Outcome::Room { remaining, next: at(next) }
}

fn exhausted(next: u64) -> Outcome {
    Outcome::Exhausted { next: at(next) }
}

#[test]
fn a_burst_has_room_and_then_one_after_each_pause() {
    let buckets = Buckets::new(QUOTA, 10);
    let taken = |now| buckets.take(key(1), at(now));
    assert_eq!([taken(100), taken(100), taken(100)], [room(2, 10), room(1, 10), room(0, 10)]);
    assert_eq!([taken(100), taken(104), taken(109)], [exhausted(10), exhausted(6), exhausted(1)]);
    // What was refused has not been counted.
    assert_eq!([taken(110), taken(110), taken(119)], [room(0, 10), exhausted(10), exhausted(1)]);
    assert_eq!([taken(125), taken(125)], [room(0, 5), exhausted(5)]);
    assert_eq!([taken(155), taken(155)], [room(2, 10), room(1, 10)]);
}

#[test]
fn in_the_long_run_only_the_rate_passes() {
    let buckets = Buckets::new(QUOTA, 10);
    let passed = |second| matches!(buckets.take(key(1), at(second)), Outcome::Room { .. });
    let passed: Vec<u64> = (0..600).filter(|second| passed(*second)).collect();
    assert_eq!(passed.len(), 3 + 59);
}

#[test]
fn keys_do_not_share() {
    let buckets = Buckets::new(QUOTA, 10);
    (0..3).for_each(|_| assert!(matches!(buckets.take(key(1), at(0)), Outcome::Room { .. })));
    assert_eq!(buckets.take(key(1), at(0)), exhausted(10));
    assert_eq!(buckets.take(key(2), at(0)), room(2, 10));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let buckets = Buckets::new(QUOTA, 10);
    (0..20).for_each(|_| {
        assert_eq!(buckets.take(key(1), at(0)), room(2, 10));
        buckets.give_back(key(1));
    });
    // What nobody has taken is nobody's.
    (0..20).for_each(|_| buckets.give_back(key(1)));
    buckets.give_back(key(2));
    assert_eq!([1, 2].map(|one| buckets.take(key(one), at(0))), [room(2, 10); 2]);
}

#[test]
fn there_are_never_more_keys_than_allowed_and_those_known_stay_limited() {
    let buckets = Buckets::new(QUOTA, 5);
    let keys = || buckets.state.lock().unwrap().whole_at.len();
    for known in 0..5 {
        (0..3).for_each(|_| assert!(matches!(buckets.take(key(known), at(1)), Outcome::Room { .. })));
    }
    for new in 5..50 {
        assert_eq!(buckets.take(key(new), at(2)), Outcome::Untracked);
    }
    assert_eq!((keys(), buckets.take(key(0), at(2))), (5, exhausted(9)));
    // The five are done with after 30 s, and make room.
    assert_eq!((buckets.take(key(50), at(40)), keys()), (room(2, 10), 1));
}

#[test]
fn a_flood_of_new_keys_does_not_look_through_all_of_them_each_time() {
    let buckets = Buckets::new(QUOTA, 2);
    (0..2).for_each(|one| assert_eq!(buckets.take(key(one), at(0)), room(2, 10)));
    assert_eq!(buckets.take(key(2), at(0) + SWEEP_PAUSE), Outcome::Untracked);
    // Both are done with at 10 s; the next look is due at 2 s, and the one after that a pause later.
    assert_eq!(buckets.take(key(2), Duration::from_millis(9_999)), Outcome::Untracked);
    assert_eq!(buckets.take(key(2), at(10)), Outcome::Untracked);
    assert_eq!(buckets.take(key(2), at(11)), room(2, 10));
}

#[test]
fn as_many_keys_as_there_may_be_take_the_memory_that_is_documented() {
    let buckets = Buckets::new(QUOTA, MAX_KEYS);
    for one in 0..2 * MAX_KEYS {
        buckets.take(key(one), at(0));
    }
    let state = buckets.state.lock().unwrap();
    assert_eq!(state.whole_at.len(), MAX_KEYS);
    // A place of the table is an entry and one byte; an eighth of the places stays free.
    let places = (state.whole_at.capacity() * 8 / 7).next_power_of_two();
    let bytes = places * (size_of::<(Key, Duration)>() + 1);
    assert!(bytes <= 4_400_000, "{bytes} bytes");
}
