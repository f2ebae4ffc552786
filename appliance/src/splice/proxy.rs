//! The PROXY header, version 2: who the client is, and whom it meant, before its first byte.
//!
//! ```text
//!  bytes  0 .......... 11   12    13        14, 15   16 ...
//!         signature         0x21  0x11 v4   12       source, destination, source port, destination port
//!                                 0x21 v6   36
//! ```
//!
//! Spec: The PROXY protocol, versions 1 & 2, 2.2 "Binary header format (version 2)".

use crate::flow::Key;

/// What it begins with, and no other protocol does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, of a connection that is passed on: PROXY,
const VERSION_COMMAND: u8 = 0x21;
/// and of one that is the balancer's own: LOCAL.
const VERSION_LOCAL: u8 = 0x20;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;

/// How long it is over IPv6.
pub(super) const MAX_BYTES: usize = 52;
/// And over IPv4.
const V4_BYTES: u8 = 28;
const V6_BYTES: u8 = 52;

/// The header of a connection of the balancer's own, which has no client.
pub(crate) fn local_header() -> impl Iterator<Item = u8> {
    SIGNATURE.into_iter().chain([VERSION_LOCAL, 0, 0, 0])
}

/// How long the header of such a connection is.
pub(super) const fn len_bytes(is_v6: bool) -> u8 {
    if is_v6 { V6_BYTES } else { V4_BYTES }
}

/// The header of a client's connection, as `original` has its ends; how many bytes.
pub(super) fn header(original: &Key) -> ([u8; MAX_BYTES], usize) {
    let (mut bytes, mut len) = ([0; MAX_BYTES], 0_usize);
    let mut put = |part: &[u8]| {
        let end = len.saturating_add(part.len());
        if let Some(place) = bytes.get_mut(len..end) {
            place.copy_from_slice(part);
            len = end;
        }
    };
    put(&SIGNATURE);
    if let Some(ends) = original.ends_v4() {
        put(&[VERSION_COMMAND, TCP4, 0, V4_BYTES - 16]);
        put(&ends.source.octets());
        put(&ends.destination.octets());
    } else if let Some(ends) = original.ends_v6() {
        put(&[VERSION_COMMAND, TCP6, 0, V6_BYTES - 16]);
        put(&ends.source.octets());
        put(&ends.destination.octets());
    }
    put(&original.source_port().to_be_bytes());
    put(&original.destination_port().to_be_bytes());
    (bytes, len)
}
