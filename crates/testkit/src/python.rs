//! A Python for tests of what Python's libraries read.

use std::process::Command;

/// A Python that has these modules.
pub fn python_with(modules: &[&str]) -> Option<Command> {
    let Some(program) = std::env::var_os("SEMEME_PYTHON") else {
        eprintln!("skipped: SEMEME_PYTHON names no Python with {}", modules.join(", "));
        return None;
    };
    let list = modules.join("', '");
    let find = format!("import importlib.util as u; raise SystemExit(not all(u.find_spec(m) for m in ['{list}']))");
    if !Command::new(&program).args(["-c", &find]).status().expect("a Python that runs").success() {
        eprintln!("skipped: SEMEME_PYTHON lacks one of {}", modules.join(", "));
        return None;
    }
    let mut command = Command::new(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("OMP_NUM_THREADS", "1");
    Some(command)
}
