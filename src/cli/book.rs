//! Where events go: to lines or into a recording, at once or, with `--last`, the newest of them at the
//! end.

use super::failure::Failure;
use super::look::{Clock, Form, Look};
use super::output::Report;
use super::pages::Pages;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use xol::record::{Gaps, Newest, Probed, Record, Recorded, Recorder};
use xol::report::{Event, Read};
use xol::spec::{Signature, Type};
use xol::trace::{Moment, Row, Value};
use xol_targets::ptrace::tracer;

/// What is told of events, and where.
pub(super) struct Book {
    pages: Option<Pages>,
    tapes: Vec<Tape>,
    newest: Option<Newest>,
    probes: Vec<String>,
}

/// A recording, and the name of its file.
struct Tape {
    recorder: Recorder<Box<dyn Write>>,
    name: String,
}

impl Tape {
    fn new(to: Box<dyn Write>, name: String, run: &Recorded) -> Result<Tape, Failure> {
        match Recorder::new(to, run) {
            Ok(recorder) => Ok(Tape { recorder, name }),
            Err(error) => Err(Failure::writing(&name, &error)),
        }
    }

    fn file(path: &Path, run: &Recorded) -> Result<Tape, Failure> {
        let name = path.display().to_string();
        let file =
            File::create(path).map_err(|e| Failure::new(format!("cannot write to {name}: {e}")))?;
        Tape::new(Box::new(file), name, run)
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Recorder<Box<dyn Write>>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        write(&mut self.recorder).map_err(|error| Failure::writing(&self.name, &error))
    }
}

/// What a row is called, in lines.
struct Called<'a> {
    probe: usize,
    object: &'a str,
    symbol: &'a str,
    offset: u64,
    vaddr: u64,
    signature: Option<&'a Signature>,
}

impl<'a> From<&'a Row> for Called<'a> {
    fn from(row: &'a Row) -> Called<'a> {
        Called {
            probe: row.probe,
            object: &row.object,
            symbol: &row.symbol,
            offset: row.offset,
            vaddr: row.addr,
            signature: row.signature.as_deref(),
        }
    }
}

impl<'a> From<&'a Probed> for Called<'a> {
    fn from(row: &'a Probed) -> Called<'a> {
        Called {
            probe: row.probe,
            object: &row.object,
            symbol: &row.symbol,
            offset: row.offset,
            vaddr: row.vaddr,
            signature: row.signature.as_ref(),
        }
    }
}

impl Book {
    /// Opens what the report asks for, of events or of counts.
    pub(super) fn new(
        look: Look,
        report: Report,
        events: bool,
        run: Recorded,
    ) -> Result<Book, Failure> {
        let clock = Clock { start_ns: run.start_ns, wall_ns: run.wall_ns };
        let mut tapes = Vec::new();
        if let Some(path) = look.too.as_ref().filter(|_| events) {
            tapes.push(Tape::file(path, &run)?);
        }
        let newest = look.last.filter(|_| events).map(Newest::new);
        let pages = match (&report.to, look.form) {
            (Some(path), Form::Record) if events && path.as_os_str() != "-" => {
                tapes.push(Tape::file(path, &run)?);
                None
            }
            (Some(_), Form::Record) if events => {
                if io::stdout().is_terminal() {
                    return Err(Failure::usage(
                        "a recording is nothing for a terminal: give it a file with -o FILE",
                    ));
                }
                let to = BufWriter::with_capacity(1 << 17, io::stdout());
                tapes.push(Tape::new(Box::new(to), "stdout".to_owned(), &run)?);
                None
            }
            _ => Some(Pages::new(look, report, events, clock)?),
        };
        Ok(Book { pages, tapes, newest, probes: run.probes })
    }

    /// Takes an event of a run.
    pub(super) fn event(&mut self, record: &Record<'_>, row: &Row) -> Result<(), Failure> {
        if let Some(newest) = &mut self.newest {
            newest.event(record, || row.into());
            return Ok(());
        }
        for tape in &mut self.tapes {
            tape.write(|recorder| recorder.event(record, || row.into()))?;
        }
        match &mut self.pages {
            Some(pages) => line(pages, &self.probes, record, &row.into()),
            None => Ok(()),
        }
    }

    /// The same of an event of a recording.
    #[cfg(feature = "show")]
    pub(super) fn again(&mut self, record: &Record<'_>, row: &Probed) -> Result<(), Failure> {
        if let Some(newest) = &mut self.newest {
            newest.event(record, || row.clone());
            return Ok(());
        }
        self.tell(record, row)
    }

    fn tell(&mut self, record: &Record<'_>, row: &Probed) -> Result<(), Failure> {
        for tape in &mut self.tapes {
            tape.write(|recorder| recorder.event(record, || row.clone()))?;
        }
        match &mut self.pages {
            Some(pages) => line(pages, &self.probes, record, &row.into()),
            None => Ok(()),
        }
    }

    /// Tells of the newest events, where these wait to be told.
    fn tell_newest(&mut self) -> Result<(), Failure> {
        let Some(mut newest) = self.newest.take() else { return Ok(()) };
        let told = newest.tell(&mut |record, row| self.tell(record, row));
        self.newest = Some(newest);
        told
    }

    /// Somebody wants to see what is there by now.
    pub(super) fn asked(&mut self) -> Result<(), Failure> {
        self.tell_newest()?;
        self.pause(u64::MAX)
    }

    /// Writes what is no event; whether there is a report that has it.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.pages.as_mut().map_or(Ok(()), |pages| pages.text(text))
    }

    /// Nothing happens for a moment: what is there is written, and calls that go on for long shown.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        self.pause(tracer::now_ns())
    }

    /// The same at that time.
    pub(super) fn pause(&mut self, now_ns: u64) -> Result<(), Failure> {
        for tape in &mut self.tapes {
            tape.write(|recorder| recorder.tick(now_ns))?;
        }
        self.pages.as_mut().map_or(Ok(()), |pages| pages.tick(now_ns))
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        for tape in &mut self.tapes {
            tape.write(Recorder::flush)?;
        }
        self.pages.as_mut().map_or(Ok(()), Pages::flush)
    }

    /// Ends all reports.
    pub(super) fn finish(mut self, gaps: &Gaps) -> Result<(), Failure> {
        self.tell_newest()?;
        for Tape { recorder, name } in self.tapes {
            recorder.finish(gaps).map_err(|error| Failure::writing(&name, &error))?;
        }
        self.pages.map_or(Ok(()), Pages::finish)
    }
}

/// Arguments that need no memory of their own.
const FEW: usize = 8;

/// Writes an event as a line.
fn line(
    pages: &mut Pages,
    probes: &[String],
    record: &Record<'_>,
    called: &Called<'_>,
) -> Result<(), Failure> {
    let known = called.signature.filter(|signature| !signature.open);
    let mut few = [("", Type::Void, Read::Unknown(None)); FEW];
    let mut many = Vec::new();
    let args = known.map(|signature| {
        let named = signature.args.iter().zip(record.args);
        let named = named.map(|(arg, value)| (arg.name.as_str(), arg.ty, read(value)));
        if signature.args.len() > FEW {
            many.extend(named);
            return &many[..];
        }
        let mut len = 0;
        for (room, arg) in few.iter_mut().zip(named) {
            *room = arg;
            len += 1;
        }
        &few[..len]
    });
    let ty = called.signature.and_then(|signature| signature.ret);
    let event = Event {
        ts_ns: record.ts_ns,
        pid: record.pid,
        tid: record.tid,
        comm: record.comm,
        probe: probes.get(called.probe).map_or("", |probe| probe),
        object: called.object,
        symbol: called.symbol,
        offset: called.offset,
        vaddr: called.vaddr,
        addr: record.addr,
        time: None,
        args,
        out: known.map_or(0, |signature| {
            let out = signature.args.iter().take(64).enumerate().filter(|(_, arg)| arg.out);
            out.fold(0, |bits, (n, _)| bits | 1 << n)
        }),
        end: match record.moment {
            Moment::Ends(_, end) => Some(end),
            _ => None,
        },
        ret: record.ret.map(|value| (ty, read(value))),
        errno: record.errno,
        duration_ns: record.duration_ns,
    };
    pages.event(record.moment, &event)
}

/// A value as reports take it.
pub(super) fn read(value: &Value) -> Read<'_> {
    match value {
        Value::Bits(bits) => Read::Bits(*bits),
        Value::File(bits, file) => Read::File(*bits, file),
        Value::Text(text, more) => Read::Text(text, *more),
        Value::Texts(texts, more) => Read::Texts(texts, *more),
        Value::Bad(at) => Read::Bad(*at),
        Value::Unknown(at) => Read::Unknown(*at),
    }
}
