//! Architecture, kernel, rights.

use super::Finding;
use super::procfs::{Status, auxv, cpu_features, line};
use super::sandbox;

/// CAP_SYS_PTRACE (capabilities(7)).
const CAP_SYS_PTRACE: u32 = 19;
/// AT_PAGESZ (getauxval(3)).
const AT_PAGESZ: u64 = 6;

/// Looks at the machine. For a process that runs already, the right to attach matters; for one
/// that xol starts, it does not.
pub(super) fn look(attach: bool) -> Vec<Finding> {
    let me = Status::read("/proc/self");
    let Some(me) = me else {
        return vec![
            Finding::no("proc", "/proc is not mounted, or hides this process")
                .advice("mount -t proc proc /proc"),
        ];
    };
    let mut findings = vec![architecture(), kernel()];
    findings.push(rights(&me, line("/proc/sys/kernel/yama/ptrace_scope").as_deref(), attach));
    findings.extend(sandbox::look(&me));
    findings.push(memory());
    findings.push(processor(&cpu_features()));
    findings.push(uprobes());
    findings
}

fn architecture() -> Finding {
    let page = auxv(AT_PAGESZ).map_or(String::new(), |n| format!(", pages of {} KiB", n >> 10));
    match std::env::consts::ARCH {
        "x86_64" => Finding::ok("machine", format!("x86_64{page}")),
        "aarch64" => Finding::ok("machine", format!("arm64{page}")),
        other => Finding::no("machine", format!("{other}: xol probes arm64 and x86-64 only")),
    }
}

fn kernel() -> Finding {
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    match version(&release) {
        // PTRACE_SEIZE came with 3.4, PTRACE_SETSIGMASK with 3.11.
        Some(v) if v < (3, 11) => Finding::no("kernel", format!("{release} is too old"))
            .advice("Linux 3.11 or newer: xol needs PTRACE_SEIZE and PTRACE_SETSIGMASK"),
        _ => Finding::ok("kernel", release),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn rights(me: &Status, scope: Option<&str>, attach: bool) -> Finding {
    let check = "ptrace";
    let capable = me.has_bit("CapEff", CAP_SYS_PTRACE);
    let root = "run xol as root, or sysctl kernel.yama.ptrace_scope=0";
    match (scope, capable) {
        (Some("3"), _) => Finding::no(check, "kernel.yama.ptrace_scope is 3: nobody may trace")
            .advice("reboot with another setting: 3 cannot be taken back"),
        (Some("2"), false) => {
            Finding::no(check, "kernel.yama.ptrace_scope is 2: only CAP_SYS_PTRACE may trace")
                .advice(root)
        }
        (Some("1"), false) => {
            let detail = "kernel.yama.ptrace_scope is 1: only programs that xol starts";
            let finding = if attach { Finding::no } else { Finding::note };
            finding(check, detail).advice(format!("xol … -- CMD, or {root}"))
        }
        (_, true) => Finding::ok(check, "every process (CAP_SYS_PTRACE)"),
        (_, false) => Finding::ok(check, "processes of this user").advice("root for others"),
    }
}

/// Text is copied page by page as it is written to.
fn memory() -> Finding {
    let forced = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let forced = forced.split_whitespace().find_map(|w| w.strip_prefix("proc_mem.force_override="));
    let maps = line("/proc/sys/vm/max_map_count").unwrap_or_else(|| "unknown".to_owned());
    match forced {
        Some(mode @ ("never" | "ptrace")) => Finding::note(
            "memory",
            format!("the kernel was started with proc_mem.force_override={mode}"),
        )
        .advice("nothing: xol writes text through ptrace where /proc/PID/mem refuses"),
        _ => Finding::ok(
            "memory",
            format!(
                "probed text is copied in each process, page by page: about 1.3 MB for libc:*; \
                 {maps} mappings"
            ),
        ),
    }
}

fn processor(features: &[String]) -> Finding {
    let has = |name: &str| features.iter().any(|f| f == name);
    let mut known = Vec::new();
    for (feature, meaning) in [
        ("user_shstk", "shadow stacks"),
        ("ibt", "IBT"),
        ("constant_tsc", "constant TSC"),
        ("atomics", "LSE atomics"),
        ("paca", "pointer authentication"),
        ("bti", "BTI"),
        ("mte", "MTE"),
        ("sve", "SVE"),
        ("sme", "SME"),
        ("gcs", "GCS"),
    ] {
        if has(feature) {
            known.push(meaning);
        }
    }
    if known.is_empty() {
        known.push("nothing that matters here");
    }
    let detail = known.join(", ");
    if has("user_shstk") || has("gcs") {
        return Finding::note("processor", detail).advice(
            "nothing, unless a program turns its shadow stack on: probes on calls then cost more",
        );
    }
    Finding::ok("processor", detail)
}

fn uprobes() -> Finding {
    let there = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .iter()
        .any(|folder| std::path::Path::new(folder).join("uprobe_events").exists());
    Finding::ok(
        "uprobes",
        if there { "the kernel has them; xol does not need them" } else { "none, and none needed" },
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn yama_decides_who_may_trace() {
        let user = Status::from_text("CapEff:\t0000000000000000\n");
        let root = Status::from_text("CapEff:\t000001ffffffffff\n");
        for (me, scope, attach, verdict) in [
            (&user, None, true, Verdict::Ok),
            (&user, Some("0"), true, Verdict::Ok),
            (&user, Some("1"), false, Verdict::Note),
            (&user, Some("1"), true, Verdict::No),
            (&user, Some("2"), false, Verdict::No),
            (&root, Some("1"), true, Verdict::Ok),
            (&root, Some("2"), true, Verdict::Ok),
            (&root, Some("3"), true, Verdict::No),
        ] {
            assert_eq!(rights(me, scope, attach).verdict, verdict, "{scope:?} {attach}");
        }
    }

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(version("6.18.44-talos"), Some((6, 18)));
        assert!(version("3.4.35") < Some((3, 11)));
    }

    #[test]
    fn shadow_stacks_are_told() {
        let features = ["fpu".to_owned(), "user_shstk".to_owned()];
        let finding = processor(&features);
        assert_eq!((finding.verdict, finding.detail.as_str()), (Verdict::Note, "shadow stacks"));
    }
}
