//! What passed in the last minutes, second by second: a page that is opened shows it at once.
//!
//! All of it is allocated at the start, and stays as large as it is.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_appliance::interface::InterfaceId;
use paravane_hal::time::Instant;
use serde::Serialize;

use super::{Named, Router};
use crate::app::server::Passed;

/// How many seconds are kept.
pub(super) const SECONDS: usize = 300;

/// Numbers of the last seconds, the oldest first.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Series(VecDeque<u32>);

impl Series {
    fn new() -> Self {
        Self(VecDeque::with_capacity(SECONDS))
    }

    /// Adds `value` for each of so many `seconds`.
    fn push(&mut self, value: u64, seconds: usize) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        for _ in 0..seconds.min(SECONDS) {
            if self.0.len() == SECONDS {
                self.0.pop_front();
            }
            self.0.push_back(value);
        }
    }
}

/// Something that is counted, and how much more it was in each second.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Rate {
    series: Series,
    #[serde(skip)]
    before: u64,
}

impl Rate {
    fn new() -> Self {
        Self { series: Series::new(), before: 0 }
    }

    /// It is at `count` now, after so many nanoseconds, which are those `seconds`.
    fn push(&mut self, count: u64, nanos: u64, seconds: usize) {
        let more = u128::from(count.saturating_sub(self.before));
        let a_second = more.saturating_mul(1_000_000_000) / u128::from(nanos.max(1));
        self.before = count;
        self.series.push(u64::try_from(a_second).unwrap_or(u64::MAX), seconds);
    }
}

/// What passed an interface, each second.
#[derive(Debug, Serialize)]
struct OfInterface {
    name: String,
    /// Bytes of frames that came in.
    r#in: Rate,
    /// Bytes of frames that went out.
    out: Rate,
    /// Frames of those that came in that were dropped.
    dropped: Rate,
    /// Packets of them that were passed on.
    passed: Rate,
}

/// All that is kept.
#[derive(Debug, Serialize)]
pub(super) struct History {
    nics: Vec<OfInterface>,
    /// How many flows there were.
    flows: Series,
    /// How many began.
    opened: Rate,
    #[serde(skip)]
    until: Instant,
}

impl History {
    /// Of nothing, over these interfaces, from `now` on.
    pub(super) fn new(interfaces: &[Named], now: Instant) -> Self {
        let nics = interfaces.iter().map(|named| OfInterface {
            name: named.name.clone(),
            r#in: Rate::new(),
            out: Rate::new(),
            dropped: Rate::new(),
            passed: Rate::new(),
        });
        Self { nics: nics.collect(), flows: Series::new(), opened: Rate::new(), until: now }
    }
}

/// Keeps what passed until `now`. Where the box was too busy to be asked each second, what passed
/// is spread over those that it was not.
pub(super) fn second(router: &mut Router, passed: &mut dyn Iterator<Item = Passed<'_>>, now: Instant) {
    const NANOS: u64 = 1_000_000_000;
    let Router { history, path, .. } = router;
    let nanos = u64::try_from(now.since(history.until).as_nanos()).unwrap_or(u64::MAX);
    let seconds = usize::try_from((nanos.saturating_add(NANOS / 2)) / NANOS).unwrap_or(SECONDS);
    if seconds == 0 {
        return;
    }
    history.until = now;
    for (name, tx, rx) in passed {
        if let Some(nic) = history.nics.iter_mut().find(|nic| nic.name == name) {
            nic.r#in.push(rx.bytes, nanos, seconds);
            nic.out.push(tx.bytes, nanos, seconds);
        }
    }
    let Some(path) = path else { return };
    for (nic, number) in history.nics.iter_mut().zip(0..) {
        let id = InterfaceId(number);
        nic.dropped.push(path.drops().total(id), nanos, seconds);
        nic.passed.push(path.counters(id).forwarded, nanos, seconds);
    }
    if let Some(flows) = path.balancer().map(|balancer| balancer.flows()) {
        history.flows.push(flows.len().into(), seconds);
        history.opened.push(flows.counters().opened(), nanos, seconds);
    }
}

/// As JSON.
pub(super) fn to_json(history: &History) -> String {
    let mut json = serde_json::to_string(history).unwrap_or_default();
    json.push('\n');
    json
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use paravane_net::{RxCounters, TxCounters};
    use serde_json::{Value, json};

    use super::super::tests::ready;
    use super::*;

    /// Tells a router what passed `public` until so many milliseconds after the start.
    fn pass(router: &mut Router, millis: u64, received: u64, sent: u64) {
        let tx = TxCounters { bytes: sent, ..Default::default() };
        let rx = RxCounters { bytes: received, ..Default::default() };
        let now = Instant::default().saturating_add(Duration::from_millis(millis));
        second(router, &mut [("admin", tx, rx), ("public", tx, rx)].into_iter(), now);
    }

    fn kept(router: &Router) -> Value {
        serde_json::from_str(&to_json(&router.history)).unwrap()
    }

    #[test]
    fn each_second_has_what_passed_in_it() {
        let mut router = ready();
        pass(&mut router, 1000, 500, 10);
        pass(&mut router, 2010, 500 + 1010, 10);
        let public = &kept(&router)["nics"][0];
        assert_eq!(public["name"], "public");
        assert_eq!((&public["in"], &public["out"]), (&json!([500, 1000]), &json!([10, 0])));
        assert_eq!(kept(&router)["nics"].as_array().unwrap().len(), 2, "admin is not passed on by");
        assert_eq!(kept(&router)["nics"][1]["passed"], json!([0, 0]));
    }

    #[test]
    fn what_passed_while_nobody_asked_is_spread() {
        let mut router = ready();
        pass(&mut router, 1000, 0, 0);
        pass(&mut router, 1200, 100, 0);
        pass(&mut router, 4000, 3000, 0);
        assert_eq!(kept(&router)["nics"][0]["in"], json!([0, 1000, 1000, 1000]));
    }

    #[test]
    fn as_many_seconds_are_kept_as_said() {
        let mut router = ready();
        for second in 1..=400 {
            pass(&mut router, second * 1000, second * second, 0);
        }
        let kept = kept(&router);
        let values = kept["nics"][0]["in"].as_array().unwrap();
        assert_eq!((values.len(), &values[0], &values[299]), (SECONDS, &json!(201), &json!(799)));
        let mut router = ready();
        pass(&mut router, 100_000_000, u64::MAX, 0);
        assert_eq!(self::kept(&router)["nics"][0]["in"].as_array().unwrap().len(), SECONDS);
    }
}
