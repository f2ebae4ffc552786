//! The life of a network device: claim, start, traffic, changes, stop, and all of it again.

use anyhow::{Context as _, Result, ensure};
use paravane_hal::irq::Interrupts;
use paravane_hal::time::Clock as _;
use paravane_net::{
    Burst, Config, Control, Device, Events, Frame, FrameLayout, FramePool, Link, Running, RxFilter, RxQueue,
    TxQueue,
};
use paravane_pci::Ids;
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::pci;

use super::{Stage, claim, ensure_same, frame, said, wait};

/// The shortest rings of vmxnet3, so that they wrap soon; small for virtio too.
const RING_ENTRIES: u16 = 32;
/// Two receive rings, a transmit ring, and what is on its way.
const POOL_FRAMES: u32 = 112;
/// Turns of the ring-wrapping part, eight frames each: more than twice round a ring.
const TURNS: u32 = 9;
const FRAMES_A_TURN: u32 = 8;
/// From the shortest frame to the longest, and around the sizes at which something might change.
const SIZES_BYTES: [usize; 19] =
    [60, 61, 62, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 1023, 1024, 1025, 1513, 1514];

/// On VMXNET3.
pub(super) fn life_of_vmxnet3<S: Stage>(stage: &S) -> Result<()> {
    stage.step("find and claim")?;
    let function = claim(stage, paravane_vmxnet3::is_vmxnet3)?;
    stage.step("open")?;
    life_of(stage, said(paravane_vmxnet3::Device::new(function, stage.platform()), "cannot open")?, true)
}

/// On virtio-net, on PCI.
pub(super) fn life_of_virtio<S: Stage>(stage: &S) -> Result<()> {
    stage.step("find and claim")?;
    let function = claim(stage, |ids: &Ids| pci::device_id(ids) == Some(virtio_net::DEVICE_ID))?;
    stage.step("open")?;
    let device = pci::open(function, stage.platform(), virtio_net::Device::new);
    life_of(stage, said(device, "cannot open")?, true)
}

/// On virtio-net in memory, which has no messages.
pub(super) fn life_of_virtio_mmio<S: Stage>(stage: &S) -> Result<()> {
    stage.step("claim")?;
    let device = stage.claim_mmio()?;
    stage.step("open")?;
    let transport = said(MmioTransport::open(device), "cannot open")?;
    let device = virtio_net::Device::new(transport, stage.platform());
    life_of(stage, said(device, "cannot open")?, false)
}

/// A started device in parts, whichever driver it has.
struct Parts<'a> {
    control: &'a mut dyn Control,
    rx: &'a mut dyn RxQueue,
    tx: &'a mut dyn TxQueue,
}

impl<'a> Parts<'a> {
    fn of<D: Device>(running: &'a mut Running<D>) -> Self {
        Self { control: &mut running.control, rx: &mut running.rx, tx: &mut running.tx }
    }
}

fn life_of<S: Stage, D: Device>(stage: &S, nic: D, has_messages: bool) -> Result<()> {
    let pool = said(FramePool::new(stage.platform(), FrameLayout::new(POOL_FRAMES)), "no pool")?;
    let config = Config::default().with_tx_entries(RING_ENTRIES).with_rx_entries(RING_ENTRIES);

    stage.step("start, polling")?;
    let mut running = said(nic.start(&config.into(), pool.clone(), Interrupts::POLLING), "cannot start")?;
    let parts = &mut Parts::of(&mut running);
    play(stage, parts, &pool)?;
    change_link(stage, parts)?;
    if parts.control.info().filters {
        change_filter(stage, parts)?;
    }
    stage.step("stop")?;
    let nic = said(running.stop(), "cannot stop")?;
    ensure!(pool.free() == pool.buffers(), "frames are missing after the stop");

    let messages = if has_messages { stage.messages()? } else { Vec::new() };
    let (step, interrupts) = match &messages[..] {
        [] => ("start again, with its line", Interrupts::LINE),
        messages => ("start again, with messages", Interrupts::msix(messages)),
    };
    stage.step(step)?;
    let mut running = said(nic.start(&config.into(), pool.clone(), interrupts), "cannot start")?;
    let parts = &mut Parts::of(&mut running);
    interrupt(stage, parts, messages.len())?;
    echo(stage, parts, &pool, 1000)?;
    stage.step("stop again")?;
    drop(said(running.stop(), "cannot stop")?);
    ensure!(pool.free() == pool.buffers(), "frames are missing after the second stop");
    Ok(())
}

/// Traffic both ways in all sizes, then round the rings.
fn play(stage: &impl Stage, parts: &mut Parts<'_>, pool: &FramePool) -> Result<()> {
    let us = parts.control.info().mac.0;
    for (number, len_bytes) in (0..).zip(SIZES_BYTES) {
        stage.step(&format!("{len_bytes} bytes out and in"))?;
        send(stage, parts, pool, &[frame([0xff; 6], number, len_bytes)])?;
        receive(stage, parts, &[frame(us, number + 100, len_bytes)])?;
    }
    for turn in 0..TURNS {
        stage.step(&format!("round the rings, {FRAMES_A_TURN} frames out and in, turn {turn}"))?;
        let first = 200 + turn * FRAMES_A_TURN;
        let frames =
            |to| (first..first + FRAMES_A_TURN).map(|number| frame(to, number, 60)).collect::<Vec<_>>();
        send(stage, parts, pool, &frames([0xff; 6]))?;
        receive(stage, parts, &frames(us))?;
    }
    Ok(())
}

/// A frame each way.
fn echo(stage: &impl Stage, parts: &mut Parts<'_>, pool: &FramePool, number: u32) -> Result<()> {
    stage.step("one frame each way")?;
    let us = parts.control.info().mac.0;
    send(stage, parts, pool, &[frame([0xff; 6], number, 60)])?;
    receive(stage, parts, &[frame(us, number + 1, 60)])
}

/// Sends frames as one burst, sees them on the cable, and gets their buffers back.
fn send(stage: &impl Stage, parts: &mut Parts<'_>, pool: &FramePool, frames: &[Vec<u8>]) -> Result<()> {
    let mut burst = Burst::new();
    for bytes in frames {
        let mut out = pool.get().context("no frame left in the pool")?;
        ensure!(out.append(bytes), "the frame does not fit its buffer");
        burst.push(out);
    }
    let taken = said(parts.tx.transmit(&mut burst), "transmit")?;
    ensure!(taken == frames.len(), "the queue took {taken} frames of {}", frames.len());
    parts.tx.flush();
    for bytes in frames {
        ensure_same("a frame on the cable", &stage.take()?, bytes)?;
    }
    let mut sent = 0;
    wait(stage, "the device to be done with what it sent", || {
        sent += parts.tx.reclaim().map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        Ok((sent == frames.len()).then_some(()))
    })?;
    stage.rest()
}

/// Puts frames on the cable and receives them.
fn receive(stage: &impl Stage, parts: &mut Parts<'_>, frames: &[Vec<u8>]) -> Result<()> {
    for bytes in frames {
        stage.give(bytes)?;
    }
    for (bytes, got) in frames.iter().zip(collect(stage, parts, frames.len())?) {
        ensure_same("a frame received", &bytes_of(&got), bytes)?;
    }
    stage.rest()
}

fn collect(stage: &impl Stage, parts: &mut Parts<'_>, count: usize) -> Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut burst = Burst::new();
    wait(stage, "frames to be received", || {
        parts.rx.receive(&mut burst).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        frames.extend(std::iter::from_fn(|| burst.pop()));
        Ok((frames.len() >= count).then_some(()))
    })?;
    ensure!(frames.len() == count, "received {} frames, {count} were given", frames.len());
    Ok(frames)
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    let copied = frame.copy_out(&mut bytes).unwrap_or(0);
    bytes.truncate(copied);
    bytes
}

/// The link goes down and up again, and the driver learns of both.
fn change_link(stage: &impl Stage, parts: &mut Parts<'_>) -> Result<()> {
    for up in [false, true] {
        stage.step(if up { "the link comes up" } else { "the link goes down" })?;
        stage.set_link(up)?;
        stage.rest()?;
        wait(stage, "news of the link", || {
            let events = parts.control.poll().map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
            Ok((events.contains(Events::LINK) && parts.control.link().is_up() == up).then_some(()))
        })?;
        ensure!(up != (parts.control.link() == Link::Down), "the link is {}", parts.control.link());
    }
    Ok(())
}

/// What is not for us comes in only when everything was asked for.
fn change_filter(stage: &impl Stage, parts: &mut Parts<'_>) -> Result<()> {
    let us = parts.control.info().mac.0;
    let other = frame([2, 0, 0, 0, 0, 9], 500, 60);
    let ours = frame(us, 501, 60);
    stage.step("every frame is wanted")?;
    said(parts.control.set_filter(RxFilter::default() | RxFilter::PROMISCUOUS), "set the filter")?;
    receive(stage, parts, &[other.clone(), ours.clone()])?;
    stage.step("only ours again")?;
    said(parts.control.set_filter(RxFilter::default()), "set the filter")?;
    stage.give(&other)?;
    receive(stage, parts, &[ours])
}

/// With so many messages, or with the line: a frame interrupts once it was asked to.
fn interrupt(stage: &impl Stage, parts: &mut Parts<'_>, messages: usize) -> Result<()> {
    stage.step("a frame interrupts")?;
    let us = parts.control.info().mac.0;
    let bytes = frame(us, 900, 60);
    // With nothing on the way, whether work is pending is known.
    let armed = said(parts.rx.arm(), "arm")?;
    ensure!(armed == paravane_hal::irq::Armed::Idle, "work is pending on an idle queue");
    stage.platform().relax();
    stage.give(&bytes)?;
    if messages == 0 {
        // Nobody sees the line here; the device says whether it raised it.
        wait(stage, "the line", || Ok(parts.control.acknowledge().then_some(())))?;
        ensure!(!parts.control.acknowledge(), "the line stays up though it was acknowledged");
    } else {
        let vector = stage.interrupt()?;
        ensure!(usize::from(vector) < messages, "vector {vector} rang, which nobody set up");
    }
    for got in collect(stage, parts, 1)? {
        ensure_same("the frame that interrupted", &bytes_of(&got), &bytes)?;
    }
    parts.rx.disarm();
    stage.rest()
}
