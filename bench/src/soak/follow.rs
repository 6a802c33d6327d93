//! A reader that follows every log over HTTP all the time, through all faults: the next event is always the next number.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::clients::Shared;
use super::front::Answer;

/// Between two pages.
const PAUSE: Duration = Duration::from_millis(40);

/// Goes round all tenants for ever, each time at the other process.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut read = vec![0; shared.front.tenants.len()];
    for round in 0.. {
        for (number, last) in read.iter_mut().enumerate() {
            let path = format!("/v1/events?limit=200&after={last}");
            if let Answer::Http { status: 200, body, .. } = shared.front.get(round + number, number, &path).await {
                match next(*last, &body) {
                    Ok(seq) => *last = seq,
                    Err(what) => {
                        let tenant = shared.front.tenants[number];
                        shared.violations.add("gap", format!("tenant {tenant}: {path}: {what}"));
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The number of the last event of a page that follows `last`.
fn next(mut last: u64, page: &Value) -> Result<u64, String> {
    for event in page["data"].as_array().into_iter().flatten() {
        let seq = event["sequence"].as_str().and_then(|seq| seq.parse().ok());
        if seq != Some(last + 1) {
            return Err(format!("{seq:?} came after {last}"));
        }
        last += 1;
    }
    let (after, head) = (page["next_after"].as_u64(), page["head"].as_u64());
    if after != Some(last) || head < after {
        return Err(format!("next_after {after:?} and head {head:?} after {last}"));
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_that_leaves_out_or_repeats_an_event_is_seen() {
        let page = |seqs: &[u64], head: u64| {
            let data: Vec<_> = seqs.iter().map(|seq| json!({"sequence": format!("{seq:020}")})).collect();
            json!({"data": data, "next_after": seqs.last().copied().unwrap_or(2), "head": head})
        };
        assert_eq!(next(2, &page(&[3, 4], 9)), Ok(4));
        assert_eq!(next(2, &page(&[], 2)), Ok(2));
        for bad in [page(&[4], 9), page(&[3, 3], 9), page(&[2, 3], 9), page(&[3, 5], 9), page(&[3, 4], 3)] {
            assert!(next(2, &bad).is_err(), "{bad}");
        }
    }
}
