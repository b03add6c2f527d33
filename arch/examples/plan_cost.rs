//! What planning costs: every instruction of an object's code planned, against iced-x86 merely
//! decoding it, in turns in the same run.
//!
//!     cargo run --release -p xol-arch --example plan_cost -- /usr/lib/x86_64-linux-gnu/libc.so.6

use std::time::{Duration, Instant};

use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::{Object, ObjectSection};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Rules, Text};

const ROUNDS: usize = 41;

/// From code at an address to the number of instructions.
type Way = fn(u64, &[u8]) -> usize;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or("/usr/lib/x86_64-linux-gnu/libc.so.6".into());
    let file = std::fs::read(&path)?;
    let object = object::File::parse(&*file)?;
    let section = object.section_by_name(".text").ok_or("no .text")?;
    let (base, bytes) = (section.address(), section.data()?);

    let ways: [(&str, Way); 3] =
        [("decoded", decode), ("planned in a row", plan_all), ("planned each", plan_each)];
    let mut times = [const { Vec::new() }; 3];
    let mut counts = [0; 3];
    for _ in 0..ROUNDS {
        for (i, (_, way)) in ways.iter().enumerate() {
            let start = Instant::now();
            counts[i] = way(base, bytes);
            times[i].push(start.elapsed());
        }
    }
    let best = times.map(shortest);
    println!("{path}, the best of {ROUNDS}:");
    for (i, (name, _)) in ways.iter().enumerate() {
        let ratio = best[i].as_secs_f64() / best[0].as_secs_f64();
        println!("{name:18} {:7} instructions {:9.3?} {ratio:.2}", counts[i], best[i]);
    }
    Ok(())
}

fn shortest(times: Vec<Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// How many instructions iced finds from the beginning on.
fn decode(base: u64, bytes: &[u8]) -> usize {
    let mut decoder = Decoder::with_ip(64, bytes, base, DecoderOptions::NONE);
    let mut insn = Instruction::default();
    let mut count = 0;
    while decoder.can_decode() {
        decoder.decode_out(&mut insn);
        count += usize::from(!insn.is_invalid());
    }
    count
}

/// How many have a plan, planned in a row as `xol plan` does.
fn plan_all(base: u64, bytes: &[u8]) -> usize {
    let mut count = 0;
    X86_64::plans(&Text::new(Addr(base), bytes), Rules::default(), &mut |_, plan| {
        count += usize::from(plan.is_ok());
    });
    count
}

/// The same, each by itself as a probe's site is.
fn plan_each(base: u64, bytes: &[u8]) -> usize {
    let text = Text::new(Addr(base), bytes);
    let (mut at, end) = (Addr(base), Addr(base).add(bytes.len() as u64));
    let mut count = 0;
    while at < end {
        match X86_64::plan(&text, at, Rules::default()) {
            Ok(plan) => {
                count += 1;
                at = at.add(plan.len.into());
            }
            Err(_) => at = at.add(X86_64::length(&text, at).unwrap_or(1) as u64),
        }
    }
    count
}
