//! Makes what a container wrote fit for labels and lines: bounded, and nothing in it that a terminal would obey.

/// One line of at most `most` characters; what cannot be printed becomes `?`.
pub fn label(text: &[u8], most: usize) -> String {
    // A character has at most four octets, and as many again may be replaced.
    let text = text.get(..most * 4).unwrap_or(text);
    let printable = |character: char| if is_odd(character) { '?' } else { character };
    String::from_utf8_lossy(text).chars().take(most).map(printable).collect()
}

/// The lines of a text, each cut at `most` characters and made fit to print; tabs become spaces.
pub fn lines(text: &[u8], most: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(64 * 1024));
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let (line, end) = line.strip_suffix(b"\n").map_or((line, ""), |line| (line, "\n"));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let spaced: Vec<u8> = line.iter().map(|octet| if *octet == b'\t' { b' ' } else { *octet }).collect();
        clean.push_str(&label(&spaced, most));
        clean.push_str(end);
    }
    clean
}

/// Control characters, and those that turn the direction of writing or hide.
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(label(b"Alpine\x1b[31m\x07\x00\r\n3.17", 64), "Alpine?[31m????3.17");
        assert_eq!(label("a\u{202e}b\u{feff}c".as_bytes(), 64), "a?b?c");
        assert_eq!(label(b"\xff\xfe", 64), "\u{fffd}\u{fffd}");
        assert_eq!(label("grüße".as_bytes(), 64), "grüße");
    }

    #[test]
    fn it_is_never_longer_than_allowed() {
        assert_eq!(label(&[b'a'; 1 << 20], 8), "aaaaaaaa");
        assert_eq!(label("ü".repeat(100).as_bytes(), 8).chars().count(), 8);
        assert_eq!(lines(&[b'a'; 1 << 20], 8), "aaaaaaaa");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines(b"search\ta b\r\noptions\x07x\n", 64), "search a b\noptions?x\n");
        assert_eq!(lines(b"", 64), "");
    }
}
