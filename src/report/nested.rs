//! Calls inside of calls: how much of a call's time was not spent in other calls of its thread.

use rustc_hash::FxHashMap;

/// A call that has not ended.
#[derive(Debug)]
struct Open {
    call: u64,
    /// Time spent in calls that it has made.
    inner: u64,
}

/// The calls that threads are in, by thread, the last one last.
#[derive(Debug, Default)]
pub struct Nested {
    threads: FxHashMap<i32, Vec<Open>>,
}

impl Nested {
    /// A thread has begun a call.
    pub fn begin(&mut self, tid: i32, call: u64) {
        self.threads.entry(tid).or_default().push(Open { call, inner: 0 });
    }

    /// A call has ended, after `took` where that is known. Returns how much of that was its own.
    ///
    /// How long a call was that was left (longjmp, an exception) is not known: its caller loses
    /// only what it had itself spent in calls that returned.
    pub fn end(&mut self, tid: i32, call: u64, took: Option<u64>) -> Option<u64> {
        let find = |calls: &Vec<Open>| calls.iter().rposition(|open| open.call == call);
        let known = self.threads.get(&tid).and_then(find).map(|at| (tid, at));
        // Another thread may have gone on with it: coroutines do so.
        let mut all = self.threads.iter();
        let known = known.or_else(|| all.find_map(|(&tid, calls)| Some((tid, find(calls)?))));
        // A forked process has its parent's calls, whose begin was not told.
        let Some((tid, at)) = known else { return took };
        let calls = self.threads.get_mut(&tid)?;
        let inner = calls.remove(at).inner;
        if let Some(outer) = at.checked_sub(1).and_then(|outer| calls.get_mut(outer)) {
            outer.inner = outer.inner.saturating_add(took.unwrap_or(inner));
        }
        if calls.is_empty() {
            self.threads.remove(&tid);
        }
        took.map(|took| took.saturating_sub(inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_not_its_own() {
        let mut nested = Nested::default();
        // 1 calls 2 and 3; 3 calls 4. Another thread is in 5 meanwhile.
        nested.begin(7, 1);
        nested.begin(8, 5);
        nested.begin(7, 2);
        assert_eq!(nested.end(7, 2, Some(10)), Some(10));
        nested.begin(7, 3);
        nested.begin(7, 4);
        assert_eq!(nested.end(7, 4, Some(5)), Some(5));
        assert_eq!(nested.end(7, 3, Some(20)), Some(15));
        assert_eq!(nested.end(8, 5, Some(100)), Some(100));
        assert_eq!(nested.end(7, 1, Some(50)), Some(20));
        assert!(nested.threads.is_empty());
    }

    #[test]
    fn what_was_left_takes_nothing_of_its_own_along() {
        let mut nested = Nested::default();
        // 2 was left, and had called 3, which returned.
        (1..=3).for_each(|call| nested.begin(7, call));
        assert_eq!(nested.end(7, 3, Some(4)), Some(4));
        assert_eq!(nested.end(7, 2, None), None);
        assert_eq!(nested.end(7, 1, Some(30)), Some(26));
        // One whose begin was not told, and one that another thread ends.
        assert_eq!(nested.end(9, 9, Some(3)), Some(3));
        nested.begin(7, 4);
        assert_eq!(nested.end(8, 4, Some(3)), Some(3));
        assert!(nested.threads.is_empty());
    }
}
