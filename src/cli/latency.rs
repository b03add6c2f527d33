//! `xol latency`, and `xol count --summary`: how long calls took.

use super::answers::{Answer, Keys, Places};
use super::asked::{Asked, TABLES, What};
use super::look::Form;
use std::path::PathBuf;
use xol::report::{
    CountRow, Counts, End, Keyed, LatencyRow, Linear, Nested, Shown, Times, latency_csv,
    latency_json, latency_openmetrics, latency_text, summary_csv, summary_json,
    summary_openmetrics, summary_text,
};
use xol::trace::{Counted, HitEvent, Moment};

/// Values that have rows of their own, in all: about 10 MB at most.
const VALUES: usize = 1024;

/// The calls of one place, or of one value there.
#[derive(Default)]
struct Sum {
    times: Times,
    linear: Option<Counts>,
    self_ns: u64,
    unfinished: u64,
    errors: u64,
}

impl Sum {
    fn new(linear: Option<Linear>) -> Sum {
        Sum { linear: linear.map(Counts::new), ..Sum::default() }
    }

    fn row<'a>(
        &'a self,
        at: CountRow<'a>,
        by: Option<(&'a str, Shown<'a>)>,
        own: bool,
    ) -> LatencyRow<'a> {
        LatencyRow {
            at,
            by,
            times: &self.times,
            linear: self.linear.as_ref(),
            self_ns: own.then_some(self.self_ns),
            unfinished: self.unfinished,
            errors: self.errors,
        }
    }
}

#[derive(Default)]
struct Place {
    whole: Option<Sum>,
    by: Keyed<Sum>,
}

/// Makes sums of the ends of calls.
pub(super) struct Latency {
    asked: Asked,
    keys: Option<Keys>,
    places: Places<Place>,
    nested: Nested,
    /// For so many values more.
    room: usize,
}

impl Latency {
    pub(super) fn new(asked: Asked, debug_folders: Vec<PathBuf>) -> Latency {
        let keys = asked.by.clone().map(|by| Keys::new(by, debug_folders));
        let (places, nested) = (Places::new(), Nested::default());
        Latency { asked, keys, places, nested, room: VALUES }
    }
}

impl Answer for Latency {
    fn hit(&mut self, event: &HitEvent<'_>) -> bool {
        if let Some(keys) = &mut self.keys {
            keys.see(event);
        }
        let (call, end) = match event.moment {
            Moment::Begins(call) => {
                if self.asked.own {
                    self.nested.begin(event.tid.0, call);
                }
                return false;
            }
            Moment::Ends(call, end) => (call, end),
            Moment::Hit => return false,
        };
        let own = match self.asked.own {
            true => self.nested.end(event.tid.0, call, event.duration_ns),
            false => None,
        };
        let begin = || Sum::new(self.asked.linear);
        let place = self.places.of(event.row);
        let sum = match &mut self.keys {
            Some(keys) => place.by.of(keys.of(event), &mut self.room, begin),
            None => place.whole.get_or_insert_with(begin),
        };
        match event.duration_ns.filter(|_| end == End::Return) {
            Some(ns) => {
                sum.times.add(ns);
                if let Some(linear) = &mut sum.linear {
                    linear.add(ns);
                }
                sum.self_ns = sum.self_ns.saturating_add(own.unwrap_or(0));
                sum.errors += u64::from(event.failed);
            }
            None => sum.unfinished += 1,
        }
        let slow = |ns| self.asked.slower.is_some_and(|slower| ns >= slower);
        event.duration_ns.is_some_and(slow)
    }

    fn report(
        &mut self,
        out: &mut String,
        rows: &[CountRow<'_>],
        counted: &[Counted],
        format: Form,
    ) {
        let none = Sum::default();
        let own = self.asked.own;
        let name = self.keys.as_ref().map_or("", Keys::name);
        let mut all = Vec::new();
        let places: Vec<CountRow<'_>> =
            rows.iter().map(|&row| CountRow { is_return: false, ..row }).collect();
        for (at, counted) in places.iter().zip(counted) {
            let place = self.places.get(&counted.row);
            let before = all.len();
            if let Some(place) = place {
                all.extend(
                    place.by.iter().map(|(value, sum)| sum.row(*at, Some((name, value)), own)),
                );
            }
            if all.len() == before {
                let whole = place.and_then(|place| place.whole.as_ref());
                all.push(whole.unwrap_or(&none).row(*at, None, own));
            }
        }
        let order = self.asked.order;
        match (format, self.asked.what) {
            (Form::Json, What::Summary) => summary_json(out, &all),
            (Form::Csv, What::Summary) if TABLES => summary_csv(out, &all),
            (Form::OpenMetrics, What::Summary) if TABLES => summary_openmetrics(out, &all),
            (_, What::Summary) => summary_text(out, &all, &places, order),
            (Form::Json, _) => all.iter().for_each(|row| latency_json(out, row)),
            (Form::Csv, _) => latency_csv(out, &all),
            (Form::OpenMetrics, _) => latency_openmetrics(out, &all),
            _ => latency_text(out, &all, &places, order),
        }
    }
}
