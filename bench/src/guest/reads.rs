//! Instructions a read inside a guest, on QEMU's virtio-blk: the example `reads`.

use anyhow::{Context, Result};

use super::boot::{self, Guest, Spread};

/// Boots that each give every figure once.
pub const BOOTS: usize = 3;
/// How large the disk is; its content does not matter.
const DISK_BYTES: u64 = 16 << 20;

/// What several boots say of reads of 4 KiB.
pub struct Figures {
    /// Reads handed over at once.
    pub depth: u32,
    /// Instructions a read.
    pub instructions: Spread,
}

/// Builds the image, and boots it on a split ring, or a packed one.
pub fn count(packed: bool) -> Result<Vec<Figures>> {
    let image = boot::build("--example", "reads")?;
    let folder = tempfile::Builder::new().prefix("paravane-").tempdir()?;
    let path = folder.path().join("disk");
    std::fs::File::create(&path)?.set_len(DISK_BYTES)?;
    let drive = format!("file={},if=none,id=disk,format=raw", path.display());
    let device =
        format!("virtio-blk-pci,disable-legacy=on,drive=disk{}", if packed { ",packed=on" } else { "" });
    let mut all = Vec::<(u32, Vec<f64>)>::new();
    for _ in 0..BOOTS {
        let guest = Guest::start(&image, &["-drive", &drive, "-device", &device], "")?;
        for (depth, instructions) in guest.collect(parse).with_context(|| device.clone())? {
            match all.iter_mut().find(|(of, _)| *of == depth) {
                Some((_, figures)) => figures.push(instructions),
                None => all.push((depth, vec![instructions])),
            }
        }
    }
    let figures = |(depth, figures)| Figures { depth, instructions: Spread::of(figures) };
    Ok(all.into_iter().map(figures).collect())
}

/// A line like `read 4096 32 5552`: how many at once, and instructions a read from tenths.
fn parse(words: &str) -> Option<(u32, f64)> {
    let rest = words.strip_prefix("read 4096 ")?;
    let (depth, tenths) = rest.trim().split_once(' ')?;
    Some((depth.parse().ok()?, f64::from(tenths.parse::<u32>().ok()?) / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_and_anything_else_is_not() {
        assert_eq!(parse("read 4096 32 5552"), Some((32, 555.2)));
        for other in ["read 512 32 5552", "read 4096 32", "read 4096 many 1", "virtio tx 64 32 1234", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
