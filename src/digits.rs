//! Numbers as decimal digits, without the machinery of formatting: a line has a dozen of them.

/// Two digits each, of 0 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + n as u8 / 10, b'0' + n as u8 % 10];
        n += 1;
    }
    pairs
};

/// The most that a number has.
const MOST: usize = 20;

/// Appends a number.
#[inline]
pub(crate) fn unsigned(out: &mut String, number: u64) {
    padded(out, number, 1, b'0');
}

/// Appends a number with its sign.
#[inline]
pub(crate) fn signed(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    unsigned(out, number.unsigned_abs());
}

/// Appends a number with so many characters at least, at most twenty: `with` in front of the digits.
pub(crate) fn padded(out: &mut String, mut number: u64, width: usize, with: u8) {
    let mut digits = [with; MOST];
    let mut at = MOST;
    while number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number > 0 || at == MOST {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    let at = at.min(MOST - width.min(MOST));
    out.push_str(str::from_utf8(&digits[at..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_formatting() {
        let powers = (0..20).flat_map(|n| [10_u64.pow(n) - 1, 10_u64.pow(n), 10_u64.pow(n) + 1]);
        for number in powers.chain([7, 42, 101, 1 << 63, u64::MAX]) {
            let mut out = String::new();
            unsigned(&mut out, number);
            out.push(' ');
            signed(&mut out, number.cast_signed());
            out.push(' ');
            padded(&mut out, number, 6, b'0');
            out.push(' ');
            padded(&mut out, number, 7, b' ');
            assert_eq!(out, format!("{number} {} {number:06} {number:>7}", number.cast_signed()));
        }
    }
}
