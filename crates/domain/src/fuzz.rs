//! What any bytes must do to the decoder of events; only in tests and under a fuzzer.
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use chrono::SubsecRound as _;

use crate::{Fact, RecordedEvent, envelope};

/// An envelope that is read is written as one that is read as the same; its data is an event or an error.
pub fn envelope(bytes: &[u8]) {
    let Ok(event) = envelope::decode(bytes) else { return };
    let _ = Fact::of(&event);
    let written = envelope::encode(&event).unwrap();
    let again = envelope::decode(&written);
    let again = again.unwrap_or_else(|error| panic!("{error:?}: {}", String::from_utf8_lossy(&written)));
    assert_eq!(format!("{again:?}"), format!("{:?}", in_microseconds(event)));
}

/// As times are written.
fn in_microseconds(mut event: RecordedEvent) -> RecordedEvent {
    for time in [&mut event.occurred_at, &mut event.recorded_at] {
        *time = time.trunc_subsecs(6);
    }
    event
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_surprise_the_decoder_of_events() {
        garble::try_out("envelope", 3_000, super::envelope);
    }
}
