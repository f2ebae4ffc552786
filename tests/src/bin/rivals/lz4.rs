//! The old container of LZ4, in which Debian's kernel has its own code.

use anyhow::{Context as _, Result, bail, ensure};

/// The magic number at its start.
pub(crate) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// A block is this long at most when it is unpacked.
const BLOCK_BYTES: usize = 8 << 20;
/// The shortest match, whose length is written as 0.
const MIN_MATCH: usize = 4;

/// What is packed in `bytes`, a magic number and blocks, each behind its length.
pub(crate) fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut rest = bytes.strip_prefix(&MAGIC).context("no LZ4 of the old kind")?;
    let mut all = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (block, behind) = behind
            .split_at_checked(u32::from_le_bytes(*len) as usize)
            .context("an LZ4 block is cut short")?;
        unpack_block(block, &mut all)?;
        rest = behind;
    }
    Ok(all)
}

/// Unpacks one block to the end of `all`: runs of literals, each but the last with a match behind
/// it, which is a piece of what came before.
fn unpack_block(mut block: &[u8], all: &mut Vec<u8>) -> Result<()> {
    let start = all.len();
    while let Some(token) = next(&mut block) {
        let literals = length(token >> 4, &mut block)?;
        let (these, rest) = block.split_at_checked(literals).context("LZ4 literals are cut short")?;
        all.extend_from_slice(these);
        block = rest;
        let Some((offset, rest)) = block.split_first_chunk::<2>() else { break };
        block = rest;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let len = length(token & 15, &mut block)? + MIN_MATCH;
        let from = all.len().checked_sub(offset).filter(|&from| from >= start && offset > 0);
        let from = from.context("an LZ4 match lies before its block")?;
        // It may reach into what it makes itself.
        for at in from..from + len {
            let byte = *all.get(at).context("an LZ4 match is cut short")?;
            all.push(byte);
        }
        ensure!(all.len() - start <= BLOCK_BYTES, "an LZ4 block is too long");
    }
    Ok(())
}

/// A length of which `first` is the start: 15 goes on in bytes until one is not 255.
fn length(first: u8, block: &mut &[u8]) -> Result<usize> {
    let mut len = usize::from(first);
    if first < 15 {
        return Ok(len);
    }
    loop {
        let Some(more) = next(block) else { bail!("an LZ4 length is cut short") };
        len += usize::from(more);
        if more < 255 {
            return Ok(len);
        }
    }
}

fn next(block: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = block.split_first()?;
    *block = rest;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(block: &[u8]) -> Vec<u8> {
        let len = u32::try_from(block.len()).unwrap().to_le_bytes();
        [&MAGIC[..], &len, block].concat()
    }

    #[test]
    fn literals_and_matches_are_unpacked() {
        // "abc", then 3 back for 4 + 5, then the literals "xy".
        let block = [0x35, b'a', b'b', b'c', 3, 0, 0x20, b'x', b'y'];
        assert_eq!(unpack(&packed(&block)).unwrap(), b"abcabcabcabcxy");
        // A length of 15 + 255 + 1 literals.
        let long = [&[0xf0, 255, 1][..], &[7; 271]].concat();
        assert_eq!(unpack(&packed(&long)).unwrap(), [7; 271]);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for block in [&[0x30, b'a'][..], &[0x10, b'a', 2, 0, 0], &[0x10, b'a', 0, 0, 0], &[0xf0, 255]] {
            unpack(&packed(block)).unwrap_err();
        }
        unpack(b"gzip").unwrap_err();
        unpack(&[&MAGIC[..], &[9, 0, 0, 0, 1]].concat()).unwrap_err();
    }
}
