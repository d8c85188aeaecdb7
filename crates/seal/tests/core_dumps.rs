//! Attack A22: after the call, this process has no core dumps. A file of its own, because it
//! changes the whole process.

use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

#[test]
fn core_dumps_are_forbidden_for_good() {
    havre_seal::forbid_core_dumps().expect("a process may always lower its limits");
    let limit = getrlimit(Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    assert_eq!(dumpable_behavior().expect("Linux"), DumpableBehavior::NotDumpable);
}
