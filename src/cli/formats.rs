//! `xol help output`: every field of every report.

/// What it says on a board, where there is no room for a page that another machine has.
#[cfg(not(feature = "manual"))]
pub(super) const OUTPUT: &str = "\
This xol was built without this page (the feature `manual`): any other xol of the same version has it, and
it is the same for all machines. In short: --format json is an object a line, whose fields have names;
--format csv has them in its first line.
";

/// What it says.
#[cfg(feature = "manual")]
pub(super) const OUTPUT: &str = "\
Reports of trace, count and latency go to stderr, those of list, plan, compare, doctor and top -p to stdout;
-o says otherwise.
--format json is one object a line. Numbers are decimal and up to 64 bits wide.

TRACE, TEXT
  A line is TIME PID[/TID] PLACE(ARGUMENTS) [-> VALUE] [DURATION], in the order of TIME.
  TIME         seconds since xol began (--time relative), since the line before (delta), or date and
               local time of day (wall; TZ=UTC for UTC): of the hit; of a call that has ended, when it
               ended
  PID[/TID]    the process; the thread, where it is not the first
  PLACE        the function, function+0x10, or an address in the file
  ARGUMENTS    name: value, …; (…) where they are not known; none for an instruction in a function
  VALUE        what came back; without a type in hexadecimal and (as a signed number); behind it the
               error's name, where a function of libc says that it has failed: -1 ENOENT
  DURATION     from entry to end, if returns are told
  A call whose end is told has one line if no other line comes in between within 100 ms. Else it has
  two, as strace does it:
    f(n: 1) <unfinished …>               it has begun; TIME is then
    <… f resumed> -> 3  120.0 us         it has returned
  One that does not return ends with -> ? and the reason:
    f(n: 1) -> ? (unwound)               longjmp, an exception or a cancellation has left it; told when
                                         that is noticed
    f(n: 1) -> ? (exit)                  its thread or process has ended
    f(n: 1) -> ? (exec)                  its process runs another program
    f(n: 1) <unfinished …>               nothing more: it went on when tracing ended
  --columns chooses among time, thread (PID[/TID]), pid, tid, comm (the thread's name), probe (the PROBE
  as it was written), object (the name of the file), call (PLACE and ARGUMENTS), ret, duration.
  --tree: a call is indented by how many calls of its thread it is in. One that something is told
  inside of, or that goes on for 100 ms, has two lines; lines are in the order of TIME in each thread:
    f(n: 1) {
      g(n: 2) -> 3  1.2 us
    } f -> 4  9.0 us
  -ff: FILE.PID for each process, in this format and all others but record.
  --last N: the newest N hits and ends of calls, told at the end or at SIGUSR1, in any format; a call
  whose beginning is forgotten has one line.
  On a terminal, failures and calls that do not return are red, unless NO_COLOR is set.
  Values: NULL; 0x10 (unreadable) is the address of a string that cannot be read; ? could not be read;
  \"abc\"… is cut, at 256 bytes or where --string says; \\x1b and \\xff are a control character and what is
  not UTF-8; [\"a\", \"b\", …] an array that is cut; O_WRONLY|0x40000000 a number with names, and the bits
  that have none. An argument that is read at the return is an address where the function has failed or
  has not returned; of a call with two lines it is in the second: <… read resumed>(buf: \"abc\") -> 3

TRACE, JSON: an object for each hit, and for each call whose end is told
  ts_ns        CLOCK_MONOTONIC in ns: of the hit, or of the end of the call
  time         with --time wall: the same as date and local time of day
  pid, tid     the process and the thread
  comm         the thread's name, or null
  probe        the PROBE as it was written
  object       the path of the program or library
  symbol       the function's name, or null
  offset       bytes behind the function's start
  addr         the address in memory; of a call whose end is told, the one it returns to
  args         an object: each argument by its name; empty where they are not known
  names        what flags, modes, signals and the like among them are called, as in
               {\"flags\":\"O_RDONLY|O_CLOEXEC\",\"mode\":\"0644\"}, and what descriptors are open for
               (-y); absent where none is there
  ret          what came back, of a call that has returned; absent for -> void
  errno        of a call of a function of libc that says that it has failed: the error's name, as in
               \"ENOENT\", or its number where it has none; absent where it cannot be read (of libraries
               other than glibc, of static programs, and where returns do not stop the program)
  duration_ns  from entry to end; absent where the end was seen too late to know
  end          of a call whose end is told: return, unwound, exit, exec, or unfinished (tracing has
               ended, or the return was missed)
  Values: numbers, strings, true and false; a char is a string; a pointer is a number, NULL is 0.
    null                         a NULL string, NULL for bytes or an array
    {\"str\":\"…\",\"cut\":true}       a string of which there is more, or bytes (--string)
    {\"strs\":[…],\"cut\":true}      an array of strings of which there is more than 64; else it is an array
    a number for a string        the address of what is read at the return, and was not
    {\"bytes\":\"ff00\"}             one that is not UTF-8, in hexadecimal; with \"cut\":true where it is cut
    {\"unreadable\":ADDRESS}       what could not be read; ADDRESS is null where there is none
    \"NaN\", \"inf\", \"-inf\"         floats that JSON has no number for

TRACE, CSV: a line of names, then a record for each object of JSON
  The fields of JSON, an absent one empty: time (with --time wall), ts_ns, pid, tid, comm, probe, object, symbol, offset, addr,
  args (the object, as JSON), ret (as JSON; of a string the string), errno, duration_ns, end, names (as
  args).
  --columns chooses among them.

TRACE, CHROME: an array of objects, which Perfetto (ui.perfetto.dev) and chrome://tracing read
  The file is a whole array after each write, however tracing ends.
  name         the function, function+0x10, or an address in the file
  cat          the name of the program or library
  ph           X: a call; B: one that went on when tracing ended; i: a hit; M: a name
  ts, dur      CLOCK_MONOTONIC in microseconds: of the hit or the entry; from entry to end
  s            t: a hit is its thread's
  pid, tid     the process and the thread
  args         each argument by its name; behind it, as in \"flags name\", what a number is called; -> what
               came back; -> errno; -> end, where it is not return.
               Of M, name: what the thread (name is thread_name) or process (process_name) is called

TRACE, RECORD: what xol show tells as any of these formats, on any machine
  Little-endian. 89 58 4f 4c 0d 0a 1a 0a, the version (4 bytes), its complement (4); then blocks:
  length (4), kind (2), check of both (2), checksum (8), and so many bytes. Kinds: 1 the run (clocks,
  PROBEs, machine), 2 rows (object, build-id, symbol, address, signature), 3 events (times, threads and
  their names, values), 4 the end (what was missed). Each is written whole; what is behind the last
  whole one is not told. Readers pass over other kinds.

COUNT, TEXT
  HITS, MISSED (where there are any), STRATEGY (- is none yet) and PLACE of each place, most hits
  first; then how many were never hit, what was rejected and why, and why hits stop the program
  (`no jump at`: see xol count --help). With --interval, TIME (seconds since xol began) comes before
  each table, as in latency. HITS are those until the last trap is gone; of return: they
  are calls that have returned.

COUNT, JSON: an object for each PROBE and place
  probe, object, symbol, offset    as in trace
  mangled      the name in the file where that is another than `symbol`
  addr         the address in the file
  return       whether returns are counted
  hits         executions begun; returns
  missed       hits that could not be told or compared: no room for a record, arguments that --where
               needs and that cannot be read. Of returns, records of an entry or a return
  strategy     step, xol, boost, simulate, jump; null where it was never armed
  why_not_jump why its hits stop the program, or null
  reason, detail    of a place that was rejected: a name for programs, a sentence

COUNT, CSV: a line of names, then a record for each object of JSON
  probe, object, symbol, mangled, offset, addr, return, hits, missed, strategy, why_not_jump, reason

COUNT, OPENMETRICS: with -o FILE, and each --interval, FILE is replaced as a whole by rename(2)
  xol_hits_total       hits of a place that is not rejected
  xol_missed_total     missed, as in JSON
  xol_place_info       1, of each place; with the labels strategy and reason, as in JSON
  Labels: probe, object, symbol, return as in JSON; addr in hexadecimal
COUNT --by, --hist, CSV: the columns of COUNT, CSV, and by (as JSON), from, to, within: with --hist a
  record for each bucket, of hits `within` it
COUNT --by, --hist, OPENMETRICS: as of count, hits with the labels by (NAME) and value; with --hist also
  xol_value            a histogram, with the label hist (NAME); without count and sum where values are
                       negative
COUNT --by, --hist, TEXT: a row for each value, NAME: VALUE behind the place; bars from, to, how many
COUNT --by, --hist, JSON: the same objects, one for each value, with
  by           the value of what --by asks for: as in trace; of a caller OBJECT:FUNCTION+BYTES; null
               where there is none; {\"others\":true} for all values beyond the first 16384
  hits         those of this value; missed is that of the place
  buckets      of --hist: [from, to, hits] by powers of two, up to but without `to`
COUNT --summary, TEXT: part of all TIME, TOTAL, MIN, MEAN, MAX, CALLS, ERRORS, PLACE; then their sums
COUNT --summary, JSON: the same objects, of which hits are calls, with
  by           as above
  errors       calls that have returned what says that they have failed: see --failed
  unfinished   calls that did not return
  total_ns, min_ns, mean_ns, max_ns    of those that did
  share        percent of the total time of all rows
COUNT --summary, CSV: the columns of COUNT, CSV, of which hits are calls, and by (as JSON), errors,
  unfinished, total_ns, min_ns, mean_ns, max_ns, share
COUNT --summary, OPENMETRICS: as of latency, with
  xol_call_seconds     a summary, instead of the histogram: the number and the sum of the times
  xol_errors_total     errors, as in JSON

LATENCY, TEXT
  CALLS, MISSED and UNFINISHED (where there are any), STRATEGY, TOTAL, SELF (with --self), MIN, MEAN,
  percentiles, MAX, and PLACE with the value of --by; then a histogram for each: from, to, calls.

LATENCY, JSON: an object for each PROBE and place; of --slower, those of TRACE come before
  probe, object, symbol, mangled, strategy, why_not_jump, reason, detail    as in count
  addr         the function's address in the file
  by           with --by: as in count --by; absent where nothing was called
  calls        calls that have returned
  missed       entries and returns of the place that found no room to be noted down
  unfinished   calls that have begun and did not return: left, ended with their thread or process, or
               still going on; or whose return may have been missed
  total_ns     the sum of their durations
  self_ns      the part of it that was not spent in other probed calls
  min_ns, mean_ns, max_ns    exact; null where there are no calls
  p50_ns, p90_ns, p99_ns, p999_ns    so many of 100 (1000) calls took no longer; less than 0.8 % off
  buckets      [from, to, calls] by powers of two or as --linear says, up to but without `to`

LATENCY, CSV: a line of names, then a record for each object of JSON, without the buckets
  probe, object, symbol, mangled, offset, addr, by (as JSON), calls, missed, unfinished, strategy,
  why_not_jump, total_ns, self_ns, min_ns, mean_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns, reason
  Of --slower: the calls as in TRACE, CSV; their sums, as text, go to stderr.

LATENCY, OPENMETRICS: as of count
  xol_latency_seconds    a histogram: calls by powers of two from 64 ns to 69 s; their number; their sum
  xol_unfinished_total   unfinished, as in JSON
  xol_missed_total       missed, as in JSON
  Labels: as of count; with --by, by is its NAME and value the value

TOP, TEXT: HITS/S, HITS, MISSED (where there are any), STRATEGY, PLACE of those most often hit
TOP, JSON: an object for each place, every second
  ts_ns        CLOCK_MONOTONIC in ns
  probe, object, symbol, offset, addr, return, hits, missed, strategy    as in count
  rate         hits a second since the objects before

LIST, TEXT: ADDRESS and SIZE in hexadecimal and decimal, KIND, NAME with @VERSION (@@: the default)
LIST, JSON: an object for each function
  addr, size   the address in the file, and bytes
  name, demangled    as in the file, and as people write it
  version, default   the symbol's version or null, and whether it is the default
  kind         func, ifunc (chosen when it is loaded), plt (a stub), label

PLAN, TEXT: address, bytes, instruction, plan, strategies or the reason
PLAN, JSON: an object for each instruction
  addr         the address in the file
  bytes        in hexadecimal
  insn         the instruction
  plan         copy, simulate, reject
  strategies   those that are correct there
  reason, detail    of a reject: a name for programs, a sentence; else null
  why_not_jump why there can be no jump, or null
PLAN --summary, JSON: one object
  instructions                     how many
  plans, possible, strategies      how many by plan, by strategy that is possible, by the one chosen
  reasons, no_jump                 how many by the reason of a reject, and of there being no jump
  functions, functions_planned, functions_jump, functions_no_jump
                                   the same of first instructions of functions

COMPARE, TEXT: a row for each kind of site, a column for each way; then a row for each strategy
  unprobed     a call of the function whose instruction the others probe
  uprobe       the kernel's probe, through tracefs, where xol may
  bare stops   what a hit costs, in ptrace stops at which nothing is done: median over the kinds, range
  can take     part of an object's instructions (--object)
  arms         from the start of a program until so many of its sites are probed
  KiB more     memory that the program has then and has not when it runs alone
COMPARE, JSON: an object for each kind of site and way; of share and arming for each strategy
  row          cost, share or arming
  arch, machine, strategy          strategy is also unprobed, uprobe, or stop: a bare ptrace stop
  rounds       how often it was measured
  unit         ns; instructions where a guest's clock counts those
  kind, insn   the kind of site, and the instruction
  cost, low, high                  what a hit adds to a call, or the unprobed call, the stop, the arming:
                                   median, lowest, highest; null where the strategy cannot be there
  ratio, ratio_low, ratio_high     the same over the bare stop of the same round
  stops        how often a hit stops the program
  calls, hits  how often the program came to the site, and how often it was counted, in all rounds
  why          why there is no cost, or null
  object, instructions, possible   of share: how many instructions, and how many the strategy can take
  sites        of arming: how many
  memory, memory_low, memory_high  of arming: bytes more in the program, or null

DOCTOR, TEXT: ok, note or no; the check; what was found; what to try
DOCTOR, JSON: an object for each check
  check        what was looked at
  verdict      ok, note (it works, with something to know), no
  detail       what was found
  advice       what to try, or null
";

#[cfg(test)]
mod tests {
    use super::OUTPUT;
    use xol::compare::{Arming, Comparison, Cost, Share, Spread};
    use xol::report::{
        Became, ByRow, Chrome, CountRow, End, Event, Field, LatencyRow, Powers, Read, Shown, Times,
        by_csv, by_json, by_openmetrics, count_csv, count_json, count_openmetrics, event_json,
        latency_json, rates_json, summary_csv, summary_json, summary_openmetrics,
    };
    use xol::spec::Type;
    use xol_arch::Reason;

    /// Every key of an object is in the section.
    fn documented(section: &str, object: &str) {
        let value: serde_json::Value = serde_json::from_str(object).expect("an object");
        let keys = value.as_object().expect("an object").keys();
        words(section, &keys.cloned().collect::<Vec<_>>());
    }

    fn words(section: &str, words: &[String]) {
        let from = OUTPUT.find(section).unwrap_or_else(|| panic!("no section {section}"));
        let text = &OUTPUT[from..];
        let text = &text[..text.find("\n\n").unwrap_or(text.len())];
        for word in words {
            let letter = |c: char| c.is_alphanumeric() || c == '_';
            let found = text.split(|c| !letter(c)).any(|w| w == word);
            assert!(found, "{section} does not say what '{word}' is");
        }
    }

    fn compared() -> Comparison {
        let (strategy, spread) = ("boost".to_owned(), Spread { mid: 2.0, low: 1.0, high: 3.0 });
        let share =
            Share { strategy: strategy.clone(), object: "/a".into(), instructions: 2, possible: 1 };
        let arming = Arming { strategy, sites: 1, cost: spread, memory: None };
        Comparison {
            costs: vec![Cost::default()],
            shares: vec![share],
            arming: vec![arming],
            ..Comparison::default()
        }
    }

    #[test]
    fn every_field_is_documented() {
        let event = Event {
            ts_ns: 1,
            pid: 1,
            tid: 1,
            comm: Some("a"),
            probe: "f",
            object: "/a",
            symbol: "f",
            offset: 0,
            vaddr: 0,
            addr: 0,
            time: None,
            args: None,
            out: 0,
            end: Some(End::Return),
            ret: Some((Some(Type::I32), Read::Bits(0))),
            errno: Some(2),
            duration_ns: Some(1),
        };
        let mut out = String::new();
        event_json(&mut out, &event);
        documented("TRACE, JSON", &out);
        out.clear();
        compared().json(&mut out);
        out.lines().for_each(|line| documented("COMPARE, JSON", line));
        for end in [End::Return, End::Unwound, End::Exit, End::Exec, End::Unfinished] {
            assert!(OUTPUT.contains(end.name()), "{end:?}");
        }
        out.clear();
        let row = CountRow {
            probe: "f",
            object: "/a",
            symbol: "f",
            mangled: Some("_Z1fv"),
            offset: 0,
            addr: 0,
            is_return: false,
            hits: 0,
            missed: 0,
            became: Became::Rejected(Reason::Privileged.into()),
            why_not_jump: None,
        };
        count_json(&mut out, &row);
        documented("COUNT, JSON", &out);
        out.clear();
        count_csv(&mut out, &[row]);
        let names = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
        words("COUNT, CSV", &names(out.lines().next().expect("names")));
        let ty = Type::from_name("oflags").expect("a type");
        let args = [("flags", ty, Read::Bits(1))];
        out.clear();
        event_json(&mut out, &Event { args: Some(&args), ..event });
        documented("TRACE, JSON", &out);
        words("TRACE, CSV", &Field::all().map(|f| f.name().to_owned()).collect::<Vec<_>>());
        out.clear();
        count_openmetrics(&mut out, &[CountRow { became: Became::Waiting, ..row }]);
        let of = |line: &str| line.split(['{', '=', ',']).map(str::to_owned).collect::<Vec<_>>();
        let labels = out.lines().filter(|line| !line.starts_with('#')).flat_map(of);
        let labels = labels.filter(|word| !word.starts_with('"'));
        words("COUNT, OPENMETRICS", &labels.collect::<Vec<_>>());
        let mut chrome = Chrome::default();
        out.clear();
        chrome.begin(1, &event);
        chrome.end(&mut out, 1, &event);
        chrome.hit(&mut out, &event);
        let objects = format!("{}{out}{}", Chrome::BEGIN, Chrome::END);
        let objects: serde_json::Value = serde_json::from_str(&objects).expect("an array");
        for object in objects.as_array().expect("an array") {
            documented("TRACE, CHROME", &object.to_string());
            let phase = object["ph"].as_str().expect("a phase");
            assert!(OUTPUT.contains(&format!("{phase}: a ")), "{phase}");
        }
        let by = Some(("n", Shown { text: "1", json: "1" }));
        let mut write = |section: &str, write: &dyn Fn(&mut String)| {
            out.clear();
            write(&mut out);
            documented(section, &out);
        };
        let values = ByRow { at: row, by, hist: Some(("n", &Powers::default())) };
        let times = Times::default();
        let (self_ns, unfinished, errors) = (Some(0), 0, 0);
        let calls =
            LatencyRow { at: row, by, times: &times, linear: None, self_ns, unfinished, errors };
        write("LATENCY, JSON", &|out| latency_json(out, &calls));
        for field in ["by", "buckets", "errors", "unfinished", "total_ns", "mean_ns", "share"] {
            let mut all = String::new();
            by_json(&mut all, &values);
            summary_json(&mut all, &[calls]);
            assert!(all.contains(&format!("\"{field}\":")), "{field}: {all}");
            assert!(OUTPUT.contains(&format!("\n  {field}")) || field == "mean_ns", "{field}");
        }
        let mut tables = [String::new(), String::new(), String::new(), String::new()];
        let [by, sums, values_metrics, sums_metrics] = &mut tables;
        by_csv(by, &[values]);
        summary_csv(sums, &[calls]);
        let armed = CountRow { became: Became::Waiting, ..row };
        by_openmetrics(values_metrics, &[ByRow { at: armed, ..values }], &[]);
        summary_openmetrics(sums_metrics, &[LatencyRow { at: armed, ..calls }]);
        let own = |line: &str| names(line).split_off(12);
        words("COUNT --by, --hist, CSV", &own(by.lines().next().expect("names")));
        words("COUNT --summary, CSV", &own(sums.lines().next().expect("names")));
        words("COUNT --by, --hist, OPENMETRICS", &["xol_value", "by", "hist"].map(str::to_owned));
        assert!(values_metrics.contains(",by=\"n\",value=\"1\",hist=\"n\","), "{values_metrics}");
        let families = ["xol_call_seconds", "xol_errors_total"];
        words("COUNT --summary, OPENMETRICS", &families.map(str::to_owned));
        assert!(families.iter().all(|family| sums_metrics.contains(family)), "{sums_metrics}");
        write("TOP, JSON", &|out| rates_json(out, &row, 0, 0));
    }
}
