//! Bytes play who configures the image, and who asks it by HTTP.

use paravane_unikernel::app::http::{Connection, NoFiles};
use paravane_unikernel::app::router::config::Config;
use paravane_unikernel::app::router::routes;

use crate::input::Input;

/// The bytes are `paravane.toml`, and the command line.
pub fn toml(bytes: &[u8]) {
    let words = String::from_utf8_lossy(bytes).into_owned();
    for config in
        [Config::of("", "", Some(bytes)), Config::of("", &words, None), Config::of(&words, "", None)]
    {
        for fault in &config.faults {
            let line = fault.to_string();
            assert!(!line.is_empty() && line.len() < 70_000, "{line}");
        }
        for (key, ..) in config.effective() {
            assert!(!key.is_empty());
        }
    }
}

/// The bytes come over a connection, in pieces; what goes back fits where it is put.
pub fn http(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut connection =
        Connection::new(if input.bit() { routes } else { paravane_unikernel::app::http::routes });
    // What came and was not taken yet.
    let mut waiting: Vec<u8> = Vec::new();
    let mut room = [0; 600];
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let len = usize::from(input.byte());
        waiting.extend((0..len).map(|_| input.byte()));
        let taken = connection.receive(&waiting);
        assert!(taken <= waiting.len(), "it took more than there is");
        waiting.drain(..taken);
        if connection.wanted().is_some() {
            connection.answer("200 OK", "text/plain", "ok\n");
        }
        connection.move_file(&mut NoFiles);
        let space = usize::from(input.half()) % room.len();
        let made = connection.produce(&mut room[..space]);
        assert!(made <= space);
        if connection.is_over() || connection.is_broken() {
            connection.renew();
            waiting.clear();
        }
    }
}
