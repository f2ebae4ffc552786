//! Splicing: a client's connection and a server's, joined on frames. No TCP endpoint is ours: what
//! is done is to answer a SYN without remembering it, and to add to the numbers of what comes
//! after.
//!
//! ```text
//!  client                               here                                            server
//!    SYN, ISN C                ->  Cookies::answer_syn
//!    <- SYN-ACK, ISN K (cookie), window 0                      no state so far
//!    ACK                       ->  Cookies::check, Splices::begin
//!                                  SYN, ISN C, or C - PROXY header   ->
//!                                  Splices::from_server              <- SYN-ACK, ISN S
//!                                  ACK, and the PROXY header         ->
//!                                                                    <- ACK of the header
//!    <- ACK that opens the window, by what the server said
//!    ACK, data                 ->  Splices::from_client:  ack - (K - S)   ->
//!    <- seq + (K - S)              Splices::from_server                <- ACK, data
//! ```
//!
//! The server's connection begins so far before the client's as the PROXY header is long, which
//! fills the gap: numbers from client to server need no change. Nothing of the client's is kept
//! here. Its window stays closed until there is a server that takes what it sends, so another
//! server can be tried until then, and no client notices.
//!
//! What was promised to the client before its server was asked is in the cookie and the [`Offer`]:
//! the largest segment, window scale, selective acknowledgements, timestamps, ECN. A server that
//! has another scale has its windows translated, and so has one without selective acknowledgements;
//! one that has no timestamps, or no ECN, though they were promised, is no server for that client.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Refusal`], [`Reason`]: why something is dropped |
//! | `cookie` | [`Cookies`], [`Offer`], [`Client`]: what a SYN said, known again from its number |
//! | `answer` | a SYN becomes its answer where it lies |
//! | `table` | [`Splices`]: who is spliced, and who is tried again |
//! | `shape` | [`Service`], [`Arrived`], [`Output`], [`Verdict`]: what goes in and what comes out |
//! | `client`, `server` | what becomes of the segments of each |
//! | `send` | what is sent to each |
//! | `entry`, `timer` | how far each is, in a cache line; whose time comes when |
//! | `heard`, `make`, `proxy` | a segment that is read, or made; the PROXY header |
//!
//! | Segment | Before the server has answered | After |
//! |---|---|---|
//! | client's data, probe, FIN | dropped; it is told again that the window is closed | goes on |
//! | client's RST | exactly at the next number: the server is reset too | goes on, for the [flow](crate::flow) to judge |
//! | client's SYN | it is asked what it means, as RFC 9293 has it | goes on |
//! | server's SYN-ACK again | | acknowledged again, and not passed on |
//! | server's RST | of our SYN: another server | goes on, for the flow to judge |
//! | server's other ACK | it remembers an older connection, which is reset | goes on |
//!
//! Who keeps [flows](crate::flow::Table) tracks a client's segment as it came, and a server's after
//! it is translated: so all is in the client's numbers. A flow is
//! [opened](crate::flow::Table::open_spliced) as the cookie's [handshake](Client::handshake) says.
//!
//! Each SYN is answered by a cookie, however few there are. To have a SYN begin a flow at once as
//! long as few of these are half open, and cookies only from 25 % of their limit on until below
//! 12 %, is for later: then a server is asked first, and nothing has to be promised for it.

mod answer;
mod client;
mod cookie;
mod entry;
mod heard;
mod make;
pub(crate) mod proxy;
mod send;
mod server;
mod shape;
mod table;
mod timer;

pub use cookie::{Client, Cookies, Offer};
pub use shape::{Arrived, Counters, Output, Service, Settings, Side, Verdict};
pub use table::Splices;

/// A closed list, with the names by which it is shown.
macro_rules! closed_list {
    ($(#[$doc_of_all:meta])* $list:ident { $($(#[$doc:meta])* $one:ident = $name:literal,)* }) => {
        $(#[$doc_of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $list {
            $($(#[$doc])* $one,)*
        }

        impl $list {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$one),*];

            /// As metrics and status pages have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$one => $name,)*
                }
            }
        }
    };
}

closed_list! {
    /// Why a SYN is not answered, or a cookie is none.
    Refusal {
        /// It is no whole segment of TCP.
        NotTcp = "not_tcp",
        /// Its flags are not those of a SYN, or of what answers our SYN-ACK.
        Flags = "flags",
        /// It came to, or from, more than one station.
        Link = "link",
        /// It was damaged on its way.
        Checksum = "checksum",
        /// The answer does not fit its buffer.
        Room = "room",
        /// No cookie was given out of late.
        NoneSent = "none_sent",
        /// It is none of ours, or of another connection, or too old.
        Cookie = "cookie",
        /// The timestamp that comes back with it is none that we sent of late.
        Time = "time",
    }
}

closed_list! {
    /// Why a segment of a spliced connection does not go on.
    Reason {
        /// There is no such connection.
        Unknown = "unknown",
        /// It is no whole segment of TCP.
        NotTcp = "not_tcp",
        /// It was damaged on its way.
        Checksum = "checksum",
        /// Its flags make no sense here.
        Flags = "flags",
        /// The server is not there yet: it will come again.
        Waiting = "waiting",
        /// It acknowledges what was not sent.
        Acknowledgement = "acknowledgement",
        /// It cuts the connection off, at a place where that cannot be.
        Reset = "reset",
        /// It was for us, and is used up: an answer to our SYN, or to the PROXY header.
        Answer = "answer",
        /// The connection is over, or another server is tried.
        Over = "over",
        /// It cannot be changed as it has to be.
        Edit = "edit",
    }
}

#[cfg(test)]
mod tests;
