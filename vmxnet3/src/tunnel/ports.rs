//! Which datagrams are a tunnel's.

use paravane_net::TunnelKind;

/// UDP ports to which tunnels are sent: what is inside of others is left alone.
///
/// ```
/// use paravane_net::TunnelKind;
/// use paravane_vmxnet3::{Config, TunnelPorts};
///
/// // VXLAN where a host without NSX expects it.
/// let ports = TunnelPorts::NONE.with(TunnelKind::Vxlan, 8472);
/// let config = Config::default().with_tunnels(ports);
/// assert_eq!(config.tunnels.port(TunnelKind::Geneve), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelPorts {
    /// 0 for none: nothing is sent to that.
    geneve: u16,
    vxlan: u16,
}

impl TunnelPorts {
    /// No tunnel.
    pub const NONE: Self = Self { geneve: 0, vxlan: 0 };

    /// Both, at the ports that are assigned to them: 6081 for Geneve, 4789 for VXLAN.
    /// Spec: RFC 8926, 3.3; RFC 7348, 5.
    pub const ASSIGNED: Self = Self { geneve: 6081, vxlan: 4789 };

    /// The same with tunnels of that kind at `port`; at 0 there are none.
    #[must_use]
    pub const fn with(self, kind: TunnelKind, port: u16) -> Self {
        match kind {
            TunnelKind::Geneve => Self { geneve: port, ..self },
            TunnelKind::Vxlan => Self { vxlan: port, ..self },
        }
    }

    /// Where tunnels of that kind are.
    #[must_use]
    pub const fn port(self, kind: TunnelKind) -> Option<u16> {
        let port = match kind {
            TunnelKind::Geneve => self.geneve,
            TunnelKind::Vxlan => self.vxlan,
        };
        if port == 0 { None } else { Some(port) }
    }

    /// What kind of tunnel a datagram to `port` is of.
    pub(crate) const fn kind(self, port: u16) -> Option<TunnelKind> {
        match port {
            0 => None,
            port if port == self.geneve => Some(TunnelKind::Geneve),
            port if port == self.vxlan => Some(TunnelKind::Vxlan),
            _ => None,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.geneve | self.vxlan == 0
    }
}
