//! Reads lines of whatever length in memory of a fixed size.

use std::io::{self, BufRead};

use super::line::MAX_LINE;

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line, without its end.
    Line(Vec<u8>),
    /// A line that is longer than any of a trail.
    TooLong,
    /// What comes after the last line's end.
    Rest(Vec<u8>),
}

/// The next piece; none at the end.
pub(super) fn next(from: &mut impl BufRead) -> io::Result<Option<Piece>> {
    let (mut line, mut long, mut any) = (Vec::new(), false, false);
    loop {
        let buffer = match from.fill_buf() {
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok(any.then_some(if long { Piece::TooLong } else { Piece::Rest(line) }));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        long |= line.len() + piece.len() > MAX_LINE;
        if !long {
            line.extend_from_slice(piece);
        }
        let used = piece.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            return Ok(Some(if long { Piece::TooLong } else { Piece::Line(line) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &[u8], buffer: usize) -> Vec<Piece> {
        let mut from = BufReader::with_capacity(buffer, text);
        std::iter::from_fn(|| next(&mut from).unwrap()).collect()
    }

    #[test]
    fn lines_are_bounded() {
        let long = vec![b'x'; 100_000];
        let text = [b"one\n\n", &long[..], b"\ntwo\r\nrest"].concat();
        let line = |text: &str| Piece::Line(text.as_bytes().to_vec());
        for buffer in [1, 7, 8192] {
            assert_eq!(
                pieces(&text, buffer),
                [line("one"), line(""), Piece::TooLong, line("two\r"), Piece::Rest(b"rest".to_vec())],
                "{buffer}"
            );
        }
        assert_eq!(pieces(b"", 9), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read_alike_by_any_buffer(text in prop::collection::vec(any::<u8>(), 0..300), buffer in 1_usize..40) {
            let ends = text.iter().filter(|byte| **byte == b'\n').count();
            let found = pieces(&text, buffer);
            prop_assert_eq!(found.len(), ends + usize::from(text.last().is_some_and(|byte| *byte != b'\n')));
            prop_assert_eq!(found, pieces(&text, 8192));
        }
    }
}
