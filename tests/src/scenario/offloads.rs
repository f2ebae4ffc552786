//! What VMXNET3 does beyond frames of one buffer on one queue: several queues, tags, long frames,
//! checksums and segments, and all of it again after a recovery.

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use paravane_hal::irq::Interrupts;
use paravane_hal::pool::Chain;
use paravane_net::{
    Burst, ChecksumRequest, Control as _, Frame, FrameLayout, FramePool, Running, RxQueue as _, Segmentation,
    SegmentationKind, Settings, TxOffload, TxQueue, VlanSet, VlanTag,
};
use paravane_vmxnet3::{Config, Device};

use super::{Stage, claim, ensure_same, frame, said, wait};

const PAIRS: u16 = 4;
/// Both receive rings of each pair, a transmit ring, and what is on its way.
const POOL_FRAMES: u32 = 400;
/// How much of a frame a buffer is given, so that a long one has several.
const PIECE_BYTES: usize = 1500;
/// The tag that is let in.
const OURS: VlanTag = VlanTag(7);
/// One that is not.
const OTHER: VlanTag = VlanTag(8);
/// Payload of each segment, and of all of them.
const MSS_BYTES: u16 = 1400;
const LARGE_BYTES: usize = 20_000;

/// Headers of TCP over IPv4, without options.
const TRANSPORT_AT: u16 = 34;
const TCP_HEADER_BYTES: u16 = 20;
const TCP_CHECKSUM_AT: u16 = 16;
const FIRST_SEQUENCE: u32 = 0xffff_f000;

type Nic<S> = Running<Device<<S as Stage>::Platform, <S as Stage>::Config>>;

pub(super) fn life_of_vmxnet3<S: Stage>(stage: &S) -> Result<()> {
    stage.step("find and claim")?;
    let function = claim(stage, paravane_vmxnet3::is_vmxnet3)?;
    stage.step("open")?;
    let nic = said(Device::new(function, stage.platform()), "cannot open")?;
    let pool = said(FramePool::new(stage.platform(), FrameLayout::new(POOL_FRAMES)), "no pool")?;
    let config = Config::default()
        .with_pairs(PAIRS)
        .with_tx_entries(32)
        .with_rx_entries(32 * PAIRS)
        .with_rx2_entries(32)
        .with_ip_mtu_bytes(9000)
        .with_strip_vlan(true)
        .with_settings(Settings::default().with_vlans(VlanSet::EMPTY.with(OURS.0, true)));

    stage.step("start four pairs of queues")?;
    let mut nic = said(nic.start(&config, pool.clone(), Interrupts::POLLING), "cannot start")?;
    play(stage, &mut nic, &pool)?;
    stage.step("recover")?;
    let mut nic = said(nic.recover(Interrupts::POLLING), "does not come back")?;
    play(stage, &mut nic, &pool)?;
    stage.step("stop")?;
    drop(said(nic.stop(), "cannot stop")?);
    ensure!(pool.free() == pool.buffers(), "frames are missing after the stop");
    Ok(())
}

fn play<S: Stage>(stage: &S, nic: &mut Nic<S>, pool: &FramePool) -> Result<()> {
    let us = nic.control.info().mac.0;
    stage.step("a frame out by each queue, and one in")?;
    let bytes = |queue: u32| frame([0xff; 6], queue, 60);
    send(stage, &mut nic.tx, made(pool, &bytes(0))?, |stage| take_same(stage, &bytes(0)))?;
    for (number, pair) in (1..).zip(nic.rx.others_mut()) {
        let tx = pair.tx.as_mut().context("a pair does not send")?;
        send(stage, tx, made(pool, &bytes(number))?, |stage| take_same(stage, &bytes(number)))?;
    }
    receive(stage, nic, &frame(us, 10, 60))?;

    stage.step("a tag out, and in")?;
    let (plain, ours) = (frame([0xff; 6], 20, 100), frame(us, 21, 100));
    let mut out = made(pool, &plain)?;
    out.set_vlan(Some(OURS));
    send(stage, &mut nic.tx, out, |stage| take_same(stage, &tagged(&plain, OURS)))?;
    stage.give(&tagged(&ours, OTHER))?;
    stage.give(&tagged(&ours, OURS))?;
    let got = next(stage, nic)?;
    ensure!(got.vlan() == Some(OURS), "the tag is {:?}", got.vlan());
    ensure_same("a tagged frame received", &bytes_of(&got), &ours)?;
    drop(got);
    stage.rest()?;

    for len_bytes in [1984, 1985, 5000, 9014] {
        stage.step(&format!("{len_bytes} bytes out and in"))?;
        let out = frame([0xff; 6], 30, len_bytes);
        send(stage, &mut nic.tx, made(pool, &out)?, |stage| take_same(stage, &out))?;
        receive(stage, nic, &frame(us, 31, len_bytes))?;
    }

    stage.step("a checksum to be completed")?;
    let whole = tcp(us, 500)?;
    let mut out = made(pool, &left_open(&whole)?)?;
    out.set_offload(TxOffload { checksum: Some(CHECKSUM), segmentation: None });
    send(stage, &mut nic.tx, out, |stage| take_same(stage, &whole))?;

    stage.step("a packet to be cut")?;
    let whole = tcp(us, LARGE_BYTES)?;
    let header_bytes = TRANSPORT_AT + TCP_HEADER_BYTES;
    let cut = Segmentation { kind: SegmentationKind::Tcp4, header_bytes, mss_bytes: MSS_BYTES, ecn: false };
    let mut out = made(pool, &left_open(&whole)?)?;
    out.set_offload(TxOffload { checksum: Some(CHECKSUM), segmentation: Some(cut) });
    send(stage, &mut nic.tx, out, |stage| take_pieces(stage, &whole[header_bytes.into()..]))
}

const CHECKSUM: ChecksumRequest =
    ChecksumRequest { start_bytes: TRANSPORT_AT, offset_bytes: TCP_CHECKSUM_AT };

/// A TCP packet from `us` with so many bytes of payload, complete.
fn tcp(us: [u8; 6], len_bytes: usize) -> Result<Vec<u8>> {
    let payload: Vec<u8> = (0..=250).cycle().take(len_bytes).collect();
    let builder = PacketBuilder::ethernet2(us, [0xff; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1000, 2000, FIRST_SEQUENCE, 4096)
        .ack(1);
    let mut bytes = Vec::with_capacity(builder.size(len_bytes));
    builder.write(&mut bytes, &payload)?;
    Ok(bytes)
}

/// The same with the pseudo-header's sum where its checksum was.
fn left_open(whole: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = whole.to_vec();
    let (start, field) = (usize::from(TRANSPORT_AT), usize::from(TRANSPORT_AT + TCP_CHECKSUM_AT));
    let addresses = whole[26..34].chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = addresses.sum::<u64>() + 6 + (whole.len() - start) as u64;
    // What folding comes to, for a sum that is not zero.
    let folded = u16::try_from((sum - 1) % 0xffff + 1)?;
    bytes[field..field + 2].copy_from_slice(&folded.to_be_bytes());
    Ok(bytes)
}

fn tagged(bytes: &[u8], tag: VlanTag) -> Vec<u8> {
    [&bytes[..12], &[0x81, 0], &tag.0.to_be_bytes(), &bytes[12..]].concat()
}

/// A frame of `bytes`, in as many buffers as they need.
fn made(pool: &FramePool, bytes: &[u8]) -> Result<Frame> {
    let mut pieces = Chain::new();
    for piece in bytes.chunks(PIECE_BYTES) {
        let mut frame = pool.get().context("no frame left in the pool")?;
        ensure!(frame.append(piece), "the piece does not fit its buffer");
        pieces.push(frame);
    }
    pieces.join().context("an empty frame")
}

/// Sends `out`, has `take` see it on the cable, and gets its buffers back.
fn send<S: Stage>(
    stage: &S,
    tx: &mut impl TxQueue,
    out: Frame,
    take: impl Fn(&S) -> Result<()>,
) -> Result<()> {
    let mut burst = Burst::new();
    burst.push(out);
    let taken = said(tx.transmit(&mut burst), "transmit")?;
    ensure!(taken == 1, "the queue did not take the frame");
    tx.flush();
    take(stage)?;
    wait(stage, "the device to be done with what it sent", || {
        Ok((said(tx.reclaim(), "reclaim")? == 1).then_some(()))
    })?;
    stage.rest()
}

fn take_same(stage: &impl Stage, bytes: &[u8]) -> Result<()> {
    ensure_same("a frame on the cable", &stage.take()?, bytes)
}

/// Takes frames until they had `payload`, each part once, in segments. Where a device cuts the IP
/// packet in place of TCP's data, as QEMU does for a cable that takes no large packets, in those
/// fragments.
fn take_pieces(stage: &impl Stage, payload: &[u8]) -> Result<()> {
    let mut had = vec![false; payload.len()];
    while had.contains(&false) {
        let bytes = stage.take()?;
        let packet = said(SlicedPacket::from_ethernet(&bytes), "a frame that is none")?;
        let Some(NetSlice::Ipv4(ip)) = &packet.net else { anyhow::bail!("no IPv4 on the cable") };
        let header = ip.header().to_header();
        ensure!(header.header_checksum == header.calc_header_checksum(), "a wrong IP checksum");
        let (at, part) = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let sum = said(tcp.calc_checksum_ipv4(header.source, header.destination), "too long")?;
                ensure!(tcp.checksum() % u16::MAX == sum % u16::MAX, "a wrong TCP checksum");
                (tcp.sequence_number().wrapping_sub(FIRST_SEQUENCE) as usize, tcp.payload())
            }
            _ => {
                let packet_at = usize::from(header.fragment_offset.value()) * 8;
                let skip = usize::from(TCP_HEADER_BYTES).saturating_sub(packet_at);
                let part = ip.payload().payload.get(skip..).context("not even TCP's header")?;
                (packet_at.saturating_sub(TCP_HEADER_BYTES.into()), part)
            }
        };
        let end = at + part.len();
        ensure!(payload.get(at..end) == Some(part), "other payload than was sent, from {at} to {end}");
        ensure!(!had[at..end].contains(&true), "payload that was sent twice, from {at} to {end}");
        had[at..end].fill(true);
    }
    Ok(())
}

/// Puts a frame on the cable and receives it.
fn receive<S: Stage>(stage: &S, nic: &mut Nic<S>, bytes: &[u8]) -> Result<()> {
    stage.give(bytes)?;
    ensure_same("a frame received", &bytes_of(&next(stage, nic)?), bytes)?;
    stage.rest()
}

/// The next frame that comes in.
fn next<S: Stage>(stage: &S, nic: &mut Nic<S>) -> Result<Frame> {
    let mut burst = Burst::new();
    wait(stage, "a frame to be received", || {
        said(nic.rx.receive(&mut burst), "receive")?;
        Ok(burst.pop())
    })
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    let copied = frame.copy_out(&mut bytes).unwrap_or(0);
    bytes.truncate(copied);
    bytes
}
