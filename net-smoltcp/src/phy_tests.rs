use super::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use paravane_mock_hal::MockPlatform;
use paravane_net::{
    ChecksumRequest, FrameLayout, MacAddr, Offloads, RxChecksum, RxCounters, TxCounters, burst_room,
};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

/// Frames on their way to a NIC, with what is known about them.
type Wire = Arc<Mutex<VecDeque<Frame>>>;

/// The device's side of a transmit ring.
#[derive(Default)]
struct TxRing {
    posted: VecDeque<Frame>,
    /// They hold their places, and their buffers, until the driver looks.
    sent: Vec<Frame>,
    /// Frames whose checksum was left to the device.
    asked: usize,
}

impl TxRing {
    /// Sends everything; what goes over the cable.
    fn send_all(&mut self) -> Vec<Vec<u8>> {
        let now = self.sent.len();
        self.sent.extend(self.posted.drain(..));
        // Completing checksums is the device's part; `bytes_of` shows what went over the cable
        // then.
        self.asked += self.sent[now..].iter().filter(|frame| frame.offload().checksum.is_some()).count();
        self.sent[now..].iter_mut().for_each(|frame| assert!(frame.complete_checksum()));
        self.sent[now..].iter().map(bytes_of).collect()
    }

    fn taken(&self) -> usize {
        self.posted.len() + self.sent.len()
    }
}

type Ring = Arc<Mutex<TxRing>>;

/// What the far end of a queue does.
#[derive(Clone, Default)]
struct Behaviour {
    fault: Arc<Mutex<Option<DeviceFault>>>,
    /// Frames the transmit ring takes before it is full.
    entries: Arc<Mutex<Option<usize>>>,
    doorbells: Arc<Mutex<u64>>,
    rx_armed: Arc<Mutex<u64>>,
    tx_armed: Arc<Mutex<u64>>,
}

struct Rx(Wire, Behaviour);
struct Tx(Ring, Behaviour);

impl RxQueue for Rx {
    fn receive(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        if let Some(fault) = *self.1.fault.lock().unwrap() {
            return Err(fault);
        }
        let mut wire = self.0.lock().unwrap();
        let count = burst_room(burst).min(wire.len());
        burst.extend(wire.drain(..count));
        Ok(count)
    }
    fn refill(&mut self) -> usize {
        0
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        *self.1.rx_armed.lock().unwrap() += 1;
        Ok(if self.0.lock().unwrap().is_empty() { Armed::Idle } else { Armed::Pending })
    }
    fn disarm(&mut self) {}
    fn counters(&self) -> RxCounters {
        RxCounters::default()
    }
}

impl TxQueue for Tx {
    fn transmit(&mut self, burst: &mut Burst) -> Result<usize, DeviceFault> {
        let room = burst.len().min(self.room());
        let posted = std::iter::from_fn(|| burst.pop()).take(room);
        self.0.lock().unwrap().posted.extend(posted);
        *self.1.doorbells.lock().unwrap() += u64::from(room > 0);
        Ok(room)
    }
    fn reclaim(&mut self) -> Result<usize, DeviceFault> {
        Ok(std::mem::take(&mut self.0.lock().unwrap().sent).len())
    }
    fn flush(&mut self) {}
    fn remind(&mut self) {}
    fn room(&self) -> usize {
        self.1.entries.lock().unwrap().unwrap_or(1000) - self.0.lock().unwrap().taken()
    }
    fn arm(&mut self) -> Result<Armed, DeviceFault> {
        *self.1.tx_armed.lock().unwrap() += 1;
        Ok(if self.0.lock().unwrap().sent.is_empty() { Armed::Idle } else { Armed::Pending })
    }
    fn disarm(&mut self) {}
    fn counters(&self) -> TxCounters {
        TxCounters::default()
    }
}

const INFO: NicInfo = NicInfo {
    driver: "cable",
    mac: MacAddr([2, 0, 0, 0, 0, 1]),
    ip_mtu_bytes: 1500,
    max_frame_bytes: 1514,
    offloads: Offloads::empty(),
    filters: true,
    max_segments: 1,
    max_cut_segments: 0,
    rx_slots: 64,
    tx_slots: 64,
};

/// A NIC, and the far ends of its cable: what it receives, what it sends.
fn nic(pool: &FramePool) -> (Phy<Rx, Tx>, Wire, Ring, Behaviour) {
    nic_with(pool, Offloads::empty())
}

fn nic_with(pool: &FramePool, offloads: Offloads) -> (Phy<Rx, Tx>, Wire, Ring, Behaviour) {
    let (to, from) = (Wire::default(), Ring::default());
    let behaviour = Behaviour::default();
    let rx = Rx(Arc::clone(&to), behaviour.clone());
    let tx = Tx(Arc::clone(&from), behaviour.clone());
    let info = NicInfo { offloads, ..INFO };
    (Phy::new(&info, rx, tx, pool.clone()), to, from, behaviour)
}

fn pool(frames: u32) -> FramePool {
    FramePool::new(MockPlatform::new(), FrameLayout::new(frames)).unwrap()
}

fn frame_of(pool: &FramePool, bytes: &[u8]) -> Frame {
    let mut frame = pool.get().unwrap();
    assert!(frame.append(bytes));
    frame
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    frame.copy_out(&mut bytes).unwrap();
    bytes
}

fn received(phy: &mut impl Device) -> Option<Vec<u8>> {
    phy.receive(Instant::ZERO).map(|(rx, _)| rx.consume(<[u8]>::to_vec))
}

fn send(phy: &mut impl Device, bytes: &[u8]) -> bool {
    phy.transmit(Instant::ZERO)
        .map(|tx| tx.consume(bytes.len(), |room| room.copy_from_slice(bytes)))
        .is_some()
}

#[test]
fn a_chain_is_read_as_one_frame() {
    let pool = pool(8);
    let (mut phy, to, ..) = nic(&pool);
    let mut chain = frame_of(&pool, b"one ");
    chain.set_next(frame_of(&pool, b"frame"));
    to.lock().unwrap().push_back(chain);
    assert_eq!(received(&mut phy).as_deref(), Some(&b"one frame"[..]));
    assert_eq!((received(&mut phy), pool.free()), (None, 8));
}

#[test]
fn a_frame_that_is_too_long_is_dropped_and_counted() {
    let pool = pool(8);
    let (mut phy, to, ..) = nic(&pool);
    let mut long = frame_of(&pool, &[1; 1500]);
    long.set_next(frame_of(&pool, &[2; 15]));
    to.lock().unwrap().extend([long, frame_of(&pool, b"next")]);
    assert_eq!(received(&mut phy).as_deref(), Some(&b"next"[..]));
    assert_eq!(phy.counters().rx_dropped, 1);
}

#[test]
fn a_partial_checksum_is_completed_or_the_frame_dropped() {
    let pool = pool(8);
    let (mut phy, to, ..) = nic(&pool);
    let mut partial = frame_of(&pool, &[0, 1, 0, 2]);
    partial.set_rx_checksum(RxChecksum::Partial(ChecksumRequest { start_bytes: 0, offset_bytes: 2 }));
    let mut nonsense = frame_of(&pool, &[0, 1, 0, 2]);
    nonsense.set_rx_checksum(RxChecksum::Partial(ChecksumRequest { start_bytes: 0, offset_bytes: 3 }));
    to.lock().unwrap().extend([nonsense, partial]);
    assert_eq!(received(&mut phy).as_deref(), Some(&[0, 1, 0xff, 0xfc][..]));
    assert_eq!(phy.counters().rx_dropped, 1);
}

#[test]
fn a_frame_leaves_at_once() {
    let pool = pool(64);
    let (mut phy, to, from, behaviour) = nic(&pool);
    assert!(send(&mut phy, b"nobody says that this was the last one"));
    assert_eq!(from.lock().unwrap().taken(), 1);
    to.lock().unwrap().push_back(frame_of(&pool, b"question"));
    let (_, answer) = phy.receive(Instant::ZERO).unwrap();
    answer.consume(6, |room| room.copy_from_slice(b"answer"));
    assert_eq!((from.lock().unwrap().taken(), *behaviour.doorbells.lock().unwrap()), (2, 2));
}

#[test]
fn a_batch_leaves_with_one_doorbell() {
    let pool = pool(64);
    let (mut phy, _, from, behaviour) = nic(&pool);
    let mut batch = phy.batch();
    for i in 0..20 {
        assert!(send(&mut batch, &[i; 60]));
    }
    assert_eq!(from.lock().unwrap().taken(), 0, "not before its end");
    drop(batch);
    assert_eq!((from.lock().unwrap().send_all().len(), *behaviour.doorbells.lock().unwrap()), (20, 1));
}

#[test]
fn what_found_no_room_is_sent_when_there_is() {
    let pool = pool(64);
    let (mut phy, _, from, behaviour) = nic(&pool);
    *behaviour.entries.lock().unwrap() = Some(4);
    for i in 0..6 {
        assert!(send(&mut phy, &[i; 60]));
    }
    assert_eq!(from.lock().unwrap().send_all().len(), 4);
    assert_eq!(phy.arm(), Ok(Armed::Pending), "two wait, and there is room");
    assert_eq!(received(&mut phy), None);
    assert_eq!(from.lock().unwrap().send_all().len(), 2, "asking for received frames is enough");
}

#[test]
fn smoltcp_waits_when_there_is_no_room() {
    let pool = pool(100);
    let (mut phy, _, from, behaviour) = nic(&pool);
    *behaviour.entries.lock().unwrap() = Some(4);
    let sent = (0..100_u8).take_while(|&i| send(&mut phy.batch(), &[i; 60])).count();
    assert_eq!(sent, 4 + paravane_net::BURST_FRAMES, "a ring and a burst full");
    assert_eq!(phy.counters().tx_stalls, 1);
    let mut order = Vec::new();
    for _ in 0..20 {
        order.extend(from.lock().unwrap().send_all().iter().map(|bytes| bytes[0]));
        phy.service();
    }
    assert_eq!(order, (0..u8::try_from(sent).unwrap()).collect::<Vec<_>>(), "nothing lost, nothing swapped");
}

#[test]
fn what_came_waits_for_room_to_answer_in() {
    let pool = pool(100);
    let (mut phy, to, from, behaviour) = nic(&pool);
    *behaviour.entries.lock().unwrap() = Some(4);
    while send(&mut phy, &[0; 60]) {}
    to.lock().unwrap().push_back(frame_of(&pool, b"first"));
    assert_eq!((received(&mut phy), phy.can_send()), (None, false));
    let armed = || (*behaviour.rx_armed.lock().unwrap(), *behaviour.tx_armed.lock().unwrap());
    assert_eq!(phy.arm(), Ok(Armed::Idle), "asking again at once would bring nothing");
    assert_eq!(armed(), (0, 1), "what helps is a frame that was sent");
    from.lock().unwrap().send_all();
    assert_eq!(phy.arm(), Ok(Armed::Pending));
    assert_eq!(received(&mut phy).as_deref(), Some(&b"first"[..]));
}

#[test]
fn what_came_is_answered_in_its_own_frame_when_the_pool_is_dry() {
    let pool = pool(24);
    let (mut phy, to, from, _) = nic(&pool);
    to.lock().unwrap().extend((0..24).map(|i| frame_of(&pool, &[i; 60])));
    assert!(pool.is_dry());
    while let Some((rx, tx)) = phy.receive(Instant::ZERO) {
        rx.consume(|bytes| tx.consume(30, |room| room.copy_from_slice(&bytes[..30])));
    }
    let answers: Vec<_> = (0..24).map(|i| vec![i; 30]).collect();
    assert_eq!(from.lock().unwrap().send_all(), answers);
}

#[test]
fn frames_that_were_sent_come_home_when_the_pool_is_dry() {
    let pool = pool(4);
    let (mut phy, _, from, _) = nic(&pool);
    for _ in 0..3 {
        let sent = std::iter::from_fn(|| send(&mut phy, b"only sends").then_some(())).count();
        assert_eq!(sent, 4);
        assert_eq!(from.lock().unwrap().send_all().len(), 4);
    }
}

#[test]
fn a_fault_is_kept_and_shown() {
    let pool = pool(8);
    let (mut phy, _, _, behaviour) = nic(&pool);
    *behaviour.fault.lock().unwrap() = Some(DeviceFault::NeedsReset);
    assert_eq!(received(&mut phy), None);
    assert!(!send(&mut phy, b"nothing goes"));
    assert_eq!(phy.fault(), Some(DeviceFault::NeedsReset));
    assert_eq!(phy.arm(), Err(DeviceFault::NeedsReset));
}

/// What one end sends arrives at the other.
fn carry(from: &Ring, to: &Wire, pool: &FramePool) {
    let sent = from.lock().unwrap().send_all();
    to.lock().unwrap().extend(sent.iter().map(|bytes| frame_of(pool, bytes)));
}

/// How a stack polls.
#[derive(Clone, Copy)]
enum Polls {
    /// As one does who has read nothing.
    Plainly,
    InBatches,
}

/// A transfer from one stack to another, by NICs that offer `offloads`. How often a device was
/// asked for a checksum.
fn two_stacks_talk(offloads: Offloads, polls: Polls) -> usize {
    let pool = pool(256);
    let (mut left, to_left, from_left, _) = nic_with(&pool, offloads);
    let (mut right, to_right, from_right, _) = nic_with(&pool, offloads);
    let mut ends = Vec::new();
    for (phy, last) in [(&mut left, 1_u8), (&mut right, 2)] {
        let mac = EthernetAddress([2, 0, 0, 0, 0, last]);
        let mut interface = Interface::new(Config::new(mac.into()), phy, Instant::ZERO);
        interface
            .update_ip_addrs(|addrs| addrs.push(IpCidr::new(IpAddress::v4(10, 0, 0, last), 24)).unwrap());
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        ends.push((interface, sockets, handle));
    }
    let [(left_if, left_set, left_tcp), (right_if, right_set, right_tcp)] = &mut ends[..] else {
        panic!("two")
    };
    right_set.get_mut::<tcp::Socket<'_>>(*right_tcp).listen(80).unwrap();
    let far = (IpAddress::v4(10, 0, 0, 2), 80);
    left_set.get_mut::<tcp::Socket<'_>>(*left_tcp).connect(left_if.context(), far, 40_000).unwrap();
    let data: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let (mut sent, mut got) = (0, Vec::new());
    let poll =
        |phy: &mut Phy<Rx, Tx>, interface: &mut Interface, sockets: &mut SocketSet<'_>, now| match polls {
            Polls::Plainly => interface.poll(now, phy, sockets),
            Polls::InBatches => interface.poll(now, &mut phy.batch(), sockets),
        };
    for round in 0..2000_i64 {
        let now = Instant::from_millis(round);
        poll(&mut left, left_if, left_set, now);
        carry(&from_left, &to_right, &pool);
        poll(&mut right, right_if, right_set, now);
        carry(&from_right, &to_left, &pool);
        sent += left_set.get_mut::<tcp::Socket<'_>>(*left_tcp).send_slice(&data[sent..]).unwrap_or(0);
        let socket = right_set.get_mut::<tcp::Socket<'_>>(*right_tcp);
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), got.extend_from_slice(bytes))).unwrap();
        }
    }
    assert_eq!(got.len(), data.len());
    assert_eq!(got, data);
    assert_eq!((left.service(), right.service()), (0, 0));
    assert_eq!(pool.free(), 256, "every frame is home");
    from_left.lock().unwrap().asked
}

#[test]
fn two_stacks_talk_over_a_cable() {
    assert_eq!(two_stacks_talk(Offloads::empty(), Polls::InBatches), 0);
}

#[test]
fn two_stacks_talk_without_batches() {
    two_stacks_talk(Offloads::empty(), Polls::Plainly);
}

#[test]
fn a_device_that_completes_checksums_is_asked_to() {
    let asked = two_stacks_talk(Offloads::CHECKSUM, Polls::InBatches);
    assert!(asked >= 100_000 / 1460, "each full segment, of which there are at least 68, not {asked}");
}

/// A stack outlives the device below it, which may come back with other features.
#[test]
fn what_is_said_about_checksums_does_not_depend_on_the_device() {
    for offloads in [Offloads::empty(), Offloads::CHECKSUM] {
        let (phy, ..) = nic_with(&pool(1), offloads);
        let said = phy.capabilities().checksum;
        assert!(!said.tcp.tx(), "made by the device, or below smoltcp");
        assert!(said.tcp.rx() && said.udp.rx() && said.ipv4.rx(), "no verdict is claimed");
        assert!(said.udp.tx() && said.ipv4.tx() && said.icmpv4.tx() && said.icmpv6.tx());
    }
}

#[test]
fn queues_and_pool_come_back() {
    let pool = pool(8);
    let (mut phy, _, from, _) = nic(&pool);
    assert!(send(&mut phy, b"sent"));
    let (rx, tx, same) = phy.into_parts();
    assert_eq!((same.free(), same.domain()), (7, pool.domain()));
    assert_eq!(tx.counters(), TxCounters::default());
    drop((rx, from));
}

/// For whoever chooses the driver at run time, or keeps the queues elsewhere.
#[test]
fn queues_may_be_behind_pointers() {
    let pool = pool(8);
    let (to, from) = (Wire::default(), Ring::default());
    let mut rx: Box<dyn RxQueue> = Box::new(Rx(Arc::clone(&to), Behaviour::default()));
    let tx: Box<dyn TxQueue> = Box::new(Tx(Arc::clone(&from), Behaviour::default()));
    let mut phy = Phy::new(&INFO, &mut rx, tx, pool.clone());
    to.lock().unwrap().push_back(frame_of(&pool, b"question"));
    assert_eq!(received(&mut phy).as_deref(), Some(&b"question"[..]));
    assert!(send(&mut phy, b"answer"));
    assert_eq!(from.lock().unwrap().send_all(), [b"answer"]);
    assert_eq!(phy.arm(), Ok(Armed::Idle));
    drop(phy);
    assert_eq!(rx.refill(), 0);
}

#[test]
fn it_may_move_to_another_core() {
    const fn is_send<T: Send>() {}
    const {
        is_send::<Phy<Rx, Tx>>();
        is_send::<Phy<Box<dyn RxQueue>, Box<dyn TxQueue>>>();
    }
}
