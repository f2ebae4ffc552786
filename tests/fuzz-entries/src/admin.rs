//! Bytes play who configures the image, who asks it by HTTP, and what it says by syslog.

use paravane_unikernel::app::http::{Connection, NoFiles};
use paravane_unikernel::app::router::capture::facts::Facts;
use paravane_unikernel::app::router::capture::filter::Filter;
use paravane_unikernel::app::router::config::Config;
use paravane_unikernel::app::router::routes;
use paravane_unikernel::app::syslog::kept::{Kept, TEXT_BYTES};
use paravane_unikernel::app::syslog::message::{MAX_BYTES, Message, Severity};

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

/// The bytes are what a message of syslog says, who says it, and which build that is.
pub fn syslog(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (unix_us, lens) = (u64::from_le_bytes(input.array()), [input.byte(), input.byte()]);
    let mut text = |len: usize| {
        let bytes: Vec<u8> = (0..len).map(|_| input.byte()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let [host, build] = lens.map(|len| text(usize::from(len)));
    let said = text(1500);
    let mut kept = Kept::<2000>::new();
    kept.push(log::Level::Info, None, unix_us, format_args!("{said}"));
    let mut room = [0; TEXT_BYTES];
    let said = kept.take(0, &mut room).map(|said| said.text).unwrap_or_default();
    let mut datagram = [0; MAX_BYTES];
    for build in [None, Some(&*build)] {
        let message =
            Message { severity: Severity::Warning, unix_us: Some(unix_us), host: &host, build, text: said };
        let len = message.write(&mut datagram);
        let written = core::str::from_utf8(&datagram[..len]).unwrap_or_default();
        assert_eq!(written.len(), len, "it is UTF-8");
        assert!(written.starts_with("<132>1 ") && !written.chars().any(char::is_control), "{written}");
        // Seven blanks before what is said.
        assert!(written.split(' ').count() >= 7, "{written}");
    }
}

/// The bytes are a filter, and the frame that it is asked about.
pub fn pcap_filter(bytes: &[u8]) {
    let (text, frame) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let facts = Facts::of(frame.get(1..).unwrap_or(&[]));
    let text = String::from_utf8_lossy(text);
    match Filter::read(&text) {
        Ok(filter) => {
            let lets = filter.lets(&facts);
            if !text.trim().is_empty() && text.len() < 500 {
                let opposite = Filter::read(&format!("not ({text})"));
                // Brackets in brackets may be one too many.
                assert!(
                    opposite.is_err() || opposite.is_ok_and(|filter| filter.lets(&facts) != lets),
                    "{text}"
                );
            }
        }
        Err(reason) => assert!(reason.starts_with("filter:") && !reason.contains('\n'), "{reason}"),
    }
}
