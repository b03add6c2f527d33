//! Numbers in a filter: integers, floats, characters, times.

use super::SpecError;
use std::ops::Range;

/// A number, and how it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: Written,
    pub(super) at: Range<usize>,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Written {
    /// An integer, a character, true, false, NULL.
    Whole(i128),
    /// An integer in hexadecimal: bits.
    Hex(i128),
    /// With a point or an exponent.
    Float(f64),
    /// A time in nanoseconds.
    Time(i128),
}

impl Number {
    pub(super) const fn whole(value: i128, at: Range<usize>) -> Number {
        Number { value: Written::Whole(value), at }
    }
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// What is said of a time without a unit, wherever one is written.
pub(super) const NO_UNIT: &str = "a time is written with its unit: ns, us, ms or s";

const UNITS: [(&str, i128); 5] =
    [("ns", 1), ("us", 1_000), ("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// The number that `text` has at `start`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn number(text: &str, start: usize) -> Result<Number, SpecError> {
    let rest = &text[start..];
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.chars();
        let at = |len: usize| start..start + len;
        return match (chars.next().filter(char::is_ascii), chars.next()) {
            (Some(c), Some('\'')) => Ok(Number::whole((c as u8).into(), at(3))),
            (c, _) => {
                let error = SpecError::new(text, at(1 + usize::from(c.is_some())), CHARACTER);
                Err(error)
            }
        };
    }
    let minus = rest.starts_with('-');
    let from = start + usize::from(minus);
    let end = from + len_of(&text[from..]);
    let (word, at) = (&text[from..end], start..end);
    let sign = if minus { -1 } else { 1 };
    let value = match word {
        "" => {
            let next = text[from..].chars().next().map_or(0, char::len_utf8);
            let error = SpecError::new(text, from..from + next, "a number is missing");
            return Err(error.hint("12, -1, 0x1f, 2.5, 10ms, 'x', true, false or NULL"));
        }
        "true" => Written::Whole(1),
        "false" | "NULL" => Written::Whole(0),
        _ => {
            let value = match word.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16)
                    .map(|value| Written::Hex(sign * i128::from(value)))
                    .map_err(|_| None),
                None => decimal(word, minus),
            };
            value.map_err(|why| match why {
                Some(why) => SpecError::new(text, at.clone(), why),
                None => {
                    let what = format!("'{word}' is not a number");
                    let hint = "a name stands left of what it is compared with";
                    SpecError::new(text, at.clone(), what).hint(hint)
                }
            })?
        }
    };
    Ok(Number { value, at })
}

const CHARACTER: &str = "a character is written like 'x'";

/// Reads a time of the command line, in ns: written as in a filter, with its unit; or 0.
///
/// # Errors
/// What is wrong with it.
pub fn time(text: &str) -> Result<u64, String> {
    let read = number(text, 0).ok().filter(|number| number.at.end == text.len());
    match read.filter(|_| text.starts_with(|c: char| c.is_ascii_digit())).map(|read| read.value) {
        Some(Written::Time(ns)) => Ok(ns as u64),
        Some(Written::Whole(0)) => Ok(0),
        Some(Written::Whole(_) | Written::Float(_)) => Err(NO_UNIT.to_owned()),
        _ => Err(format!("'{text}' is no time; try 100ns, 20us, 10ms or 1.5s")),
    }
}

/// How long a number is: a word, with a fraction and an exponent's sign in it.
fn len_of(text: &str) -> usize {
    let word =
        |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut len = word(text);
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.starts_with("0x") {
        return len;
    }
    let digit = |text: &str, at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    if text[len..].starts_with('.') && digit(text, len + 1) {
        len += 1 + word(&text[len + 1..]);
    }
    if text[..len].ends_with(['e', 'E'])
        && text[len..].starts_with(['+', '-'])
        && digit(text, len + 1)
    {
        len += 1 + word(&text[len + 1..]);
    }
    len
}

/// A decimal number, perhaps with a fraction, an exponent and a unit; or why it is none. Not through
/// the standard library's reading of floats, which is 15 KB of a board's binary: fewer digits are
/// read, and those exactly.
fn decimal(word: &str, minus: bool) -> Result<Written, Option<&'static str>> {
    let sign = if minus { -1 } else { 1 };
    let (mantissa, mut exponent, rest) = digits(word)?;
    let mut plain = !word[..word.len() - rest.len()].contains('.');
    let mut unit = rest;
    if let Some(power) = rest.strip_prefix(['e', 'E']) {
        let len = power.find(|c: char| !c.is_ascii_digit() && !"+-".contains(c));
        let (power, behind) = power.split_at(len.unwrap_or(power.len()));
        exponent += i32::from(power.parse::<i16>().map_err(|_| None)?);
        (unit, plain) = (behind, false);
    }
    const LONG: &str = "this number has more digits than are read";
    if unit.is_empty() && plain {
        return Ok(Written::Whole(sign * mantissa));
    }
    if unit.is_empty() {
        // Both are exact, so that the quotient or product is rounded once.
        let exact = mantissa <= 1 << 53 && exponent.unsigned_abs() < POWERS.len() as u32;
        let power = POWERS.get(exponent.unsigned_abs() as usize).filter(|_| exact).ok_or(LONG)?;
        let value = mantissa as f64;
        let value = if exponent < 0 { value / power } else { value * power };
        return Ok(Written::Float(if minus { -value } else { value }));
    }
    let Some((_, each)) = UNITS.iter().find(|(name, _)| *name == unit) else { return Err(None) };
    let power = 10_i128.checked_pow(exponent.unsigned_abs()).ok_or(LONG)?;
    let times = mantissa.checked_mul(*each).ok_or(LONG)?;
    let ns = match exponent {
        0.. => times.checked_mul(power).ok_or(LONG)?,
        _ if times % power == 0 => times / power,
        _ => return Err(Some("a time is a whole number of nanoseconds")),
    };
    if ns > i128::from(u64::MAX) {
        return Err(Some(LONG));
    }
    Ok(Written::Time(sign * ns))
}

/// The digits before and behind a point as one number, the power of ten that they are to be
/// multiplied by, and what follows.
fn digits(word: &str) -> Result<(i128, i32, &str), Option<&'static str>> {
    let mut value: u64 = 0;
    let mut exponent = 0;
    let mut point = false;
    for (at, c) in word.char_indices() {
        match c {
            '0'..='9' => {
                let digit = u64::from(c as u8 - b'0');
                let next = value.checked_mul(10).and_then(|v| v.checked_add(digit));
                value = next.ok_or(None)?;
                exponent -= i32::from(point);
            }
            '.' => point = true,
            _ if at == 0 => return Err(None),
            _ => return Ok((value.into(), exponent, &word[at..])),
        }
    }
    Ok((value.into(), exponent, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Written, String> {
        let number = number(text, 0).map_err(|error| error.what)?;
        assert_eq!(number.at, 0..text.len(), "{text}");
        Ok(number.value)
    }

    #[test]
    fn numbers_are_what_they_say() {
        for (text, value) in [
            ("12", Written::Whole(12)),
            ("-1", Written::Whole(-1)),
            ("18446744073709551615", Written::Whole(u64::MAX.into())),
            ("0x1f", Written::Hex(31)),
            ("-0x1f", Written::Hex(-31)),
            ("'x'", Written::Whole(120)),
            ("true", Written::Whole(1)),
            ("NULL", Written::Whole(0)),
            ("10ms", Written::Time(10_000_000)),
            ("1.5us", Written::Time(1500)),
            ("1e3ns", Written::Time(1000)),
            ("2µs", Written::Time(2000)),
            ("0.000000001s", Written::Time(1)),
        ] {
            assert_eq!(read(text), Ok(value), "{text}");
        }
        for (text, what) in [
            ("1.5ns", "a time is a whole number of nanoseconds"),
            ("18446744073709551616", "'18446744073709551616' is not a number"),
            ("0x1fffffffffffffffff", "'0x1fffffffffffffffff' is not a number"),
            ("12min", "'12min' is not a number"),
            ("1.2.3", "'1.2' is not a number"),
            ("1e", "'1e' is not a number"),
            ("1e23", "this number has more digits than are read"),
            ("9007199254740993.0", "this number has more digits than are read"),
            ("'ab'", CHARACTER),
        ] {
            // What follows a whole number is looked at by the reader.
            if let Err(said) = read_loosely(text) {
                assert_eq!(said, what, "{text}");
            } else {
                assert_eq!(text, "1.2.3");
            }
        }
    }

    fn read_loosely(text: &str) -> Result<Written, String> {
        number(text, 0).map(|number| number.value).map_err(|error| error.what)
    }

    /// The standard library reads floats rightly.
    #[test]
    fn floats_are_the_nearest() {
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..20_000 {
            let (whole, part) = (next(1 << 20), next(1_000_000));
            let text = match next(3) {
                0 => format!("{whole}.{part}"),
                1 => format!("{whole}.{part:06}e{}", next(10)),
                _ => format!("{whole}e-{}", next(22)),
            };
            let expected: f64 = text.parse().expect("a float");
            assert_eq!(read(&text), Ok(Written::Float(expected)), "{text}");
        }
    }
}
