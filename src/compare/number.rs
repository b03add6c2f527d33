//! Costs, short: three digits, and a unit for a whole column.

use super::Spread;

/// What the numbers of a column are divided by, and what they are called then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) by: f64,
    pub(super) unit: &'static str,
}

impl Scale {
    /// So that a number in the middle of a column has few digits.
    pub(super) fn of(middle: f64, unit: &str) -> Scale {
        let steps: [(f64, &str); 3] = match unit {
            "ns" => [(1.0, "ns"), (1e3, "µs"), (1e6, "ms")],
            _ => [(1.0, "instructions"), (1e3, "1000 instr."), (1e6, "10⁶ instr.")],
        };
        let fits = |(by, _): &&(f64, &str)| middle / by < 2000.0;
        let fits = if unit == "ns" {
            steps.iter().find(|s| middle / s.0 < 500.0)
        } else {
            steps.iter().find(fits)
        };
        let (by, unit) = *fits.unwrap_or(&steps[2]);
        Scale { by, unit }
    }
}

/// Three digits.
pub(super) fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    // Not -0.00.
    if text.bytes().any(|b| b.is_ascii_digit() && b != b'0') { text } else { text.replace('-', "") }
}

/// The median with its range; alone where the range is within a hundredth of it.
pub(super) fn with_range(spread: Spread, scale: Scale) -> String {
    let Spread { mid, low, high } = spread;
    let mid_text = digits(mid / scale.by);
    if high - low <= mid.abs() / 100.0 {
        return mid_text;
    }
    format!("{mid_text} [{}–{}]", digits(low / scale.by), digits(high / scale.by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        for (value, text) in [
            (0.0, "0.00"),
            (-0.001, "0.00"),
            (-0.012, "-0.01"),
            (1.236, "1.24"),
            (9.996, "10.0"),
            (99.96, "100"),
            (22737.4, "22737"),
        ] {
            assert_eq!(digits(value), text);
        }
    }

    #[test]
    fn a_column_has_one_unit() {
        for (middle, unit, scale) in [
            (1.5, "ns", "ns"),
            (3500.0, "ns", "µs"),
            (2.0e7, "ns", "ms"),
            (7.0, "instructions", "instructions"),
            (17_208.0, "instructions", "1000 instr."),
        ] {
            assert_eq!(Scale::of(middle, unit).unit, scale);
        }
    }

    #[test]
    fn a_range_stands_where_there_is_one() {
        let scale = Scale::of(3500.0, "ns");
        let spread = |low, mid, high| Spread { low, mid, high };
        assert_eq!(with_range(spread(3400.0, 3500.0, 3700.0), scale), "3.50 [3.40–3.70]");
        assert_eq!(with_range(spread(3499.0, 3500.0, 3501.0), scale), "3.50");
    }
}
