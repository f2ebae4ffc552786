//! The tests. Each begins with a stopped device and ends with one.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::time::wait_for;
use paravane_net::{
    Control as _, Device, DeviceStats, FrameLayout, FramePool, Link, MacAddr, RxFilter, RxFilterError,
    RxQueue as _, TxQueue as _,
};
use paravane_pci::{Function, PciAddress};

use crate::Failure;
use crate::environment::Environment;
use crate::nic::Nic;
use crate::peer::{MAX_FRAME_BYTES, MIN_FRAME_BYTES};

/// The shortest rings that both drivers take, so that they wrap soon.
const SHORT_RING: u16 = 32;
/// Long enough that the longest burst fits without refilling.
const RING: u16 = 64;
/// Both rings of the longest kind, what both hold beside each other, and a burst.
const FRAMES: u32 = 192;
const FRAME_BYTES: u16 = 2048;
/// From the cable being pulled to the driver noticing.
const LINK_LIMIT: Duration = Duration::from_secs(15);

type Case<E, D> = fn(&mut E, D, &FramePool) -> Result<D, String>;

/// Runs them all on the NIC at `address`, which `open` takes over.
pub(crate) fn run<E, D>(
    environment: &mut E,
    address: PciAddress,
    open: impl FnOnce(Function<E::Config>, E::Platform) -> Result<D, String>,
) -> Result<usize, Failure>
where
    E: Environment,
    D: Device,
{
    let all: [(&'static str, Case<E, D>); 10] = [
        ("a running NIC says who it is", identity::<E, D>),
        ("frames of all lengths come back", lengths::<E, D>),
        ("single frames come back", singles::<E, D>),
        ("full bursts come back", bursts::<E, D>),
        ("short rings wrap twice", wraps::<E, D>),
        ("the link goes down and up", link::<E, D>),
        ("messages tell of frames and of the link", messages::<E, D>),
        ("a filter holds", filter::<E, D>),
        ("what is counted is what was done", counters::<E, D>),
        ("stopping and starting again loses nothing", restarts::<E, D>),
    ];
    let before = environment.dma_bytes_in_use();
    let fails = |case, reason: String| Failure { case, reason };
    let pool =
        FramePool::new(environment.platform(), FrameLayout::new(FRAMES).with_buffer_bytes(FRAME_BYTES));
    let pool = pool.map_err(|error| fails("a pool of frames", error.to_string()))?;
    let with_pool = environment.dma_bytes_in_use();

    let function = Function::claim(environment.config(), address);
    let function = function.map_err(|error| fails("claim", error.to_string()))?;
    let mut stopped = open(function, environment.platform()).map_err(|reason| fails("identify", reason))?;
    for (case, body) in all {
        stopped = body(environment, stopped, &pool).map_err(|reason| fails(case, reason))?;
        let in_use = environment.dma_bytes_in_use();
        if in_use != with_pool {
            let reason =
                format!("{in_use} bytes of DMA memory in use after the stop, {with_pool} before the start");
            return Err(fails(case, reason));
        }
        environment.report(format_args!("ok   {case}"));
    }
    drop((stopped, pool));
    let after = environment.dma_bytes_in_use();
    if after != before {
        let reason = format!("{after} bytes of DMA memory in use at the end, {before} at the beginning");
        return Err(fails("everything is given back", reason));
    }
    Ok(all.len())
}

/// `Err` with a sentence when `holds` does not.
fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(reason()) }
}

fn identity<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let mac = environment.mac();
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    let info = nic.parts.control.info();
    ensure(info.mac == mac, || format!("the address is {}, the NIC was made with {mac}", info.mac))?;
    ensure(usize::from(info.max_frame_bytes) >= MAX_FRAME_BYTES, || {
        format!("frames of {} bytes at most", info.max_frame_bytes)
    })?;
    ensure(info.rx_slots == RING && info.tx_slots == RING, || format!("rings of {RING} became {info:?}"))?;
    await_link(&mut nic, true)?;
    nic.stop()
}

/// The ends, what is around powers of two, and primes in between.
fn frame_lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> = (MIN_FRAME_BYTES..=66).collect();
    for power in [128, 256, 512, 1024] {
        lengths.extend([power - 2, power - 1, power, power + 1]);
    }
    lengths.extend([199, 331, 797, 1259, 1499, 1500, 1512, 1513, MAX_FRAME_BYTES]);
    lengths
}

fn lengths<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    for lengths in frame_lengths().chunks(8) {
        nic.echo(lengths)?;
    }
    nic.stop()
}

fn singles<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    for number in 0..20 {
        nic.echo(&[MIN_FRAME_BYTES + number])?;
    }
    nic.stop()
}

fn bursts<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    for _ in 0..3 {
        nic.echo(&[64; 32])?;
    }
    let counters = nic.parts.tx.counters();
    ensure(counters.doorbells < counters.frames / 4, || format!("a doorbell a burst, not: {counters:?}"))?;
    nic.stop()
}

fn wraps<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, SHORT_RING)?;
    // Bursts of five do not divide the ring, so that they cross its end at different places.
    let wanted = 2 * u64::from(SHORT_RING) + 10;
    while nic.parts.tx.counters().frames < wanted {
        nic.echo(&[60, 61, 62, 63, 64])?;
    }
    let received = nic.parts.rx.counters();
    ensure(received.frames >= wanted && received.dropped() == 0, || format!("received {received:?}"))?;
    nic.stop()
}

/// Waits until the driver reports the link in that state.
fn await_link<E, D>(nic: &mut Nic<'_, E, D>, up: bool) -> Result<(), String>
where
    E: Environment,
    D: Device,
{
    let clock = nic.environment.platform();
    let mut fault = None;
    let waited = wait_for(&clock, LINK_LIMIT, || {
        nic.environment.turn();
        fault = nic.parts.control.poll().err();
        (fault.is_some() || nic.parts.control.link().is_up() == up).then_some(())
    });
    let link: Link = nic.parts.control.link();
    match (fault, waited) {
        (Some(fault), _) => Err(format!("waiting for the link: {fault}")),
        (None, Ok(())) => Ok(()),
        (None, Err(late)) => Err(format!("the link is still {link}: {late}")),
    }
}

fn link<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    nic.echo(&[100])?;
    for _ in 0..if nic.environment.tells_of_link() { 2 } else { 0 } {
        nic.environment.set_link(false);
        await_link(&mut nic, false)?;
        nic.environment.set_link(true);
        await_link(&mut nic, true)?;
        nic.echo(&[100, 200])?;
    }
    nic.stop()
}

fn messages<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let messages = environment.messages();
    let interrupts = Interrupts::msix(&messages);
    let mut nic = Nic::<E, D>::start_with(environment, stopped, pool, RING, interrupts)?;
    await_link(&mut nic, true)?;
    let own = nic.mac();
    for len_bytes in [60, 600] {
        // What rang before is not what is waited for.
        nic.environment.turn();
        let _ = nic.environment.rang();
        let armed = nic.parts.rx.arm().map_err(|fault| fault.to_string())?;
        ensure(armed == Armed::Idle, || "a frame is pending that nobody sent".into())?;
        let question = nic.question(own, len_bytes);
        nic.send(core::slice::from_ref(&question))?;
        nic.await_message().map_err(|reason| format!("a frame of {len_bytes} bytes: {reason}"))?;
        nic.parts.rx.disarm();
        nic.expect(&[question])?;
    }
    let changes: &[bool] = if nic.environment.tells_of_link() { &[false, true] } else { &[] };
    for &up in changes {
        nic.environment.turn();
        let _ = nic.environment.rang();
        let armed = nic.parts.control.arm().map_err(|fault| fault.to_string())?;
        ensure(armed == Armed::Idle, || "an event is pending that nobody caused".into())?;
        nic.environment.set_link(up);
        nic.await_message().map_err(|reason| format!("a change of the link: {reason}"))?;
        await_link(&mut nic, up)?;
    }
    nic.stop()
}

fn filter<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    const EVERYONE: MacAddr = MacAddr([0xff; 6]);
    const A_GROUP: MacAddr = MacAddr([0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb]);
    let somebody_else = MacAddr::local(0xdead);
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    let own = nic.mac();
    let filters = nic.parts.control.info().filters;
    let settings = [
        RxFilter::UNICAST,
        RxFilter::UNICAST | RxFilter::BROADCAST,
        RxFilter::UNICAST | RxFilter::ALL_MULTICAST,
        RxFilter::UNICAST | RxFilter::BROADCAST | RxFilter::ALL_MULTICAST | RxFilter::PROMISCUOUS,
        RxFilter::default(),
    ];
    for wanted in settings {
        match nic.parts.control.set_filter(wanted) {
            Ok(()) => {}
            Err(RxFilterError::NotOffered(_)) if !filters => {
                nic.echo(&[70]).map_err(|reason| format!("after {wanted:?} was refused: {reason}"))?;
                continue;
            }
            Err(error) => return Err(format!("{wanted:?}: {error}")),
        }
        if !filters {
            // More than was asked for may come, so only what was asked for is looked at.
            nic.echo(&[70])?;
            continue;
        }
        let comes = |answer_to: MacAddr| match answer_to {
            EVERYONE => wanted.intersects(RxFilter::BROADCAST | RxFilter::PROMISCUOUS),
            A_GROUP => wanted.intersects(RxFilter::ALL_MULTICAST | RxFilter::PROMISCUOUS),
            to if to == own => true,
            _ => wanted.contains(RxFilter::PROMISCUOUS),
        };
        // Last the one to us: once it is here, what has not come will not come.
        let mut expected = vec![];
        let mut questions = vec![];
        for answer_to in [EVERYONE, A_GROUP, somebody_else, own] {
            let question = nic.question(answer_to, 70);
            if comes(answer_to) {
                expected.push(question.clone());
            }
            questions.push(question);
        }
        nic.send(&questions)?;
        nic.expect(&expected).map_err(|reason| format!("with {wanted:?}: {reason}"))?;
    }
    nic.stop()
}

fn counters<E, D>(environment: &mut E, stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    const LENGTHS: [usize; 4] = [60, 61, 500, 1514];
    const ROUNDS: u64 = 5;
    let mut nic = Nic::<E, D>::start(environment, stopped, pool, RING)?;
    // Over all starts, those of other tests included.
    let before = nic.parts.control.read_device_stats().map_err(|fault| fault.to_string())?;
    for _ in 0..ROUNDS {
        nic.echo(&LENGTHS)?;
    }
    let bytes = LENGTHS.iter().map(|len_bytes| *len_bytes as u64).sum::<u64>() * ROUNDS;
    let frames = LENGTHS.len() as u64 * ROUNDS;
    let (sent, received) = (nic.parts.tx.counters(), nic.parts.rx.counters());
    ensure((sent.frames, sent.completed, sent.bytes, sent.refused) == (frames, frames, bytes, 0), || {
        format!("{frames} frames of {bytes} bytes were sent; counted: {sent:?}")
    })?;
    ensure((received.frames, received.bytes, received.dropped()) == (frames, bytes, 0), || {
        format!("{frames} frames of {bytes} bytes were received; counted: {received:?}")
    })?;
    let after = nic.parts.control.read_device_stats().map_err(|fault| fault.to_string())?;
    if let (Some(before), Some(after)) = (before, after) {
        let more = |count: fn(&DeviceStats) -> u64| count(&after).saturating_sub(count(&before));
        let counted = (more(|all| all.tx_frames), more(|all| all.tx_bytes), more(|all| all.rx_frames));
        ensure(counted == (frames, bytes, frames), || {
            format!(
                "{frames} frames of {bytes} bytes went both ways; from {before:?} the device got to {after:?}"
            )
        })?;
    }
    nic.stop()
}

fn restarts<E, D>(environment: &mut E, mut stopped: D, pool: &FramePool) -> Result<D, String>
where
    E: Environment,
    D: Device,
{
    let before = environment.dma_bytes_in_use();
    for round in 0..4 {
        // A ring of another length each time: nothing of the last one is left.
        let entries = if round % 2 == 0 { SHORT_RING } else { RING };
        let mut nic = Nic::<E, D>::start(environment, stopped, pool, entries)?;
        nic.echo(&[60, 1514, 333])?;
        stopped = nic.stop()?;
        let after = environment.dma_bytes_in_use();
        ensure(after == before, || {
            format!("{before} bytes in use before start {round}, {after} after its stop")
        })?;
    }
    Ok(stopped)
}
