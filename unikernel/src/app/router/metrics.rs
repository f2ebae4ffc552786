//! The same for Prometheus, in its text format: base units, and no label that a stranger chooses.
//!
//! Spec: Prometheus "Exposition formats", text format 0.0.4.

use alloc::string::String;
use core::fmt::Write;

use super::Router;
use super::status::{self, InterfaceStatus};
use crate::app::status::{NicReport, Report};
use crate::build;

/// A name, its kind, and what it is.
pub(super) type Family = (&'static str, &'static str, &'static str);

/// A family with one value for each NIC.
type OfNic = (Family, fn(&NicReport) -> u64);

/// A family with one value for each interface.
type OfInterface = (Family, fn(&InterfaceStatus) -> u64);

const OF_INTERFACES: [OfInterface; 6] = [
    (("paravane_interface_up", "gauge", "Whether the link is up."), |one| one.is_up.into()),
    (("paravane_received_frames_total", "counter", "Frames that came in."), |one| one.received),
    (
        ("paravane_forwarded_packets_total", "counter", "Packets that came in there and were passed on."),
        |one| one.forwarded,
    ),
    (("paravane_echo_replies_total", "counter", "Echo requests that were answered."), |one| one.echoes),
    (("paravane_icmp_errors_total", "counter", "ICMP errors that were sent back."), |one| one.errors),
    (("paravane_interface_mtu_bytes", "gauge", "The largest IP packet."), |one| one.mtu.into()),
];

/// All of them.
pub(super) fn to_text(router: &Router, report: &Report) -> String {
    let mut text = String::with_capacity(8192);
    // Writing to a string cannot fail.
    let _ = write(router, report, &mut text);
    text
}

fn write(router: &Router, report: &Report, text: &mut String) -> core::fmt::Result {
    family(
        text,
        ("paravane_build_info", "gauge", "The version of this image, and the commit that it was built from."),
    )?;
    let commit = build::COMMIT;
    writeln!(text, "paravane_build_info{{version=\"{}\",commit=\"{commit}\"}} 1", report.version)?;
    family(text, ("paravane_uptime_seconds", "gauge", "Since the first instruction."))?;
    writeln!(
        text,
        "paravane_uptime_seconds {}.{:06}",
        report.uptime_us / 1_000_000,
        report.uptime_us % 1_000_000
    )?;
    let neighbours = status::neighbours(router);
    let singles: [(Family, u64); 8] = [
        (
            ("paravane_ready", "gauge", "Whether packets are passed on as configured."),
            router.unready().is_empty().into(),
        ),
        (("paravane_routes", "gauge", "Routes."), status::routes(router).into()),
        (
            ("paravane_neighbours", "gauge", "Neighbours that are known or asked for."),
            neighbours.known as u64,
        ),
        (
            ("paravane_neighbour_waiting_frames", "gauge", "Frames that wait for a neighbour."),
            neighbours.waiting as u64,
        ),
        (("paravane_neighbour_requests_total", "counter", "Neighbours asked for."), neighbours.asked),
        (
            ("paravane_neighbour_events_total", "counter", "Changes and conflicts of addresses."),
            neighbours.events,
        ),
        (("paravane_pool_frames", "gauge", "Frames of the pool."), report.pool_frames),
        (("paravane_pool_free_frames", "gauge", "Frames of the pool that nobody holds."), report.pool_free),
    ];
    for (single, value) in singles {
        family(text, single)?;
        writeln!(text, "{} {value}", single.0)?;
    }
    let interfaces = status::interfaces(router);
    for (of_interface, value) in OF_INTERFACES {
        family(text, of_interface)?;
        for one in &interfaces {
            writeln!(text, "{}{{nic=\"{}\"}} {}", of_interface.0, one.name, value(one))?;
        }
    }
    family(
        text,
        ("paravane_drops_total", "counter", "Frames that came in there and were dropped, by reason."),
    )?;
    for InterfaceStatus { name, drops, .. } in &interfaces {
        for (reason, count) in drops {
            writeln!(text, "paravane_drops_total{{nic=\"{name}\",reason=\"{reason}\"}} {count}")?;
        }
    }
    super::shared::write_metrics(router, text)?;
    super::services::write_metrics(router, super::now_of(report), text)?;
    router.outside.write_metrics(text)?;
    super::firewall::write_metrics(router, text)?;
    write_nics(report, text)
}

/// What the NICs themselves count, `admin` among them.
fn write_nics(report: &Report, text: &mut String) -> core::fmt::Result {
    let families: [OfNic; 7] = [
        (("paravane_nic_rx_frames_total", "counter", "Frames received."), |nic| nic.rx.frames),
        (("paravane_nic_rx_bytes_total", "counter", "Bytes received."), |nic| nic.rx.bytes),
        (("paravane_nic_rx_dropped_total", "counter", "Frames that the queue dropped."), |nic| {
            nic.rx.dropped
        }),
        (("paravane_nic_tx_frames_total", "counter", "Frames sent."), |nic| nic.tx.frames),
        (("paravane_nic_tx_bytes_total", "counter", "Bytes sent."), |nic| nic.tx.bytes),
        (("paravane_nic_tx_dropped_total", "counter", "Frames that could not be sent."), |nic| {
            nic.tx.dropped
        }),
        (("paravane_nic_restarts_total", "counter", "Times that the driver was started again."), |nic| {
            nic.restarts
        }),
    ];
    for (of_nic, value) in families {
        family(text, of_nic)?;
        for nic in &report.nics {
            writeln!(text, "{}{{nic=\"{}\"}} {}", of_nic.0, nic.name, value(nic))?;
        }
    }
    Ok(())
}

pub(super) fn family(text: &mut String, (name, kind, help): Family) -> core::fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}
