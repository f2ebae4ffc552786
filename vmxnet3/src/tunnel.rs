//! Frames in tunnels: what the device may be asked about the frame inside, and how.
//!
//! Off by default, and by the port of the tunnel: a host takes a datagram for a tunnel's by its
//! port, and what is none is lost. All of it is beside the way of other frames, which are not asked
//! about it.

mod headers;
mod ports;

use paravane_net::{Frame, Offloads, Segmentation, Tunnel, TunnelKind, TxOffload};

use crate::capability::Capabilities;
use crate::desc::TxSop;
use crate::offload::MAX_HLEN_BYTES;
use crate::revision::Features;
pub(crate) use headers::TunnelHeaders;
pub use ports::TunnelPorts;

/// What a transmit queue may leave to the device of frames in tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tunnels {
    ports: TunnelPorts,
    /// As far as they are about tunnels.
    offloads: Offloads,
    /// Whether a descriptor says by `ext1` that it is about the frame inside; by `om` otherwise.
    by_ext1: bool,
}

impl Tunnels {
    pub(crate) const NONE: Self =
        Self { ports: TunnelPorts::NONE, offloads: Offloads::empty(), by_ext1: false };

    /// Those of `ports`, on a device of such features. Where it has capabilities, it was `granted`
    /// those.
    pub(crate) fn new(ports: TunnelPorts, features: Features, granted: Capabilities) -> Self {
        if !features.contains(Features::TUNNELS) {
            return Self::NONE;
        }
        let wanted = Capabilities::of_tunnels(ports);
        let has = if features.contains(Features::CAPABILITIES) { wanted & granted } else { wanted };
        Self { ports, offloads: has.offloads(), by_ext1: features.contains(Features::TUNNELS_BY_EXT1) }
    }

    /// Whether these are no fewer than there are in `offloads`.
    pub(crate) fn have_all_of(self, offloads: Offloads) -> bool {
        let all = [TunnelKind::Geneve, TunnelKind::Vxlan].into_iter().flat_map(of_kind);
        all.filter(|each| offloads.contains(*each)).all(|each| self.offloads.contains(each))
    }

    /// What may be asked for.
    pub(crate) const fn offloads(self) -> Offloads {
        self.offloads
    }

    /// What the first descriptor of `frame` says but for a tag, if the device can do what it asks
    /// for, and its headers are as it says.
    pub(crate) fn asked(self, frame: &Frame, tunnel: Tunnel) -> Option<TxSop> {
        let TxOffload { checksum, segmentation } = frame.offload();
        let Some(request) = checksum else { return segmentation.is_none().then_some(TxSop::PLAIN) };
        let headers = TunnelHeaders::read(frame, self.ports)?;
        let header_bytes = headers.header_bytes().filter(|bytes| *bytes <= MAX_HLEN_BYTES)?;
        let is_so = (headers.tunnel().kind, headers.tunnel().outer_header_bytes)
            == (tunnel.kind, tunnel.outer_header_bytes)
            && headers.checksum() == request;
        let needs = needs(tunnel, segmentation.is_some());
        if !is_so || !self.offloads.contains(needs) {
            return None;
        }
        match segmentation {
            None if self.by_ext1 => {
                let field_bytes = request.start_bytes.checked_add(request.offset_bytes)?;
                Some(TxSop::checksum(header_bytes, field_bytes).inner())
            }
            None => Some(TxSop::encapsulated(header_bytes, 0)),
            Some(Segmentation { kind, header_bytes: said_bytes, mss_bytes, ecn }) => {
                let tcp = headers.tcp()?;
                // What is left of an outer checksum would be each segment's.
                let fits = (tcp.kind, tcp.header_bytes, tcp.is_reduced) == (kind, said_bytes, ecn)
                    && tcp.end_bytes as usize == frame.total_bytes()
                    && (tunnel.outer_checksum || !headers.tunnel().outer_checksum);
                let sop = if self.by_ext1 {
                    TxSop::segmentation(header_bytes, mss_bytes).inner()
                } else {
                    TxSop::encapsulated(header_bytes, mss_bytes)
                };
                fits.then_some(if tunnel.outer_checksum { sop.with_outer_checksum() } else { sop })
            }
        }
    }
}

/// What a device has to offer.
const fn needs(tunnel: Tunnel, is_cut: bool) -> Offloads {
    let [checksum, tso, outer_checksum] = of_kind(tunnel.kind);
    match (is_cut, tunnel.outer_checksum) {
        (false, _) => checksum,
        (true, false) => tso,
        (true, true) => tso.union(outer_checksum),
    }
}

/// Checksum, segments, and the outer checksums of those.
const fn of_kind(kind: TunnelKind) -> [Offloads; 3] {
    match kind {
        TunnelKind::Geneve => {
            [Offloads::GENEVE_CHECKSUM, Offloads::GENEVE_TSO, Offloads::GENEVE_OUTER_CHECKSUM]
        }
        TunnelKind::Vxlan => [Offloads::VXLAN_CHECKSUM, Offloads::VXLAN_TSO, Offloads::VXLAN_OUTER_CHECKSUM],
    }
}

/// Has the headers of a frame in a tunnel say what the device wants of them, if it is to be cut, as
/// [`hand_headers_over`](crate::offload::hand_headers_over) has others. What of an outer checksum
/// waits for the device is made here: the sum of the outer pseudo-header, over the whole length.
///
/// # Errors
///
/// `frame`, which is in no tunnel.
#[cold]
#[inline(never)]
pub(crate) fn hand_headers_over(mut frame: Frame) -> Result<Frame, Frame> {
    let Some(tunnel) = frame.tunnel() else { return Err(frame) };
    if frame.offload().segmentation.is_none() {
        return Ok(frame);
    }
    let headers = TunnelHeaders::read_at(&frame, tunnel);
    let tcp = headers.as_ref().and_then(TunnelHeaders::tcp);
    match (headers, tcp) {
        (Some(headers), Some(tcp))
            if tcp.clear_ip_sum(&mut frame)
                && tcp.write_pseudo_sum(&mut frame, 0)
                && (!tunnel.outer_checksum || headers.write_outer_pseudo_sum(&mut frame)) =>
        {
            Ok(frame)
        }
        _ => Err(frame),
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
