//! `xol top`: hits a second, live.

use super::answers::Answer;
use super::look::Form;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;
use xol::report::{CountRow, Order, Rates, SortColumn, rates_json};
use xol::trace::{Counted, HitEvent};
use xol_targets::ptrace::tracer;
use xol_targets::terminal::Terminal;

/// From one screen to the next where the user says nothing, in ns.
const SECOND: u64 = 1_000_000_000;
/// Rows of a block where there is no terminal, unless --top says otherwise.
const ROWS: usize = 20;

/// Where nothing else is known of a terminal.
const USUAL: (usize, usize) = (80, 24);

const KEYS: &str = "; s sorts, p pauses, q quits";

/// Draws the rates once a second.
pub(super) struct Top {
    order: Order,
    rates: Rates,
    terminal: Option<Terminal>,
    /// From one screen to the next, in ns.
    period: u64,
    next_ns: u64,
    paused: bool,
    over: bool,
    /// A key asks for another screen, of the same moment.
    again: bool,
    /// The rates of the last screen.
    last: Vec<u64>,
}

impl Top {
    /// The terminal that reports go to, if they are drawn on one.
    pub(super) fn terminal(to_stdout: bool, plain: bool) -> Option<Terminal> {
        match (plain, to_stdout) {
            (true, _) => None,
            (_, true) => terminal(&io::stdout()),
            (_, false) => terminal(&io::stderr()),
        }
    }

    /// A screen every `period`, or a block of lines.
    pub(super) fn new(order: Order, terminal: Option<Terminal>, period: Option<Duration>) -> Top {
        let now = tracer::now_ns();
        let period = period.and_then(|period| u64::try_from(period.as_nanos()).ok());
        let period = period.unwrap_or(SECOND);
        Top {
            order,
            rates: Rates::new(now),
            terminal,
            period,
            next_ns: now + period,
            paused: false,
            over: false,
            again: false,
            last: Vec::new(),
        }
    }

    fn key(&mut self, key: u8) {
        match key {
            b'q' | b'Q' => self.over = true,
            b'p' | b'P' | b' ' => self.paused = !self.paused,
            b's' | b'S' => {
                self.order.by = match self.order.by {
                    SortColumn::Rate => SortColumn::Hits,
                    SortColumn::Hits => SortColumn::Place,
                    _ => SortColumn::Rate,
                };
            }
            _ => return,
        }
        self.again = true;
    }
}

/// One that keys come from as well.
fn terminal(stream: &(impl AsFd + IsTerminal)) -> Option<Terminal> {
    stream.is_terminal().then(|| Terminal::new(stream).ok()).flatten()
}

impl Answer for Top {
    fn hit(&mut self, _: &HitEvent<'_>) -> bool {
        false
    }

    fn report(&mut self, out: &mut String, rows: &[CountRow<'_>], _: &[Counted], format: Form) {
        let now = tracer::now_ns();
        // At a key the moment stays; rows may have come since.
        if !std::mem::take(&mut self.again) || self.last.len() != rows.len() {
            self.last = self.rates.take(rows, now);
        }
        if format == Form::Json {
            let rows = rows.iter().zip(&self.last);
            rows.for_each(|(row, &rate)| rates_json(out, row, rate, now));
            return;
        }
        let Some(terminal) = &self.terminal else {
            let hit: Vec<(CountRow<'_>, u64)> = rows
                .iter()
                .zip(self.last.iter().copied())
                .filter(|(row, _)| rows.len() <= ROWS || row.hits > 0)
                .map(|(row, rate)| (*row, rate))
                .collect();
            let (rows, rates): (Vec<_>, Vec<_>) = hit.into_iter().unzip();
            let lines = self.order.top.unwrap_or(ROWS) + 2;
            Rates::screen(out, &rows, &rates, self.order, (usize::MAX, lines), "");
            out.push('\n');
            return;
        };
        let (columns, lines) = terminal.size().unwrap_or(USUAL);
        let mut screen = String::new();
        let state = if self.paused { "; paused" } else { KEYS };
        // The last line stays for what xol has to say.
        let size = (columns, lines.saturating_sub(1).max(1));
        Rates::screen(&mut screen, rows, &self.last, self.order, size, state);
        // Home; each line to its end, and what is below, cleared.
        out.push_str("\x1b[H");
        screen.lines().for_each(|line| {
            out.push_str(line);
            out.push_str("\x1b[K\n");
        });
        out.push_str("\x1b[J");
    }

    fn is_due(&mut self) -> bool {
        while let Some(key) = self.terminal.as_mut().and_then(Terminal::key) {
            self.key(key);
        }
        let now = tracer::now_ns();
        if self.paused || now < self.next_ns {
            return self.again && !self.over;
        }
        self.next_ns = (self.next_ns + self.period).max(now + self.period / 2);
        self.again = false;
        true
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
