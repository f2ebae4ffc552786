//! Every entry on the seeds that `fuzz/` starts from, and on noise.

use std::fs;
use std::path::Path;

use paravane_fuzz_entries::{
    ENTRIES, acpi, config_space, health_answer, http, net_header, packet_read, path, pcap_filter, rules,
    syslog, toml, virtio_blk, virtio_ring, vmxnet3, vrrp,
};
use proptest::prelude::*;

#[test]
fn seeds_are_survived() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (name, entry) in ENTRIES {
        let files = fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}"));
        let mut count = 0;
        for file in files {
            entry(&fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

fn noise(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn vmxnet3_survives(bytes in noise(400)) {
        vmxnet3(&bytes);
    }

    #[test]
    fn virtio_ring_survives(bytes in noise(400)) {
        virtio_ring(&bytes);
    }

    #[test]
    fn virtio_blk_survives(bytes in noise(400)) {
        virtio_blk(&bytes);
    }

    #[test]
    fn net_header_survives(bytes in noise(20)) {
        net_header(&bytes);
    }

    #[test]
    fn config_space_survives(bytes in noise(600)) {
        config_space(&bytes);
    }

    #[test]
    fn acpi_survives(bytes in noise(160)) {
        acpi(&bytes);
    }

    #[test]
    fn packet_read_survives(bytes in noise(300)) {
        packet_read(&bytes);
    }

    #[test]
    fn vrrp_survives(bytes in noise(600)) {
        vrrp(&bytes);
    }

    #[test]
    fn health_answer_survives(bytes in noise(300)) {
        health_answer(&bytes);
    }

    #[test]
    fn toml_survives(bytes in noise(300)) {
        toml(&bytes);
    }

    #[test]
    fn syslog_survives(bytes in noise(2000)) {
        syslog(&bytes);
    }

    #[test]
    fn pcap_filter_survives(bytes in noise(200)) {
        pcap_filter(&bytes);
    }

    #[test]
    fn http_survives(bytes in noise(600)) {
        http(&bytes);
    }

    #[test]
    fn rules_survives(bytes in noise(300)) {
        rules(&bytes);
    }
}

proptest! {
    // Each one plays hours between some hundred packets.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn path_survives(bytes in noise(2000)) {
        path(&bytes);
    }
}
