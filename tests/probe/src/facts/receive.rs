//! Frames on their way in: buffers, completions, what passes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_net::MacAddr;
use paravane_suite::Environment;
use paravane_suite::peer::{PEER, wrapped};

use super::{Fact, status};
use crate::bench::{ANSWER, Bench, QUIET};
use crate::frame::{Segment, plain, sums, tagged};
use crate::raw::layout::{cmd, queue, shared, stats, stop, upt};
use crate::raw::ring::{BUFFER_BYTES, Offload, Received};
use crate::report::{Answer, seen};

pub(super) fn facts<E: Environment>() -> [Fact<E>; 16] {
    [
        Fact { id: "UPDATE-RX-PROD", expected: "any value", ask: update_rx_prod },
        Fact { id: "RCD-TYPE", expected: "type 3", ask: kind },
        Fact { id: "RCD-FCS", expected: "fcs set", ask: fcs },
        Fact { id: "RCD-CNC", expected: "nothing verified where nobody asks", ask: unverified },
        Fact { id: "RCD-VERIFIED", expected: "IP and TCP verified", ask: verified },
        Fact { id: "RX-UNRUNG", expected: "arrives without a doorbell where updateRxProd is 0", ask: unrung },
        Fact { id: "RINGS-WRAP", expected: "150 of 150 frames, there and back", ask: laps },
        Fact { id: "RX-FULL-RING", expected: "any answer", ask: full_ring },
        Fact { id: "TAG-STRIPPED", expected: "arrives without its tag 5, which is told", ask: stripped },
        Fact { id: "LRO-MERGED", expected: "any answer", ask: merged },
        Fact { id: "RX-STARVED", expected: "1 out of buffers, and lost", ask: starved },
        Fact { id: "RX-OVER-MTU", expected: "nothing arrives", ask: over_mtu },
        Fact { id: "RX-TWO-RINGS", expected: "a head of rqID 0, then a body of rqID 1", ask: two_rings },
        Fact { id: "RX-SG-0", expected: "arrives whole in two buffers", ask: no_scatter },
        Fact {
            id: "RX-HEAD-64",
            expected: "the queue stops with 0x80000004",
            ask: |bench| odd_buffer(bench, 64),
        },
        Fact {
            id: "RX-HEAD-0",
            expected: "the queue stops with 0x80000004",
            ask: |bench| odd_buffer(bench, 0),
        },
    ]
}

/// A frame of no protocol to the device, as the other end has it sent.
pub(super) fn to_us<E: Environment>(bench: &Bench<'_, E>, len_bytes: usize) -> Vec<u8> {
    let mut frame = plain(PEER.0, len_bytes);
    frame.iter_mut().zip(bench.mac).for_each(|(to, byte)| *to = byte);
    frame
}

fn update_rx_prod<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let live = bench.live()?;
    let value = live.table.get8(live.rx_desc(0) + queue::UPDATE_RX_PROD);
    seen(true, format!("{value}"))
}

/// Brought up, and a frame received.
fn one<E: Environment>(bench: &mut Bench<'_, E>) -> Result<Received, String> {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = to_us(bench, 200);
    bench.have_sent(&frame)?;
    bench.frame(ANSWER).ok_or_else(|| "nothing arrives".into())
}

fn words(received: &Received) -> String {
    let [first, second, third, last] = received.words;
    format!("words {first:#x} {second:#x} {third:#x} {last:#x}")
}

fn kind<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let received = one(bench)?;
    let kind = received.words[3] >> 24 & 0x7f;
    seen(kind == 3, format!("type {kind}, {}", words(&received)))
}

fn fcs<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let received = one(bench)?;
    let fcs = received.words[3] >> 23 & 1;
    seen(fcs == 1, format!("fcs {fcs}, {}", words(&received)))
}

/// A right TCP segment, with `features` asked for; whether nothing was verified, and all that was.
fn segment<E: Environment>(bench: &mut Bench<'_, E>, features: u64) -> Result<(bool, u32, String), String> {
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.live()?.shared.put64(shared::UPT_FEATURES, features);
    bench.go()?;
    let from = PEER.0;
    let frame = Segment { to: bench.mac, ..Segment::new(from, 100) }.bytes();
    bench.have_sent(&frame)?;
    let received = bench.frame(ANSWER).ok_or("nothing arrives")?;
    let unverified = received.words[0] >> 30 & 1 != 0;
    Ok((unverified, received.words[3] >> 16 & 0x7f, words(&received)))
}

fn unverified<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (unverified, _, what) = segment(bench, 0)?;
    seen(unverified, format!("cnc {}, {what}", u8::from(unverified)))
}

fn verified<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    /// `tuc`, `tcp`, `ipc`, `v4`.
    const GOOD: u32 = 1 | 1 << 2 | 1 << 3 | 1 << 5;
    let (unverified, verdict, what) = segment(bench, upt::RXCSUM)?;
    seen(
        !unverified && verdict == GOOD,
        format!("cnc {}, verdict {verdict:#x}, {what}", u8::from(unverified)),
    )
}

fn unrung<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let mut plan = bench.plan();
    plan.fills = false;
    bench.up(plan)?;
    let live = bench.live()?;
    let wants = live.table.get8(live.rx_desc(0) + queue::UPDATE_RX_PROD) != 0;
    live.rx.iter_mut().for_each(|queue| queue.fill());
    let frame = to_us(bench, 200);
    bench.have_sent(&frame)?;
    let arrives = bench.frame(ANSWER).is_some();
    seen(arrives || wants, format!("arrives {arrives}, updateRxProd {}", u8::from(wants)))
}

/// More frames than rings have entries, so that each generation is seen.
fn laps<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    const FRAMES: usize = 150;
    bench.need_peer()?;
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 100);
    let mut whole = 0;
    for _ in 0..FRAMES {
        bench.send(&frame)?;
        let arrived = bench.arrived(ANSWER);
        let done = bench.wait(ANSWER, |bench| bench.completion(0)).is_some();
        if !done || arrived.is_none_or(|(bytes, _)| bytes != frame) {
            break;
        }
        whole += 1;
    }
    seen(whole == FRAMES, format!("{whole} of {FRAMES} frames, there and back"))
}

/// No buffer stays with the driver, so that a full ring and an empty one have the same numbers.
fn full_ring<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let mut plan = bench.plan();
    plan.fills = false;
    bench.up(plan)?;
    if let Some(queue) = bench.live()?.rx.first_mut() {
        queue.fill();
        queue.post_head(BUFFER_BYTES);
    }
    bench.tell()?;
    let frame = to_us(bench, 200);
    bench.have_sent(&frame)?;
    let arrives = bench.frame(ANSWER).is_some();
    seen(true, if arrives { "arrives" } else { "nothing arrives" })
}

/// Asked for while it runs.
fn stripped<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    bench.live()?.shared.put64(shared::UPT_FEATURES, upt::RXVLAN);
    bench.raw.command(cmd::UPDATE_FEATURE);
    let frame = to_us(bench, 200);
    bench.have_sent(&tagged(&frame, 5))?;
    let received = bench.frame(ANSWER).ok_or("nothing arrives")?;
    let (told, tag) = (received.words[2] >> 15 & 1, received.words[2] >> 16);
    let bare = received.bytes == frame;
    seen(
        bare && told == 1 && tag == 5,
        format!("without a tag {bare}, ts {told}, tci {tag}, {}", words(&received)),
    )
}

/// Three segments of a connection, one right behind the other.
fn merged<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    const BYTES: u32 = 400;
    bench.need_peer()?;
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.live()?.shared.put64(shared::UPT_FEATURES, upt::RXCSUM | upt::LRO);
    bench.go()?;
    for number in 0..3 {
        let segment = Segment::new(PEER.0, BYTES as usize);
        let sequence = segment.sequence.wrapping_add(BYTES.wrapping_mul(number));
        let frame = Segment { to: bench.mac, sequence, ..segment }.bytes();
        let wrapper = wrapped(PEER, MacAddr(bench.mac), &frame).ok_or("a frame that is too long")?;
        bench.push(0, &[&wrapper], &Offload::NONE)?;
    }
    bench.ring(0)?;
    let mut what = String::new();
    for _ in 0..3 {
        let Some(received) = bench.frame(QUIET) else { break };
        let [ip, tcp] = sums(&received.bytes);
        // Where it starts, type 4 has how many there were, and what each carried.
        let [_, second, _, fourth] = received.first;
        let kind = fourth >> 24 & 0x7f;
        let more = format!(
            "{} bytes, type {kind}, dw1 {second:#x}, dw3 {fourth:#x}, sums right {ip} {tcp}; ",
            received.bytes.len()
        );
        what.push_str(&more);
    }
    if what.is_empty() { Err("nothing arrives".into()) } else { seen(true, what.trim_end_matches("; ")) }
}

fn starved<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let mut plan = bench.plan();
    plan.fills = false;
    bench.up(plan)?;
    let frame = to_us(bench, 200);
    bench.have_sent(&frame)?;
    // Nothing can come: the time is the other end's.
    let _ = bench.frame(QUIET);
    bench.raw.command(cmd::GET_STATS);
    let live = bench.live()?;
    let lost = live.counter(live.rx_desc(0), stats::RX_OUT_OF_BUF);
    bench.post()?;
    let late = bench.frame(QUIET).is_some();
    seen(lost == 1 && !late, format!("{lost} out of buffers, arrives once there are some {late}"))
}

fn over_mtu<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.live()?.shared.put32(shared::MTU, 576);
    bench.go()?;
    let frame = to_us(bench, 1000);
    bench.have_sent(&frame)?;
    let arrived = bench.frame(ANSWER);
    let len_bytes = arrived.map_or(0, |received| received.bytes.len());
    seen(len_bytes == 0, format!("{len_bytes} bytes of 1000 arrive at an MTU of 576"))
}

/// Heads of 256 bytes, and a frame that takes more; what completes, and whether it arrives whole.
fn scattered<E: Environment>(bench: &mut Bench<'_, E>, most: u16) -> Result<(Vec<u32>, bool, u32), String> {
    let plan = bench.plan();
    bench.lay(plan)?;
    let live = bench.live()?;
    live.shared.put16(shared::MAX_NUM_RX_SG, most);
    live.rx.iter_mut().for_each(|queue| queue.set_head_bytes(256));
    bench.go()?;
    let frame = to_us(bench, 600);
    bench.have_sent(&frame)?;
    let received = bench.frame(ANSWER).ok_or("nothing arrives")?;
    Ok((received.queues, received.bytes == frame, received.words[2] >> 14 & 1))
}

fn two_rings<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (queues, whole, err) = scattered(bench, 4)?;
    seen(queues == [0, 1] && whole, format!("rqID {queues:?}, whole {whole}, err {err}"))
}

fn no_scatter<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (queues, whole, err) = scattered(bench, 0)?;
    seen(whole && err == 0, format!("rqID {queues:?}, whole {whole}, err {err}"))
}

/// The first head is one that none may be; a frame then.
fn odd_buffer<E: Environment>(bench: &mut Bench<'_, E>, len_bytes: u32) -> Answer {
    let mut plan = bench.plan();
    plan.fills = false;
    bench.up(plan)?;
    if let Some(queue) = bench.live()?.rx.first_mut() {
        queue.post_head(len_bytes);
    }
    bench.post()?;
    let frame = to_us(bench, 200);
    bench.have_sent(&frame)?;
    let arrived = bench.frame(ANSWER);
    let what = match &arrived {
        Some(received) => format!(
            "{} bytes of 200 arrive, err {}, rqID {:?}, {}",
            received.bytes.len(),
            received.words[2] >> 14 & 1,
            received.queues,
            words(received)
        ),
        None => "nothing arrives".into(),
    };
    let status = status(bench, 1)?;
    let live = bench.live()?;
    let code = live.table.get32(live.rx_desc(0) + queue::ERROR);
    seen(code == stop::SMALL_BUF, format!("{what}, queue {status}"))
}
