//! `sememe`, as a program.

fn main() -> std::process::ExitCode {
    sememe_cli::main()
}
