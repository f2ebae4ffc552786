//! Machines that share addresses on two links, with what each says carried to the others.

mod carried;
mod services;
mod stranger;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZero;
use core::time::Duration;

use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::random::Random;
use paravane_appliance::vrrp::{Advertisement, Event, Instances, Settings, State};
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::time::Instant;
use paravane_mock_hal::MockPlatform;
use paravane_net::{Burst, FrameLayout, FramePool, MacAddr};

use crate::world::{PRIVATE, PUBLIC, bytes_of};

/// What they share.
pub const PUBLIC_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);
pub const PRIVATE_VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x80);
pub const STEP: Duration = Duration::from_millis(10);
pub const LINKS: [InterfaceId; 2] = [PUBLIC, PRIVATE];
const FRAMES: u32 = 256;
const EGRESS_FRAMES: u16 = 64;

/// Other numbers for each machine.
struct Known(u8);

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.iter_mut().zip(self.0..).for_each(|(byte, number)| *byte = number);
        Ok(())
    }
}

pub struct Machine {
    pub path: Path,
    pub pool: FramePool,
    /// One that is dead does nothing.
    pub is_alive: bool,
    pub up: [bool; 2],
}

pub fn mac(nth: usize, link: InterfaceId) -> MacAddr {
    MacAddr::local(0x100 * (nth as u32 + 1) + u32::from(link.0))
}

pub fn own_v4(nth: usize, link: InterfaceId) -> Ipv4Addr {
    let last = 11 + nth as u8;
    if link == PUBLIC { Ipv4Addr::new(192, 0, 2, last) } else { Ipv4Addr::new(10, 0, 0, last) }
}

pub fn id(number: u8) -> NonZero<u8> {
    NonZero::new(number).unwrap()
}

pub fn settings(number: u8, address: impl Into<IpAddr>, priority: u8) -> Settings {
    Settings { priority, ..Settings::new(id(number), vec![address.into()]) }
}

impl Machine {
    /// One that shares an address of IPv4 on each link, and one of IPv6 on `public`; all of them
    /// move together.
    pub fn new(nth: usize, priority: u8) -> Self {
        let all = [
            (PUBLIC, 0, settings(7, PUBLIC_VIP, priority)),
            (PUBLIC, 0, settings(7, VIP_V6, priority)),
            (PRIVATE, 0, settings(8, PRIVATE_VIP, priority)),
        ];
        Self::with(nth, all)
    }

    pub fn with(nth: usize, all: impl IntoIterator<Item = (InterfaceId, u8, Settings)>) -> Self {
        let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(FRAMES)).unwrap();
        let interface = |link: InterfaceId| Interface {
            v4: vec![(own_v4(nth, link), 24)],
            v6: vec![
                (Ipv6Addr::new(0x2001, 0xdb8, 1 + u16::from(link.0), 0, 0, 0, 0, 11 + nth as u16), 64),
                (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 11 + nth as u16), 64),
            ],
            ..Interface::new(mac(nth, link), 1500)
        };
        let mut random = Random::new(&Known(nth as u8)).unwrap();
        let mut limits = Limits::new(2);
        limits.egress_frames = EGRESS_FRAMES;
        let mut path = Path::new(LINKS.map(interface).to_vec(), limits, pool.clone(), &mut random).unwrap();
        let mut instances = Instances::new(2);
        for (interface, group, settings) in all {
            instances.add(interface, group, settings).unwrap();
        }
        path.set_vrrp(instances);
        Self { path, pool, is_alive: true, up: [false; 2] }
    }

    pub fn states(&self) -> Vec<State> {
        let instances = self.path.vrrp().unwrap();
        (0..instances.members().len()).map(|member| instances.state(member)).collect()
    }

    /// Whether all of its members are so.
    pub fn is(&self, state: State) -> bool {
        self.states().iter().all(|its| *its == state)
    }

    pub fn has(&self, link: InterfaceId, address: impl Into<IpAddr>) -> bool {
        self.path.interfaces()[link.index()].has(address.into())
    }

    pub fn take(&mut self, link: InterfaceId, bytes: &[u8], now: Instant) {
        let mut frame = self.pool.get().unwrap();
        assert!(frame.append(bytes));
        let mut burst = Burst::new();
        burst.push(frame);
        self.path.take(link, &mut burst, now);
    }

    pub fn sent(&mut self, link: InterfaceId) -> Vec<Vec<u8>> {
        let burst = self.path.egress(link).unwrap();
        core::iter::from_fn(|| burst.pop()).map(|frame| bytes_of(&frame)).collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.path.take_vrrp_event()).collect()
    }
}

/// A frame as it passed: when, who sent it, where, what.
#[derive(Clone, Debug)]
pub struct Passed {
    pub at: Instant,
    pub from: usize,
    pub link: InterfaceId,
    pub bytes: Vec<u8>,
}

impl Passed {
    /// The advertisement that it is, if it is one.
    pub fn advertisement(&self) -> Option<Advertisement> {
        let (source, destination): (IpAddr, IpAddr) = match self.bytes[12..14] {
            [8, 0] if self.bytes[23] == 112 => (v4_at(&self.bytes, 26), v4_at(&self.bytes, 30)),
            [0x86, 0xdd] if self.bytes[20] == 112 => (v6_at(&self.bytes, 22), v6_at(&self.bytes, 38)),
            _ => return None,
        };
        let at = if source.is_ipv4() { 34 } else { 54 };
        Some(Advertisement::read(&self.bytes[at..], source, destination, 255).unwrap())
    }

    /// The address that it announces, if it does.
    pub fn announced(&self) -> Option<IpAddr> {
        match self.bytes[12..14] {
            [8, 6] if self.bytes[28..32] == self.bytes[38..42] => Some(v4_at(&self.bytes, 28)),
            [0x86, 0xdd] if self.bytes[20] == 58 && self.bytes[54] == 136 => Some(v6_at(&self.bytes, 62)),
            _ => None,
        }
    }
}

fn v4_at(bytes: &[u8], at: usize) -> IpAddr {
    <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap().into()
}

fn v6_at(bytes: &[u8], at: usize) -> IpAddr {
    <[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap().into()
}

/// Whether what one machine says on a link reaches another one.
pub type Reaches = Box<dyn FnMut(usize, usize, InterfaceId) -> bool>;

pub struct Links {
    pub machines: Vec<Machine>,
    pub now: Instant,
    pub reaches: Reaches,
    pub passed: Vec<Passed>,
}

impl Links {
    pub fn new(machines: Vec<Machine>) -> Self {
        Self { machines, now: Instant::default(), reaches: Box::new(|_, _, _| true), passed: Vec::new() }
    }

    /// Two machines of these priorities, all of whose links came up.
    pub fn of(priorities: [u8; 2]) -> Self {
        let mut links =
            Self::new((0..).zip(priorities).map(|(nth, priority)| Machine::new(nth, priority)).collect());
        links.all_up();
        links
    }

    pub fn all_up(&mut self) {
        for nth in 0..self.machines.len() {
            LINKS.into_iter().for_each(|link| self.set_link(nth, link, true));
        }
    }

    pub fn set_link(&mut self, nth: usize, link: InterfaceId, is_up: bool) {
        let machine = &mut self.machines[nth];
        machine.up[link.index()] = is_up;
        machine.path.link_changed(link, is_up, self.now);
        self.carry(nth);
    }

    /// Carries what a machine has to send.
    pub fn carry(&mut self, from: usize) {
        for link in LINKS {
            let frames = self.machines[from].sent(link);
            for bytes in frames {
                assert!(self.machines[from].up[link.index()], "sent on a link that is down: {bytes:02x?}");
                for to in (0..self.machines.len()).filter(|to| *to != from) {
                    let hears = self.machines[to].is_alive && self.machines[to].up[link.index()];
                    if hears && (self.reaches)(from, to, link) {
                        self.machines[to].take(link, &bytes, self.now);
                    }
                }
                self.passed.push(Passed { at: self.now, from, link, bytes });
            }
        }
    }

    pub fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.now = self.now.saturating_add(STEP);
            for nth in 0..self.machines.len() {
                if self.machines[nth].is_alive {
                    self.machines[nth].path.poll(self.now);
                    self.carry(nth);
                }
            }
        }
    }

    /// How long until `is_so`, in steps; a minute at most.
    pub fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !is_so(self) {
            assert!(self.now.since(start) < Duration::from_secs(60), "it is never so");
            self.pass(STEP);
        }
        self.now.since(start)
    }

    /// Those that have an address.
    pub fn with_address(&self, link: InterfaceId, address: impl Into<IpAddr> + Copy) -> Vec<usize> {
        let alive = |nth: &usize| self.machines[*nth].is_alive;
        (0..self.machines.len()).filter(alive).filter(|nth| self.machines[*nth].has(link, address)).collect()
    }
}
