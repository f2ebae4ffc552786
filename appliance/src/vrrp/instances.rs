//! All instances of a machine, and which of them move together.
//!
//! A machine that lost one side is of no use to the other. So the members of a group
//!
//! - take part only while the links of all of them are up: one link down, and all step down;
//! - become active together, when *each* of them misses the one that was: while the other machine
//!   is heard on one side, it serves;
//! - step back together, as soon as one of them hears that another machine goes before it.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use paravane_hal::time::Instant;

use super::advertisement::{Advertisement, LEAVES};
use super::instance::{Instance, Output, Role, Settings, SettingsError};
use super::member::{Event, Member, State};
use crate::interface::InterfaceId;

/// How many events wait to be heard; then the oldest goes.
const EVENTS: usize = 64;

/// What is to be done for a member, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The machine has its addresses from now on,
    Take(usize),
    /// or no more.
    Leave(usize),
    /// It speaks, with that priority.
    Send(usize, u8),
    /// All on the link are to hear who has the addresses.
    Announce(usize),
}

/// All instances of a machine.
#[derive(Debug)]
pub struct Instances {
    members: Vec<Member>,
    /// Whether the link of each interface is up.
    links: Vec<bool>,
    is_resigned: bool,
    tasks: VecDeque<Task>,
    events: VecDeque<Event>,
}

impl Instances {
    /// None yet, of a machine with so many interfaces, all of whose links are down.
    #[must_use]
    pub fn new(interfaces: usize) -> Self {
        Self {
            members: Vec::new(),
            links: vec![false; interfaces],
            is_resigned: false,
            tasks: VecDeque::new(),
            events: VecDeque::with_capacity(EVENTS),
        }
    }

    /// Adds one on `interface`, which moves with all others of its `group`. It takes part as soon
    /// as their links are up.
    ///
    /// # Errors
    ///
    /// As [`SettingsError`] says.
    pub fn add(
        &mut self,
        interface: InterfaceId,
        group: u8,
        settings: Settings,
    ) -> Result<(), SettingsError> {
        self.members.push(Member::new(interface, group, Instance::new(settings)?));
        // What one call brings about: each member leaves, speaks, and announces, at most.
        self.tasks.reserve(self.members.len().saturating_mul(4));
        Ok(())
    }

    /// All of them, by their numbers.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How one takes part.
    #[must_use]
    pub fn state(&self, member: usize) -> State {
        match self.members.get(member).map(Member::role) {
            _ if self.is_resigned => State::Resigned,
            Some(Role::Active) => State::Active,
            Some(Role::Backup) => State::Backup,
            Some(Role::Initialize) | None => State::Fault,
        }
    }

    /// Whether `address` is one that machines share.
    #[must_use]
    pub fn shares(&self, address: IpAddr) -> bool {
        self.members.iter().any(|member| member.settings().addresses.contains(&address))
    }

    /// The oldest thing that people want to know of, and have not heard.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next thing to do.
    pub(crate) fn take_task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// The link of an interface came, or went.
    pub(crate) fn link_changed(&mut self, interface: InterfaceId, is_up: bool, now: Instant) {
        if let Some(link) = self.links.get_mut(interface.index()) {
            *link = is_up;
        }
        for number in 0..self.members.len() {
            let may_take_part = !self.is_resigned && self.is_whole(number);
            self.change(
                number,
                now,
                |instance| {
                    if may_take_part { instance.start(now) } else { instance.stop() }
                },
            );
        }
    }

    /// Gives up what the machine has, for good: others take over at once.
    pub(crate) fn resign(&mut self, now: Instant) {
        self.is_resigned = true;
        for number in 0..self.members.len() {
            self.change(number, now, Instance::stop);
        }
    }

    /// Takes what another machine says on the link of `interface`, from its address `source`. `own`
    /// is this machine's there. False where it takes no part in that.
    pub(crate) fn heard(
        &mut self,
        interface: InterfaceId,
        said: &Advertisement,
        [source, own]: [IpAddr; 2],
        now: Instant,
    ) -> bool {
        let is_its = |member: &Member| {
            member.interface == interface
                && member.is_v4() == source.is_ipv4()
                && member.settings().id == said.id
        };
        let Some(number) = self.members.iter().position(is_its) else { return false };
        let before = self.state(number);
        self.change(number, now, |instance| instance.heard(said, source, own, now));
        let after = self.state(number);
        let Some(member) = self.members.get_mut(number) else { return false };
        member.counters.received = member.counters.received.wrapping_add(1);
        if member.is_new_difference(source, said.priority, &said.addresses) {
            self.say(Event::Differs { member: number, from: source });
        }
        match (before, said.priority) {
            (State::Active, LEAVES) => {}
            (State::Active, priority) => self.met_rival(number, [source, own], priority, now),
            (State::Backup, LEAVES) => self.others(number, now, |instance| {
                instance.hasten(now);
                Output::default()
            }),
            _ => {}
        }
        if (before, after) == (State::Active, State::Backup) {
            self.others(number, now, |instance| instance.step_back(now));
        }
        true
    }

    /// Another machine is active as well.
    fn met_rival(&mut self, number: usize, [rival, own]: [IpAddr; 2], priority: u8, now: Instant) {
        let Some(member) = self.members.get_mut(number) else { return };
        let stays = member.role() == Role::Active;
        if stays {
            // Whoever heard the other one last has to hear this one.
            member.announce(now);
        }
        if member.is_new_rival(rival, now) {
            self.say(Event::Rival { member: number, own, rival, priority, stays });
        }
    }

    /// Does what is due. When to call it again.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Instant> {
        for number in 0..self.members.len() {
            let is_next = match self.state(number) {
                State::Active => true,
                State::Backup => self.is_missed_by_all(number, now),
                State::Fault | State::Resigned => false,
            };
            if is_next {
                self.change(number, now, |instance| instance.poll(now));
            }
            if let Some(member) = self.members.get_mut(number)
                && member.takes_announcement(now)
            {
                self.tasks.push_back(Task::Announce(number));
            }
        }
        self.next()
    }

    /// When [`poll`](Self::poll) has something to do.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = |member: &Member| match member.role() {
            Role::Initialize => None,
            Role::Active => member.instance.next(),
            // All of them have to miss the other one.
            Role::Backup => self.group(member.group).filter_map(|(_, one)| one.instance.next()).max(),
        };
        let announced = self.members.iter().filter_map(Member::announces_at);
        self.members.iter().filter_map(due).chain(announced).min()
    }

    /// Those of a group, with their numbers.
    fn group(&self, group: u8) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().enumerate().filter(move |(_, member)| member.group == group)
    }

    /// Those that move with one.
    fn group_of(&self, number: usize) -> impl Iterator<Item = (usize, &Member)> {
        self.members.get(number).into_iter().flat_map(|member| self.group(member.group))
    }

    /// Whether the links of all are up that move with that one.
    fn is_whole(&self, number: usize) -> bool {
        let is_up = |interface: InterfaceId| self.links.get(interface.index()) == Some(&true);
        self.group_of(number).all(|(_, member)| is_up(member.interface))
    }

    /// Whether each that moves with that one misses the other machine, or has its part already.
    fn is_missed_by_all(&self, number: usize, now: Instant) -> bool {
        let mut group = self.group_of(number);
        group.all(|(_, member)| member.role() == Role::Active || member.instance.is_missing(now))
    }

    /// Changes those that move with one.
    fn others(&mut self, number: usize, now: Instant, change: impl Fn(&mut Instance) -> Output) {
        for other in 0..self.members.len() {
            if other != number && self.group_of(number).any(|(its, _)| its == other) {
                self.change(other, now, &change);
            }
        }
    }

    /// Changes one, and keeps in mind what is to be done for it.
    fn change(&mut self, number: usize, now: Instant, change: impl FnOnce(&mut Instance) -> Output) {
        let Some(member) = self.members.get_mut(number) else { return };
        let before = member.role();
        let Output { send, .. } = change(&mut member.instance);
        match (before, member.role()) {
            (Role::Active, Role::Active) => {}
            (Role::Active, _) => {
                member.announce_no_more();
                self.tasks.push_back(Task::Leave(number));
            }
            (_, Role::Active) => {
                member.announce(now);
                member.counters.became_active = member.counters.became_active.wrapping_add(1);
                self.tasks.push_back(Task::Take(number));
            }
            _ => {}
        }
        // What a link that is down does not take would be sent when it is up again.
        let is_up = self.links.get(member.interface.index()) == Some(&true);
        if let Some(said) = send.filter(|_| is_up) {
            member.counters.sent = member.counters.sent.wrapping_add(1);
            self.tasks.push_back(Task::Send(number, said.priority));
        }
        let state = self.state(number);
        if let Some(member) = self.members.get_mut(number)
            && core::mem::replace(&mut member.said, state) != state
        {
            self.say(Event::Became { member: number, state });
        }
    }

    fn say(&mut self, event: Event) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
