use super::*;
use uuid::Uuid;

const TENANT: TenantId = TenantId(Uuid::from_u128(1));

fn event(seq: u64) -> Encoded {
    Encoded { seq, category: "session".into(), json: "x".repeat(1000) }
}

/// Somebody follows a log that ends at `head`.
fn followed(head: u64) -> (Arc<Tails>, Place) {
    let tails = Arc::new(Tails::default());
    let place = tails.place(TENANT).unwrap();
    place.settle(0, head);
    (tails, place)
}

fn seqs(next: Next) -> Vec<u64> {
    match &next {
        Next::Events(events) => events.iter().map(|event| event.seq).collect(),
        Next::InLog | Next::Nothing | Next::Astray => panic!("{next:?}"),
    }
}

#[test]
fn what_was_heard_before_is_dropped_and_the_next_is_kept() {
    let (tails, place) = followed(3);
    assert!(matches!(place.next(3), Next::Nothing));
    for seq in [1, 3, 4, 4, 2, 5] {
        assert_eq!(tails.hear(TENANT, event(seq)), Heard::Fine);
    }
    assert_eq!(seqs(place.next(3)), [4, 5]);
    assert_eq!(seqs(place.next(4)), [5]);
    assert!(matches!(place.next(5), Next::Nothing));
    assert!(matches!(place.next(2), Next::InLog));
}

#[test]
fn an_event_behind_a_hole_changes_nothing_until_postgresql_was_asked() {
    let (tails, place) = followed(3);
    for seq in [5, u64::MAX] {
        assert_eq!(tails.hear(TENANT, event(seq)), Heard::Missing);
        assert!(matches!(place.next(3), Next::Nothing));
    }
    tails.settle(TENANT, 3, 5);
    assert!(matches!(place.next(3), Next::InLog));
    assert_eq!(tails.hear(TENANT, event(4)), Heard::Fine);
    assert_eq!(tails.hear(TENANT, event(6)), Heard::Fine);
    assert!(matches!(place.next(3), Next::InLog));
    assert_eq!(seqs(place.next(5)), [6]);
}

#[test]
fn an_answer_that_is_older_than_what_was_heard_meanwhile_is_no_news() {
    let (tails, place) = followed(3);
    assert_eq!(tails.hear(TENANT, event(4)), Heard::Fine);
    tails.settle(TENANT, 3, 3);
    assert_eq!(seqs(place.next(3)), [4]);
}

#[test]
fn whoever_was_told_of_an_event_that_the_log_does_not_have_is_astray_and_the_others_go_on() {
    let (tails, place) = followed(3);
    assert_eq!(tails.hear(TENANT, event(4)), Heard::Fine);
    tails.settle(TENANT, 4, 3);
    assert!(matches!(place.next(4), Next::Astray));
    assert!(matches!(place.next(3), Next::Nothing));
    assert!(matches!(place.next(1), Next::InLog));
}

#[test]
fn few_bytes_are_kept_and_the_rest_is_in_the_log() {
    let (tails, place) = followed(0);
    for seq in 1..=1000 {
        assert_eq!(tails.hear(TENANT, event(seq)), Heard::Fine);
    }
    let fit = (KEPT / 1000) as u64;
    assert!(matches!(place.next(1000 - fit - 1), Next::InLog));
    assert_eq!(seqs(place.next(1000 - fit)).len(), fit as usize);
    let large = Encoded { json: "x".repeat(KEPT + 1), ..event(1001) };
    assert_eq!(tails.hear(TENANT, large), Heard::Fine);
    assert!(matches!(place.next(1000), Next::InLog));
    assert_eq!(tails.lock()[&TENANT].bytes, 0);
}

#[test]
fn nobody_elses_events_are_wanted() {
    let (tails, place) = followed(0);
    let other = TenantId(Uuid::from_u128(2));
    assert!(tails.wants(TENANT) && !tails.wants(other));
    assert_eq!(tails.hear(other, event(1)), Heard::Fine);
    assert!(matches!(place.next(0), Next::Nothing));
    drop(place);
    assert!(!tails.wants(TENANT) && tails.ends().is_empty());
}

#[test]
fn places_are_limited_per_tenant_and_per_process_and_come_back() {
    let tails = Arc::new(Tails::default());
    let of = |n: usize| TenantId(Uuid::from_u128(n as u128));
    let mut places: Vec<_> = (0..MAX_STREAMS_OF_TENANT).map(|_| tails.place(of(0)).unwrap()).collect();
    assert_eq!(tails.place(of(0)).err(), Some(Full::Tenant));
    places.extend((MAX_STREAMS_OF_TENANT..MAX_STREAMS).map(|n| tails.place(of(n)).unwrap()));
    assert_eq!(tails.place(of(MAX_STREAMS)).err(), Some(Full::Process));
    assert_eq!(tails.places(), MAX_STREAMS);
    places.swap_remove(0).holds(5);
    assert_eq!((tails.places(), tails.waiting()), (MAX_STREAMS - 1, 0));
    assert!(tails.place(of(0)).is_ok());
    places.clear();
    assert_eq!((tails.places(), tails.ends().len()), (0, 0));
}

#[tokio::test]
async fn whoever_waits_is_woken_when_the_log_moves() {
    let (tails, mut place) = followed(3);
    tails.hear(TENANT, event(4));
    place.moved(3).await;
    tails.settle(TENANT, 4, 9);
    place.moved(4).await;
    assert_eq!(place.known(), 9);
}
