use super::*;
use crate::app::http::routes;
use sha2::{Digest, Sha256};

/// Gives `input` in pieces, takes what comes out in pieces, answers what is asked with "answered".
fn exchange(input: &[u8], piece: usize, room: usize) -> (String, Connection) {
    let mut connection = Connection::new(routes);
    let mut output = Vec::new();
    let mut rest = input;
    loop {
        let taken = connection.receive(&rest[..piece.min(rest.len())]);
        rest = &rest[taken..];
        if let Some(wanted) = connection.wanted().cloned() {
            connection.answer("200 OK", "text/plain", &format!("{wanted:?}"));
        }
        let mut buffer = vec![0; room];
        let made = connection.produce(&mut buffer);
        output.extend_from_slice(&buffer[..made]);
        if taken == 0 && made == 0 {
            return (String::from_utf8_lossy(&output).into_owned(), connection);
        }
    }
}

#[test]
fn a_page_in_any_pieces() {
    let whole = exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000, 1000).0;
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with("\r\n\r\nPage"), "{whole}");
    for piece in 1..20 {
        assert_eq!(exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", piece, piece).0, whole);
    }
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let input = b"GET / HTTP/1.1\r\n\r\nPOST /digest HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /status.json HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    for piece in [1, 7, 1000] {
        let (output, connection) = exchange(input, piece, 50);
        let digest = hex(&Sha256::digest(b"abc"));
        let at: Vec<_> =
            ["Page", digest.as_str(), "Status"].iter().map(|part| output.find(part).unwrap()).collect();
        assert!(at.is_sorted(), "{output}");
        assert!(connection.is_over(), "closed after the third");
        assert_eq!(connection.served(), 3);
    }
}

#[test]
fn bytes_come_chunked_with_their_digest_behind() {
    for (count, room) in [(0_usize, 100), (1, 7), (40_000, 1000), (100_000, 4096)] {
        let (output, connection) =
            exchange(format!("GET /bytes/{count}?seed=3 HTTP/1.1\r\n\r\n").as_bytes(), 1000, room);
        let mut expected = vec![0; count];
        let mut stream = ByteStream::new(3);
        stream.fill(&mut expected);
        let digest = hex(&stream.digest());
        assert!(output.contains("Trailer: X-SHA256\r\n"));
        assert!(output.ends_with(&format!("0\r\nX-SHA256: {digest}\r\n\r\n")), "{count}");
        assert!(connection.is_idle(), "ready for the next request");
    }
}

#[test]
fn the_chunks_hold_what_was_asked_for() {
    let mut connection = Connection::new(routes);
    connection.receive(b"GET /bytes/70000 HTTP/1.1\r\n\r\n");
    let mut output = vec![0; 100_000];
    let made = connection.produce(&mut output);
    let body = output[..made].windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut reader = BodyReader::new(request::BodyLength::Chunked);
    assert_eq!(reader.take(&output[body..made]), Ok(made - body));
    assert!(reader.is_done());
    let mut expected = vec![0; 70_000];
    ByteStream::new(1).fill(&mut expected);
    assert_eq!(reader.finish(), (70_000, Sha256::digest(&expected)));
}

#[test]
fn a_body_that_waits_is_asked_for() {
    let mut connection = Connection::new(routes);
    connection.receive(b"POST /digest HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    let mut output = [0; 100];
    let made = connection.produce(&mut output);
    assert_eq!(&output[..made], b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.receive(b"ab");
    let made = connection.produce(&mut output);
    assert!(output[..made].starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[test]
fn nonsense_is_answered_and_ends_the_connection() {
    let requests: [(&[u8], &str); 4] = [
        (b"\x00\x01\x02\r\n\r\n", "400"),
        (b"GET /bytes/9999999999 HTTP/1.1\r\n\r\n", "413"),
        (b"DELETE / HTTP/1.1\r\n\r\n", "405"),
        (b"POST /digest HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"),
    ];
    for (request, status) in requests {
        let (output, connection) = exchange(request, 1000, 1000);
        assert!(output.starts_with(&format!("HTTP/1.1 {status}")), "{output}");
        assert!(connection.is_over());
    }
}

#[test]
fn an_older_peer_gets_plain_bytes_and_a_close() {
    for (count, room) in [(0_usize, 100), (1, 7), (40_000, 1000)] {
        let request = format!("GET /bytes/{count}?seed=3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let mut connection = Connection::new(routes);
        connection.receive(request.as_bytes());
        let mut output = Vec::new();
        let mut buffer = vec![0; room];
        while !connection.is_over() {
            let made = connection.produce(&mut buffer);
            output.extend_from_slice(&buffer[..made]);
        }
        let body = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = str::from_utf8(&output[..body]).unwrap();
        assert!(head.contains(&format!("Content-Length: {count}\r\n")), "{head}");
        assert!(head.contains("Connection: close\r\n") && !head.contains("chunked"), "{head}");
        let mut expected = vec![0; count];
        ByteStream::new(3).fill(&mut expected);
        assert_eq!(&output[body..], expected);
    }
}

#[test]
fn a_refused_head_request_gets_a_head() {
    for request in [
        "HEAD /nothing HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "HEAD / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let (output, connection) = exchange(request.as_bytes(), 1000, 1000);
        assert!(output.starts_with("HTTP/1.1 4") && output.ends_with("\r\n\r\n"), "{output}");
        assert!(connection.is_over());
    }
}

#[test]
fn a_head_request_gets_a_head() {
    let (output, connection) = exchange(b"HEAD /bytes/5 HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n", 1000, 1000);
    assert!(output.ends_with("\r\n\r\n"), "{output}");
    assert!(connection.is_idle());
}

#[test]
fn a_page_of_the_program_loads_nothing_from_elsewhere() {
    let mut connection = Connection::new(|_, _| Ok(Route::Program("page")));
    let _ = connection.receive(b"GET / HTTP/1.1\r\n\r\n");
    connection.answer("200 OK", "text/html", "<html>");
    let mut room = [0; 1000];
    let made = connection.produce(&mut room);
    let text = String::from_utf8_lossy(&room[..made]).into_owned();
    for part in
        ["\r\nContent-Security-Policy: default-src 'none'; script-src 'self';", "frame-ancestors 'none'\r\n"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        text.contains("\r\nX-Content-Type-Options: nosniff\r\n") && text.ends_with("\r\n\r\n<html>"),
        "{text}"
    );
}

#[test]
fn pieces_come_in_chunks_until_the_last() {
    let asked = |head: &[u8]| {
        let mut connection = Connection::new(|method, target| Ok(Route::Pieces(Change::new(method, target))));
        let _ = connection.receive(head);
        assert!(
            matches!(connection.wanted(), Some(Wanted::Pieces(asked)) if asked.token.as_deref() == Some("t"))
        );
        connection
    };
    let sent = |connection: &mut Connection| {
        let mut room = [0; 2000];
        let made = connection.produce(&mut room);
        String::from_utf8_lossy(&room[..made]).into_owned()
    };
    let handle = Handle::new(0);
    let mut connection = asked(b"GET /p HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\nGET /q");
    connection.answer_in_pieces("text/x", handle.clone());
    assert!(connection.wants_piece().is_none(), "the head goes first");
    let head = sent(&mut connection);
    assert!(head.contains("Transfer-Encoding: chunked\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(connection.wants_piece().is_some_and(|of| of.is_same(&handle)));
    connection.piece(Some(b""));
    assert_eq!(sent(&mut connection), "", "an empty chunk would end it");
    connection.piece(Some(b"seventeen bytes.."));
    assert!(connection.wants_piece().is_none() && connection.is_in_pieces());
    assert_eq!(sent(&mut connection), "11\r\nseventeen bytes..\r\n");
    connection.piece(None);
    assert_eq!(sent(&mut connection), "0\r\n\r\n");
    assert!(handle.is_alone() && !connection.is_over(), "the next request may come");

    let mut old = asked(b"GET /p HTTP/1.0\r\nAuthorization: Bearer t\r\n\r\n");
    old.answer_in_pieces("text/x", Handle::new(0));
    assert!(!sent(&mut old).contains("chunked"));
    old.piece(Some(b"abc"));
    assert_eq!(sent(&mut old), "abc");
    old.piece(None);
    assert!(old.is_over(), "its end is the end of the connection");

    let mut head = asked(b"HEAD /p HTTP/1.1\r\nAuthorization: Bearer t\r\n\r\n");
    head.answer_in_pieces("text/x", Handle::new(0));
    let _ = sent(&mut head);
    assert!(!head.is_in_pieces() && head.is_idle());
}
