//! `xol count --by` and `--hist`.

use super::answers::{Answer, Keys, Places, value};
use super::asked::{Asked, By, TABLES};
use super::look::Form;
use std::path::PathBuf;
use xol::report::{
    ByRow, CountRow, End, Keyed, Powers, Read, Shown, by_csv, by_json, by_openmetrics, by_text,
};
use xol::spec::Type;
use xol::trace::{Counted, HitEvent, Moment};

/// Values that have rows of their own, in all.
const VALUES: usize = 1 << 14;

#[derive(Default)]
struct Sum {
    hits: u64,
    powers: Powers,
}

impl Sum {
    fn row<'a>(
        &'a self,
        at: CountRow<'a>,
        by: Option<(&'a str, Shown<'a>)>,
        hist: Option<&'a str>,
    ) -> ByRow<'a> {
        let hist = hist.map(|name| (name, &self.powers));
        ByRow { at: CountRow { hits: self.hits, ..at }, by, hist }
    }
}

#[derive(Default)]
struct Place {
    whole: Sum,
    by: Keyed<Sum>,
}

/// Counts hits by their values.
pub(super) struct Values {
    asked: Asked,
    keys: Option<Keys>,
    places: Places<Place>,
    room: usize,
}

impl Values {
    pub(super) fn new(asked: Asked, debug_folders: Vec<PathBuf>) -> Values {
        let keys = asked.by.clone().map(|by| Keys::new(by, debug_folders));
        Values { asked, keys, places: Places::new(), room: VALUES }
    }

    /// Whether calls are counted when they begin: the caller is known then.
    fn at_begin(&self) -> bool {
        self.asked.by == Some(By::Caller) && self.asked.hist != Some(By::Ret)
    }
}

/// A whole number as its type says.
fn whole(ty: Option<Type>, value: Read<'_>) -> Option<i128> {
    let Read::Bits(bits) = value else { return None };
    Some(match ty {
        Some(Type::Named(names)) => return whole(Some(names.base()), value),
        Some(Type::I8) => i128::from(bits as i8),
        Some(Type::I16) => i128::from(bits as i16),
        Some(Type::I32 | Type::Fd) => i128::from(bits as i32),
        Some(Type::U8 | Type::Char) => i128::from(bits as u8),
        Some(Type::Bool) => i128::from(bits as u8 != 0),
        Some(Type::U16) => i128::from(bits as u16),
        Some(Type::U32) => i128::from(bits as u32),
        Some(Type::U64 | Type::Hex | Type::Ptr) => i128::from(bits),
        // Whether it has a sign is not known: as reports show it.
        Some(Type::I64) | None => i128::from(bits.cast_signed()),
        Some(Type::Str | Type::Bytes | Type::Strs | Type::F32 | Type::F64 | Type::Void) => {
            return None;
        }
    })
}

impl Answer for Values {
    fn hit(&mut self, event: &HitEvent<'_>) -> bool {
        if let Some(keys) = &mut self.keys {
            keys.see(event);
        }
        let counts = match event.moment {
            Moment::Hit => true,
            Moment::Begins(_) => self.at_begin(),
            Moment::Ends(_, end) => end == End::Return && !self.at_begin(),
        };
        if !counts {
            return false;
        }
        let place = self.places.of(event.row);
        let sum = match &mut self.keys {
            Some(keys) => place.by.of(keys.of(event), &mut self.room, Sum::default),
            None => &mut place.whole,
        };
        sum.hits += 1;
        if let Some(hist) = &self.asked.hist
            && let Some(n) = value(hist, event).and_then(|(ty, value)| whole(ty, value))
        {
            sum.powers.add(n);
        }
        false
    }

    fn report(
        &mut self,
        out: &mut String,
        rows: &[CountRow<'_>],
        counted: &[Counted],
        format: Form,
    ) {
        let none = Sum::default();
        let by = self.keys.as_ref().map(Keys::name);
        let hist = self.asked.hist.as_ref().map(By::name);
        let mut all = Vec::new();
        let begin = self.at_begin();
        let places: Vec<CountRow<'_>> = rows
            .iter()
            .map(|&row| CountRow { is_return: row.is_return && !begin, ..row })
            .collect();
        for (at, counted) in places.iter().zip(counted) {
            let place = self.places.get(&counted.row);
            let before = all.len();
            if let (Some(name), Some(place)) = (by, place) {
                all.extend(
                    place.by.iter().map(|(value, sum)| sum.row(*at, Some((name, value)), hist)),
                );
            }
            if all.len() == before {
                all.push(place.map_or(&none, |place| &place.whole).row(*at, None, hist));
            }
        }
        match format {
            Form::Json => all.iter().for_each(|row| by_json(out, row)),
            Form::Csv if TABLES => by_csv(out, &all),
            Form::OpenMetrics if TABLES => by_openmetrics(out, &all, &places),
            _ => by_text(out, &all, &places, self.asked.order),
        }
    }
}
