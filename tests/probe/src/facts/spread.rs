//! The spread of received frames over two queues.

use alloc::format;
use alloc::string::String;

use paravane_suite::Environment;
use paravane_suite::peer::PEER;

use super::Fact;
use super::later::{ask_for_all, plan_since};
use crate::bench::{ANSWER, Bench};
use crate::frame::Segment;
use crate::raw::layout::{cmd, shared, upt};
use crate::raw::ring::Received;
use crate::report::{Answer, seen};

const KEY_BYTES: usize = 40;
/// Where in `UPT1_RSSConf` its parts are.
const KEY_AT: usize = 8;
const TABLE_AT: usize = 0x30;
const CONF_BYTES: u32 = 176;
/// How many ports are tried: enough for each bit of a hash to be seen as 0 and as 1.
const PORTS: u16 = 16;
/// Fields for UDP and ESP beside TCP.
const ALL_FIELDS: u32 = 0x3f;

pub(super) fn facts<E: Environment>() -> [Fact<E>; 6] {
    [
        Fact { id: "RSS-HASH", expected: "the hash is Toeplitz's of addresses and ports", ask: hash },
        Fact {
            id: "RSS-LOW-BITS",
            expected: "the queue is what 7 low bits say",
            ask: |bench| bits(bench, 128),
        },
        Fact {
            id: "RSS-TABLE-64",
            expected: "the queue is what 6 low bits say",
            ask: |bench| bits(bench, 64),
        },
        Fact { id: "RSS-TABLE-LENGTH", expected: "the length stays over UPDATE_RSSIDT", ask: length },
        Fact { id: "RSS-FIELDS-DEFAULT", expected: "0x3", ask: fields },
        Fact { id: "RSS-FIELDS-GRANTED", expected: "0x3f of 0x3f", ask: more_fields },
    ]
}

/// Any key will do whose hashes differ.
fn key() -> [u8; KEY_BYTES] {
    core::array::from_fn(|at| u8::try_from(at).unwrap_or(0).wrapping_mul(73) ^ 0x6d)
}

/// The hash of `input`.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 != 0);
    let window =
        |at: usize| (at..at.saturating_add(32)).fold(0, |word, at| word << 1 | u32::from(bit(key, at)));
    (0..input.len().saturating_mul(8)).filter(|at| bit(input, *at)).fold(0, |hash, at| hash ^ window(at))
}

/// The queue of entry `index` of a table: bit 6 and bit 0 of it decide, so that both show.
const fn entry(index: u32) -> u8 {
    ((index >> 6 ^ index) & 1) as u8
}

/// Writes the table's length and entries.
fn describe<E: Environment>(bench: &mut Bench<'_, E>, entries: u16) -> Result<(), String> {
    let live = bench.live()?;
    live.scratch.put16(6, entries);
    for index in 0..u32::from(entries) {
        live.scratch.put8(TABLE_AT.wrapping_add(index as usize), entry(index));
    }
    Ok(())
}

/// Brought up with two receive queues and a table of `entries`.
fn up<E: Environment>(bench: &mut Bench<'_, E>, entries: u16) -> Result<(), String> {
    lay(bench, entries)?;
    bench.go()
}

/// The same, to be activated.
fn lay<E: Environment>(bench: &mut Bench<'_, E>, entries: u16) -> Result<(), String> {
    bench.need_peer()?;
    let mut plan = bench.plan();
    plan.rx_queues = 2;
    bench.lay(plan)?;
    describe(bench, entries)?;
    let live = bench.live()?;
    // All four types of hash, by Toeplitz.
    live.scratch.put16(0, 0xf);
    live.scratch.put16(2, 1);
    live.scratch.put16(4, 40);
    live.scratch.put(KEY_AT, &key());
    live.shared.put64(shared::UPT_FEATURES, upt::RSS);
    live.shared.put32(shared::RSS_CONF_DESC, 1);
    live.shared.put32(shared::RSS_CONF_DESC + 4, CONF_BYTES);
    live.shared.put64(shared::RSS_CONF_DESC + 8, live.scratch.address(0));
    Ok(())
}

/// Has a TCP segment sent from a port; the queue that it comes by, and what came.
fn one<E: Environment>(bench: &mut Bench<'_, E>, port: u16) -> Result<(usize, Received), String> {
    let frame = Segment { to: bench.mac, ports: [port, 80], ..Segment::new(PEER.0, 64) }.bytes();
    bench.have_sent(&frame)?;
    let came = bench.wait(ANSWER, |bench| {
        [0, 1].into_iter().find_map(|queue| {
            let frame = bench.received(queue)?;
            (frame.bytes.get(6..12) == Some(&PEER.0)).then_some((queue, frame))
        })
    });
    came.ok_or_else(|| format!("nothing arrives from port {port}"))
}

/// The hash of such a segment.
fn due(port: u16) -> u32 {
    let [high, low] = port.to_be_bytes();
    toeplitz(&key(), &[192, 0, 2, 1, 192, 0, 2, 2, high, low, 0, 80])
}

fn hash<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    up(bench, 128)?;
    let (_, received) = one(bench, 1)?;
    let (kind, seen_hash) = (received.words[0] >> 26 & 0xf, received.words[1]);
    seen(kind == 2 && seen_hash == due(1), format!("type {kind}, {seen_hash:#x} for {:#x}", due(1)))
}

/// How many of the segments come by the queue that so many entries of a table say.
fn fitting<E: Environment>(bench: &mut Bench<'_, E>, entries: u32) -> Result<u16, String> {
    let mut fitting = 0;
    for port in 1..=PORTS {
        let (queue, _) = one(bench, port)?;
        let index = due(port).checked_rem(entries).unwrap_or(0);
        fitting += u16::from(queue == usize::from(entry(index)));
    }
    Ok(fitting)
}

fn bits<E: Environment>(bench: &mut Bench<'_, E>, entries: u16) -> Answer {
    up(bench, entries)?;
    let fitting = fitting(bench, entries.into())?;
    seen(fitting == PORTS, format!("{fitting} of {PORTS} by a table of {entries}"))
}

/// A table of 128 entries of which only half are said to be there after a change: those that are
/// beyond then name the other queue.
fn length<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    up(bench, 128)?;
    let before = fitting(bench, 128)?;
    if before != PORTS {
        return Err(format!("{before} of {PORTS} by the table as activation read it"));
    }
    bench.live()?.scratch.put16(6, 64);
    let answer = bench.raw.command(cmd::UPDATE_RSSIDT);
    let after = fitting(bench, 128)?;
    seen(after == PORTS, format!("answer {answer:#x}, {after} of {PORTS} by 128 entries, where 64 are said"))
}

fn fields<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = plan_since(bench, 4)?;
    up(bench, 128)?;
    let fields = bench.raw.command(cmd::GET_RSS_FIELDS);
    seen(fields == 3, format!("{fields:#x} at revision {}", plan.revision))
}

/// With two queues: with one, hosts are known that take it badly.
fn more_fields<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    plan_since(bench, 4)?;
    lay(bench, 128)?;
    // From revision 7 on, what is hashed beside TCP is a capability.
    if bench.plan().revision >= 7 {
        ask_for_all(bench)?;
    }
    bench.go()?;
    bench.live()?.shared.put32(shared::CMD_INFO, ALL_FIELDS);
    let answer = bench.raw.command(cmd::SET_RSS_FIELDS);
    let granted = bench.raw.command(cmd::GET_RSS_FIELDS);
    seen(granted == ALL_FIELDS, format!("answer {answer:#x}, {granted:#x} of {ALL_FIELDS:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec: Microsoft, "Verifying the RSS Hash Calculation".
    #[test]
    fn the_hash_is_that_of_the_published_example() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let [source, destination] = [2794_u16, 1766].map(u16::to_be_bytes);
        let input = [&[66, 9, 149, 187, 161, 142, 100, 80][..], &source, &destination].concat();
        assert_eq!(toeplitz(&key, &input), 0x51cc_c178);
    }

    /// Or a device that looks at others would go unnoticed.
    #[test]
    fn the_ports_tell_tables_and_lengths_apart() {
        let queue = |port, entries: u32| entry(due(port) % entries);
        assert!((1..=PORTS).any(|port| queue(port, 128) != queue(port, 64)));
        let high = |port: u16| entry(due(port) >> 25);
        assert!((1..=PORTS).any(|port| queue(port, 128) != high(port)));
        assert!((0..2).all(|wanted| (1..=PORTS).any(|port| queue(port, 128) == wanted)));
    }
}
