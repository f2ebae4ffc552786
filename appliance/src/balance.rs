//! A load balancer: services, whose clients' packets go to servers and come back.
//!
//! ```text
//!  a packet of a flow   -- flows  --> whose it is, and which way --> nat: other ends --> on its way
//!  the first of one     -- pool   --> which server --> flows: within the limits --> as above
//!    of a spliced service          --> answered by a cookie; who comes back with it: as above
//!  an ICMP error        -- nat    --> whose it is about --> likewise
//!  a fragment           -- nat    --> whose its first one was
//!  all others           --> as a router has it
//!  what became of flows --> pool: connections that ended; check: servers that failed
//! ```
//!
//! [`Path`](crate::path::Path) runs it between its interfaces; who has sockets runs the
//! [checks](Serving::checks_mut).
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Balancer`]: all services, and what time brings |
//! | `service` | [`Service`], [`Settings`], and why there is none such |
//! | `serving` | [`Serving`]: a service with its servers, and what an operator does with it |
//! | `decide` | what becomes of a packet |
//! | `begin` | what becomes of the first of a flow |
//! | `guard` | flows of no service, which a [firewall's rules](crate::filter) let begin |
//! | `spliced` | connections that are [spliced](crate::splice) |
//! | `shared` | services at addresses that come and go |
//! | `closing` | how all of it ends |

mod begin;
mod closing;
mod decide;
mod guard;
mod service;
mod serving;
mod shared;
mod spliced;

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use paravane_hal::time::Instant;

use crate::check::Report;
use crate::filter::Filter;
use crate::flow::{Direction, End, Flow, Key, State, Table, Tag};
use crate::icmp;
use crate::limit::Limiter;
use crate::nat::{Fragments, Nat};
use crate::packet::edit::Ends;
use crate::packet::reset::Reset;
use crate::packet::wire::PROTOCOL_TCP;
use crate::random::Random;
use crate::splice::{self, Cookies};
use closing::Closing;
pub(crate) use decide::{Came, Decision};
pub use service::{BalanceError, Protocol, Service, Settings, Splice};
use serving::Listeners;
pub use serving::{Serving, Traffic};
pub(crate) use spliced::Spliced;
use spliced::Splicing;

/// How many flows, or seconds, one turn looks at: of those whose time is over, and of those whose
/// server's is.
const TURN: u32 = 64;
/// How many resets wait to be sent: both ends of all flows that end in a turn.
const RESETS: usize = 4 * TURN as usize;
/// How often it is looked whether parts of packets wait in vain, and whether a server's time is
/// over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Services, and all flows: of them, and those that a firewall's rules let begin.
#[derive(Debug)]
pub struct Balancer {
    pub(crate) flows: Table,
    nat: Nat,
    pub(crate) fragments: Fragments,
    services: Vec<Serving>,
    listeners: Listeners,
    resets: Vec<Reset>,
    cookies: Cookies,
    splicing: Option<Splicing>,
    max_splices: u32,
    splice_settings: splice::Settings,
    /// To how many strangers something is said.
    answers: Limiter,
    /// Where the search goes on for flows whose server's time is over, or whose service is another
    /// machine's, while there is one.
    sweep: Option<u32>,
    /// Since an address went there may be flows of its services.
    is_handing_over: bool,
    closing: Closing,
    next_look: Instant,
    filter: Option<Filter>,
}

impl Balancer {
    /// One for these services, each without servers, between so many interfaces. Allocates all that
    /// it will need, but the table of spliced connections: the path that it is
    /// [given to](crate::path::Path::set_balancer) does that.
    ///
    /// # Errors
    ///
    /// [`BalanceError`]: one of the services is none.
    pub fn new(
        settings: Settings,
        services: Vec<Service>,
        interfaces: usize,
        random: &mut Random,
    ) -> Result<Self, BalanceError> {
        let listeners = Listeners::new(&services, &settings)?;
        let mut limits = settings.flows;
        let plain = u16::try_from(services.len()).map_err(|_| BalanceError::Services)?;
        // One more, of the flows that are of none.
        limits.services = plain.checked_add(1).ok_or(BalanceError::Services)?;
        let mut flows = Table::new(limits, random);
        for (service, number) in services.iter().zip(0..) {
            flows.set_service(number, service.flows);
        }
        flows.set_service(plain, settings.plain);
        let serving = services.into_iter().map(|service| Serving::new(service, random));
        let services = serving.collect::<Result<_, _>>()?;
        Ok(Self {
            flows,
            nat: Nat::new(settings.sources, random),
            fragments: Fragments::new(settings.fragments, random),
            services,
            listeners,
            resets: Vec::with_capacity(RESETS),
            cookies: Cookies::new(random),
            splicing: None,
            max_splices: settings.splices,
            splice_settings: settings.splicing,
            answers: Limiter::new(icmp::Limits::ERRORS, random.hash_key(), interfaces),
            sweep: None,
            is_handing_over: false,
            closing: Closing::No,
            next_look: Instant::default(),
            filter: None,
        })
    }

    /// All services, by their numbers.
    #[must_use]
    pub fn services(&self) -> &[Serving] {
        &self.services
    }

    /// A service, to change its servers, and to check them.
    pub fn service_mut(&mut self, number: u16) -> Option<&mut Serving> {
        self.services.get_mut(usize::from(number))
    }

    /// All flows.
    #[must_use]
    pub const fn flows(&self) -> &Table {
        &self.flows
    }

    /// How many more flows each server of a service may have, where clients' addresses are
    /// replaced; `None` where they are not.
    #[must_use]
    pub fn ports_free(&self, service: u16) -> Option<u32> {
        let serving = self.services.get(usize::from(service))?;
        serving.ports_free(&self.nat)
    }

    /// How often no port was free.
    #[must_use]
    pub const fn ports_exhausted(&self) -> u64 {
        self.nat.ports_exhausted()
    }

    /// Fragments that wait for the first one of their packet, or were lost.
    #[must_use]
    pub const fn fragments(&self) -> &Fragments {
        &self.fragments
    }

    /// What time brings: flows of which nothing was heard end, and so do those of servers whose
    /// time is over. When to call again; `None` when nothing waits.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        let (flows, mut left) = self.parts(now);
        let next = flows.poll(now, TURN, &mut |index, flow, end| left.ended(index, flow, end));
        for serving in &mut self.services {
            serving.poll();
        }
        if now >= self.next_look {
            self.next_look = now.saturating_add(LOOK_EVERY);
            self.fragments.poll(now);
            if self.sweep.is_none() && self.services.iter().any(|serving| serving.has_left_over(now)) {
                self.sweep = Some(0);
            }
        }
        if let Some(first) = self.sweep {
            self.sweep(first, now);
        }
        // Behind all that ends flows: what is to be done is for those that there are.
        let splices = self.poll_splices(now);
        if self.sweep.is_some() {
            return Some(now);
        }
        let look = (self.fragments.waiting() > 0).then_some(self.next_look);
        [next, look, splices].into_iter().flatten().min()
    }

    /// Ends some flows whose server's time is over, or whose service is another machine's: so many
    /// are looked at, from the place `first` on.
    #[cold]
    fn sweep(&mut self, first: u32, now: Instant) {
        let behind = first.saturating_add(TURN);
        let mut over = [None; TURN as usize];
        let among = self.flows.iter_from(first).take_while(|(index, _)| *index < behind);
        let (services, is_end) = (&self.services, self.closing.is_cutting_off());
        let is_over = |(_, flow): &(u32, &Flow)| {
            let serving = services.get(usize::from(flow.tag().service));
            serving.is_some_and(|serving| is_end || !serving.is_here || serving.is_over(flow.tag(), now))
        };
        for (place, (index, _)) in over.iter_mut().zip(among.filter(is_over)) {
            *place = Some(index);
        }
        for index in over.into_iter().flatten() {
            self.remove(index, now);
        }
        self.sweep = (behind < self.flows.limits().flows).then_some(behind);
        self.is_handing_over &= self.sweep.is_some();
    }

    /// Ends a flow; without a word where it goes on elsewhere.
    fn remove(&mut self, index: u32, now: Instant) {
        let goes_on = !self.is_here(index) || self.is_handed_on(index);
        let (flows, mut left) = self.parts(now);
        let ended = &mut |index, flow: &Flow, end| left.ended(index, flow, end);
        if goes_on {
            flows.hand_over(index, ended);
        } else {
            flows.remove(index, ended);
        }
    }

    /// The flows, and who hears that one of them is no more.
    #[inline(always)]
    fn parts(&mut self, now: Instant) -> (&mut Table, Left<'_>) {
        let Self { flows, services, resets, splicing, .. } = self;
        (flows, Left { services, resets, splicing, now })
    }

    /// A segment that is to be sent: it cuts a connection off that is no more here.
    pub(crate) fn take_reset(&mut self) -> Option<Reset> {
        self.resets.pop()
    }

    /// Counts a packet of a flow.
    #[inline]
    pub(crate) fn count(&mut self, flow: u32, direction: Direction, total_bytes: usize) {
        let Some(tag) = self.flows.get(flow).map(Flow::tag) else { return };
        count(&mut self.services, tag, direction, total_bytes);
    }

    /// All flows, and the services, for who knows a packet's flow and [counts](count) it.
    #[inline(always)]
    pub(crate) const fn flows_and_services(&mut self) -> (&mut Table, &mut Vec<Serving>) {
        (&mut self.flows, &mut self.services)
    }

    /// Whether packets with this key are for a service.
    pub(crate) fn listens(&self, key: &Key) -> bool {
        self.service_at(key).is_some()
    }

    /// The service that packets with this key are for, if it is here.
    fn service_at(&self, key: &Key) -> Option<u16> {
        let number = self.listeners.find(key)?;
        self.services.get(usize::from(number)).is_some_and(|serving| serving.is_here).then_some(number)
    }

    /// Whether parts of packets between these two may be of its flows.
    pub(crate) fn knows(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.is_guarded()
            || self.listeners.has(destination)
            || self.nat.has_source(destination)
            || self.services.iter().any(|serving| serving.has_server(source))
    }
}

/// Counts a packet of a flow that is `tag`'s.
#[inline(always)]
pub(crate) fn count(services: &mut [Serving], tag: Tag, direction: Direction, total_bytes: usize) {
    if let Some(serving) = services.get_mut(usize::from(tag.service)) {
        serving.count(tag.server, direction, total_bytes);
    }
}

/// Who is left behind a flow that ends.
struct Left<'b> {
    services: &'b mut Vec<Serving>,
    resets: &'b mut Vec<Reset>,
    splicing: &'b mut Option<Splicing>,
    now: Instant,
}

impl Left<'_> {
    /// A flow is no more: its server has a connection less, and both ends hear of it, where they do
    /// not know.
    fn ended(&mut self, index: u32, flow: &Flow, end: End) {
        let tag = flow.tag();
        if let Some(serving) = self.services.get_mut(usize::from(tag.service)) {
            serving.release(tag.server);
            if end == End::Expired && flow.state() == State::SynSent {
                serving.report(tag.server, Report::Failed, self.now);
            }
        }
        let is_open = matches!(flow.state(), State::Established | State::FinWait | State::CloseWait);
        // Of one that was not seen to be whole, the other half may go on elsewhere.
        let is_over = end == End::Removed || end == End::Expired && flow.is_proven();
        let is_cut_off = is_open && is_over;
        if flow.is_spliced() {
            if let Some(splicing) = self.splicing {
                splicing.ended(index, flow, is_cut_off);
            }
        } else if is_cut_off && flow.key(Direction::Original).protocol() == PROTOCOL_TCP {
            for direction in [Direction::Original, Direction::Reply] {
                if self.resets.len() < RESETS {
                    self.resets.push(reset(flow, direction));
                }
            }
        }
    }
}

/// What cuts off a flow's connection in that direction: as if the one end had sent it.
fn reset(flow: &Flow, direction: Direction) -> Reset {
    let back = flow.key(direction.other());
    let ends = Ends {
        source: back.destination(),
        destination: back.source(),
        source_port: back.destination_port(),
        destination_port: back.source_port(),
    };
    Reset { ends, sequence: flow.next_sequence(direction), acknowledgement: None }
}
