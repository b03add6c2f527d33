//! Arguments and return values, written as their types say.

use super::json;
use crate::spec::Type;
use std::fmt::Write;

const AT_FDCWD: u32 = (-100_i32).cast_unsigned();

/// What was read from a thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read<'a> {
    /// A register's or a stack slot's bits; of a float those of its vector register.
    Bits(u64),
    /// A descriptor, and what it is open for.
    File(u64, &'a str),
    /// A string's bytes without the NUL; `true`: there is more.
    Text(&'a [u8], bool),
    /// What is at the addresses of an array; `true`: there is more.
    Texts(&'a [Text], bool),
    /// The address of a string that cannot be read.
    Bad(u64),
    /// A value that could not be read; where it is, if that is known.
    Unknown(Option<u64>),
}

/// A string of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// There is none: NULL.
    Null,
    /// Its bytes without the NUL; `true`: there is more.
    Read(Vec<u8>, bool),
    /// Its address, which cannot be read.
    Bad(u64),
}

impl Text {
    fn read(&self) -> Read<'_> {
        match self {
            Text::Null => Read::Bits(0),
            Text::Read(bytes, more) => Read::Text(bytes, *more),
            Text::Bad(at) => Read::Bad(*at),
        }
    }
}

/// Appends `value` for people.
pub fn value_text(out: &mut String, ty: Type, value: Read<'_>) {
    let bits = match value {
        Read::Text(bytes, more) => return quoted(out, bytes, more),
        Read::Texts(texts, more) => {
            out.push('[');
            for (n, text) in texts.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                value_text(out, Type::Str, text.read());
            }
            out.push_str(match (more, texts) {
                (false, _) => "]",
                (true, []) => "…]",
                (true, _) => ", …]",
            });
            return;
        }
        Read::Bad(at) => {
            let _ = write!(out, "{at:#x} (unreadable)");
            return;
        }
        Read::Unknown(_) => return out.push('?'),
        Read::File(bits, file) => {
            value_text(out, ty, Read::Bits(bits));
            out.push('<');
            escaped(out, file.as_bytes(), b'>');
            return out.push('>');
        }
        Read::Bits(bits) => bits,
    };
    let _ = match ty {
        Type::Void => write!(out, "void"),
        // No descriptor, but the folder that the program is in (fcntl.h).
        Type::Fd if bits as u32 == AT_FDCWD => write!(out, "-100 AT_FDCWD"),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Fd => integer(out, signed(ty, bits)),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => integer(out, unsigned(ty, bits)),
        Type::Named(names) => {
            names.show(out, bits);
            Ok(())
        }
        Type::Ptr | Type::Str | Type::Bytes | Type::Strs if bits == 0 => write!(out, "NULL"),
        Type::Hex | Type::Ptr | Type::Str | Type::Bytes | Type::Strs => write!(out, "{bits:#x}"),
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

/// Appends the value of a function whose type is not known: its bits, and what they are as a number
/// with a sign. The upper half of a register says nothing of an `int`.
pub fn untyped_text(out: &mut String, value: Read<'_>) {
    let Read::Bits(bits) = value else { return value_text(out, Type::Hex, value) };
    let _ = match u32::try_from(bits) {
        Ok(low) if low.cast_signed() < 0 => {
            write!(out, "{bits:#x} ({bits}, as i32 {})", low.cast_signed())
        }
        _ => write!(out, "{bits:#x} ({})", bits.cast_signed()),
    };
}

/// Appends `value` as JSON: a number, a string, `true` or `false`.
///
/// | value | JSON |
/// |---|---|
/// | a NULL string | `null` |
/// | a string that is cut | `{"str":"…","cut":true}` |
/// | one that is not UTF-8 | `{"bytes":"…"}` in hexadecimal, with `"cut":true` too where it is |
/// | an array | `["…","…"]`, of values as these; `{"strs":[…],"cut":true}` where it is cut |
/// | what is not read, since its function has failed or not returned | its address: a number |
/// | what cannot be read | `{"unreadable":ADDRESS}`, or `{"unreadable":null}` |
/// | a float that JSON has no number for | `"NaN"`, `"inf"`, `"-inf"` |
pub fn value_json(out: &mut String, ty: Type, value: Read<'_>) {
    let bits = match value {
        Read::Text(bytes, more) => return text_json(out, bytes, more),
        Read::Texts(texts, false) => return texts_json(out, texts),
        Read::Texts(texts, true) => {
            let mut object = json::Object::new(out);
            object.nested("strs", |out| texts_json(out, texts));
            object.flag("cut", true);
            return object.end();
        }
        Read::Bad(at) | Read::Unknown(Some(at)) => {
            let _ = write!(out, "{{\"unreadable\":{at}}}");
            return;
        }
        Read::Unknown(None) => return out.push_str("{\"unreadable\":null}"),
        Read::Bits(bits) | Read::File(bits, _) => bits,
    };
    let float = |out: &mut String, finite: bool, text: String| {
        if finite {
            out.push_str(&text);
        } else {
            json::string(out, &text);
        }
        Ok(())
    };
    let _ = match ty {
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Fd => integer(out, signed(ty, bits)),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => integer(out, unsigned(ty, bits)),
        Type::Hex | Type::Ptr => integer(out, bits),
        Type::Named(names) => return value_json(out, names.base(), value),
        Type::Str | Type::Bytes | Type::Strs if bits != 0 => integer(out, bits),
        Type::Str | Type::Bytes | Type::Strs | Type::Void => write!(out, "null"),
        Type::Bool => write!(out, "{}", bits as u8 != 0),
        Type::Char => {
            json::string(out, char::from(bits as u8).encode_utf8(&mut [0; 4]));
            Ok(())
        }
        Type::F32 => {
            let value = f32::from_bits(bits as u32);
            float(out, value.is_finite(), format!("{value:?}"))
        }
        Type::F64 => {
            let value = f64::from_bits(bits);
            float(out, value.is_finite(), format!("{value:?}"))
        }
    };
}

fn texts_json(out: &mut String, texts: &[Text]) {
    out.push('[');
    for (n, text) in texts.iter().enumerate() {
        out.push_str(if n == 0 { "" } else { "," });
        value_json(out, Type::Str, text.read());
    }
    out.push(']');
}

fn text_json(out: &mut String, bytes: &[u8], more: bool) {
    // A character that the end cuts in two is no reason to take the whole for something else.
    let whole = match str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if more && error.error_len().is_none() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match whole {
        Some(text) if !more => json::string(out, text),
        Some(text) => {
            let mut object = json::Object::new(out);
            object.text("str", text);
            object.flag("cut", true);
            object.end();
        }
        None => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut object = json::Object::new(out);
            object.text("bytes", &hex);
            if more {
                object.flag("cut", true);
            }
            object.end();
        }
    }
}

/// The lowest bits that the type has: the rest of a register is not the caller's.
fn integer(out: &mut String, value: impl itoa::Integer) -> std::fmt::Result {
    out.write_str(itoa::Buffer::new().format(value))
}

fn signed(ty: Type, bits: u64) -> i64 {
    match ty {
        Type::I8 => (bits as i8).into(),
        Type::I16 => (bits as i16).into(),
        Type::I32 | Type::Fd => (bits as i32).into(),
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
    escaped(out, bytes, b'"');
    out.push('"');
    if more {
        out.push('…');
    }
}

/// Bytes of which what could drive a terminal, and `quote`, are escapes.
fn escaped(out: &mut String, bytes: &[u8], quote: u8) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match u8::try_from(c) {
                Ok(ascii) if ascii < 0x80 => byte(out, ascii, quote),
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
        let texts = [
            Text::Read(b"ls".to_vec(), false),
            Text::Read(b"-".to_vec(), true),
            Text::Null,
            Text::Bad(16),
        ];
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
            (Type::Fd, Read::Bits(0xffff_ff9c), "-100 AT_FDCWD", "-100"),
            (Type::Fd, Read::File(3, "/a>\n"), "3</a\\>\\n>", "3"),
            (Type::Ptr, Read::Bits(0), "NULL", "0"),
            (Type::Ptr, Read::Bits(0x7fff), "0x7fff", "32767"),
            (Type::Str, Read::Bits(0), "NULL", "null"),
            (
                Type::Str,
                Read::Text(b"a\"b\n\x1b\xff\xc3\xa9", false),
                "\"a\\\"b\\n\\x1b\\xffé\"",
                "{\"bytes\":\"6122620a1bffc3a9\"}",
            ),
            (Type::Str, Read::Text(b"abc", true), "\"abc\"…", "{\"str\":\"abc\",\"cut\":true}"),
            (
                Type::Str,
                Read::Text(b"ab\xc3", true),
                "\"ab\\xc3\"…",
                "{\"str\":\"ab\",\"cut\":true}",
            ),
            (Type::Str, Read::Text(b"\xff", true), "\"\\xff\"…", "{\"bytes\":\"ff\",\"cut\":true}"),
            (Type::Str, Read::Text(b"", false), "\"\"", "\"\""),
            (Type::Str, Read::Bad(0x10), "0x10 (unreadable)", "{\"unreadable\":16}"),
            (Type::I32, Read::Unknown(Some(32)), "?", "{\"unreadable\":32}"),
            (Type::F64, Read::Unknown(None), "?", "{\"unreadable\":null}"),
            (Type::Str, Read::Bits(0x10), "0x10", "16"),
            (Type::Bytes, Read::Bits(0), "NULL", "null"),
            (Type::Bytes, Read::Bits(0x10), "0x10", "16"),
            (Type::Bytes, Read::Bad(0x10), "0x10 (unreadable)", "{\"unreadable\":16}"),
            (Type::Bytes, Read::Text(b"a\0b", false), "\"a\\x00b\"", "\"a\\u0000b\""),
            (
                Type::Bytes,
                Read::Text(b"\xff", true),
                "\"\\xff\"…",
                "{\"bytes\":\"ff\",\"cut\":true}",
            ),
            (Type::Strs, Read::Bits(0), "NULL", "null"),
            (Type::Strs, Read::Texts(&[], false), "[]", "[]"),
            (Type::Strs, Read::Texts(&[], true), "[…]", "{\"strs\":[],\"cut\":true}"),
            (
                Type::Strs,
                Read::Texts(&texts, false),
                "[\"ls\", \"-\"…, NULL, 0x10 (unreadable)]",
                "[\"ls\",{\"str\":\"-\",\"cut\":true},null,{\"unreadable\":16}]",
            ),
            (
                Type::Strs,
                Read::Texts(&texts[..1], true),
                "[\"ls\", …]",
                "{\"strs\":[\"ls\"],\"cut\":true}",
            ),
            (Type::Void, Read::Bits(7), "void", "null"),
            (Type::Bool, Read::Bits(0x100), "false", "false"),
            (Type::Bool, Read::Bits(1), "true", "true"),
            (Type::Char, Read::Bits(0x61), "'a'", "\"a\""),
            (Type::Char, Read::Bits(0x27), "'\\''", "\"'\""),
            (Type::Char, Read::Bits(0), "'\\x00'", "\"\\u0000\""),
            (Type::F32, Read::Bits(0x3fc0_0000), "1.5", "1.5"),
            (Type::F64, Read::Bits(0x4000_0000_0000_0000), "2", "2.0"),
            (Type::F64, Read::Bits(f64::NAN.to_bits()), "NaN", "\"NaN\""),
            (Type::F32, Read::Bits(0xff80_0000), "-inf", "\"-inf\""),
        ] {
            let (mut out, mut as_json) = (String::new(), String::new());
            value_text(&mut out, ty, value);
            value_json(&mut as_json, ty, value);
            assert_eq!((out.as_str(), as_json.as_str()), (text, json), "{ty:?} {value:?}");
        }
    }

    #[test]
    fn what_has_no_type_is_shown_as_both() {
        for (bits, text) in [
            (0, "0x0 (0)"),
            (0x7fff_ffff, "0x7fffffff (2147483647)"),
            (0xffff_ffff, "0xffffffff (4294967295, as i32 -1)"),
            (u64::MAX, "0xffffffffffffffff (-1)"),
            (0x7f00_0000_1000, "0x7f0000001000 (139637976731648)"),
        ] {
            let mut out = String::new();
            untyped_text(&mut out, Read::Bits(bits));
            assert_eq!(out, text);
        }
        let mut out = String::new();
        untyped_text(&mut out, Read::Unknown(None));
        assert_eq!(out, "?");
    }
}
