//! One virtual router, as one machine sees it.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::net::IpAddr;
use core::num::NonZero;
use core::time::Duration;

use paravane_hal::time::Instant;

use super::addresses::MAX_ADDRESSES;
use super::advertisement::{Advertisement, Checksum, LEAVES};

/// The priority of who owns the addresses.
const OWNER: u8 = 255;
const MAX_CENTIS: u16 = 4095;
/// Who is contradicted says no more often than this that it is active, however often that is: the
/// shortest interval that there is.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// What is set of a virtual router. All machines have the same, but for the priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its number, the same for all machines, and another one than of other virtual routers on the
    /// link.
    pub id: NonZero<u8>,
    /// Who has the higher one is active. 1 to 254; 255 is for a machine that owns the addresses
    /// anyway.
    pub priority: u8,
    /// How often the active one says so: 10 ms to 40.95 s, in steps of 10 ms.
    pub interval: Duration,
    /// Whether one of a higher priority takes over from one that works.
    pub preempts: bool,
    /// What the machines share, of one IP version; over IPv6 the first is of the link (fe80::).
    pub addresses: Vec<IpAddr>,
    /// How checksums are made until somebody else is heard: then, as theirs.
    pub checksum: Checksum,
}

impl Settings {
    /// Of priority 100, every second, without preemption.
    #[must_use]
    pub const fn new(id: NonZero<u8>, addresses: Vec<IpAddr>) -> Self {
        Self {
            id,
            priority: 100,
            interval: Duration::from_secs(1),
            preempts: false,
            addresses,
            checksum: Checksum::Message,
        }
    }

    fn interval_centis(&self) -> Option<u16> {
        let centis = u16::try_from(self.interval.as_millis() / 10).ok()?;
        (1..=MAX_CENTIS).contains(&centis).then_some(centis)
    }
}

/// Why there is no such instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// Zero is the priority of who stops.
    Priority,
    /// It is shorter than 10 ms, or longer than 40.95 s.
    Interval {
        /// What was said.
        interval: Duration,
    },
    /// There is none, or there are some of two IP versions.
    Addresses,
    /// There are more than [`MAX_ADDRESSES`].
    TooMany {
        /// How many.
        count: usize,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Priority => f.write_str("a priority of 0: 1 to 254 are possible, and 255 for the owner"),
            Self::Interval { interval } => {
                write!(f, "an interval of {interval:?}: 10 ms to 40.95 s are possible")
            }
            Self::Addresses => {
                f.write_str("addresses of no IP version, or of two: each has a virtual router")
            }
            Self::TooMany { count } => write!(f, "{count} addresses: {MAX_ADDRESSES} at most"),
        }
    }
}

impl core::error::Error for SettingsError {}

/// Whether a machine has the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes no part.
    Initialize,
    /// Another one has them.
    Backup,
    /// It has them.
    Active,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "others wait to hear it"]
pub struct Output {
    /// It has another role now: who becomes [`Role::Active`] has the addresses from now on, and
    /// announces them; who was it, has not.
    pub became: Option<Role>,
    /// This is to be sent.
    pub send: Option<Advertisement>,
}

/// One virtual router, as one machine sees it.
#[derive(Debug)]
pub struct Instance {
    settings: Settings,
    interval_centis: u16,
    role: Role,
    /// How often the active one says that it is, as it says.
    heard_centis: u16,
    /// When the active one speaks again, or is missed.
    due: Instant,
    spoke_at: Option<Instant>,
    checksum: Checksum,
}

impl Instance {
    /// One that takes no part yet.
    ///
    /// # Errors
    ///
    /// As [`SettingsError`] says.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        if settings.priority == LEAVES {
            return Err(SettingsError::Priority);
        }
        let wrong = SettingsError::Interval { interval: settings.interval };
        let interval_centis = settings.interval_centis().ok_or(wrong)?;
        let is_v4 = settings.addresses.first().ok_or(SettingsError::Addresses)?.is_ipv4();
        if settings.addresses.iter().any(|address| address.is_ipv4() != is_v4) {
            return Err(SettingsError::Addresses);
        }
        let count = settings.addresses.len();
        if count > MAX_ADDRESSES {
            return Err(SettingsError::TooMany { count });
        }
        Ok(Self {
            interval_centis,
            role: Role::Initialize,
            heard_centis: interval_centis,
            due: Instant::default(),
            spoke_at: None,
            checksum: settings.checksum,
            settings,
        })
    }

    /// What was set.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it has the addresses.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// When to [`poll`](Self::poll) it next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        (self.role != Role::Initialize).then_some(self.due)
    }

    /// Takes part from now on: the owner of the addresses has them at once, others listen first.
    ///
    /// Spec: RFC 9568, 6.4.1 "Initialize".
    pub fn start(&mut self, now: Instant) -> Output {
        if self.role != Role::Initialize {
            return Output::default();
        }
        self.heard_centis = self.interval_centis;
        if self.settings.priority == OWNER {
            return self.take_over(now);
        }
        self.wait(Role::Backup, now)
    }

    /// Takes no part any more. Others take over at once.
    pub fn stop(&mut self) -> Output {
        let send = (self.role == Role::Active).then(|| self.advertisement(LEAVES));
        let became = (self.role != Role::Initialize).then_some(Role::Initialize);
        self.role = Role::Initialize;
        Output { became, send }
    }

    /// Whether nobody was heard that is active, for as long as one is waited for.
    #[must_use]
    pub fn is_missing(&self, now: Instant) -> bool {
        self.role == Role::Backup && now >= self.due
    }

    /// Gives the addresses up, if it has them, and waits. Others take over at once.
    pub fn step_back(&mut self, now: Instant) -> Output {
        if self.role != Role::Active {
            return Output::default();
        }
        self.heard_centis = self.interval_centis;
        Output { send: Some(self.advertisement(LEAVES)), ..self.wait(Role::Backup, now) }
    }

    /// The active one leaves, as was heard elsewhere: waits no longer than if it had been heard
    /// here.
    pub fn hasten(&mut self, now: Instant) {
        if self.role == Role::Backup {
            self.due = self.due.min(after(now, self.skew_centis()));
        }
    }

    /// Another priority, of a machine that can do more or less than before. One that is active says
    /// so when it speaks next.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Priority`], and nothing is changed.
    pub fn set_priority(&mut self, priority: u8) -> Result<(), SettingsError> {
        if priority == LEAVES {
            return Err(SettingsError::Priority);
        }
        self.settings.priority = priority;
        Ok(())
    }

    /// Does what is due.
    ///
    /// Spec: RFC 9568, 6.4.2 "Backup", 6.4.3 "Active".
    pub fn poll(&mut self, now: Instant) -> Output {
        match self.role {
            Role::Initialize => Output::default(),
            _ if now < self.due => Output::default(),
            Role::Backup => self.take_over(now),
            Role::Active => self.speak(now),
        }
    }

    /// Takes what another one on the link says, from its address `source`. `own` is this machine's
    /// on the link.
    ///
    /// Spec: RFC 9568, 6.4.2, 6.4.3.
    pub fn heard(&mut self, said: &Advertisement, source: IpAddr, own: IpAddr, now: Instant) -> Output {
        if said.id != self.settings.id || self.role == Role::Initialize || source == own {
            return Output::default();
        }
        self.checksum = said.checksum;
        let priority = self.settings.priority;
        match (self.role, said.priority) {
            (Role::Active, LEAVES) => self.contradict(now),
            // It leaves: those that are left wait for as long as they differ.
            (_, LEAVES) => {
                self.due = after(now, self.skew_centis());
                Output::default()
            }
            (Role::Active, theirs) => match (theirs.cmp(&priority), source.cmp(&own)) {
                (Ordering::Greater, _) | (Ordering::Equal, Ordering::Greater) => {
                    self.heard_centis = said.interval_centis;
                    self.wait(Role::Backup, now)
                }
                // It has to hear that it is not the only one.
                _ => self.contradict(now),
            },
            (_, theirs) if self.settings.preempts && theirs < priority => Output::default(),
            _ => {
                self.heard_centis = said.interval_centis;
                let _ = self.wait(Role::Backup, now);
                Output::default()
            }
        }
    }

    fn take_over(&mut self, now: Instant) -> Output {
        self.role = Role::Active;
        Output { became: Some(Role::Active), ..self.speak(now) }
    }

    /// Has others hear that it is active, who did not know.
    fn contradict(&mut self, now: Instant) -> Output {
        match self.spoke_at {
            Some(spoke_at) if now.since(spoke_at) < LEAST_PAUSE => Output::default(),
            _ => self.speak(now),
        }
    }

    fn speak(&mut self, now: Instant) -> Output {
        self.spoke_at = Some(now);
        self.due = after(now, u32::from(self.interval_centis));
        Output { became: None, send: Some(self.advertisement(self.settings.priority)) }
    }

    /// Waits until the active one is missed.
    fn wait(&mut self, role: Role, now: Instant) -> Output {
        self.role = role;
        let silence = u32::from(self.heard_centis).saturating_mul(3).saturating_add(self.skew_centis());
        self.due = after(now, silence);
        Output { became: Some(role), send: None }
    }

    /// The lower the priority, the longer one waits more than others.
    ///
    /// Spec: RFC 9568, 6.1 "Parameters per Virtual Router", Skew_Time.
    fn skew_centis(&self) -> u32 {
        let behind = 256_u32.saturating_sub(self.settings.priority.into());
        behind.saturating_mul(self.heard_centis.into()) / 256
    }

    /// What it says with that priority.
    pub(super) fn advertisement(&self, priority: u8) -> Advertisement {
        Advertisement {
            id: self.settings.id,
            priority,
            interval_centis: self.interval_centis,
            addresses: self.settings.addresses.iter().copied().collect(),
            checksum: self.checksum,
        }
    }
}

fn after(now: Instant, centis: u32) -> Instant {
    now.saturating_add(Duration::from_millis(u64::from(centis).saturating_mul(10)))
}
