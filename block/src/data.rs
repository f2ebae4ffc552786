//! What a request carries: memory that a device reaches, owned by the request.
//!
//! | Memory | Comes back from a running device |
//! |---|---|
//! | [`BlockBuffer`], of a pool | as it is; its bytes are copied in and out |
//! | [`Mapped`], memory that existed before | mapped still: to be lent again, or taken out with [`unmap_completed`](Mapped::unmap_completed) by code that vouches for the device; after a stop with [`unmap`](Mapped::unmap) |
//!
//! A vector or an array of either is scattered data, gathered in its order.
//!
//! A driver tells its device of lengths and addresses that come from here, and a wrong length would
//! reach memory that nobody gave. So both traits are closed: they speak for what `hal` has checked.

use alloc::vec::Vec;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceTag, Direction, Dma, DomainTag, Mapped, StableMemory};

use crate::buffer::BlockBuffer;

mod sealed {
    /// Implemented in this file only.
    pub trait Owned {}
}

/// One contiguous piece of memory, owned.
pub trait Piece: sealed::Owned + Send {
    /// How long it is.
    fn len_bytes(&self) -> usize;

    /// Where the device finds the byte at `offset_bytes`; `None` past the end.
    fn dma_addr(&self, offset_bytes: usize) -> Option<DmaAddr>;

    /// Whether the device tagged `device`, in the domain tagged `domain`, reaches it.
    fn is_reached_by(&self, domain: DomainTag, device: DeviceTag) -> bool;

    /// Whether data may go that way.
    fn allows(&self, direction: Direction) -> bool;
}

impl sealed::Owned for BlockBuffer {}

impl Piece for BlockBuffer {
    #[inline]
    fn len_bytes(&self) -> usize {
        self.len_bytes()
    }

    #[inline]
    fn dma_addr(&self, offset_bytes: usize) -> Option<DmaAddr> {
        self.dma_addr(offset_bytes)
    }

    #[inline]
    fn is_reached_by(&self, domain: DomainTag, _device: DeviceTag) -> bool {
        self.domain() == domain
    }

    #[inline]
    fn allows(&self, _direction: Direction) -> bool {
        true
    }
}

impl<M: StableMemory, D: Dma> sealed::Owned for Mapped<M, D> {}

impl<M: StableMemory<Rest: Send> + Send, D: Dma + Send> Piece for Mapped<M, D> {
    #[inline]
    fn len_bytes(&self) -> usize {
        self.len_bytes()
    }

    #[inline]
    fn dma_addr(&self, offset_bytes: usize) -> Option<DmaAddr> {
        self.dma_addr_at(offset_bytes)
    }

    #[inline]
    fn is_reached_by(&self, _domain: DomainTag, device: DeviceTag) -> bool {
        self.device() == device
    }

    #[inline]
    fn allows(&self, direction: Direction) -> bool {
        let allowed = self.direction();
        allowed == direction || allowed == Direction::Both
    }
}

/// The data of a request: pieces in the order in which they are gathered and scattered.
pub trait Data: sealed::Owned + Send {
    /// What the pieces are.
    type Piece: Piece;

    /// The pieces.
    fn pieces(&self) -> &[Self::Piece];
}

impl Data for BlockBuffer {
    type Piece = Self;

    #[inline]
    fn pieces(&self) -> &[Self] {
        core::slice::from_ref(self)
    }
}

impl<M: StableMemory<Rest: Send> + Send, D: Dma + Send> Data for Mapped<M, D> {
    type Piece = Self;

    #[inline]
    fn pieces(&self) -> &[Self] {
        core::slice::from_ref(self)
    }
}

impl<T: Piece> sealed::Owned for Vec<T> {}

impl<T: Piece> Data for Vec<T> {
    type Piece = T;

    #[inline]
    fn pieces(&self) -> &[T] {
        self
    }
}

impl<T: Piece, const N: usize> sealed::Owned for [T; N] {}

impl<T: Piece, const N: usize> Data for [T; N] {
    type Piece = T;

    #[inline]
    fn pieces(&self) -> &[T] {
        self
    }
}
