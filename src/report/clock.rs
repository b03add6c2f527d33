//! What TIME is in a line.

use std::fmt::Write;

/// What TIME counts from.
#[derive(Clone, Copy, Debug)]
pub enum Stamp {
    /// Seconds since this moment of CLOCK_MONOTONIC, in ns: when the run began.
    Since(u64),
    /// Date and time of day: the nanoseconds from the beginning of 1970 to that of CLOCK_MONOTONIC, and
    /// how far local time is ahead of UTC at a moment (both in seconds).
    Wall(u64, fn(i64) -> i64),
    /// Seconds since the line before: when that was.
    Delta(Option<u64>),
}

impl Stamp {
    /// Appends the time of an event.
    pub fn write(&mut self, out: &mut String, ts_ns: u64) {
        let micros = |ns: u64| (ns / 1_000_000_000, ns / 1_000 % 1_000_000);
        match self {
            Stamp::Since(start) => {
                let (secs, micros) = micros(ts_ns.saturating_sub(*start));
                seconds(out, secs, micros);
            }
            Stamp::Delta(before) => {
                // A line that is shown late is about an earlier moment than the one before.
                let since = ts_ns.saturating_sub(before.unwrap_or(ts_ns));
                *before = Some(before.map_or(ts_ns, |before| before.max(ts_ns)));
                let (secs, micros) = micros(since);
                seconds(out, secs, micros);
            }
            Stamp::Wall(offset, zone) => {
                let (secs, micros) = micros(ts_ns.saturating_add(*offset));
                let ahead = zone(secs.cast_signed());
                let secs = secs.saturating_add_signed(ahead);
                let (days, of_day) = (secs / 86_400, secs % 86_400);
                let (year, month, day) = date(days);
                let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
                let _ = write!(
                    out,
                    "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}"
                );
                let (sign, minutes) = (if ahead < 0 { '-' } else { '+' }, ahead.abs() / 60);
                let _ = match minutes {
                    0 => write!(out, "Z"),
                    _ => write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60),
                };
            }
        }
    }
}

fn seconds(out: &mut String, secs: u64, micros: u64) {
    padded(out, secs, 5, ' ');
    out.push('.');
    padded(out, micros, 6, '0');
}

/// Appends a number with so many characters at least, `with` in front of its digits.
pub(super) fn padded(out: &mut String, number: impl itoa::Integer, width: usize, with: char) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    (digits.len()..width).for_each(|_| out.push(with));
    out.push_str(digits);
}

/// Year, month and day that are so many days after the first of January 1970.
fn date(days: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the day that comes every four of them.
    let from_0 = days + 719_468;
    let (era, of_era) = (from_0 / 146_097, from_0 % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        // Counted day by day.
        let (mut year, mut month, mut day) = (1970_u64, 1_u64, 1_u64);
        for days in 0..200_000 {
            assert_eq!(date(days), (year, month, day), "{days}");
            let leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn times_are_written() {
        let written = |stamp: &mut Stamp, ns| {
            let mut out = String::new();
            stamp.write(&mut out, ns);
            out
        };
        assert_eq!(written(&mut Stamp::Since(1_000), 2_500_001_000), "    2.500000");
        // date -u -d @1764430000
        for (zone, shown) in [
            ((|_| 0) as fn(i64) -> i64, "2025-11-29T15:26:40.123456Z"),
            (|_| 19_800, "2025-11-29T20:56:40.123456+05:30"),
            (|_| -36_000, "2025-11-29T05:26:40.123456-10:00"),
            (|at| if at == 1_764_430_000 { 36_000 } else { 0 }, "2025-11-30T01:26:40.123456+10:00"),
        ] {
            let mut wall = Stamp::Wall(1_764_430_000_000_000_000, zone);
            assert_eq!(written(&mut wall, 123_456_789), shown);
        }
        let mut delta = Stamp::Delta(None);
        let all = [5_000, 7_000, 6_000, 9_000].map(|ns| written(&mut delta, ns));
        assert_eq!(all, ["    0.000000", "    0.000002", "    0.000000", "    0.000002"]);
    }
}
