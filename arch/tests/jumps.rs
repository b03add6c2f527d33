//! Every function of a real object: its entry has a window, the window a trampoline, and the
//! trampoline a place for each of its instructions.
#![cfg(all(feature = "arm64", feature = "x86_64"))]

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use xol_arch::arm64::Arm64;
use xol_arch::jump::{
    Features, Filter, LOCK, NO_LOCK, Order, Place, Record, Recorder, Side, Trampoline, Window,
    build,
};
use xol_arch::x86_64::X86_64;
use xol_arch::{Addr, Arch, Reason, Rules, Text};

/// Where Debian and its relatives keep the C library; for arm64, the cross compiler's.
const X86_64_LIBC: [&str; 3] =
    ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib64/libc.so.6", "/lib/libc.so.6"];
const ARM64_LIBC: [&str; 2] =
    ["/usr/aarch64-linux-gnu/lib/libc.so.6", "/usr/lib/aarch64-linux-gnu/libc.so.6"];

#[test]
fn entries_of_x86_64() {
    entries::<X86_64>(&X86_64_LIBC, Side::Below);
    entries::<X86_64>(&X86_64_LIBC, Side::Above);
}

#[test]
fn entries_of_arm64() {
    entries::<Arm64>(&ARM64_LIBC, Side::Below);
}

fn entries<A: Arch>(paths: &[&str], side: Side) {
    let path = paths.iter().find(|path| std::path::Path::new(path).exists());
    let file = std::fs::read(path.expect("a C library")).expect("it can be read");
    let object = object::File::parse(&*file).expect("an ELF file");
    let section = object.section_by_name(".text").expect(".text");
    let (base, bytes) = (section.address(), section.data().expect("its bytes"));
    let mut functions: Vec<(u64, u64)> = object
        .dynamic_symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .map(|symbol| (symbol.address(), symbol.size()))
        .filter(|(at, size)| *at >= base && at + size <= base + bytes.len() as u64)
        .collect();
    functions.sort_unstable();
    functions.dedup_by_key(|function| function.0);
    assert!(functions.len() > 1000, "{}", functions.len());

    // Half a gigabyte away, as trampolines may be.
    let far = if A::INSN_ALIGN == 4 { 0x400_0000 } else { 0x2000_0000 };
    let (mut windows, mut made, mut stackless, mut flags) = (0, 0, 0, 0);
    for &(at, size) in &functions {
        let from = (at - base) as usize;
        let end = (from + size as usize + 16).min(bytes.len());
        let function = Some((Addr(at), Addr(at + size)));
        let text = Text { function, ..Text::new(Addr(at), &bytes[from..end]) };
        let mut targets = Vec::new();
        A::targets(&text, &mut |target| targets.push(target));
        targets.sort_unstable();
        let Ok(window) = A::window(&text, Addr(at), Rules::default(), &targets, side) else {
            continue;
        };
        windows += 1;
        let stack = A::has_stack(&text);
        stackless += usize::from(!stack);
        flags += usize::from(A::flags_live(&text, Addr(at)));
        let to = Addr(at + far);
        let records: Vec<_> = window
            .covered()
            .iter()
            .map(|insn| Record {
                offset: insn.offset,
                flags: A::flags_live(&text, Addr(at + u64::from(insn.offset))),
                stack,
                filter: Filter::NONE,
                recorder: Recorder::Count { counter: to.add(0x10_0000) },
            })
            .collect();
        let order = Order {
            text: &text,
            window: &window,
            rules: Rules::default(),
            records: &records,
            features: Features::ALL,
        };
        match build::<A>(&order, to) {
            Ok(trampoline) => {
                made += 1;
                locks::<A>(&records, &trampoline, to);
                every_place::<A>(&window, &trampoline, to);
            }
            Err(reject) if reject.reason == Reason::NoStack => assert!(!stack, "{at:#x}"),
            Err(reject) => assert_eq!(reject.reason, Reason::OutOfReach, "{at:#x}"),
        }
        let reach = window.reach();
        let (first, last) = reach.range();
        // Below there is nothing where a library is linked to.
        let none = side == Side::Below && first == Addr(0);
        assert!(reach.next(first, last).is_some() || none, "{at:#x}");
    }
    let share = |n: usize| n as f64 / functions.len() as f64;
    let (flags, stackless) = (100.0 * share(flags), 100.0 * share(stackless));
    println!(
        "{}: of {} entries, flags are kept at {flags:.1} %, {stackless:.1} % have no stack",
        A::NAME,
        functions.len()
    );
    assert!(flags < 30.0 && stackless < 3.0);
    let least = if side == Side::Above { 0.98 } else { 0.99 };
    assert!(share(windows) > least, "{windows} of {} have a window", functions.len());
    assert!(share(made) > least, "{made} of {} have a trampoline", functions.len());
}

/// Each count of x86-64 has a LOCK prefix, and is the same instruction without it.
fn locks<A: Arch>(records: &[Record], trampoline: &Trampoline, to: Addr) {
    let counts = if A::INSN_ALIGN == 4 { 0 } else { records.len() };
    assert_eq!(trampoline.locks().count(), counts);
    for at in trampoline.locks().map(usize::from) {
        let insn = |prefix| {
            let mut code = trampoline.code[at..].to_vec();
            assert_eq!(std::mem::replace(&mut code[0], prefix), LOCK);
            let at = to.0 + at as u64;
            let options = iced_x86::DecoderOptions::NONE;
            iced_x86::Decoder::with_ip(64, &code, at, options).decode()
        };
        let (mut locked, alone) = (insn(LOCK), insn(NO_LOCK));
        assert!(locked.has_lock_prefix() && locked.mnemonic() == iced_x86::Mnemonic::Inc);
        locked.set_has_lock_prefix(false);
        assert_eq!(locked.memory_displacement64(), alone.memory_displacement64());
        assert_eq!((locked.code(), locked.len()), (alone.code(), alone.len()));
        assert!(!alone.has_lock_prefix() && alone.is_ip_rel_memory_operand());
    }
}

/// Each instruction can be entered, each instruction of the code stands for something, and what
/// stands behind is in the function.
fn every_place<A: Arch>(window: &Window, trampoline: &Trampoline, to: Addr) {
    for insn in window.covered() {
        let enter = trampoline.enter(insn.offset).expect("every instruction is in it");
        let place = Place::At { offset: insn.offset, recorded: 0 };
        assert_eq!(trampoline.place(enter), Some(place));
    }
    let text = Text::new(to, &trampoline.code);
    let mut offset = 0;
    while usize::from(offset) < trampoline.code.len() {
        let place = trampoline.place(offset).expect("it is inside");
        if let Place::Behind { offset } = place {
            assert!(window.has(offset) || offset >= window.len, "{place:?}");
        }
        offset += A::length(&text, to.add(offset.into())).expect("it is code") as u16;
    }
    assert_eq!(trampoline.place(offset), None);
}
