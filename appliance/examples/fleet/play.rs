//! Each connection from its first packet to its last.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use paravane_appliance::pool::{Pool, ServerId};

use crate::ecmp::{Ecmp, Kind};
use crate::options::Options;
use crate::scenario::{Event, HOUR, Step, hour};
use crate::servers::{name, pool};

/// All that happens, and what each balancer and router does by then.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) kind: Kind,
    pub(crate) events: Vec<Event>,
    /// Which server is there or gone by an event.
    servers: Vec<Option<ServerId>>,
    /// What a balancer has that knows of so many of those events that are about servers.
    pools: Vec<Pool>,
    /// What routers do after so many of the others.
    ecmp: Vec<Ecmp>,
}

/// How many connections at an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Were open.
    pub(crate) open: u64,
    /// Of them went on to another balancer.
    pub(crate) moved: u64,
    /// Broke, as no balancer had a flow table.
    pub(crate) without: u64,
    /// Broke, though each had one.
    pub(crate) with: u64,
    /// Ended with their server.
    pub(crate) died: u64,
}

/// What became of all connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// By event.
    pub(crate) counts: Vec<Count>,
    /// That were open at any.
    pub(crate) met_any: u64,
    /// That began at a server that was gone, and nobody knew yet.
    pub(crate) began_dead: u64,
}

impl World {
    pub(crate) fn new(options: &Options, kind: Kind) -> Result<Self, Box<dyn Error>> {
        Self::with(options, kind, hour(options))
    }

    pub(crate) fn with(options: &Options, kind: Kind, events: Vec<Event>) -> Result<Self, Box<dyn Error>> {
        let changes: Vec<_> = events.iter().map(|event| &event.step).filter(|step| !step.is_ecmp()).collect();
        let knowing = |known: usize| pool(options, changes.get(..known).unwrap_or_default());
        let pools = (0..=changes.len()).map(knowing).collect::<Result<_, _>>()?;
        let mut there: Vec<u16> = (0..options.balancers).collect();
        let mut ecmp = vec![Ecmp::new(kind, options.balancers)];
        for event in &events {
            match &event.step {
                Step::Fail(range) => there.retain(|balancer| !range.contains(balancer)),
                Step::Return(range) => there.extend(range.clone()),
                _ => continue,
            }
            there.sort_unstable();
            let next = ecmp.last().map(|before| before.then(&there));
            ecmp.extend(next);
        }
        let first = pool(options, &[])?;
        let server = |event: &Event| first.find(&name(event.step.server()?));
        let servers = events.iter().map(server).collect();
        Ok(Self { options: options.clone(), kind, events, servers, pools, ecmp })
    }

    pub(crate) fn play(&self) -> Tally {
        let mut tally =
            Tally { counts: vec![Count::default(); self.events.len()], met_any: 0, began_dead: 0 };
        for number in 0..self.options.flows {
            self.play_flow(&Flow::new(self.options.seed, number), &mut tally);
        }
        tally
    }

    fn play_flow(&self, flow: &Flow, tally: &mut Tally) {
        let is_before = |event: &&Event| event.at <= flow.begins;
        let before = self.events.iter().take_while(is_before);
        // What routers have seen, and what the balancer knows, of the events of theirs.
        let mut routed = before.clone().filter(|event| event.step.is_ecmp()).count();
        let mut balancer = self.balancer(routed, flow);
        let knows = |event: &&Event| event.at + event.delay(balancer) <= flow.begins;
        let mut known = before.clone().filter(|event| !event.step.is_ecmp()).filter(knows).count();
        let Some(server) = self.server(known, flow) else { return };
        if self.is_gone(server, before.count()) {
            tally.began_dead += 1;
            return;
        }
        let (mut lives_without, mut lives_with, mut met_any) = (true, true, false);
        let mut remember = Balancers::default();
        remember.insert(balancer);
        for ((event, about), count) in self.events.iter().zip(&self.servers).zip(&mut tally.counts) {
            let heard_at = event.at + event.delay(balancer);
            if heard_at <= flow.begins {
                continue;
            }
            if event.at > flow.ends {
                break;
            }
            met_any = true;
            count.open += 1;
            if event.at > flow.begins && event.step.is_end() && *about == Some(server) {
                count.died += 1;
                break;
            }
            if event.step.is_ecmp() {
                routed += 1;
                if let Step::Fail(range) = &event.step {
                    range.clone().for_each(|failed| remember.remove(failed));
                }
                let next = self.balancer(routed, flow);
                count.moved += u64::from(next != balancer);
                balancer = next;
            } else if heard_at > flow.ends {
                break;
            } else {
                known += 1;
            }
            let is_found = self.server(known, flow) == Some(server);
            if lives_without && !is_found {
                lives_without = false;
                count.without += 1;
            }
            if lives_with && !is_found && !remember.contains(balancer) {
                lives_with = false;
                count.with += 1;
            }
            remember.insert(balancer);
        }
        tally.met_any += u64::from(met_any);
    }

    fn balancer(&self, routed: usize, flow: &Flow) -> u16 {
        self.ecmp.get(routed).map_or(0, |ecmp| ecmp.of(flow.hash))
    }

    /// Where a balancer sends a connection of which it knows nothing.
    fn server(&self, known: usize, flow: &Flow) -> Option<ServerId> {
        self.pools.get(known)?.lookup(flow.source)
    }

    /// Whether a server is gone after so many events.
    fn is_gone(&self, server: ServerId, happened: usize) -> bool {
        let mut before = self.events.iter().zip(&self.servers).take(happened).rev();
        let last = before.find(|(_, about)| **about == Some(server));
        last.is_some_and(|(event, _)| event.step.is_end())
    }
}

/// A connection.
struct Flow {
    begins: u32,
    ends: u32,
    source: IpAddr,
    /// By which routers know it.
    hash: u32,
}

impl Flow {
    /// Begins at any time, and lasts from a second to an hour: from one to two as likely as from
    /// half an hour to one.
    fn new(seed: u64, number: u64) -> Self {
        let random = |salt: u64| mix(mix(seed ^ salt << 56) ^ number);
        let begins = (random(1) % u64::from(HOUR)) as u32;
        let part = (random(2) >> 11) as f64 / (1_u64 << 53) as f64;
        let lasts = 1000.0 * (part * 3600_f64.log2()).exp2();
        let words = random(3);
        let source = Ipv4Addr::from_bits((words >> 32) as u32);
        Self { begins, ends: begins + lasts as u32, source: source.into(), hash: words as u32 }
    }
}

/// Some balancers of 256.
#[derive(Clone, Copy, Default)]
struct Balancers([u64; 4]);

impl Balancers {
    fn insert(&mut self, balancer: u16) {
        self.0[usize::from(balancer / 64) % 4] |= 1 << (balancer % 64);
    }

    fn remove(&mut self, balancer: u16) {
        self.0[usize::from(balancer / 64) % 4] &= !(1 << (balancer % 64));
    }

    fn contains(&self, balancer: u16) -> bool {
        self.0[usize::from(balancer / 64) % 4] & 1 << (balancer % 64) != 0
    }
}

/// Another number for each, of which the bits have nothing to do with those of `word`.
pub(crate) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
