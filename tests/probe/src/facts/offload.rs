//! What is asked of the device for a frame: a checksum, segments, a tag. The other end tells what
//! arrived.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_suite::Environment;

use super::later::ask_for_all;
use super::{Fact, status};
use crate::bench::{ANSWER, Bench};
use crate::frame::{
    CHECKSUM_IN_TCP, INNER, L4, PAYLOAD, Segment, Sum, plain, sums, tagged, tunnelled, wrong_with,
};
use crate::raw::NEWEST;
use crate::raw::layout::{cmd, om, stats};
use crate::raw::ring::Offload;
use crate::report::{Answer, seen};

const SEGMENTS: usize = 3;
/// So that each fits in a wrapper.
const SEGMENT_BYTES: usize = 400;

/// A frame to be cut, prepared in one way: its IP checksum, its TCP checksum, and whether its
/// headers are in two descriptors.
macro_rules! cut {
    ($id:literal, $expected:tt, $ip:expr, $tcp:expr, $split:expr) => {
        Fact {
            id: $id,
            expected: cut!(@$expected),
            ask: |bench| ask_cut(bench, [$ip, $tcp], $split, cut!(@@$expected)),
        }
    };
    (@right) => { "three segments, all right" };
    (@any) => { "any answer" };
    (@@right) => { false };
    (@@any) => { true };
}

pub(super) fn facts<E: Environment>() -> [Fact<E>; 11] {
    [
        Fact {
            id: "CSUM-PSEUDO",
            expected: "arrives right",
            ask: |bench| ask_sum(bench, Sum::Pseudo, false),
        },
        Fact { id: "CSUM-ZERO", expected: "any answer", ask: |bench| ask_sum(bench, Sum::Zero, true) },
        Fact { id: "TAG-INSERTED", expected: "arrives with tag 5", ask: tag },
        cut!("TSO-IP-0-PSEUDO-0", right, Sum::Zero, Sum::PseudoNoLength, None),
        cut!("TSO-IP-SUM-PSEUDO-0", any, Sum::Whole, Sum::PseudoNoLength, None),
        cut!("TSO-IP-0-PSEUDO-LEN", any, Sum::Zero, Sum::Pseudo, None),
        cut!("TSO-IP-0-ZERO", any, Sum::Zero, Sum::Zero, None),
        cut!("TSO-SPLIT-HEADERS", any, Sum::Zero, Sum::PseudoNoLength, Some(L4)),
        Fact { id: "TUNNEL-REV-4", expected: "arrives right", ask: |bench| tunnel(bench, [4, 6]) },
        Fact { id: "TUNNEL-REV-7", expected: "arrives right", ask: |bench| tunnel(bench, [7, NEWEST]) },
        Fact { id: "STATS-TSO", expected: "3 counted as cut", ask: stats_tso },
    ]
}

/// All that arrives at the other end in time, up to `most` frames.
fn arrivals<E: Environment>(bench: &mut Bench<'_, E>, most: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < most
        && let Some((frame, _)) = bench.arrived(ANSWER)
    {
        all.push(frame);
    }
    all
}

/// In words, what arrived for a frame; whether it is right.
fn judged<E: Environment>(
    bench: &mut Bench<'_, E>,
    whole: &[u8],
    segment_bytes: usize,
    count: usize,
) -> Result<(bool, String), String> {
    let arrived = arrivals(bench, count);
    if arrived.is_empty() {
        return Ok((false, format!("nothing arrives, queue {}", status(bench, 0)?)));
    }
    Ok(match wrong_with(whole, segment_bytes, &arrived) {
        None => (true, format!("{} right", arrived.len())),
        Some(wrong) => (false, wrong),
    })
}

fn ask_sum<E: Environment>(bench: &mut Bench<'_, E>, tcp: Sum, any: bool) -> Answer {
    bench.need_peer()?;
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = Segment { tcp, ..Segment::new(bench.mac, SEGMENT_BYTES) }.bytes();
    bench.push(0, &[&frame], &Offload::of(om::CSUM, L4, L4 + CHECKSUM_IN_TCP))?;
    bench.ring(0)?;
    let (right, what) = judged(bench, &frame, SEGMENT_BYTES, 1)?;
    seen(right || any, what)
}

fn tag<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    bench.need_peer()?;
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 60);
    bench.push(0, &[&frame], &Offload { tag: Some(5), ..Offload::NONE })?;
    bench.ring(0)?;
    let (arrived, len_bytes) = bench.arrived(ANSWER).ok_or("nothing arrives")?;
    let kind = arrived.get(12..16).unwrap_or(&[]);
    seen(arrived == tagged(&frame, 5), format!("{len_bytes} bytes arrive, {kind:02x?} behind the addresses"))
}

/// The checksum of a TCP segment in a VXLAN tunnel, left to the device at the newest revision of
/// these. Below revision 4, a device is known to end its machine over the question.
fn tunnel<E: Environment>(bench: &mut Bench<'_, E>, [first, last]: [u8; 2]) -> Answer {
    bench.need_peer()?;
    let mut plan = bench.plan();
    plan.revision = bench.raw.offered(last);
    if plan.revision < first {
        return Err(format!("no revision from {first} to {last} is offered"));
    }
    bench.lay(plan)?;
    let is_by_name = plan.revision >= 7;
    if is_by_name {
        ask_for_all(bench)?;
    }
    bench.go()?;
    let inner = Segment { tcp: Sum::Pseudo, ..Segment::new(bench.mac, SEGMENT_BYTES) }.bytes();
    let frame = tunnelled(&inner);
    let offload = if is_by_name {
        let at = INNER + L4 + CHECKSUM_IN_TCP;
        Offload { ext1: true, ..Offload::of(om::CSUM, INNER + PAYLOAD, at) }
    } else {
        Offload::of(om::TUNNEL, INNER + PAYLOAD, 0)
    };
    bench.push(0, &[&frame], &offload)?;
    bench.ring(0)?;
    let Some((arrived, _)) = bench.arrived(ANSWER) else {
        return seen(false, format!("nothing arrives, queue {}", status(bench, 0)?));
    };
    let [ip, tcp] = sums(arrived.get(INNER..).unwrap_or(&[]));
    let what =
        format!("inside, IP checksum right {ip}, TCP checksum right {tcp}, at revision {}", plan.revision);
    seen(ip && tcp, what)
}

/// Sends the frame that is to be cut.
fn send_cut<E: Environment>(
    bench: &mut Bench<'_, E>,
    [ip, tcp]: [Sum; 2],
    split: Option<usize>,
) -> Result<Vec<u8>, String> {
    bench.need_peer()?;
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = Segment { ip, tcp, ..Segment::new(bench.mac, SEGMENTS * SEGMENT_BYTES) }.bytes();
    let pieces: Vec<&[u8]> = match split.and_then(|at| frame.split_at_checked(at)) {
        Some((first, second)) => [first, second].into(),
        None => [&frame[..]].into(),
    };
    bench.push(0, &pieces, &Offload::of(om::TSO, PAYLOAD, SEGMENT_BYTES))?;
    bench.ring(0)?;
    Ok(frame)
}

fn ask_cut<E: Environment>(
    bench: &mut Bench<'_, E>,
    sums: [Sum; 2],
    split: Option<usize>,
    any: bool,
) -> Answer {
    let frame = send_cut(bench, sums, split)?;
    let (right, what) = judged(bench, &frame, SEGMENT_BYTES, SEGMENTS)?;
    seen(right || any, what)
}

fn stats_tso<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let frame = send_cut(bench, [Sum::Zero, Sum::PseudoNoLength], None)?;
    bench.wait(ANSWER, |bench| bench.completion(0)).ok_or("no completion")?;
    bench.raw.command(cmd::GET_STATS);
    let live = bench.live()?;
    let count = |index| live.counter(live.tx_desc(0), index);
    let [cut, cut_bytes, all, all_bytes] =
        [stats::TSO, stats::TSO + 1, stats::UCAST, stats::UCAST + 1].map(count);
    let what: String = format!(
        "{cut} cut, {cut_bytes} bytes, {all} unicast, {all_bytes} bytes, of {SEGMENTS} segments in a frame of {} bytes",
        frame.len()
    );
    seen(cut == SEGMENTS as u64, what)
}
