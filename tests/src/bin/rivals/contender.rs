//! Who is measured: images, and what each is told to do. Another one is another entry of
//! [`all`].

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use paravane_tests::image;

use crate::linux::{self, Guest};
use crate::packages::{self, Packages};
use crate::rules::Rules;

/// What a guest does between `public` and `private`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Passes packets on to 198.51.100.0/24.
    Route,
    /// Gives connections to 10.77.1.2:80 to two back ends in turn, packet by packet, and leaves
    /// the client's address as it is.
    Nat,
    /// Answers connections to 10.77.1.2:80, and has one of its own with one of two back ends for
    /// each.
    Proxy,
    /// Lets flows through by 16 rules that share nothing.
    Filter16,
    /// By 256.
    Filter256,
    /// By 4,096.
    Filter4096,
    /// Drops what comes from one of 4,096 addresses, and lets the rest through.
    FilterSet,
}

impl Work {
    /// The rules of a firewall.
    pub(crate) const fn rules(self) -> Option<Rules> {
        match self {
            Self::Route | Self::Nat | Self::Proxy => None,
            Self::Filter16 => Some(Rules::Distinct(16)),
            Self::Filter256 => Some(Rules::Distinct(256)),
            Self::Filter4096 => Some(Rules::Distinct(4_096)),
            Self::FilterSet => Some(Rules::Set),
        }
    }

    /// What the table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Route => "routing",
            Self::Nat => "balancing by NAT",
            Self::Proxy => "proxied connections",
            Self::Filter16 => "new flows, 16 rules",
            Self::Filter256 => "new flows, 256 rules",
            Self::Filter4096 => "new flows, 4,096 rules",
            Self::FilterSet => "new flows, a set of 4,096",
        }
    }
}

/// One who is measured.
#[derive(Debug)]
pub(crate) struct Contender {
    /// What the table calls it.
    pub(crate) name: String,
    /// Whether the others are compared with it.
    pub(crate) is_ours: bool,
    /// What QEMU boots.
    pub(crate) kernel: PathBuf,
    /// Its first file system, where it has one.
    pub(crate) initrd: Option<PathBuf>,
    /// Its command line.
    pub(crate) words: String,
    /// Length of all of it as it would be stored.
    pub(crate) stored_bytes: u64,
}

/// The addresses that all have.
const OURS: &str = "admin=10.77.0.2/24 public=10.77.1.2/24 private=10.77.2.2/24 log=warn";

const BACK_ENDS: &str = "round-robin,check=none,10.77.2.11:80,10.77.2.12:80";

/// All of them that do `work`, ours last.
pub(crate) fn all(work: Work, packages: &Packages) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    for guest in linux::guests(work) {
        all.push(rival(&guest, packages)?);
    }
    if let Some(rules) = work.rules() {
        let words = "route=100.64.0.0/10,10.77.1.1 route=10.128.0.0/9,10.77.2.1";
        all.push(ours("Paravane, firewall", guarded(rules)?, format!("{OURS} {words}"))?);
        return Ok(all);
    }
    let (name, words) = match work {
        Work::Nat => ("Paravane, dnat", format!("service=web,10.77.1.2:80,dnat,{BACK_ENDS}")),
        Work::Proxy => {
            ("Paravane, splice", format!("service=web,10.77.1.2:80,splice,{BACK_ENDS} sources=10.77.2.2"))
        }
        _ => ("Paravane, router", "route=198.51.100.0/24,10.77.2.1".to_owned()),
    };
    all.push(ours(name, image::built_once(image::ROUTER)?, format!("{OURS} {words}"))?);
    Ok(all)
}

/// The router's image with `rules` compiled into it, where cargo does not put another one.
fn guarded(rules: Rules) -> Result<PathBuf> {
    let folder = packages::folder()?;
    let file = folder.join("firewall.rules");
    fs::write(&file, rules.ours())?;
    let variables = [("PARAVANE_RULES", file.as_os_str()), ("PARAVANE_ZONES", "public,private".as_ref())];
    let built = image::build_with(image::ROUTER, &variables)?;
    let image = folder.join("firewall");
    fs::copy(built, &image)?;
    Ok(image)
}

/// An image of ours.
fn ours(name: &str, kernel: PathBuf, words: String) -> Result<Contender> {
    let stored_bytes = kernel.metadata().context("the image just built is gone")?.len();
    Ok(Contender { name: name.into(), is_ours: true, kernel, initrd: None, words, stored_bytes })
}

/// A guest of Linux.
fn rival(guest: &Guest, packages: &Packages) -> Result<Contender> {
    let built = linux::build(guest, packages)?;
    Ok(Contender {
        name: built.name,
        is_ours: false,
        kernel: built.kernel,
        initrd: Some(built.initrd),
        words: built.words,
        stored_bytes: built.stored_bytes,
    })
}
