//! Bytes play the machines that share addresses with the appliance, and its links.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::time::Duration;

use paravane_appliance::interface::{Interface, InterfaceId};
use paravane_appliance::path::{Limits, Path};
use paravane_appliance::random::Random;
use paravane_appliance::vrrp::{Advertisement, Checksum, Instances, Settings, State};
use paravane_hal::time::{Clock as _, Instant};
use paravane_mock_hal::MockPlatform;
use paravane_net::{Burst, Frame, FrameLayout, FramePool, MacAddr};

use crate::input::Input;
use crate::net::Known;

const FRAMES: u32 = 64;
const OWN: [MacAddr; 2] = [MacAddr::local(0xa0), MacAddr::local(0xa1)];
const OTHER: MacAddr = MacAddr::local(0xb0);
const NETWORKS: [[u8; 3]; 2] = [[192, 0, 2], [10, 0, 0]];

fn v4(link: usize, last: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORKS[link];
    Ipv4Addr::new(a, b, c, last)
}

const fn link_local(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

/// On which link a member is, in which group, and what it shares.
fn members() -> [(u8, u8, u8, IpAddr); 4] {
    [
        (0, 0, 7, v4(0, 80).into()),
        (0, 0, 7, link_local(7).into()),
        (1, 0, 8, v4(1, 80).into()),
        (1, 1, 9, v4(1, 81).into()),
    ]
}

fn machine(pool: &FramePool, input: &mut Input<'_>) -> Path {
    let interface = |link: usize| Interface {
        v4: vec![(v4(link, 2), 24)],
        v6: vec![(link_local(2), 64)],
        ..Interface::new(OWN[link], 1500)
    };
    let mut limits = Limits::new(2);
    (limits.routes, limits.egress_frames) = (64, 16);
    let mut random = Random::new(&Known).unwrap();
    let mut path = Path::new(vec![interface(0), interface(1)], limits, pool.clone(), &mut random).unwrap();
    let mut instances = Instances::new(2);
    let (priority, preempts) = (1 + input.byte() % 254, input.bit());
    for (link, group, id, address) in members() {
        let settings =
            Settings { priority, preempts, ..Settings::new(NonZero::new(id).unwrap(), vec![address]) };
        instances.add(InterfaceId(link), group, settings).unwrap();
    }
    path.set_vrrp(instances);
    path
}

/// What another machine says, or nearly.
fn said(pool: &FramePool, input: &mut Input<'_>) -> Option<(u8, Frame)> {
    let link = input.byte() & 1;
    let is_v6 = input.bit();
    let address = |last: u8| -> IpAddr {
        if is_v6 { link_local(last.into()).into() } else { v4(link.into(), last).into() }
    };
    let count = usize::from(input.byte() % 24);
    let said = Advertisement {
        id: NonZero::new(input.pick([7, 8, 9, 1])).unwrap(),
        priority: input.pick([0, 1, 100, 254, 255]),
        interval_centis: 1 + input.half() % 4095,
        addresses: (0..count).map(|nth| address(u8::try_from(80 + nth).unwrap_or(0))).collect(),
        checksum: if input.bit() { Checksum::Message } else { Checksum::PseudoHeader },
    };
    let mac = if input.byte() == 0 { OWN[usize::from(link)] } else { OTHER };
    let frame = said.frame(pool, mac, address(input.byte()))?;
    let mut bytes = vec![0; frame.total_bytes()];
    frame.copy_out(&mut bytes).unwrap();
    drop(frame);
    for _ in 0..input.byte().saturating_sub(250) {
        let at = usize::from(input.byte()) % bytes.len();
        bytes[at] = input.byte();
    }
    if input.byte() == 1 {
        bytes.truncate(usize::from(input.byte()).max(1));
    }
    let mut frame = pool.get()?;
    let cut = usize::from(input.byte()).min(bytes.len());
    assert!(frame.append(&bytes[..cut]));
    if cut < bytes.len() {
        let mut rest = pool.get()?;
        assert!(rest.append(&bytes[cut..]));
        frame.extend(rest);
    }
    Some((link, frame))
}

/// Whoever is active has the addresses, and nobody else; those of a group are alike; and what goes
/// out is from who it says.
fn check(path: &mut Path, is_up: [bool; 2]) {
    let instances = path.vrrp().unwrap();
    for (number, (link, group, _, address)) in members().into_iter().enumerate() {
        let (state, has) = (instances.state(number), path.interfaces()[usize::from(link)].has(address));
        assert_eq!(state == State::Active, has, "{address} of one that is {state:?}");
        let first = members().iter().position(|(_, its, ..)| *its == group).unwrap();
        assert_eq!(state, instances.state(first), "one of a group moves alone");
        assert!(is_up[usize::from(link)] || state != State::Active, "{state:?} without a link");
    }
    for (link, mac) in OWN.into_iter().enumerate() {
        let burst = path.egress(InterfaceId(u8::try_from(link).unwrap())).unwrap();
        while let Some(frame) = burst.pop() {
            let sender: [u8; 6] = frame.read(6).unwrap();
            assert_eq!((sender, is_up[link]), (mac.0, true), "who sends, and on which link");
        }
    }
    while path.take_vrrp_event().is_some() {}
}

/// The bytes are another machine's advertisements, links that come and go, and time.
pub fn vrrp(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let platform = MockPlatform::new();
    let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
    let mut path = machine(&pool, &mut input);
    let (mut now, mut is_up) = (Instant::default(), [false; 2]);
    for _ in 0..400 {
        if input.is_empty() {
            break;
        }
        // As in the entry of the path: the mock looks for loops without end.
        let _ = platform.now();
        match input.byte() % 8 {
            0 => {
                let (link, to) = (input.byte() & 1, input.bit());
                is_up[usize::from(link)] = to;
                path.link_changed(InterfaceId(link), to, now);
            }
            1 if input.byte() == 77 => path.resign(now),
            1..=4 => {
                if let Some((link, frame)) = said(&pool, &mut input) {
                    let mut burst = Burst::new();
                    burst.push(frame);
                    path.take(InterfaceId(link), &mut burst, now);
                }
            }
            _ => now = now.saturating_add(Duration::from_millis(u64::from(input.half()) / 4)),
        }
        path.poll(now);
        check(&mut path, is_up);
    }
    drop(path);
    assert_eq!(pool.free(), FRAMES as usize, "frames are lost");
}
