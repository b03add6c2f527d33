//! Programs that xol was once seen to get wrong, a folder each in `tests/cases`. `run.sh` begins with
//! what a user does and what is right. `XOL=target/release/xol tests/cases/NAME/run.sh` shows all
//! that one of them compares.

use std::path::{Path, PathBuf};
use std::time::Duration;

use xol_tests::run::run;
use xol_tests::xol::xol;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Runs one case. Status 99 says that the machine cannot tell: what is missing is to be installed.
fn case(name: &str) {
    let finished = run("bash")
        .arg(folder().join(name).join("run.sh"))
        .env("XOL", xol())
        .limit(Duration::from_secs(240))
        .finish();
    assert_eq!(finished.code(), 0, "{finished}");
}

macro_rules! cases {
    ($($test:ident $name:literal)*) => {
        const ALL: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                case($name);
            }
        )*
    };
}

cases! {
    attach_after_text_was_remapped "attach-after-text-was-remapped"
    attach_among_dying_threads "attach-among-dying-threads"
    attach_and_leave_a_spawner "attach-and-leave-a-spawner"
    attach_and_leave_under_vfork "attach-and-leave-under-vfork"
    attach_to_a_program_that_execs "attach-to-a-program-that-execs"
    attach_where_a_child_shares_memory "attach-where-a-child-shares-memory"
    calls_that_never_return_have_a_line "calls-that-never-return-have-a-line"
    children_that_die_at_once "children-that-die-at-once"
    clock_forbidden_under_jumps "clock-forbidden-under-jumps"
    clones_and_inlined "clones-and-inlined"
    cpp_names "cpp-names"
    debug_dir "debug-dir"
    debug_files "debug-files"
    far_jumps "far-jumps"
    fast_timer "fast-timer"
    fault_retried_on_alternate_stack "fault-retried-on-alternate-stack"
    faults_in_copies_are_counted_once "faults-in-copies-are-counted-once"
    flags_across_calls "flags-across-calls"
    flags_of_assembly "flags-of-assembly"
    glob_over_libraries_loaded_later "glob-over-libraries-loaded-later"
    go_arguments "go-arguments"
    go_buildmodes "go-buildmodes"
    go_returns "go-returns"
    hits_until_the_end "hits-until-the-end"
    how_calls_end "how-calls-end"
    ifunc_attached "ifunc-attached"
    inside_a_container "inside-a-container"
    json_names_the_function "json-names-the-function"
    jump_into_data "jump-into-data"
    jumps_among_malloc_arenas "jumps-among-malloc-arenas"
    killed_tracer_seccomp "killed-tracer-seccomp"
    killed_tracer_sp_is_no_stack "killed-tracer-sp-is-no-stack"
    killed_tracer_tiny_stack "killed-tracer-tiny-stack"
    labels_and_globs "labels-and-globs"
    leave_under_a_sigtrap_storm "leave-under-a-sigtrap-storm"
    leftover_traps_are_taken_over "leftover-traps-are-taken-over"
    leftovers_of_many_kills "leftovers-of-many-kills"
    literal_in_a_function "literal-in-a-function"
    ninth_float "ninth-float"
    no_process_vm_readv "no-process-vm-readv"
    odd_stack_pointers "odd-stack-pointers"
    pager_thread_in_the_program "pager-thread-in-the-program"
    parent_traces_its_child "parent-traces-its-child"
    probed_instruction_is_written "probed-instruction-is-written"
    program_writes_its_own_text "program-writes-its-own-text"
    prototypes_are_libcs "prototypes-are-libcs"
    queued_signals_keep_their_order "queued-signals-keep-their-order"
    signals_keep_their_siginfo "signals-keep-their-siginfo"
    sigtrap_action_by_any_call "sigtrap-action-by-any-call"
    stack_arguments_mixed "stack-arguments-mixed"
    static_ifunc_counted "static-ifunc-counted"
    static_without_padding "static-without-padding"
    stops_and_continues_undo_each_other "stops-and-continues-undo-each-other"
    stops_are_seen_by_the_parent "stops-are-seen-by-the-parent"
    stops_of_threads "stops-of-threads"
    stripped_go "stripped-go"
    text_copied_over_text "text-copied-over-text"
    text_moved_by_a_plain_call "text-moved-by-a-plain-call"
    text_moved_by_mremap "text-moved-by-mremap"
    values_are_told_apart "values-are-told-apart"
    where_a_function_moved_to "where-a-function-moved-to"
}

#[test]
fn every_folder_is_run() {
    let entries = std::fs::read_dir(folder()).expect("the tree can be read");
    let mut found: Vec<String> = entries
        .map(|entry| entry.expect("the tree can be read"))
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ALL);
}
