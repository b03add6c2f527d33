//! What a format of printf(3) asks for: the types of the arguments behind it.

use super::Type;

/// One conversion: the width and precision that are arguments (`*`), and the type of what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An argument of this type.
    Value(Type),
    /// One whose place is not known, nor those of all behind it: a long double, or one by number (`%1$d`).
    Lost,
}

/// Returns the arguments that a format asks for, in their order (C23 7.23.6.1; POSIX).
#[must_use]
pub fn printf(format: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = format.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            continue;
        }
        let (mut length, mut longs, mut digits) = (b' ', 0, false);
        loop {
            match rest.next() {
                None => return pieces,
                Some(b'*') => pieces.push(Piece::Value(Type::I32)),
                Some(b'0'..=b'9') => digits = true,
                Some(b'-' | b'+' | b' ' | b'#' | b'\'' | b'I' | b'.') => {}
                Some(b'$') if digits => {
                    pieces.push(Piece::Lost);
                    return pieces;
                }
                Some(c @ (b'h' | b'l' | b'j' | b'z' | b't' | b'L' | b'q')) => {
                    longs += usize::from(c == length);
                    length = c;
                }
                Some(c) => {
                    pieces.extend(piece(c, length, longs > 0));
                    if pieces.last() == Some(&Piece::Lost) {
                        return pieces;
                    }
                    break;
                }
            }
        }
    }
    pieces
}

/// What one conversion shows.
fn piece(conversion: u8, length: u8, twice: bool) -> Option<Piece> {
    let (signed, unsigned) = match (length, twice) {
        (b'h', true) => (Type::I8, Type::U8),
        (b'h', false) => (Type::I16, Type::U16),
        (b' ', _) => (Type::I32, Type::U32),
        _ => (Type::I64, Type::U64),
    };
    Some(Piece::Value(match conversion {
        b'd' | b'i' => signed,
        b'u' | b'o' => unsigned,
        b'x' | b'X' | b'b' | b'B' if unsigned == Type::U64 => Type::Hex,
        b'x' | b'X' | b'b' | b'B' => unsigned,
        b'c' if length == b' ' => Type::Char,
        b'c' | b'C' => Type::U32,
        b's' if length == b' ' => Type::Str,
        // Wide characters.
        b's' | b'S' | b'p' | b'n' => Type::Ptr,
        b'a' | b'A' | b'e' | b'E' | b'f' | b'F' | b'g' | b'G' if length == b'L' => {
            return Some(Piece::Lost);
        }
        b'a' | b'A' | b'e' | b'E' | b'f' | b'F' | b'g' | b'G' => Type::F64,
        // %% and %m have none.
        b'%' | b'm' => return None,
        _ => return Some(Piece::Lost),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_have_types() {
        use Type::{Char, F64, Hex, I8, I16, I32, I64, Ptr, Str, U32, U64};
        for (format, types) in [
            ("", &[][..]),
            ("100%% %m\n", &[]),
            ("%d %s\n", &[I32, Str]),
            ("%-5ld|%+lli|%hhd|%hi", &[I64, I64, I8, I16]),
            ("%u %lu %zu %#x %lx", &[U32, U64, U64, U32, Hex]),
            ("%5.2f %Le", &[F64]),
            ("%*d %.*s", &[I32, I32, I32, Str]),
            ("%c %p %n %ls", &[Char, Ptr, Ptr, Ptr]),
            ("%1$d %2$s", &[]),
            ("%d %y %d", &[I32]),
            ("%d %", &[I32]),
        ] {
            let found = printf(format.as_bytes());
            let lost = format.contains('$') || format.contains("%L") || format.contains("%y");
            assert_eq!(found.last() == Some(&Piece::Lost), lost, "{format}");
            let found: Vec<Piece> = found.into_iter().filter(|p| *p != Piece::Lost).collect();
            let types: Vec<Piece> = types.iter().map(|&ty| Piece::Value(ty)).collect();
            assert_eq!(found, types, "{format}");
        }
    }
}
