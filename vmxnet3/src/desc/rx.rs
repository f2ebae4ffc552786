//! What is received: the descriptor, and the completion.

use paravane_hal::fault::DeviceFault;
use paravane_net::{RxChecksum, RxHash, RxHashKind, VlanTag};

use super::{INDEX, LEN};
use crate::ring::Generation;

/// What a receive buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferKind {
    /// `HEAD`: the start of a frame, all of it if it fits. Ring 1 here has no others.
    Head,
    /// `BODY`: the rest. Ring 2 may have no others.
    Body,
}

/// A receive descriptor.
///
/// ```text
/// dw0, dw1  addr
/// dw2       len 13:0   btype 14   dtype 15   gen 31
/// dw3       0
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RxDesc {
    /// How long the buffer is: 1 to [`MAX_RX_BUFFER_BYTES`], and at least [`MIN_RX_HEAD_BYTES`] for
    /// a head.
    pub(crate) len_bytes: u32,
    /// What it is for.
    pub(crate) kind: BufferKind,
}

impl RxDesc {
    /// `dw2`, saying that the descriptor is the device's.
    #[inline(always)]
    pub(crate) const fn word2(self, generation: Generation) -> u32 {
        let kind = match self.kind {
            BufferKind::Head => 0,
            BufferKind::Body => 1 << 14,
        };
        self.len_bytes & LEN | kind | generation.bit::<31>()
    }
}

/// `rqID` of the rings of a receive queue, at its place in `dw0`.
///
/// It counts rings of a kind through all queues: first all first rings, then all second rings, then
/// all data rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingIds {
    pub(crate) first: u32,
    pub(crate) second: u32,
    pub(crate) data: u32,
}

impl RingIds {
    /// Those of `queue`, one of `queues`: few enough for ten bits.
    pub(crate) const fn of(queue: u8, queues: u8) -> Self {
        // Neither leaves 32 bits.
        let first = (queue as u32).wrapping_shl(16);
        let queues = (queues as u32).wrapping_shl(16);
        let second = first.wrapping_add(queues);
        Self { first, second, data: second.wrapping_add(queues) }
    }
}

/// What a receive completion is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RxGeometry {
    /// What completions call ring 1 and ring 2.
    pub(crate) ids: RingIds,
    /// Entries of ring 1 and ring 2.
    pub(crate) entries: [u16; 2],
    /// How long each buffer is, in either ring.
    pub(crate) buffer_bytes: u32,
    /// The longest frame that is nothing but a frame: no longer than a buffer.
    pub(crate) usual_bytes: u32,
    /// How long a slot of the data ring is; 0 where there is none.
    pub(crate) data_slot_bytes: u16,
}

/// What the device says where a frame starts that it put together of several.
///
/// ```text
/// dw1  segCnt 7:0   dupAckCnt 15:8   tsDelta 31:16
/// dw3  mss 15:0   type 30:24, 4
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Of how many: two or more.
    pub(crate) segments: u8,
    /// What each carried; 0 where an old host does not say.
    pub(crate) mss_bytes: u16,
}

/// A receive completion that was checked.
///
/// ```text
/// dw0  rxdIdx 11:0   ext1 13:12   eop 14   sop 15   rqID 25:16   rssType 29:26   cnc 30   ext2 31
/// dw1  rssHash
/// dw2  len 13:0   err 14   ts 15   tci 31:16
/// dw3  csum 15:0   tuc 16   udp 17   tcp 18   ipc 19   v6 20   v4 21   frg 22   fcs 23   type 30:24   gen 31
/// ```
///
/// `type` is 3 on ESXi and 0 on QEMU, and 4 where a frame starts that was put together, from
/// revision 2 on: nothing else is told apart. `fcs` is not set by QEMU, so it is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RxCompletion(u64, u64);

/// A receive completion, as far as it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RxJudged {
    /// The whole undamaged frame in the slot whose turn it is, and the device found something out
    /// about it: its checksums, its tag, its hash.
    Noted(RxCompletion),
    /// Anything else, which takes a longer look.
    Unusual(RxUnusual),
}

/// Words of a completion that say something unusual: a piece of a frame, a frame that is damaged, a
/// slot out of turn, a buffer that was not used, or what breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RxUnusual([u32; 4]);

impl RxJudged {
    /// The completion, whichever it is.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: a ring or slot that does not exist, or more bytes than the buffer holds.
    #[inline]
    pub(crate) fn check(self, geometry: &RxGeometry) -> Result<RxCompletion, DeviceFault> {
        match self {
            Self::Noted(completion) => Ok(completion.of_ring(0)),
            Self::Unusual(RxUnusual(words)) => {
                let [word0, _, word2, _] = words;
                let [first, second] = geometry.entries;
                let buffer_bytes = geometry.buffer_bytes;
                let slot_bytes = u32::from(geometry.data_slot_bytes).min(buffer_bytes);
                let (entries, max_bytes, ring) = match word0 & RxCompletion::RQ_ID {
                    id if id == geometry.ids.first => (first, buffer_bytes, 0),
                    id if id == geometry.ids.second => (second, buffer_bytes, RxCompletion::SECOND_RING),
                    id if id == geometry.ids.data && slot_bytes > 0 => {
                        (first, slot_bytes, RxCompletion::DATA_RING)
                    }
                    other => return Err(DeviceFault::UnknownKind { what: "rqID", value: other >> 16 }),
                };
                let (index, entries) = (word0 & INDEX, u32::from(entries));
                if index >= entries {
                    return Err(DeviceFault::IndexOutOfRange { index, entries });
                }
                let len_bytes = word2 & LEN;
                if len_bytes > max_bytes {
                    return Err(DeviceFault::LengthTooLong { len_bytes, max_bytes });
                }
                Ok(RxCompletion::of(words).of_ring(ring))
            }
        }
    }
}

impl RxCompletion {
    /// As two numbers, which are passed in registers.
    #[inline(always)]
    const fn of([word0, word1, word2, word3]: [u32; 4]) -> Self {
        Self(word0 as u64 | (word1 as u64) << 32, word2 as u64 | (word3 as u64) << 32)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each is cut into halves")]
    const fn words(self) -> [u32; 4] {
        [self.0 as u32, (self.0 >> 32) as u32, self.1 as u32, (self.1 >> 32) as u32]
    }

    const EOP: u32 = 1 << 14;
    const SOP: u32 = 1 << 15;
    const RQ_ID: u32 = 0x3ff << 16;
    const RSS_TYPE: u32 = 0xf << 26;
    /// `ext1`: the verdict, the hash, or both are about what is inside of a tunnel. Which bit says
    /// which, headers and drivers do not agree on.
    const INNER: u32 = 3 << 12;
    /// The one that a verdict is taken by, as Linux does.
    const INNER_VERDICT: u32 = 1 << 13;
    const CNC: u32 = 1 << 30;
    const ERR: u32 = 1 << 14;
    const TS: u32 = 1 << 15;
    const TYPE: u32 = 0x7f << 24;
    /// `type` 4.
    const LRO: u32 = 4 << 24;
    /// What stands for `rqID` once that was checked: ring 2 of the queue, or 0.
    const SECOND_RING: u32 = 1 << 16;
    /// The same for its data ring.
    const DATA_RING: u32 = 1 << 17;

    /// What is looked at of a whole frame in one buffer of ring 1,
    const WHOLE: u32 = Self::RQ_ID | Self::SOP | Self::EOP | INDEX;
    /// and of one about which nothing else was found out.
    const PLAIN: u32 = Self::WHOLE | Self::CNC | Self::RSS_TYPE | Self::INNER;

    /// What `dw0` says of a whole frame in the slot `turn` of ring 1, inside the ring, of which
    /// nothing else was found out. One more is the next slot's. `first_id` is the ring's number, at
    /// its place.
    #[inline(always)]
    pub(crate) const fn plain_word0(first_id: u32, turn: u32) -> u32 {
        Self::SOP | Self::EOP | Self::CNC | first_id | turn
    }

    /// The same with `ring` for what the device said of it.
    #[inline(always)]
    const fn of_ring(self, ring: u32) -> Self {
        Self(self.0 & !(Self::RQ_ID as u64) | ring as u64, self.1)
    }

    /// How long the frame is, where the device completed the slot whose turn it is with a whole
    /// undamaged frame, and found nothing else out about it: by far the most.
    ///
    /// The words are snapshots, looked at nowhere else. `plain` is the
    /// [`plain_word0`](Self::plain_word0) of the slot that is completed next if the device passes
    /// over none; `buffer_bytes` is how long its buffer is, less than 2^14.
    #[inline(always)]
    pub(crate) const fn plain(word0: u32, word2: u32, plain: u32, buffer_bytes: u32) -> Option<u16> {
        // In one comparison: with `err` or `ts` set, or empty, it is longer than any buffer.
        let len_bytes = word2 & (LEN | Self::ERR | Self::TS);
        let is_plain = word0 & Self::PLAIN == plain && len_bytes.wrapping_sub(1) < buffer_bytes;
        if is_plain { Some(len_bytes as u16) } else { None }
    }

    /// The same where the device looked at the checksums and at nothing else.
    #[inline(always)]
    pub(crate) const fn summed(word0: u32, word2: u32, plain: u32, buffer_bytes: u32) -> Option<u16> {
        if word0 & Self::CNC == 0 { Self::plain(word0 | Self::CNC, word2, plain, buffer_bytes) } else { None }
    }

    /// Judges what the device wrote, by the same `plain` and `buffer_bytes`: a snapshot, looked at
    /// nowhere else.
    ///
    /// What is usual is fully checked here; the rest by [`RxJudged::check`], without which there is
    /// nothing to be had from it.
    #[inline(always)]
    pub(crate) const fn classify(words: [u32; 4], plain: u32, buffer_bytes: u32) -> RxJudged {
        let [word0, _, word2, word3] = words;
        // What is inside of a tunnel is looked at where there is time for it.
        const LOOKED_AT: u32 = RxCompletion::WHOLE | RxCompletion::INNER;
        let is_whole = word0 & LOOKED_AT == plain & LOOKED_AT && !Self::may_be_merged(word3);
        if is_whole && (word2 & (LEN | Self::ERR)).wrapping_sub(1) < buffer_bytes {
            return RxJudged::Noted(Self::of(words));
        }
        RxJudged::Unusual(RxUnusual(words))
    }

    /// Whether the buffer is from ring 2; of a completion that was checked.
    #[inline(always)]
    pub(crate) const fn is_second_ring(self) -> bool {
        let [word0, ..] = self.words();
        word0 & Self::SECOND_RING != 0
    }

    /// Whether the frame is in the data ring, in the slot of a buffer of ring 1 that was left
    /// alone; of a completion that was checked.
    pub(crate) const fn is_data_ring(self) -> bool {
        let [word0, ..] = self.words();
        word0 & Self::DATA_RING != 0
    }

    /// Whether it is about a buffer of the wrong kind: frames start in ring 1, which has heads
    /// only, and go on in ring 2, which has bodies only. In the data ring they are whole.
    pub(crate) const fn is_misplaced(self) -> bool {
        self.sop() == self.is_second_ring() || self.is_data_ring() && !self.eop()
    }

    /// Whether the buffer was not used: it is the driver's again, and nothing is in it.
    pub(crate) const fn is_unused(self) -> bool {
        self.sop() && self.eop() && self.len_bytes() == 0
    }

    /// Which slot of its ring it is about; inside the ring.
    #[inline(always)]
    pub(crate) const fn index(self) -> u32 {
        let [word0, ..] = self.words();
        word0 & INDEX
    }

    /// How much the device wrote; no more than the buffer holds.
    #[inline(always)]
    pub(crate) const fn len_bytes(self) -> u16 {
        let [_, _, word2, _] = self.words();
        (word2 & LEN) as u16
    }

    /// Whether the frame starts here.
    #[inline(always)]
    pub(crate) const fn sop(self) -> bool {
        let [word0, ..] = self.words();
        word0 & Self::SOP != 0
    }

    /// Whether it ends here. What describes the frame counts only then.
    #[inline(always)]
    pub(crate) const fn eop(self) -> bool {
        let [word0, ..] = self.words();
        word0 & Self::EOP != 0
    }

    /// Whether the frame is damaged.
    #[inline(always)]
    pub(crate) const fn err(self) -> bool {
        let [_, _, word2, _] = self.words();
        word2 & Self::ERR != 0
    }

    /// What the device says about the checksums. Only a clear "good" counts: whatever else it
    /// means, software can look again, and dropping on a misunderstanding would lose good frames.
    #[inline(always)]
    pub(crate) const fn checksum(self) -> RxChecksum {
        let [word0, _, _, word3] = self.words();
        // What is known of a packet inside of another says nothing of the other.
        if word0 & (Self::CNC | Self::INNER) != 0 { RxChecksum::Unverified } else { Self::verdict(word3) }
    }

    /// Whether the device says that the layer-4 checksum is good of the packet inside a tunnel.
    pub(crate) const fn vouches_for_inner(self) -> bool {
        let [word0, _, _, word3] = self.words();
        word0 & (Self::CNC | Self::INNER_VERDICT) == Self::INNER_VERDICT && Self::vouches(word3)
    }

    /// Whether `dw3` may be that of a frame which the device put together; not that of any other.
    #[inline(always)]
    pub(crate) const fn may_be_merged(word3: u32) -> bool {
        // No other type that is in use has this bit.
        word3 & Self::LRO != 0
    }

    /// The same by `dw3`, where they were looked at.
    #[inline(always)]
    pub(crate) const fn verdict(word3: u32) -> RxChecksum {
        if Self::vouches(word3) { RxChecksum::Good } else { RxChecksum::Unverified }
    }

    /// Whether `dw3` says that they are good.
    #[inline(always)]
    const fn vouches(word3: u32) -> bool {
        const TUC: u32 = 1 << 16;
        const TCP_OR_UDP: u32 = 1 << 17 | 1 << 18;
        const IPC: u32 = 1 << 19;
        const V6: u32 = 1 << 20;
        const V4: u32 = 1 << 21;
        const FRG: u32 = 1 << 22;
        if word3 & TCP_OR_UDP == 0 {
            return false;
        }
        let good4 = word3 & (TUC | IPC | V4 | V6 | FRG) == TUC | IPC | V4;
        // Version 6 has no header checksum; what `ipc` says then is not known.
        let good6 = word3 & (TUC | V4 | V6 | FRG) == TUC | V6;
        good4 || good6
    }

    /// Whether `dw3` is that of a new completion, on the lap of `generation`, of a frame that the
    /// device did not put together.
    #[inline(always)]
    pub(crate) const fn is_new_and_whole(word3: u32, generation: Generation) -> bool {
        // In one comparison.
        (word3 ^ generation.bit::<31>()) & (1 << 31 | Self::LRO) == 0
    }

    /// Whether there is a tag that the device took off, or a hash.
    #[inline(always)]
    pub(crate) const fn has_tag_or_hash(self) -> bool {
        let [word0, _, word2, _] = self.words();
        word2 & Self::TS | word0 & Self::RSS_TYPE != 0
    }

    /// The VLAN tag that the device took off.
    pub(crate) const fn vlan(self) -> Option<VlanTag> {
        let [_, _, word2, _] = self.words();
        if word2 & Self::TS == 0 { None } else { Some(VlanTag((word2 >> 16) as u16)) }
    }

    /// What the device put together, where a frame starts here that it did.
    pub(crate) const fn merged(self) -> Option<Merged> {
        let [word0, word1, _, word3] = self.words();
        let segments = (word1 & 0xff) as u8;
        if word0 & Self::SOP != 0 && word3 & Self::TYPE == Self::LRO && segments > 1 {
            Some(Merged { segments, mss_bytes: (word3 & 0xffff) as u16 })
        } else {
            None
        }
    }

    /// The hash that the device computed. Where a frame starts that it put together, there is
    /// something else in its place.
    pub(crate) const fn hash(self) -> Option<RxHash> {
        let [word0, value, _, word3] = self.words();
        if word3 & Self::TYPE == Self::LRO {
            return None;
        }
        let kind = match (word0 & Self::RSS_TYPE) >> 26 {
            0 => return None,
            _ if word0 & Self::INNER != 0 => RxHashKind::Other,
            1 => RxHashKind::Ip4,
            2 => RxHashKind::Tcp4,
            3 => RxHashKind::Ip6,
            4 => RxHashKind::Tcp6,
            5 => RxHashKind::Udp4,
            6 => RxHashKind::Udp6,
            _ => RxHashKind::Other,
        };
        Some(RxHash { value, kind })
    }
}
