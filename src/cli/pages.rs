//! Where events are written: one report, or one for each process.

use super::failure::Failure;
use super::look::{Clock, Form, Look};
use super::output::{Output, Report};
use std::collections::BTreeMap;
use std::path::PathBuf;
use xol::report::{Chrome, Event, Lines, Stamp, event_csv, event_json, fields_csv};
use xol::trace::Moment;

/// Reports of events.
pub(super) struct Pages {
    look: Look,
    report: Report,
    clock: Clock,
    /// The report; without one, each process has its own.
    one: Option<Page>,
    each: BTreeMap<i32, Page>,
}

impl Pages {
    /// Opens the report, of events or of counts.
    pub(super) fn new(
        look: Look,
        report: Report,
        events: bool,
        clock: Clock,
    ) -> Result<Pages, Failure> {
        // Counts are written as a text.
        let form = if events { look.form } else { Form::Text };
        let look = Look { form, each: look.each && events, ..look };
        let one = if look.each { None } else { Some(Page::new(&look, &report, clock, None)?) };
        Ok(Pages { look, report, clock, one, each: BTreeMap::new() })
    }

    /// Writes an event.
    pub(super) fn event(&mut self, moment: Moment, event: &Event<'_>) -> Result<(), Failure> {
        let fields = &self.look.fields;
        if let Some(page) = &mut self.one {
            return page.event(moment, event, fields);
        }
        let page = match self.each.entry(event.pid) {
            std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
            std::collections::btree_map::Entry::Vacant(room) => {
                let mut path = self.report.to.clone().unwrap_or_default().into_os_string();
                path.push(format!(".{}", event.pid));
                let path = Some(PathBuf::from(path));
                room.insert(Page::new(&self.look, &self.report, self.clock, path)?)
            }
        };
        page.event(moment, event, fields)
    }

    /// Writes what is no event.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.one {
            Some(page) => page.output.write(text).and_then(|()| page.output.flush()),
            None => Ok(()),
        }
    }

    /// Shows the calls that go on for long at `now_ns`.
    pub(super) fn tick(&mut self, now_ns: u64) -> Result<(), Failure> {
        self.all().try_for_each(|page| page.tick(now_ns))
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.all().try_for_each(|page| page.output.flush())
    }

    /// Ends the reports.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.one.into_iter().chain(self.each.into_values()).try_for_each(Page::finish)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Page> {
        self.one.iter_mut().chain(self.each.values_mut())
    }
}

/// One report.
struct Page {
    output: Output,
    writer: Writer,
    text: String,
    /// What is to be written at its end.
    ending: &'static str,
    /// The date and time of day of events, if that was asked for, and room for one.
    stamp: Option<Stamp>,
    time: String,
}

enum Writer {
    Lines(Lines),
    Json,
    Csv,
    Chrome(Chrome),
}

impl Page {
    fn new(
        look: &Look,
        report: &Report,
        clock: Clock,
        path: Option<PathBuf>,
    ) -> Result<Page, Failure> {
        let ending = if look.form == Form::Chrome { Chrome::END } else { "" };
        let (mut output, is_ended) = match &path {
            Some(path) => (Output::reopened(path, ending)?, true),
            None if ending.is_empty() => (Output::stderr(report)?, true),
            None => Output::ended(report, ending)?,
        };
        let mut text = String::new();
        let writer = match look.form {
            Form::Text | Form::OpenMetrics | Form::Record => {
                Writer::Lines(Lines::new(look.lines(clock, report)))
            }
            Form::Json => Writer::Json,
            Form::Csv => {
                fields_csv(&mut text, &look.fields);
                Writer::Csv
            }
            Form::Chrome => {
                text.push_str(Chrome::BEGIN);
                Writer::Chrome(Chrome::default())
            }
        };
        if !text.is_empty() {
            output.write(&text)?;
            output.flush()?;
        }
        let (stamp, time) = (look.stamp(clock), String::new());
        Ok(Page { output, writer, text, ending: if is_ended { "" } else { ending }, stamp, time })
    }

    fn event(
        &mut self,
        moment: Moment,
        event: &Event<'_>,
        fields: &[xol::report::Field],
    ) -> Result<(), Failure> {
        let text = &mut self.text;
        text.clear();
        let mut timed = *event;
        if let Some(stamp) = &mut self.stamp {
            self.time.clear();
            stamp.write(&mut self.time, event.ts_ns);
            timed.time = Some(&self.time);
        }
        let event = &timed;
        match (&mut self.writer, moment) {
            (Writer::Lines(lines), Moment::Begins(call)) => lines.begin(text, call, event),
            (Writer::Lines(lines), Moment::Ends(call, _)) => lines.end(text, call, event),
            (Writer::Lines(lines), Moment::Hit) => lines.hit(text, event),
            (Writer::Chrome(chrome), Moment::Begins(call)) => chrome.begin(call, event),
            (Writer::Chrome(chrome), Moment::Ends(call, _)) => chrome.end(text, call, event),
            (Writer::Chrome(chrome), Moment::Hit) => chrome.hit(text, event),
            (Writer::Json | Writer::Csv, Moment::Begins(_)) => {}
            (Writer::Json, _) => event_json(text, event),
            (Writer::Csv, _) => event_csv(text, fields, event),
        }
        self.output.write(text)
    }

    fn tick(&mut self, now_ns: u64) -> Result<(), Failure> {
        if let Writer::Lines(lines) = &mut self.writer {
            self.text.clear();
            lines.tick(&mut self.text, now_ns);
            self.output.write(&self.text)?;
        }
        self.output.flush()
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.output.write(self.ending)?;
        self.output.finish()
    }
}
