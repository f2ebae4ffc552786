//! What the page and the JSON say: plain facts, gathered once and written twice.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use serde::Serialize;

use crate::app::server::End;
use crate::last_panic::LastPanic;

/// The facts of one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// The same with the commit that it was built from.
    pub build: &'static str,
    /// From the first instruction to all NICs up, in microseconds.
    pub boot_us: u64,
    /// The same in ticks of the time stamp counter.
    pub boot_ticks: u64,
    /// Since the first instruction, in microseconds.
    pub uptime_us: u64,
    /// Where the clock's rate comes from.
    pub clock: String,
    /// Where random numbers come from: `rdseed`, `rdrand`, `virtio-rng`, or `none`.
    pub entropy: &'static str,
    /// DMA memory allocated.
    pub dma_bytes_in_use: u64,
    /// Frames of the shared pool.
    pub pool_frames: u64,
    /// How many of them are free.
    pub pool_free: u64,
    /// The panic that ended the boot before this one, if any did.
    pub last_panic: Option<&'static LastPanic>,
    /// That the machine is about to end, if it is.
    pub stopping: Option<Stopping>,
    /// One entry a NIC, in the order they were found in.
    pub nics: Vec<NicReport>,
}

/// How a machine ends that is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stopping {
    /// What comes then.
    pub end: End,
    /// For so long connections may go on.
    pub seconds_left: u64,
    /// So many of them are open.
    pub connections_left: u32,
}

/// The facts of one NIC.
#[derive(Clone, Debug, Serialize)]
pub struct NicReport {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: &'static str,
    /// Its bus address, or where in memory it is.
    pub place: String,
    /// Vendor and device, or which virtio device it is.
    pub ids: String,
    /// What driver and device agreed on.
    pub revision_or_features: String,
    /// How it interrupts.
    pub interrupts: &'static str,
    /// Its Ethernet address.
    pub mac: String,
    /// `up` or `down`.
    pub link: &'static str,
    /// How often the link changed since boot.
    pub link_changes: u64,
    /// In Mbit/s, if known.
    pub mbps: Option<u32>,
    /// Its IPv4 address, if it has one.
    pub address: Option<String>,
    /// How often the driver was stopped and started.
    pub restarts: u64,
    /// Why it does not run, if so.
    pub fault: Option<String>,
    /// How often the machine slept and woke again.
    pub wakeups: u64,
    /// HTTP requests served.
    pub requests: u64,
    /// Sent.
    pub tx: TxReport,
    /// Received.
    pub rx: RxReport,
}

/// What went out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TxReport {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
    /// Doorbells rung.
    pub doorbells: u64,
    /// Frames that could not be sent.
    pub dropped: u64,
    /// Times that the ring was full.
    pub ring_full: u64,
}

/// What came in.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RxReport {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
    /// Frames that were lost.
    pub dropped: u64,
    /// Of these, for want of a buffer.
    pub no_buffer: u64,
    /// Lost before that, for the device found no buffer in the ring, by its own count.
    pub out_of_buffers: Option<u64>,
}

impl Report {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// As a page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = String::with_capacity(4096);
        // Writing to a string cannot fail.
        let _ = self.write_html(&mut page);
        page
    }

    fn write_html(&self, page: &mut String) -> core::fmt::Result {
        page.push_str(concat!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Paravane</title><style>",
            "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}",
            "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #ccc}",
            "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.up{color:#060}.down{color:#a00}</style>",
            "<h1>Paravane</h1>",
        ));
        writeln!(
            page,
            "<p>Build {}. All NICs were up {} \u{b5}s after the first instruction ({} ticks); up for {}.{:03} s. \
             {} KiB of DMA memory in use, {} of {} frames free. Clock: {}. Entropy: {}.</p>",
            self.build,
            self.boot_us,
            self.boot_ticks,
            self.uptime_us / 1_000_000,
            self.uptime_us / 1000 % 1000,
            self.dma_bytes_in_use / 1024,
            self.pool_free,
            self.pool_frames,
            self.clock,
            self.entropy
        )?;
        page.push_str(concat!(
            "<table><tr><th>NIC<th>Driver<th>Place<th>Revision or features<th>Interrupts<th>MAC<th>Link<th>Address",
            "<th class=n>Sent<th class=n>Received<th class=n>Dropped<th class=n>Doorbells<th class=n>Requests</tr>\n",
        ));
        for nic in &self.nics {
            nic.write_row(page)?;
        }
        page.push_str(concat!(
            "</table><p>Also here: <a href=/status.json>/status.json</a>, <a href=/bytes/1048576>/bytes/N</a> ",
            "(N pseudo-random bytes, SHA-256 in the trailer X-SHA256), POST /digest, POST /nics/NAME/restart.</p></html>\n",
        ));
        Ok(())
    }
}

impl NicReport {
    fn write_row(&self, page: &mut String) -> core::fmt::Result {
        let link = self.link;
        write!(page, "<tr><td>{}<td>{}<td>{} {}", self.name, self.driver, self.place, self.ids)?;
        write!(
            page,
            "<td>{}<td>{}<td>{}<td class={link}>{link}",
            self.revision_or_features, self.interrupts, self.mac
        )?;
        if let Some(mbps) = self.mbps {
            write!(page, " {mbps} Mbit/s")?;
        }
        write!(page, "<td>{}", self.address.as_deref().unwrap_or("none yet"))?;
        if let Some(fault) = &self.fault {
            write!(page, "<br>{fault}")?;
        }
        write!(
            page,
            "<td class=n>{} frames<br>{} bytes<td class=n>{} frames<br>{} bytes<td class=n>{}",
            self.tx.frames,
            self.tx.bytes,
            self.rx.frames,
            self.rx.bytes,
            self.tx.dropped.saturating_add(self.rx.dropped)
        )?;
        if let Some(out_of_buffers) = self.rx.out_of_buffers {
            write!(page, "<br>{out_of_buffers} by the device")?;
        }
        writeln!(page, "<td class=n>{}<td class=n>{}</tr>", self.tx.doorbells, self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            version: "0.1.0",
            build: "0.1.0+0123456789ab",
            boot_us: 1234,
            boot_ticks: 5678,
            uptime_us: 61_002_003,
            clock: "PIT".into(),
            entropy: "rdseed",
            dma_bytes_in_use: 4096,
            pool_frames: 10,
            pool_free: 9,
            last_panic: None,
            stopping: None,
            nics: vec![NicReport {
                name: "admin".into(),
                driver: "vmxnet3",
                place: "00:04.0".into(),
                ids: "15ad:07b0".into(),
                revision_or_features: "revision 1".into(),
                interrupts: "msix",
                mac: "52:54:00:12:34:56".into(),
                link: "up",
                link_changes: 0,
                mbps: Some(1000),
                address: None,
                restarts: 0,
                fault: None,
                wakeups: 3,
                requests: 1,
                tx: TxReport::default(),
                rx: RxReport { out_of_buffers: Some(17), ..RxReport::default() },
            }],
        }
    }

    #[test]
    fn the_json_has_what_tools_look_for() {
        let json = report().to_json();
        for part in [
            "\"dma_bytes_in_use\":4096",
            "\"entropy\":\"rdseed\"",
            "\"interrupts\":\"msix\"",
            "\"address\":null",
            "\"tx\":{\"frames\":0",
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
    }

    #[test]
    fn the_page_names_the_nic() {
        let page = report().to_html();
        for part in [
            "admin",
            "00:04.0 15ad:07b0",
            "up 1000 Mbit/s",
            "none yet",
            "17 by the device",
            "61.002 s",
            "Entropy: rdseed.",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}
