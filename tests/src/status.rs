//! The guest's `/status.json`, as far as the tools look at it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// A status report, parsed.
#[derive(Clone, Debug)]
pub struct Status {
    value: Value,
}

/// One NIC of a status report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicStatus {
    /// `admin`, `public`, …
    pub name: String,
    /// `vmxnet3` or `virtio-net`.
    pub driver: String,
    /// Bus address, or where in memory.
    pub place: String,
    /// Vendor and device.
    pub ids: String,
    /// `msix`, `msi`, `intx` or `polling`.
    pub interrupts: String,
    /// Whether the link is up.
    pub is_link_up: bool,
    /// Changes of the link since boot.
    pub link_changes: u64,
    /// Address with prefix length, once there is one.
    pub address: Option<String>,
    /// How often the driver was stopped and started again.
    pub restarts: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
}

impl Status {
    /// # Errors
    ///
    /// Not JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value = serde_json::from_slice(bytes)
            .with_context(|| format!("the status is not JSON: {:?}", String::from_utf8_lossy(bytes)))?;
        Ok(Self { value })
    }

    /// DMA memory that is allocated now.
    ///
    /// # Errors
    ///
    /// Missing or not a number.
    pub fn dma_bytes_in_use(&self) -> Result<u64> {
        number(&self.value, "dma_bytes_in_use")
    }

    /// Frames of the pool that nobody holds now.
    ///
    /// # Errors
    ///
    /// Missing or not a number.
    pub fn pool_free(&self) -> Result<u64> {
        number(&self.value, "pool_free")
    }

    /// Where random numbers come from.
    ///
    /// # Errors
    ///
    /// Missing or not a string.
    pub fn entropy(&self) -> Result<String> {
        string(&self.value, "entropy")
    }

    /// All NICs, in the order of the report.
    ///
    /// # Errors
    ///
    /// A key is missing or of the wrong type.
    pub fn nics(&self) -> Result<Vec<NicStatus>> {
        let nics = self.value.get("nics").and_then(Value::as_array);
        let nics = nics.with_context(|| format!("no list \"nics\" in {}", self.value))?;
        nics.iter().map(NicStatus::parse).collect()
    }

    /// The NIC of that name.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn nic(&self, name: &str) -> Result<NicStatus> {
        let found = self.nics()?.into_iter().find(|nic| nic.name == name);
        found.with_context(|| format!("no NIC {name:?} in {}", self.value))
    }
}

impl NicStatus {
    fn parse(value: &Value) -> Result<Self> {
        let link = string(value, "link")?;
        ensure!(link == "up" || link == "down", "link is {link:?}");
        let frames = |direction| {
            let counters = value.get(direction).with_context(|| format!("no {direction:?} in {value}"))?;
            number(counters, "frames")
        };
        Ok(Self {
            name: string(value, "name")?,
            driver: string(value, "driver")?,
            place: string(value, "place")?,
            ids: string(value, "ids")?,
            interrupts: string(value, "interrupts")?,
            is_link_up: link == "up",
            link_changes: number(value, "link_changes")?,
            address: value.get("address").and_then(Value::as_str).map(str::to_owned),
            restarts: number(value, "restarts")?,
            rx_frames: frames("rx")?,
            tx_frames: frames("tx")?,
        })
    }
}

fn string(value: &Value, key: &str) -> Result<String> {
    let found = value.get(key).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no string {key:?} in {value}"))?.to_owned())
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value.get(key).and_then(Value::as_u64).with_context(|| format!("no number {key:?} in {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"dma_bytes_in_use": 4096, "pool_free": 9, "entropy": "rdseed", "nics": [{"name": "admin", "driver": "vmxnet3",
        "place": "00:04.0", "ids": "15ad:07b0", "interrupts": "msix", "link": "up", "link_changes": 2, "address": null,
        "restarts": 3, "tx": {"frames": 5}, "rx": {"frames": 6}, "more": []}]}"#;

    #[test]
    fn reads_what_it_needs_and_passes_over_the_rest() {
        let status = Status::parse(REPORT.as_bytes()).unwrap();
        assert_eq!((status.dma_bytes_in_use().unwrap(), status.pool_free().unwrap()), (4096, 9));
        assert_eq!(status.entropy().unwrap(), "rdseed");
        let nic = status.nic("admin").unwrap();
        assert_eq!((nic.driver.as_str(), nic.link_changes, nic.restarts), ("vmxnet3", 2, 3));
        assert_eq!((nic.is_link_up, nic.address), (true, None));
        assert!(status.nic("public").is_err());
    }

    #[test]
    fn says_what_is_missing() {
        for (from, to) in
            [("\"rx\"", "\"xr\""), ("\"up\"", "\"sideways\""), ("\"restarts\": 3", "\"restarts\": \"3\"")]
        {
            let status = Status::parse(REPORT.replace(from, to).as_bytes()).unwrap();
            assert!(status.nics().is_err(), "{to} was accepted");
        }
        assert!(Status::parse(b"<html>").is_err());
    }
}
