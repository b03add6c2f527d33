//! xol where calls or memory are refused: in containers of every kind, by filters, by limits.
//!
//! Container engines are filters, namespaces and mounts; each is made here by hand, so that nothing
//! but util-linux and bubblewrap is needed. `targets.txt` has a row for each.

use std::ffi::OsString;
use std::process::Command;

use xol_tests::programs::{Build, program};
use xol_tests::run::{Run, run};
use xol_tests::xol::{count, parse, scratch, xol};

/// What docker's default profile refuses without capabilities.
const DOCKER: &str = "errno=acct,add_key,bpf,clock_adjtime,clock_settime,delete_module,finit_module,\
    init_module,kcmp,kexec_load,keyctl,lookup_dcookie,mbind,migrate_pages,mount,move_pages,\
    name_to_handle_at,nfsservctl,open_by_handle_at,perf_event_open,personality,pivot_root,quotactl,\
    reboot,request_key,setns,settimeofday,swapoff,swapon,syslog,umount2,unshare,userfaultfd,vhangup";

/// Nobody's user, who may not suspend filters.
const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all";

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(Into::into).collect()
}

fn confine(how: &[&str]) -> Vec<OsString> {
    let mut all = vec![program("confine", Build::Pie).into_os_string()];
    all.extend(how.iter().map(Into::into));
    all.push("--".into());
    all
}

/// xol and what it starts, both under `before`: each strategy gives every hit, and the program's own
/// output and status. Where jumps can be had, they are.
fn both_under(before: &[OsString], jumps: bool) {
    let confined = run(program("confined", Build::Pie));
    let alone = confined.finish();
    assert_eq!(alone.code(), 3, "{alone}");
    for strategy in ["auto", "boost", "jump"] {
        let report = scratch("contained");
        let asked = ["count", "--format", "json", "--strategy", strategy, "-o"];
        let mut all = before.to_vec();
        all.push(xol().into());
        all.extend(asked.map(Into::into));
        all.extend([report.clone().into_os_string(), "confined-pie:work".into(), "--".into()]);
        // Who writes the report may be somebody else.
        std::fs::write(&report, "").expect("a file in the target folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&report, open).expect("it is ours");
        let probed = confined.clone().under(all).finish();
        let text = std::fs::read_to_string(&report).expect("a report");
        alone.assert_same(&probed);
        let lines = parse(&text);
        assert_eq!(lines.iter().map(|l| l.hits).sum::<u64>(), 1000, "{strategy}: {text}{probed}");
        if jumps && strategy == "jump" {
            assert!(lines.iter().all(|l| l.strategy == "jump"), "{text}{probed}");
        }
        _ = std::fs::remove_file(&report);
    }
    let doctor = run(xol()).arg("doctor").under(before.to_vec()).finish();
    assert_eq!(doctor.code(), 0, "{doctor}");
    println!("{}", doctor.out());
}

/// The same where a folder of ours is to be written to in a container whose root is read-only.
fn bubble() -> Vec<OsString> {
    let folder = xol_tests::programs::folder();
    let folder = folder.to_string_lossy();
    let proc = "--ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --unshare-all";
    words(&format!("bwrap {proc} --bind {folder} {folder}"))
}

#[test]
fn in_a_user_namespace() {
    both_under(&words("unshare --user --map-root-user"), true);
}

#[test]
fn in_a_rootless_container() {
    both_under(&words(&format!("{NOBODY} unshare -U -r -p -f -m --mount-proc")), true);
}

#[test]
fn where_processes_are_hidden() {
    let script = format!("mount -t proc -o hidepid=2 proc /proc && exec {NOBODY} \"$@\"");
    let mut before = words("unshare --pid --fork --mount sh -c");
    before.extend([script.into(), "sh".into()]);
    both_under(&before, true);
}

#[test]
fn without_new_privileges() {
    both_under(&words(&format!("{NOBODY} --no-new-privs")), true);
}

#[test]
fn on_a_read_only_root() {
    both_under(&bubble(), true);
}

#[test]
fn under_dockers_filter() {
    both_under(&confine(&[DOCKER]), true);
    let mut nobody = words(NOBODY);
    nobody.extend(confine(&[DOCKER]));
    both_under(&nobody, true);
}

#[test]
fn under_a_filter_in_a_container() {
    let mut before = bubble();
    before.extend(confine(&[DOCKER, "errno=memfd_create"]));
    both_under(&before, true);
}

#[test]
fn without_process_vm_readv() {
    both_under(&confine(&["errno=process_vm_readv,process_vm_writev"]), true);
}

#[test]
fn without_memory_files() {
    for how in ["errno", "trap", "kill"] {
        both_under(&confine(&[&format!("{how}=memfd_create")]), true);
    }
}

#[test]
fn without_descriptors_of_processes() {
    both_under(&confine(&["errno=pidfd_open,pidfd_getfd,rt_tgsigqueueinfo"]), true);
}

/// Its own filter, which xol has not: nothing is called in it, it is counted all the same, by slots
/// behind its text; and says why.
#[test]
fn under_a_filter_of_its_own() {
    let before = confine(&["kill=acct"]);
    let confined = run(program("confined", Build::Pie));
    let alone = confined.finish();
    for (options, strategy) in [("", "boost"), ("--calls", "jump")] {
        let report = scratch("confined");
        std::fs::write(&report, "").expect("a file in the target folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&report, open).expect("it is ours");
        let mut all = words(NOBODY);
        all.push(xol().into());
        all.extend(words(&format!("count --format json --strategy jump {options} -o")));
        all.extend([report.clone().into_os_string(), "confined-pie:work".into(), "--".into()]);
        all.extend(before.clone());
        let probed = confined.clone().under(all).finish();
        let text = std::fs::read_to_string(&report).expect("a report");
        let lines = parse(&text);
        assert_eq!(probed.out(), alone.out(), "{probed}");
        assert_eq!(probed.code(), alone.code(), "{probed}");
        assert_eq!(lines.iter().map(|l| l.hits).sum::<u64>(), 1000, "{text}{probed}");
        assert_eq!(lines[0].strategy, strategy, "{text}{probed}");
        let said = "1 seccomp filter (xol has 0)";
        assert_eq!(probed.err().contains(said), options.is_empty(), "{probed}");
        _ = std::fs::remove_file(&report);
    }
}

/// A little more address space than it needs alone is enough for it under xol.
#[test]
fn in_little_address_space() {
    let confined = run(program("confined", Build::Pie)).arg("16");
    let limited = |kib: u64| {
        let script = format!("ulimit -v {kib} && exec \"$@\"");
        confined.clone().under([OsString::from("sh"), "-c".into(), script.into(), "sh".into()])
    };
    let needs = (16 << 10..64 << 10).step_by(64).find(|&kib| limited(kib).finish().code() == 3);
    let needs = needs.expect("it runs in 64 MiB");
    let alone = limited(needs + 192).finish();
    assert_eq!(alone.code(), 3, "{alone}");
    for strategy in ["auto", "boost", "jump"] {
        let options = ["--strategy", strategy];
        let probed = count(&options, &["confined-pie:work".to_owned()], &limited(needs + 192));
        alone.assert_same(&probed.finished);
        assert_eq!(probed.lines.iter().map(|l| l.hits).sum::<u64>(), 1000, "{}", probed.text);
    }
}

/// Text that fills its last page: a call is made with the program's own instructions.
#[test]
fn a_static_program_without_padding() {
    let folder = xol_tests::programs::folder();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/confined.c");
    let built = scratch("full");
    let compiled = Command::new("gcc")
        .args(["-O1", "-static", "-Wl,-z,noseparate-code", "-o"])
        .args([built.as_os_str(), source.as_ref()])
        .current_dir(folder)
        .status();
    assert!(compiled.is_ok_and(|status| status.success()));
    let alone = run(&built).finish();
    for strategy in ["auto", "boost", "jump"] {
        let probes = [format!("{}:work", built.display())];
        let probed = count(&["--strategy", strategy], &probes, &run(&built));
        alone.assert_same(&probed.finished);
        assert_eq!(probed.lines.iter().map(|l| l.hits).sum::<u64>(), 1000, "{}", probed.text);
        // So low there may be no place for a jump to land.
        assert!(probed.lines.iter().all(|l| ["boost", "jump"].contains(&l.strategy.as_str())));
    }
    _ = std::fs::remove_file(built);
}

/// What is said of a process whose filters xol has not, and of one whose filters are xol's own.
#[test]
fn doctor_tells_filters_apart() {
    let look = |before: &[OsString]| -> String {
        let script = "\"$@\" & sleep 0.3; exec \"$0\" doctor -p $!";
        let mut all = words(NOBODY);
        all.extend(before.iter().cloned());
        all.extend([OsString::from("sh"), "-c".into(), script.into(), xol().into()]);
        let sleep: Run = run("sleep").arg("5");
        let inner = match before.is_empty() {
            true => sleep.under(confine(&["kill=acct"])),
            false => sleep,
        };
        let finished = inner.under(all).finish();
        finished.out()
    };
    let others = look(&[]);
    assert!(others.contains("1 seccomp filter (xol has 0)"), "{others}");
    let same = look(&confine(&["kill=acct"]));
    assert!(same.contains("1 seccomp filter, the same as xol's"), "{same}");
    assert!(same.contains("1 seccomp filter, which let xol's calls through"), "{same}");
}
