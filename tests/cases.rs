//! Programs that xol was once seen to get wrong, a folder each in `tests/cases`. `run.sh` begins with
//! what a user does and what is right. `XOL=target/release/xol tests/cases/NAME/run.sh` shows all
//! that one of them compares, `tests/cases/all` runs every one. Here are those whose outcome does not
//! depend on how fast the machine is.

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
        $(
            #[test]
            fn $test() {
                case($name);
            }
        )*
    };
}

cases! {
    a_table_leads_to_a_cold_part "a-table-leads-to-a-cold-part"
    attach_after_text_was_remapped "attach-after-text-was-remapped"
    attach_to_a_program_that_execs "attach-to-a-program-that-execs"
    attach_where_a_child_shares_memory "attach-where-a-child-shares-memory"
    clones_and_inlined "clones-and-inlined"
    cpp_names "cpp-names"
    debug_dir "debug-dir"
    debug_files "debug-files"
    far_jumps "far-jumps"
    fault_retried_on_alternate_stack "fault-retried-on-alternate-stack"
    first_thread_has_ended "first-thread-has-ended"
    flags_across_calls "flags-across-calls"
    flags_of_assembly "flags-of-assembly"
    glob_over_libraries_loaded_later "glob-over-libraries-loaded-later"
    go_arguments "go-arguments"
    go_buildmodes "go-buildmodes"
    go_returns "go-returns"
    int3_of_two_bytes "int3-of-two-bytes"
    io_uring_workers "io-uring-workers"
    json_names_the_function "json-names-the-function"
    jump_into_data "jump-into-data"
    killed_tracer_seccomp "killed-tracer-seccomp"
    killed_tracer_sp_is_no_stack "killed-tracer-sp-is-no-stack"
    killed_tracer_tiny_stack "killed-tracer-tiny-stack"
    labels_and_globs "labels-and-globs"
    leave_while_threads_are_stepped "leave-while-threads-are-stepped"
    literal_in_a_function "literal-in-a-function"
    ninth_float "ninth-float"
    nops_that_a_switch_leads_to "nops-that-a-switch-leads-to"
    odd_stack_pointers "odd-stack-pointers"
    parent_traces_its_child "parent-traces-its-child"
    probed_instruction_is_written "probed-instruction-is-written"
    program_writes_its_own_text "program-writes-its-own-text"
    prototypes_are_libcs "prototypes-are-libcs"
    sigtrap_action_by_any_call "sigtrap-action-by-any-call"
    stack_arguments_mixed "stack-arguments-mixed"
    static_ifunc_counted "static-ifunc-counted"
    static_without_padding "static-without-padding"
    stripped_go "stripped-go"
    syscall_user_dispatch "syscall-user-dispatch"
    text_moved_by_a_plain_call "text-moved-by-a-plain-call"
    text_moved_by_mremap "text-moved-by-mremap"
    values_are_told_apart "values-are-told-apart"
    where_a_function_moved_to "where-a-function-moved-to"
}
