//! What may be asked for:
//! `/debug/pcap?interface=public&filter=tcp+and+port+80&seconds=10&packets=1000&bytes=128`.

use alloc::format;
use alloc::string::String;

use paravane_appliance::interface::InterfaceId;

use super::super::debug::Parameters;
use super::MOST_BYTES;
use super::filter::Filter;

/// Without a word, and the most.
const SECONDS: (u32, u32) = (10, 300);
const PACKETS: (u32, u32) = (1000, 100_000);
const BYTES: (u16, u16) = (128, 1536);
const _: () = assert!(BYTES.1 as usize == MOST_BYTES);

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Query {
    /// All of them, without one.
    pub(super) interface: Option<InterfaceId>,
    pub(super) filter: Filter,
    pub(super) seconds: u32,
    pub(super) packets: u32,
    /// Of each frame at most.
    pub(super) bytes: u16,
}

impl Query {
    /// Reads the part of a target behind `?`, of a router with interfaces of these `names`.
    ///
    /// # Errors
    ///
    /// What is wrong, in a line.
    pub(in super::super) fn read(query: &str, names: &[&str]) -> Result<Self, String> {
        let parameters = Parameters::read(query, &["interface", "filter", "seconds", "packets", "bytes"])?;
        let interface = match parameters.text("interface") {
            None => None,
            Some(name) => {
                let place = names.iter().position(|known| *known == name);
                let place = place.and_then(|place| u8::try_from(place).ok());
                let unknown = || format!("there is no interface '{name}'; there are {}", names.join(", "));
                Some(InterfaceId(place.ok_or_else(unknown)?))
            }
        };
        let filter = Filter::read(parameters.text("filter").unwrap_or_default())?;
        let seconds = parameters.number("seconds", 1, SECONDS.1)?.unwrap_or(SECONDS.0);
        let packets = parameters.number("packets", 1, PACKETS.1)?.unwrap_or(PACKETS.0);
        let bytes = parameters.number("bytes", 14, BYTES.1.into())?;
        let bytes = bytes.and_then(|bytes| u16::try_from(bytes).ok()).unwrap_or(BYTES.0);
        Ok(Self { interface, filter, seconds, packets, bytes })
    }
}
