//! Signals that wait for their turn, and come with all that they were sent with.
//!
//! The signal that finds a thread in a copy is held, and delivered with its own siginfo where the
//! copy has run. Others that come meanwhile wait here, as do those that have to come once more. The
//! kernel delivers a signal only from a stop for one, and another process cannot send one with a code
//! of the kernel's. So a *placeholder* of the same number is sent for each: when one is about to be
//! delivered, the oldest that waits goes in its place. If what came was none, that waits behind the
//! others: order, number and content are what they were.
//!
//! As in the kernel, a signal that is not a real-time one waits once. A timer that expires
//! meanwhile adds to the overrun.

use xol_targets::ptrace::SigInfo;

/// The first real-time signal of the kernel.
const REAL_TIME: i32 = 32;

/// What waits, of one thread.
#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Later {
    /// The oldest first.
    waiting: Vec<One>,
}

/// One signal that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) struct One {
    pub(in crate::trace) info: SigInfo,
    /// Whether the action that it meets was seen to.
    pub(in crate::trace) settled: bool,
    /// Whether a placeholder is on its way, of this one or of an older one that was delivered.
    sent: bool,
}

/// What becomes of a signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Comes {
    /// This one is to be delivered.
    Now(One),
    /// Nothing: it stood for one that is gone, or waits.
    Nothing,
}

impl One {
    fn new(info: SigInfo, settled: bool) -> One {
        One { info, settled, sent: false }
    }
}

impl Later {
    pub(in crate::trace) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A signal waits behind the others.
    pub(in crate::trace) fn add(&mut self, info: SigInfo, settled: bool) {
        if info.is_placeholder() {
            return;
        }
        let signal = info.signal();
        let same = |one: &&mut One| one.info.signal() == signal;
        if signal < REAL_TIME
            && let Some(earlier) = self.waiting.iter_mut().find(same)
        {
            earlier.info.add_overrun(&info);
            return;
        }
        self.waiting.push(One::new(info, settled));
    }

    /// A signal that came before all of them waits after all.
    pub(in crate::trace) fn add_first(&mut self, info: SigInfo, settled: bool) {
        if info.is_placeholder() {
            return;
        }
        let signal = info.signal();
        self.waiting.retain(|one| signal >= REAL_TIME || one.info.signal() != signal);
        self.waiting.insert(0, One::new(info, settled));
    }

    /// A signal is about to be delivered: what is, in its place. While one is `held` for a copy,
    /// all wait.
    pub(in crate::trace) fn comes(&mut self, info: SigInfo, held: bool) -> Comes {
        let signal = info.signal();
        let of_kind = |one: &One| one.info.signal() == signal;
        if held {
            // Its placeholder is used up. Of the signals that are not real-time ones there is one in
            // the kernel: it was not queued, if it was sent.
            if let Some(one) = self.waiting.iter_mut().find(|one| of_kind(one) && one.sent) {
                one.sent = !info.is_placeholder() && signal >= REAL_TIME;
            }
            self.add(info, false);
            return Comes::Nothing;
        }
        let Some(oldest) = self.waiting.iter().position(of_kind) else {
            return match info.is_placeholder() {
                true => Comes::Nothing,
                false => Comes::Now(One::new(info, false)),
            };
        };
        let one = self.waiting.remove(oldest);
        if !info.is_placeholder() {
            // What stood for the one stands for the other.
            let sent = one.sent && signal >= REAL_TIME;
            self.waiting.push(One { sent, ..One::new(info, false) });
        } else if !one.sent
            && let Some(other) = self.waiting.iter_mut().find(|one| of_kind(one) && one.sent)
        {
            other.sent = false;
        }
        Comes::Now(One { sent: false, ..one })
    }

    /// One that a placeholder is to be sent for now, if any; it is taken for sent.
    pub(in crate::trace) fn next(&mut self) -> Option<SigInfo> {
        let one = self.waiting.iter_mut().find(|one| !one.sent)?;
        one.sent = true;
        Some(one.info)
    }

    /// All that no placeholder stands for; nothing waits any more.
    pub(in crate::trace) fn take_unsent(&mut self) -> Vec<SigInfo> {
        let all = std::mem::take(&mut self.waiting).into_iter();
        all.filter(|one| !one.sent).map(|one| one.info).collect()
    }

    /// The last one could not be sent.
    pub(in crate::trace) fn not_sent(&mut self, signal: i32) {
        let last = self.waiting.iter_mut().rfind(|one| one.sent && one.info.signal() == signal);
        last.into_iter().for_each(|one| one.sent = false);
    }

    /// Takes away what waits of these signals: SIGCONT undoes stops, and they undo it.
    pub(in crate::trace) fn cancel(&mut self, signals: &[i32]) {
        self.waiting.retain(|one| !signals.contains(&one.info.signal()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xol_arch::Addr;

    /// A signal number with a value, as another process or a timer sends it.
    fn signal(number: i32, value: u64) -> SigInfo {
        SigInfo::new(number, -2, Addr(value))
    }

    /// The kernel's queue of one thread.
    #[derive(Default)]
    struct Kernel(Vec<SigInfo>);

    impl Kernel {
        fn send(&mut self, info: SigInfo) {
            let there = self.0.iter().any(|other| other.signal() == info.signal());
            if info.signal() >= REAL_TIME || !there {
                self.0.push(info);
            }
        }
        /// The lowest number first, as the kernel does.
        fn take(&mut self) -> Option<SigInfo> {
            let lowest = self.0.iter().map(SigInfo::signal).min()?;
            let at = self.0.iter().position(|info| info.signal() == lowest)?;
            Some(self.0.remove(at))
        }
    }

    fn send(later: &mut Later, kernel: &mut Kernel) {
        while let Some(info) = later.next() {
            kernel.send(info.placeholder());
        }
    }

    /// Delivers all there is: what handlers see.
    fn drain(later: &mut Later, kernel: &mut Kernel) -> Vec<(i32, u64)> {
        let mut seen = Vec::new();
        send(later, kernel);
        while let Some(info) = kernel.take() {
            if let Comes::Now(one) = later.comes(info, false) {
                seen.push((one.info.signal(), one.info.address().0));
            }
            send(later, kernel);
        }
        assert!(later.is_empty());
        seen
    }

    #[test]
    fn real_time_signals_keep_order_number_and_content() {
        // Wherever new ones come between those that wait, and whatever is already queued.
        for queued in 0..3u64 {
            for waiting in 0..4u64 {
                let (mut later, mut kernel) = (Later::default(), Kernel::default());
                let mut next = 0;
                let mut one = || {
                    next += 1;
                    signal(40, next)
                };
                for _ in 0..waiting {
                    assert_eq!(later.comes(one(), true), Comes::Nothing);
                }
                for _ in 0..queued {
                    kernel.send(one());
                }
                let all: Vec<_> = (1..=waiting + queued).map(|n| (40, n)).collect();
                assert_eq!(drain(&mut later, &mut kernel), all, "{waiting} {queued}");
            }
        }
    }

    #[test]
    fn what_is_held_again_keeps_its_place() {
        let (mut later, mut kernel) = (Later::default(), Kernel::default());
        later.add(signal(40, 1), false);
        later.add(signal(40, 2), false);
        send(&mut later, &mut kernel);
        // The first is about to be delivered, and held for another copy.
        let Comes::Now(first) = later.comes(kernel.take().unwrap(), false) else { panic!() };
        assert_eq!(first.info.address().0, 1);
        send(&mut later, &mut kernel);
        kernel.send(signal(40, 3));
        while let Some(info) = kernel.take() {
            assert_eq!(later.comes(info, true), Comes::Nothing);
        }
        assert_eq!(drain(&mut later, &mut kernel), [(40, 2), (40, 3)]);
    }

    #[test]
    fn others_wait_once_and_come_with_what_they_had_first() {
        let (mut later, mut kernel) = (Later::default(), Kernel::default());
        later.add(signal(10, 1), false);
        later.add(signal(12, 2), false);
        later.add(signal(10, 3), false);
        // The kernel has one already: ours is not queued.
        kernel.send(signal(10, 4));
        assert_eq!(drain(&mut later, &mut kernel), [(10, 1), (10, 4), (12, 2)]);
    }

    #[test]
    fn what_stood_for_a_signal_that_is_gone_is_nothing() {
        let (mut later, mut kernel) = (Later::default(), Kernel::default());
        later.add(signal(18, 1), false);
        send(&mut later, &mut kernel);
        later.cancel(&[18]);
        assert_eq!(drain(&mut later, &mut kernel), []);
        assert_eq!(later.next(), None);
        later.add(signal(18, 2), false);
        assert_eq!(drain(&mut later, &mut kernel), [(18, 2)]);
    }

    #[test]
    fn one_that_was_first_is_first_again() {
        let (mut later, mut kernel) = (Later::default(), Kernel::default());
        later.add(signal(40, 2), false);
        later.add(signal(10, 3), false);
        later.add_first(signal(40, 1), false);
        later.add_first(signal(10, 2), false);
        assert_eq!(drain(&mut later, &mut kernel), [(10, 2), (40, 1), (40, 2)]);
    }

    #[test]
    fn what_could_not_be_sent_is_sent_again() {
        let mut later = Later::default();
        later.add(signal(40, 1), false);
        assert!(later.next().is_some() && later.next().is_none());
        later.not_sent(40);
        assert!(later.next().is_some());
        later.add(signal(40, 2), false);
        later.add(signal(41, 3), false);
        assert_eq!(later.take_unsent(), [signal(40, 2), signal(41, 3)]);
        assert!(later.is_empty());
    }
}
