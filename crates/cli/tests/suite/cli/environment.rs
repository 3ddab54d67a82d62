//! What the environment decides, and what it may not do.

use super::{Desk, Run};

fn run(desk: &Desk, args: &str, variables: &[(&str, &str)]) -> Run {
    let output = desk.command(args).envs(variables.iter().copied()).output().expect("run");
    Run::from(output)
}

#[test]
fn instructions_are_limited_and_misspelt_ones_refused() {
    let desk = Desk::new();
    let driver = |variables: &[(&str, &str)]| {
        let report = run(&desk, "doctor --json", variables).json();
        report["cpu"]["driver"].as_str().expect("driver").to_owned()
    };
    let baseline = driver(&[("SEMEME_ISA", "baseline")]);
    assert!(baseline.starts_with("baseline,") || baseline.starts_with("neon,"), "{baseline}");
    assert!(!driver(&[("SEMEME_AMX", "off")]).contains("amx"));
    assert_eq!(driver(&[("SEMEME_ISA", "avx512"), ("SEMEME_AMX", "on")]), driver(&[("SEMEME_ISA", "")]));
    let avx1 = "`SEMEME_ISA`: expected `baseline`, `avx2` or `avx512`, got `avx1`";
    run(&desk, "doctor", &[("SEMEME_ISA", "avx1")]).fails(2, &[avx1]);
    run(&desk, "doctor", &[("SEMEME_AMX", "no")]).fails(2, &["`SEMEME_AMX`: expected `on` or `off`, got `no`"]);
}

/// The same codes by narrower instructions.
#[test]
fn codes_do_not_depend_on_instructions() {
    let desk = Desk::fitted();
    let codes = |isa: &str| {
        run(&desk, "encode codec.safetensors items.npy -o codes.csv --device cpu", &[("SEMEME_ISA", isa)]).ok();
        std::fs::read(desk.path("codes.csv")).expect("codes")
    };
    assert_eq!(codes("baseline"), codes("avx512"));
}

/// Where no runtime directory is set, as in containers, listing adapters once made a Wayland library complain.
#[cfg(target_os = "linux")]
#[test]
fn listing_adapters_writes_nothing_to_stderr() {
    let desk = Desk::new();
    let mut command = desk.command("doctor");
    for name in ["XDG_RUNTIME_DIR", "NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"] {
        command.env_remove(name);
    }
    let output = command.output().expect("run");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
