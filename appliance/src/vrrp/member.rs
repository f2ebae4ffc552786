//! An instance where it is: on an interface, with what it counted and what is still to be said.

use core::net::IpAddr;
use core::time::Duration;

use paravane_hal::time::Instant;

use super::addresses::Addresses;
use super::advertisement::{Advertisement, LEAVES};
use super::instance::{Instance, Role, Settings};
use crate::interface::InterfaceId;

/// How often addresses are announced that were taken over, and how far apart: who did not hear the
/// first, hears the next.
///
/// Spec: RFC 4861, 7.2.6 "Sending Unsolicited Neighbor Advertisements" (three at most, a second
/// apart at least); RFC 5227, 1.1 (`ANNOUNCE_NUM` 2, `ANNOUNCE_INTERVAL` 2 s).
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// One that was not heard for so long is said again.
const RIVAL_AGAIN: Duration = Duration::from_secs(60);

/// How a machine takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not any more: it gave its addresses up for good.
    Resigned,
    /// Not now: a link is down, its own or one of those that move with it.
    Fault,
    /// Another one has the addresses, or nobody yet.
    Backup,
    /// It has the addresses. (Before RFC 9568: Master.)
    Active,
}

impl State {
    /// As status pages have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resigned => "resigned",
            Self::Fault => "fault",
            Self::Backup => "backup",
            Self::Active => "active",
        }
    }
}

/// Something that people want to know of, of the member of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It takes part otherwise than before.
    Became {
        /// Which.
        member: usize,
        /// How.
        state: State,
    },
    /// Another machine is active as well. The higher priority stays, of equals the higher address.
    Rival {
        /// Of which.
        member: usize,
        /// From where we speak.
        own: IpAddr,
        /// From where it does.
        rival: IpAddr,
        /// Its priority.
        priority: u8,
        /// Whether this machine stays active.
        stays: bool,
    },
    /// The machine that is active has other addresses to share.
    Differs {
        /// Of which.
        member: usize,
        /// From where that one speaks.
        from: IpAddr,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Advertisements that were sent,
    pub sent: u64,
    /// and those of other machines that were heard.
    pub received: u64,
    /// How often it became active.
    pub became_active: u64,
    /// How often another machine was heard that was active as well.
    pub rivals: u64,
    /// How often its addresses were announced.
    pub announced: u64,
}

/// An instance on an interface.
#[derive(Debug)]
pub struct Member {
    pub(super) interface: InterfaceId,
    /// Those of the same group move together.
    pub(super) group: u8,
    pub(super) instance: Instance,
    pub(super) counters: Counters,
    /// What was said of it last.
    pub(super) said: State,
    /// When its addresses are announced next, and how often still.
    announces: Option<(Instant, u8)>,
    rival: Option<(IpAddr, Instant)>,
    /// Who has other addresses, and that was said.
    differs: Option<IpAddr>,
}

impl Member {
    pub(super) const fn new(interface: InterfaceId, group: u8, instance: Instance) -> Self {
        Self {
            interface,
            group,
            instance,
            counters: Counters { sent: 0, received: 0, became_active: 0, rivals: 0, announced: 0 },
            said: State::Fault,
            announces: None,
            rival: None,
            differs: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// What was set.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        self.instance.settings()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_v4(&self) -> bool {
        self.settings().addresses.first().is_some_and(IpAddr::is_ipv4)
    }

    /// What it says with that priority.
    pub(crate) fn advertisement(&self, priority: u8) -> Advertisement {
        self.instance.advertisement(priority)
    }

    /// Has its addresses announced from `now` on, if that is not under way.
    pub(super) fn announce(&mut self, now: Instant) {
        self.announces.get_or_insert((now, ANNOUNCEMENTS));
    }

    pub(super) const fn announce_no_more(&mut self) {
        self.announces = None;
    }

    /// When its addresses are announced next.
    pub(super) fn announces_at(&self) -> Option<Instant> {
        self.announces.map(|(at, _)| at)
    }

    /// Whether its addresses are to be announced `now`; then they are taken to be.
    pub(super) fn takes_announcement(&mut self, now: Instant) -> bool {
        let Some((at, left)) = self.announces.filter(|(at, _)| now >= *at) else { return false };
        let left = left.saturating_sub(1);
        self.announces = (left > 0).then(|| (at.max(now).saturating_add(ANNOUNCE_INTERVAL), left));
        self.counters.announced = self.counters.announced.wrapping_add(1);
        true
    }

    /// Whether it is news that another machine is active as well, at `rival`.
    pub(super) fn is_new_rival(&mut self, rival: IpAddr, now: Instant) -> bool {
        self.counters.rivals = self.counters.rivals.wrapping_add(1);
        let before = self.rival.replace((rival, now));
        before.is_none_or(|(before, at)| before != rival || now.since(at) >= RIVAL_AGAIN)
    }

    /// Whether it is news that the machine at `from` has other addresses.
    pub(super) fn is_new_difference(&mut self, from: IpAddr, priority: u8, addresses: &Addresses) -> bool {
        if priority == LEAVES || addresses.is_same_as(&self.settings().addresses) {
            return false;
        }
        self.differs.replace(from) != Some(from)
    }

    pub(super) fn role(&self) -> Role {
        self.instance.role()
    }
}
