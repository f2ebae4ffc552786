use super::*;
use crate::app::http::{Connection, routes};

/// Files in memory, and what goes wrong with them.
#[derive(Default)]
struct Shelf {
    files: Vec<(String, Vec<u8>)>,
    /// What is being stored, and how much of it was announced.
    coming: Option<(String, Vec<u8>, u64)>,
    largest_piece: usize,
    refuses: Option<Refusal>,
    fails_from: Option<u64>,
    finishes: usize,
}

const FULL: Refusal = Refusal::new("507 Insufficient Storage", "full");

impl Shelf {
    fn of(name: &str, len: usize) -> Self {
        Self { files: vec![(name.into(), bytes(len))], ..Self::default() }
    }
    fn position(&self, name: &Name) -> Option<usize> {
        self.files.iter().position(|(known, _)| known == name.as_str())
    }
}

impl Files for Shelf {
    fn flush(&mut self) -> Result<(), Refusal> {
        Ok(())
    }
    fn open(&mut self, name: &Name) -> Result<(Handle, u64), Refusal> {
        let index = self.position(name).ok_or(Refusal::new("404 Not Found", "none"))?;
        Ok((Handle::new(index), self.files[index].1.len() as u64))
    }
    fn read(&mut self, handle: &Handle, offset: u64, room: &mut [u8]) -> Result<(), Refusal> {
        if self.fails_from.is_some_and(|from| offset + room.len() as u64 > from) {
            return Err(FULL);
        }
        self.largest_piece = self.largest_piece.max(room.len());
        let start = usize::try_from(offset).unwrap();
        room.copy_from_slice(&self.files[handle.index()].1[start..start + room.len()]);
        Ok(())
    }
    fn create(&mut self, name: &Name, len_bytes: u64) -> Result<Handle, Refusal> {
        self.refuses.map_or(Ok(()), Err)?;
        self.coming = Some((name.as_str().into(), Vec::new(), len_bytes));
        Ok(Handle::new(9))
    }
    fn write(&mut self, _handle: &Handle, bytes: &[u8]) -> Result<(), Refusal> {
        self.largest_piece = self.largest_piece.max(bytes.len());
        let (_, stored, len_bytes) = self.coming.as_mut().unwrap();
        stored.extend(bytes);
        assert!(stored.len() as u64 <= *len_bytes);
        if self.fails_from.is_some_and(|from| stored.len() as u64 > from) { Err(FULL) } else { Ok(()) }
    }
    fn finish(&mut self, _handle: &Handle) -> Result<bool, Refusal> {
        let (name, stored, len_bytes) = self.coming.take().unwrap();
        assert_eq!(stored.len() as u64, len_bytes);
        self.finishes += 1;
        let is_new = !self.files.iter().any(|(known, _)| *known == name);
        self.files.retain(|(known, _)| *known != name);
        self.files.push((name, stored));
        Ok(is_new)
    }
    fn close_left(&mut self) {}
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251).to_le_bytes()[0]).collect()
}

/// Gives `input` in pieces and takes what comes out in pieces, until nothing moves.
fn exchange(input: &[u8], piece: usize, room: usize, shelf: &mut Shelf) -> (Vec<u8>, Connection) {
    let (mut connection, mut output, mut rest) = (Connection::new(routes), Vec::new(), input);
    loop {
        let taken = connection.receive(&rest[..piece.min(rest.len())]);
        rest = &rest[taken..];
        let moved = connection.move_file(shelf);
        let mut buffer = vec![0; room];
        let made = connection.produce(&mut buffer);
        output.extend(&buffer[..made]);
        if taken == 0 && !moved && made == 0 {
            return (output, connection);
        }
    }
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_file_goes_out_in_any_pieces() {
    for len in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 17] {
        for (piece, room) in [(7, 1000), (1000, PIECE_BYTES), (1000, 100_000)] {
            let mut shelf = Shelf::of("a b", len);
            let input = b"GET /files/a%20b HTTP/1.1\r\n\r\nHEAD /files/a%20b HTTP/1.1\r\n\r\n";
            let (output, connection) = exchange(input, piece, room, &mut shelf);
            let head = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let fields = text(&output[..head]);
            assert!(fields.starts_with("HTTP/1.1 200 OK\r\n"), "{fields}");
            assert!(fields.contains(&format!("Content-Length: {len}\r\n")), "{fields}");
            assert!(output[head..head + len] == bytes(len), "{len}");
            assert_eq!(output[head + len..], output[..head], "the answer to HEAD is the head");
            assert!(connection.is_idle() && shelf.largest_piece <= PIECE_BYTES);
        }
    }
}

#[test]
fn a_file_comes_in_in_any_pieces_and_is_answered_once_it_is_there() {
    for len in [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 17] {
        for piece in [13, 1000, 100_000] {
            let mut shelf = Shelf::default();
            let mut input = format!("PUT /files/new HTTP/1.1\r\nContent-Length: {len}\r\n\r\n").into_bytes();
            input.extend(bytes(len));
            let once = input.clone();
            input.extend(&once);
            input.extend(b"GET /files/none HTTP/1.1\r\n\r\n");
            let (output, connection) = exchange(&input, piece, 1000, &mut shelf);
            let answers = text(&output);
            let statuses: Vec<_> =
                answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
            assert_eq!(statuses, ["201", "204", "404"], "{len} by {piece}");
            assert!(
                !answers[answers.find("204").unwrap()..answers.find("404").unwrap()]
                    .contains("Content-Length")
            );
            assert!(shelf.files == [("new".to_owned(), bytes(len))] && shelf.finishes == 2);
            assert!(connection.is_idle() && shelf.largest_piece <= PIECE_BYTES);
        }
    }
}

#[test]
fn a_file_that_is_not_whole_yet_is_not_answered() {
    let mut shelf = Shelf::default();
    let (output, connection) =
        exchange(b"PUT /files/new HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", 100, 100, &mut shelf);
    assert_eq!((text(&output).as_str(), shelf.finishes), ("", 0));
    assert!(connection.is_stuck() && !connection.is_idle() && !connection.is_over());
}

#[test]
fn who_waits_is_told_to_go_on_once_there_is_room() {
    let head = b"PUT /files/new HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let mut shelf = Shelf::default();
    assert_eq!(text(&exchange(head, 100, 100, &mut shelf).0), "HTTP/1.1 100 Continue\r\n\r\n");
    shelf.refuses = Some(FULL);
    let (output, connection) = exchange(head, 100, 100, &mut shelf);
    assert!(text(&output).starts_with("HTTP/1.1 507 "), "{}", text(&output));
    assert!(connection.is_over(), "what follows may be the file");
}

#[test]
fn a_file_that_does_not_fit_is_refused_in_its_middle() {
    let mut shelf = Shelf { fails_from: Some(PIECE_BYTES as u64), ..Shelf::default() };
    let mut input =
        format!("PUT /files/new HTTP/1.1\r\nContent-Length: {}\r\n\r\n", 4 * PIECE_BYTES).into_bytes();
    input.extend(bytes(4 * PIECE_BYTES));
    let (output, connection) = exchange(&input, 1000, 1000, &mut shelf);
    assert!(text(&output).starts_with("HTTP/1.1 507 ") && connection.is_over());
    assert_eq!(shelf.finishes, 0);
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_is_cut_off() {
    let mut shelf = Shelf { fails_from: Some(PIECE_BYTES as u64), ..Shelf::of("a", 2 * PIECE_BYTES) };
    let (output, connection) = exchange(b"GET /files/a HTTP/1.1\r\n\r\n", 1000, 1000, &mut shelf);
    assert!(connection.is_broken() && !connection.is_over(), "no one takes it for the whole");
    assert!(output.len() > PIECE_BYTES);
    let mut shelf = Shelf { fails_from: Some(0), ..Shelf::of("a", 10) };
    assert!(exchange(b"GET /files/a HTTP/1.1\r\n\r\n", 1000, 1000, &mut shelf).1.is_broken());
}

#[test]
fn a_connection_that_goes_lets_its_file_go() {
    let mut shelf = Shelf::of("a", 100_000);
    let mut connection = Connection::new(routes);
    connection.receive(b"GET /files/a HTTP/1.1\r\n\r\n");
    assert!(connection.move_file(&mut shelf));
    assert!(!connection.move_file(&mut shelf), "the head has to go first");
    let handle = connection.handle().unwrap();
    assert!(!handle.is_alone());
    drop(connection);
    assert!(handle.is_alone());
}
