//! Arguments and return values, written as their types say.

use super::json;
use crate::spec::Type;
use std::fmt::Write;

/// What was read from a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read<'a> {
    /// A register's or a stack slot's bits; of a float those of its vector register.
    Bits(u64),
    /// A string's bytes without the NUL; `true`: there is more.
    Text(&'a [u8], bool),
    /// The address of a string that cannot be read.
    Bad(u64),
}

/// Appends `value` for people.
pub fn value_text(out: &mut String, ty: Type, value: Read<'_>) {
    let bits = match value {
        Read::Text(bytes, more) => return quoted(out, bytes, more),
        Read::Bad(at) => {
            let _ = write!(out, "{at:#x} (unreadable)");
            return;
        }
        Read::Bits(bits) => bits,
    };
    let _ = match ty {
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => write!(out, "{}", signed(ty, bits)),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => write!(out, "{}", unsigned(ty, bits)),
        Type::Ptr | Type::Str if bits == 0 => write!(out, "NULL"),
        Type::Hex | Type::Ptr | Type::Str => write!(out, "{bits:#x}"),
        Type::Bool => write!(out, "{}", bits as u8 != 0),
        Type::Char => {
            out.push('\'');
            byte(out, bits as u8, b'\'');
            out.push('\'');
            Ok(())
        }
        Type::F32 => write!(out, "{}", f32::from_bits(bits as u32)),
        Type::F64 => write!(out, "{}", f64::from_bits(bits)),
    };
}

/// Appends `value` as JSON: numbers, strings, `true`, `false`; null for NULL strings, for what
/// cannot be read, and for floats that JSON has no number for.
pub fn value_json(out: &mut String, ty: Type, value: Read<'_>) {
    let bits = match value {
        // What is no UTF-8 becomes U+FFFD: JSON has no other way to say it.
        Read::Text(bytes, _) => return json::string(out, &String::from_utf8_lossy(bytes)),
        Read::Bad(_) => return out.push_str("null"),
        Read::Bits(bits) => bits,
    };
    let finite = |out: &mut String, finite: bool, text: String| {
        out.push_str(if finite { &text } else { "null" });
        Ok(())
    };
    let _ = match ty {
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => write!(out, "{}", signed(ty, bits)),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => write!(out, "{}", unsigned(ty, bits)),
        Type::Hex | Type::Ptr => write!(out, "{bits}"),
        Type::Str => write!(out, "null"),
        Type::Bool => write!(out, "{}", bits as u8 != 0),
        Type::Char => {
            json::string(out, char::from(bits as u8).encode_utf8(&mut [0; 4]));
            Ok(())
        }
        Type::F32 => {
            let float = f32::from_bits(bits as u32);
            finite(out, float.is_finite(), format!("{float:?}"))
        }
        Type::F64 => {
            let float = f64::from_bits(bits);
            finite(out, float.is_finite(), format!("{float:?}"))
        }
    };
}

/// The lowest bits that the type has: the rest of a register is not the caller's.
fn signed(ty: Type, bits: u64) -> i64 {
    match ty {
        Type::I8 => (bits as i8).into(),
        Type::I16 => (bits as i16).into(),
        Type::I32 => (bits as i32).into(),
        _ => bits as i64,
    }
}

fn unsigned(ty: Type, bits: u64) -> u64 {
    match ty {
        Type::U8 => (bits as u8).into(),
        Type::U16 => (bits as u16).into(),
        Type::U32 => (bits as u32).into(),
        _ => bits,
    }
}

/// A string in quotes; control characters and what is no UTF-8 as escapes, so that a program's
/// data cannot drive the terminal.
fn quoted(out: &mut String, bytes: &[u8], more: bool) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match u8::try_from(c) {
                Ok(ascii) if ascii < 0x80 => byte(out, ascii, b'"'),
                _ if c.is_control() => {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
                _ => out.push(c),
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\x{b:02x}");
        }
    }
    out.push('"');
    if more {
        out.push('…');
    }
}

fn byte(out: &mut String, byte: u8, quote: u8) {
    let _ = match byte {
        b'\n' => write!(out, "\\n"),
        b'\r' => write!(out, "\\r"),
        b'\t' => write!(out, "\\t"),
        b'\\' => write!(out, "\\\\"),
        b if b == quote => write!(out, "\\{}", char::from(b)),
        0x20..0x7f => write!(out, "{}", char::from(byte)),
        _ => write!(out, "\\x{byte:02x}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_their_types_say() {
        let all = u64::MAX;
        for (ty, value, text, json) in [
            (Type::I8, Read::Bits(0x1ff), "-1", "-1"),
            (Type::I16, Read::Bits(0x8000), "-32768", "-32768"),
            (Type::I32, Read::Bits(0xffff_ffff), "-1", "-1"),
            (Type::I64, Read::Bits(all), "-1", "-1"),
            (Type::U8, Read::Bits(0x1ff), "255", "255"),
            (Type::U16, Read::Bits(0x1_ffff), "65535", "65535"),
            (Type::U32, Read::Bits(all), "4294967295", "4294967295"),
            (Type::U64, Read::Bits(all), "18446744073709551615", "18446744073709551615"),
            (Type::Hex, Read::Bits(0x1ff), "0x1ff", "511"),
            (Type::Ptr, Read::Bits(0), "NULL", "0"),
            (Type::Ptr, Read::Bits(0x7fff), "0x7fff", "32767"),
            (Type::Str, Read::Bits(0), "NULL", "null"),
            (
                Type::Str,
                Read::Text(b"a\"b\n\x1b\xff\xc3\xa9", false),
                "\"a\\\"b\\n\\x1b\\xffé\"",
                "\"a\\\"b\\n\\u001b\u{fffd}é\"",
            ),
            (Type::Str, Read::Text(b"abc", true), "\"abc\"…", "\"abc\""),
            (Type::Str, Read::Bad(0x10), "0x10 (unreadable)", "null"),
            (Type::Bool, Read::Bits(0x100), "false", "false"),
            (Type::Bool, Read::Bits(1), "true", "true"),
            (Type::Char, Read::Bits(0x61), "'a'", "\"a\""),
            (Type::Char, Read::Bits(0x27), "'\\''", "\"'\""),
            (Type::Char, Read::Bits(0), "'\\x00'", "\"\\u0000\""),
            (Type::F32, Read::Bits(0x3fc0_0000), "1.5", "1.5"),
            (Type::F64, Read::Bits(0x4000_0000_0000_0000), "2", "2.0"),
            (Type::F64, Read::Bits(f64::NAN.to_bits()), "NaN", "null"),
        ] {
            let (mut out, mut as_json) = (String::new(), String::new());
            value_text(&mut out, ty, value);
            value_json(&mut as_json, ty, value);
            assert_eq!((out.as_str(), as_json.as_str()), (text, json), "{ty:?} {value:?}");
        }
    }
}
