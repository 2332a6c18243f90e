//! `store`: looks into a store's directory without a server: check, dump, export, import.
//!
//! The directory is an Apache `storePathRootDir`, or a data directory of rmq-lite, whose `broker/` and `slave/` are
//! such. `check`, `export` and `import` refuse one that a server uses: what they would see moves while they look. `dump` reads
//! on with a warning, since each message is either there or not. Exit codes: 0 all is well, 1 something was found
//! wrong, 2 the command cannot be carried out. Mirrors no class of the reference.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::args::Instance;
use crate::broker;
use crate::clock::Clock;
use crate::config::keys::{BrokerKeys, Origin, Timings};
use crate::store::{Error, StoreOptions, offline};

mod check;
mod dump;
mod export;
mod import;
mod repair;
mod text;

/// What can be done with a store's directory.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreArgs {
    /// Look at every file and say what is wrong with it; changes nothing. Exits with 1 when something is
    Check(CheckArgs),
    /// Print messages, or entries of consume queues or index files
    Dump(dump::DumpArgs),
    /// Write messages, topics, groups and progress to one portable file, one JSON object a line
    Export(export::ExportArgs),
    /// Put what `export` wrote into a new store, or add it to one
    Import(import::ImportArgs),
}

/// Which store is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct StorePlace {
    /// A storePathRootDir, or a data directory of rmq-lite [default: the data directory of the server called --name]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Name of the server; counts when no DIR is given [default: default]
    #[arg(long, value_name = "NAME", env = "RMQ_LITE_NAME")]
    pub name: Option<String>,
    /// A RocketMQ key that the store was made with, such as mappedFileSizeCommitLog=1048576; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::args::key_value)]
    pub set: Vec<(String, String)>,
}

/// Flags of `store check`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:
  rmq-lite store check                       the default server's store, while it is stopped
  rmq-lite store check /var/lib/rocketmq/store --json
  rmq-lite store check /var/lib/rocketmq/store --repair")]
pub struct CheckArgs {
    /// Which store.
    #[command(flatten)]
    pub place: StorePlace,
    /// Make a damaged store one that starts and serves what can still be read; what is taken out is kept beside it
    #[arg(long)]
    pub repair: bool,
    /// Print one JSON array, an object for each store
    #[arg(long)]
    pub json: bool,
}

/// Runs `rmq-lite store …`.
pub(super) fn run(args: &StoreArgs) -> ExitCode {
    let result = match args {
        StoreArgs::Check(args) => run_check(args),
        StoreArgs::Dump(args) => dump::run(args).map(|()| ExitCode::SUCCESS),
        StoreArgs::Export(args) => export::run(args),
        StoreArgs::Import(args) => import::run(args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|cause| {
        eprintln!("rmq-lite: {cause:#}");
        ExitCode::from(2)
    })
}

impl StorePlace {
    /// Finds the stores that are meant, at least one.
    fn stores(&self) -> anyhow::Result<Vec<StoreOptions>> {
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => Instance { name: self.name.clone(), data_dir: None }.dir()?,
        };
        if !dir.is_dir() {
            bail!("there is no directory {}; name a storePathRootDir or a data directory", dir.display());
        }
        let roots: Vec<_> =
            ["broker", "slave"].map(|role| dir.join(role)).into_iter().filter(|dir| is_store(dir)).collect();
        if !is_store(&dir) && !roots.is_empty() {
            return roots.iter().map(|root| self.options(root)).collect();
        }
        let options = self.options(&dir)?;
        if !is_store(&dir) && !options.commit_log_dir.is_dir() {
            bail!("{} is no store: it has no commitlog/, and no broker/ that has", dir.display());
        }
        Ok(vec![options])
    }

    /// Finds the one place for a store that may not be there yet: in a data directory that of its master.
    fn new_store(&self) -> anyhow::Result<StoreOptions> {
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => Instance { name: self.name.clone(), data_dir: None }.dir()?.join("broker"),
        };
        let broker = dir.join("broker");
        if !is_store(&dir) && broker.is_dir() {
            return self.options(&broker);
        }
        let foreign =
            !is_store(&dir) && std::fs::read_dir(&dir).is_ok_and(|mut listed| listed.next().is_some());
        if foreign {
            bail!("{} is no store and not empty; choose another directory", dir.display());
        }
        self.options(&dir)
    }

    /// Makes the options of the store in `root`.
    fn options(&self, root: &Path) -> anyhow::Result<StoreOptions> {
        let mut keys = BrokerKeys::default_for(Timings::Fast);
        keys.store_path_root_dir = root.to_string_lossy().into_owned();
        for (key, value) in &self.set {
            if let Some(note) = keys.set(key, value, Origin::Flag("--set"))?.note {
                bail!("{note}");
            }
        }
        let store_host = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 10_911));
        Ok(broker::store_options(&keys, store_host))
    }
}

fn is_store(dir: &Path) -> bool {
    ["commitlog", "consumequeue", "checkpoint", "config/topics.json"]
        .iter()
        .any(|name| dir.join(name).exists())
}

/// Keeps servers away while a store is looked at.
fn hold(options: &StoreOptions, alone: bool) -> anyhow::Result<offline::Hold> {
    match offline::hold(options, alone) {
        Err(Error::Locked { .. }) => bail!(
            "a server uses {}; stop it first (rmq-lite stop), or look at a copy",
            options.root.display()
        ),
        held => Ok(held?),
    }
}

fn run_check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut reports = Vec::new();
    for options in args.place.stores()? {
        let _held = hold(&options, args.repair)?;
        let report = check::check(&options)?;
        if !args.json {
            text::print_report(&report);
        }
        if args.repair && !report.clean {
            let done = repair::repair(&options, &report, Clock::new().now_ms())?;
            for step in &done.steps {
                eprintln!("repaired: {step}");
            }
            eprintln!(
                "what was taken out is in {}; start the server, then check again",
                done.backup.display()
            );
        }
        reports.push(report);
    }
    if args.json {
        println!("{}", serde_json::to_string(&reports)?);
    }
    Ok(if reports.iter().all(|report| report.clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests;
