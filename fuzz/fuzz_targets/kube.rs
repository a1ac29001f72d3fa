//! Fuzzes Kubernetes objects, JSON and YAML. Enters: bytes made up by libFuzzer. Deliberately absent: the body (`truename_testkit::fuzzing`).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| truename_testkit::fuzzing::kube(bytes));
