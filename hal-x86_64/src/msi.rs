//! Message-signalled interrupts, as a local APIC takes them.
//!
//! Layout of the address: `0xfee` in bits 31..20, the destination APIC in bits 19..12, physical
//! destination without redirection below. Data: the vector in bits 7..0; fixed delivery, edge
//! triggered, above.
//!
//! Spec: Intel SDM volume 3, "Message Signalled Interrupts".

use core::fmt;

use paravane_hal::irq::MsiMessage;

/// Where local APICs listen.
const ADDRESS: u64 = 0xfee0_0000;
/// The CPU keeps the vectors below this one for exceptions.
const FIRST_VECTOR: u8 = 0x20;

/// A message for that APIC and vector does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MsiError {
    /// The message has eight bits for the APIC; wider ids need interrupt remapping.
    ApicIdTooWide {
        /// The id asked for.
        apic_id: u32,
    },
    /// The vector belongs to the CPU's exceptions.
    ReservedVector {
        /// The vector asked for.
        vector: u8,
    },
}

impl fmt::Display for MsiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ApicIdTooWide { apic_id } => {
                write!(f, "local APIC {apic_id} cannot be named by a message: ids above 255 need remapping")
            }
            Self::ReservedVector { vector } => {
                write!(f, "vector {vector:#x} belongs to the CPU's exceptions")
            }
        }
    }
}

impl core::error::Error for MsiError {}

/// The message that raises `vector` on the local APIC `apic_id`.
///
/// # Errors
///
/// [`MsiError`].
#[expect(unsafe_code, reason = "as a platform does: numbers that become a write of a device")]
pub const fn message(apic_id: u32, vector: u8) -> Result<MsiMessage, MsiError> {
    if apic_id > 0xff {
        return Err(MsiError::ApicIdTooWide { apic_id });
    }
    if vector < FIRST_VECTOR {
        return Err(MsiError::ReservedVector { vector });
    }
    // SAFETY:
    // - No memory: CPU and chipset take writes to this window as interrupts, whatever lies behind
    //   it.
    // - A program that is ready: an APIC that listens was enabled by somebody who vouched that
    //   every vector let through has a handler.
    Ok(unsafe { MsiMessage::from_platform(ADDRESS | (apic_id as u64) << 12, vector as u32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apic_is_in_the_address_and_the_vector_in_the_data() {
        let message_of = |apic_id, vector| message(apic_id, vector).map(|it| (it.address(), it.data()));
        assert_eq!(message_of(0x5a, 0x41), Ok((0xfee5_a000, 0x41)));
    }

    #[test]
    fn what_a_message_cannot_say_is_an_error() {
        assert_eq!(message(256, 0x41), Err(MsiError::ApicIdTooWide { apic_id: 256 }));
        assert_eq!(message(0, 0x1f), Err(MsiError::ReservedVector { vector: 0x1f }));
    }
}
