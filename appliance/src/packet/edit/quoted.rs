//! Other ends for the packet that an ICMP error is about.

use paravane_net::Frame;

use super::rewrite::{Addresses, Rewrite};
use super::{EditError, adjusted, put, put_words};
use crate::packet::Transport;
use crate::packet::quote::Quoted;
use crate::packet::sum::Sum;
use crate::packet::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_UDP};

/// Gives the packet that an error quotes other ends, with all checksums that cover them: its own,
/// where they are quoted, and the error's. The error's own ends stay.
///
/// `transport` was read from the frame, and says afterwards what it says; `quoted` does not.
///
/// # Errors
///
/// [`EditError`].
///
/// Spec: RFC 5508, 4.2 "ICMP Error Payload Validation"; RFC 1624.
pub fn rewrite_quoted(
    quoted: &Quoted,
    transport: &mut Transport,
    frame: &mut Frame,
    to: &Rewrite,
) -> Result<(), EditError> {
    let Transport::Icmp(icmp, icmp_at) = transport else { return Err(EditError::Version) };
    let addresses = addresses(quoted, frame, to)?;
    let change = addresses.and_all(ports(quoted, frame, to)?).and_all(checksum(quoted, frame, to)?);
    let checksum_at = icmp_at.saturating_add(ICMP_CHECKSUM_AT);
    let checksum = adjusted(frame, checksum_at, icmp.checksum.get(), 0, change.folded());
    put_words(frame, checksum_at, [checksum])?;
    icmp.checksum.set(checksum);
    Ok(())
}

/// Writes the addresses, and the header's checksum; by how much the sum of what is quoted changes.
fn addresses(quoted: &Quoted, frame: &mut Frame, to: &Rewrite) -> Result<Sum, EditError> {
    let change = Sum::ZERO.and(to.addresses_sum);
    match &to.to {
        Addresses::V4(source, destination) => {
            let old = quoted.header_checksum;
            let checksum = change.applied_to(old);
            put_words(frame, quoted.ip_at.saturating_add(V4_CHECKSUM_AT), [checksum])?;
            put(frame, quoted.ip_at.saturating_add(V4_SOURCE_AT), source)?;
            put(frame, quoted.ip_at.saturating_add(V4_DESTINATION_AT), destination)?;
            Ok(change.and(checksum).without(old))
        }
        Addresses::V6(source, destination) => {
            put(frame, quoted.ip_at.saturating_add(V6_SOURCE_AT), source)?;
            put(frame, quoted.ip_at.saturating_add(V6_DESTINATION_AT), destination)?;
            Ok(change)
        }
    }
}

/// The same of the ports, or an identifier.
fn ports(quoted: &Quoted, frame: &mut Frame, to: &Rewrite) -> Result<Sum, EditError> {
    let [source_port, destination_port] = to.ports;
    match quoted.protocol {
        PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
            put_words(frame, quoted.ports_at, [source_port | destination_port])?
        }
        _ => put_words(frame, quoted.ports_at, to.ports)?,
    }
    Ok(Sum::ZERO.and(to.ports_sum))
}

/// The same of the checksum of what the packet carries, if it is there.
fn checksum(quoted: &Quoted, frame: &mut Frame, to: &Rewrite) -> Result<Sum, EditError> {
    let Some((at_bytes, old)) = quoted.checksum else { return Ok(Sum::ZERO) };
    let has_pseudo_header = quoted.protocol != PROTOCOL_ICMP;
    let change = Sum::ZERO.and(to.ports_sum).and(if has_pseudo_header { to.addresses_sum } else { 0 });
    let checksum = match change.applied_to(old) {
        // That would say that there is none.
        0 if quoted.protocol == PROTOCOL_UDP => 0xffff,
        checksum => checksum,
    };
    put_words(frame, at_bytes, [checksum])?;
    Ok(Sum::ZERO.and(checksum).without(old))
}

// Where fields are in their headers.
const V4_CHECKSUM_AT: usize = 10;
const V4_SOURCE_AT: usize = 12;
const V4_DESTINATION_AT: usize = 16;
const V6_SOURCE_AT: usize = 8;
const V6_DESTINATION_AT: usize = 24;
const ICMP_CHECKSUM_AT: usize = 2;
