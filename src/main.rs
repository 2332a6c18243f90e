//! Parses the command line, calls [`rmq_lite::cli`] and sets the exit code. Nothing else lives here.

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    rmq_lite::cli::main()
}
