//! `start`, `namesrv`, `broker` and `run`: a server in the foreground.
//!
//! Prints the banner, or one JSON object, and writes the ports file once clients can use the server and not
//! before; ends on SIGTERM, SIGINT, or when the command of `run` has ended. A second signal skips the draining.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use tokio::signal::unix::{SignalKind, signal};

use super::misused;
use super::whereabouts::{self, Signs};
use crate::config::{Role, Settings};
use crate::server::{Endpoints, Server};

/// Runs a server until a signal ends it.
pub(super) async fn serve(settings: Settings) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(cause) => return misused(&cause),
    };
    let server = match Running::start(&settings).await {
        Ok(server) => server,
        Err(code) => return code,
    };
    server.announce(&settings);
    signals.next().await;
    server.stop(&mut signals).await;
    ExitCode::SUCCESS
}

/// Runs a server around a command and returns the command's exit code.
pub(super) async fn run_command(settings: Settings, command: Vec<OsString>) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(cause) => return misused(&cause),
    };
    let server = match Running::start(&settings).await {
        Ok(server) => server,
        Err(code) => return code,
    };
    let Some((program, arguments)) = command.split_first() else { return ExitCode::from(2) };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(&server.endpoints().env)
        .kill_on_drop(true)
        .spawn();
    let code = match child {
        Ok(mut child) => loop {
            tokio::select! {
                ended = child.wait() => break ended.map_or(ExitCode::FAILURE, exit_code),
                // A terminal sends its signals to the command as well; a supervisor's is passed on.
                name = signals.next() => if name == SignalKind::terminate() {
                    let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
                    if let Some(pid) = pid {
                        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                    }
                },
            }
        },
        Err(cause) => misused(&format_args!("cannot run {}: {cause}", program.display())),
    };
    server.stop(&mut signals).await;
    code
}

/// Passes on how a command ended, a signal as shells do: 128 and its number.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(code as u8)
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}

/// A server with the files that lead others to it; they go when it goes.
struct Running {
    server: Server,
    signs: Signs,
    ports_file: Option<PathBuf>,
}

impl Running {
    async fn start(settings: &Settings) -> Result<Self, ExitCode> {
        // Before anybody is served: nobody should have to stop a server again whose ports nobody is told.
        let ports_file = settings.ports_file.as_deref();
        let unwritten = |cause: &dyn std::fmt::Display| {
            let path = ports_file.unwrap_or(Path::new(""));
            misused(&format_args!("cannot write {}: {cause}", path.display()))
        };
        let ports = ports_file.map(whereabouts::beside).transpose().map_err(|cause| unwritten(&cause))?;
        let telling = settings.clone();
        let server =
            Server::start_telling(settings.clone(), move |doing| whereabouts::tell_start(&telling, doing))
                .await;
        whereabouts::end_start(settings);
        let server = server.map_err(|cause| misused(&cause))?;
        let signs = match Signs::write(server.endpoints(), settings) {
            Ok(signs) => signs,
            Err(cause) => {
                server.stop().await;
                return Err(misused(&cause));
            }
        };
        if let Some((mut file, path)) = ports.zip(ports_file) {
            let written = file.write_all(to_json(server.endpoints()).as_bytes());
            if let Err(cause) = written.and_then(|()| file.persist(path).map(drop).map_err(Into::into)) {
                server.stop().await;
                return Err(unwritten(&cause));
            }
        }
        Ok(Self { server, signs, ports_file: settings.ports_file.clone() })
    }

    fn endpoints(&self) -> &Endpoints {
        self.server.endpoints()
    }

    fn announce(&self, settings: &Settings) {
        let mut out = io::stdout().lock();
        let text = if settings.json { to_json(self.endpoints()) } else { banner(self.endpoints(), settings) };
        // Standard output may be closed; the server runs all the same.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    async fn stop(self, signals: &mut Signals) {
        drop(self.signs);
        if let Some(file) = &self.ports_file {
            let _ = std::fs::remove_file(file);
        }
        let broker = self.server.broker();
        tokio::select! {
            () = self.server.stop() => {}
            _ = signals.next() => eprintln!("rmq-lite: stopped without draining"),
        }
        // The process is about to end, and gives back tens of thousands of mappings faster than we can one by one.
        std::mem::forget(broker);
    }
}

fn to_json(endpoints: &Endpoints) -> String {
    let mut text = serde_json::to_string(endpoints).expect("addresses are always JSON");
    text.push('\n');
    text
}

fn banner(endpoints: &Endpoints, settings: &Settings) -> String {
    let mut lines =
        vec![format!("rmq-lite {} is ready in {} ms", env!("CARGO_PKG_VERSION"), endpoints.startup_ms)];
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:<11}{value}"));
    if let Some(address) = &endpoints.namesrv {
        line("NameServer", address);
    }
    if let Some(address) = &endpoints.broker {
        let fast = endpoints.broker_fast.as_deref().unwrap_or_default();
        line("broker", &format!("{address}   ({}, fast port {fast})", settings.broker.broker_name));
    }
    if let Some(address) = &endpoints.slave {
        line("slave", &format!("{address}   (copies the broker)"));
    }
    if let Some(url) = &endpoints.web {
        line("console", url);
    }
    if endpoints.broker.is_some() {
        let kept = if endpoints.ephemeral { "goes when the server goes" } else { "kept" };
        line("store", &format!("{}   ({kept})", settings.broker.store_path_root_dir));
    }
    line("process", &endpoints.pid.to_string());
    if settings.role != Role::Everything && settings.bind.is_unspecified() {
        line("reachable", "from every network of this machine, as Apache's; narrow it with --bind");
    }
    if let Some(address) = &endpoints.namesrv {
        lines.push(format!("\n  export NAMESRV_ADDR={address}\n"));
        lines.push(format!("The Name Server boot success. serializeType=JSON, address {address}"));
    }
    if let Some(address) = &endpoints.broker {
        let servers = match &endpoints.namesrv {
            Some(own) => own.clone(),
            None => settings.broker.namesrv_addrs().join(";"),
        };
        let tail = if servers.is_empty() { String::new() } else { format!(" and name server is {servers}") };
        lines.push(format!(
            "The broker[{}, {address}] boot success. serializeType=JSON{tail}",
            settings.broker.broker_name
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Sends log lines to standard error, coloured on a terminal.
pub(super) fn log_to_stderr(filter: &str) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|cause| {
        eprintln!("rmq-lite: the log filter '{filter}' is not understood ({cause}), using info");
        tracing_subscriber::EnvFilter::new("info")
    });
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Lets the process open as many files as the system allows it: each connection and queue needs some.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
