//! Any bytes have a plan or a reason, and what the plan promises can be done.

use xol_arch::{Addr, Arch, Code, Plan, Reason, Reject, Rules, Text};

/// What is looked at besides the bytes: where they are, and what is known of them.
fn text(input: &[u8]) -> Option<(Text<'_>, Rules)> {
    let (head, bytes) = input.split_first_chunk::<8>()?;
    let head = u64::from_le_bytes(*head);
    // Near the ends of memory too; arm64's grid mostly.
    let grid = if head & 3 == 0 { 0 } else { 3 };
    let base = match head >> 2 & 3 {
        0 => head >> 8 & 0xffff,
        1 => u64::MAX - (head >> 8 & 0xff),
        _ => head >> 17,
    } & !grid;
    let base = Addr(base);
    let function = (head & 16 != 0).then(|| (base.add(head >> 40 & 0xff), base.add(head >> 48)));
    let rules = Rules { exclusive_head: head & 32 != 0 };
    Some((Text { base, bytes, function, guarded: head & 64 != 0 }, rules))
}

/// The whole of `input` behind its first eight bytes, which say where it is. Whether any of it has
/// a plan.
///
/// # Panics
/// Where a plan is not what it says.
pub fn check<A: Arch>(input: &[u8]) -> bool {
    let Some((text, rules)) = text(input) else { return false };
    let mut in_a_row = Vec::new();
    A::plans(&text, rules, &mut |at, plan| in_a_row.push((at, plan)));
    let mut behind = text.base;
    for (at, plan) in &in_a_row {
        assert_eq!(*at, behind, "one behind the other");
        assert_eq!(*plan, A::plan(&text, *at, rules), "in a row and alone at {at}");
        behind = at.add(A::length(&text, *at).map_or(A::INSN_ALIGN, |len| len as u64));
    }
    assert!(behind.distance_from(text.base) >= text.bytes.len() as i64, "all of it");
    // Everywhere, instructions or not.
    for i in 0..text.bytes.len() as u64 + 2 {
        let at = text.base.add(i);
        judge::<A>(&text, at, A::plan(&text, at, rules), rules);
    }
    A::syscalls(&text, &mut |at, _| assert!(!text.from(at).is_empty(), "{at}"));
    in_a_row.iter().any(|(_, plan)| plan.is_ok())
}

fn judge<A: Arch>(text: &Text<'_>, at: Addr, plan: Result<Plan<A>, Reject>, rules: Rules) {
    let mut name = String::new();
    A::disassemble(text, at, &mut name).expect("a string takes everything");
    let length = A::length(text, at);
    let plan = match plan {
        Ok(plan) => plan,
        Err(reject) => {
            if let (Some(nearest), Reason::ExclusiveSequence | Reason::MopsSequence) =
                (reject.nearest, reject.reason)
            {
                let near = A::plan(text, nearest, rules);
                assert!(near.is_ok(), "{at}: {reject}, where there is {near:?}");
            }
            return;
        }
    };
    assert_eq!(length, Ok(plan.len.into()), "{at}: {name}");
    assert!((1..=A::MAX_INSN).contains(&plan.len.into()), "{at}: {name}");
    assert!(plan.strategies().iter().next().is_some(), "{at}: {name}: {plan:?}");
    assert!(text.from(at).len() >= plan.span().into(), "{at}: {name}: {plan:?}");
    // Near, far, and over the end of memory.
    for slot in [at.add(0x1_0000), at.add(0x4567_8900), at.offset(-0x12_3456_7890 & !3)] {
        let mut copy = Code::new();
        let copied = A::copy(text, at, &plan, slot, &mut copy);
        assert!(copied.is_err() || !copy.is_empty(), "{at}: {name}");
        assert!(plan.copied.is_some() || copied.is_err(), "{at}: {name}: a copy of what has none");
        let mut code = Code::new();
        if let Ok(relocated) = A::relocate(text, at, &plan, slot, &mut code) {
            let done = usize::from(relocated.done);
            assert!(0 < done && done <= code.len() && code.len() <= 64, "{at}: {name}");
        } else {
            assert!(code.is_empty(), "{at}: {name}: half a relocation");
        }
    }
}
