//! What is sent of our own accord, and the addresses of groups.

use core::net::{IpAddr, Ipv6Addr};

use paravane_net::{ChecksumRequest, MacAddr, RxChecksum, TxOffload, VlanTag};
use proptest::prelude::*;

use super::support::*;
use crate::neighbour::announce;
use crate::neighbour::wire::{multicast_mac, solicited_node};

#[test]
fn an_announcement_is_for_all() {
    for address in [IpAddr::V4(OUR_V4), IpAddr::V6(OUR_V6)] {
        let this = Router::new();
        let mut frame = this.frame(b"what was in it before");
        frame.set_vlan(Some(VlanTag(5)));
        frame.set_rx_checksum(RxChecksum::Partial(ChecksumRequest::default()));
        assert!(announce(&mut frame, &this.interfaces[0], address));
        assert_eq!((frame.vlan(), frame.offload()), (None, TxOffload::default()));
        let mut bytes = vec![0; frame.total_bytes()];
        frame.copy_out(&mut bytes).unwrap();
        let mut expected = announcement(address, OURS);
        if let What::Advertise { flags, .. } = &mut expected.what {
            flags[0] = true;
        }
        assert_eq!(Said::read(&bytes), expected);
    }
}

proptest! {
    #[test]
    fn groups_are_where_others_look(bits: u128) {
        let address = Ipv6Addr::from_bits(bits);
        let [.., a, b, c, d] = bits.to_be_bytes();
        let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, b, c, d];
        prop_assert_eq!(solicited_node(address).octets(), group);
        prop_assert_eq!(multicast_mac(address), MacAddr([0x33, 0x33, a, b, c, d]));
    }

    #[test]
    fn every_address_is_asked_for_as_others_read_it(v4 in 0x8000_0000_u32..0xdf00_0000, v6: u128) {
        let mut this = Router::new();
        let wide = Ipv6Addr::from_bits(0x2001_0db8 << 96 | v6 >> 32);
        for address in [IpAddr::V4(v4.into()), IpAddr::V6(wide)] {
            this.wait(address, 1);
            this.poll();
            prop_assert_eq!(this.outs(), [Out::Send(our_question(address, None))]);
            this.hear(answer(address, THEIRS)).unwrap();
            prop_assert_eq!(this.outs(), [Out::Release(THEIRS, 1)]);
        }
    }
}
