//! The command line: one file per subcommand below `cli/`.
//!
//! This file picks the subcommand, sets up logging and the runtime, and turns an error into one line on
//! standard error and an exit code: 2 for what the user can mend before trying again (flags, configuration,
//! ports, directories), 1 for everything else.

use std::process::ExitCode;

use crate::config::{Settings, SettingsError};

pub mod args;
pub mod bench;
mod clock;
mod cluster;
mod dlq;
mod http;
mod instance;
mod replication;
mod start;
pub mod store;
mod whereabouts;

use args::{Cli, Command, Invocation};

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    let invocation = match Invocation::parse_from(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(message) => {
            let _ = message.print();
            return ExitCode::from(message.exit_code() as u8);
        }
    };
    match invocation {
        Invocation::Mqnamesrv(args) => name_server(&args),
        Invocation::Mqbroker(args) => broker(&args),
        Invocation::Own(Cli { command }) => match command {
            Command::Start(args) => serve(args.settings()),
            Command::Namesrv(args) => name_server(&args),
            Command::Broker(args) => broker(&args),
            Command::Run(args) => match args.settings() {
                Ok(settings) => runtime(&settings, |settings| start::run_command(settings, args.command)),
                Err(cause) => misused(&cause),
            },
            Command::Ready(args) => client_runtime(instance::ready(args)),
            Command::Status(args) => client_runtime(instance::status(args)),
            Command::Stop(args) => client_runtime(instance::stop(args)),
            Command::Dlq(args) => client_runtime(dlq::dlq(args)),
            Command::Clock(args) => client_runtime(clock::clock(args)),
            Command::Store(args) => store::run(&args),
            Command::Replication(args) => client_runtime(replication::replication(args)),
            Command::Env(args) => client_runtime(instance::env(args)),
            Command::Bench(args) => bench::run(&args).unwrap_or_else(|cause| {
                eprintln!("rmq-lite: {cause:#}");
                ExitCode::FAILURE
            }),
        },
    }
}

fn name_server(args: &args::NamesrvArgs) -> ExitCode {
    match args.settings() {
        Ok(settings) if args.print_config_item => printed(&settings.namesrv.to_properties_text()),
        settings => serve(settings),
    }
}

fn broker(args: &args::BrokerArgs) -> ExitCode {
    match args.settings() {
        Ok(settings) if args.print_config_item => printed(&settings.broker.to_properties_text()),
        Ok(settings) if args.print_important_config => printed(&settings.broker.important_properties_text()),
        settings => serve(settings),
    }
}

fn printed(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

fn serve(settings: Result<Settings, SettingsError>) -> ExitCode {
    match settings {
        Ok(settings) => runtime(&settings, start::serve),
        Err(cause) => misused(&cause),
    }
}

/// Says in one line why the program cannot do what was asked.
fn misused(cause: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("rmq-lite: {cause}");
    ExitCode::from(2)
}

/// Runs a server on a runtime of its own.
fn runtime<F>(settings: &Settings, body: impl FnOnce(Settings) -> F) -> ExitCode
where
    F: Future<Output = ExitCode>,
{
    start::log_to_stderr(&settings.log);
    start::raise_file_limit();
    for warning in &settings.warnings {
        eprintln!("rmq-lite: {warning}");
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(body(settings.clone()));
            // Whatever still blocks must not keep the process from ending.
            runtime.shutdown_background();
            code
        }
        Err(cause) => misused(&format_args!("cannot start threads: {cause}")),
    }
}

/// Runs a short command that only asks a running server.
fn client_runtime(body: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(body));
    result.unwrap_or_else(|cause| {
        eprintln!("rmq-lite: {cause:#}");
        ExitCode::FAILURE
    })
}
