use super::*;
use proptest::prelude::*;
use std::format;
use std::string::ToString;
use std::vec;

fn read(bytes: &[u8]) -> Option<Result<u16, NotHttp>> {
    Answer::default().read(bytes)
}

#[test]
fn the_status_is_read_as_soon_as_it_is_there() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        ("HTTP/1.0 204 ", 204),
        ("HTTP/1.1 301\r", 301),
        ("HTTP/1.1 599\n", 599),
        ("HTTP/1.9 503 What a pity\r\n", 503),
    ] {
        assert_eq!(read(answer.as_bytes()), Some(Ok(status)), "{answer}");
    }
    assert_eq!(read(b""), None);
    assert_eq!(read(b"HTTP/1.1 200"), None, "it may have a fourth digit");
}

#[test]
fn what_is_no_status_line_is_refused_at_once() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2",
        "http/1.1 200 OK\r\n",
        "HTTP/2 200 \r\n",
        "HTTP/2.0 200 \r\n",
        "HTTP/11 200 \r\n",
        "HTTP/1.x 200 \r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1\t200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 +20 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1 600 OK\r\n",
        "HTTP/1.1 999 OK\r\n",
        "\r\nHTTP/1.1 200 OK\r\n",
        "\u{16}\u{3}\u{1}",
        "\0",
    ] {
        assert_eq!(read(answer.as_bytes()), Some(Err(NotHttp)), "{answer}");
    }
}

#[test]
fn answers_before_the_real_one_are_passed_over() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    for before in [
        interim,
        "HTTP/1.1 100\r\n\r\n",
        "HTTP/1.1 100\n\n",
        "HTTP/1.1 100 Go on\nA: b\n\r\n",
        &interim.repeat(100),
    ] {
        assert_eq!(read(format!("{before}HTTP/1.1 404 \r\n").as_bytes()), Some(Ok(404)), "{before}");
        assert_eq!(read(before.as_bytes()), None, "{before}");
        assert_eq!(read(format!("{before}\r\n").as_bytes()), Some(Err(NotHttp)), "{before}");
    }
}

#[test]
fn an_answer_that_never_comes_to_its_status_ends() {
    let mut answer = Answer::default();
    assert_eq!(answer.read(b"HTTP/1.1 100 "), None);
    assert_eq!(answer.read(&vec![b'a'; usize::from(MAX_ANSWER_BYTES) - 13]), None);
    assert_eq!(answer.read(b"a"), Some(Err(NotHttp)));
    assert_eq!(answer.read(&[b'a'; 100_000]), Some(Err(NotHttp)), "however long one goes on");
}

#[test]
fn the_request_is_one_and_no_more() {
    let http = Http::get("www.example.org:8080", "/health?full=1").unwrap();
    let request = "GET /health?full=1 HTTP/1.1\r\nHost: www.example.org:8080\r\nUser-Agent: paravane\r\n\
                   Accept: */*\r\nConnection: close\r\n\r\n";
    assert_eq!(http.request(), request.as_bytes());
    let header = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_eq!(http.behind_proxy_header().request(), [&header[..], request.as_bytes()].concat());
    for path in
        ["", "health", "/a b", "/a\r\nX: y", "/a\n", "/\u{e4}", "/\0", &format!("/{}", "a".repeat(512))]
    {
        assert_eq!(Http::get("host", path), Err(CheckError::Path), "{path:?}");
    }
    for host in ["", "a b", "a\r\nX: y", "\u{e4}", &"a".repeat(256)] {
        assert_eq!(Http::get(host, "/"), Err(CheckError::Host), "{host:?}");
    }
    let longest = Http::get(&"a".repeat(255), &format!("/{}", "a".repeat(511))).unwrap();
    assert!(longest.request().len() < usize::from(u16::MAX));
}

#[test]
fn what_is_expected_can_come() {
    let http = || Http::get("host", "/").unwrap();
    assert_eq!(http().expected(), (200, 399));
    assert_eq!(http().expecting(204..=204).unwrap().expected(), (204, 204));
    assert_eq!(http().expecting(200..=599).unwrap().expected(), (200, 599));
    let backwards = core::ops::RangeInclusive::new(300, 200);
    for range in [backwards, 199..=300, 200..=600] {
        let (first, last) = (*range.start(), *range.end());
        assert_eq!(http().expecting(range), Err(CheckError::Range { first, last }));
    }
    assert!(CheckError::Range { first: 300, last: 200 }.to_string().contains("300 to 200"));
}

/// The same, of an answer that is there at once, and by lines.
fn reference(answer: &[u8]) -> Option<Result<u16, NotHttp>> {
    let mut rest = answer;
    loop {
        let beginning = rest.iter().zip(b"HTTP/1.").all(|(a, b)| a == b);
        if !beginning {
            return Some(Err(NotHttp));
        }
        let good: [fn(u8) -> bool; 6] = [
            |byte| byte.is_ascii_digit(),
            |byte| byte == b' ',
            |byte| byte.is_ascii_digit(),
            |byte| byte.is_ascii_digit(),
            |byte| byte.is_ascii_digit(),
            |byte| matches!(byte, b' ' | b'\r' | b'\n'),
        ];
        for (at, is_good) in (7..).zip(good) {
            if !is_good(*rest.get(at)?) {
                return Some(Err(NotHttp));
            }
        }
        let status: u16 = std::str::from_utf8(&rest[9..12]).unwrap().parse().unwrap();
        match status {
            200..=599 => return Some(Ok(status)),
            100..=199 => {}
            _ => return Some(Err(NotHttp)),
        }
        let mut lines = rest.split_inclusive(|byte| *byte == b'\n');
        let mut used = lines.next()?.len();
        loop {
            let line = lines.next()?;
            used += line.len();
            if !line.ends_with(b"\n") {
                return None;
            }
            if line.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                break;
            }
        }
        rest = &rest[used..];
    }
}

/// Bytes of which many are an answer's.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => proptest::sample::select(
            &["HTTP/1.1 ", "HTTP/1.", "200", "100 ", "103 Hint\r\n", "\r\n", "\n", "\r", " ", "404 Not Found\r\n", "a: b\r\n"][..]
        ).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    let interim = Just(b"HTTP/1.1 100 \r\n".to_vec());
    let mixed = proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    prop_oneof![1 => mixed.clone(), 1 => (interim, mixed).prop_map(|(a, b)| [a, b].concat())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_answer_says_the_same_however_it_is_cut(
        answer in answers(),
        cuts in proptest::collection::vec(0_usize..20, 0..20),
    ) {
        let whole = read(&answer);
        prop_assert_eq!(whole, reference(&answer));
        let (mut reader, mut rest, mut found) = (Answer::default(), &answer[..], None);
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            found = found.or(reader.read(now));
        }
        prop_assert_eq!(found, whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn no_bytes_are_too_much(answer in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        let _ = read(&answer);
        let longer = [&b"HTTP/1.1 199 "[..], &answer].concat();
        let mut reader = Answer::default();
        let found = reader.read(&longer);
        prop_assert!(reader.read_bytes <= MAX_ANSWER_BYTES + 1);
        prop_assert!(found.is_some() || longer.len() <= usize::from(MAX_ANSWER_BYTES));
    }
}
